/*
 * The published checkpoints' layouts (tests/golden/weights_names.txt.gz), and files of them:
 * headers whose data is a hole until somebody writes into it.
 */
#pragma once

#include "tests/weights/files.h"

#include <gio/gio.h>

/* Lines of the golden file: see weights_names.py. */
struct row {
    char *name, *dims, *ldm, *how, *ldm_dims;
};

static inline void row_free(struct row *r)
{
    g_free(r->name), g_free(r->dims), g_free(r->ldm), g_free(r->how), g_free(r->ldm_dims);
    g_free(r);
}

static inline char **golden_lines(void)
{
    g_autoptr(GFile) file = g_file_new_for_path("tests/golden/weights_names.txt.gz");
    g_autoptr(GFileInputStream) raw = g_file_read(file, NULL, NULL);
    g_autoptr(GZlibDecompressor) gzip = g_zlib_decompressor_new(G_ZLIB_COMPRESSOR_FORMAT_GZIP);
    if (!raw)
        return NULL;
    g_autoptr(GInputStream) in =
        g_converter_input_stream_new(G_INPUT_STREAM(raw), G_CONVERTER(gzip));
    g_autoptr(GString) text = g_string_new(NULL);
    char buffer[65536];
    gssize n;
    while ((n = g_input_stream_read(in, buffer, sizeof buffer, NULL, NULL)) > 0)
        g_string_append_len(text, buffer, n);
    return g_strsplit(text->str, "\n", -1);
}

static inline struct row *parse_row(const char *line)
{
    g_auto(GStrv) w = g_strsplit(line, " ", 5);
    struct row *r = g_new0(struct row, 1);
    if (g_strv_length(w) < 4)
        abort();
    *r = (struct row){g_strdup(w[0]), g_strdup(w[1]), g_strdup(w[2]), g_strdup(w[3]),
                      g_strdup(w[4] ? w[4] : w[1])};
    return r;
}

static inline void put_row(GPtrArray *block, struct row *r)
{
    for (guint i = 0; i < block->len; i++) {
        struct row *other = g_ptr_array_index(block, i);
        if (!strcmp(other->name, r->name)) {
            row_free(other);
            block->pdata[i] = r;
            return;
        }
    }
    g_ptr_array_add(block, r);
}

/* "b NUMBER [LIKE]" */
static inline GPtrArray *new_block(const char *line, GPtrArray *blocks)
{
    GPtrArray *block = g_ptr_array_new_with_free_func((GDestroyNotify)row_free);
    unsigned number, like;
    if (sscanf(line, "b %u %u", &number, &like) == 2) {
        const GPtrArray *base = g_ptr_array_index(blocks, like);
        for (guint i = 0; i < base->len; i++) {
            const struct row *r = g_ptr_array_index(base, i);
            struct row *copy = g_new0(struct row, 1);
            *copy = (struct row){g_strdup(r->name), g_strdup(r->dims), g_strdup(r->ldm),
                                 g_strdup(r->how), g_strdup(r->ldm_dims)};
            g_ptr_array_add(block, copy);
        }
    }
    g_ptr_array_add(blocks, block);
    return block;
}

/* A header that grows tensor by tensor, all F16, and the file of it with nothing but a hole for
 * data. */
struct file {
    GString *header;
    guint64 at;
    GHashTable *seen;
};

static inline struct file file_begin(const char *metadata)
{
    struct file f = {g_string_new("{\"__metadata__\":"), 0,
                     g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    g_string_append(f.header, metadata);
    return f;
}

/* Offset of its data. */
static inline guint64 file_add(struct file *f, const char *name, const char *dims,
                               const char *dtype, int size)
{
    guint64 count = 1, begin = f->at;
    g_autoptr(GString) shape = g_string_new(NULL);
    g_auto(GStrv) words = g_strsplit(dims, "x", -1);
    if (!g_hash_table_add(f->seen, g_strdup(name)))
        return 0;
    for (char **w = words; *w && strcmp(dims, "-"); w++) {
        g_string_append_printf(shape, "%s%s", shape->len ? "," : "", *w);
        count *= g_ascii_strtoull(*w, NULL, 10);
    }
    f->at += count * (guint64)size;
    g_string_append_printf(
        f->header,
        ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%" G_GUINT64_FORMAT
        ",%" G_GUINT64_FORMAT "]}",
        name, dtype, shape->str, begin, f->at);
    return begin;
}

static inline guint64 file_write(struct file *f,
                                 const char *path) /* size of the header with its length */
{
    g_string_append_c(f->header, '}');
    guint64 n = f->header->len;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (write(fd, &n, 8) != 8 || write(fd, f->header->str, n) != (ssize_t)n ||
        ftruncate(fd, (off_t)(8 + n + f->at)) != 0)
        abort();
    close(fd);
    g_string_free(f->header, TRUE);
    g_hash_table_unref(f->seen);
    return 8 + n;
}
