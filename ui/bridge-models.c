/* The bridge's models, devices, and settings read from pictures. */
#include "ui/bridge-private.h"

#include "engine/bench.h"
#include "engine/library.h"
#include "engine/metadata.h"
#include "scheduler/scheduler.h"

#include <glib/gi18n.h>
#include <string.h>
#include <unistd.h>

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
    g_free(d->problem);
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
        if (!d->memory && strcmp(d->name, "cpu") == 0)
            d->memory = (guint64)sysconf(_SC_PHYS_PAGES) * (guint64)sysconf(_SC_PAGESIZE);
        d->automatic = info->automatic;
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

struct measure {
    char *device, *precision;
    double flops;
};

static void measure_free(void *data)
{
    struct measure *m = data;
    g_free(m->device);
    g_free(m->precision);
    g_free(m);
}

static void measure(GTask *task, gpointer source, gpointer data, GCancellable *cancel)
{
    (void)source;
    (void)cancel;
    struct measure *m = data;
    GError *error = NULL;
    if (bench_device(m->device, m->precision, &m->flops, &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

void fig_bridge_measure_async(FigBridge *self, const char *device, GAsyncReadyCallback callback,
                              gpointer user)
{
    g_autoptr(GTask) task = g_task_new(self, NULL, callback, user);
    struct measure *m = g_new0(struct measure, 1);
    m->device = g_strdup(device);
    m->precision = g_strdup(fig_record_text(fig_bridge_settings(self), "precision"));
    g_task_set_task_data(task, m, measure_free);
    g_task_run_in_thread(task, measure);
}

/* "speeds" of the settings: a key file's lines, "cpu/auto=1.2e11". */
static GKeyFile *speeds(FigBridge *self)
{
    GKeyFile *file = g_key_file_new();
    const char *text = fig_record_text(fig_bridge_settings(self), "speeds");
    if (*text)
        g_key_file_load_from_data(file, text, (gsize)-1, G_KEY_FILE_NONE, NULL);
    return file;
}

double fig_bridge_measure_finish(FigBridge *self, GAsyncResult *result, GError **error)
{
    const struct measure *m = g_task_get_task_data(G_TASK(result));
    if (!g_task_propagate_boolean(G_TASK(result), error))
        return 0;
    g_autoptr(GKeyFile) file = speeds(self);
    g_autofree char *key = g_strconcat(m->device, "/", m->precision, NULL);
    g_key_file_set_double(file, "speeds", key, m->flops);
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_object_set(fig_bridge_settings(self), "speeds", text, NULL);
    return m->flops;
}

double fig_bridge_speed(FigBridge *self, const char *device)
{
    g_autoptr(GKeyFile) file = speeds(self);
    g_autofree char *key =
        g_strconcat(device, "/", fig_record_text(fig_bridge_settings(self), "precision"), NULL);
    return g_key_file_get_double(file, "speeds", key, NULL);
}

/* ---- settings from pictures ---- */

/* What a picture can change of the window's request, back from the engine's. */
static void from_engine(const struct request *from, FigRequest *to)
{
    g_object_set(to, "prompt", from->prompt ? from->prompt : "", "negative",
                 from->negative ? from->negative : "", "model", from->model ? from->model : "",
                 "width", CLAMP(from->width, 64, 2048), "height", CLAMP(from->height, 64, 2048),
                 "steps", CLAMP(from->steps, 1, 150), "guidance", CLAMP(from->cfg, 1.0, 30.0),
                 "sampler", from->sampler ? from->sampler : "", "schedule",
                 from->schedule ? from->schedule : "", "random-seed", !from->fixed_seed, "seed",
                 from->seed, "clip-skip", CLAMP(from->clip_skip, 1, 12), "vae",
                 from->vae ? from->vae : "", "emphasis", (int)from->emphasis, "rng", (int)from->rng,
                 NULL);
}

static void apply(const struct metadata *metadata, FigRequest *request, GPtrArray *notices)
{
    const struct request before = bridge_borrow_request(request);
    struct request r;
    request_copy(&r, &before);
    metadata_apply(metadata, &r, NULL, notices);
    from_engine(&r, request);
    g_object_set(request, "styles", "", NULL); /* their words are in the picture's prompt */
    if (notices && r.fixed_eta)
        g_ptr_array_add(notices, g_strdup(_("Eta cannot be set in the window.")));
    if (notices && r.variation_strength > 0)
        g_ptr_array_add(notices, g_strdup(_("Variation seeds cannot be set in the window.")));
    request_clear(&r);
}

/* The name that a picture gives is looked up here and becomes the path of a model that is there, or
 * nothing changes. */
static void match_model(FigBridge *self, const struct metadata *metadata, FigRequest *base,
                        FigRequest *request, GPtrArray *notices)
{
    const char *name = metadata_get(metadata, "Model"),
               *hash = metadata_get(metadata, "Model hash");
    g_auto(GStrv) folders = fig_bridge_model_folders(self);
    struct model_info *info = name || hash ? library_match(folders, name, hash) : NULL;
    g_object_set(request, "model", info ? info->path : fig_record_text(base, "model"), NULL);
    if (notices && name && !info && hash)
        g_ptr_array_add(
            notices,
            g_strdup_printf(_("Made with “%s” (hash %s), which you don't have."), name, hash));
    else if (notices && name && !info)
        g_ptr_array_add(notices, g_strdup_printf(_("Made with “%s”, which you don't have."), name));
    model_info_free(info);
}

/* The same for a separate autoencoder: its file here, or the model's own. */
static void match_vae(FigBridge *self, FigRequest *request, GPtrArray *notices)
{
    g_autofree char *name = g_path_get_basename(fig_record_text(request, "vae"));
    g_auto(GStrv) vaes = fig_bridge_vaes(self);
    const char *found = "";
    if (!*fig_record_text(request, "vae"))
        return;
    for (char **vae = vaes; *vae && !*found; vae++) {
        g_autofree char *base = g_path_get_basename(*vae);
        if (g_ascii_strcasecmp(base, name) == 0)
            found = *vae;
    }
    g_object_set(request, "vae", found, NULL);
    if (notices && !*found && g_ascii_strcasecmp(name, "Automatic") != 0 &&
        g_ascii_strcasecmp(name, "None") != 0)
        g_ptr_array_add(notices,
                        g_strdup_printf(_("The autoencoder “%s” is not there; the model's own is "
                                          "used."),
                                        name));
}

/* How a person reads a value of the request. g_free(). */
static char *value_of(FigRequest *request, const char *field)
{
    if (strcmp(field, "width") == 0)
        return g_strdup_printf("%d × %d", fig_record_int(request, "width"),
                               fig_record_int(request, "height"));
    if (strcmp(field, "guidance") == 0)
        return g_strdup_printf("%g", fig_record_double(request, "guidance"));
    if (strcmp(field, "seed") == 0)
        return fig_record_bool(request, "random-seed")
                   ? g_strdup(_("random"))
                   : g_strdup_printf("%" G_GUINT64_FORMAT, fig_record_uint64(request, "seed"));
    if (strcmp(field, "emphasis") == 0)
        return g_strdup(metadata_emphasis((enum emphasis)fig_record_int(request, field)));
    if (strcmp(field, "steps") == 0 || strcmp(field, "clip-skip") == 0)
        return g_strdup_printf("%d", fig_record_int(request, field));
    const char *text = fig_record_text(request, field);
    if ((strcmp(field, "model") == 0 || strcmp(field, "vae") == 0) && *text)
        return g_path_get_basename(text);
    if (!*text && strcmp(field, "sampler") == 0) /* as the panel shows it */
        text = sched_sampler_name(SCHED_DPMPP_2M);
    if (!*text && strcmp(field, "schedule") == 0)
        text = sched_schedule_name(SCHEDULE_AUTOMATIC);
    return g_strdup(text);
}

static void list_changes(FigRequest *before, FigRequest *after, GPtrArray *changes, GPtrArray *same)
{
    static const struct {
        const char *field, *name;
        bool whole; /* long texts: only what they become */
    } table[] = {
        {"prompt", N_("Prompt"), true},        {"negative", N_("Negative prompt"), true},
        {"model", N_("Model"), false},         {"sampler", N_("Sampler"), false},
        {"schedule", N_("Schedule"), false},   {"steps", N_("Steps"), false},
        {"guidance", N_("Guidance"), false},   {"width", N_("Size"), false},
        {"seed", N_("Seed"), false},           {"styles", N_("Style"), false},
        {"clip-skip", N_("Clip skip"), false}, {"vae", N_("Autoencoder"), false},
        {"emphasis", N_("Emphasis"), false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *old = value_of(before, table[i].field);
        g_autofree char *new = value_of(after, table[i].field);
        const char *name = g_dgettext(NULL, table[i].name);
        if (strcmp(old, new) == 0)
            g_ptr_array_add(same, g_strdup_printf("%s: %s", name, *new ? new : "–"));
        else if (table[i].whole)
            g_ptr_array_add(changes, g_strdup_printf("%s: %s", name, *new ? new : "–"));
        else
            g_ptr_array_add(changes, g_strdup_printf("%s: %s → %s", name, old, new));
    }
}

gboolean fig_bridge_read_settings(FigBridge *self, const char *path, FigRequest *base,
                                  FigRequest **request, struct fig_import *import, GError **error)
{
    struct metadata *metadata = metadata_read(path, error);
    if (!metadata)
        return FALSE;
    import->origin = g_strdup(metadata->origin);
    import->changes = g_ptr_array_new_with_free_func(g_free);
    import->same = g_ptr_array_new_with_free_func(g_free);
    import->notices = g_ptr_array_new_with_free_func(g_free);
    *request = fig_record_copy(base);
    apply(metadata, *request, import->notices);
    match_model(self, metadata, base, *request, import->notices);
    match_vae(self, *request, import->notices);
    list_changes(base, *request, import->changes, import->same);
    metadata_free(metadata);
    return TRUE;
}

void fig_import_clear(struct fig_import *import)
{
    g_clear_pointer(&import->origin, g_free);
    g_clear_pointer(&import->changes, g_ptr_array_unref);
    g_clear_pointer(&import->same, g_ptr_array_unref);
    g_clear_pointer(&import->notices, g_ptr_array_unref);
}

void fig_bridge_parse_settings(FigBridge *self, const char *parameters, FigRequest *request)
{
    struct metadata *metadata = metadata_parse(parameters);
    g_autoptr(FigRequest) base = fig_record_copy(request);
    apply(metadata, request, NULL);
    match_model(self, metadata, base, request, NULL);
    match_vae(self, request, NULL);
    metadata_free(metadata);
}
