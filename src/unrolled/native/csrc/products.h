/* Matrix products of small panels, for operands of one kind: float32, or bfloat16 whose products are summed in float32.
 *
 * Included once for each kind, with BFLOAT16 0 or 1; NAME(f) is f_float32 or f_bfloat16.
 *
 * A packed matrix (K, N) is divided into groups of 4 VL columns, a group into blocks of BLOCK_K rows, a block into two panels
 * of 2 VL columns. A panel is read sequentially; it fits in the first-level cache and is used for all rows of the other operand
 * before the next one is read. Bfloat16 rows are stored in pairs: the two numbers of a column are adjacent.
 * Each sum is accumulated over k = 0..K-1 in this order for any number of rows: results do not depend on how rows are batched.
 * (The bfloat16 instruction adds the second product of a pair before the first, and treats denormal numbers as zero.)
 */
#undef NAME
#undef operand
#undef PAIR
#undef BLOCK_K
#if BFLOAT16
#define NAME(f) f##_bfloat16
#define operand uint16_t
#define PAIR 2
#define BLOCK_K 256
#else
#define NAME(f) f##_float32
#define operand float
#define PAIR 1
#define BLOCK_K (VL == 16 ? 128 : 256) /* a panel of at most 16 KiB */
#endif

#ifndef UNROLLED_PRODUCTS_ONCE
#define UNROLLED_PRODUCTS_ONCE
#define PANEL 2                /* vectors in a row of a panel */
#define GROUP (2 * PANEL * VL) /* columns of a group, for example VL units of each of the four gates */
#if VL == 16
#define TILE_ROWS 12
#else
#define TILE_ROWS 6
#endif
#define LINE (64 / sizeof(operand)) /* numbers of a cache line */
#define FEW_ROWS 3 /* up to this many, both panels of a block are needed to keep the multipliers busy */

enum { PLAIN, COLUMNS_BY_GATES, ROWS_BY_GATES }; /* see `pack` */

typedef uint16_t words __attribute__((vector_size(VL * 2)));
typedef uint32_t uvec __attribute__((vector_size(VL * 4)));
typedef uint16_t unaligned_words __attribute__((vector_size(VL * 2), aligned(2), may_alias));
typedef uint32_t unaligned_pairs __attribute__((vector_size(VL * 4), aligned(2), may_alias));
typedef uint32_t unaligned_pair __attribute__((aligned(2), may_alias));

/* Rounds to the nearest bfloat16, ties to even; a NaN stays a NaN. */
static inline uvec rounded_bits(vec v) {
    uvec bits = (uvec)v;
    uvec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uvec)select_(v == v, (vec)rounded, (vec)((bits >> 16) | 0x40));
}
static inline words rounded(vec v) {
#if defined(__AVX512BF16__)
    return (words)_mm512_cvtneps_pbh((__m512)v);
#else
    return __builtin_convertvector(rounded_bits(v), words);
#endif
}
static inline vec half_of_pairs(uvec pairs, int odd) { return (vec)(odd ? pairs & 0xffff0000u : pairs << 16); }
static inline vec widened(words w) { return (vec)(__builtin_convertvector(w, uvec) << 16); }

/* out[k * TILE_ROWS + r] = row[r][k], k < count. */
static void lay_side_by_side(size_t count, const unaligned_pair *const row[TILE_ROWS], unaligned_pair *out) {
    size_t k = 0;
#if defined(__SSE2__)
    for (; k + 4 <= count; k += 4) /* transposes four numbers of four rows; of two rows at the end */
        for (size_t r = 0; r < TILE_ROWS; r += 4) {
            __m128i a = _mm_loadu_si128((const __m128i *)(row[r] + k));
            __m128i b = _mm_loadu_si128((const __m128i *)(row[r + 1] + k));
            __m128i ab = _mm_unpacklo_epi32(a, b), ab_on = _mm_unpackhi_epi32(a, b);
            unaligned_pair *at = out + k * TILE_ROWS + r;
            if (r + 4 > TILE_ROWS) {
                _mm_storel_epi64((__m128i *)at, ab);
                _mm_storeh_pd((double *)(at + TILE_ROWS), _mm_castsi128_pd(ab));
                _mm_storel_epi64((__m128i *)(at + 2 * TILE_ROWS), ab_on);
                _mm_storeh_pd((double *)(at + 3 * TILE_ROWS), _mm_castsi128_pd(ab_on));
                break;
            }
            __m128i c = _mm_loadu_si128((const __m128i *)(row[r + 2] + k));
            __m128i d = _mm_loadu_si128((const __m128i *)(row[r + 3] + k));
            __m128i cd = _mm_unpacklo_epi32(c, d), cd_on = _mm_unpackhi_epi32(c, d);
            _mm_storeu_si128((__m128i *)at, _mm_unpacklo_epi64(ab, cd));
            _mm_storeu_si128((__m128i *)(at + TILE_ROWS), _mm_unpackhi_epi64(ab, cd));
            _mm_storeu_si128((__m128i *)(at + 2 * TILE_ROWS), _mm_unpacklo_epi64(ab_on, cd_on));
            _mm_storeu_si128((__m128i *)(at + 3 * TILE_ROWS), _mm_unpackhi_epi64(ab_on, cd_on));
        }
#endif
    for (; k < count; k++)
        for (size_t r = 0; r < TILE_ROWS; r++) out[k * TILE_ROWS + r] = row[r][k];
}
#endif

