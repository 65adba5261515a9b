/* Files made by the tests of weights/: in memory (an anonymous file) or in a temporary folder. */
#pragma once

#include "weights/quote.h"
#include "weights/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Length, header, data. `len` < 0: up to the NUL. Data bytes are 0, 1, 2 ... 250, 0, 1 ... */
static inline GByteArray *file_bytes(const char *header, gssize len, size_t data)
{
    GByteArray *b = g_byte_array_new();
    guint64 n = len < 0 ? strlen(header) : (size_t)len, little = GUINT64_TO_LE(n);
    g_byte_array_append(b, (const guint8 *)&little, 8);
    g_byte_array_append(b, (const guint8 *)header, (guint)n);
    for (size_t i = 0; i < data; i++)
        g_byte_array_append(b, &(guint8){(guint8)(i % 251)}, 1);
    return b;
}

static inline int file_memory(const void *bytes, size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    for (size_t done = 0; fd >= 0 && done < size;) {
        ssize_t n = write(fd, (const char *)bytes + done, size - done);
        if (n <= 0)
            abort();
        done += (size_t)n;
    }
    return fd;
}

static inline struct safetensors *file_open_bytes(const GByteArray *b, const char *label,
                                                  GError **error)
{
    return safetensors_open_fd(file_memory(b->data, b->len), label, error);
}

static inline char *temp_folder(void)
{
    char *dir = g_dir_make_tmp("figment-test-XXXXXX", NULL);
    if (!dir)
        abort();
    return dir;
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static inline void remove_folder(char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    g_free(dir);
}

/* Writes DIR/NAME, making the folders in between. */
static inline void write_file(const char *dir, const char *name, const void *bytes, gssize len)
{
    g_autofree char *path = g_build_filename(dir, name, NULL), *parent = g_path_get_dirname(path);
    if (g_mkdir_with_parents(parent, 0700) || !g_file_set_contents(path, bytes, len, NULL))
        abort();
}

static inline void write_bytes(const char *dir, const char *name, GByteArray *b)
{
    write_file(dir, name, b->data, b->len);
    g_byte_array_unref(b);
}
