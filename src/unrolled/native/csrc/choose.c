/* Choosing a row's next token: `sampling/processors.py` and `sampling/sampler.py` in plain C, in the same order.
 *
 * Masks, repetition penalty, frequency and presence penalties; then either the likeliest token, or temperature, top-k, top-p,
 * min-p, typical-p and one draw that inverts the cumulative distribution in the order of the ids. All in double precision.
 * The tokens that pass a filter are stored contiguously, in the order of their ids.
 */
#include <math.h>

#include "decode.h"

#define DL (VL / 2) /* doubles in a vector */
typedef double dvec __attribute__((vector_size(DL * 8)));
typedef int64_t dmask __attribute__((vector_size(DL * 8)));
typedef double unaligned_d __attribute__((vector_size(DL * 8), aligned(8), may_alias));

typedef struct {
    double key;
    int64_t place;
} entry;

/* The tokens that have passed the filters so far. */
typedef struct {
    size_t count;
    double *logits;  /* (count,) */
    double *weights; /* exp(logits - highest), once computed */
    double *ids;     /* exact: integers below 2^53 */
    entry *order;    /* (count,) for sorting */
    entry *spare;    /* (count,) scratch space for sorting */
    double highest;
} tokens_left;

size_t decode_scratch_size(size_t V) { return 3 * (V + DL) + 2 * 2 * V; }

/* exp(x) for x <= 0 as in `exp_`: Taylor polynomial of degree 13 on [-ln2/2, ln2/2]; 0 below -708. */
static inline dvec exp_double(dvec x) {
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, held in the lowest bits */
    const dvec none = {0};
    dvec low = none - 708.0;
    dmask tiny = x < low;
    x = (dvec)((tiny & (dmask)low) | (~tiny & (dmask)x));
    dvec shifted = x * 1.4426950408889634 + shift, n = shifted - shift;
    dvec r = x - n * 6.93147180369123816490e-01;
    r = r - n * 1.90821492927058770002e-10;
    dvec p = none + 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    dmask exponent = ((dmask)shifted - (dmask)(none + shift) + 1023) << 52;
    return (dvec)(~tiny & (dmask)(p * (dvec)exponent));
}

/* weights = exp(logits - highest); both arrays are padded by a whole vector. */
static void exponentials(tokens_left *left) {
    for (size_t i = left->count; i % DL; i++) left->logits[i] = left->highest;
    for (size_t i = 0; i < left->count; i += DL)
        *(unaligned_d *)(left->weights + i) = exp_double(*(unaligned_d *)(left->logits + i) - left->highest);
}

/* Computes the exponentials and returns their sum. */
static double weigh(tokens_left *left) {
    double sum = 0;
    exponentials(left);
    for (size_t i = 0; i < left->count; i++) sum += left->weights[i];
    return sum;
}

/* Writes the logits to `out` with masks and penalties applied. */
static void penalise(size_t V, const decode_settings *s, int may_end, const float *logits, const int32_t *seen,
                     const int32_t *counts, double *out) {
    for (size_t v = 0; v < V; v++) out[v] = logits[v];
    if (s->banned >= 0) out[s->banned] = -INFINITY;
    if (s->end >= 0 && !may_end) out[s->end] = -INFINITY;
    if (seen)
        for (size_t v = 0; v < V; v++) {
            double divided = out[v] / s->repetition, multiplied = out[v] * s->repetition;
            double lower = divided < multiplied ? divided : multiplied, higher = divided < multiplied ? multiplied : divided;
            out[v] = seen[v] ? (s->repetition > 1 ? lower : higher) : out[v];
        }
    if (counts)
        for (size_t v = 0; v < V; v++) out[v] -= s->frequency * counts[v] + (counts[v] > 0 ? s->presence : 0);
}

/* The lowest id with the highest logit; -1 if a logit is NaN or the highest is not finite. `logits` is padded by a whole
 * vector. */
