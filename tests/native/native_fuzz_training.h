/* Random sizes for the functions of one kind of operands; included by native_fuzz.c once for each.
 *
 * OPERAND: the type, KIND(name): the function's name. Buffers have exactly the required size.
 */
size_t KIND(packed_groups)(size_t N);
size_t KIND(packed_size)(size_t K, size_t N);
void KIND(pack)(size_t K, size_t N, int order, size_t units, size_t first, size_t last, const float *w, size_t down,
                size_t across, OPERAND *packed);
void KIND(operands)(size_t K, size_t first, size_t last, const float *x, OPERAND *out);
size_t KIND(product_scratch)(size_t K);
void KIND(product)(size_t K, size_t N, size_t first, size_t last, const OPERAND *x, const OPERAND *packed, const float *bias,
                   float *out, OPERAND *scratch);
size_t KIND(transposed_product_scratch)(void);
void KIND(transposed_product)(size_t R, size_t K, size_t N, size_t first, size_t last, size_t top, size_t bottom,
                              const OPERAND *a, size_t a_width, const OPERAND *b, size_t b_width, const int64_t *ids,
                              float *sums, float *out, OPERAND *scratch);
void KIND(side_by_side)(size_t K, size_t N, int order, size_t units, size_t first, size_t last, const float *by_group,
                        float scale, float *out);
size_t KIND(cross_entropy_logits)(size_t V);
size_t KIND(cross_entropy_scratch)(size_t H, size_t V);
double KIND(cross_entropy)(size_t H, size_t V, size_t first, size_t last, const OPERAND *h, const OPERAND *packed,
                           const OPERAND *packed_back, const float *bias, const int64_t *targets, float scale, OPERAND *dz,
                           float *d_h, float *d_bias, float *logits, OPERAND *scratch);
size_t KIND(lstm_scratch)(size_t rows, size_t width);
void KIND(lstm_forward)(size_t T, size_t B, size_t H, size_t first, size_t last, const float *source, const int64_t *ids,
                        const OPERAND *packed, const OPERAND *h0, OPERAND *gates, OPERAND *cells, OPERAND *states, float *h,
                        float *c, OPERAND *scratch);
void KIND(lstm_backward)(size_t T, size_t B, size_t H, size_t first, size_t last, const float *grad_h, const OPERAND *packed,
                         const OPERAND *gates, const OPERAND *cells, const float *c0, float *dh, float *dc, OPERAND *d_gates,
                         OPERAND *scratch);

static OPERAND *KIND(kept)(size_t n) {
    OPERAND *values = room(n * sizeof(OPERAND));
    memset(values, 0, n * sizeof(OPERAND));
    return values;
}
static size_t KIND(wide)(size_t K) { return sizeof(OPERAND) == 2 ? K + K % 2 : K; }
/* Noise (M, K) as operands. */
static OPERAND *KIND(noisy)(size_t M, size_t K) {
    float *x = noise(M * K);
    OPERAND *out = KIND(kept)(M * KIND(wide)(K));
    KIND(operands)(K, 0, M, x, out);
    free(x);
    return out;
}
/* A packed matrix (K, N) of noise; `order` as in products.h. */
static OPERAND *KIND(packed_noise)(size_t K, size_t N, int order, size_t units) {
    size_t rows = order == 2 ? 4 * units : K, groups = KIND(packed_groups)(N), middle = below(groups + 1);
    float *w = noise(rows * N);
    OPERAND *packed = room(KIND(packed_size)(K, N) * sizeof(OPERAND));
    int is_transposed = (int)below(2); /* the matrix is noise: read either way it is one */
    size_t down = is_transposed ? 1 : N, across = is_transposed ? rows : 1;
    KIND(pack)(K, N, order, units, 0, middle, w, down, across, packed);
    KIND(pack)(K, N, order, units, middle, groups, w, down, across, packed);
    free(w);
    return packed;
}

typedef struct {
    size_t T, B, H, P;
    const float *source, *c0, *grad_h;
    const OPERAND *packed, *packed_back, *h0;
    const int64_t *ids;
    OPERAND *gates, *cells, *states, *d_gates;
    float *h, *c, *dh, *dc;
} KIND(recurrence);

