/* The recurrence of a layer, for operands of one kind; included by `lstm.c` after `products.h`, once for each kind.
 *
 * Gate arrays are grouped: i of VL units, then their f, g and o, then the next VL units; G groups, with zeros beyond the last
 * unit. A group is therefore read and written in whole cache lines. Values saved for the backward pass are operands: with
 * bfloat16, two bytes each.
 */

/* Numbers of scratch that `lstm_forward` (width H) or `lstm_backward` (width 4 VL G) needs for its rows. */
size_t NAME(lstm_scratch)(size_t rows, size_t width) {
    return (rows + CHUNK_ROWS - 1) / CHUNK_ROWS * NAME(rows_size)(CHUNK_ROWS, width);
}

/* Rows [first, last) of x (B, width) as packed rows, chunk by chunk. */
static void NAME(pack_chunks)(size_t first, size_t last, size_t width, const operand *x, operand *scratch) {
    for (size_t r = first; r < last; r += CHUNK_ROWS, scratch += NAME(rows_size)(CHUNK_ROWS, width))
        NAME(pack_rows)(last - r < CHUNK_ROWS ? last - r : CHUNK_ROWS, width, x + r * width, width, scratch);
}

/* The next group of a back-and-forth walk; at either end, the next walk starts where this one ended. */
static inline size_t NAME(next_group)(size_t group, size_t groups, int is_back) {
    return is_back ? group - (group > 0) : group + (group + 1 < groups);
}

/* Runs the rows [first, last) of the batch through all steps.
 * source: (T, B, G, 4, VL), or a table (V, G, 4, VL) looked up by ids (T, B). packed: W_hh, packed by gates.
 * h0: (B, H') operands, where H' is H rounded up to even for bfloat16. c: (G, B, VL): in, the initial state; out, the last.
 * Saved: gates (T, G, B, 4, VL), cells (T, G, B, VL), both null if there is no backward pass; states (T, B, H').
 * h: (T, B, H), the result; it may be `states` itself. */
void NAME(lstm_forward)(size_t T, size_t B, size_t H, size_t first, size_t last, const float *source, const int64_t *ids,
                        const operand *packed, const operand *h0, operand *gates, operand *cells, operand *states, float *h,
                        float *c, operand *scratch) {
    vec a[CHUNK_ROWS][4];
    size_t width = NAME(even)(H), groups = (H + VL - 1) / VL;
    for (size_t t = 0; t < T; t++) {
        NAME(pack_chunks)(first, last, width, t ? states + (t - 1) * B * width : h0, scratch);
        for (size_t step = 0; step < groups; step++) {
            size_t group = t % 2 ? groups - 1 - step : step; /* back and forth: the weights used last are still in the cache */
            size_t u = group * VL, n = H - u;
            const operand *w = packed + group * NAME(group_size)(H);
            const operand *next = packed + NAME(next_group)(group, groups, t % 2) * NAME(group_size)(H);
            operand *packed_rows = scratch;
            for (size_t r = first; r < last; r += CHUNK_ROWS, packed_rows += NAME(rows_size)(CHUNK_ROWS, width)) {
                size_t rows = last - r < CHUNK_ROWS ? last - r : CHUNK_ROWS, at = (t * groups + group) * B + r;
                for (size_t m = 0; m < rows; m++) {
                    size_t token = t * B + r + m;
                    const float *p = source + ((ids ? (size_t)ids[token] : token) * groups + group) * 4 * VL;
                    for (int j = 0; j < 4; j++) a[m][j] = load(p + j * VL);
                }
                size_t next_t = step + 1 < groups ? t : t + 1, next_group = NAME(next_group)(group, groups, t % 2);
                if (next_t < T) /* prefetches the next group's first rows during the product */
                    for (size_t m = 0; m < rows; m++) {
                        size_t token = next_t * B + r + m;
                        const float *p = source + ((ids ? (size_t)ids[token] : token) * groups + next_group) * 4 * VL;
                        for (size_t at = 0; at < 4 * VL; at += 16) __builtin_prefetch(p + at, 0, 2);
                    }
                NAME(add_product)(rows, width, packed_rows, w, next, (float *)a);
                for (size_t m = 0; m < rows; m++) { /* a loop of its own: more independent work in flight */
                    a[m][0] = sigmoid_(a[m][0]);
                    a[m][1] = sigmoid_(a[m][1]);
                    a[m][2] = tanh_(a[m][2]);
                    a[m][3] = sigmoid_(a[m][3]);
                }
                for (size_t m = 0; m < rows; m++) {
                    float *c_at = c + (group * B + r + m) * VL;
                    vec c_new = a[m][1] * load(c_at) + a[m][0] * a[m][2], h_new = a[m][3] * tanh_(c_new);
                    for (int j = 0; gates && j < 4; j++) NAME(store)(gates + ((at + m) * 4 + j) * VL, a[m][j], VL);
                    if (cells) NAME(store)(cells + (at + m) * VL, c_new, VL);
                    store(c_at, c_new);
                    NAME(store)(states + (t * B + r + m) * width + u, h_new, n);
                    if ((void *)states != (void *)h) store_edge(h + (t * B + r + m) * H + u, h_new, n);
                }
            }
        }
        for (size_t r = first; width > H && r < last; r++) states[(t * B + r) * width + H] = 0;
    }
}

