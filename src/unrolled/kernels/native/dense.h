/* Matrix products of a whole window, for operands of one kind; included by `lstm.c` after `products.h`, once for each kind.
 *
 * A caller splits the work between threads by rows, columns or groups, and lends each thread scratch memory of its own.
 */

/* Groups of a packed matrix of N columns; of one whose columns are four gates, as many as there are of VL units. */
size_t NAME(packed_groups)(size_t N) { return (N + GROUP - 1) / GROUP; }

/* Numbers that a packed matrix (K, N) takes. */
size_t NAME(packed_size)(size_t K, size_t N) { return NAME(packed_groups)(N) * NAME(group_size)(K); }

/* Where number k of four grouped gates stands among the 4H ungrouped ones; 4H for a number beyond the last unit. */
static size_t NAME(ungrouped)(size_t k, size_t H) {
    size_t unit = k / (4 * VL) * VL + k % VL;
    return unit < H ? k / VL % 4 * H + unit : 4 * H;
}

/* VL columns of row `from` of w, beginning at `column`; zeros where there is no row or no column. */
static vec NAME(part_of_row)(const float *w, size_t down, size_t across, size_t from, size_t rows, size_t column, size_t most) {
    vec part = {0};
    size_t count = from < rows && column < most ? (most - column < VL ? most - column : VL) : 0;
    const float *at = w + (count ? from * down + column * across : 0);
    if (count == VL && across == 1) return load(at);
    for (size_t v = 0; v < count; v++) part[v] = at[v * across];
    return part;
}

/* Groups [first, last) of the matrix w[k * down + n * across], K rows of N columns; zeros beyond its edges.
 * COLUMNS_BY_GATES: the columns are four gates, and a group holds the same VL units of each. ROWS_BY_GATES: the rows are, as
 * many as the grouped gates of `units` units. */
void NAME(pack)(size_t K, size_t N, int order, size_t units, size_t first, size_t last, const float *w, size_t down,
                size_t across, operand *packed) {
    packed += first * NAME(group_size)(K);
    for (size_t vector = first * 4; vector < last * 4; vector += 4)
        for (size_t k = 0; k < K; k += BLOCK_K)
            for (size_t half = 0; half < 2; half++) {
                size_t depth = K - k < BLOCK_K ? K - k : BLOCK_K;
                for (size_t row = k; row < k + depth; row += PAIR)
                    for (size_t j = vector + half * PANEL; j < vector + (half + 1) * PANEL; j++, packed += PAIR * VL) {
                        size_t column = order == COLUMNS_BY_GATES ? NAME(ungrouped)(j * VL, units) : j * VL;
                        size_t most = order == COLUMNS_BY_GATES ? (j % 4 + 1) * units : N;
                        for (size_t pair = 0; pair < PAIR; pair++) {
                            size_t from = order == ROWS_BY_GATES ? NAME(ungrouped)(row + pair, units) : row + pair;
                            size_t rows = order == ROWS_BY_GATES ? 4 * units : K;
                            vec part = NAME(part_of_row)(w, down, across, from, rows, column, most);
#if HALVED
                            uvec bits = rounded_bits(part);
                            for (size_t v = 0; v < VL; v++) packed[v * PAIR + pair] = (operand)bits[v];
#else
                            store(packed, part);
#endif
                        }
                    }
            }
}

/* Rows [first, last) of x (M, K) as operands (M, K'), K' = K made even, the number beyond K zero. */
void NAME(operands)(size_t K, size_t first, size_t last, const float *x, operand *out) {
    size_t width = NAME(even)(K);
    for (size_t r = first; r < last; r++) {
        for (size_t k = 0; k < K; k += VL) NAME(store)(out + r * width + k, load_edge(x + r * K + k, K - k), K - k);
        if (width > K) out[r * width + K] = 0;
    }
}

/* Up to WINDOW_ROWS rows of out (rows, N) = bias + x W; x: (rows, K') operands; bias: (N,), or null for zeros. */
static void NAME(product_of_window)(size_t rows, size_t K, size_t N, const operand *x, const operand *packed,
                                    const float *bias, float *out, operand *scratch) {
    vec sums[WINDOW_ROWS][4];
    NAME(pack_rows)(rows, K, x, NAME(even)(K), scratch);
    for (size_t n = 0; n < N; n += GROUP, packed += NAME(group_size)(K)) {
        size_t vectors = N - n < GROUP ? (N - n + VL - 1) / VL : 4;
        for (size_t m = 0; m < rows; m++)
            for (size_t j = 0; j < 4; j++)
                sums[m][j] = bias && j < vectors ? load_edge(bias + n + j * VL, N - n - j * VL) : (vec){0};
        NAME(add_product)(rows, K, scratch, packed, sums);
        for (size_t m = 0; m < rows; m++)
            for (size_t j = 0; j < vectors; j++) store_edge(out + m * N + n + j * VL, sums[m][j], N - n - j * VL);
    }
}

/* Numbers of scratch that `product` needs. */
size_t NAME(product_scratch)(size_t K) { return NAME(rows_size)(WINDOW_ROWS, K); }

/* Rows [first, last) of out (M, N) = bias + x W; x: (M, K') operands. */
void NAME(product)(size_t K, size_t N, size_t first, size_t last, const operand *x, const operand *packed, const float *bias,
                   float *out, operand *scratch) {
    for (size_t r = first; r < last; r += WINDOW_ROWS)
        NAME(product_of_window)(last - r < WINDOW_ROWS ? last - r : WINDOW_ROWS, K, N, x + r * NAME(even)(K), packed, bias,
                                out + r * N, scratch);
}

