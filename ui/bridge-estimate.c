/* The bridge's look ahead: what a request will take, which styles, autoencoders and add-ons there
 * are. */
#include "ui/bridge-private.h"

#include "engine/estimate.h"
#include "engine/parts.h"
#include "engine/style_names.h"

struct task {
    struct request request;
    char **folders;
    struct estimate estimate;
};

static void task_free(void *data)
{
    struct task *t = data;
    request_clear(&t->request);
    g_strfreev(t->folders);
    g_free(t);
}

static void estimate(GTask *task, gpointer source, gpointer data, GCancellable *cancel)
{
    (void)source;
    (void)cancel;
    struct task *t = data;
    GError *error = NULL;
    if (estimate_request(t->folders, &t->request, &t->estimate, &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

void fig_bridge_estimate_async(FigBridge *self, FigRequest *request, GCancellable *cancel,
                               GAsyncReadyCallback callback, gpointer user)
{
    g_autoptr(GTask) task = g_task_new(self, cancel, callback, user);
    struct task *t = g_new0(struct task, 1);
    fig_bridge_fill_request(self, request, &t->request);
    t->folders = fig_bridge_model_folders(self);
    g_task_set_task_data(task, t, task_free);
    g_task_run_in_thread(task, estimate);
}

gboolean fig_bridge_estimate_finish(FigBridge *self, GAsyncResult *result, struct fig_estimate *out,
                                    GError **error)
{
    (void)self;
    const struct task *t = g_task_get_task_data(G_TASK(result));
    if (!g_task_propagate_boolean(G_TASK(result), error))
        return FALSE;
    *out = (struct fig_estimate){
        .memory = t->estimate.peak,
        .budget = t->estimate.budget,
        .fits = t->estimate.fits,
        .seconds = t->estimate.seconds,
    };
    return TRUE;
}

GStrv fig_bridge_styles(FigBridge *self)
{
    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    g_autoptr(GPtrArray) styles = style_names_list(folders);
    GStrv names = g_new0(char *, styles->len + 1);
    for (guint i = 0; i < styles->len; i++)
        names[i] = g_strdup(((const struct style *)styles->pdata[i])->name);
    return names;
}

GStrv fig_bridge_vaes(FigBridge *self)
{
    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    g_autoptr(GPtrArray) paths = parts_vaes(folders);
    GStrv copy = g_new0(char *, paths->len + 1);
    for (guint i = 0; i < paths->len; i++)
        copy[i] = g_strdup(paths->pdata[i]);
    return copy;
}

static GStrv add_ons_of(FigBridge *self, enum place_kind kind)
{
    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    g_autoptr(GPtrArray) names = parts_add_ons(folders, kind);
    g_ptr_array_add(names, NULL);
    return g_strdupv((char **)names->pdata);
}

GStrv fig_bridge_loras(FigBridge *self)
{
    return add_ons_of(self, PLACE_LORAS);
}

GStrv fig_bridge_embeddings(FigBridge *self)
{
    return add_ons_of(self, PLACE_EMBEDDINGS);
}
