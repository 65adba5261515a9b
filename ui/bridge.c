#include "ui/bridge-private.h"

#include "engine/library.h"
#include "engine/metadata.h"
#include "engine/tokens.h"

#include <glib/gi18n.h>
#include <math.h>

/* What the engine's thread leaves for the main loop. */
struct mail {
    GMutex lock;
    bool pending; /* an idle is on its way */
    bool has_progress;
    struct progress progress; /* the latest wins */
    struct picture preview;   /* the latest wins */
    unsigned preview_job;
    GQueue ends; /* struct end *, in order */
};

/* A picture, a notice, or the end of a job. */
struct end {
    enum event_type type;
    unsigned job;
    int index;
    char *text;
    struct picture picture;
    struct history_entry *entry;
    GError *error;
};

enum {
    PROP_BUSY = 1,
    PROP_PHASE,
    PROP_STEP,
    PROP_STEPS,
    PROP_FRACTION,
    PROP_SPEED,
    PROP_SECONDS_LEFT,
    PROP_STATUS,
    PROP_TITLE,
    PROP_PREVIEW,
    PROP_PAUSED,
    PROP_WAITING,
    N_PROPS
};
static GParamSpec *props[N_PROPS];
enum {
    SIGNAL_PICTURE,
    SIGNAL_NOTICE,
    SIGNAL_FAILED,
    SIGNAL_FINISHED,
    SIGNAL_HISTORY_CHANGED,
    N_SIGNALS
};
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(FigBridge, fig_bridge, G_TYPE_OBJECT)

/* ---- the door: the engine's thread ---- */

static void end_free(struct end *end)
{
    picture_clear(&end->picture);
    history_entry_free(end->entry);
    g_clear_error(&end->error);
    g_free(end->text);
    g_free(end);
}

static struct history_entry *entry_of(const struct event *event)
{
    const struct request *r = event->settings;
    struct history_entry *e = g_new0(struct history_entry, 1);
    e->path = event->path ? g_canonicalize_filename(event->path, NULL) : NULL;
    e->created = g_get_real_time() / 1000;
    e->width = event->picture->width;
    e->height = event->picture->height;
    e->prompt = g_strdup(r->prompt);
    e->negative = g_strdup(r->negative);
    struct metadata *m = metadata_parse(event->parameters); /* the name that the file says */
    e->model = g_strdup(metadata_get(m, "Model"));
    metadata_free(m);
    e->sampler = g_strdup(r->sampler);
    e->seed = r->seed;
    e->parameters = g_strdup(event->parameters);
    return e;
}

static FigPhase phase_of(enum event_type type)
{
    switch (type) {
    case EVENT_LOADING:
        return FIG_PHASE_LOADING;
    case EVENT_ENCODING:
        return FIG_PHASE_ENCODING;
    case EVENT_DECODING:
        return FIG_PHASE_DECODING;
    case EVENT_SAVING:
        return FIG_PHASE_SAVING;
    case EVENT_STEP:
        return FIG_PHASE_DENOISING;
    default:
        return FIG_PHASE_IDLE; /* tells nothing of the progress */
    }
}

static gboolean deliver(gpointer data);

static void on_event(const struct event *event, void *user)
{
    FigBridge *self = user;
    struct mail *mail = self->mail;
    struct end *end = NULL;
    if (event->type == EVENT_PICTURE || event->type == EVENT_NOTICE || event->type == EVENT_DONE ||
        event->type == EVENT_FAILED || event->type == EVENT_CANCELLED) {
        end = g_new0(struct end, 1);
        end->type = event->type;
        end->job = event->job;
        end->index = event->index;
        end->text = g_strdup(event->text);
        end->error = event->error ? g_error_copy(event->error) : NULL;
        if (event->type == EVENT_PICTURE) {
            end->picture = picture_ref(event->picture);
            end->entry = entry_of(event);
        }
    }

    g_mutex_lock(&mail->lock);
    if (end) {
        g_queue_push_tail(&mail->ends, end);
    } else if (event->type == EVENT_PREVIEW) {
        picture_clear(&mail->preview);
        mail->preview = picture_ref(event->picture);
        mail->preview_job = event->job;
    } else if (phase_of(event->type) != FIG_PHASE_IDLE) {
        mail->has_progress = true;
        mail->progress = (struct progress){
            .phase = phase_of(event->type),
            .job = event->job,
            .index = event->index,
            .batch = event->batch,
            .step = event->step,
            .steps = event->steps,
            .fraction = event->fraction,
            .speed = event->steps_per_second,
            .seconds_left = event->seconds_left,
        };
    }
    bool wake = !mail->pending;
    mail->pending = true;
    g_mutex_unlock(&mail->lock);
    if (wake)
        g_idle_add_full(G_PRIORITY_DEFAULT, deliver, g_object_ref(self), g_object_unref);
}