/* The first `count` columns of x (K, stride) as packed rows. */
static void NAME(pack_columns)(size_t count, size_t K, const operand *x, size_t stride, operand *packed) {
    size_t tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t tile = 0, m = 0; tile < tiles; tile++) {
        size_t height = count * (tile + 1) / tiles - m;
        for (size_t k = 0; k < K; k += PAIR, packed += PAIR * TILE_ROWS) {
            if (PAIR == 1 && height == TILE_ROWS) {
                memcpy(packed, x + k * stride + m, TILE_ROWS * sizeof *x);
                continue;
            }
            for (size_t c = 0; c < TILE_ROWS; c++)
                for (size_t pair = 0; pair < PAIR; pair++)
                    packed[c * PAIR + pair] = k + pair < K ? x[(k + pair) * stride + m + (c < height ? c : 0)] : 0;
        }
        m += height;
    }
}

/* Columns of x (K, stride), `columns` of them, as groups of one block each; zeros beyond the last. Row by row, as they lie. */
static void NAME(pack_strip)(size_t K, size_t columns, const operand *x, size_t stride, operand *packed) {
    const size_t wide = PANEL * VL, panel_size = NAME(even)(K) * wide;
    for (size_t k = 0; k < K; k += PAIR)
        for (size_t n = 0, panel = 0; n < (columns + GROUP - 1) / GROUP * GROUP; n += wide, panel++) {
            operand rows[PAIR][PANEL * VL], *out = packed + panel * panel_size + k * wide;
            size_t count = columns < n ? 0 : columns - n < wide ? columns - n : wide;
            for (size_t pair = 0; pair < PAIR; pair++) {
                size_t there = k + pair < K ? count : 0;
                if (there == wide)
                    memcpy(rows[pair], x + (k + pair) * stride + n, sizeof rows[pair]);
                else {
                    memset(rows[pair], 0, sizeof rows[pair]);
                    memcpy(rows[pair], x + (k + pair) * stride + n, there * sizeof(operand));
                }
            }
            for (size_t v = 0; v < wide; v++)
                for (size_t pair = 0; pair < PAIR; pair++) out[v * PAIR + pair] = rows[pair][v];
        }
}

#define STRIP_GROUPS 4 /* packed together: long stretches of a row, and no more than a core's cache holds */

/* Numbers of scratch that `transposed_product` needs. */
size_t NAME(transposed_product_scratch)(size_t K) {
    return (K / WINDOW_ROWS + 1) * NAME(rows_size)(WINDOW_ROWS, BLOCK_K) + STRIP_GROUPS * GROUP * BLOCK_K;
}

/* Groups [first, last) of out += a^T b, sums over R rows; out: (groups, K, GROUP), the columns of each group together.
 * a: (R, a_width), its first K numbers; b: (R, b_width), its first N.
 * Blocks of rows: the columns of a become packed rows, those of b panels. */
void NAME(transposed_product)(size_t R, size_t K, size_t N, size_t first, size_t last, const operand *a, size_t a_width,
                              const operand *b, size_t b_width, float *out, operand *scratch) {
    vec sums[WINDOW_ROWS][4];
    size_t window_size = NAME(rows_size)(WINDOW_ROWS, BLOCK_K);
    operand *strip = scratch + (K / WINDOW_ROWS + 1) * window_size;
    for (size_t r = 0; r < R; r += BLOCK_K) {
        size_t depth = R - r < BLOCK_K ? R - r : BLOCK_K, group_size = NAME(even)(depth) * GROUP;
        for (size_t k = 0; k < K; k += WINDOW_ROWS)
            NAME(pack_columns)(K - k < WINDOW_ROWS ? K - k : WINDOW_ROWS, depth, a + r * a_width + k, a_width,
                               scratch + k / WINDOW_ROWS * window_size);
        for (size_t group = first; group < last; group++) {
            size_t n = group * GROUP, in_strip = (group - first) % STRIP_GROUPS;
            if (in_strip == 0)
                NAME(pack_strip)(depth, N - n < STRIP_GROUPS * GROUP ? N - n : STRIP_GROUPS * GROUP, b + r * b_width + n,
                                 b_width, strip);
            for (size_t k = 0; k < K; k += WINDOW_ROWS) {
                size_t rows = K - k < WINDOW_ROWS ? K - k : WINDOW_ROWS;
                float *at = out + (group * K + k) * GROUP;
                for (size_t m = 0; m < rows; m++)
                    for (size_t j = 0; j < 4; j++) sums[m][j] = load(at + m * GROUP + j * VL);
                NAME(add_product)(rows, depth, scratch + k / WINDOW_ROWS * window_size, strip + in_strip * group_size, sums);
                for (size_t m = 0; m < rows; m++)
                    for (size_t j = 0; j < 4; j++) store(at + m * GROUP + j * VL, sums[m][j]);
            }
        }
    }
}

/* Columns [first, last) of table (V, N): the rows of values (M, N) that share an id are added to its row. */
void NAME(scatter)(size_t M, size_t N, size_t first, size_t last, const operand *values, const int64_t *ids, float *table) {
    for (size_t r = 0; r < M; r++)
        for (size_t n = first; n < last; n += VL) {
            float *at = table + (size_t)ids[r] * N + n;
            store_edge(at, load_edge(at, last - n) + NAME(load)(values + r * N + n, last - n), last - n);
        }
}
