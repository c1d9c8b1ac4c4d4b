/* Calls the native kernels with random sizes, rows split between threads, and buffers of exactly the required size.
 *
 * Built with sanitizers by test_sanitizers.py, which stop the program at the first access beyond a buffer, the first
 * overflow or the first race. It also compares: rows in parts equal all rows at once, bit for bit. Usage: fuzz SEED ROUNDS
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "decode.h"

size_t lstm_vector_length(void);
size_t decode_packed_size(size_t H, size_t L);
size_t decode_packed_output_size(size_t V, size_t H);
void decode_pack(size_t K, size_t H, const float *w, float *packed);
void decode_pack_output(size_t V, size_t H, const float *w, float *packed);
void decode_halve(size_t n, const float *packed, uint32_t *halved);
void decode_step(const decode_model *m, size_t B, size_t first, size_t last, const int64_t *ids, const float *h,
                 float *h_new, float *c, float *logits);
void decode_read(const decode_model *m, size_t N, const int64_t *ids, float *h, float *h_new, float *c, float *logits);
void decode_write(const decode_model *m, const decode_settings *s, decode_rows *rows, size_t first, size_t last, int fresh,
                  double *scratch);

static uint64_t state;

static uint64_t below(uint64_t n) { /* a number of 0..n-1 */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
}
static size_t size_up_to(size_t n) { return 1 + below(n); }
static double fraction(void) { return (double)below(1u << 30) / (1u << 30); }

static void *room(size_t bytes) { /* never null, and not a byte more than requested */
    void *memory = malloc(bytes);
    if (!memory && bytes) exit(3);
    return memory;
}
static float *blank(size_t n) {
    float *values = room(n * sizeof(float));
    for (size_t i = 0; i < n; i++) values[i] = 0;
    return values;
}
static float *noise(size_t n) {
    float *values = room(n * sizeof(float));
    for (size_t i = 0; i < n; i++) values[i] = (float)(2 * fraction() - 1);
    return values;
}
static int64_t *some_ids(size_t n, size_t V) {
    int64_t *ids = room(n * sizeof(int64_t));
    for (size_t i = 0; i < n; i++) ids[i] = (int64_t)below(V);
    return ids;
}
static void must_equal(const void *one, const void *other, size_t bytes, const char *what) {
    if (memcmp(one, other, bytes) == 0) return;
    fprintf(stderr, "%s differ when rows are split\n", what);
    exit(2);
}

/* Work on rows, and a thread's part of them. */
typedef struct {
    void (*run)(const void *work, size_t first, size_t last);
    const void *work;
    size_t first, last;
} part;

static void *run_part(void *given) {
    part *p = given;
    p->run(p->work, p->first, p->last);
    return NULL;
}

