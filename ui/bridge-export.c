/* Saving one picture elsewhere; and export of many: names, formats, a list of the settings, on
 * copies and on a worker thread. */
#include "ui/bridge-private.h"

#include "engine/metadata.h"

#include <gdk-pixbuf/gdk-pixbuf.h>
#include <glib/gi18n.h>
#include <jansson.h>
#include <string.h>

/* ---- pixels ---- */

/* From memory, or from the file when `bytes` is NULL; no side longer than `side` (0 = as it is). */
static gboolean load(GBytes *bytes, int width, int height, const char *path, int side,
                     struct picture *pixels, GError **error)
{
    g_autoptr(GdkPixbuf) whole = bytes ? gdk_pixbuf_new_from_bytes(bytes, GDK_COLORSPACE_RGB, FALSE,
                                                                   8, width, height, width * 3)
                                       : gdk_pixbuf_new_from_file(path, error);
    if (!whole)
        return FALSE;
    width = gdk_pixbuf_get_width(whole);
    height = gdk_pixbuf_get_height(whole);
    if (side > 0 && MAX(width, height) > side) {
        double factor = (double)side / MAX(width, height);
        width = MAX(1, (int)(width * factor + 0.5));
        height = MAX(1, (int)(height * factor + 0.5));
        GdkPixbuf *small = gdk_pixbuf_scale_simple(whole, width, height, GDK_INTERP_HYPER);
        g_set_object(&whole, small);
        g_object_unref(small);
    }
    int channels = gdk_pixbuf_get_n_channels(whole), stride = gdk_pixbuf_get_rowstride(whole);
    const guchar *from = gdk_pixbuf_read_pixels(whole);
    guchar *rgb = g_malloc((gsize)width * height * 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            memcpy(rgb + ((gsize)y * width + x) * 3, from + (gsize)y * stride + (gsize)x * channels,
                   3);
    *pixels = (struct picture){width, height, g_bytes_new_take(rgb, (gsize)width * height * 3)};
    return TRUE;
}

/* ---- one picture ---- */

gboolean fig_bridge_save_picture(FigBridge *self, FigPicture *picture, const char *path,
                                 int quality, gboolean metadata, GError **error)
{
    const struct fig_picture_facts *facts = fig_picture_facts(picture);
    struct picture pixels = {0};
    if (!load(facts->rgb, facts->width, facts->height, facts->path, 0, &pixels, error))
        return FALSE;
    g_autofree char *lower = g_ascii_strdown(path, -1);
    bool jpeg = g_str_has_suffix(lower, ".jpg") || g_str_has_suffix(lower, ".jpeg");
    const char *text =
        metadata && facts->parameters && *facts->parameters ? facts->parameters : NULL;
    g_autoptr(GBytes) bytes = jpeg ? picture_encode_jpeg(&pixels, quality, text, error)
                                   : picture_encode_png(&pixels, text, error);
    picture_clear(&pixels);
    if (!bytes || !g_file_set_contents_full(
                      path, g_bytes_get_data(bytes, NULL), (gssize)g_bytes_get_size(bytes),
                      G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644, error))
        return FALSE;
    if (facts->rgb) { /* it was in memory only; now it is a picture like any other */
        struct history *history = fig_bridge_open_history(self);
        struct history_entry *entry = history_read_picture(path, NULL);
        if (history && entry)
            history_add(history, entry, NULL);
        fig_picture_set_saved(picture, entry ? entry->id : 0, path);
        if (entry && entry->id)
            bridge_know_picture(self, picture);
        history_entry_free(entry);
    }
    return TRUE;
}

char *fig_bridge_save_into(FigBridge *self, FigPicture *picture, const char *folder, GError **error)
{
    const struct fig_picture_facts *facts = fig_picture_facts(picture);
    FigSettings *settings = fig_bridge_settings(self);
    const char *ending = fig_record_bool(settings, "jpeg") ? "jpg" : "png";
    for (int i = 1;; i++) {
        g_autofree char *name =
            i == 1 ? g_strdup_printf("%" G_GUINT64_FORMAT ".%s", facts->seed, ending)
                   : g_strdup_printf("%" G_GUINT64_FORMAT "-%d.%s", facts->seed, i, ending);
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            continue;
        if (!fig_bridge_save_picture(self, picture, path, fig_record_int(settings, "quality"),
                                     fig_record_bool(settings, "metadata"), error))
            return NULL;
        return g_steal_pointer(&path);
    }
}

/* ---- many ---- */

/* What the worker needs of a picture. */
struct source {
    char *path, *prompt, *negative, *model, *sampler, *parameters;
    gint64 created;
    guint64 seed;
    int width, height;
    char *name; /* of the file to write, with its ending */
};

struct work {
    struct fig_export export;
    GArray *ids; /* int64_t */
    GPtrArray *sources;
    void (*progress)(int done, int of, gpointer user);
    gpointer user;
};

static void source_free(void *data)
{
    struct source *s = data;
    g_free(s->path);
    g_free(s->prompt);
    g_free(s->negative);
    g_free(s->model);
    g_free(s->sampler);
    g_free(s->parameters);
    g_free(s->name);
    g_free(s);
}

static void work_free(void *data)
{
    struct work *w = data;
    g_free(w->export.folder);
    g_free(w->export.pattern);
    g_array_unref(w->ids);
    g_clear_pointer(&w->sources, g_ptr_array_unref);
    g_free(w);
}

/* The first words of a prompt as part of a file name. */
static char *words(const char *prompt)
{
    GString *out = g_string_new(NULL);
    for (const char *c = prompt ? prompt : ""; *c && out->len < 40; c = g_utf8_next_char(c)) {
        gunichar u = g_utf8_get_char(c);
        if (g_unichar_isalnum(u))
            g_string_append_unichar(out, u);
        else if (out->len && out->str[out->len - 1] != '-')
            g_string_append_c(out, '-');
    }
    while (out->len && out->str[out->len - 1] == '-')
        g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}

static char *stem(const struct source *s)
{
    char *name = s->path ? g_path_get_basename(s->path) : g_strdup("picture");
    char *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = 0;
    return name;
}

static char *token(const char *name, const struct source *s, int number)
{
    if (strcmp(name, "name") == 0)
        return stem(s);
    if (strcmp(name, "number") == 0)
        return g_strdup_printf("%04d", number);
    if (strcmp(name, "seed") == 0)
        return g_strdup_printf("%" G_GUINT64_FORMAT, s->seed);
    if (strcmp(name, "model") == 0)
        return words(s->model);
    if (strcmp(name, "prompt_words") == 0)
        return words(s->prompt);
    if (strcmp(name, "date") == 0) {
        g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(s->created / 1000);
        return time ? g_date_time_format(time, "%Y-%m-%d") : g_strdup("");
    }
    return g_strdup_printf("[%s]", name);
}

/* Never a path: what would leave the folder becomes "_". */
static char *expand(const char *pattern, const struct source *s, int number)
{
    GString *out = g_string_new(NULL);
    for (const char *c = pattern; *c; c++) {
        const char *close = *c == '[' ? strchr(c, ']') : NULL;
        if (!close) {
            g_string_append_c(out, *c);
            continue;
        }
        g_autofree char *name = g_strndup(c + 1, (gsize)(close - c - 1));
        g_autofree char *value = token(name, s, number);
        g_string_append(out, value);
        c = close;
    }
    g_strdelimit(out->str, "/\\:*?\"<>|", '_');
    if (!out->len || out->str[0] == '.')
        g_string_prepend(out, "picture");
    return g_string_free(out, FALSE);
}

static const char *ending(const struct source *s, const struct fig_export *export)
{
    if (export->format == FIG_EXPORT_ORIGINAL && s->path) {
        const char *dot = strrchr(s->path, '.');
        return dot ? dot : ".png";
    }
    return export->format == FIG_EXPORT_JPEG ? ".jpg" : ".png";
}

/* Names for all, unlike each other; with KEEP_BOTH unlike what lies in the folder too. */
static void name_all(GPtrArray *sources, const struct fig_export *export)
{
    g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < sources->len; i++) {
        struct source *s = sources->pdata[i];
        g_autofree char *base = expand(export->pattern, s, (int)i + 1);
        for (int n = 1;; n++) {
            g_free(s->name);
            s->name = n == 1 ? g_strconcat(base, ending(s, export), NULL)
                             : g_strdup_printf("%s-%d%s", base, n, ending(s, export));
            g_autofree char *path = g_build_filename(export->folder, s->name, NULL);
            if (!g_hash_table_contains(taken, s->name) &&
                (export->clash == FIG_EXPORT_REPLACE || !g_file_test(path, G_FILE_TEST_EXISTS)))
                break;
        }
        g_hash_table_add(taken, s->name);
    }
}