/* ---- the main loop ---- */

void bridge_notify_progress(FigBridge *self)
{
    for (int i = PROP_PHASE; i <= PROP_STATUS; i++)
        g_object_notify_by_pspec(G_OBJECT(self), props[i]);
}

void bridge_notify_queue(FigBridge *self)
{
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_BUSY]);
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_TITLE]);
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_WAITING]);
    bridge_notify_progress(self);
}

static void set_preview(FigBridge *self, GdkTexture *texture)
{
    if (g_set_object(&self->preview, texture))
        g_object_notify_by_pspec(G_OBJECT(self), props[PROP_PREVIEW]);
}

void bridge_save_journal(FigBridge *self)
{
    g_autoptr(GError) error = NULL;
    if (!journal_save(self->journal, &error))
        g_signal_emit(self, signals[SIGNAL_FAILED], 0, NULL, error->message, FIG_REMEDY_NONE);
}

static FigRemedy remedy_of(const GError *error)
{
    if (error->domain != ENGINE_ERROR)
        return FIG_REMEDY_NONE;
    switch (error->code) {
    case ENGINE_ERROR_INPUT:
        return FIG_REMEDY_CHANGE;
    case ENGINE_ERROR_MODEL:
        return FIG_REMEDY_MODEL;
    case ENGINE_ERROR_DEVICE:
        return FIG_REMEDY_CPU;
    case ENGINE_ERROR_MEMORY:
        return FIG_REMEDY_SMALLER;
    case ENGINE_ERROR_DISK:
        return FIG_REMEDY_FOLDER;
    case ENGINE_ERROR_NUMBERS:
        return FIG_REMEDY_F32;
    default:
        return FIG_REMEDY_NONE;
    }
}

static void picture_arrived(FigBridge *self, struct end *end)
{
    g_autoptr(FigPicture) picture = NULL;
    struct journal_job *entry = journal_find(self->journal, self->running_key);
    if (end->entry->path) {
        g_autoptr(GError) error = NULL;
        struct history *history = fig_bridge_open_history(self);
        if (history && !history_add(history, end->entry, &error))
            g_message("%s", error->message);
    }
    /* What could not be saved is kept in memory until somebody saves it. */
    picture = bridge_picture_of(self, end->entry, self->running_key,
                                end->entry->path ? NULL : end->picture.rgb);
    self->finished++;
    if (entry) {
        entry->done++;
        FigJob *job = bridge_job_of_key(self, entry->key, NULL);
        if (job)
            fig_job_update(job, FIG_JOB_RUNNING, entry->done, NULL);
        bridge_save_journal(self);
    }
    fig_picture_set_fresh(picture, end->picture.rgb);
    g_signal_emit(self, signals[SIGNAL_PICTURE], 0, picture);
    fig_picture_set_fresh(picture, NULL);
    bool more = bridge_waiting(self) || (entry && entry->done < entry->request.batch);
    if (end->error && more)
        fig_bridge_set_paused(self, TRUE); /* what follows could not be saved either */
}

static void notice_arrived(FigBridge *self, struct end *end)
{
    if (end->text && g_hash_table_add(self->told, g_strdup(end->text)))
        g_signal_emit(self, signals[SIGNAL_NOTICE], 0, end->text);
}

/* A job stays in the queue when it failed: to be tried again; or to go on, when only the disk
 * refused. */
static bool stays(FigBridge *self, struct end *end, struct journal_job *entry, FigJob *job)
{
    if (end->type != EVENT_FAILED || !entry || entry->done >= entry->request.batch)
        return false;
    bool disk = g_error_matches(end->error, ENGINE_ERROR, ENGINE_ERROR_DISK);
    entry->running = false;
    if (job)
        fig_job_update(job, disk && self->paused ? FIG_JOB_WAITING : FIG_JOB_FAILED, entry->done,
                       end->error->message);
    return true;
}

