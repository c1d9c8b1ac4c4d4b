/* Decoding with a trained language model in plain C: the LSTM and its output layer, one token per row at a time.
 *
 *     a = source + below W_ih + h W_hh      i, f, o = sigmoid(a)    g = tanh(a)      source: table[id], or a layer's bias
 *     c' = f c + i g                        h' = o tanh(c')                          logits = h' W_out + b_out
 *
 * Why it is fast: the first layer's input product is a table lookup; the weights are packed once, with the four gates of VL
 * units side by side, and their activations are computed while the product is in registers; one call writes many tokens.
 * Each sum is accumulated in the same order for any number of rows, so a row's results do not depend on the others.
 */
#include "decode.h"
#include "decode_products.h"

#define ITEMS 96 /* rows or panels computed together: a multiple of MR */

static size_t groups_of(size_t size, size_t width) { return size / width + (size % width != 0); }

/* Floats that the packed weights of all layers take, and the packed output matrix. */
size_t decode_packed_size(size_t H, size_t L) { return groups_of(H, VL) * 4 * VL * H * (2 * L - 1); }
size_t decode_packed_output_size(size_t V, size_t H) { return groups_of(V, 4 * VL) * 4 * VL * H; }

/* w (K, 4H) -> for each group of VL units: K rows of the four gates' VL columns, zeros beyond H. K: H for the first layer,
 * where w is W_hh, and 2H for the layers above, where W_ih is stacked on W_hh. */
void decode_pack(size_t K, size_t H, const float *w, float *packed) {
    for (size_t u = 0; u < H; u += VL)
        for (size_t k = 0; k < K; k++)
            for (size_t gate = 0; gate < 4; gate++)
                for (size_t v = 0; v < VL; v++) *packed++ = u + v < H ? w[k * 4 * H + gate * H + u + v] : 0;
}

/* w (V, H) -> for each group of 4 VL tokens: H rows of their columns, zeros beyond V. */
void decode_pack_output(size_t V, size_t H, const float *w, float *packed) {
    for (size_t u = 0; u < V; u += 4 * VL)
        for (size_t k = 0; k < H; k++)
            for (size_t v = 0; v < 4 * VL; v++) *packed++ = u + v < V ? w[(u + v) * H + k] : 0;
}

/* The 16 bits of x as bfloat16, rounded to nearest, ties to even. */
static uint32_t bfloat16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) return bits >> 16 | 0x40; /* a NaN: rounding could turn it into infinity */
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* n packed weights, whole rows of panels -> n / 2 words. Gates (or vectors of tokens) 0 and 1 share a word, as do 2 and 3; the
 * even one is the low half. */
void decode_halve(size_t n, const float *packed, uint32_t *bfloat16) {
    for (size_t i = 0; i < n; i += 2 * VL)
        for (size_t v = 0; v < VL; v++) *bfloat16++ = bfloat16_of(packed[i + v]) | bfloat16_of(packed[i + VL + v]) << 16;
}

static inline vec even_half(const float *words) { return (vec)((ivec)load(words) << 16); }
static inline vec odd_half(const float *words) { return (vec)((ivec)load(words) & -65536); }

/* K rows of a bfloat16 panel -> K rows of a float32 panel. */
static void widen(size_t K, const float *bfloat16, float *panel) {
    for (size_t i = 0; i < 2 * K; i++, bfloat16 += VL, panel += 2 * VL) {
        store(panel, even_half(bfloat16));
        store(panel + VL, odd_half(bfloat16));
    }
}

static inline vec whole_vector(const float *row, int j) { return load(row + j * VL); }
static inline vec half_vector(const float *row, int j) {
    return j % 2 ? odd_half(row + j / 2 * VL) : even_half(row + j / 2 * VL);
}

/* sums[q][0..3] += x (K,) @ panel q, for consecutive panels `apart` floats apart, with `width` floats per panel row. A single
 * row needs two panels for enough independent sums to keep the multipliers busy. Each sum is accumulated in the order of
 * `product_of_chunk`. */
