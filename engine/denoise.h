/*
 * The U-Net with guidance: runs it on one latent for all the texts that a step asks for, texts of
 * the same length as one batch, and blends the answers. Compiles one pair of tapes for each (texts
 * of a length, size) and keeps them from picture to picture and prompt to prompt. Engine's thread.
 *
 * Letters: H and W of the latent, C its channels, L tokens of text, D their width.
 */
#pragma once

#include "compute/backend.h"
#include "scheduler/scheduler.h"
#include "unet/unet.h"

/* A text as the U-Net takes it. Immutable; `serial` differs between any two. */
struct conditioning {
    unsigned serial;
    int length, width; /* L, D */
    float *values;     /* [L, D] */
    int pooled_width;  /* SDXL's pooled text, else 0 */
    float *pooled;
};

/* The values are taken over. */
struct conditioning *conditioning_new(int length, int width, float *values, int pooled_width,
                                      float *pooled);
void conditioning_free(struct conditioning *c); /* takes NULL */

#define DENOISE_TEXTS_MAX 16

/* What one step asks for: uncond + cfg * sum(weight * (text - uncond)). */
struct guidance {
    double cfg;
    int n; /* texts of the prompt (AND) */
    struct {
        struct conditioning *text;
        double weight;
    } texts[DENOISE_TEXTS_MAX];
    struct conditioning *uncond; /* not run when cfg is 1 and the prompt is one text */
};

struct denoiser;

struct denoiser *denoiser_create(struct backend *backend, const struct unet *unet);
void denoiser_destroy(struct denoiser *d); /* takes NULL */
/* What a step takes, and its FLOPs, for a prompt of usual length. Nothing is compiled. */
struct denoiser_shape {
    int batch, height, width; /* texts at once; cells */
    int calls;                /* rows of the plan */
};
struct tape_memory denoiser_memory(const struct denoiser *d, const struct denoiser_shape *shape,
                                   double *flops);
/* Frees the tapes: for when parameters change. */
void denoiser_forget(struct denoiser *d);

/* C: 4, though the U-Net may take more (denoiser_begin()'s extra) and give more (a variance). */
int denoiser_channels(const struct denoiser *d);
/*
 * Before the first step of a picture: its size in latent cells and its rows. `extra` [H, W, E],
 * E = in_channels - C, stands beside the latent in every call: an inpainting model's mask and
 * masked picture, the picture that an instruct model edits. NULL when E is 0; copied.
 */
void denoiser_begin(struct denoiser *d, int height, int width, const struct sched_plan *plan,
                    const float *extra);
/*
 * One call: input [H, W, C] at row `row` of the plan, to out [H, W, C] after guidance. Compiles
 * what is not compiled yet. Fails with a sentence or G_IO_ERROR_CANCELLED.
 */
bool denoiser_run(struct denoiser *d, int row, const float *input, const struct guidance *guidance,
                  float *out, const int *cancel, GError **error);
/* Appends the tapes as text. */
void denoiser_dump(const struct denoiser *d, GString *out);
/* The tape of the steps that ran last, for its profile; NULL before the first. */
struct tape *denoiser_tape(const struct denoiser *d);
/* FLOPs of one call: of the tapes that the last size uses. */
double denoiser_flops(const struct denoiser *d);