static void job_ended(FigBridge *self, struct end *end)
{
    guint position = 0;
    FigJob *job = bridge_job_of_key(self, self->running_key, &position);
    guint key = self->running_key;
    g_autoptr(FigJob) keep = job ? g_object_ref(job) : NULL;
    struct journal_job *entry = journal_find(self->journal, key);
    bool failed = end->type == EVENT_FAILED;
    if (!stays(self, end, entry, job)) {
        journal_remove(self->journal, key);
        if (job)
            g_list_store_remove(self->queue, position);
    }
    self->running = 0;
    self->running_key = 0;
    self->stopping = false;
    self->progress = (struct progress){.phase = FIG_PHASE_IDLE, .seconds_left = -1};
    bridge_save_journal(self);
    set_preview(self, NULL);
    if (failed)
        g_signal_emit(self, signals[SIGNAL_FAILED], 0, keep, end->error->message,
                      remedy_of(end->error));
    bridge_start_next(self);
    bridge_notify_queue(self);
    if (!self->running && self->finished) {
        double seconds = (double)(g_get_monotonic_time() - self->began) / 1e6;
        int finished = self->finished;
        self->finished = 0;
        g_signal_emit(self, signals[SIGNAL_FINISHED], 0, finished, seconds);
    }
}

static gboolean deliver(gpointer data)
{
    FigBridge *self = data;
    struct mail *mail = self->mail;
    g_mutex_lock(&mail->lock);
    mail->pending = false;
    bool has_progress = mail->has_progress;
    struct progress progress = mail->progress;
    struct picture preview = mail->preview;
    unsigned preview_job = mail->preview_job;
    GQueue ends = mail->ends;
    mail->has_progress = false;
    mail->preview = (struct picture){0};
    g_queue_init(&mail->ends);
    g_mutex_unlock(&mail->lock);

    if (has_progress && progress.job == self->running && self->running) {
        self->progress = progress;
        bridge_notify_progress(self);
    }
    if (preview.rgb && preview_job == self->running && !self->stopping) {
        g_autoptr(GdkTexture) texture =
            gdk_memory_texture_new(preview.width, preview.height, GDK_MEMORY_R8G8B8, preview.rgb,
                                   (gsize)preview.width * 3);
        set_preview(self, texture);
    }
    picture_clear(&preview);

    struct end *end;
    while ((end = g_queue_pop_head(&ends))) {
        if (end->job == self->running && self->running) {
            if (end->type == EVENT_PICTURE)
                picture_arrived(self, end);
            else if (end->type == EVENT_NOTICE)
                notice_arrived(self, end);
            else
                job_ended(self, end);
        }
        end_free(end);
    }
    return G_SOURCE_REMOVE;
}

/* ---- the object ---- */

FigSettings *fig_bridge_settings(FigBridge *self)
{
    return self->settings;
}

struct history *fig_bridge_open_history(FigBridge *self)
{
    if (!self->history) {
        g_autoptr(GError) error = NULL;
        self->history = history_open(NULL, &error);
        if (!self->history)
            g_message("%s", error->message);
    }
    return self->history;
}

int fig_bridge_count_tokens(FigBridge *self, const char *model, const char *prompt)
{
    return token_counter_count(self->tokens, *model ? model : NULL, prompt);
}

/* 0 to 1 of the whole job, so that the bar never jumps back. */
static double overall(FigBridge *self)
{
    const struct progress *p = &self->progress;
    if (p->phase == FIG_PHASE_IDLE || p->batch < 1)
        return 0;
    double one = p->phase == FIG_PHASE_DENOISING ? (p->steps ? (double)p->step / p->steps : 0)
                 : p->phase == FIG_PHASE_DECODING || p->phase == FIG_PHASE_SAVING ? 1
                                                                                  : 0;
    return CLAMP((p->index + one) / p->batch, 0, 1);
}

