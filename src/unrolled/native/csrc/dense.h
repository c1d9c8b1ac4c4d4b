/* Matrix products of a whole window, for operands of one kind; included by `lstm.c` after `products.h`, once for each kind.
 *
 * The caller splits the work between threads by rows, columns or groups, and gives each thread its own scratch memory.
 */

/* Groups of a packed matrix of N columns; for four gates, the number of groups of VL units. */
size_t NAME(packed_groups)(size_t N) { return (N + GROUP - 1) / GROUP; }

/* Numbers that a packed matrix (K, N) takes. */
size_t NAME(packed_size)(size_t K, size_t N) { return NAME(packed_groups)(N) * NAME(group_size)(K); }

/* The VL numbers of a matrix side from number `at` on: returns how many exist, and where they begin. By gates, the side
 * consists of four gates of `units` numbers, counted in groups. */
static size_t NAME(span)(size_t at, size_t most, int by_gates, size_t units, size_t *begin) {
    size_t unit = at / (4 * VL) * VL;
    *begin = by_gates ? at / VL % 4 * units + unit : at;
    most = by_gates ? units : most;
    at = by_gates ? unit : at;
    return most < at ? 0 : most - at < VL ? most - at : VL;
}

/* Copies a corner of w, `rows` by `columns` numbers, into a tile padded with zeros. */
static inline void NAME(cut_tile)(size_t rows, size_t columns, const float *w, size_t down, size_t across, float tile[VL][VL]) {
    if (rows == VL && columns == VL && across == 1) {
        for (size_t k = 0; k < VL; k++) memcpy(tile[k], w + k * down, sizeof tile[k]);
#if defined(__SSE2__)
    } else if (rows == VL && columns == VL && down == 1) {
        for (size_t v = 0; v < VL; v += 4)
            for (size_t k = 0; k < VL; k += 4) { /* transposes four by four */
                const float *from = w + v * across + k;
                __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + across);
                __m128 c = _mm_loadu_ps(from + 2 * across), d = _mm_loadu_ps(from + 3 * across);
                _MM_TRANSPOSE4_PS(a, b, c, d);
                _mm_storeu_ps(tile[k] + v, a), _mm_storeu_ps(tile[k + 1] + v, b);
                _mm_storeu_ps(tile[k + 2] + v, c), _mm_storeu_ps(tile[k + 3] + v, d);
            }
#endif
    } else {
        memset(tile, 0, VL * sizeof *tile);
        for (size_t k = 0; k < rows; k++)
            for (size_t v = 0; v < columns; v++) tile[k][v] = w[k * down + v * across];
    }
}

/* Stores VL columns of a panel row; with bfloat16, interleaved with those of the row below. */
static inline void NAME(lay_numbers)(vec row, vec below, operand *out) {
#if BFLOAT16
    *(unaligned_pairs *)out = rounded_bits(row) | rounded_bits(below) << 16;
#else
    (void)below;
    store(out, row);
#endif
}

/* Packs a panel of `height` full rows, whose two vectors start at `left` and `right`. */
static void NAME(lay_panel)(size_t height, const float *left, const float *right, size_t down, operand *out) {
    for (size_t k = 0; k < height; k += PAIR, out += PANEL * VL * PAIR) {
        size_t at = k * down, below = at + (PAIR - 1) * down;
        int is_pair = k + PAIR <= height;
        NAME(lay_numbers)(load(left + at), is_pair ? load(left + below) : (vec){0}, out);
        NAME(lay_numbers)(load(right + at), is_pair ? load(right + below) : (vec){0}, out + PAIR * VL);
    }
}

/* Packs the groups [first, last) of the matrix w[k * down + n * across], K rows of N columns, padded with zeros.
 * COLUMNS_BY_GATES: the columns are four gates, and a group holds the same VL units of each. ROWS_BY_GATES: the rows are four
 * gates, and K is the size of the grouped gates of `units` units. */