static void KIND(forward)(const void *work, size_t first, size_t last) {
    const KIND(recurrence) *r = work;
    OPERAND *scratch = room(KIND(lstm_scratch)(last - first, KIND(wide)(r->H)) * sizeof(OPERAND));
    KIND(lstm_forward)(r->T, r->B, r->H, first, last, r->source, r->ids, r->packed, r->h0, r->gates, r->cells, r->states, r->h,
                       r->c, scratch);
    free(scratch);
}
static void KIND(backward)(const void *work, size_t first, size_t last) {
    const KIND(recurrence) *r = work;
    OPERAND *scratch = room(KIND(lstm_scratch)(last - first, r->P) * sizeof(OPERAND));
    KIND(lstm_backward)(r->T, r->B, r->H, first, last, r->grad_h, r->packed_back, r->gates, r->cells, r->c0, r->dh, r->dc,
                        r->d_gates, scratch);
    free(scratch);
}
static void KIND(own_results)(KIND(recurrence) *r, const float *dh, const float *dc) {
    size_t tokens = r->T * r->B, state = r->B * r->P / 4;
    r->gates = KIND(kept)(tokens * r->P), r->cells = KIND(kept)(tokens * r->P / 4);
    r->states = KIND(kept)(tokens * KIND(wide)(r->H)), r->d_gates = KIND(kept)(tokens * r->P);
    r->h = blank(tokens * r->H), r->c = blank(state), r->dh = blank(r->B * r->H), r->dc = blank(state);
    memcpy(r->c, r->c0, state * sizeof(float));
    memcpy(r->dh, dh, r->B * r->H * sizeof(float));
    memcpy(r->dc, dc, state * sizeof(float));
}
static void KIND(free_results)(KIND(recurrence) *r) {
    free(r->gates), free(r->cells), free(r->states), free(r->d_gates), free(r->h), free(r->c), free(r->dh), free(r->dc);
}

static void KIND(fuzz_recurrence)(void) {
    int deep = below(8) == 0; /* beyond a block of the product's depth */
    size_t length = lstm_vector_length(), T = size_up_to(5), B = size_up_to(deep ? 4 : 70);
    size_t H = deep ? 120 + below(150) : size_up_to(70), V = size_up_to(70), P = (H + length - 1) / length * length * 4;
    int table = (int)below(2);
    OPERAND *packed = KIND(packed_noise)(H, 4 * H, 1, H), *packed_back = KIND(packed_noise)(P, H, 2, H);
    OPERAND *h0 = KIND(noisy)(B, H);
    float *source = noise((table ? V : T * B) * P), *c0 = noise(B * P / 4), *grad_h = noise(T * B * H);
    float *dh = noise(B * H), *dc = noise(B * P / 4);
    int64_t *ids = table ? some_ids(T * B, V) : NULL;
    KIND(recurrence) whole = {T, B, H, P, source, c0, grad_h, packed, packed_back, h0, ids, 0, 0, 0, 0, 0, 0, 0, 0};
    KIND(recurrence) split = whole;
    KIND(own_results)(&whole, dh, dc);
    KIND(own_results)(&split, dh, dc);
    KIND(forward)(&whole, 0, B);
    in_parts(KIND(forward), &split, B);
    KIND(backward)(&whole, 0, B);
    in_parts(KIND(backward), &split, B);
    must_equal(whole.h, split.h, T * B * H * sizeof(float), "hidden states");
    must_equal(whole.gates, split.gates, T * B * P * sizeof(OPERAND), "gates");
    must_equal(whole.d_gates, split.d_gates, T * B * P * sizeof(OPERAND), "gradients");
    must_equal(whole.dh, split.dh, B * H * sizeof(float), "gradients of the state");
    free(split.gates), free(split.cells);
    split.gates = split.cells = NULL; /* nothing is kept for a backward pass */
    memcpy(split.c, c0, B * P / 4 * sizeof(float));
    in_parts(KIND(forward), &split, B);
    must_equal(whole.h, split.h, T * B * H * sizeof(float), "hidden states without a backward pass");
    must_equal(whole.c, split.c, B * P / 4 * sizeof(float), "cell states without a backward pass");
    KIND(free_results)(&whole), KIND(free_results)(&split);
    free(packed), free(packed_back), free(h0), free(source), free(c0), free(grad_h), free(dh), free(dc), free(ids);
}

typedef struct {
    size_t M, K, N;
    const OPERAND *x, *packed, *packed_back, *other;
    const float *bias;
    const int64_t *ids;
    OPERAND *dz;
    float *sums; /* (V, N): rows of `other` summed up by id */
    int order;
    float *out;
} KIND(window);

