#include "ui/batch.h"

#include <glib/gi18n.h>
#include <math.h>
#include <pango/pangocairo.h>
#include <string.h>

#define MOST 1000
#define CELL_MAX 512
#define GAP 8
#define LABEL 40
#define ACROSS 112 /* a column has room for its label, however small the pictures are */

struct cell {
    guint job;
    FigPicture *picture; /* NULL while it is not there */
    gboolean over;
};

struct batch {
    FigBridge *bridge;
    struct fig_batch_axes axes;
    struct cell *cells; /* row-major: prompt, seed | guidance, sampler; or prompt | seed */
    guint rows, columns;
    gboolean seeds_across; /* one guidance and sampler: the grid would be one column */
    gulong picture_handler, removed_handler;
    FigBatchDone done;
    gpointer user;
};

void fig_batch_axes_clear(struct fig_batch_axes *axes)
{
    g_clear_pointer(&axes->prompts, g_strfreev);
    g_clear_pointer(&axes->samplers, g_strfreev);
    g_clear_pointer(&axes->seeds, g_array_unref);
    g_clear_pointer(&axes->guidances, g_array_unref);
}

guint fig_batch_axes_count(const struct fig_batch_axes *axes)
{
    return g_strv_length(axes->prompts) * axes->seeds->len * axes->guidances->len *
           g_strv_length(axes->samplers);
}

static gboolean not_understood(const char *word, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, _("“%s” is not understood here."),
                word);
    return FALSE;
}

gboolean fig_batch_parse_seeds(const char *text, GArray *seeds, GError **error)
{
    g_auto(GStrv) words = g_strsplit_set(text, ", \t\n", -1);
    for (char **word = words; *word; word++) {
        if (!**word)
            continue;
        g_auto(GStrv) ends = g_strsplit(*word, "-", 2);
        guint64 from, to;
        if (!g_ascii_string_to_unsigned(ends[0], 10, 0, G_MAXUINT64, &from, NULL))
            return not_understood(*word, error);
        to = from;
        if (ends[1] && !g_ascii_string_to_unsigned(ends[1], 10, from, G_MAXUINT64, &to, NULL))
            return not_understood(*word, error);
        if (to - from >= MOST || seeds->len + (to - from) >= MOST) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        _("These are more than %d seeds."), MOST);
            return FALSE;
        }
        for (guint64 seed = from; seed - from <= to - from; seed++)
            g_array_append_val(seeds, seed);
    }
    return seeds->len > 0 || not_understood(text, error);
}

gboolean fig_batch_parse_guidances(const char *text, GArray *guidances, GError **error)
{
    g_auto(GStrv) words = g_strsplit_set(text, ", \t\n", -1);
    for (char **word = words; *word; word++) {
        if (!**word)
            continue;
        char *end;
        double value = g_ascii_strtod(*word, &end);
        if (*end || !(value >= 1 && value <= 30))
            return not_understood(*word, error);
        if (guidances->len >= MOST)
            break;
        g_array_append_val(guidances, value);
    }
    return guidances->len > 0 || not_understood(text, error);
}

/* ---- the grid ---- */

static void draw_text(cairo_t *cr, const char *text, double x, double y, double width)
{
    PangoLayout *layout = pango_cairo_create_layout(cr);
    PangoFontDescription *font = pango_font_description_from_string("Cantarell, Sans 11");
    pango_layout_set_font_description(layout, font);
    pango_layout_set_text(layout, text, -1);
    pango_layout_set_width(layout, (int)(width * PANGO_SCALE));
    pango_layout_set_height(layout, -2);
    pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
    pango_layout_set_alignment(layout, PANGO_ALIGN_CENTER);
    cairo_move_to(cr, x, y);
    pango_cairo_show_layout(cr, layout);
    pango_font_description_free(font);
    g_object_unref(layout);
}

