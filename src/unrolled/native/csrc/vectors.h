/* Shared by all C kernels: vectors of floats, with exp, sigmoid and tanh.
 *
 * Uses the compiler's vector extensions, so one source serves every processor; the -m flags determine the vector width.
 *
 * VL: floats in a vector.
 */
#ifndef UNROLLED_VECTORS_H
#define UNROLLED_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__AVX512F__) || defined(UNROLLED_WIDE) /* UNROLLED_WIDE: for tests, the widest vectors on any processor */
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif

typedef float vec __attribute__((vector_size(VL * 4)));
typedef int32_t ivec __attribute__((vector_size(VL * 4)));
typedef float unaligned __attribute__((vector_size(VL * 4), aligned(4), may_alias));

static inline vec splat(float x) { return x - (vec){0}; } /* compiles to one broadcast; x + 0 does not */
static inline vec load(const float *p) { return *(const unaligned *)p; }
static inline void store(float *p, vec v) { *(unaligned *)p = v; }
static inline vec select_(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

/* Fewer than VL floats, at the right edge of a row. */
static inline vec load_n(const float *p, size_t n) {
    vec v = {0};
    memcpy(&v, p, n * sizeof(float));
    return v;
}
static inline void store_n(float *p, vec v, size_t n) { memcpy(p, &v, n * sizeof(float)); }
static inline vec load_edge(const float *p, size_t n) { return n >= VL ? load(p) : load_n(p, n); }
static inline void store_edge(float *p, vec v, size_t n) { if (n >= VL) store(p, v); else store_n(p, v, n); }

/* Clamps x to [least, most]; a NaN stays a NaN. */
static inline vec bounded(vec x, float least, float most) {
#if VL == 16 && defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)splat(least), _mm512_min_ps((__m512)splat(most), (__m512)x));
#elif VL == 8
    return (vec)_mm256_max_ps((__m256)splat(least), _mm256_min_ps((__m256)splat(most), (__m256)x));
#else
    x = select_(x > most, splat(most), x);
    return select_(x < least, splat(least), x);
#endif
}

/* exp(a x) for a = 1, -1 or -2: a x = n ln 2 + a r, a r in [-ln2/2, ln2/2]; exp(a r) by the minimax polynomial of degree 6 that
 * begins with 1 + a r, with a relative error of at most 3e-9. Powers of a are folded into the constants, without rounding. */
static inline vec exp_of_times(vec x, float a) {
    const float shift = 12582912.0f, a2 = a * a; /* 1.5 * 2^23: adding it rounds to an integer, in the lowest bits */
    x = bounded(x, a2 > 1 ? -43.5f : -87.0f, a2 > 1 ? 43.5f : 87.0f);
    vec shifted = x * (1.44269504f * a) + shift, n = shifted - shift;
    vec r = x - n * (0.693359375f / a);
    r = r - n * (-2.12194440e-4f / a);
    vec p = splat(1.38145988e-3f * a2 * a2 * a2);
    p = p * r + 8.36871658e-3f * a2 * a2 * a;
    p = p * r + 4.16683890e-2f * a2 * a2;
    p = p * r + 1.66665211e-1f * a2 * a;
    p = p * r + 0.49999994f * a2;
    p = p * r + a;
    p = p * r + 1.0f;
    return p * (vec)(((ivec)shifted + 127) << 23); /* times 2^n; a NaN stays a NaN */
}
static inline vec exp_(vec x) { return exp_of_times(x, 1); }
static inline vec sigmoid_(vec x) { return 1.0f / (1.0f + exp_of_times(x, -1)); }
static inline vec tanh_(vec x) { return 2.0f / (1.0f + exp_of_times(x, -2)) - 1.0f; }

/* For a loop with few iterations: fully unrolled, to keep an array of vectors in registers. */
#define UNROLL _Pragma("GCC unroll 16")
/* For a short loop with many iterations: on some processors an iteration takes at least seven cycles. */
#define FOUR_TIMES _Pragma("GCC unroll 4")
#if VL == 8
#define MANY_TIMES _Pragma("GCC unroll 8")
#else
#define MANY_TIMES FOUR_TIMES
#endif

#endif