/* Runs the work on one to three parts of the rows at the same time, some of which may be empty. */
static void in_parts(void (*run)(const void *, size_t, size_t), const void *work, size_t rows) {
    size_t one = below(rows + 1), other = below(rows + 1), count = size_up_to(3);
    size_t borders[] = {0, one < other ? one : other, one < other ? other : one, rows};
    if (count < 3) borders[2] = rows;
    if (count < 2) borders[1] = rows;
    pthread_t threads[3];
    part parts[3];
    for (size_t i = 0; i < count; i++) {
        parts[i] = (part){run, work, borders[i], borders[i + 1]};
        if (pthread_create(&threads[i], NULL, run_part, &parts[i])) exit(3);
    }
    for (size_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

#define OPERAND float
#define KIND(name) name##_float32
#include "native_fuzz_training.h"
#undef OPERAND
#undef KIND
#define OPERAND uint16_t
#define KIND(name) name##_bfloat16
#include "native_fuzz_training.h"

size_t orthogonal_scratch_float32(size_t R, size_t C);
void orthogonal_float32(size_t R, size_t C, size_t iterations, size_t first, size_t last, const float *matrices,
                        const float *coefficients, float *out, float *scratch);

typedef struct {
    size_t R, C, iterations;
    const float *matrices, *coefficients;
    float *out;
} polynomials;

static void run_orthogonal(const void *work, size_t first, size_t last) {
    const polynomials *p = work;
    float *scratch = room(orthogonal_scratch_float32(p->R, p->C) * sizeof(float));
    orthogonal_float32(p->R, p->C, p->iterations, first, last, p->matrices, p->coefficients, p->out, scratch);
    free(scratch);
}

static void fuzz_orthogonal(void) {
    size_t R = size_up_to(90), C = size_up_to(90), N = size_up_to(5), iterations = below(4);
    float *matrices = noise(N * R * C), *coefficients = noise(3 * iterations + 1);
    polynomials whole = {R, C, iterations, matrices, coefficients, blank(N * R * C)}, split = whole;
    split.out = blank(N * R * C);
    run_orthogonal(&whole, 0, N);
    in_parts(run_orthogonal, &split, N);
    must_equal(whole.out, split.out, N * R * C * sizeof(float), "orthogonal matrices");
    free(matrices), free(coefficients), free(whole.out), free(split.out);
}

typedef struct {
    decode_model model;
    float *arrays[5];
} owned_model;

static float *as_bfloat16(size_t n, float *packed) {
    uint32_t *half = room(n / 2 * sizeof(uint32_t));
    decode_halve(n, packed, half);
    free(packed);
    return (float *)half;
}

static owned_model random_model(size_t V, size_t H, size_t L) {
    float *weights = room(decode_packed_size(H, L) * sizeof(float)), *at = weights;
    for (size_t l = 0; l < L; l++) {
        size_t K = l ? 2 * H : H;
        float *w = noise(K * 4 * H);
        decode_pack(K, H, w, at);
        at += decode_packed_size(H, 1) * (K / H);
        free(w);
    }
    float *w = noise(V * H), *output = room(decode_packed_output_size(V, H) * sizeof(float));
    decode_pack_output(V, H, w, output);
    free(w);
    float *table = noise(V * 4 * H), *biases = noise((L - 1) * 4 * H), *output_bias = noise(V);
    if (below(6) == 0) output_bias[below(V)] = below(2) ? NAN : INFINITY;
    size_t width = below(2) ? 4 : 2;
    if (width == 2) weights = as_bfloat16(decode_packed_size(H, L), weights), output = as_bfloat16(decode_packed_output_size(V, H), output);
    return (owned_model){{V, H, L, width, table, weights, biases, output, output_bias}, {table, weights, biases, output, output_bias}};
}

static decode_settings random_settings(size_t V, size_t window) {
    decode_settings s = {.temperature = below(4) ? 0.1 + fraction() : 0, .repetition = 1 + fraction(), .frequency = fraction()};
    s.presence = -fraction();
    s.top_p = below(2) ? 1 : fraction();
    s.log_min_p = below(2) ? -INFINITY : log(fraction() + 1e-9);
    s.typical_p = below(2) ? 1 : fraction() + 1e-9;
    s.top_k = below(2) ? 0 : size_up_to(2 * V);
    s.window = window;
    s.least = below(5);
    s.end = below(2) ? -1 : (int64_t)below(V);
    s.banned = below(2) ? -1 : (int64_t)below(V);
    return s;
}

typedef struct {
    const decode_model *model;
    const decode_settings *settings;
    decode_rows *rows;
    int fresh;
} writing;

static void write_part(const void *work, size_t first, size_t last) {
    const writing *w = work;
    double *scratch = room(decode_scratch_size(w->model->vocabulary) * sizeof(double));
    decode_write(w->model, w->settings, w->rows, first, last, w->fresh, scratch);
    free(scratch);
}

static int32_t *counters(size_t n) {
    int32_t *values = room(n * sizeof(int32_t));
    for (size_t i = 0; i < n; i++) values[i] = 0;
    return values;
}

/* Rows that have read the same text. */
static decode_rows rows_after(const decode_model *m, const int64_t *text, size_t N, size_t B, size_t window, int histories) {
    size_t V = m->vocabulary, H = m->hidden, L = m->layers;
    decode_rows rows = {.rows = B, .h = blank(L * B * H), .h_new = blank(L * B * H), .c = blank(L * B * H)};
    rows.logits = blank(B * V);
    rows.ids = some_ids(B, V);
    float *h = blank(L * H), *h_new = blank(L * H), *c = blank(L * H), *logits = blank(V);
    decode_read(m, N, text, h, h_new, c, logits);
    for (size_t row = 0; row < B; row++) {
        memcpy(rows.logits + row * V, logits, V * sizeof(float));
        for (size_t l = 0; l < L; l++) {
            memcpy(rows.h + (l * B + row) * H, h + l * H, H * sizeof(float));
            memcpy(rows.c + (l * B + row) * H, c + l * H, H * sizeof(float));
        }
    }
    free(h), free(h_new), free(c), free(logits);
    if (!histories) return rows;
    rows.seen = counters(B * V);
    rows.counts = counters(B * V);
    rows.ring = window ? counters(B * window) : NULL;
    return rows;
}
static void free_rows(decode_rows *r) {
    free(r->ids), free(r->h), free(r->h_new), free(r->c), free(r->logits), free(r->seen), free(r->ring), free(r->counts);
    free(r->tokens);
}

static double *some_uniforms(size_t n) {
    const double largest = 1 - 1.0 / 9007199254740992.0;
    double *values = room(n * sizeof(double));
    for (size_t i = 0; i < n; i++) values[i] = below(10) ? fraction() : (below(2) ? 0 : largest);
    return values;
}

static void must_be_tokens(const decode_rows *rows, size_t V) {
    for (size_t i = 0; i < rows->rows * rows->block; i++)
        if (rows->tokens[i] < -1 || rows->tokens[i] >= (int64_t)V) exit(2);
}

static void fuzz_decoding(void) {
    int many = below(8) == 0; /* more than is computed at once: of rows, or of one row's panels */
    size_t V = size_up_to(70), L = size_up_to(3), N = size_up_to(9);
    size_t B = many ? 90 + below(30) : size_up_to(70), H = many ? size_up_to(20) : size_up_to(70);
    if (many && below(3) == 0) B = size_up_to(2), H = 96 * VL - 10 + below(30), L = 1;
    size_t window = below(6);
    int histories = (int)below(2);
    owned_model owned = random_model(V, H, L);
    decode_settings settings = random_settings(V, window);
    int64_t *text = some_ids(N, V);
    uint64_t kept = state;
    decode_rows whole = rows_after(&owned.model, text, N, B, window, histories);
    state = kept;
    decode_rows split = rows_after(&owned.model, text, N, B, window, histories);
    for (int fresh = 1; fresh >= 0; fresh--) {
        whole.block = split.block = size_up_to(7);
        double *uniforms = some_uniforms(B * whole.block);
        whole.uniforms = split.uniforms = uniforms;
        free(whole.tokens), free(split.tokens);
        whole.tokens = some_ids(B * whole.block, V), split.tokens = some_ids(B * whole.block, V);
        write_part(&(writing){&owned.model, &settings, &whole, fresh}, 0, B);
        in_parts(write_part, &(writing){&owned.model, &settings, &split, fresh}, B);
        must_be_tokens(&whole, V);
        must_equal(whole.tokens, split.tokens, B * whole.block * sizeof(int64_t), "tokens");
        must_equal(whole.h, split.h, L * B * H * sizeof(float), "states");
        whole.written = split.written += whole.block;
        whole.observed = split.observed += whole.block;
        free(uniforms);
    }
    decode_step(&owned.model, B, 0, B, whole.ids, whole.h, whole.h_new, whole.c, whole.logits);
    free_rows(&whole), free_rows(&split), free(text);
    for (size_t i = 0; i < 5; i++) free(owned.arrays[i]);
}

int main(int count, char **arguments) {
    if (count != 3) return 1;
    state = strtoull(arguments[1], NULL, 10);
    for (long round = strtol(arguments[2], NULL, 10); round > 0; round--) {
        fuzz_recurrence_float32();
        fuzz_recurrence_bfloat16();
        fuzz_window_float32();
        fuzz_window_bfloat16();
        fuzz_orthogonal();
        fuzz_decoding();
    }
    puts("nothing found");
    return 0;
}