static inline size_t NAME(even)(size_t K) { return (K + PAIR - 1) / PAIR * PAIR; }

#if BFLOAT16
static inline vec NAME(load)(const operand *p, size_t n) {
    words w = {0};
    if (n >= VL) w = *(const unaligned_words *)p;
    else memcpy(&w, p, n * sizeof(operand));
    return widened(w);
}
static inline void NAME(store)(operand *p, vec v, size_t n) {
    words w = rounded(v);
    if (n >= VL) *(unaligned_words *)p = w;
    else memcpy(p, &w, n * sizeof(operand));
}
#else
static inline vec NAME(load)(const operand *p, size_t n) { return load_edge(p, n); }
static inline void NAME(store)(operand *p, vec v, size_t n) { store_edge(p, v, n); }
#endif

/* Multiplies one row (or pair of rows) of a panel by one number (or pair) of each of R rows. */
#undef MULTIPLY
#if !BFLOAT16
#define MULTIPLY(R, C, w_at)                                                                                           \
    vec w[C];                                                                                                          \
    UNROLL for (int j = 0; j < C; j++) w[j] = load(w_at);                                                              \
    UNROLL for (int m = 0; m < R; m++) {                                                                               \
        vec x_k = splat(x[k * TILE_ROWS + m]);                                                                            \
        UNROLL for (int j = 0; j < C; j++) s[m][j] += x_k * w[j];                                                      \
    }
#elif defined(__AVX512BF16__)
#define MULTIPLY(R, C, w_at)                                                                                           \
    __m512bh w[C];                                                                                                     \
    UNROLL for (int j = 0; j < C; j++) w[j] = (__m512bh)_mm512_loadu_si512(w_at);                                      \
    UNROLL for (int m = 0; m < R; m++) {                                                                               \
        __m512bh x_k = (__m512bh)_mm512_set1_epi32((int)*(const unaligned_pair *)(x + k * TILE_ROWS + m * PAIR));                \
        UNROLL for (int j = 0; j < C; j++) s[m][j] = (vec)_mm512_dpbf16_ps((__m512)s[m][j], x_k, w[j]);                \
    }
#else
#define MULTIPLY(R, C, w_at)                                                                                           \
    UNROLL for (int odd = 0; odd < 2; odd++) {                                                                         \
        vec w[C];                                                                                                      \
        UNROLL for (int j = 0; j < C; j++) w[j] = half_of_pairs(*(const unaligned_pairs *)(w_at), odd);                \
        UNROLL for (int m = 0; m < R; m++) {                                                                           \
            vec x_k = half_of_pairs(*(const unaligned_pair *)(x + k * TILE_ROWS + m * PAIR) - (uvec){0}, odd);                   \
            UNROLL for (int j = 0; j < C; j++) s[m][j] += x_k * w[j];                                                  \
        }                                                                                                              \
    }
#endif

/* sums (R, 4 VL): C vectors of row m += row m (K,) of a tile of packed rows @ panel. AHEAD: also prefetches from `ahead`, one
 * panel row per panel row. */
#undef TILE
#define TILE(R, C, label, w_at, AHEAD)                                                                                 \
    static void NAME(tile_##label##_##R)(size_t K, const operand *x, const operand *panel, size_t apart,               \
                                         const operand *ahead, float *sums) {                                          \
        vec s[R][C];                                                                                                   \
        UNROLL for (int m = 0; m < R; m++) UNROLL for (int j = 0; j < C; j++) s[m][j] = load(sums + (m * 4 + j) * VL);  \
        (void)apart, (void)ahead;                                                                                      \
        MANY_TIMES for (size_t k = 0; k < K; k += PAIR, panel += PANEL * VL * PAIR) {                                  \
            UNROLL for (size_t at = 0; AHEAD && at < C * VL * PAIR; at += LINE)                                        \
                __builtin_prefetch(ahead + k * (C * VL) + at);                                                         \
            MULTIPLY(R, C, w_at)                                                                                       \
        }                                                                                                              \
        UNROLL for (int m = 0; m < R; m++) UNROLL for (int j = 0; j < C; j++) store(sums + (m * 4 + j) * VL, s[m][j]);  \
    }
