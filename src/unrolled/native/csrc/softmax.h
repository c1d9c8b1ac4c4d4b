/* Output layer, softmax and loss for operands of one kind; included by `lstm.c` after `dense.h`, once for each kind.
 *
 *     z = h W^T + b       nats = log sum_v exp z_v - z_target       dz = scale (softmax(z) - onehot(target))
 *     dh = dz W           db = sum of dz
 *
 * scale: factor of the loss, for example 1 / number of tokens.
 */

/* z (V,) -> dz (V,) as operands, also added to d_bias (V,); returns the nats. A negative target is ignored. */
static double NAME(softmax_of_row)(size_t V, float *z, int64_t target, float scale, operand *dz, float *d_bias) {
    size_t width = NAME(even)(V);
    if (target < 0) {
        memset(dz, 0, width * sizeof *dz);
        return 0;
    }
    float most = z[0], sum = 0, chosen = z[target];
    vec highest = splat(most), sums = {0};
    for (size_t v = 0; v + VL <= V; v += VL) highest = select_(load(z + v) > highest, load(z + v), highest);
    for (size_t v = V / VL * VL; v < V; v++) most = z[v] > most ? z[v] : most;
    for (size_t j = 0; j < VL; j++) most = highest[j] > most ? highest[j] : most;
    for (size_t v = 0; v < V; v += VL) {
        vec p = exp_(load_edge(z + v, V - v) - most);
        store_edge(z + v, p, V - v);
        if (V - v < VL)
            for (size_t j = V - v; j < VL; j++) p[j] = 0;
        sums += p;
    }
    for (size_t j = 0; j < VL; j++) sum += sums[j];
    z[target] -= sum;
    for (size_t v = 0; v < V; v += VL) {
        vec d = load_edge(z + v, V - v) * (scale / sum);
        NAME(store)(dz + v, d, V - v);
        store_edge(d_bias + v, load_edge(d_bias + v, V - v) + d, V - v);
    }
    if (width > V) dz[V] = 0;
    return log((double)sum) + most - chosen;
}

/* Numbers of scratch that `cross_entropy` needs in addition to `cross_entropy_logits` floats, (WINDOW_ROWS, V). */
size_t NAME(cross_entropy_scratch)(size_t H, size_t V) { return NAME(product_scratch)(H > V ? H : V); }
size_t NAME(cross_entropy_logits)(size_t V) { return WINDOW_ROWS * V; }

/* For the rows [first, last) of h (N, H') operands: fills dz (N, V') operands and d_h (N, H), adds the sum of their dz to d_bias
 * (V,), and returns the sum of their nats. packed: W^T, (H, V); packed_back: W, (V, H); targets: (N,). */
double NAME(cross_entropy)(size_t H, size_t V, size_t first, size_t last, const operand *h, const operand *packed,
                           const operand *packed_back, const float *bias, const int64_t *targets, float scale, operand *dz,
                           float *d_h, float *d_bias, float *logits, operand *scratch) {
    double nats = 0;
    for (size_t r = first; r < last; r += WINDOW_ROWS) {
        size_t rows = last - r < WINDOW_ROWS ? last - r : WINDOW_ROWS;
        operand *dz_r = dz + r * NAME(even)(V);
        NAME(product_of_window)(rows, H, V, h + r * NAME(even)(H), packed, bias, logits, scratch);
        for (size_t m = 0; m < rows; m++)
            nats += NAME(softmax_of_row)(V, logits + m * V, targets[r + m], scale, dz_r + m * NAME(even)(V), d_bias);
        NAME(product_of_window)(rows, V, H, dz_r, packed_back, NULL, d_h + r * H, scratch);
    }
    return nats;
}
