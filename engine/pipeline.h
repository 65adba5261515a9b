/*
 * Text to latent to picture: one job from its request to its last file. Owns the back end, the
 * loaded model and the compiled tapes, and keeps them from job to job while they fit. Engine's
 * thread only; engine.c is its only caller.
 */
#pragma once

#include "engine/engine.h"

struct pipeline;

/* What a running job needs of the engine. */
struct job_context {
    unsigned job;
    const int *cancel; /* g_atomic_int_get(); nonzero ends the job at the next mark */
    void (*emit)(struct event *event, void *user);
    void *user;
};

struct pipeline *pipeline_create(char **folders, int threads, bool tell_device);
void pipeline_destroy(struct pipeline *p); /* takes NULL */
/* Frees the model and its tapes. */
void pipeline_unload(struct pipeline *p);

/*
 * Runs a whole job; events but the last one are emitted. False with ENGINE_ERROR (CANCELLED among
 * them); whatever was loaded stays usable.
 */
bool pipeline_run(struct pipeline *p, const struct request *request,
                  const struct job_context *context, GError **error);
