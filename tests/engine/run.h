/*
 * What the tests of the engine share: a request run to its end, everything it told kept. The
 * model is tests/golden/tiny; nothing is saved unless the request says where.
 */
#pragma once

#include <string.h>

#include "engine/engine.h"

struct run {
    GMutex mutex;
    GCond changed;
    unsigned job;
    bool over;
    enum event_type end;   /* DONE, FAILED, CANCELLED */
    GString *order;        /* a letter an event: L E S P D V I T N . ! x; estimates have none */
    GPtrArray *pictures;   /* GBytes of each PICTURE */
    GPtrArray *paths;      /* char *, NULL entries as "" */
    GPtrArray *parameters; /* char * */
    GPtrArray *notices;    /* char * */
    char *message;         /* of FAILED */
    int code;              /* of FAILED */
    int steps, previews;
    struct estimate planned, measured;
    GBytes *last_preview;
    int preview_width, preview_height;
    void (*on_event)(struct run *run, const struct event *event); /* on the engine's thread */
    void *user;
};

static inline void run_event(const struct event *e, void *user)
{
    static const char letters[] = "LESPDVITN  .!x";
    struct run *run = user;

    if (run->job && e->job != run->job)
        return;
    g_mutex_lock(&run->mutex);
    if (letters[e->type] != ' ')
        g_string_append_c(run->order, letters[e->type]);
    if (e->estimate)
        *(e->type == EVENT_ESTIMATE ? &run->planned : &run->measured) = *e->estimate;
    if (e->type == EVENT_STEP)
        run->steps++;
    if (e->type == EVENT_PREVIEW) {
        run->previews++;
        g_clear_pointer(&run->last_preview, g_bytes_unref);
        run->last_preview = g_bytes_ref(e->picture->rgb);
        run->preview_width = e->picture->width;
        run->preview_height = e->picture->height;
    }
    if (e->type == EVENT_PICTURE) {
        g_ptr_array_add(run->pictures, g_bytes_ref(e->picture->rgb));
        g_ptr_array_add(run->paths, g_strdup(e->path ? e->path : ""));
        g_ptr_array_add(run->parameters, g_strdup(e->parameters));
    }
    if (e->type == EVENT_NOTICE)
        g_ptr_array_add(run->notices, g_strdup(e->text));
    if (e->type == EVENT_FAILED) {
        run->message = g_strdup(e->error->message);
        run->code = e->error->code;
    }
    if (e->type >= EVENT_DONE) {
        run->over = true;
        run->end = e->type;
    }
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->mutex);
    if (run->on_event)
        run->on_event(run, e);
}

static inline void run_init(struct run *run)
{
    memset(run, 0, sizeof *run);
    g_mutex_init(&run->mutex);
    g_cond_init(&run->changed);
    run->order = g_string_new(NULL);
    run->pictures = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    run->paths = g_ptr_array_new_with_free_func(g_free);
    run->parameters = g_ptr_array_new_with_free_func(g_free);
    run->notices = g_ptr_array_new_with_free_func(g_free);
}

/* For the next job: what the last one told is forgotten, on_event stays. */
static inline void run_reset(struct run *run)
{
    run->job = 0;
    run->over = false;
    run->steps = run->previews = 0;
    g_clear_pointer(&run->message, g_free);
    g_clear_pointer(&run->last_preview, g_bytes_unref);
    g_string_truncate(run->order, 0);
    g_ptr_array_set_size(run->pictures, 0);
    g_ptr_array_set_size(run->paths, 0);
    g_ptr_array_set_size(run->parameters, 0);
    g_ptr_array_set_size(run->notices, 0);
}

static inline void run_finish(struct run *run)
{
    run_reset(run);
    g_string_free(run->order, TRUE);
    g_ptr_array_unref(run->pictures);
    g_ptr_array_unref(run->paths);
    g_ptr_array_unref(run->parameters);
    g_ptr_array_unref(run->notices);
    g_mutex_clear(&run->mutex);
    g_cond_clear(&run->changed);
}

static inline void run_wait(struct run *run)
{
    g_mutex_lock(&run->mutex);
    while (!run->over)
        g_cond_wait(&run->changed, &run->mutex);
    g_mutex_unlock(&run->mutex);
}

/* Submits and waits for the end. The engine's event function must be run_event with this run. */
static inline enum event_type run_request(struct engine *engine, struct run *run,
                                          const struct request *request)
{
    run_reset(run);
    engine_submit(engine, request);
    run_wait(run);
    return run->end;
}

/* Of tests/golden/tiny: f32 on the CPU, one picture of 64 x 64 in 4 steps, not saved. */
#define TINY_REQUEST                                                                               \
    .model = (char *)"tests/golden/tiny", .prompt = (char *)"a red apple", .steps = 4, .cfg = 5,   \
    .width = 64, .height = 64, .fixed_seed = true, .seed = 3, .device = (char *)"cpu",             \
    .precision = (char *)"f32", .no_save = true