/* The derivatives at one step for VL units of one row. dh is complete; dc becomes the derivative by the previous cell state. */
static inline void NAME(cell_backward)(vec dh, float *dc, const operand *gates, vec c, vec c_before, operand *d_gates) {
    vec i = NAME(load)(gates, VL), f = NAME(load)(gates + VL, VL);
    vec g = NAME(load)(gates + 2 * VL, VL), o = NAME(load)(gates + 3 * VL, VL);
    vec tanh_c = tanh_(c);
    vec d = load(dc) + dh * o * (1.0f - tanh_c * tanh_c);
    NAME(store)(d_gates, d * g * i * (1.0f - i), VL);
    NAME(store)(d_gates + VL, d * c_before * f * (1.0f - f), VL);
    NAME(store)(d_gates + 2 * VL, d * i * (1.0f - g * g), VL);
    NAME(store)(d_gates + 3 * VL, dh * tanh_c * o * (1.0f - o), VL);
    store(dc, d * f);
}

/* Runs the rows [first, last) back through all steps. grad_h: (T, B, H). packed: W_hh transposed, with grouped rows,
 * (4 VL G, H). gates, cells: as saved. c0: (G, B, VL). dh (B, H) and dc (G, B, VL): in, the derivatives by the last state, in
 * addition to grad_h; out, those by the initial state. d_gates: (T, B, G, 4, VL), out. */
void NAME(lstm_backward)(size_t T, size_t B, size_t H, size_t first, size_t last, const float *grad_h, const operand *packed,
                         const operand *gates, const operand *cells, const float *c0, float *dh, float *dc, operand *d_gates,
                         operand *scratch) {
    vec d[CHUNK_ROWS][4];
    size_t groups = (H + VL - 1) / VL, width = groups * 4 * VL;
    for (size_t left = T + 1; left-- > 0;) { /* left: steps up to the one whose dh is computed; 0: that of h0 */
        size_t t = left - 1, wide_groups = (H + GROUP - 1) / GROUP;
        if (left < T) NAME(pack_chunks)(first, last, width, d_gates + left * B * width, scratch);
        for (size_t step = 0; step < wide_groups; step++) {
            size_t wide = left % 2 ? wide_groups - 1 - step : step, u = wide * GROUP;
            size_t vectors = H - u < GROUP ? (H - u + VL - 1) / VL : 4;
            const operand *w = packed + wide * NAME(group_size)(width);
            const operand *next = packed + NAME(next_group)(wide, wide_groups, left % 2) * NAME(group_size)(width);
            operand *packed_rows = scratch;
            for (size_t r = first; r < last; r += CHUNK_ROWS, packed_rows += NAME(rows_size)(CHUNK_ROWS, width)) {
                size_t rows = last - r < CHUNK_ROWS ? last - r : CHUNK_ROWS;
                for (size_t m = 0; m < rows; m++)
                    for (size_t j = 0; j < 4; j++) {
                        size_t uj = u + j * VL, row = (r + m) * H + uj;
                        d[m][j] = left && j < vectors ? load_edge(grad_h + t * B * H + row, H - uj) : (vec){0};
                        if (left == T && j < vectors) d[m][j] += load_edge(dh + row, H - uj);
                    }
                if (left < T) NAME(add_product)(rows, width, packed_rows, w, next, (float *)d);
                for (size_t m = 0; m < rows; m++)
                    for (size_t j = 0; j < vectors; j++) {
                        size_t uj = u + j * VL, group = wide * 4 + j, row = r + m, at = (t * groups + group) * B + row;
                        if (left == 0) {
                            store_edge(dh + row * H + uj, d[m][j], H - uj);
                            continue;
                        }
                        vec c_before = t ? NAME(load)(cells + (at - groups * B) * VL, VL) : load(c0 + (group * B + row) * VL);
                        NAME(cell_backward)(d[m][j], dc + (group * B + row) * VL, gates + at * 4 * VL,
                                            NAME(load)(cells + at * VL, VL), c_before,
                                            d_gates + ((t * B + row) * groups + group) * 4 * VL);
                    }
            }
        }
    }
}