/* Where the list of settings goes; NULL when none is wanted. g_free(). */
static char *list_path(const struct fig_export *export)
{
    const char *end = export->list == FIG_EXPORT_CSV ? "csv" : "json";
    if (export->list == FIG_EXPORT_NO_LIST)
        return NULL;
    for (int n = 1;; n++) {
        g_autofree char *name = n == 1 ? g_strconcat("settings.", end, NULL)
                                       : g_strdup_printf("settings-%d.%s", n, end);
        g_autofree char *path = g_build_filename(export->folder, name, NULL);
        if (export->clash == FIG_EXPORT_REPLACE || !g_file_test(path, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&path);
    }
}

/* Rows of the history by a connection of this thread's own; NULL with a sentence. What has gone
 * meanwhile is left out. */
static GPtrArray *read_sources(GArray *ids, GError **error)
{
    struct history *history = history_open(NULL, error);
    if (!history)
        return NULL;
    GPtrArray *sources = g_ptr_array_new_with_free_func(source_free);
    for (guint i = 0; i < ids->len; i++) {
        struct history_entry *e = history_get(history, g_array_index(ids, int64_t, i));
        if (!e)
            continue;
        struct source *s = g_new(struct source, 1);
        *s = (struct source){g_steal_pointer(&e->path),
                             g_steal_pointer(&e->prompt),
                             g_steal_pointer(&e->negative),
                             g_steal_pointer(&e->model),
                             g_steal_pointer(&e->sampler),
                             g_steal_pointer(&e->parameters),
                             e->created,
                             e->seed,
                             e->width,
                             e->height,
                             NULL};
        g_ptr_array_add(sources, s);
        history_entry_free(e);
    }
    history_close(history);
    return sources;
}

static int count_clashes(GPtrArray *sources, const struct fig_export *export)
{
    struct fig_export replace = *export;
    replace.clash = FIG_EXPORT_REPLACE;
    name_all(sources, &replace);
    g_autofree char *list = list_path(&replace);
    int clashes = list && g_file_test(list, G_FILE_TEST_EXISTS) ? 1 : 0;
    for (guint i = 0; i < sources->len; i++) {
        const struct source *s = sources->pdata[i];
        g_autofree char *path = g_build_filename(export->folder, s->name, NULL);
        clashes += g_file_test(path, G_FILE_TEST_EXISTS);
    }
    return clashes;
}

static gboolean write_one(const struct source *s, const struct fig_export *export, GError **error)
{
    g_autofree char *path = g_build_filename(export->folder, s->name, NULL);
    g_autoptr(GBytes) bytes = NULL;
    /* As it is: the same bytes, unless something about it is to change. */
    if (export->format == FIG_EXPORT_ORIGINAL && s->path && export->metadata &&
        (export->side == 0 || MAX(s->width, s->height) <= export->side)) {
        char *data;
        gsize length;
        if (!g_file_get_contents(s->path, &data, &length, error))
            return FALSE;
        bytes = g_bytes_new_take(data, length);
    } else {
        struct picture pixels = {0};
        if (!load(NULL, 0, 0, s->path, export->side, &pixels, error))
            return FALSE;
        const char *text =
            export->metadata && s->parameters && *s->parameters ? s->parameters : NULL;
        const char *dot = strrchr(s->name, '.');
        bytes = strcmp(dot, ".png") != 0
                    ? picture_encode_jpeg(&pixels, export->quality, text, error)
                    : picture_encode_png(&pixels, text, error);
        picture_clear(&pixels);
        if (!bytes)
            return FALSE;
    }
    return g_file_set_contents_full(path, g_bytes_get_data(bytes, NULL),
                                    (gssize)g_bytes_get_size(bytes), G_FILE_SET_CONTENTS_CONSISTENT,
                                    0644, error);
}

static void append_csv(GString *out, const char *text, gboolean last)
{
    g_string_append_c(out, '"');
    for (const char *c = text ? text : ""; *c; c++) {
        if (*c == '"')
            g_string_append_c(out, '"');
        g_string_append_c(out, *c);
    }
    g_string_append(out, last ? "\"\r\n" : "\",");
}

static char *csv(GPtrArray *sources)
{
    GString *out =
        g_string_new("file,prompt,negative,model,sampler,seed,width,height,parameters\r\n");
    for (guint i = 0; i < sources->len; i++) {
        const struct source *s = sources->pdata[i];
        append_csv(out, s->name, FALSE);
        append_csv(out, s->prompt, FALSE);
        append_csv(out, s->negative, FALSE);
        append_csv(out, s->model, FALSE);
        append_csv(out, s->sampler, FALSE);
        g_string_append_printf(out, "%" G_GUINT64_FORMAT ",%d,%d,", s->seed, s->width, s->height);
        append_csv(out, s->parameters, TRUE);
    }
    return g_string_free(out, FALSE);
}

static char *json(GPtrArray *sources)
{
    json_t *list = json_array();
    for (guint i = 0; i < sources->len; i++) {
        const struct source *s = sources->pdata[i];
        json_t *object = json_object();
        const char *texts[][2] = {{"file", s->name},         {"prompt", s->prompt},
                                  {"negative", s->negative}, {"model", s->model},
                                  {"sampler", s->sampler},   {"parameters", s->parameters}};
        for (guint j = 0; j < G_N_ELEMENTS(texts); j++)
            json_object_set_new(object, texts[j][0], json_string(texts[j][1] ? texts[j][1] : ""));
        if (s->seed <= G_MAXINT64)
            json_object_set_new(object, "seed", json_integer((json_int_t)s->seed));
        else /* JSON's reader may keep 63 bits only */
            json_object_set_new(object, "seed", json_sprintf("%" G_GUINT64_FORMAT, s->seed));
        json_object_set_new(object, "width", json_integer(s->width));
        json_object_set_new(object, "height", json_integer(s->height));
        json_array_append_new(list, object);
    }
    char *text = json_dumps(list, JSON_INDENT(1));
    json_decref(list);
    char *copy = g_strconcat(text, "\n", NULL);
    free(text);
    return copy;
}

struct tick {
    void (*progress)(int done, int of, gpointer user);
    gpointer user;
    int done, of;
    GTask *task;
};

static gboolean tell(gpointer data)
{
    struct tick *t = data;
    if (!g_task_get_completed(t->task))
        t->progress(t->done, t->of, t->user);
    g_object_unref(t->task);
    g_free(t);
    return G_SOURCE_REMOVE;
}

/* Writes them all; how many, or -1. */
static int write_all(GTask *task, struct work *w, GCancellable *cancel, GError **error)
{
    guint done = 0;
    name_all(w->sources, &w->export);
    for (; done < w->sources->len; done++) {
        if (g_cancellable_is_cancelled(cancel)) /* what is written stays, and is counted */
            break;
        if (!write_one(w->sources->pdata[done], &w->export, error)) {
            g_prefix_error(error, _("After %u of %u pictures: "), done, w->sources->len);
            return -1;
        }
        if (w->progress) {
            struct tick *t = g_new(struct tick, 1);
            *t = (struct tick){w->progress, w->user, (int)done + 1, (int)w->sources->len,
                               g_object_ref(task)};
            g_idle_add(tell, t);
        }
    }
    g_autofree char *path = list_path(&w->export);
    if (path && done == w->sources->len) {
        g_autofree char *text =
            w->export.list == FIG_EXPORT_CSV ? csv(w->sources) : json(w->sources);
        if (!g_file_set_contents(path, text, -1, error))
            return -1;
    }
    return (int)done;
}

static void run(GTask *task, gpointer source, gpointer data, GCancellable *cancel)
{
    (void)source;
    struct work *w = data;
    GError *error = NULL;
    int n = -1;
    w->sources = read_sources(w->ids, &error);
    if (w->sources)
        n = w->export.clash == FIG_EXPORT_COUNT ? count_clashes(w->sources, &w->export)
                                                : write_all(task, w, cancel, &error);
    if (n < 0)
        g_task_return_error(task, error);
    else
        g_task_return_int(task, n);
}

void fig_bridge_export_async(FigBridge *self, GListModel *pictures, const struct fig_export *export,
                             void (*progress)(int done, int of, gpointer user),
                             gpointer progress_user, GCancellable *cancel,
                             GAsyncReadyCallback callback, gpointer user)
{
    struct work *w = g_new0(struct work, 1);
    w->export = *export;
    w->export.folder = g_strdup(export->folder);
    w->export.pattern = g_strdup(*export->pattern ? export->pattern : "[name]");
    w->ids = fig_history_list_ids(pictures);
    w->progress = progress;
    w->user = progress_user;
    g_autoptr(GTask) task = g_task_new(self, cancel, callback, user);
    g_task_set_check_cancellable(task, FALSE);
    g_task_set_task_data(task, w, work_free);
    g_task_run_in_thread(task, run);
}

int fig_bridge_export_finish(FigBridge *self, GAsyncResult *result, GError **error)
{
    (void)self;
    return (int)g_task_propagate_int(G_TASK(result), error);
}
