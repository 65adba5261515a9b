#include "engine/dump.h"

#include <errno.h>
#include <glib/gi18n-lib.h>

#include "engine/engine.h"
#include "engine/npy.h"

struct array {
    char *name;
    int rank;
    int64_t dims[NPY_MAX_RANK];
    GArray *values; /* float */
};

struct dump {
    char *folder;
    GPtrArray *arrays;
};

static void array_free(gpointer data)
{
    struct array *a = data;

    g_free(a->name);
    g_array_unref(a->values);
    g_free(a);
}

struct dump *dump_create(const char *folder)
{
    struct dump *d = g_new0(struct dump, 1);

    d->folder = g_strdup(folder);
    d->arrays = g_ptr_array_new_with_free_func(array_free);
    return d;
}

void dump_destroy(struct dump *d)
{
    if (!d)
        return;
    g_free(d->folder);
    g_ptr_array_unref(d->arrays);
    g_free(d);
}

static struct array *find(struct dump *d, const char *name)
{
    struct array *a;

    for (guint i = 0; i < d->arrays->len; i++) {
        a = d->arrays->pdata[i];
        if (g_str_equal(a->name, name))
            return a;
    }
    a = g_new0(struct array, 1);
    a->name = g_strdup(name);
    a->values = g_array_new(FALSE, FALSE, sizeof(float));
    g_ptr_array_add(d->arrays, a);
    return a;
}

static void add_text(struct dump *d, const char *name, const struct conditioning *text)
{
    struct array *a = find(d, name);

    if (a->values->len)
        return;
    g_array_append_vals(a->values, text->values, (guint)(text->length * text->width));
    a->rank = 3;
    a->dims[0] = 1;
    a->dims[1] = text->length;
    a->dims[2] = text->width;
}

void dump_texts(struct dump *d, const struct guidance *guidance)
{
    if (!d)
        return;
    add_text(d, "text.npy", guidance->texts[0].text);
    if (guidance->uncond)
        add_text(d, "uncond.npy", guidance->uncond);
}

static void add_picture(struct dump *d, const char *name, const float *values, int height,
                        int width, int channels)
{
    struct array *a = find(d, name);
    guint n = (guint)height * (guint)width * (guint)channels, at = a->values->len;

    g_array_set_size(a->values, at + n);
    npy_to_torch(values, &g_array_index(a->values, float, at), 1, height, width, channels);
    a->rank = 4;
    a->dims[0]++;
    a->dims[1] = channels;
    a->dims[2] = height;
    a->dims[3] = width;
}

void dump_latent(struct dump *d, int step, const float *latent, int height, int width, int channels)
{
    g_autofree char *name = g_strdup_printf("latent_%03d.npy", step);

    if (d)
        add_picture(d, name, latent, height, width, channels);
}

void dump_image(struct dump *d, const float *image, int height, int width)
{
    if (d)
        add_picture(d, "image.npy", image, height, width, 3);
}

bool dump_write(struct dump *d, GError **error)
{
    if (!d)
        return true;
    if (g_mkdir_with_parents(d->folder, 0755) != 0) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_DISK, _("Can't make the folder “%s”: %s."),
                    d->folder, g_strerror(errno));
        return false;
    }
    for (guint i = 0; i < d->arrays->len; i++) {
        const struct array *a = d->arrays->pdata[i];
        g_autofree char *path = g_build_filename(d->folder, a->name, NULL);

        if (!npy_write(path, (const float *)(void *)a->values->data, a->rank, a->dims, error))
            return false;
    }
    return true;
}