static char *status(FigBridge *self)
{
    const struct progress *p = &self->progress;
    switch (p->phase) {
    case FIG_PHASE_IDLE:
        return g_strdup(self->paused && bridge_waiting(self) ? _("The queue is paused") : "");
    case FIG_PHASE_LOADING:
        return g_strdup(_("Loading the model…"));
    case FIG_PHASE_ENCODING:
        return g_strdup(_("Reading the prompt…"));
    case FIG_PHASE_DECODING:
        return g_strdup(_("Decoding the picture…"));
    case FIG_PHASE_SAVING:
        return g_strdup(_("Saving…"));
    case FIG_PHASE_STOPPING:
        return g_strdup(_("Stopping…"));
    default:
        break;
    }
    GString *line = g_string_new(NULL);
    if (p->batch > 1)
        g_string_append_printf(line, _("Picture %d of %d · "), p->index + 1, p->batch);
    g_string_append_printf(line, p->batch > 1 ? _("step %d of %d") : _("Step %d of %d"), p->step,
                           p->steps);
    if (p->seconds_left >= 0 && isfinite(p->seconds_left)) {
        int left = (int)ceil(p->seconds_left);
        if (left < 60)
            g_string_append_printf(line, _(" · %d s left"), left);
        else
            g_string_append_printf(line, _(" · %d min %02d s left"), left / 60, left % 60);
    }
    if (p->speed > 0)
        g_string_append_printf(line, p->speed >= 1 ? _(" · %.1f it/s") : _(" · %.1f s/it"),
                               p->speed >= 1 ? p->speed : 1 / p->speed);
    return g_string_free(line, FALSE);
}