#define ONE_PANEL(R)                                                                                                   \
    TILE(R, PANEL, one, panel + j * VL * PAIR, 0) TILE(R, PANEL, last, panel + j * VL * PAIR, 1)
#define TWO_PANELS(R) TILE(R, 2 * PANEL, two, panel + (j / PANEL) * apart + j % PANEL * VL * PAIR, 1)
ONE_PANEL(1) ONE_PANEL(2) ONE_PANEL(3) ONE_PANEL(4) ONE_PANEL(5) ONE_PANEL(6)
#if TILE_ROWS == 12
ONE_PANEL(7) ONE_PANEL(8) ONE_PANEL(9) ONE_PANEL(10) ONE_PANEL(11) ONE_PANEL(12)
#endif
TWO_PANELS(1) TWO_PANELS(2) TWO_PANELS(3)
#undef ONE_PANEL
#undef TWO_PANELS

typedef void (*NAME(tile))(size_t, const operand *, const operand *, size_t, const operand *, float *);
#define BOTH(R) {NAME(tile_one_##R), NAME(tile_last_##R)}
static const NAME(tile) NAME(tiles_of_one)[][2] = {
    {0, 0}, BOTH(1), BOTH(2), BOTH(3), BOTH(4), BOTH(5), BOTH(6),
#if TILE_ROWS == 12
    BOTH(7), BOTH(8), BOTH(9), BOTH(10), BOTH(11), BOTH(12),
#endif
};
#undef BOTH
static const NAME(tile) NAME(tiles_of_two)[] = {0, NAME(tile_two_1), NAME(tile_two_2), NAME(tile_two_3)};

/* Numbers that `rows` packed rows take. */
static inline size_t NAME(rows_size)(size_t rows, size_t K) {
    return (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS * NAME(even)(K);
}

/* Packs rows of x (K,), `stride` numbers apart, into tiles of nearly equal height; in a tile, the TILE_ROWS numbers (or pairs)
 * of each k are adjacent. Missing rows of a tile repeat its first row. */
static void NAME(pack_rows)(size_t rows, size_t K, const operand *x, size_t stride, operand *packed) {
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, count = NAME(even)(K) / PAIR;
    for (size_t tile = 0, m = 0; tile < tiles; tile++) {
        size_t height = rows * (tile + 1) / tiles - m;
        const unaligned_pair *row[TILE_ROWS];
        for (size_t r = 0; r < TILE_ROWS; r++) row[r] = (const unaligned_pair *)(x + (m + (r < height ? r : 0)) * stride);
        lay_side_by_side(count, row, (unaligned_pair *)packed + tile * count * TILE_ROWS);
        m += height;
    }
}

/* sums (rows, GROUP) += packed rows (rows, K) @ a group of a packed matrix; `next` is the group that will be read next.
 * Fetching a panel from the last-level cache takes longer than a few rows take to use it, so the last tile that uses a panel
 * prefetches the next one. (Spreading this over all tiles costs instructions, which matter if two threads share a core.) */
static void NAME(add_product)(size_t rows, size_t K, const operand *x, const operand *group, const operand *next,
                              float *sums) {
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, tile_size = TILE_ROWS * NAME(even)(K);
    for (size_t k = 0; k < K; k += BLOCK_K) {
        size_t depth = K - k < BLOCK_K ? K - k : BLOCK_K, panel_size = NAME(even)(depth) * PANEL * VL;
        const operand *x_k = x + k * TILE_ROWS, *after = k + depth < K ? group + 2 * panel_size : next;
        if (rows <= FEW_ROWS) {
            if (rows) NAME(tiles_of_two)[rows](depth, x_k, group, panel_size, after, sums);
        } else
            for (int half = 0; half < 2; half++)
                for (size_t tile = 0, m = 0; tile < tiles; tile++) {
                    size_t height = rows * (tile + 1) / tiles - m;
                    for (size_t r = m + height; r < m + height + TILE_ROWS; r++) /* the next tile reads its sums first */
                        __builtin_prefetch(sums + (r * 4 + half * PANEL) * VL, 1);
                    NAME(tiles_of_one)[height][tile + 1 == tiles](depth, x_k + tile * tile_size, group + half * panel_size,
                                                                  0, half ? after : group + panel_size,
                                                                  sums + (m * 4 + half * PANEL) * VL);
                    m += height;
                }
        group += 2 * panel_size;
    }
}

/* Numbers in a group of a packed matrix of K rows. */
static inline size_t NAME(group_size)(size_t K) {
    return (K / BLOCK_K * BLOCK_K + NAME(even)(K % BLOCK_K)) * GROUP;
}
