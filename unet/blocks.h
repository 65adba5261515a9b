/*
 * The boxes of the U-Net's diagram: residual block, transformer, down- and upsampling. Private to
 * unet/. Letters: B batch, H and W height and width of the latent at a level, C channels, L tokens
 * of text, D their width, N steps of the sampler.
 *
 * Sources: "Denoising Diffusion Probabilistic Models" (residual block, time embedding), "High-
 * Resolution Image Synthesis with Latent Diffusion Models" (transformer), and diffusers'
 * models/resnet.py and models/attention.py for names and constants.
 */
#pragma once

#include "compute/op.h"
#include "unet/unet.h"
#include "weights/weights.h"

struct affine { /* a convolution, a linear layer or a norm; b may be NULL */
    const struct weight *w, *b;
};

struct resnet {
    int index; /* its row tables in unet_memo.time */
    int groups;
    float eps;
    struct affine norm1, conv1, time, norm2, conv2;
    struct affine skip; /* w is NULL when input and output have the same width */
};

struct transformer_block {
    int index; /* its keys and values in unet_memo.text */
    int heads;
    struct affine norm1, self_q, self_k, self_v, self_out;
    struct affine norm2, text_q, text_k, text_v, text_out;
    struct affine norm3, widen, narrow; /* feed-forward with a gate (GEGLU) */
};

struct transformer {
    int groups;
    int depth; /* 0: none */
    struct affine norm, proj_in, proj_out;
    struct transformer_block *blocks;
};

struct affine unet_bind_linear(struct bind *b, const char *name, int out, int in);
struct affine unet_bind_bare(struct bind *b, const char *name, int out, int in); /* no bias */
struct affine unet_bind_conv(struct bind *b, const char *name, int out, int in, int kernel);
struct affine unet_bind_norm(struct bind *b, const char *name, int channels);

void unet_bind_resnet(struct resnet *r, struct bind *b, const struct unet_config *config, int in,
                      int out);
void unet_bind_transformer(struct transformer *m, struct bind *b, const struct unet_config *config,
                           int channels, int heads, int depth);
void unet_finish_transformer(struct transformer *m);

struct tensor *unet_conv3x3(struct tape *t, const struct affine *conv, struct tensor *x);
struct tensor *unet_linear(struct tape *t, const struct affine *layer, struct tensor *x);

/* [B,H,W,I] -> [B,H,W,O]; rows [B] picks the step's time embedding. */
struct tensor *unet_resnet(struct tape *t, const struct resnet *r, struct tensor *x,
                           struct tensor *rows, const struct unet_memo *memo);
/* [B,H,W,C] -> [B,H,W,C] */
struct tensor *unet_transformer(struct tape *t, const struct transformer *m, struct tensor *x,
                                const struct unet_memo *memo);
struct tensor *unet_downsample(struct tape *t, const struct affine *conv, struct tensor *x);
/* To the size of `like`: twice, or one less at an odd edge. */
struct tensor *unet_upsample(struct tape *t, const struct affine *conv, struct tensor *x,
                             const struct tensor *like);
