/*
 * What each shader is told per dispatch, shared by C (compute/vulkan/ops.c) and GLSL. At most 128
 * bytes each. Indices are 32 bits: a bound range is at most 4 GiB and elements have at least 2
 * bytes. "quads" are runs of 4 elements.
 */
#ifndef FIGMENT_PUSH_H
#define FIGMENT_PUSH_H

#ifdef GL_core_profile
#define U32 uint
#define F32 float
#else
#include <stdint.h>
#define U32 uint32_t
#define F32 float
#endif

/* Flags of the epilogue of conv2d and linear (specialisation constant FLAGS). */
#define FLAG_BIAS 1
#define FLAG_RESIDUAL 2
#define FLAG_BROADCAST 4
#define FLAG_GEGLU 8
#define FLAG_F32_OUTPUT 16
#define FLAG_CONV 32
#define FLAG_UPSAMPLE 64

/* Activations (specialisation constant ACTIVATION). */
#define ACTIVATION_NONE 0
#define ACTIVATION_SILU 1
#define ACTIVATION_GELU 2
#define ACTIVATION_QUICK_GELU 3
#define ACTIVATION_RELU 4

/* conv2d and linear. Rows are output pixels (b, y, x); a dispatch computes rows [first, first+rows)
 * into an output buffer bound at row `first`, from an input bound at pixel `in_first`. */
struct push_conv2d {
    U32 rows, first, in_first;
    U32 inputs, inputs_padded; /* channels; padded to a multiple of 32 in the packed weight */
    U32 outputs;               /* channels of the output tensor */
    U32 column;                /* first packed output column of the bound weight */
    U32 columns;               /* packed columns to compute in this dispatch */
    U32 in_height, in_width;   /* as the kernel sees it: after upsampling */
    U32 out_height, out_width;
    U32 kernel_height, kernel_width, stride, padding;
    U32 split, split_steps; /* K split over workgroups z: parts, K steps of each */
    U32 in_count;           /* bound input pixels */
};

/* One dispatch computes queries [0, queries) of `batch` pictures from keys [0, keys). */
struct push_attention {
    U32 queries, keys, heads, head_size, width; /* width: heads * head_size, the row of q, k, v */
    U32 causal;
    F32 scale;
};

struct push_group_norm {
    U32 rows, channels, groups; /* rows: H * W of one picture */
    U32 chunk, chunks;          /* rows of a chunk, chunks of one picture */
    U32 first; /* first row of the bound window, over all pictures; stats: first quad of partials */
    U32 count; /* rows of this dispatch; stats: chunks */
    F32 eps;
};

struct push_layer_norm {
    U32 rows, channels;
    F32 eps;
};

/* silu, gelu, quick_gelu, relu, soft_clamp, scale */
struct push_unary {
    U32 quads;
    F32 factor;
};

struct push_geglu {
    U32 rows, channels; /* of the output */
};

struct push_add {
    U32 quads; /* same shape; else 0 and: */
    U32 rows, channels;
    U32 rows_per_b; /* [B,C] over [B,...,C]: rows of a that share a row of b; else 0 */
    U32 b_rows;     /* [1,L,C] over [B,L,C]: L; else 0 */
    U32 first;      /* first row of the bound window of a */
};

struct push_concat {
    U32 rows, a_channels, b_channels;
};

struct push_upsample_nearest {
    U32 rows, first, in_first; /* output pixels, first of them, first bound input pixel */
    U32 channels, in_height, in_width, out_height, out_width;
};

struct push_embedding {
    U32 rows, channels;
    U32 first, count; /* table rows [first, first + count) are bound; others are left alone */
};

struct push_time_embedding {
    U32 rows, channels;
    U32 cos_first;
    F32 shift;
};

#endif
