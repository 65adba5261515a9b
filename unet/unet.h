/*
 * The denoising U-Net of Stable Diffusion 1.x, 2.x and XL and of everything shaped like them, as
 * diffusers' UNet2DConditionModel has it. What differs between models is data in struct
 * unet_config.
 *
 * A forward pass is recorded in two parts. unet_prepare() holds what a prompt and a list of steps
 * determine: every residual block's time embedding for all steps, every transformer's keys and
 * values. unet_forward() holds the rest. Both may go on one tape, or the memo goes from a tape that
 * runs once to a tape that runs at each step: unet_memo_keep() and unet_memo_import().
 *
 *     unet_prepare(t, &unet, &(struct unet_prompt){.steps = steps, .text = text}, &memo);
 *     out = unet_forward(t, &unet, x, rows, &memo);
 *
 * Letters: B batch (2 with guidance), H and W of the latent, C channels, L tokens, D their width, N
 * steps. Borrows its weights. One thread at a time, as the tape.
 */
#pragma once

#include "compute/tape.h"

#include <jansson.h>

struct weights;

#define UNET_MAX_LEVELS 6
#define UNET_MAX_LAYERS 8 /* residual blocks of a level on the way down */

enum unet_mid { UNET_MID_NONE, UNET_MID_RESNET, UNET_MID_ATTENTION };

struct unet_level_config {
    int channels, layers, heads;
    int down_depth[UNET_MAX_LAYERS];   /* transformer blocks after each residual block; 0: none */
    int up_depth[UNET_MAX_LAYERS + 1]; /* of the same level on the way up, in order of execution */
};

struct unet_config {
    int in_channels;  /* 4; 9 for inpainting, 8 for pix2pix */
    int out_channels; /* 4; 8 when the model predicts its variance too */
    int sample_size;  /* of the latent the model was trained on, 0 = not said */
    int levels;
    struct unet_level_config level[UNET_MAX_LEVELS];
    enum unet_mid mid;
    int mid_depth;
    int text_channels; /* D */
    int groups;        /* of the group norms */
    float eps;         /* of the residual blocks' group norms */
    bool cos_first;    /* time embedding: cosines before sines */
    float shift;
    int time_channels;     /* of the time embedding, 4 * level[0].channels */
    int added_channels;    /* SDXL: width of pooled text and sizes together; 0 = none */
    int size_channels;     /* SDXL: of each embedded size */
    int guidance_channels; /* LCM: of the embedded guidance; 0 = none */
};

/*
 * Reads a diffusers config.json. Fails with a sentence that names the setting, when a value is
 * missing, out of range, or asks for something this U-Net does not have.
 */
bool unet_config_read(struct unet_config *config, json_t *json, GError **error);

struct unet {
    struct unet_config config;
    struct unet_parts *parts; /* the bound weights, unet.c */
};

/*
 * Reads the config and binds all weights; they and their struct weights must outlive the U-Net.
 * Fails with every missing and mis-shaped tensor in one message; then there is nothing to finish.
 */
bool unet_init(struct unet *u, struct weights *weights, json_t *config, GError **error);
void unet_finish(struct unet *u); /* takes a zeroed one */

/* What a prompt and its steps are, as tensors on the preparing tape. */
struct unet_prompt {
    struct tensor *steps; /* [B*N] F32: the time of step n for picture b is at b * N + n */
    struct tensor *text;  /* [B, L, D]: of the text encoder(s) */
    /* SDXL (config.added_channels > 0): */
    struct tensor *pooled; /* [B, P] */
    struct tensor *sizes;  /* [B*K] F32: height, width, top, left, target height, target width */
    /* LCM (config.guidance_channels > 0): */
    struct tensor *guidance; /* [B*N] F32: 1000 * (guidance scale - 1) */
};

/* K, the number of sizes that go with a pooled text of width P: 6, SDXL's refiner 5; 0 without. */
int unet_sizes(const struct unet *u, int pooled);

struct unet_memo {
    int n_time, n_text;
    struct tensor **time; /* [B*N, C] or [B, N, C] for each residual block */
    struct unet_text {
        struct tensor *k, *v; /* [B, L, C] for each transformer block */
    } * text;
};

/* Records the part done once for a prompt; fills in memo (unet_memo_finish() frees its arrays). */
void unet_prepare(struct tape *t, const struct unet *u, const struct unet_prompt *prompt,
                  struct unet_memo *memo);
void unet_memo_keep(const struct unet_memo *memo, struct tape *t);
void unet_memo_import(struct unet_memo *memo, const struct unet *u, struct tape *t,
                      struct tape *from);
void unet_memo_finish(struct unet_memo *memo); /* takes a zeroed one */

/*
 * Records one call of the U-Net: x [B, H, W, in_channels] to [B, H, W, out_channels]. rows [B] I32
 * picks the step: b * N + n for picture b. H and W of any size. Marks: "conv_in", "down.0" ...,
 * "mid", "up.0" ..., "out".
 */
struct tensor *unet_forward(struct tape *t, const struct unet *u, struct tensor *x,
                            struct tensor *rows, const struct unet_memo *memo);