static int64_t likeliest(size_t V, double *logits) {
    dvec largest = (dvec){0} - INFINITY;
    dmask damaged = {0};
    for (size_t v = V; v % DL; v++) logits[v] = -INFINITY;
    for (size_t v = 0; v < V; v += DL) {
        dvec x = *(unaligned_d *)(logits + v);
        damaged |= ~(x < (dvec){0} + INFINITY);
        dmask higher = x > largest;
        largest = (dvec)((higher & (dmask)x) | (~higher & (dmask)largest));
    }
    double highest = -INFINITY;
    int64_t any = 0;
    for (size_t i = 0; i < DL; i++) {
        any |= damaged[i];
        highest = largest[i] > highest ? largest[i] : highest;
    }
    if (any || !(highest > -INFINITY)) return -1;
    int64_t v = 0;
    while (logits[v] != highest) v++;
    return v;
}

static double median(double a, double b, double c) {
    if (a < b) return b < c ? b : (a < c ? c : a);
    return a < c ? a : (b < c ? c : b);
}

/* The k-th largest of n values, 1 <= k <= n (quickselect). Values above the pivot go to the front of a buffer of n, values
 * below it to the end; the search continues in the side that contains the k-th, alternating between two buffers. */
static double kth_largest(size_t n, const double *values, size_t k, double *buffer, double *other) {
    for (;;) {
        double pivot = median(values[0], values[n / 2], values[n - 1]);
        size_t above = 0, beneath = 0;
        for (size_t i = 0; i < n; i++) { /* branch-free: writes to both ends, advances one */
            double value = values[i];
            buffer[above] = value;
            buffer[n - 1 - beneath] = value;
            above += value > pivot;
            beneath += value < pivot;
        }
        if (k > above && k <= n - beneath) return pivot;
        values = k <= above ? buffer : buffer + n - beneath;
        k = k <= above ? k : k - (n - beneath);
        n = values == buffer ? above : beneath;
        double *full = buffer;
        buffer = other;
        other = full;
    }
}

/* Keeps the tokens whose logit is at least `lowest`. */
static void keep_from(tokens_left *left, double lowest) {
    double *logits = left->logits, *ids = left->ids;
    size_t kept = 0;
    for (size_t i = 0; i < left->count; i++) {
        double logit = logits[i], id = ids[i];
        logits[kept] = logit;
        ids[kept] = id;
        kept += logit >= lowest;
    }
    left->count = kept;
}

static void top_k(tokens_left *left, size_t k) {
    if (k >= left->count) return;
    double *other = (double *)left->order; /* not in use yet */
    keep_from(left, kth_largest(left->count, left->logits, k, left->weights, other));
}

/* Merges two sorted runs; stable: among equals, the first run comes first. */
static void merge(const entry *one, const entry *one_end, const entry *other, const entry *other_end, entry *out) {
    while (one < one_end && other < other_end) {
        int later = other->key < one->key; /* branch-free: the outcome is unpredictable */
        const entry *next = later ? other : one;
        *out++ = *next;
        one += !later;
        other += later;
    }
    while (one < one_end) *out++ = *one++;
    while (other < other_end) *out++ = *other++;
}

/* Sorts `order` by ascending key; a stable merge sort. */
static void sort(tokens_left *left) {
    size_t n = left->count;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            entry *middle = left->order + (n - i < width ? n : i + width);
            entry *end = left->order + (n - i < 2 * width ? n : i + 2 * width);
            merge(left->order + i, middle, middle, end, left->spare + i);
        }
        entry *sorted = left->spare;
        left->spare = left->order;
        left->order = sorted;
    }
}

/* Keeps the tokens of order[from..to), in the order of their ids. */
static void keep_entries(tokens_left *left, size_t from, size_t to) {
    for (size_t i = 0; i < left->count; i++) left->weights[i] = 0;
    for (size_t i = from; i < to; i++) left->weights[left->order[i].place] = 1;
    size_t kept = 0;
    for (size_t i = 0; i < left->count; i++) {
        if (left->weights[i] == 0) continue;
        left->logits[kept] = left->logits[i];
        left->ids[kept++] = left->ids[i];
    }
    left->count = kept;
}

