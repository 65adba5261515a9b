/*
 * The verbs: each records one node on a tape and returns its output. Shapes are inferred at once; a
 * wrong shape makes the tape's sticky error and the call returns a placeholder, so that forward
 * code needs no checks. Weights are borrowed until the tape is destroyed. NULL bias means none. One
 * thread a tape.
 */
#pragma once

#include "compute/tape.h"

enum op {
#define OP(name, inputs, weights) OP_##name,
#include "compute/op.def"
#undef OP
    OP_COUNT
};

const char *op_name(enum op op);

struct conv2d_params {
    int stride;   /* 0 = 1 */
    int padding;  /* all sides; -1 = "same" for odd kernels, i.e. kernel / 2 */
    bool pad_end; /* the VAE encoder's downsampling: one more row and column of zeros at the right
                     and bottom only */
};

struct attention_params {
    int heads;
    bool causal;
    float scale; /* positive; 0 = 1 / sqrt(head size) */
};

struct tensor *op_conv2d(struct tape *t, struct tensor *x, const struct weight *w,
                         const struct weight *b, struct conv2d_params params);
struct tensor *op_linear(struct tape *t, struct tensor *x, const struct weight *w,
                         const struct weight *b);
struct tensor *op_attention(struct tape *t, struct tensor *q, struct tensor *k, struct tensor *v,
                            struct attention_params params);
struct tensor *op_group_norm(struct tape *t, struct tensor *x, const struct weight *w,
                             const struct weight *b, int groups, float eps);
/*
 * The two halves of a norm, for a picture that is cut into strips: what it divides out, over `rows`
 * rows from `first` on of one picture, and a norm by numbers that come from elsewhere. moments:
 * [B, groups, 2], each group's mean and variance, F32 in memory; given ones are an input of the
 * tape.
 */
struct tensor *op_group_moments(struct tape *t, struct tensor *x, int groups, int first, int rows);
struct tensor *op_group_norm_given(struct tape *t, struct tensor *x, struct tensor *moments,
                                   const struct weight *w, const struct weight *b, int groups,
                                   float eps);
struct tensor *op_layer_norm(struct tape *t, struct tensor *x, const struct weight *w,
                             const struct weight *b, float eps);
struct tensor *op_silu(struct tape *t, struct tensor *x);
struct tensor *op_gelu(struct tape *t, struct tensor *x);
struct tensor *op_quick_gelu(struct tape *t, struct tensor *x);
struct tensor *op_relu(struct tape *t, struct tensor *x);
struct tensor *op_soft_clamp(struct tape *t, struct tensor *x);
struct tensor *op_geglu(struct tape *t, struct tensor *x);
struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b);
struct tensor *op_scale(struct tape *t, struct tensor *x, float factor);
struct tensor *op_concat(struct tape *t, struct tensor *a, struct tensor *b);
struct tensor *op_upsample_nearest(struct tape *t, struct tensor *x, int height, int width);
struct tensor *op_embedding(struct tape *t, struct tensor *ids, const struct weight *table);
/* Rows of a computed table: table [N, C] or [B, N, C] flattened to rows; ids index rows. */
struct tensor *op_gather(struct tape *t, struct tensor *ids, struct tensor *table);
/* steps: an input of the tape (or a view of one) that nothing else reads; it stays F32 in memory.
 */
struct tensor *op_time_embedding(struct tape *t, struct tensor *steps, int channels, bool cos_first,
                                 float shift);
struct tensor *op_reshape(struct tape *t, struct tensor *x, int rank, const int64_t *dims);
