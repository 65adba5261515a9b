#include "engine/engine.h"

#include <malloc.h>
#include <string.h>

#include "engine/pipeline.h"

struct job {
    unsigned id;
    struct request request;
    int cancel;
    bool unload; /* no request: free the model */
};

struct engine {
    event_fn fn;
    void *user;
    GThread *thread;
    struct pipeline *pipeline; /* thread only */

    GMutex mutex; /* over what follows */
    GCond changed;
    GQueue queue;   /* struct job *, waiting */
    GQueue removed; /* cancelled before they began: their event is still owed */
    struct job *running;
    unsigned last_id;
    bool paused, quit;
};

static void job_free(struct job *job)
{
    request_clear(&job->request);
    g_free(job);
}

/* ---- the thread ---- */

static void emit_removed(struct engine *engine)
{
    for (;;) {
        struct job *job;

        g_mutex_lock(&engine->mutex);
        job = g_queue_pop_head(&engine->removed);
        g_mutex_unlock(&engine->mutex);
        if (!job)
            return;
        engine->fn(&(struct event){.type = EVENT_CANCELLED, .job = job->id}, engine->user);
        job_free(job);
    }
}

static void emit(struct event *event, void *user)
{
    struct engine *engine = user;

    emit_removed(engine);
    engine->fn(event, engine->user);
}

/* Waits until there is something to do; NULL ends the thread. Moves the job to `running`. */
static struct job *next_job(struct engine *engine)
{
    struct job *job = NULL;

    g_mutex_lock(&engine->mutex);
    while (!engine->quit && g_queue_is_empty(&engine->removed) &&
           (engine->paused || g_queue_is_empty(&engine->queue)))
        g_cond_wait(&engine->changed, &engine->mutex);
    if (!engine->quit && !engine->paused)
        job = engine->running = g_queue_pop_head(&engine->queue);
    g_mutex_unlock(&engine->mutex);
    return job;
}

static void run_job(struct engine *engine, struct job *job)
{
    struct job_context context = {job->id, &job->cancel, emit, engine};
    struct event event = {.type = EVENT_DONE, .job = job->id};
    g_autoptr(GError) error = NULL;

    if (job->unload) {
        pipeline_unload(engine->pipeline);
        return;
    }
    if (!pipeline_run(engine->pipeline, &job->request, &context, &error)) {
        event.type = g_error_matches(error, ENGINE_ERROR, ENGINE_ERROR_CANCELLED) ? EVENT_CANCELLED
                                                                                  : EVENT_FAILED;
        event.error = error;
    }
    /* Whoever hears of the end may ask engine_running(). */
    g_mutex_lock(&engine->mutex);
    engine->running = NULL;
    g_mutex_unlock(&engine->mutex);
    emit(&event, engine);
}

/* Nothing waits: what jobs have freed goes back to the system, not into the pockets of malloc(). */
static void rest(struct engine *engine)
{
    bool idle;

    g_mutex_lock(&engine->mutex);
    idle = g_queue_is_empty(&engine->queue) && !engine->quit;
    g_mutex_unlock(&engine->mutex);
    if (idle)
        malloc_trim(0);
}

static gpointer run(gpointer data)
{
    struct engine *engine = data;

    for (;;) {
        struct job *job = next_job(engine);
        bool quit;

        emit_removed(engine);
        if (job) {
            run_job(engine, job);
            g_mutex_lock(&engine->mutex);
            engine->running = NULL;
            g_mutex_unlock(&engine->mutex);
            job_free(job);
            rest(engine);
        }
        g_mutex_lock(&engine->mutex);
        quit = engine->quit && g_queue_is_empty(&engine->removed);
        g_mutex_unlock(&engine->mutex);
        if (quit)
            break;
    }
    pipeline_destroy(engine->pipeline);
    return NULL;
}

/* ---- any thread ---- */

struct engine *engine_create(const struct engine_options *options, event_fn fn, void *user)
{
    struct engine *engine = g_new0(struct engine, 1);

    engine->fn = fn;
    engine->user = user;
    engine->pipeline =
        pipeline_create(options ? options->folders : NULL, options ? options->threads : 0,
                        options && options->tell_device);
    g_mutex_init(&engine->mutex);
    g_cond_init(&engine->changed);
    g_queue_init(&engine->queue);
    g_queue_init(&engine->removed);
    engine->thread = g_thread_new("engine", run, engine);
    return engine;
}

