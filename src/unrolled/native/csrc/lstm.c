/* The recurrence of an LSTM layer in plain C: pointers in, pointers out.
 *
 * Forward, t = 1..T:   a = p_t + h_{t-1} W      i, f, o = sigmoid(a)   g = tanh(a)
 *                      c_t = f c_{t-1} + i g    h_t = o tanh(c_t)
 * Backward, t = T..1:  dh_t = grad_h_t + da_{t+1} W^T, and the derivatives of `fused.py`.
 *
 * Why it is fast: each thread takes its own rows of the batch through all time steps without synchronizing; W is packed once
 * with the four gates of VL hidden units side by side; their activations are computed while the product is in the first-level
 * cache. Rows are independent, so the results do not depend on how rows are split between threads or batches.
 *
 * One source serves two kinds of operands, float32 and bfloat16: each header below is included once for each. With bfloat16,
 * weights, states and derivatives are rounded when they are multiplied and when they are saved for the backward pass; all sums,
 * the running cell state and the derivatives of the states are float32.
 *
 * T: steps, B: rows, H: hidden size, VL: floats in a vector. Gates in memory: (T, B, 4, H), in the order i f g o.
 */
#include <math.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

#include "team.h"
#include "vectors.h"

#define CHUNK_ROWS 60    /* rows whose sums of one group fit in the first-level cache */
#define WINDOW_ROWS 264  /* the same outside the recurrence: more rows per read of the weights */
#define DEPTH 1024       /* numbers of such a row that are packed at a time */
#define SUMMED_ROWS 256  /* rows summed up before the sums are written to memory */
#define STRIP_GROUPS 32  /* groups of columns packed for them at a time: usually all of a thread's */
#define ROWS_AT_A_TIME 8 /* of a matrix that is being reordered */
#define ROWS_OF_GROUP 32 /* of sums that are copied at a time */
#define ROWS_AHEAD 2     /* prefetch distance across rows and along them: the hardware prefetcher misses this pattern */
#define COLUMNS_AHEAD 32

#define BFLOAT16 0
#include "products.h"
#include "recurrence.h"
#include "dense.h"
#include "softmax.h"
#include "orthogonal.h"
#include "parts.h"
#undef BFLOAT16
#define BFLOAT16 1
#include "products.h"
#include "recurrence.h"
#include "dense.h"
#include "softmax.h"
#include "parts.h"

/* VL, the number of floats in a vector: units are grouped by it. */
size_t lstm_vector_length(void) { return VL; }

/* Instruction set of this processor: 3 AVX-512 with bfloat16, 2 AVX-512, 1 AVX2 with FMA, 0 anything else. */
int lstm_processor_level(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned a = 0, b, c, d; /* older compilers have no name for AVX512-BF16 */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1) ? 3 : 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