#define ROW_PRODUCT(name, panels, width, vector)                                                                       \
    static void name(size_t K, const float *x, const float *panel, size_t apart, vec sums[][4]) {                      \
        vec s[panels][4];                                                                                              \
        UNROLL for (int q = 0; q < panels; q++) UNROLL for (int j = 0; j < 4; j++) s[q][j] = sums[q][j];               \
        for (size_t k = 0; k < K; k++, panel += width) {                                                               \
            vec x_k = splat(x[k]);                                                                                     \
            UNROLL for (int q = 0; q < panels; q++)                                                                    \
                UNROLL for (int j = 0; j < 4; j++) s[q][j] += x_k * vector(panel + q * apart, j);                      \
        }                                                                                                              \
        UNROLL for (int q = 0; q < panels; q++) UNROLL for (int j = 0; j < 4; j++) sums[q][j] = s[q][j];               \
    }
ROW_PRODUCT(product_of_panel, 1, 4 * VL, whole_vector)
ROW_PRODUCT(product_of_two_panels, 2, 4 * VL, whole_vector)
ROW_PRODUCT(product_of_bfloat16_panel, 1, 2 * VL, half_vector)
ROW_PRODUCT(product_of_two_bfloat16_panels, 2, 2 * VL, half_vector)

/* `product_of_chunk` for a bfloat16 panel, which is widened to float32 block by block. */
static void product_of_bfloat16_chunk(size_t rows, size_t K, const float *x, const float *panel, vec sums[][4]) {
    float block[BLOCK * 4 * VL];
    for (size_t k = 0; k < K; k += BLOCK) {
        size_t depth = K - k < BLOCK ? K - k : BLOCK;
        widen(depth, panel + k * 2 * VL, block);
        product_of_chunk(rows, depth, x + k, K, block, sums);
    }
}

/* sums[q][0..3] += x (K,) @ panel q of all `panels`, `apart` floats apart; `backwards`: from the last panel to the first. */
static void product_of_row(size_t panels, size_t K, const float *x, const float *panel, size_t apart, int is_bfloat16,
                           int backwards, vec sums[][4]) {
    size_t pairs = groups_of(panels, 2);
    for (size_t i = 0; i < pairs; i++) {
        size_t q = 2 * (backwards ? pairs - 1 - i : i);
        if (q + 1 < panels)
            (is_bfloat16 ? product_of_two_bfloat16_panels : product_of_two_panels)(K, x, panel + q * apart, apart, sums + q);
        else
            (is_bfloat16 ? product_of_bfloat16_panel : product_of_panel)(K, x, panel + q * apart, apart, sums + q);
    }
}

/* Work computed together: several rows of one panel, or several panels of one row; `items` counts either. */
typedef struct {
    size_t first_row, first_panel, rows, panels, items;
} tile;

/* Number of tiles for the rows [first, last) in all panels. */
static size_t tiles_of(size_t first, size_t last, size_t panels) {
    return last - first == 1 ? groups_of(panels, ITEMS) : panels * groups_of(last - first, ITEMS);
}

/* Tile number i of them. */
static tile tile_of(size_t i, size_t first, size_t last, size_t panels) {
    if (last - first == 1) {
        size_t many = panels - i * ITEMS < ITEMS ? panels - i * ITEMS : ITEMS;
        return (tile){first, i * ITEMS, 1, many, many};
    }
    size_t chunks = groups_of(last - first, ITEMS), row = first + i % chunks * ITEMS;
    size_t rows = last - row < ITEMS ? last - row : ITEMS;
    return (tile){row, i / chunks, rows, 1, rows};
}

static size_t row_of(const tile *t, size_t item) { return t->first_row + (t->panels == 1 ? item : 0); }
static size_t panel_of(const tile *t, size_t item) { return t->first_panel + (t->panels == 1 ? 0 : item); }

/* The panels of a matrix, starting at its first row or a later one. */
typedef struct {
    const float *start; /* of the first panel */
    size_t apart;       /* floats between panels */
    int is_bfloat16;
} matrix;

/* The panels, from row `row` on, of a matrix of `depth` rows that begins `offset` numbers of `width` bytes after `start`. */
static matrix matrix_at(const void *start, size_t width, size_t offset, size_t depth, size_t row) {
    const char *first = (const char *)start + (offset + row * 4 * VL) * width;
    return (matrix){(const float *)first, depth * 4 * VL * width / sizeof(float), width == 2};
}

