/* A language model and the rows that it writes, as `decode.c` and `choose.c` see them. All memory is the caller's.
 *
 * V: vocabulary, H: hidden size, L: layers, B: rows, S: tokens of a block, W: tokens of the repetition penalty's window.
 */
#ifndef UNROLLED_DECODE_H
#define UNROLLED_DECODE_H

#include "vectors.h"

typedef struct {
    size_t vocabulary, hidden, layers;
    size_t width;             /* bytes of a weight: 4, or 2 where `decode_halve` made them bfloat16 */
    const float *table;       /* (V, 4H): the embedding's product with the first layer's input weights, and the bias */
    const void *weights;      /* of all layers, one after the other, as `decode_pack` leaves them */
    const float *biases;      /* (L - 1, 4H), of the layers above the first */
    const void *output;       /* (V, H) as `decode_pack_output` leaves it */
    const float *output_bias; /* (V,) */
} decode_model;

typedef struct {
    double temperature; /* 0: the likeliest token, without a filter and without a draw */
    double repetition, frequency, presence; /* 1, 0, 0: off */
    double top_p, log_min_p, typical_p;     /* 1, -infinity, 1: off */
    size_t top_k;                           /* 0: off */
    size_t window;                          /* W; 0: all tokens */
    size_t least;                           /* tokens to write before `end` may come */
    int64_t end;                            /* id of the end token; -1: none */
    int64_t banned;                         /* id that is never written; -1: none */
} decode_settings;

typedef struct {
    size_t rows;      /* B */
    size_t block;     /* S */
    size_t written;   /* tokens that every row has written */
    size_t observed;     /* tokens that went through every row's window */
    int64_t *ids;     /* (B,): the last token of each row */
    float *h, *h_new; /* (L, B, H) both; the state is in the first one before and after */
    float *c;         /* (L, B, H) */
    float *logits;    /* (B, V) */
    int32_t *seen;    /* (B, V): times a token is in the window; null: no repetition penalty */
    int32_t *ring;    /* (B, W): the window's tokens; null: nothing is forgotten */
    int32_t *counts;  /* (B, V): times a token was written; null: no frequency or presence penalty */
    const double *uniforms; /* (B, S) in [0, 1) */
    int64_t *tokens;        /* (B, S): out; -1 where the logits are not finite */
} decode_rows;

/* Numbers of type double that `decode_choose` needs to work in. */
size_t decode_scratch_size(size_t V);

/* The next token of a row that has written `written` tokens, from its logits (V,); -1 where they are not finite. */
int64_t decode_choose(size_t V, const decode_settings *settings, size_t written, const float *logits, const int32_t *seen,
                      const int32_t *counts, double uniform, double *scratch);

#endif
