/*
 * TAESD, the tiny autoencoder (github.com/madebyollin/taesd; diffusers' AutoencoderTiny): a decoder
 * of 1.2 million parameters for previews, and the encoder that goes with it.
 *
 * Latents are the U-Net's (scaled). Pictures are [B, 8H, 8W, 3] between 0 and 1, not -1 and 1.
 * Names may be diffusers' (`decoder.layers.N.`), the original's (`taesd_decoder.N.`) or bare
 * numbers
 * (`N.`, one file for each half; then the file holds a decoder unless its first weight says it is
 * an encoder). Widths and numbers of blocks come from the file's shapes. Borrows its weights.
 */
#pragma once

#include "compute/tape.h"

struct weights;

#define TINY_MAX_LAYERS 64
#define TINY_FACTOR 8 /* sides of the picture over sides of the latent */

struct tiny_layer;

struct tiny_half { /* an encoder or a decoder: a list of layers */
    int layers;    /* 0: not in the file */
    struct tiny_layer *layer;
};

struct tiny {
    struct tiny_half encoder, decoder;
    int latent_channels;
};

/* Fails with a sentence when the file has neither half, or one that is incomplete. */
bool tiny_init(struct tiny *v, struct weights *weights, GError **error);
void tiny_finish(struct tiny *v); /* takes a zeroed one */

/* [B, H, W, L] -> [B, 8H, 8W, 3] */
struct tensor *tiny_decode(struct tape *t, const struct tiny *v, struct tensor *latent);
/* [B, 8H, 8W, 3] -> [B, H, W, L] */
struct tensor *tiny_encode(struct tape *t, const struct tiny *v, struct tensor *picture);