/* Among equals, lower ids are kept: they come first in descending order, which is walked from its end. */
static void top_p(tokens_left *left, double mass) {
    double total = weigh(left), cumulative = 0;
    for (size_t i = 0; i < left->count; i++) left->order[i] = (entry){-left->logits[i], (int64_t)i};
    sort(left);
    size_t kept = left->count;
    for (; kept > 1; kept--) {
        cumulative += left->weights[left->order[kept - 1].place] / total;
        if (cumulative > 1 - mass) break;
    }
    keep_entries(left, 0, kept);
}

/* Surprisals omit the logarithm of the total, which cancels in their distance from the entropy. */
static void typical_p(tokens_left *left, double mass) {
    double total = weigh(left), entropy = 0, cumulative = 0;
    for (size_t i = 0; i < left->count; i++)
        if (left->weights[i] > 0) entropy += left->weights[i] / total * (left->highest - left->logits[i]);
    for (size_t i = 0; i < left->count; i++) {
        double distance = fabs(left->highest - left->logits[i] - entropy);
        left->order[i] = (entry){left->weights[i] > 0 ? distance : INFINITY, (int64_t)i};
    }
    sort(left);
    size_t kept = 0;
    while (kept < left->count) {
        cumulative += left->weights[left->order[kept++].place] / total;
        if (cumulative >= mass) break;
    }
    keep_entries(left, 0, kept);
    left->highest = -INFINITY; /* the likeliest token may be gone */
    for (size_t i = 0; i < left->count; i++)
        left->highest = left->logits[i] > left->highest ? left->logits[i] : left->highest;
}

/* The first token whose cumulative probability exceeds the uniform number, found by counting those that do not. */
static int64_t draw(tokens_left *left, double uniform) {
    double cumulative = 0;
    exponentials(left);
    for (size_t i = 0; i < left->count; i++) left->weights[i] = cumulative += left->weights[i];
    double target = uniform * cumulative;
    int64_t place = 0;
    for (size_t i = 0; i + 1 < left->count; i++) place += left->weights[i] <= target;
    return (int64_t)left->ids[place];
}

/* All tokens that are not masked, with their logits divided by the temperature. */
static tokens_left alive(size_t V, const decode_settings *s, double highest, double *logits, double *scratch) {
    tokens_left left = {.logits = logits, .weights = scratch, .ids = scratch + V + DL, .highest = highest};
    left.order = (entry *)(scratch + 2 * (V + DL));
    left.spare = left.order + V;
    size_t count = 0;
    for (size_t v = 0; v < V; v++) {
        double logit = logits[v];
        logits[count] = logit;
        left.ids[count] = (double)v;
        count += logit > -INFINITY;
    }
    left.count = count;
    if (s->temperature != 1) {
        for (size_t i = 0; i < left.count; i++) logits[i] /= s->temperature;
        left.highest /= s->temperature;
    }
    return left;
}

int64_t decode_choose(size_t V, const decode_settings *s, size_t written, const float *logits, const int32_t *seen,
                      const int32_t *counts, double uniform, double *scratch) {
    double *changed = scratch;
    penalise(V, s, written >= s->least, logits, seen, counts, changed);
    int64_t best = likeliest(V, changed);
    if (best < 0 || s->temperature == 0) return best;
    tokens_left left = alive(V, s, changed[best], changed, scratch + V + DL);
    if (s->top_k) top_k(&left, s->top_k);
    if (s->top_p < 1) top_p(&left, s->top_p);
    if (s->log_min_p > -INFINITY) keep_from(&left, left.highest + s->log_min_p);
    if (s->typical_p < 1) typical_p(&left, s->typical_p);
    return draw(&left, uniform);
}
