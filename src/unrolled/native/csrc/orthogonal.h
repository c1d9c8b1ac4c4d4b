/* The nearest matrix whose singular values are all near 1, by Newton-Schulz iteration, for Muon; see
 * `unrolled.training.optimizers.muon`. Included by `lstm.c` for float32 only: rounding to bfloat16 would lose small singular
 * values.
 *
 *     S = X X^T       X <- a X + (b S + c S S) X
 *
 * S and b S + c S S are symmetric: only their lower triangle is computed, and then mirrored. Each matrix is processed by a
 * single thread.
 */
#define SMALLEST 1.17549435e-38f
#define TO_TILES(rows) (((rows) + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS) /* a whole number of tiles */

/* The largest magnitude in x, and the Euclidean norm of x; at least the smallest normal number. */
static float largest_of(size_t count, const float *x) {
    vec most = splat(SMALLEST);
    for (size_t i = 0; i < count; i += VL) {
        vec v = load_edge(x + i, count - i);
        most = select_(v > most, v, most);
        most = select_(-v > most, -v, most);
    }
    float largest = most[0];
    for (int j = 1; j < VL; j++) largest = most[j] > largest ? most[j] : largest;
    return largest;
}
static float norm_of(size_t count, const float *x) {
    vec squares = {0};
    float sum = 0;
    for (size_t i = 0; i < count; i += VL) squares += load_edge(x + i, count - i) * load_edge(x + i, count - i);
    for (int j = 0; j < VL; j++) sum += squares[j];
    return sqrtf(sum) > SMALLEST ? sqrtf(sum) : SMALLEST;
}

/* out (R, N) = a before + c x W, before and out with rows of N; x: TO_TILES(R) packed rows of K numbers. `before` may be null.
 * The upper triangle of a symmetric result is mirrored. */
static void whole_product(size_t R, size_t K, size_t N, int is_symmetric, const float *x, const float *packed, float c,
                          float a, const float *before, float *out, float *sums) {
    for (size_t n = 0; n < N; n += GROUP) {
        size_t first = is_symmetric ? n / TILE_ROWS * TILE_ROWS : 0, next = n + GROUP < N ? n / GROUP + 1 : 0;
        memset(sums, 0, (TO_TILES(R) - first) * GROUP * sizeof *sums);
        add_product_float32(TO_TILES(R) - first, K, x + first * K, packed + n / GROUP * group_size_float32(K),
                            packed + next * group_size_float32(K), sums);
        for (size_t m = first; m < R; m++)
            for (size_t j = 0; j < GROUP && n + j < N; j += VL) {
                vec v = c * load(sums + (m - first) * GROUP + j);
                if (before) v += a * load_edge(before + m * N + n + j, N - n - j);
                store_edge(out + m * N + n + j, v, N - n - j);
            }
    }
    float tile[VL][VL];
    for (size_t n = 0; is_symmetric && n < N; n += VL)
        for (size_t m = 0; m < n / GROUP * GROUP; m += VL) { /* outside the diagonal's groups */
            size_t columns = N - n < VL ? N - n : VL;
            cut_tile_float32(VL, columns, out + n * N + m, 1, N, tile);
            for (size_t k = 0; k < VL; k++) store_edge(out + (m + k) * N + n, load(tile[k]), columns);
        }
}

/* Numbers of scratch that `orthogonal` needs: X, S and a polynomial of S, one of them packed as rows and one as a matrix. */
size_t orthogonal_scratch_float32(size_t R, size_t C) {
    size_t most = R > C ? R : C, rows = TO_TILES(R);
    size_t panels = packed_size_float32(C, R), others = packed_size_float32(R, most);
    return rows * (C + 2 * R + most + GROUP) + (panels > others ? panels : others);
}

/* Orthogonalizes the matrices [first, last) of `matrices` (, R, C) into out (, R, C), with `coefficients` (iterations, 3): a, b
 * and c of each iteration. X is first scaled by ||X X^T||^(1/2), so that its singular values are at most 1. R should be the
 * smaller side. */
void orthogonal_float32(size_t R, size_t C, size_t iterations, size_t first, size_t last, const float *matrices,
                        const float *coefficients, float *out, float *scratch) {
    size_t rows = TO_TILES(R), most = R > C ? R : C;
    float *x = scratch, *s = x + rows * C, *polynomial = s + rows * R, *packed_rows = polynomial + rows * R;
    float *sums = packed_rows + rows * most, *panels = sums + rows * GROUP;
    memset(scratch, 0, rows * (C + 2 * R) * sizeof *scratch); /* rows beyond the last stay zero */
    for (size_t number = first; number < last; number++) {
        const float *from = matrices + number * R * C;
        float largest = largest_of(R * C, from);
        for (size_t i = 0; i < R * C; i++) x[i] = from[i] / largest; /* avoids overflow of fourth powers */
        for (size_t k = 0; k < iterations; k++) {
            const float *abc = coefficients + 3 * k;
            pack_rows_float32(rows, C, x, C, packed_rows);
            pack_float32(C, R, PLAIN, 0, 0, packed_groups_float32(R), x, 1, C, panels);
            whole_product(R, C, R, 1, packed_rows, panels, 1, 0, NULL, s, sums);
            if (k == 0) {
                float bound = norm_of(R * R, s), root = sqrtf(bound);
                for (size_t i = 0; i < R * R; i++) s[i] /= bound;
                for (size_t i = 0; i < R * C; i++) x[i] /= root;
            }
            pack_rows_float32(rows, R, s, R, packed_rows);
            pack_float32(R, R, PLAIN, 0, 0, packed_groups_float32(R), s, R, 1, panels);
            whole_product(R, R, R, 1, packed_rows, panels, abc[2], abc[1], s, polynomial, sums);
            pack_rows_float32(rows, R, polynomial, R, packed_rows);
            pack_float32(R, C, PLAIN, 0, 0, packed_groups_float32(C), x, C, 1, panels);
            whole_product(R, R, C, 0, packed_rows, panels, 1, abc[0], x, x, sums);
        }
        memcpy(out + number * R * C, x, R * C * sizeof *out);
    }
}
