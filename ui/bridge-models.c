/* The bridge's models, devices, and settings read from pictures. */
#include "ui/bridge-private.h"

#include "engine/library.h"
#include "engine/metadata.h"

#include <glib/gi18n.h>
#include <string.h>

char **fig_bridge_model_folders(FigBridge *self)
{
    g_auto(GStrv) parts =
        g_strsplit(fig_record_text(fig_bridge_settings(self), "model-folders"), ";", -1);
    GPtrArray *folders = g_ptr_array_new();
    for (char **part = parts; *part; part++)
        if (**part)
            g_ptr_array_add(folders, g_strdup(*part));
    g_ptr_array_add(folders, NULL);
    return (char **)g_ptr_array_free(folders, FALSE);
}

static void model_free(void *data)
{
    struct fig_model *m = data;
    g_free(m->name);
    g_free(m->path);
    g_free(m->family);
    g_free(m->problem);
    g_free(m->sampler);
    g_free(m->schedule);
    g_free(m);
}

GPtrArray *fig_bridge_models(FigBridge *self)
{
    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    g_autoptr(GPtrArray) infos = library_list(folders);
    GPtrArray *models = g_ptr_array_new_with_free_func(model_free);
    for (guint i = 0; i < infos->len; i++) {
        const struct model_info *info = infos->pdata[i];
        struct fig_model *m = g_new0(struct fig_model, 1);
        m->name = g_strdup(info->name);
        m->path = g_strdup(info->path);
        m->family = g_strdup(info->family);
        m->problem = g_strdup(info->problem);
        m->bytes = info->bytes;
        m->bundled = info->bundled;
        m->width = info->defaults.width;
        m->height = info->defaults.height;
        m->steps = info->defaults.steps;
        m->guidance = info->defaults.cfg;
        m->sampler = g_strdup(info->defaults.sampler);
        m->schedule = g_strdup(info->defaults.schedule);
        g_ptr_array_add(models, m);
    }
    return models;
}

char *fig_bridge_add_model(FigBridge *self, const char *path, GError **error)
{
    struct model_info *info = library_find(NULL, path, error);
    if (!info)
        return NULL;
    if (info->problem) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, info->problem);
        model_info_free(info);
        return NULL;
    }
    /* In place: the folder it lies in joins the library; nothing is copied. */
    g_autofree char *folder = g_path_get_dirname(info->path);
    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    if (!g_strv_contains((const char *const *)folders, folder)) {
        g_autofree char *joined = g_strjoinv(";", folders);
        g_autofree char *all = *joined ? g_strconcat(joined, ";", folder, NULL) : g_strdup(folder);
        g_object_set(fig_bridge_settings(self), "model-folders", all, NULL);
    }
    char *name = g_strdup(info->path); /* the engine knows the folders of its start only */
    model_info_free(info);
    return name;
}

char *fig_bridge_pictures_folder(FigBridge *self)
{
    const char *folder = fig_record_text(fig_bridge_settings(self), "folder");
    return *folder ? g_strdup(folder) : library_pictures_folder();
}

char *fig_bridge_models_folder(FigBridge *self)
{
    (void)self;
    return library_models_folder();
}

/* ---- devices ---- */

static void device_free(void *data)
{
    struct fig_device *d = data;
    g_free(d->name);
    g_free(d->label);
    g_free(d);
}

static void list_devices(GTask *task, gpointer source, gpointer data, GCancellable *cancel)
{
    (void)source;
    (void)data;
    (void)cancel;
    g_autoptr(GPtrArray) infos = engine_devices();
    GPtrArray *devices = g_ptr_array_new_with_free_func(device_free);
    for (guint i = 0; i < infos->len; i++) {
        const struct device_info *info = infos->pdata[i];
        struct fig_device *d = g_new0(struct fig_device, 1);
        d->name = g_strdup(info->name);
        d->label = g_strdup(info->label);
        d->memory = info->memory;
        g_ptr_array_add(devices, d);
    }
    g_task_return_pointer(task, devices, (GDestroyNotify)g_ptr_array_unref);
}

void fig_bridge_devices_async(FigBridge *self, GAsyncReadyCallback callback, gpointer user)
{
    g_autoptr(GTask) task = g_task_new(self, NULL, callback, user);
    g_task_run_in_thread(task, list_devices);
}

GPtrArray *fig_bridge_devices_finish(FigBridge *self, GAsyncResult *result, GError **error)
{
    (void)self;
    return g_task_propagate_pointer(G_TASK(result), error);
}

/* ---- settings from pictures ---- */

/* The window's request as the engine's (strings copied) and back, for what a picture can change. */
static void to_engine(FigRequest *from, struct request *to)
{
    const struct request r = {
        .prompt = (char *)fig_record_text(from, "prompt"),
        .negative = (char *)fig_record_text(from, "negative"),
        .model = (char *)fig_record_text(from, "model"),
        .width = fig_record_int(from, "width"),
        .height = fig_record_int(from, "height"),
        .steps = fig_record_int(from, "steps"),
        .cfg = fig_record_double(from, "guidance"),
        .sampler = (char *)fig_record_text(from, "sampler"),
        .schedule = (char *)fig_record_text(from, "schedule"),
        .fixed_seed = !fig_record_bool(from, "random-seed"),
        .seed = fig_record_uint64(from, "seed"),
        .clip_skip = fig_record_int(from, "clip-skip"),
    };
    request_copy(to, &r);
}

static void from_engine(const struct request *from, FigRequest *to)
{
    g_object_set(to, "prompt", from->prompt ? from->prompt : "", "negative",
                 from->negative ? from->negative : "", "model", from->model ? from->model : "",
                 "width", CLAMP(from->width, 64, 2048), "height", CLAMP(from->height, 64, 2048),
                 "steps", CLAMP(from->steps, 1, 150), "guidance", CLAMP(from->cfg, 1.0, 30.0),
                 "sampler", from->sampler ? from->sampler : "", "schedule",
                 from->schedule ? from->schedule : "", "random-seed", !from->fixed_seed, "seed",
                 from->seed, "clip-skip", CLAMP(from->clip_skip, 1, 12), NULL);
}

static void apply(const struct metadata *metadata, FigRequest *request, GPtrArray *changes,
                  GPtrArray *notices)
{
    struct request r;
    to_engine(request, &r);
    metadata_apply(metadata, &r, changes, notices);
    from_engine(&r, request);
    request_clear(&r);
}

gboolean fig_bridge_read_settings(FigBridge *self, const char *path, FigRequest *base,
                                  FigRequest **request, char **origin, GPtrArray **changes,
                                  GPtrArray **notices, GError **error)
{
    (void)self;
    struct metadata *metadata = metadata_read(path, error);
    if (!metadata)
        return FALSE;
    *changes = g_ptr_array_new_with_free_func(g_free);
    *notices = g_ptr_array_new_with_free_func(g_free);
    *origin = g_strdup(metadata->origin);
    *request = fig_record_copy(base);
    apply(metadata, *request, *changes, *notices);
    metadata_free(metadata);
    return TRUE;
}

void fig_bridge_parse_settings(FigBridge *self, const char *parameters, FigRequest *request)
{
    (void)self;
    struct metadata *metadata = metadata_parse(parameters);
    apply(metadata, request, NULL, NULL);
    metadata_free(metadata);
}
