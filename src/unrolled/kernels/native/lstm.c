/* The recurrence of an LSTM layer in plain C: pointers in, pointers out.
 *
 * Forward, t = 1..T:   a = p_t + h_{t-1} W      i, f, o = sigmoid(a)   g = tanh(a)
 *                      c_t = f c_{t-1} + i g    h_t = o tanh(c_t)
 * Backward, t = T..1:  dh_t = grad_h_t + da_{t+1} W^T, and the derivatives of `fused.py`.
 *
 * Why it is fast: a thread takes its own rows of the batch through all time steps and never meets another; W is packed once,
 * so that the four gates of VL hidden units lie side by side; their activations are computed on the product while it is in
 * registers. Rows do not see each other, so the numbers do not depend on how rows are split or batched.
 *
 * T: steps, B: rows, H: hidden size, U: H rounded up to whole vectors, VL: floats in a vector, MR: rows of a register tile.
 * Gates in memory: (T, B, 4, H), in the order i f g o.
 */
#include "vectors.h"

/* Number of floats that a packed W takes. */
size_t lstm_packed_size(size_t H) { size_t U = (H + VL - 1) / VL; return U * VL * 4 * H; }
size_t lstm_packed_transposed_size(size_t H) { size_t U = (H + 4 * VL - 1) / (4 * VL); return U * VL * 4 * 4 * H; }

/* W (H, 4H) -> for each group of VL units: H rows of the four gates' VL columns, zeros beyond H. */
void lstm_pack(size_t H, const float *w, float *packed) {
    for (size_t u = 0; u < H; u += VL)
        for (size_t k = 0; k < H; k++)
            for (size_t gate = 0; gate < 4; gate++)
                for (size_t v = 0; v < VL; v++)
                    *packed++ = u + v < H ? w[k * 4 * H + gate * H + u + v] : 0;
}

/* W (H, 4H) -> W^T in groups of 4 VL units: 4H rows of 4 VL columns, zeros beyond H. */
void lstm_pack_transposed(size_t H, const float *w, float *packed) {
    for (size_t u = 0; u < H; u += 4 * VL)
        for (size_t k = 0; k < 4 * H; k++)
            for (size_t v = 0; v < 4 * VL; v++)
                *packed++ = u + v < H ? w[(u + v) * 4 * H + k] : 0;
}

/* Rows [first, last) of the batch through all steps. `source`: (T, B, 4H), or a table (V, 4H) that `ids` (T, B) look up. */
void lstm_forward(size_t T, size_t B, size_t H, size_t first, size_t last, const float *source, const int64_t *ids,
                  const float *packed, const float *h0, const float *c0, float *gates, float *h, float *c) {
    vec a[CHUNK][4];
    for (size_t t = 0; t < T; t++) {
        const float *h_before = t ? h + (t - 1) * B * H : h0;
        const float *c_before = t ? c + (t - 1) * B * H : c0;
        const float *panel = packed;
        for (size_t u = 0; u < H; u += VL, panel += 4 * VL * H) {
            size_t n = H - u;
            for (size_t r = first; r < last; r += CHUNK) {
                size_t rows = last - r < CHUNK ? last - r : CHUNK;
                for (size_t m = 0; m < rows; m++) {
                    size_t at = t * B + r + m;
                    const float *p = source + (ids ? (size_t)ids[at] : at) * 4 * H + u;
                    for (int j = 0; j < 4; j++) a[m][j] = load_edge(p + j * H, n);
                }
                product_of_chunk(rows, H, h_before + r * H, H, panel, a);
                for (size_t m = 0; m < rows; m++) {
                    size_t at = t * B + r + m;
                    vec i = sigmoid_(a[m][0]), f = sigmoid_(a[m][1]), g = tanh_(a[m][2]), o = sigmoid_(a[m][3]);
                    vec c_new = f * load_edge(c_before + (r + m) * H + u, n) + i * g;
                    float *kept = gates + at * 4 * H + u;
                    store_edge(kept, i, n);
                    store_edge(kept + H, f, n);
                    store_edge(kept + 2 * H, g, n);
                    store_edge(kept + 3 * H, o, n);
                    store_edge(c + at * H + u, c_new, n);
                    store_edge(h + at * H + u, o * tanh_(c_new), n);
                }
            }
        }
    }
}

/* The derivatives at one step and VL units of one row: dh is whole; dc is updated to what reaches the step before. */
static inline void cell_backward(vec dh, float *dc, const float *gates, size_t H, const float *c, const float *c_before,
                                 float *d_gates, size_t n) {
    vec i = load_edge(gates, n), f = load_edge(gates + H, n), g = load_edge(gates + 2 * H, n), o = load_edge(gates + 3 * H, n);
    vec tanh_c = tanh_(load_edge(c, n));
    vec d = load_edge(dc, n) + dh * o * (1.0f - tanh_c * tanh_c);
    store_edge(d_gates, d * g * i * (1.0f - i), n);
    store_edge(d_gates + H, d * load_edge(c_before, n) * f * (1.0f - f), n);
    store_edge(d_gates + 2 * H, d * i * (1.0f - g * g), n);
    store_edge(d_gates + 3 * H, dh * tanh_c * o * (1.0f - o), n);
    store_edge(dc, d * f, n);
}

/* Rows [first, last) back through all steps. dh, dc (B, H): in, the derivative by the last h beyond grad_h and by the last c;
 * out, those by h0 and c0. d_gates (T, B, 4H): out. grad_h: (T, B, H). */
void lstm_backward(size_t T, size_t B, size_t H, size_t first, size_t last, const float *grad_h, const float *packed_t,
                   const float *gates, const float *c, const float *c0, float *dh, float *dc, float *d_gates) {
    vec d[CHUNK][4];
    for (size_t left = T + 1; left-- > 0;) { /* left: steps before the one whose dh is made; 0: dh0 is */
        size_t t = left - 1;
        const float *panel = packed_t;
        for (size_t u = 0; u < H; u += 4 * VL, panel += 16 * VL * H) {
            for (size_t r = first; r < last; r += CHUNK) {
                size_t rows = last - r < CHUNK ? last - r : CHUNK;
                for (size_t m = 0; m < rows; m++)
                    for (int j = 0; j < 4; j++) {
                        size_t uj = u + j * VL, row = (r + m) * H + uj;
                        d[m][j] = (vec){0};
                        if (uj < H && left) d[m][j] += load_edge(grad_h + t * B * H + row, H - uj);
                        if (uj < H && left == T) d[m][j] += load_edge(dh + row, H - uj);
                    }
                if (left < T) product_of_chunk(rows, 4 * H, d_gates + (left * B + r) * 4 * H, 4 * H, panel, d);
                for (size_t m = 0; m < rows; m++)
                    for (int j = 0; j < 4; j++) {
                        size_t uj = u + j * VL, row = (r + m) * H + uj, at = t * B * H + row, n = H - uj;
                        size_t gate = (t * B + r + m) * 4 * H + uj;
                        if (uj >= H) continue;
                        if (left == 0)
                            store_edge(dh + row, d[m][j], n);
                        else
                            cell_backward(d[m][j], dc + row, gates + gate, H, c + at, t ? c + at - B * H : c0 + row,
                                          d_gates + gate, n);
                    }
            }
        }
    }
}

/* What this processor can run: 2 AVX-512, 1 AVX2 with FMA, 0 anything. */
int lstm_processor_level(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