static void fig_bridge_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    FigBridge *self = FIG_BRIDGE(object);
    FigJob *job;
    switch (id) {
    case PROP_BUSY:
        g_value_set_boolean(value, self->running != 0);
        break;
    case PROP_PHASE:
        g_value_set_int(value, self->progress.phase);
        break;
    case PROP_STEP:
        g_value_set_int(value, self->progress.step);
        break;
    case PROP_STEPS:
        g_value_set_int(value, self->progress.steps);
        break;
    case PROP_FRACTION:
        g_value_set_double(value, overall(self));
        break;
    case PROP_SPEED:
        g_value_set_double(value, self->progress.speed);
        break;
    case PROP_SECONDS_LEFT:
        g_value_set_double(value, self->progress.seconds_left);
        break;
    case PROP_STATUS:
        g_value_take_string(value, status(self));
        break;
    case PROP_TITLE:
        job = bridge_job_of_key(self, self->running_key, NULL);
        g_value_set_string(value, self->running && job ? fig_job_title(job) : "");
        break;
    case PROP_PREVIEW:
        g_value_set_object(value, self->preview);
        break;
    case PROP_PAUSED:
        g_value_set_boolean(value, self->paused);
        break;
    case PROP_WAITING:
        g_value_set_uint(value, bridge_waiting(self));
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void fig_bridge_set_property(GObject *object, guint id, const GValue *value,
                                    GParamSpec *spec)
{
    if (id == PROP_PAUSED)
        fig_bridge_set_paused(FIG_BRIDGE(object), g_value_get_boolean(value));
    else
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void fig_bridge_dispose(GObject *object)
{
    FigBridge *self = FIG_BRIDGE(object);
    g_clear_pointer(&self->engine, engine_destroy); /* no event after it returns */
    self->running = 0;                              /* and what is still in the mail is stale */
    g_clear_pointer(&self->journal, journal_close);
    g_clear_pointer(&self->history, history_close);
    g_clear_pointer(&self->tokens, token_counter_destroy);
    g_clear_object(&self->queue);
    g_clear_object(&self->preview);
    g_clear_pointer(&self->told, g_hash_table_unref);
    g_clear_object(&self->settings);
    G_OBJECT_CLASS(fig_bridge_parent_class)->dispose(object);
}

static void fig_bridge_finalize(GObject *object)
{
    struct mail *mail = FIG_BRIDGE(object)->mail;
    g_hash_table_unref(FIG_BRIDGE(object)->pictures);
    g_queue_clear_full(&mail->ends, (GDestroyNotify)end_free);
    picture_clear(&mail->preview);
    g_mutex_clear(&mail->lock);
    g_free(mail);
    G_OBJECT_CLASS(fig_bridge_parent_class)->finalize(object);
}

static void fig_bridge_class_init(FigBridgeClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    object_class->dispose = fig_bridge_dispose;
    object_class->finalize = fig_bridge_finalize;
    object_class->get_property = fig_bridge_get_property;
    object_class->set_property = fig_bridge_set_property;

    GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;
    props[PROP_BUSY] = g_param_spec_boolean("busy", NULL, NULL, FALSE, flags);
    props[PROP_PHASE] = g_param_spec_int("phase", NULL, NULL, 0, FIG_PHASE_STOPPING, 0, flags);
    props[PROP_STEP] = g_param_spec_int("step", NULL, NULL, 0, G_MAXINT, 0, flags);
    props[PROP_STEPS] = g_param_spec_int("steps", NULL, NULL, 0, G_MAXINT, 0, flags);
    props[PROP_FRACTION] = g_param_spec_double("fraction", NULL, NULL, 0, 1, 0, flags);
    props[PROP_SPEED] = g_param_spec_double("speed", NULL, NULL, 0, G_MAXDOUBLE, 0, flags);
    props[PROP_SECONDS_LEFT] =
        g_param_spec_double("seconds-left", NULL, NULL, -1, G_MAXDOUBLE, -1, flags);
    props[PROP_STATUS] = g_param_spec_string("status", NULL, NULL, "", flags);
    props[PROP_TITLE] = g_param_spec_string("title", NULL, NULL, "", flags);
    props[PROP_PREVIEW] = g_param_spec_object("preview", NULL, NULL, GDK_TYPE_TEXTURE, flags);
    props[PROP_PAUSED] =
        g_param_spec_boolean("paused", NULL, NULL, FALSE,
                             G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);
    props[PROP_WAITING] = g_param_spec_uint("waiting", NULL, NULL, 0, G_MAXUINT, 0, flags);
    g_object_class_install_properties(object_class, N_PROPS, props);

    GType type = G_TYPE_FROM_CLASS(class);
    signals[SIGNAL_PICTURE] = g_signal_new("picture", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                           G_TYPE_NONE, 1, FIG_TYPE_PICTURE);
    signals[SIGNAL_NOTICE] = g_signal_new("notice", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                          G_TYPE_NONE, 1, G_TYPE_STRING);
    signals[SIGNAL_FAILED] = g_signal_new("failed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                          G_TYPE_NONE, 3, FIG_TYPE_JOB, G_TYPE_STRING, G_TYPE_INT);
    signals[SIGNAL_HISTORY_CHANGED] = g_signal_new("history-changed", type, G_SIGNAL_RUN_LAST, 0,
                                                   NULL, NULL, NULL, G_TYPE_NONE, 0);
    signals[SIGNAL_FINISHED] = g_signal_new("finished", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                                            NULL, G_TYPE_NONE, 2, G_TYPE_INT, G_TYPE_DOUBLE);
}

static void fig_bridge_init(FigBridge *self)
{
    self->mail = g_new0(struct mail, 1);
    self->tokens = token_counter_create();
    g_mutex_init(&self->mail->lock);
    g_queue_init(&self->mail->ends);
    self->queue = g_list_store_new(FIG_TYPE_JOB);
    self->pictures = g_hash_table_new(g_int64_hash, g_int64_equal);
    self->told = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->progress = (struct progress){.phase = FIG_PHASE_IDLE, .seconds_left = -1};
}

/* A picture that was saved, but perhaps not written down before the crash. */
static void found_again(struct history_entry *entry, void *user)
{
    g_autoptr(GError) error = NULL;
    struct history *history = fig_bridge_open_history(user);
    if (history && !history_add(history, entry, &error))
        g_message("%s", error->message);
}

FigBridge *fig_bridge_new(FigSettings *settings)
{
    FigBridge *self = g_object_new(FIG_TYPE_BRIDGE, NULL);
    self->settings = g_object_ref(settings);
    self->journal = journal_open(NULL);
    if (journal_crashed(self->journal)) {
        g_autofree char *folder = fig_bridge_pictures_folder(self);
        journal_settle(self->journal, folder, found_again, self);
        self->recovered = journal_count(self->journal);
    }
    self->paused = journal_count(self->journal) > 0; /* never runs by itself after a restart */
    for (unsigned i = 0; i < journal_count(self->journal); i++)
        bridge_add_job(self, journal_at(self->journal, i));
    bridge_save_journal(self);

    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    struct engine_options options = {.folders = folders};
    self->engine = engine_create(&options, on_event, self);
    return self;
}
