#include "engine/npy.h"

#include <errno.h>
#include <glib/gi18n-lib.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"

#define HEADER_MAX 4096
#define BYTES_MAX ((size_t)1 << 30)

static const char magic[] = "\x93NUMPY";

/* The tuple after 'shape': (2, 4, 8,) */
static bool parse_shape(const char *header, int *rank, int64_t *dims)
{
    const char *p = strstr(header, "'shape'");

    if (!p || !(p = strchr(p, '(')))
        return false;
    p++;
    for (*rank = 0; *p != ')'; (*rank)++) {
        char *end;
        guint64 dim;

        p += strspn(p, " ");
        if (*rank == NPY_MAX_RANK || !g_ascii_isdigit(*p))
            return false;
        dim = g_ascii_strtoull(p, &end, 10);
        if (dim < 1 || dim > G_MAXINT32)
            return false;
        dims[*rank] = (int64_t)dim;
        p = end + strspn(end, " ");
        if (*p == ',')
            p += 1 + strspn(p + 1, " ");
        else if (*p != ')')
            return false;
    }
    return true;
}

/* Bytes of data that follow, or 0. */
static size_t read_header(FILE *file, int *rank, int64_t *dims)
{
    char start[12], header[HEADER_MAX + 1];
    size_t length, bytes = sizeof(float);

    if (fread(start, 1, 10, file) != 10 || memcmp(start, magic, 6) != 0)
        return 0;
    length = (guint8)start[8] | (size_t)(guint8)start[9] << 8;
    if (start[6] == 2) {
        if (fread(start + 10, 1, 2, file) != 2 || start[10] || start[11])
            return 0;
    } else if (start[6] != 1) {
        return 0;
    }
    if (length > HEADER_MAX || fread(header, 1, length, file) != length)
        return 0;
    header[length] = '\0';
    if (!strstr(header, "'<f4'") || !strstr(header, "'fortran_order': False") ||
        !parse_shape(header, rank, dims))
        return 0;
    for (int i = 0; i < *rank; i++)
        if (__builtin_mul_overflow(bytes, (size_t)dims[i], &bytes) || bytes > BYTES_MAX)
            return 0;
    return bytes;
}

float *npy_read(const char *path, int *rank, int64_t *dims, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    FILE *file = fopen(path, "rbe");
    g_autofree float *data = NULL;
    size_t bytes;

    if (!file) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, _("Can't open “%s”: %s."), path,
                    g_strerror(errno));
        return NULL;
    }
    bytes = read_header(file, rank, dims);
    if (!bytes)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("“%s” is not a .npy file of 32-bit floats in C order."), name);
    else if (!(data = g_try_malloc(bytes)))
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MEMORY, _("Not enough memory for “%s”."),
                    name);
    else if (fread(data, 1, bytes, file) != bytes) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, _("“%s” is shorter than it says."),
                    name);
        g_clear_pointer(&data, g_free);
    }
    fclose(file);
    return g_steal_pointer(&data);
}

bool npy_write(const char *path, const float *data, int rank, const int64_t *dims, GError **error)
{
    g_autoptr(GString) shape = g_string_new(NULL), header = g_string_new(NULL);
    size_t count = 1;
    guint8 start[10];
    FILE *file;
    bool ok;

    for (int i = 0; i < rank; i++) {
        g_string_append_printf(shape, "%" G_GINT64_FORMAT ",%s", dims[i], i + 1 < rank ? " " : "");
        count *= (size_t)dims[i];
    }
    g_string_printf(header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }",
                    shape->str);
    while ((10 + header->len + 1) % 64)
        g_string_append_c(header, ' ');
    g_string_append_c(header, '\n');
    memcpy(start, magic, 6);
    start[6] = 1;
    start[7] = 0;
    start[8] = (guint8)header->len;
    start[9] = (guint8)(header->len >> 8);
    file = fopen(path, "wbe");
    ok = file && fwrite(start, 1, 10, file) == 10 &&
         fwrite(header->str, 1, header->len, file) == header->len &&
         fwrite(data, sizeof *data, count, file) == count;
    if (file && fclose(file) != 0)
        ok = false;
    if (!ok)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_DISK, _("Can't write “%s”: %s."), path,
                    g_strerror(errno));
    return ok;
}

void npy_to_torch(const float *from, float *to, int64_t batch, int64_t height, int64_t width,
                  int64_t channels)
{
    int64_t pixels = height * width;

    for (int64_t b = 0; b < batch; b++, from += pixels * channels, to += pixels * channels)
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t c = 0; c < channels; c++)
                to[c * pixels + i] = from[i * channels + c];
}

void npy_from_torch(const float *from, float *to, int64_t batch, int64_t height, int64_t width,
                    int64_t channels)
{
    int64_t pixels = height * width;

    for (int64_t b = 0; b < batch; b++, from += pixels * channels, to += pixels * channels)
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t c = 0; c < channels; c++)
                to[i * channels + c] = from[c * pixels + i];
}