/* sums[item][0..3] += its row of x (B, K) @ its panel. */
static void product_of_tile(const tile *t, size_t K, const float *x, const matrix *w, int backwards, vec sums[][4]) {
    const float *panel = w->start + t->first_panel * w->apart;
    x += t->first_row * K;
    if (t->rows == 1)
        product_of_row(t->panels, K, x, panel, w->apart, w->is_bfloat16, backwards, sums);
    else if (w->is_bfloat16)
        product_of_bfloat16_chunk(t->rows, K, x, panel, sums);
    else
        product_of_chunk(t->rows, K, x, K, panel, sums);
}

/* The arrays that one layer reads and writes, each starting at row 0. */
typedef struct {
    const float *source; /* (V, 4H), looked up by `ids`, or (4H,) for all rows */
    const int64_t *ids;  /* null above the first layer */
    const float *below;  /* (B, H): the new h of the layer below; null for the first */
    matrix w_ih, w_hh;   /* w_ih: only above the first layer */
    const float *h;      /* (B, H) */
    float *h_new, *c;    /* (B, H) */
} layer;

/* Initial values of the gates of the tile's items. */
static void sources(const layer *at, size_t H, const tile *t, vec a[][4]) {
    for (size_t e = 0; e < t->items; e++) {
        size_t u = panel_of(t, e) * VL;
        const float *p = at->source + (at->ids ? (size_t)at->ids[row_of(t, e)] * 4 * H : 0) + u;
        for (int j = 0; j < 4; j++) a[e][j] = load_edge(p + j * H, H - u);
    }
}

/* Updates the tile's cells in two stages: within a stage, the items are independent of each other. */
static void cells(const layer *at, size_t H, const tile *t, vec a[][4]) {
    for (size_t e = 0; e < t->items; e++) {
        size_t u = panel_of(t, e) * VL;
        float *c = at->c + row_of(t, e) * H + u;
        vec i = sigmoid_(a[e][0]), f = sigmoid_(a[e][1]), g = tanh_(a[e][2]);
        a[e][0] = f * load_edge(c, H - u) + i * g;
        a[e][3] = sigmoid_(a[e][3]);
        store_edge(c, a[e][0], H - u);
    }
    for (size_t e = 0; e < t->items; e++) {
        size_t u = panel_of(t, e) * VL;
        store_edge(at->h_new + row_of(t, e) * H + u, a[e][3] * tanh_(a[e][0]), H - u);
    }
}

static void step_layer(const layer *at, size_t H, size_t first, size_t last, int backwards) {
    vec a[ITEMS][4];
    size_t tiles = tiles_of(first, last, groups_of(H, VL));
    for (size_t i = 0; i < tiles; i++) {
        tile t = tile_of(backwards ? tiles - 1 - i : i, first, last, groups_of(H, VL));
        sources(at, H, &t, a);
        if (at->below) product_of_tile(&t, H, at->below, &at->w_ih, backwards, a);
        product_of_tile(&t, H, at->h, &at->w_hh, backwards, a);
        cells(at, H, &t, a);
    }
}

/* Feeds a token to each of the rows [first, last) of B. h (L, B, H): in; h_new: out; c: in and out. Every other step goes
 * `backwards` through the weights, starting with those that the previous step left in the cache. */
static void advance(const decode_model *m, size_t B, size_t first, size_t last, const int64_t *ids, const float *h,
                    float *h_new, float *c, int backwards) {
    size_t H = m->hidden, layer_size = groups_of(H, VL) * 4 * VL * H, rows = B * H;
    for (size_t l = 0; l < m->layers; l++) {
        layer at = {.h = h + l * rows, .h_new = h_new + l * rows, .c = c + l * rows};
        size_t offset = (l ? 2 * l - 1 : 0) * layer_size, depth = l ? 2 * H : H;
        at.w_ih = matrix_at(m->weights, m->width, offset, depth, 0);
        at.w_hh = matrix_at(m->weights, m->width, offset, depth, depth - H);
        at.source = l ? m->biases + (l - 1) * 4 * H : m->table;
        at.below = l ? h_new + (l - 1) * rows : NULL;
        at.ids = l ? NULL : ids;
        step_layer(&at, H, first, last, backwards);
    }
}