static void KIND(run_product)(const void *work, size_t first, size_t last) {
    const KIND(window) *p = work;
    OPERAND *scratch = room(KIND(product_scratch)(p->K) * sizeof(OPERAND));
    KIND(product)(p->K, p->N, first, last, p->x, p->packed, p->bias, p->out, scratch);
    free(scratch);
}
static void KIND(run_transposed)(const void *work, size_t first, size_t last) {
    const KIND(window) *p = work;
    OPERAND *scratch = room(KIND(transposed_product_scratch)() * sizeof(OPERAND));
    KIND(transposed_product)(p->M, p->K, p->N, first, last, 0, p->K, p->x, KIND(wide)(p->K), p->other, KIND(wide)(p->N), p->ids,
                             p->sums, p->out, scratch);
    free(scratch);
}
static void KIND(run_transposed_rows)(const void *work, size_t first, size_t last) {
    const KIND(window) *p = work;
    OPERAND *scratch = room(KIND(transposed_product_scratch)() * sizeof(OPERAND));
    KIND(transposed_product)(p->M, p->K, p->N, 0, KIND(packed_groups)(p->N), first, last, p->x, KIND(wide)(p->K), p->other,
                             KIND(wide)(p->N), NULL, NULL, p->out, scratch);
    free(scratch);
}
static void KIND(run_side_by_side)(const void *work, size_t first, size_t last) {
    const KIND(window) *p = work;
    KIND(side_by_side)(p->K, p->N, p->order, p->order ? p->N / 4 : 0, first, last, p->bias, 0.5f, p->out);
}
static void KIND(run_cross_entropy)(const void *work, size_t first, size_t last) {
    const KIND(window) *p = work;
    float *logits = blank(KIND(cross_entropy_logits)(p->N)), *d_bias = blank(p->N); /* each part has its own */
    OPERAND *scratch = room(KIND(cross_entropy_scratch)(p->K, p->N) * sizeof(OPERAND));
    double nats = KIND(cross_entropy)(p->K, p->N, first, last, p->x, p->packed, p->packed_back, p->bias, p->ids, 0.5f, p->dz,
                                      p->out, d_bias, logits, scratch);
    if (!(nats >= 0)) exit(2);
    free(logits), free(scratch), free(d_bias);
}

/* The same work whole and in parts of `count` things; `size` floats of results must be equal, and `summed` floats of sums. */
static void KIND(compare)(void (*run)(const void *, size_t, size_t), KIND(window) work, size_t count, size_t size,
                          size_t summed, const char *what) {
    KIND(window) split = work;
    work.out = blank(size), split.out = blank(size);
    if (summed) work.sums = blank(summed), split.sums = blank(summed);
    run(&work, 0, count);
    in_parts(run, &split, count);
    must_equal(work.out, split.out, size * sizeof(float), what);
    if (summed) must_equal(work.sums, split.sums, summed * sizeof(float), what);
    free(work.out), free(split.out), free(work.sums), free(split.sums);
}

static void KIND(fuzz_window)(void) {
    int large = (int)below(12); /* more than is done at once: of rows and of sums, of one row's numbers, of groups */
    size_t M = large == 0 ? 200 + below(200) : size_up_to(large > 2 ? 70 : 20);
    size_t K = large == 0 ? 200 + below(200) : large == 1 ? 1000 + below(100) : size_up_to(large > 2 ? 70 : 20);
    size_t N = large == 2 ? 1000 + below(100) : size_up_to(large == 1 ? 20 : 150);
    size_t group = 4 * lstm_vector_length(), groups = (N + group - 1) / group, units = size_up_to(50), V = size_up_to(50);
    OPERAND *x = KIND(noisy)(M, K), *other = KIND(noisy)(M, N);
    OPERAND *packed = KIND(packed_noise)(K, N, 0, 0), *packed_back = KIND(packed_noise)(N, K, 0, 0);
    OPERAND *dz = KIND(kept)(M * KIND(wide)(N));
    size_t unit_groups = (4 * units + group - 1) / group;
    float *bias = noise(N), *by_group = noise((groups > unit_groups ? groups : unit_groups) * K * group);
    int64_t *targets = some_ids(M, N), *ids = some_ids(M, V);
    if (below(2)) targets[below(M)] = -100;
    KIND(window) work = {M, K, N, x, packed, packed_back, other, below(4) ? bias : NULL, targets, dz, NULL, 0, NULL};
    KIND(compare)(KIND(run_product), work, M, M * N, 0, "products");
    work.bias = bias;
    KIND(compare)(KIND(run_cross_entropy), work, M, M * K, 0, "derivatives of the cross-entropy");
    work.ids = below(2) ? ids : NULL;
    size_t summed = below(2) ? (work.ids ? V : 1) * N : 0;
    KIND(compare)(KIND(run_transposed), work, groups, groups * K * group, summed, "transposed products");
    KIND(compare)(KIND(run_transposed_rows), work, K, groups * K * group, 0, "rows of transposed products");
    work.bias = by_group;
    KIND(compare)(KIND(run_side_by_side), work, K, K * N, 0, "sums side by side");
    work.N = 4 * units, work.order = 1;
    KIND(compare)(KIND(run_side_by_side), work, K, K * 4 * units, 0, "sums of gates side by side");
    free(x), free(other), free(packed), free(packed_back), free(dz), free(bias), free(by_group), free(targets), free(ids);
}
