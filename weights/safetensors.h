/*
 * A safetensors file: its table of tensors, its description block, and reads of byte ranges of it.
 *
 * The file is never mapped and never trusted: it is opened, checked whole against the format's
 * rules (ST01 to ST11, in that order, each with its sentence) and then read with pread (ST12).
 * After opening, the object is immutable: any thread may read from it.
 *
 * Owner: the caller closes it; the strings and tensors it hands out live as long as it does.
 * Failure: a WEIGHTS_ERROR whose message is the sentence to show.
 * Source: https://huggingface.co/docs/safetensors, README "Format"; limits as in its reference
 * implementation.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, bits an element takes */
#define ST_DTYPES(X)                                                                               \
    X(BOOL, 8)                                                                                     \
    X(F4, 4)                                                                                       \
    X(F6_E2M3, 6)                                                                                  \
    X(F6_E3M2, 6)                                                                                  \
    X(U8, 8)                                                                                       \
    X(I8, 8)                                                                                       \
    X(F8_E5M2, 8)                                                                                  \
    X(F8_E4M3, 8)                                                                                  \
    X(F8_E8M0, 8)                                                                                  \
    X(F8_E4M3FNUZ, 8)                                                                              \
    X(F8_E5M2FNUZ, 8)                                                                              \
    X(I16, 16)                                                                                     \
    X(U16, 16)                                                                                     \
    X(F16, 16)                                                                                     \
    X(BF16, 16)                                                                                    \
    X(I32, 32)                                                                                     \
    X(U32, 32)                                                                                     \
    X(F32, 32)                                                                                     \
    X(C64, 64)                                                                                     \
    X(F64, 64)                                                                                     \
    X(I64, 64)                                                                                     \
    X(U64, 64)

enum st_dtype {
#define X(name, bits) ST_##name,
    ST_DTYPES(X)
#undef X
        ST_DTYPE_COUNT
};

enum { ST_MAX_RANK = 8 };

struct st_tensor {
    const char *name;
    enum st_dtype dtype;
    unsigned rank;
    uint64_t dims[ST_MAX_RANK];
    uint64_t count;  /* elements */
    uint64_t offset; /* of the first byte, from the start of the file */
    uint64_t size;   /* bytes */
};

struct safetensors;

/* Opens and checks a file. NULL and `error` on failure. */
struct safetensors *safetensors_open(const char *path, GError **error);

/* The same for a name below an open directory (AT_FDCWD works); `label` is the name that messages
 * use. */
struct safetensors *safetensors_open_at(int dir_fd, const char *name, const char *label,
                                        GError **error);

/* The same for an open file descriptor, which is taken over, also on failure. */
struct safetensors *safetensors_open_fd(int fd, const char *label, GError **error);

/* One more owner, for sets that share a file; each closes it once. */
struct safetensors *safetensors_ref(struct safetensors *st);
void safetensors_close(struct safetensors *st); /* takes NULL */

/* Label given at opening (not quoted): the file's name, or "unet/model.safetensors" in a folder. */
const char *safetensors_label(const struct safetensors *st);

/* Tensors, in the order of their data in the file. */
size_t safetensors_count(const struct safetensors *st);
const struct st_tensor *safetensors_tensor(const struct safetensors *st, size_t i);
const struct st_tensor *safetensors_find(const struct safetensors *st,
                                         const char *name); /* or NULL */
/* The one whose name is the prefix and then the rest, written as by printf; or NULL. */
const struct st_tensor *safetensors_find_part(const struct safetensors *st, const char *prefix,
                                              const char *format, ...) G_GNUC_PRINTF(3, 4);

/* `__metadata__`, for display and for hints; zero bytes within values are replaced by U+FFFD. */
size_t safetensors_metadata_count(const struct safetensors *st);
const char *safetensors_metadata_key(const struct safetensors *st, size_t i);
const char *safetensors_metadata_value(const struct safetensors *st, size_t i);
const char *safetensors_metadata(const struct safetensors *st, const char *key); /* or NULL */

/* Bytes of the file and of its header (with the 8 length bytes). */
uint64_t safetensors_file_size(const struct safetensors *st);
uint64_t safetensors_header_size(const struct safetensors *st);

/*
 * Reads bytes [offset, offset + size) of the file; they must lie inside it. A file that has become
 * shorter is an error (ST12).
 */
bool safetensors_read(const struct safetensors *st, uint64_t offset, void *dst, size_t size,
                      GError **error);

const char *st_dtype_name(enum st_dtype dtype);
unsigned st_dtype_bits(enum st_dtype dtype);
