/*
 * The engine: requests in, events out. One thread of its own owns the back end, the loaded model
 * and the compiled tapes; a queue in memory feeds it. Every function here may be called from any
 * thread and none waits for work (engine_destroy() waits for the thread, at most about 300 ms,
 * since it cancels first).
 *
 *     struct engine *engine = engine_create(NULL, on_event, self);
 *     unsigned job = engine_submit(engine, &(struct request){.prompt = "a red apple"});
 *     ...
 *     engine_destroy(engine);
 *
 * Events of one job arrive in the order LOADING? ESTIMATE ENCODING (STEP PREVIEW?)* DECODING
 * PICTURE ... MEASURED DONE, on the engine's thread, and end with exactly one of DONE, FAILED,
 * CANCELLED (a job removed from the queue ends with CANCELLED too). A cancelled or failed job
 * leaves the engine ready; memory of a model is freed when another is loaded.
 */
#pragma once

#include "engine/estimate.h"
#include "engine/picture.h"
#include "engine/request.h"

struct engine;

/* What went wrong, coarse enough to offer the right next step. */
enum engine_error {
    ENGINE_ERROR_INPUT,  /* the request, the prompt, a picture given: change it */
    ENGINE_ERROR_MODEL,  /* the model is missing, damaged or of another family */
    ENGINE_ERROR_DEVICE, /* no such device, or it failed: use the CPU */
    ENGINE_ERROR_MEMORY, /* too little memory: a smaller size */
    ENGINE_ERROR_DISK,   /* a file could not be written: another folder. The picture is in memory */
    ENGINE_ERROR_NUMBERS, /* NaN or infinity in the latent or picture: try f32 */
    ENGINE_ERROR_CANCELLED,
};
#define ENGINE_ERROR (engine_error_quark())
GQuark engine_error_quark(void);
/* Sets ENGINE_ERROR_INPUT with a sentence; always false, so that a check can return it. */
bool engine_input_error(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Takes `other` (may be NULL inside) into `error`: one error that says both. */
void engine_join_errors(GError **error, GError **other);
/* The exit status of the command line for it: 2 bad input, 3 the machine. */
int engine_error_exit(const GError *error);

enum event_type {
    EVENT_LOADING,  /* text: what ("unet"); fraction 0 to 1 of the model */
    EVENT_ENCODING, /* the prompt goes through the text encoder */
    EVENT_STEP,     /* step of steps done, steps_per_second, seconds_left (of the whole job) */
    EVENT_PREVIEW,  /* picture: small, one pixel for each of the latent */
    EVENT_DECODING, /* the VAE makes the picture of the latent */
    EVENT_SAVING,   /* path is the name it will have if nobody else takes it */
    EVENT_PICTURE,  /* picture, settings, parameters; path (NULL when not saved) */
    EVENT_TAPE,     /* text: a network printed (request.dump_tape) */
    EVENT_NOTICE,   /* text: something that was asked for and is not in the picture (an add-on) */
    EVENT_ESTIMATE, /* estimate, text: what the job will take; once, before the prompt is read */
    EVENT_MEASURED, /* the same with what it took; once, before DONE */
    EVENT_DONE,
    EVENT_FAILED, /* error */
    EVENT_CANCELLED,
};

/* Valid during the call only: picture_ref() and copy what is to be kept. */
struct event {
    enum event_type type;
    unsigned job;
    int index, batch; /* picture `index` of `batch`, from 0 */
    int step, steps;  /* done, of all */
    double fraction;  /* of the phase, 0 to 1 */
    double steps_per_second, seconds_left;
    const char *text;
    const struct picture *picture;
    const char *path;
    const struct request *settings; /* with every default filled in; seed is this picture's */
    const char *parameters;         /* the A1111 text that goes into the file */
    const struct estimate *estimate;
    const GError *error; /* FAILED; PICTURE that could not be saved (ENGINE_ERROR_DISK) */
};

typedef void (*event_fn)(const struct event *event, void *user);

struct engine_options {
    char **folders;   /* more folders with models, NULL-terminated; NULL = none */
    int threads;      /* 0 = all cores */
    bool tell_device; /* a notice when the device "auto" is the CPU for want of a GPU */
};

/* Starts the thread; loads nothing. options may be NULL. Cannot fail (aborts when there is no
 * thread). */
struct engine *engine_create(const struct engine_options *options, event_fn fn, void *user);
/* Cancels everything, joins the thread, frees all. Takes NULL. No event after it returns. */
void engine_destroy(struct engine *engine);

/* Puts a copy of the request at the end of the queue; the job's id, never 0. Bad settings come back
 * as EVENT_FAILED. */
unsigned engine_submit(struct engine *engine, const struct request *request);
/* Ends the running job, or removes a queued one. Unknown ids are ignored. */
void engine_cancel(struct engine *engine, unsigned job);
void engine_cancel_all(struct engine *engine);
/* Before `before` in the queue, or at the end when `before` is 0. False when it is not queued. */
bool engine_move(struct engine *engine, unsigned job, unsigned before);
/* While paused no new job begins; the running one goes on. */
void engine_pause(struct engine *engine, bool paused);
bool engine_paused(struct engine *engine);
/* The running job's id, or 0. */
unsigned engine_running(struct engine *engine);
/* Ids that wait, in order, ended by 0. g_free(). */
unsigned *engine_queued(struct engine *engine);
/* Frees the loaded model when idle (queued like a job, makes no event). */
void engine_unload(struct engine *engine);

/* A device that --device can name. */
struct device_info {
    char *name;      /* "cpu", "vulkan:0" */
    char *label;     /* "AMD Ryzen 5 (bf16)", "Radeon RX 7600" */
    char *details;   /* "radv, Mesa 25.0.7; f16: shared memory, 3.1 TFLOP/s", or "" */
    uint64_t memory; /* bytes, 0 = unknown */
    bool automatic;  /* what "auto" picks */
};
/* GPtrArray of struct device_info, freed with its elements. Opens drivers: do not call it on a
 * thread that must not wait. */
GPtrArray *engine_devices(void);