/* Computes the logits (B, V) of the rows [first, last) from the last layer's h (B, H). */
static void predict(const decode_model *m, size_t first, size_t last, const float *h, float *logits) {
    vec a[ITEMS][4];
    size_t V = m->vocabulary, H = m->hidden, panels = groups_of(V, 4 * VL);
    matrix output = matrix_at(m->output, m->width, 0, H, 0);
    for (size_t i = 0; i < tiles_of(first, last, panels); i++) {
        tile t = tile_of(i, first, last, panels);
        memset(a, 0, t.items * sizeof(a[0]));
        product_of_tile(&t, H, h, &output, 0, a);
        for (size_t e = 0; e < t.items; e++)
            for (size_t j = 0, v = panel_of(&t, e) * 4 * VL; j < 4 && v < V; j++, v += VL) {
                vec sum = a[e][j] + load_edge(m->output_bias + v, V - v);
                store_edge(logits + row_of(&t, e) * V + v, sum, V - v);
            }
    }
}

/* Feeds a token to each of the rows [first, last) of B: ids (B,); h, h_new and c (L, B, H); logits (B, V). */
void decode_step(const decode_model *m, size_t B, size_t first, size_t last, const int64_t *ids, const float *h,
                 float *h_new, float *c, float *logits) {
    advance(m, B, first, last, ids, h, h_new, c, 0);
    predict(m, first, last, h_new + (m->layers - 1) * B * m->hidden, logits);
}

/* Feeds N ids, at least one, to a single row. h, c (L, H): in and out; h_new (L, H): scratch; logits (V,): of the token that
 * follows. */
void decode_read(const decode_model *m, size_t N, const int64_t *ids, float *h, float *h_new, float *c, float *logits) {
    size_t size = m->layers * m->hidden;
    float *now = h, *next = h_new;
    for (size_t n = 0; n < N; n++) {
        advance(m, 1, 0, 1, ids + n, now, next, c, n % 2);
        float *other = now;
        now = next;
        next = other;
    }
    if (now != h) memcpy(h, now, size * sizeof(float));
    predict(m, 0, 1, h + (m->layers - 1) * m->hidden, logits);
}

static void remember(const decode_settings *s, decode_rows *rows, size_t V, size_t row, size_t step, int64_t token) {
    if (rows->counts) rows->counts[row * V + token]++;
    if (!rows->seen) return;
    rows->seen[row * V + token]++;
    if (!rows->ring) return;
    size_t pushed = rows->observed + step;
    int32_t *place = rows->ring + row * s->window + pushed % s->window;
    if (pushed >= s->window) rows->seen[row * V + *place]--;
    *place = (int32_t)token;
}

/* Chooses the token of one row at a step of the block, from the row's own history and random number. */
static void write_one(const decode_model *m, const decode_settings *s, decode_rows *rows, size_t row, size_t step,
                      double *scratch) {
    size_t V = m->vocabulary;
    int64_t token = decode_choose(V, s, rows->written + step, rows->logits + row * V, rows->seen ? rows->seen + row * V : NULL,
                                  rows->counts ? rows->counts + row * V : NULL, rows->uniforms[row * rows->block + step],
                                  scratch);
    rows->tokens[row * rows->block + step] = token;
    rows->ids[row] = token < 0 ? 0 : token; /* after a failure the row continues, but is not read */
    remember(s, rows, V, row, step, rows->ids[row]);
}

/* Writes a block of S tokens for each of the rows [first, last). `fresh`: the logits already are those of the first token;
 * otherwise the rows' last tokens are fed first. `scratch` belongs to the calling thread. */
void decode_write(const decode_model *m, const decode_settings *s, decode_rows *rows, size_t first, size_t last, int fresh,
                  double *scratch) {
    size_t B = rows->rows, H = m->hidden, L = m->layers;
    float *now = rows->h, *next = rows->h_new;
    for (size_t step = 0; step < rows->block; step++) {
        if (step || !fresh) {
            advance(m, B, first, last, rows->ids, now, next, rows->c, step % 2);
            float *other = now;
            now = next;
            next = other;
            predict(m, first, last, now + (L - 1) * B * H, rows->logits);
        }
        for (size_t row = first; row < last; row++) write_one(m, s, rows, row, step, scratch);
    }
    if (now != rows->h)
        for (size_t l = 0; l < L; l++)
            memcpy(rows->h + (l * B + first) * H, now + (l * B + first) * H, (last - first) * H * sizeof(float));
}