void engine_destroy(struct engine *engine)
{
    if (!engine)
        return;
    engine_cancel_all(engine);
    g_mutex_lock(&engine->mutex);
    engine->quit = true;
    g_cond_signal(&engine->changed);
    g_mutex_unlock(&engine->mutex);
    g_thread_join(engine->thread);
    g_mutex_clear(&engine->mutex);
    g_cond_clear(&engine->changed);
    g_free(engine);
}

static unsigned enqueue(struct engine *engine, struct job *job)
{
    unsigned id;

    g_mutex_lock(&engine->mutex);
    if (++engine->last_id == 0)
        engine->last_id = 1;
    id = job->id = engine->last_id;
    g_queue_push_tail(&engine->queue, job);
    g_cond_signal(&engine->changed);
    g_mutex_unlock(&engine->mutex);
    return id;
}

unsigned engine_submit(struct engine *engine, const struct request *request)
{
    struct job *job = g_new0(struct job, 1);

    request_copy(&job->request, request);
    return enqueue(engine, job);
}

void engine_unload(struct engine *engine)
{
    struct job *job = g_new0(struct job, 1);

    job->unload = true;
    enqueue(engine, job);
}

/* Link of a waiting job that can be named, or NULL. Under the mutex. */
static GList *find_waiting(struct engine *engine, unsigned id)
{
    for (GList *link = engine->queue.head; link; link = link->next)
        if (((struct job *)link->data)->id == id)
            return link;
    return NULL;
}

static void remove_waiting(struct engine *engine, GList *link)
{
    struct job *job = link->data;

    g_queue_delete_link(&engine->queue, link);
    if (job->unload)
        job_free(job);
    else
        g_queue_push_tail(&engine->removed, job);
    g_cond_signal(&engine->changed);
}

void engine_cancel(struct engine *engine, unsigned id)
{
    GList *link;

    g_mutex_lock(&engine->mutex);
    if (engine->running && engine->running->id == id)
        g_atomic_int_set(&engine->running->cancel, 1);
    else if ((link = find_waiting(engine, id)))
        remove_waiting(engine, link);
    g_mutex_unlock(&engine->mutex);
}

void engine_cancel_all(struct engine *engine)
{
    g_mutex_lock(&engine->mutex);
    if (engine->running)
        g_atomic_int_set(&engine->running->cancel, 1);
    while (engine->queue.head)
        remove_waiting(engine, engine->queue.head);
    g_mutex_unlock(&engine->mutex);
}

bool engine_move(struct engine *engine, unsigned id, unsigned before)
{
    GList *link, *sibling;
    struct job *job;

    g_mutex_lock(&engine->mutex);
    link = find_waiting(engine, id);
    sibling = before ? find_waiting(engine, before) : NULL;
    if (link && link != sibling && (!before || sibling)) {
        job = link->data;
        g_queue_delete_link(&engine->queue, link);
        g_queue_insert_before(&engine->queue, sibling, job);
    }
    g_mutex_unlock(&engine->mutex);
    return link && (!before || sibling);
}

void engine_pause(struct engine *engine, bool paused)
{
    g_mutex_lock(&engine->mutex);
    engine->paused = paused;
    g_cond_signal(&engine->changed);
    g_mutex_unlock(&engine->mutex);
}

bool engine_paused(struct engine *engine)
{
    bool paused;

    g_mutex_lock(&engine->mutex);
    paused = engine->paused;
    g_mutex_unlock(&engine->mutex);
    return paused;
}

unsigned engine_running(struct engine *engine)
{
    unsigned id;

    g_mutex_lock(&engine->mutex);
    id = engine->running && !engine->running->unload ? engine->running->id : 0;
    g_mutex_unlock(&engine->mutex);
    return id;
}

unsigned *engine_queued(struct engine *engine)
{
    unsigned *ids;
    guint n = 0;

    g_mutex_lock(&engine->mutex);
    ids = g_new0(unsigned, engine->queue.length + 1);
    for (GList *link = engine->queue.head; link; link = link->next)
        if (!((struct job *)link->data)->unload)
            ids[n++] = ((struct job *)link->data)->id;
    g_mutex_unlock(&engine->mutex);
    return ids;
}
