/*
 * The inner loops of the CPU back end, compiled once per instruction set
 * (AVX-512 with and without BF16, AVX2 with FMA, plain) and chosen at run time.
 * Where it is not said otherwise they work on F32 rows, and callers convert
 * BF16 on the way. NaN and infinity go through every one
 * of them. Pure functions, any thread. Sums run in a fixed order, so results do
 * not depend on the number of threads.
 */
#pragma once

#include "compute/op.h"

/*
 * An item is what one lane multiplies: an F32, or a pair of BF16 that are neighbours in the sum
 * (the second 0 where there is none).
 */

/* One block of queries of one head against all its keys (flash attention: no
 * score matrix). */
struct attention_tile {
    /* `items` and key pairs are half of size and keys where items are pairs. */
    const void *keys;     /* [key panel][items][ATTENTION_PANEL] */
    const void *values;   /* [key or pair of keys][padded size] */
    const void *queries;  /* [ATTENTION_ROWS][items]; unused rows are 0 */
    float *out;           /* [ATTENTION_ROWS][padded size] */
    float scale;          /* of the scores, times log2(e) */
    int size;             /* of a head */
    int64_t key_count;    /* keys at and after it do not exist */
    int64_t first_causal; /* row r sees keys 0 .. first_causal + r; -1 = all */
};

enum {
    ATTENTION_ROWS = 48,  /* queries a tile */
    ATTENTION_KEYS = 96,  /* keys a step; a multiple of every panel */
    ATTENTION_PANEL = 32, /* keys side by side in packed keys; padded size is a
                             multiple of 16 */
    ATTENTION_SCRATCH = ATTENTION_ROWS * (ATTENTION_KEYS + ATTENTION_KEYS / 2 + 2 + 16),
};

enum {
    WINOGRAD_OUTPUTS = 4, /* of a tile, in each direction */
    WINOGRAD_POINTS = 6,  /* inputs and products of one */
};

/* A run of the sum that a product is: consecutive items of the left side,
 * from offset a, against consecutive rows of a panel of weights, from row w. */
struct product_piece {
    size_t a, w, depth;
};

typedef void product_kernel(size_t rows, const void *a, size_t lda,
                            const struct product_piece *pieces, size_t count, const void *w,
                            const float *start, size_t start_step, float *c, size_t ldc);

struct kernels {
    const char *name;
    int panel; /* columns of a panel of weights */
    /* c[rows][panel] = start + a * w over all pieces; lda: items between rows, ldc and
     * start_step: floats (start may be c, or one row for all: step 0). w is a panel
     * [depth][panel] of items: F32 of the first, pairs of the second. */
    product_kernel *product, *product_bf16;
    /* Some rows of weights in file order and format (F32, F16, BF16, either F8),
     * [rows][in][taps] `stride` elements apart, as a panel [taps][in][panel]; rows <= panel, those
     * beyond are 0. */
    void (*pack)(enum dtype dtype, const void *w, size_t stride, size_t rows, size_t in,
                 size_t taps, float *panel);
    /* A panel [depth][panel] of F32 to one of pairs, [(depth + 1) / 2][panel]. */
    void (*pair)(const float *w, size_t depth, uint32_t *to);
    /* The way back; without the row that is none where depth is odd. */
    void (*unpair)(const uint32_t *pairs, size_t depth, float *w);
    /* The transforms of winograd.c; product i of each is i * stride floats from the first. A panel
     * [9][in][panel] to [36][in][panel]. */
    void (*winograd_weights)(const float *panel, size_t in, float *to, size_t stride);
    /* A window of 6x6 pixels, `row` and `pixel` floats apart, to [36][channels]. */
    void (*winograd_input)(const float *x, size_t row, size_t pixel, size_t channels, float *to,
                           size_t stride);
    /* Sums [36][panel] to a window of 4x4 pixels at y, plus start[panel], plus what lies at the
     * same places from `residual` on (may be NULL, or y). */
    void (*winograd_output)(const float *m, size_t stride, const float *start,
                            const float *residual, float *y, size_t row, size_t pixel);
    void (*from_bf16)(const uint16_t *x, float *y, size_t n);
    void (*to_bf16)(const float *x, uint16_t *y, size_t n); /* to nearest even */
    /* silu, gelu, quick_gelu, relu, soft_clamp; y may be x. */
    void (*activate)(enum op op, const float *x, float *y, size_t n);
    void (*geglu)(const float *x, const float *gate, float *y, size_t n);
    void (*add)(const float *a, const float *b, float *y, size_t n);
    void (*scale)(const float *x, float factor, float *y, size_t n);
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float eps, float *y,
                       size_t n);
    /* sum += x - shift, square += (x - shift)^2, by channel, over `rows` rows. */
    void (*moments)(const float *x, const float *shift, float *sum, float *square, size_t rows,
                    size_t channels);
    /* y = x * factor + offset by channel, then silu. */
    void (*affine)(const float *x, const float *factor, const float *offset, bool silu, float *y,
                   size_t channels);
    /* Scratch: ATTENTION_SCRATCH floats. */
    void (*attention)(const struct attention_tile *tile, float *scratch);
    void (*attention_bf16)(const struct attention_tile *tile, float *scratch);
    bool fast_bf16; /* product_bf16 and attention_bf16 are faster than those of F32 */
};

extern const struct kernels kernels_plain, kernels_avx2, kernels_avx512, kernels_avx512bf16;

/* The best for this CPU. FIGMENT_CPU_ISA=plain|avx2|avx512|avx512bf16 asks for
 * less (tests). */
const struct kernels *kernels_choose(void);
