/* The bridge's queue: what the window shows and the journal keeps, in the same order. */
#include "ui/bridge-private.h"

FigJob *bridge_job_of_key(FigBridge *self, guint key, guint *position)
{
    guint n = g_list_model_get_n_items(G_LIST_MODEL(self->queue));
    for (guint i = 0; i < n; i++) {
        g_autoptr(FigJob) job = g_list_model_get_item(G_LIST_MODEL(self->queue), i);
        if (fig_job_key(job) == key) {
            if (position)
                *position = i;
            return job; /* the list keeps it alive */
        }
    }
    return NULL;
}

static guint count_jobs(FigBridge *self, FigJobState a, FigJobState b)
{
    guint n = g_list_model_get_n_items(G_LIST_MODEL(self->queue)), count = 0;
    for (guint i = 0; i < n; i++) {
        g_autoptr(FigJob) job = g_list_model_get_item(G_LIST_MODEL(self->queue), i);
        FigJobState state = fig_job_state(job);
        count += state == a || state == b;
    }
    return count;
}

guint bridge_waiting(FigBridge *self)
{
    return count_jobs(self, FIG_JOB_WAITING, FIG_JOB_WAITING);
}

guint fig_bridge_failed(FigBridge *self)
{
    return count_jobs(self, FIG_JOB_FAILED, FIG_JOB_SET_ASIDE);
}

struct request bridge_borrow_request(FigRequest *from)
{
    const char *sampler = fig_record_text(from, "sampler");
    const char *schedule = fig_record_text(from, "schedule");
    return (struct request){
        .prompt = (char *)fig_record_text(from, "prompt"),
        .negative = (char *)fig_record_text(from, "negative"),
        .model = (char *)fig_record_text(from, "model"),
        .width = fig_record_int(from, "width"),
        .height = fig_record_int(from, "height"),
        .steps = fig_record_int(from, "steps"),
        .cfg = fig_record_double(from, "guidance"),
        .sampler = *sampler ? (char *)sampler : NULL,
        .schedule = *schedule ? (char *)schedule : NULL,
        .fixed_seed = !fig_record_bool(from, "random-seed"),
        .seed = fig_record_uint64(from, "seed"),
        .batch = fig_record_int(from, "pictures"),
        .clip_skip = fig_record_int(from, "clip-skip"),
        .styles = (char *)fig_record_text(from, "styles"),
        .emphasis = (enum emphasis)fig_record_int(from, "emphasis"),
        .vae = (char *)fig_record_text(from, "vae"),
        .rng = (enum rng)fig_record_int(from, "rng"),
    };
}

void fig_bridge_fill_request(FigBridge *self, FigRequest *from, struct request *to)
{
    FigSettings *s = self->settings;
    const char *pattern = fig_record_text(s, "pattern");
    int every = fig_record_int(s, "preview-every");
    g_autofree char *folder = fig_bridge_pictures_folder(self);
    struct request r = bridge_borrow_request(from);
    r.low_memory = fig_record_bool(s, "low-memory");
    r.device = (char *)fig_record_text(s, "device");
    r.precision = (char *)fig_record_text(s, "precision");
    r.folder = folder;
    r.pattern = *pattern ? (char *)pattern : NULL;
    r.format = fig_record_bool(s, "jpeg") ? PICTURE_JPEG : PICTURE_PNG;
    r.quality = fig_record_int(s, "quality");
    r.no_metadata = !fig_record_bool(s, "metadata");
    r.preview_every = every > 0 ? every : -1;
    request_copy(to, &r);
}

void bridge_start_next(FigBridge *self)
{
    if (self->running || self->paused)
        return;
    for (unsigned i = 0; i < journal_count(self->journal); i++) {
        struct journal_job *entry = journal_at(self->journal, i);
        FigJob *job = bridge_job_of_key(self, entry->key, NULL);
        if (entry->set_aside || !job || fig_job_state(job) != FIG_JOB_WAITING)
            continue;
        g_free(entry->request.folder); /* where pictures go now, not when it was asked for */
        entry->request.folder = fig_bridge_pictures_folder(self);
        struct request rest = entry->request; /* what is left of it; strings stay borrowed */
        rest.seed += (uint64_t)entry->done;
        rest.batch -= entry->done;
        entry->running = true;
        bridge_save_journal(self); /* before it runs: a crash must find it written down */
        self->running_key = entry->key;
        g_hash_table_remove_all(self->told);
        self->progress = (struct progress){.phase = FIG_PHASE_LOADING, .seconds_left = -1};
        if (!self->finished)
            self->began = g_get_monotonic_time();
        self->running = engine_submit(self->engine, &rest);
        fig_job_update(job, FIG_JOB_RUNNING, entry->done, NULL);
        return;
    }
}

