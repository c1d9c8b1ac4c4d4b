/* The decoder's matrix products: its rows, few and new at every step, are read in place, whereas training packs its rows first
 * (see `products.h`). Each sum is accumulated in the same order in both.
 *
 * A panel is a row-major matrix (K, 4 VL). MR: rows of a register tile.
 */
#ifndef UNROLLED_DECODE_PRODUCTS_H
#define UNROLLED_DECODE_PRODUCTS_H

#include "vectors.h"

#if VL == 16
#define MR 6
#else
#define MR 3
#endif

/* acc[m][0..3] += x[m] (K,) @ panel (K, 4 VL), for `rows` rows. Unrolled to keep the sums in registers. */
#define PRODUCT(rows)                                                                                                  \
    static inline void product_##rows(size_t K, const float *const *x, const float *panel, vec acc[][4]) {             \
        vec s[rows][4];                                                                                                \
        UNROLL for (int m = 0; m < rows; m++) UNROLL for (int j = 0; j < 4; j++) s[m][j] = acc[m][j];                  \
        FOUR_TIMES for (size_t k = 0; k < K; k++, panel += 4 * VL) {                                                   \
            vec x_k[rows];                                                                                             \
            UNROLL for (int m = 0; m < rows; m++) x_k[m] = splat(x[m][k]);                                             \
            UNROLL for (int j = 0; j < 4; j++) {                                                                       \
                vec w = load(panel + j * VL);                                                                          \
                UNROLL for (int m = 0; m < rows; m++) s[m][j] += x_k[m] * w;                                           \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (int m = 0; m < rows; m++) UNROLL for (int j = 0; j < 4; j++) acc[m][j] = s[m][j];                  \
    }
PRODUCT(1)
PRODUCT(2)
PRODUCT(3)
#if MR == 6
PRODUCT(4)
PRODUCT(5)
PRODUCT(6)
#endif
static inline void product(size_t rows, size_t K, const float *const *x, const float *panel, vec acc[][4]) {
    switch (rows) {
    case 1: product_1(K, x, panel, acc); break;
    case 2: product_2(K, x, panel, acc); break;
    case 3: product_3(K, x, panel, acc); break;
#if MR == 6
    case 4: product_4(K, x, panel, acc); break;
    case 5: product_5(K, x, panel, acc); break;
    case 6: product_6(K, x, panel, acc); break;
#endif
    }
}

/* sums[m][0..3] += row m (K,) of x, `stride` floats apart, @ panel (K, 4 VL). A block of the panel fits in
 * the first-level cache and is used for all rows before the next block is read. */
#define BLOCK 128
static void product_of_chunk(size_t rows, size_t K, const float *x, size_t stride, const float *panel, vec sums[][4]) {
    for (size_t k = 0; k < K; k += BLOCK) {
        size_t depth = K - k < BLOCK ? K - k : BLOCK;
        for (size_t m = 0; m < rows; m += MR) {
            const float *tile[MR];
            size_t height = rows - m < MR ? rows - m : MR;
            for (size_t r = 0; r < height; r++) tile[r] = x + (m + r) * stride + k;
            product(height, depth, tile, panel + k * 4 * VL, sums + m);
        }
    }
}

#endif
