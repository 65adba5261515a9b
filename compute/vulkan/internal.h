/* The back end and its programs, as seen by the files of compute/vulkan/. */
#pragma once

#include "compute/plan.h"
#include "compute/vulkan/memory.h"
#include "compute/vulkan/pipelines.h"
#include "compute/vulkan/record.h"

/* Kernels for products of matrices (conv2d, linear, attention). */
enum path {
    PATH_SHARED,   /* tiles in shared memory: any GPU */
    PATH_REGISTER, /* no shared memory: lavapipe */
    PATH_MATRIX,   /* cooperative matrix; F16 only */
    PATH_MATRIX2,  /* matrices of a whole workgroup, where a layer fits; the others as MATRIX when
                      there is a shape, else as SHARED; F16 only */
};

enum packing {
    PACK_MATRIX,        /* conv2d and linear: [columns / 32][taps * padded inputs][32] */
    PACK_MATRIX_GEGLU,  /* the same with values and gates interleaved: two and two */
    PACK_MATRIX_HALVES, /* 16 values, then their 16 gates (PATH_MATRIX2) */
    PACK_VECTOR,        /* F32, padded with zeros to a multiple of 32 */
    PACK_VECTOR_GEGLU,
    PACK_VECTOR_HALVES,
    PACK_TABLE, /* as it is, in the precision */
    PACK_ONES,  /* no weight: F32 ones, for a norm without scale */
    PACK_ZEROS,
};

/* A weight in device memory, shared by programs. */
struct packed {
    const struct weight *weight; /* NULL for ones and zeros */
    unsigned revision;
    enum packing packing;
    size_t count; /* of ones and zeros */
    struct memory_piece piece;
    size_t bytes;
    int users;
};

/* Activations: a block that programs share, since one runs at a time. */
struct arena {
    struct memory_block *block;
    int users;
};

struct vulkan_backend {
    struct backend base;
    struct device *d;
    struct memory *m;
    struct pipelines *p;
    GPtrArray *packed; /* struct packed */
    GHashTable *packed_index;
    GPtrArray *arenas;
    struct memory_block *spare; /* nobody writes it */
    enum path path;
    struct matrix_shape shape; /* PATH_MATRIX, PATH_MATRIX2; zeros = none */
    double rate;               /* floating-point operations a second, as expected */
    double bandwidth;          /* bytes a second, as expected */
    double scale;              /* measured over expected seconds */
};

struct vulkan_program {
    struct program base;
    const struct plan *plan;
    struct arena *arena;
    struct memory_block *kept;
    struct host *host; /* NULL: the CPU sees the kept block */
    GPtrArray *packed; /* used */
    struct commands *commands;
    size_t scratch; /* bytes behind the activations in the arena */
};

/* selftest.c: chooses path, shape and rate, by what computes right and fast on this device; reads
 * and writes a small file next to the pipeline cache. FIGMENT_VULKAN_PATH goes before. */
bool selftest_choose(struct vulkan_backend *b, GError **error);

/* What its layers are filled with: 1/64 steps in [-1, 1), exact in 16 bits. */
float selftest_value(size_t i, unsigned seed);

/* selftest_attention.c: the error of attention as it runs now, relative to its norm: the worst of
 * some layers. Weights and output are rounded to 16 bits, which are half of what is allowed. */
#define SELFTEST_ATTENTION_ERROR 4e-4
bool selftest_attention(struct vulkan_backend *b, double *difference, GError **error);

/* What an earlier self-test wrote down of a described device, for people; "" = nothing. */
void selftest_recall(const struct device *d, char *text, size_t size);

/* pack.c */
struct packed *pack_get(struct vulkan_backend *b, const struct weight *w, enum packing packing,
                        size_t count, GError **error);
void pack_forget_unused(struct vulkan_backend *b, bool stale);
uint16_t half_from_float(float value);
float half_to_float(uint16_t half);

/*
 * host.c: what the host writes and reads of a program whose kept block it does not see. Copies are
 * part of the program's commands, so that a step has no submission more, and whatever fails fails
 * the run.
 */
bool host_create(struct vulkan_program *p, GError **error); /* before commands_finish() */
void host_destroy(struct vulkan_program *p);
/* Where the CPU writes, or reads, a tensor of the kept block; NULL = nowhere. */
uint8_t *host_input(const struct vulkan_program *p, const struct tensor *t);
const uint8_t *host_output(const struct vulkan_program *p, const struct tensor *t);

/* encode.c: the dispatches of every node. Fails with a sentence (memory, a weight that cannot be
 * read, a tensor that the device cannot bind). */
bool encode_program(struct vulkan_program *p, const int *cancel, GError **error);
/* Bytes behind the activations that the nodes of a plan need while they run. */
size_t encode_scratch(struct vulkan_backend *b, const struct plan *plan);

/* encode_product.c: conv2d, linear */
struct encoder;
bool encode_conv2d(struct encoder *e, const struct node *n, GError **error);
size_t scratch_conv2d(struct vulkan_backend *b, const struct node *n);
/* encode_attention.c */
bool encode_attention(struct encoder *e, const struct node *n, GError **error);

/* A dispatch should not take longer than this, as expected. */
#define DISPATCH_SECONDS 0.04

/* encode.c, for the other two */
struct span {
    VkBuffer buffer;
    uint64_t offset, bytes;
    enum dtype store;
};
struct encoder {
    struct vulkan_backend *b;
    struct vulkan_program *p;
    int node;
};
struct span span_of(const struct encoder *e, const struct tensor *t);
struct span span_scratch(const struct encoder *e, uint64_t offset, uint64_t bytes);
bool span_weight(struct encoder *e, const struct weight *w, enum packing packing, size_t count,
                 struct span *span, GError **error);
/* Binds bytes [first, first + bytes) of a span, rounded up to whole quads. */
void dispatch_bind(const struct encoder *e, struct dispatch *dispatch, uint32_t slot,
                   struct span span, uint64_t first, uint64_t bytes, bool write);
/* Finds the pipeline (constants[0] is the workgroup size) and adds the dispatch. */
bool dispatch_add(struct encoder *e, struct dispatch *dispatch, struct pipeline_key *key,
                  bool texels, const void *push, size_t push_bytes, GError **error);
/* Groups along x, folded into y where one axis is too short. */
void dispatch_fold(const struct encoder *e, struct dispatch *dispatch, uint64_t groups);
/* Rows of `row_bytes` that one bound range holds, a multiple of 256; false with a sentence when the
 * device cannot bind even that. */
bool rows_in_range(const struct encoder *e, uint64_t row_bytes, uint64_t *rows, GError **error);
static inline uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}
