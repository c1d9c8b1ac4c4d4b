/* A language model and the rows that it writes, as used by `decode.c` and `choose.c`. All memory belongs to the caller.
 *
 * V: vocabulary, H: hidden size, L: layers, B: rows, S: tokens of a block, W: tokens of the repetition penalty's window.
 */
#ifndef UNROLLED_DECODE_H
#define UNROLLED_DECODE_H

#include "vectors.h"

typedef struct {
    size_t vocabulary, hidden, layers;
    size_t width;             /* bytes of a weight: 4, or 2 where `decode_halve` made them bfloat16 */
    const float *table;       /* (V, 4H): embedding W_ih + b of the first layer */
    const void *weights;      /* of all layers in sequence, packed by `decode_pack` */
    const float *biases;      /* (L - 1, 4H): of the layers above the first */
    const void *output;       /* (V, H), packed by `decode_pack_output` */
    const float *output_bias; /* (V,) */
} decode_model;

typedef struct {
    double temperature; /* 0: take the likeliest token, without filters or a draw */
    double repetition, frequency, presence; /* 1, 0, 0: off */
    double top_p, log_min_p, typical_p;     /* 1, -infinity, 1: off */
    size_t top_k;                           /* 0: off */
    size_t window;                          /* W; 0: all tokens */
    size_t least;                           /* number of tokens before `end` may be written */
    int64_t end;                            /* id of the end token; -1: none */
    int64_t banned;                         /* id of a token that is never written; -1: none */
} decode_settings;

typedef struct {
    size_t rows;      /* B */
    size_t block;     /* S */
    size_t written;   /* tokens written by each row */
    size_t observed;     /* tokens that have passed through each row's window */
    int64_t *ids;     /* (B,): the last token of each row */
    float *h, *h_new; /* (L, B, H) each; `h` holds the state before and after a call */
    float *c;         /* (L, B, H) */
    float *logits;    /* (B, V) */
    int32_t *seen;    /* (B, V): occurrences of each token in the window; null: no repetition penalty */
    int32_t *ring;    /* (B, W): the window's tokens; null: unlimited window */
    int32_t *counts;  /* (B, V): times each token was written; null: no frequency or presence penalty */
    const double *uniforms; /* (B, S) in [0, 1) */
    int64_t *tokens;        /* (B, S): output; -1 where the logits are not finite */
} decode_rows;

/* Doubles of scratch space that `decode_choose` needs. */
size_t decode_scratch_size(size_t V);

/* The next token of a row that has written `written` tokens, from its logits (V,); -1 where they are not finite. */
int64_t decode_choose(size_t V, const decode_settings *settings, size_t written, const float *logits, const int32_t *seen,
                      const int32_t *counts, double uniform, double *scratch);

#endif
