/* The recurrence of an LSTM layer in plain C: pointers in, pointers out.
 *
 * Forward, t = 1..T:   a = p_t + h_{t-1} W      i, f, o = sigmoid(a)   g = tanh(a)
 *                      c_t = f c_{t-1} + i g    h_t = o tanh(c_t)
 * Backward, t = T..1:  dh_t = grad_h_t + da_{t+1} W^T, and the derivatives of `fused.py`.
 *
 * Why it is fast: a thread takes its own rows of the batch through all time steps and never meets another; W is packed once,
 * so that the four gates of VL hidden units lie side by side; their activations are computed while the product is in the
 * first-level cache. Rows do not see each other, so the numbers do not depend on how rows are split or batched.
 *
 * Two kinds of operands, float32 and bfloat16, from one text: each header below is included once for each. With bfloat16,
 * weights, states and derivatives are rounded when they are multiplied and kept; all sums, the running cell state and the
 * derivatives of the states are float32.
 *
 * T: steps, B: rows, H: hidden size, VL: floats in a vector. Gates in memory: (T, B, 4, H), in the order i f g o.
 */
#include <math.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

#include "team.h"
#include "vectors.h"

#define CHUNK_ROWS 60    /* rows whose sums of one group are in the first-level cache */
#define WINDOW_ROWS 264  /* the same of products outside the recurrence: more rows for each reading of the weights */
#define DEPTH 1024       /* numbers of such a row that are packed together */
#define SUMMED_ROWS 256  /* products of rows that are summed before the sums go to memory */
#define STRIP_GROUPS 32  /* groups of columns that are packed for them together: as a rule, all that a thread has */
#define ROWS_AT_A_TIME 8 /* of a matrix that is put in another order */
#define ROWS_OF_GROUP 32 /* of sums that are copied together */
#define ROWS_AHEAD 2     /* how far ahead it is read, across rows and along them: the processor does not see it coming */
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

/* Floats in a vector, VL: how units are grouped. */
size_t lstm_vector_length(void) { return VL; }

/* What this processor can run: 3 AVX-512 with bfloat16, 2 AVX-512, 1 AVX2 with FMA, 0 anything. */
int lstm_processor_level(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned a = 0, b, c, d; /* older compilers know no name for bfloat16 */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1) ? 3 : 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