void NAME(pack)(size_t K, size_t N, int order, size_t units, size_t first, size_t last, const float *w, size_t down,
                size_t across, operand *packed) {
    float tile[VL][VL];
    for (size_t block = 0; block < K; block += BLOCK_K) {
        size_t height = K - block < BLOCK_K ? K - block : BLOCK_K, depth = NAME(even)(height);
        for (size_t panel = first * 2; panel < last * 2; panel++) {
            operand *begin = packed + panel / 2 * NAME(group_size)(K) + block * GROUP + panel % 2 * depth * PANEL * VL;
            size_t column[PANEL], columns[PANEL];
            for (size_t j = 0; j < PANEL; j++)
                columns[j] = NAME(span)((panel * PANEL + j) * VL, N, order == COLUMNS_BY_GATES, units, &column[j]);
            if (across == 1 && order != ROWS_BY_GATES && columns[0] == VL && columns[1] == VL) {
                const float *from = w + block * down;
                NAME(lay_panel)(height, from + column[0], from + column[1], down, begin);
                continue;
            }
            for (size_t j = 0; j < PANEL; j++) {
                operand *out = begin + j * PAIR * VL;
                for (size_t r = 0; r < depth; r += VL) {
                    size_t row, rows = NAME(span)(block + r, K, order == ROWS_BY_GATES, units, &row);
                    const float *from = rows && columns[j] ? w + row * down + column[j] * across : w;
                    if (down == 1)
                        for (size_t v = 0; v < columns[j]; v++) __builtin_prefetch(from + v * across + COLUMNS_AHEAD);
                    NAME(cut_tile)(rows, columns[j], from, down, across, tile);
                    for (size_t i = 0; i < VL && r + i < depth; i += PAIR, out += PANEL * VL * PAIR)
                        NAME(lay_numbers)(load(tile[i]), load(tile[i + PAIR - 1]), out);
                }
            }
        }
    }
}

/* Converts the rows [first, last) of x (M, K) to operands (M, K'), K' = K rounded up to even, padded with zero. */
void NAME(operands)(size_t K, size_t first, size_t last, const float *x, operand *out) {
    size_t width = NAME(even)(K);
    for (size_t r = first; r < last; r++) {
        for (size_t k = 0; k < K; k += VL) NAME(store)(out + r * width + k, load_edge(x + r * K + k, K - k), K - k);
        if (width > K) out[r * width + K] = 0;
    }
}

/* Up to WINDOW_ROWS rows of out (rows, N) = bias + x W; x: (rows, K') operands; bias: (N,), or null for zeros.
 * Processes up to DEPTH numbers of each row at a time; `out` holds the partial sums. */
static void NAME(product_of_window)(size_t rows, size_t K, size_t N, const operand *x, const operand *packed,
                                    const float *bias, float *out, operand *scratch) {
    vec sums[WINDOW_ROWS][4];
    for (size_t k = 0; k == 0 || k < K; k += DEPTH) {
        size_t depth = K - k < DEPTH ? K - k : DEPTH;
        NAME(pack_rows)(rows, depth, x + k, NAME(even)(K), scratch);
        for (size_t n = 0; n < N; n += GROUP) {
            size_t vectors = N - n < GROUP ? (N - n + VL - 1) / VL : 4;
            for (size_t m = 0; m < rows; m++) {
                const float *before = k ? out + m * N : bias;
                for (size_t j = 0; j < 4; j++)
                    sums[m][j] = before && j < vectors ? load_edge(before + n + j * VL, N - n - j * VL) : (vec){0};
            }
            const operand *group = packed + n / GROUP * NAME(group_size)(K) + k * GROUP;
            NAME(add_product)(rows, depth, scratch, group, n + GROUP < N ? group + NAME(group_size)(K) : packed, (float *)sums);
            for (size_t m = 0; m < rows; m++)
                for (size_t j = 0; j < vectors; j++) store_edge(out + m * N + n + j * VL, sums[m][j], N - n - j * VL);
        }
    }
}

/* Numbers of scratch that `product` needs. */
size_t NAME(product_scratch)(size_t K) { return NAME(rows_size)(WINDOW_ROWS, K < DEPTH ? K : DEPTH); }

/* Rows [first, last) of out (M, N) = bias + x W; x: (M, K') operands. */
void NAME(product)(size_t K, size_t N, size_t first, size_t last, const operand *x, const operand *packed, const float *bias,
                   float *out, operand *scratch) {
    size_t count = last - first, windows = (count + WINDOW_ROWS - 1) / WINDOW_ROWS;
    for (size_t window = 0, r = first; window < windows; window++) {
        size_t end = first + count * (window + 1) / windows;
        NAME(product_of_window)(end - r, K, N, x + r * NAME(even)(K), packed, bias, out + r * N, scratch);
        r = end;
    }
}

