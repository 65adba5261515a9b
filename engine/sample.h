/*
 * The sampling loop of one picture: noise, a row of the plan at a time, guidance, the latent.
 * Engine's thread; nothing is kept.
 */
#pragma once

#include "engine/request.h"
#include "engine/text.h"
#include "scheduler/scheduler.h"

/* A visible step has ended (or, with step 0, is about to begin). */
struct sample_step {
    int step, rows;        /* done */
    const float *latent;   /* [H, W, C]: x */
    const float *estimate; /* [H, W, C]: the denoised estimate; NULL at step 0 */
};

struct sampling {
    struct denoiser *denoiser;
    const struct sched_plan *plan;
    const struct prompt_pair *prompts;
    const struct request *request; /* cfg, rng, variation; seed is this picture's */
    int height, width, channels;   /* H, W, C */
    const float *noise;            /* [H, W, C] instead of the seed's, or NULL */
    const float *init;             /* [H, W, C] to start from (the plan's strength), or NULL */
    const float *mask;  /* [H, W]: 1 where the picture may change, 0 where init stays; or NULL */
    const float *extra; /* of denoiser_begin() */
    const int *cancel;
    void (*on_step)(const struct sample_step *step, void *user);
    void *user;
};

/* latent [H, W, C]. Fails with ENGINE_ERROR_NUMBERS when it is not finite, with the U-Net's
 * sentence, or with a cancellation. */
bool sample(const struct sampling *s, float *latent, GError **error);