void bridge_add_job(FigBridge *self, struct journal_job *entry)
{
    g_autoptr(FigJob) job = fig_job_new(entry->key, entry->request.prompt, entry->request.batch);
    fig_job_update(job, entry->set_aside ? FIG_JOB_SET_ASIDE : FIG_JOB_WAITING, entry->done, NULL);
    g_list_store_append(self->queue, job);
}

void fig_bridge_submit_all(FigBridge *self, GPtrArray *requests, guint *keys)
{
    for (guint i = 0; i < requests->len; i++) {
        struct request r;
        fig_bridge_fill_request(self, requests->pdata[i], &r);
        struct journal_job *entry = journal_add(self->journal, &r);
        request_clear(&r);
        bridge_add_job(self, entry);
        if (keys)
            keys[i] = entry->key; /* a job can be gone when bridge_start_next() returns */
    }
    if (self->running || self->paused)
        bridge_save_journal(self);
    bridge_start_next(self);
    bridge_notify_queue(self);
}

guint fig_bridge_submit(FigBridge *self, FigRequest *request)
{
    guint key = 0;
    g_autoptr(GPtrArray) one = g_ptr_array_new();
    g_ptr_array_add(one, request);
    fig_bridge_submit_all(self, one, &key);
    return key;
}

void fig_bridge_stop(FigBridge *self)
{
    if (!self->running || self->stopping)
        return;
    self->stopping = true;
    self->progress.phase = FIG_PHASE_STOPPING;
    bridge_notify_progress(self);
    engine_cancel(self->engine, self->running);
}

void fig_bridge_set_paused(FigBridge *self, gboolean paused)
{
    if (self->paused == paused)
        return;
    self->paused = paused;
    g_object_notify(G_OBJECT(self), "paused");
    bridge_start_next(self);
    bridge_notify_queue(self);
}

GListModel *fig_bridge_queue(FigBridge *self)
{
    return G_LIST_MODEL(self->queue);
}

void fig_bridge_remove(FigBridge *self, FigJob *job)
{
    guint position;
    guint key = fig_job_key(job);
    if (key == self->running_key) {
        fig_bridge_stop(self);
        return;
    }
    if (!bridge_job_of_key(self, key, &position))
        return;
    journal_remove(self->journal, key);
    g_list_store_remove(self->queue, position);
    bridge_save_journal(self);
    bridge_notify_queue(self);
}

void fig_bridge_move(FigBridge *self, FigJob *job, int by)
{
    guint from;
    if (!bridge_job_of_key(self, fig_job_key(job), &from) || fig_job_key(job) == self->running_key)
        return;
    int first = self->running ? 1 : 0;
    int last = (int)g_list_model_get_n_items(G_LIST_MODEL(self->queue)) - 1;
    int to = CLAMP((int)from + CLAMP(by, -1000000, 1000000), first, last);
    if (to == (int)from)
        return;
    g_autoptr(FigJob) keep = g_object_ref(job);
    g_list_store_remove(self->queue, from);
    g_list_store_insert(self->queue, (guint)to, keep);
    journal_move(self->journal, fig_job_key(job), (unsigned)to);
    bridge_save_journal(self);
}

void fig_bridge_retry(FigBridge *self, FigJob *job)
{
    struct journal_job *entry = journal_find(self->journal, fig_job_key(job));
    if (!entry || fig_job_key(job) == self->running_key)
        return;
    entry->set_aside = false;
    entry->begun = 0;
    fig_job_update(job, FIG_JOB_WAITING, entry->done, NULL);
    bridge_save_journal(self);
    bridge_start_next(self);
    bridge_notify_queue(self);
}

void fig_bridge_clear(FigBridge *self)
{
    for (guint i = g_list_model_get_n_items(G_LIST_MODEL(self->queue)); i-- > 0;) {
        g_autoptr(FigJob) job = g_list_model_get_item(G_LIST_MODEL(self->queue), i);
        if (fig_job_key(job) == self->running_key)
            continue;
        journal_remove(self->journal, fig_job_key(job));
        g_list_store_remove(self->queue, i);
    }
    bridge_save_journal(self);
    bridge_notify_queue(self);
}

guint fig_bridge_recovered(FigBridge *self)
{
    return self->recovered;
}