/* Copies TILE_ROWS numbers of a row; with bfloat16, interleaved with those of a second row. */
static inline void NAME(lay_tile)(const operand *row, const operand *second, operand *out) {
#if BFLOAT16
    size_t c = 0;
#if defined(__SSE2__)
    for (; c + 4 <= TILE_ROWS; c += 4)
        _mm_storeu_si128((__m128i *)(out + 2 * c), _mm_unpacklo_epi16(_mm_loadl_epi64((const __m128i *)(row + c)),
                                                                      _mm_loadl_epi64((const __m128i *)(second + c))));
#endif
    for (; c < TILE_ROWS; c++) out[2 * c] = row[c], out[2 * c + 1] = second[c];
#else
    (void)second;
    memcpy(out, row, TILE_ROWS * sizeof *row);
#endif
}

/* Packs the first `count` columns of x (K, stride) as rows, a few rows of x at a time so that they stay in the cache. */
static void NAME(pack_columns)(size_t count, size_t K, const operand *x, size_t stride, operand *packed) {
    size_t tiles = (count + TILE_ROWS - 1) / TILE_ROWS, tile_size = TILE_ROWS * NAME(even)(K);
    for (size_t begin = 0; begin < K; begin += ROWS_AT_A_TIME) {
        size_t end = K - begin < ROWS_AT_A_TIME ? K : begin + ROWS_AT_A_TIME;
        for (size_t tile = 0, m = 0; tile < tiles; tile++) {
            size_t height = count * (tile + 1) / tiles - m;
            operand *out = packed + tile * tile_size + begin * TILE_ROWS;
            for (size_t k = begin; k < end; k += PAIR, out += PAIR * TILE_ROWS) {
                const operand *row = x + k * stride + m;
                if (height == TILE_ROWS && k + PAIR <= K) {
                    NAME(lay_tile)(row, row + stride, out);
                    continue;
                }
                for (size_t c = 0; c < TILE_ROWS; c++)
                    for (size_t pair = 0; pair < PAIR; pair++)
                        out[c * PAIR + pair] = k + pair < K ? row[pair * stride + (c < height ? c : 0)] : 0;
            }
            m += height;
        }
    }
}

/* Stores one row (or pair of rows) of a panel, from x and, for a pair, `second`. */
static inline void NAME(lay_row)(const operand *x, const operand *second, operand *out) {
    for (size_t j = 0; j < PANEL * VL; j += VL) {
#if BFLOAT16
        uvec one = __builtin_convertvector(*(const unaligned_words *)(x + j), uvec);
        uvec other = __builtin_convertvector(*(const unaligned_words *)(second + j), uvec);
        *(unaligned_pairs *)(out + j * PAIR) = one | other << 16;
#else
        (void)second;
        store(out + j, load(x + j));
#endif
    }
}

/* sums (count,) += x (count,). */
static inline void NAME(add_row)(size_t count, const operand *x, float *sums) {
    for (size_t n = 0; n < count; n += VL)
        store_edge(sums + n, load_edge(sums + n, count - n) + NAME(load)(x + n, count - n), count - n);
}

/* Packs the first `columns` columns of x (K, stride) as a matrix, padded with zeros, row by row; along the way each row is
 * added to the row of sums (, N) given by its id; see `transposed_product`. */
static void NAME(pack_strip)(size_t K, size_t columns, const operand *x, size_t stride, const int64_t *ids, float *sums,
                             size_t N, operand *packed) {
    const size_t wide = PANEL * VL;
    for (size_t k = 0; k < K; k += PAIR) {
        size_t block = k / BLOCK_K * BLOCK_K, depth = NAME(even)(K - block < BLOCK_K ? K - block : BLOCK_K);
        for (size_t n = 0, half = 0; n < (columns + GROUP - 1) / GROUP * GROUP; n += wide, half++) {
            operand *out = packed + half / 2 * NAME(group_size)(K) + block * GROUP + (half % 2 * depth + k - block) * wide;
            const operand *row = x + k * stride + n;
            size_t count = columns < n ? 0 : columns - n < wide ? columns - n : wide;
            for (size_t pair = 0; pair < PAIR && k + pair < K; pair++) {
                __builtin_prefetch(row + (pair + ROWS_AHEAD) * stride);
                if (sums) NAME(add_row)(count, row + pair * stride, sums + (ids ? (size_t)ids[k + pair] : 0) * N + n);
            }
            if (count == wide && k + PAIR <= K) {
                NAME(lay_row)(row, row + stride, out);
                continue;
            }
            operand edges[2][PANEL * VL] = {{0}};
            for (size_t pair = 0; pair < PAIR && k + pair < K; pair++)
                if (count) memcpy(edges[pair], row + pair * stride, count * sizeof(operand));
            NAME(lay_row)(edges[0], edges[1], out);
        }
    }
}

