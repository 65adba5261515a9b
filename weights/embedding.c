#include "weights/embedding.h"

#include "weights/convert.h"
#include "weights/quote.h"
#include "weights/safetensors.h"

#include <glib/gi18n-lib.h>
#include <string.h>

enum { MAX_WIDTH = 16384 };

static bool refuse(const struct safetensors *st, const char *why, GError **error)
{
    g_autofree char *file = weights_quote(safetensors_label(st), -1);
    g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE, _("Can't open %s: %s."), file, why);
    return false;
}

/* [n, width] or, for one vector, [width] */
static bool read_half(struct embedding *e, int half, const struct safetensors *st,
                      const struct st_tensor *t, GError **error)
{
    static const struct {
        enum st_dtype from;
        enum dtype to;
    } formats[] = {
        {ST_F32, DTYPE_F32}, {ST_F16, DTYPE_F16}, {ST_BF16, DTYPE_BF16}, {ST_F64, DTYPE_F64}};
    uint64_t vectors = t->rank == 2 ? t->dims[0] : 1;
    uint64_t width = t->rank == 2 ? t->dims[1] : t->rank == 1 ? t->dims[0] : 0;
    size_t format = 0;
    if (vectors < 1 || vectors > EMBEDDING_MAX_VECTORS || width < 1 || width > MAX_WIDTH)
        return refuse(st, _("its shape is not that of an embedding"), error);
    if (e->vectors && (uint64_t)e->vectors != vectors)
        return refuse(st, _("it has more vectors for one text encoder than for the other"), error);
    while (format < G_N_ELEMENTS(formats) && formats[format].from != t->dtype)
        format++;
    if (format == G_N_ELEMENTS(formats))
        return refuse(st, _("its number format can't be read"), error);
    g_autofree void *raw = g_malloc((size_t)t->size);
    e->vectors = (int)vectors;
    e->width[half] = (int)width;
    e->values[half] = g_new(float, t->count);
    if (!safetensors_read(st, t->offset, raw, (size_t)t->size, error))
        return false;
    if (!convert_elements(formats[format].to, raw, DTYPE_F32, e->values[half], (size_t)t->count))
        return refuse(st, _("it contains invalid numbers"), error);
    return true;
}

static bool read_embedding(struct embedding *e, const struct safetensors *st, GError **error)
{
    const struct st_tensor *first = safetensors_find(st, "clip_l"),
                           *second = safetensors_find(st, "clip_g");
    if (first || second)
        return (!first || read_half(e, 0, st, first, error)) &&
               (!second || read_half(e, 1, st, second, error));
    const struct st_tensor *only = safetensors_find(st, "emb_params");
    if (!only && safetensors_count(st) == 1) /* diffusers names it after the word */
        only = safetensors_tensor(st, 0);
    if (!only)
        return refuse(st, _("it is no textual-inversion embedding"), error);
    return read_half(e, 0, st, only, error);
}

struct embedding *embedding_open(const char *path, GError **error)
{
    struct safetensors *st = safetensors_open(path, error);
    if (!st)
        return NULL;
    struct embedding *e = g_new0(struct embedding, 1);
    e->name = g_path_get_basename(path);
    char *dot = strrchr(e->name, '.');
    if (dot && dot != e->name)
        *dot = 0;
    bool ok = read_embedding(e, st, error);
    safetensors_close(st);
    if (ok)
        return e;
    embedding_destroy(e);
    return NULL;
}

void embedding_destroy(struct embedding *e)
{
    if (!e)
        return;
    g_free(e->name);
    g_free(e->values[0]);
    g_free(e->values[1]);
    g_free(e);
}