static void draw_picture(cairo_t *cr, FigPicture *picture, double x, double y, int cell)
{
    g_autoptr(GdkTexture) texture = fig_picture_load(picture, NULL);
    if (!texture)
        return;
    int w = gdk_texture_get_width(texture), h = gdk_texture_get_height(texture);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_ARGB32, w, h);
    cairo_surface_flush(surface);
    gdk_texture_download(texture, cairo_image_surface_get_data(surface),
                         (gsize)cairo_image_surface_get_stride(surface));
    cairo_surface_mark_dirty(surface);
    double scale = MIN((double)cell / w, (double)cell / h);
    cairo_save(cr);
    cairo_translate(cr, x + (cell - w * scale) / 2, y + (cell - h * scale) / 2);
    cairo_scale(cr, scale, scale);
    cairo_set_source_surface(cr, surface, 0, 0);
    cairo_paint(cr);
    cairo_restore(cr);
    cairo_surface_destroy(surface);
}

static const char *prompt_of(const struct batch *b, guint row)
{
    return b->axes.prompts[b->seeds_across ? row : row / b->axes.seeds->len];
}

static guint64 seed_of(const struct batch *b, guint row, guint column)
{
    return g_array_index(b->axes.seeds, guint64,
                         b->seeds_across ? column : row % b->axes.seeds->len);
}

static double guidance_of(const struct batch *b, guint column)
{
    guint n = g_strv_length(b->axes.samplers);
    return g_array_index(b->axes.guidances, double, b->seeds_across ? 0 : column / n);
}

static const char *sampler_of(const struct batch *b, guint column)
{
    return b->axes.samplers[b->seeds_across ? 0 : column % g_strv_length(b->axes.samplers)];
}

static char *row_label(const struct batch *b, guint row)
{
    if (b->seeds_across)
        return g_strdup(prompt_of(b, row));
    g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, seed_of(b, row, 0));
    return g_strdup_printf(_("%s\nseed %s"), prompt_of(b, row), digits);
}

static char *column_label(const struct batch *b, guint column)
{
    g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, seed_of(b, 0, column));
    if (b->seeds_across)
        return g_strdup_printf(_("seed %s"), digits);
    return g_strdup_printf(_("%s\nguidance %g"), sampler_of(b, column), guidance_of(b, column));
}

static void draw(GTask *task, gpointer source, gpointer data, GCancellable *cancel)
{
    (void)source;
    (void)cancel;
    struct batch *b = data;
    int cell = 64;
    for (guint i = 0; i < b->rows * b->columns; i++)
        if (b->cells[i].picture) {
            const struct fig_picture_facts *f = fig_picture_facts(b->cells[i].picture);
            cell = MAX(cell, MAX(f->width, f->height));
        }
    cell = MIN(cell, CELL_MAX);
    while (cell > 32 && MAX(b->rows, b->columns) * (guint)(cell + GAP + LABEL) > 16000)
        cell /= 2;
    int left = MAX(cell, 160), across = MAX(cell, ACROSS);
    int width = left + (int)b->columns * (across + GAP) + GAP;
    int height = LABEL + (int)b->rows * (cell + GAP) + GAP;
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    cairo_t *cr = cairo_create(surface);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    for (guint c = 0; c < b->columns; c++) {
        g_autofree char *label = column_label(b, c);
        cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
        draw_text(cr, label, left + (int)c * (across + GAP), 4, across);
    }
    for (guint r = 0; r < b->rows; r++) {
        double y = LABEL + (int)r * (cell + GAP);
        g_autofree char *label = row_label(b, r);
        cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
        draw_text(cr, label, 4, y + cell / 2.0 - 16, left - 12);
        for (guint c = 0; c < b->columns; c++) {
            FigPicture *picture = b->cells[r * b->columns + c].picture;
            if (picture)
                draw_picture(cr, picture, left + (int)c * (across + GAP) + (across - cell) / 2, y,
                             cell);
        }
    }
    cairo_destroy(cr);

    g_autofree char *folder = g_task_get_source_object(task)
                                  ? fig_bridge_pictures_folder(g_task_get_source_object(task))
                                  : g_strdup(".");
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *stamp = g_date_time_format(now, "grid-%Y%m%d-%H%M%S.png");
    char *path = g_build_filename(folder, stamp, NULL);
    cairo_status_t status = cairo_surface_write_to_png(surface, path);
    cairo_surface_destroy(surface);
    if (status == CAIRO_STATUS_SUCCESS) {
        g_task_return_pointer(task, path, g_free);
        return;
    }
    g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_FAILED,
                            _("The grid could not be written to “%s”: %s"), path,
                            cairo_status_to_string(status));
    g_free(path);
}

