/* The bridge's history: rows of the index become FigPictures. */
#include "ui/bridge-private.h"

#include <glib/gi18n.h>

/* What a weak reference needs to know. */
struct place {
    GHashTable *pictures;
    gint64 id;
};

static void went(gpointer data, GObject *picture)
{
    struct place *place = data;
    (void)picture;
    g_hash_table_remove(place->pictures, &place->id);
    g_hash_table_unref(place->pictures);
    g_free(place);
}

FigPicture *bridge_known_picture(FigBridge *self, gint64 id)
{
    FigPicture *picture = g_hash_table_lookup(self->pictures, &id);
    return picture ? g_object_ref(picture) : NULL;
}

void bridge_know_picture(FigBridge *self, FigPicture *picture)
{
    struct place *place = g_new(struct place, 1);
    *place = (struct place){g_hash_table_ref(self->pictures), fig_picture_facts(picture)->id};
    g_hash_table_insert(self->pictures, &place->id, picture);
    g_object_weak_ref(G_OBJECT(picture), went, place);
}

FigPicture *bridge_picture_of(FigBridge *self, const struct history_entry *e, guint job,
                              GBytes *rgb)
{
    FigPicture *picture = bridge_known_picture(self, e->id);
    if (picture)
        return picture;
    picture = fig_picture_new_take((struct fig_picture_facts){
        .id = e->id,
        .path = g_strdup(e->path),
        .created = e->created,
        .width = e->width,
        .height = e->height,
        .prompt = g_strdup(e->prompt),
        .negative = g_strdup(e->negative),
        .model = g_strdup(e->model),
        .sampler = g_strdup(e->sampler),
        .seed = e->seed,
        .parameters = g_strdup(e->parameters),
        .favourite = e->favourite,
        .rgb = rgb ? g_bytes_ref(rgb) : NULL,
        .job = job,
    });
    if (e->id) /* 0: it could not be written down */
        bridge_know_picture(self, picture);
    return picture;
}

/* GArray of int64_t, newest first; none when the index cannot be read. */
static GArray *ids_of(FigBridge *self, const struct fig_filter *filter, int limit)
{
    struct history *history = fig_bridge_open_history(self);
    if (!history)
        return g_array_new(FALSE, FALSE, sizeof(int64_t));
    struct history_filter f = {
        .text = filter->text && *filter->text ? filter->text : NULL,
        .model = filter->model && *filter->model ? filter->model : NULL,
        .favourites = filter->favourites,
        .limit = limit,
    };
    if (filter->days > 0)
        f.since = g_get_real_time() / 1000 - (gint64)filter->days * 24 * 3600 * 1000;
    g_autoptr(GError) error = NULL;
    GArray *ids = history_ids(history, &f, &error);
    if (!ids)
        g_message("%s", error->message);
    return ids ? ids : g_array_new(FALSE, FALSE, sizeof(int64_t));
}

GListModel *fig_bridge_history(FigBridge *self, const struct fig_filter *filter, int limit)
{
    return fig_history_list_new(self, ids_of(self, filter, limit));
}

void fig_bridge_history_update(FigBridge *self, GListModel *list, const struct fig_filter *filter)
{
    fig_history_list_update(list, ids_of(self, filter, 0));
}

gint64 fig_bridge_history_count(FigBridge *self)
{
    struct history *history = fig_bridge_open_history(self);
    return history ? history_count(history) : 0;
}

FigPicture *fig_bridge_add_picture(FigBridge *self, const char *path)
{
    struct history *history = fig_bridge_open_history(self);
    struct history_entry *entry = history_read_picture(path, NULL);
    FigPicture *picture = NULL;
    if (history && entry && history_add(history, entry, NULL))
        picture = bridge_picture_of(self, entry, 0, NULL);
    history_entry_free(entry);
    return picture;
}

static GStrv to_strv(GPtrArray *strings)
{
    g_ptr_array_add(strings, NULL);
    g_ptr_array_set_free_func(strings, NULL);
    return (GStrv)g_ptr_array_free(strings, FALSE);
}

GStrv fig_bridge_history_models(FigBridge *self)
{
    struct history *history = fig_bridge_open_history(self);
    return history ? to_strv(history_models(history)) : g_new0(char *, 1);
}

GStrv fig_bridge_history_prompts(FigBridge *self, int limit)
{
    struct history *history = fig_bridge_open_history(self);
    return history ? to_strv(history_prompts(history, limit)) : g_new0(char *, 1);
}

void fig_bridge_set_favourite(FigBridge *self, FigPicture *picture, gboolean favourite)
{
    struct history *history = fig_bridge_open_history(self);
    g_autoptr(GError) error = NULL;
    if (history &&
        !history_set_favourite(history, fig_picture_facts(picture)->id, favourite, &error)) {
        g_message("%s", error->message);
        return;
    }
    fig_picture_set_favourite(picture, favourite);
}

gboolean fig_bridge_trash(FigBridge *self, FigPicture *picture, GError **error)
{
    const struct fig_picture_facts *facts = fig_picture_facts(picture);
    if (facts->path) {
        g_autoptr(GFile) file = g_file_new_for_path(facts->path);
        g_autoptr(GError) cause = NULL;
        if (!g_file_trash(file, NULL, &cause) &&
            !g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                        _("The picture could not be moved to the trash: %s"), cause->message);
            return FALSE;
        }
    }
    struct history *history = fig_bridge_open_history(self);
    return !history || history_forget(history, facts->id, error);
}

static void rebuild(GTask *task, gpointer source, gpointer data, GCancellable *cancel)
{
    (void)source;
    GError *error = NULL;
    struct history *history = history_open(NULL, &error); /* a connection of this thread's own */
    gint64 n = history ? history_rebuild(history, data, cancel, NULL, NULL, &error) : -1;
    history_close(history);
    if (n < 0)
        g_task_return_error(task, error);
    else
        g_task_return_int(task, (gssize)n);
}

void fig_bridge_rebuild_async(FigBridge *self, GCancellable *cancel, GAsyncReadyCallback callback,
                              gpointer user)
{
    g_autoptr(GTask) task = g_task_new(self, cancel, callback, user);
    g_task_set_task_data(task, fig_bridge_pictures_folder(self), g_free);
    g_task_run_in_thread(task, rebuild);
}

gint64 fig_bridge_rebuild_finish(FigBridge *self, GAsyncResult *result, GError **error)
{
    gint64 n = g_task_propagate_int(G_TASK(result), error);
    if (n >= 0)
        g_signal_emit_by_name(self, "history-changed");
    return n;
}
