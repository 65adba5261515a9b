/*
 * The inside of struct weights, for the files that build sets: model_folder.c, model_file.c,
 * lora.c.
 */
#pragma once

#include "weights/safetensors.h"
#include "weights/weights.h"

/* Adds to `count` elements from `first` on (of the tensor's own order), in F32. Any thread. */
typedef bool (*weights_patch_func)(void *data, size_t first, size_t count, float *values,
                                   GError **error);

struct entry {
    struct weight weight; /* first: a struct weight is its entry */
    struct weights *set;
    struct safetensors *file;
    const struct st_tensor *tensor;
    uint64_t offset; /* of the first element in the file */
    bool transposed; /* the file has [dims[1], dims[0]] */
    bool unreadable; /* dtype or rank is none of compute/tensor.h's */
    bool used;
    weights_patch_func patch; /* NULL: as in the file */
    void *patch_data;
    GDestroyNotify patch_free;
};

struct weights {
    char *source;
    GPtrArray *files;   /* struct safetensors, each an own reference */
    GPtrArray *entries; /* struct entry, sorted by name once sealed */
    bool sealed;
    gint invalid_counted; /* ST15 has been worked out once */
    /* A set without files (random.h): makes a parameter that bind asks for. NULL: none. */
    struct entry *(*invent)(struct weights *w, const char *name, int rank, const int64_t *dims);
    uint64_t seed;
    enum dtype dtype; /* of what is invented */
};

/*
 * Never the same twice in a process: a parameter that happens to lie where one of a model that is
 * gone lay is not taken for it by a back end's packed copies.
 */
unsigned weights_next_revision(void);

struct weights *weights_new(const char *source);

/* Takes the file over. */
void weights_take_file(struct weights *w, struct safetensors *st);

/*
 * Adds rows [row, row + rows) of a tensor (rows = 0: all of it) of a file that the set has, under
 * a name; `transposed` swaps the two dims of a matrix. No data is read.
 */
struct entry *weights_add(struct weights *w, const char *name, struct safetensors *st,
                          const struct st_tensor *t, uint64_t row, uint64_t rows, bool transposed);

/* Sorts; call once, after the last weights_add(). Of two of one name the first added stays. */
void weights_seal(struct weights *w);

struct entry *weights_entry(const struct weights *w, const char *name); /* does not mark it */

/*
 * Gives the entry a patch (NULL: none) and a new revision; frees the data of the one before. Does
 * nothing to sets without files.
 */
void weights_set_patch(struct entry *e, weights_patch_func patch, void *data,
                       GDestroyNotify destroy);

/* Elements of the file's, in F32, whatever patch there is. Any thread. */
bool weights_read_unpatched(const struct entry *e, size_t first, size_t count, float *values,
                            GError **error);