static void batch_free(struct batch *b)
{
    for (guint i = 0; i < b->rows * b->columns; i++)
        g_clear_object(&b->cells[i].picture);
    g_free(b->cells);
    fig_batch_axes_clear(&b->axes);
    g_object_unref(b->bridge);
    g_free(b);
}

static void drawn(GObject *source, GAsyncResult *result, gpointer user)
{
    (void)source;
    struct batch *b = user;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_task_propagate_pointer(G_TASK(result), &error);
    b->done(path, error ? error->message : NULL, b->user);
    batch_free(b);
}

/* ---- the jobs ---- */

static gboolean job_waits(struct batch *b, guint key)
{
    GListModel *queue = fig_bridge_queue(b->bridge);
    for (guint i = 0; i < g_list_model_get_n_items(queue); i++) {
        g_autoptr(FigJob) job = g_list_model_get_item(queue, i);
        if (fig_job_key(job) == key)
            return fig_job_state(job) == FIG_JOB_WAITING || fig_job_state(job) == FIG_JOB_RUNNING;
    }
    return FALSE;
}

static void look(struct batch *b)
{
    guint made = 0;
    for (guint i = 0; i < b->rows * b->columns; i++) {
        if (!b->cells[i].picture && job_waits(b, b->cells[i].job))
            return;
        made += b->cells[i].picture != NULL;
    }
    g_signal_handler_disconnect(b->bridge, b->picture_handler);
    g_signal_handler_disconnect(b->bridge, b->removed_handler);
    if (!made) {
        b->done(NULL, _("No picture of the batch was made."), b->user);
        batch_free(b);
        return;
    }
    g_autoptr(GTask) task = g_task_new(b->bridge, NULL, drawn, b);
    g_task_set_task_data(task, b, NULL);
    g_task_run_in_thread(task, draw);
}

static void picture_made(struct batch *b, FigPicture *picture)
{
    for (guint i = 0; i < b->rows * b->columns; i++)
        if (b->cells[i].job == fig_picture_facts(picture)->job)
            g_set_object(&b->cells[i].picture, picture);
}

/* The number of waiting jobs changes after every end, whatever the end was. */
static void queue_changed(struct batch *b)
{
    look(b);
}

void fig_batch_run(FigBridge *bridge, FigRequest *base, struct fig_batch_axes *axes,
                   FigBatchDone done, gpointer user)
{
    struct batch *b = g_new0(struct batch, 1);
    b->bridge = g_object_ref(bridge);
    b->axes = *axes;
    *axes = (struct fig_batch_axes){0};
    b->rows = g_strv_length(b->axes.prompts) * b->axes.seeds->len;
    b->columns = b->axes.guidances->len * g_strv_length(b->axes.samplers);
    b->seeds_across = b->columns == 1;
    if (b->seeds_across) {
        b->rows /= b->axes.seeds->len;
        b->columns = b->axes.seeds->len;
    }
    b->cells = g_new0(struct cell, (gsize)b->rows * b->columns);
    b->done = done;
    b->user = user;
    b->picture_handler = g_signal_connect_swapped(bridge, "picture", G_CALLBACK(picture_made), b);
    g_autoptr(GPtrArray) requests = g_ptr_array_new_with_free_func(g_object_unref);
    for (guint r = 0; r < b->rows; r++)
        for (guint c = 0; c < b->columns; c++) {
            FigRequest *request = fig_record_copy(base);
            g_object_set(request, "prompt", prompt_of(b, r), "seed", seed_of(b, r, c),
                         "random-seed", FALSE, "guidance", guidance_of(b, c), "sampler",
                         sampler_of(b, c), "pictures", 1, NULL);
            g_ptr_array_add(requests, request);
        }
    g_autofree guint *keys = g_new0(guint, requests->len);
    fig_bridge_submit_all(bridge, requests, keys);
    for (guint i = 0; i < requests->len; i++)
        b->cells[i].job = keys[i];
    b->removed_handler =
        g_signal_connect_swapped(bridge, "notify::waiting", G_CALLBACK(queue_changed), b);
}
