/*
 * The nouns of compute/: number formats, the parameters of a network (struct weight) and the values
 * on a tape (struct tensor). Plain data; nothing here allocates or knows a back end.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I32,
    /* the rest exists in files only */
    DTYPE_F64,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
};

/* Bytes of one element. */
size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype);

#define TENSOR_MAX_RANK 4

/*
 * One parameter of a network, as its file holds it. Dims are in PyTorch order (conv: [out, in, kh,
 * kw], linear: [out, in]). Owned by a struct weights (weights/weights.h), which outlives every tape
 * that uses it. A back end packs it once and keys the packed copy by (pointer, revision, packing).
 */
struct weight {
    const char *name; /* diffusers' name, for messages */
    enum dtype dtype; /* in the file */
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    unsigned revision; /* unique; a new one when an add-on (LoRA) changes the values */
    /*
     * Reads elements [first, first + count), in file order, converted to `as` (F32, F16, BF16, or
     * the file's own format when not changed) into dst. Any thread. Fails with a sentence when the
     * file changed or cannot be read, or holds NaN or infinity.
     */
    bool (*read)(const struct weight *weight, enum dtype as, size_t first, size_t count, void *dst,
                 GError **error);
    void *owner;
    bool changed; /* by an add-on: no longer numbers of the file's format */
};

static inline size_t weight_count(const struct weight *w)
{
    size_t n = 1;
    for (int i = 0; i < w->rank; i++)
        n *= (size_t)w->dims[i];
    return n;
}

/*
 * A value on a tape. Dims as they lie in memory, channels last: [B, H, W, C], [B, L, C], [B, C].
 * Owned by its tape. The number format is the tape's precision, but for inputs, outputs and kept
 * values that say otherwise (F32 or I32).
 */
struct tensor {
    int id; /* index in tape->tensors */
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    enum dtype dtype;
    struct tensor *view_of; /* op_reshape: same bytes, other dims */
};

static inline size_t tensor_count(const struct tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= (size_t)t->dims[i];
    return n;
}
