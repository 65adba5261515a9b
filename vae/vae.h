/*
 * The variational autoencoder of Stable Diffusion, diffusers' AutoencoderKL: pictures to latents an
 * eighth of their size and back.
 *
 * Latents here are the model's own; the U-Net's are scaled (vae_to_model(), vae_from_model()).
 * Pictures are [B, 8H, 8W, 3] between -1 and 1 (the decoder may overshoot). The whole picture goes
 * through at once, or, when memory is short, in strips: the decoder's lower part, which looks at
 * everything, is cheap and stays whole; its upper part is cut.
 *
 * Source: diffusers' models/autoencoders/vae.py; "Auto-Encoding Variational Bayes". Borrows its
 * weights. One thread at a time, as the tape.
 */
#pragma once

#include "compute/tape.h"

#include <jansson.h>

struct weights;

#define VAE_MAX_LEVELS 6
#define VAE_MAX_LATENT 16

struct vae_config {
    int picture_channels; /* 3 */
    int latent_channels;  /* 4 */
    int levels;
    int channels[VAE_MAX_LEVELS]; /* finest first */
    int layers;                   /* residual blocks a level; the decoder has one more */
    int groups;
    bool mid_attention, quant_conv, post_quant_conv;
    bool force_upcast; /* overflows f16 (SDXL's) */
    float scaling;
    float mean[VAE_MAX_LATENT], std[VAE_MAX_LATENT]; /* 0 and 1, but for a few models */
};

bool vae_config_read(struct vae_config *config, json_t *json, GError **error);

struct vae {
    struct vae_config config;
    bool has_encoder;
    struct vae_parts *parts;
};

/*
 * Reads the config and binds all weights; a file without an encoder will do. Fails as unet_init().
 */
bool vae_init(struct vae *v, struct weights *weights, json_t *config, GError **error);
void vae_finish(struct vae *v); /* takes a zeroed one */

/* Sides of the picture over sides of the latent: 8. */
int vae_factor(const struct vae *v);

/* In place, n values with channels last: the U-Net's latent to the autoencoder's, and back. */
void vae_from_model(const struct vae *v, float *latent, size_t n);
void vae_to_model(const struct vae *v, float *latent, size_t n);

/* [B, H, W, L] -> [B, 8H, 8W, 3]. Marks: "vae.mid", "vae.up.0" ..., "vae.out". */
struct tensor *vae_decode(struct tape *t, const struct vae *v, struct tensor *latent);
/*
 * The same in two parts, for a picture that does not fit: the lower one, which looks at everything,
 * with the first `cut` levels of the way up (0 to levels - 1), and the upper one, which looks
 * vae_upper_halo() cells around. [B, H, W, L] -> [B, H', W', C] -> [B, 8H, 8W, 3], H' = H << cut.
 */
struct tensor *vae_decode_lower(struct tape *t, const struct vae *v, struct tensor *latent,
                                int cut);
/*
 * The upper part on a strip of the picture. Its group norms divide out what the whole picture's
 * would: the first `known` of vae_upper_norms() are given, as inputs "given.0" ... [1, groups, 2].
 * While some are not, the next one's moments over the strip's own rows [first, first + rows) (in
 * cells) are the output "moments"; when all are, the picture is the output "out".
 */
struct vae_strip {
    int cut, known, first, rows;
};
void vae_decode_strip(struct tape *t, const struct vae *v, struct tensor *h,
                      const struct vae_strip *strip);
int vae_upper_norms(const struct vae *v, int cut);
int vae_upper_halo(const struct vae *v, int cut);

/*
 * [B, 8H, 8W, 3] -> [B, H, W, 2L]: means, then logarithms of variances. Marks: "encode.conv_in",
 * "encode.down.0" ..., "encode.mid", "encode.out".
 */
struct tensor *vae_encode(struct tape *t, const struct vae *v, struct tensor *picture);