/* Numbers of scratch that `transposed_product` needs. */
size_t NAME(transposed_product_scratch)(void) {
    return NAME(rows_size)(WINDOW_ROWS, SUMMED_ROWS) + STRIP_GROUPS * NAME(group_size)(SUMMED_ROWS);
}

/* out += a^T b, summed over R rows, for the groups [first, last) and in each of them the rows [top, bottom). out:
 * (groups, K, GROUP). a: (R, a_width), of which the first K columns count; b: (R, b_width), of which the first N count.
 * Along the way, unless sums (, N) is null: sums[ids[r]] += b[r]; if ids is null, sums[0] += b[r].
 * For each block of rows, the columns of b are packed as panels, and those of a, a window at a time, as rows. */
void NAME(transposed_product)(size_t R, size_t K, size_t N, size_t first, size_t last, size_t top, size_t bottom,
                              const operand *a, size_t a_width, const operand *b, size_t b_width, const int64_t *ids,
                              float *sums, float *out, operand *scratch) {
    size_t windows = (bottom - top + WINDOW_ROWS - 1) / WINDOW_ROWS;
    operand *strip = scratch + NAME(rows_size)(WINDOW_ROWS, SUMMED_ROWS);
    for (size_t r = 0; r < R; r += SUMMED_ROWS)
        for (size_t begin = first; begin < last; begin += STRIP_GROUPS) {
            size_t depth = R - r < SUMMED_ROWS ? R - r : SUMMED_ROWS;
            size_t groups = last - begin < STRIP_GROUPS ? last - begin : STRIP_GROUPS;
            size_t n = begin * GROUP, columns = N - n < groups * GROUP ? N - n : groups * GROUP;
            NAME(pack_strip)(depth, columns, b + r * b_width + n, b_width, ids ? ids + r : NULL, sums ? sums + n : NULL, N,
                             strip);
            for (size_t window = 0, k = top; window < windows; window++) {
                size_t rows = top + (bottom - top) * (window + 1) / windows - k;
                NAME(pack_columns)(rows, depth, a + r * a_width + k, a_width, scratch);
                for (size_t group = 0; group < groups; group++)
                    NAME(add_product)(rows, depth, scratch, strip + group * NAME(group_size)(depth),
                                      strip + (group + 1) % groups * NAME(group_size)(depth),
                                      out + ((begin + group) * K + k) * GROUP);
                k += rows;
            }
        }
}

/* Rows [first, last) of out (K, N) = scale * by_group, the sums of `transposed_product`; a few contiguous rows of each group at
 * a time. order: PLAIN, or COLUMNS_BY_GATES if the columns are grouped gates of `units` units, which `out` holds gate by gate. */
void NAME(side_by_side)(size_t K, size_t N, int order, size_t units, size_t first, size_t last, const float *by_group,
                        float scale, float *out) {
    for (size_t begin = first; begin < last; begin += ROWS_OF_GROUP)
        for (size_t group = 0; group < NAME(packed_groups)(N); group++) {
            size_t end = last - begin < ROWS_OF_GROUP ? last : begin + ROWS_OF_GROUP, column[4], columns[4], whole = 0;
            for (size_t j = 0; j < 4; j++) {
                columns[j] = NAME(span)((group * 4 + j) * VL, N, order == COLUMNS_BY_GATES, units, &column[j]);
                whole += columns[j] == VL;
            }
            const float *from = by_group + (group * K + begin) * GROUP;
            for (size_t r = begin; r < end; r++, from += GROUP)
                for (size_t j = 0; j < 4; j++) {
                    vec sums = scale * load(from + j * VL);
                    if (whole == 4) store(out + r * N + column[j], sums);
                    else if (columns[j]) store_edge(out + r * N + column[j], sums, columns[j]);
                }
        }
}
