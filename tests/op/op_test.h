/*
 * What the op tests share: the cases of tests/golden/ops.bin (made by make_ops.py from PyTorch),
 * run on any back end. A test is tests/op/<op>.c: a function that records the op for one case.
 *
 *     test_op_conv2d BACKEND     cpu:f32 (default), cpu:bf16, vulkan:f32, vulkan:f16
 */
#pragma once

#include "compute/backend.h"
#include "compute/op.h"
#include "compute/tape.h"
#include "tests/check.h"

struct op_case {
    const char *line; /* "conv2d b=2 h=5 ..." */
    struct tape *tape;
    struct backend *backend;
    GPtrArray *inputs;  /* struct op_input */
    GPtrArray *weights; /* struct weight and its values */
};

/* The number after `key=`, or `otherwise`. */
double op_number(const struct op_case *c, const char *key, double otherwise);
int op_int(const struct op_case *c, const char *key, int otherwise);
bool op_is(const struct op_case *c, const char *key, const char *value);

/* Inputs and weights with the values that make_ops.py gave them: by their name, times scale, plus
 * shift. */
struct tensor *op_input(struct op_case *c, const char *name, double scale, double shift, int rank,
                        const int64_t *dims);
struct tensor *op_ids(struct op_case *c, const char *name, int modulus, int factor, int rank,
                      const int64_t *dims);
/* Steps below 1000, for time embeddings. */
struct tensor *op_steps(struct op_case *c, const char *name, int64_t count);
const struct weight *op_weight(struct op_case *c, const char *name, double scale, int rank,
                               const int64_t *dims);
/* Input x of dims [b,] r, last: what most ops take. */
struct tensor *op_rows(struct op_case *c, const char *name, double scale, double shift,
                       int64_t last);

/* Each tests/op/<op>.c defines these two. */
extern const char op_under_test[];
/* Records the op; the result is compared with PyTorch's. NULL = this back end cannot hold the
 * case's inputs exactly (16-bit formats): skipped. */
struct tensor *op_record(struct op_case *c);

/* Whether the back end's format has fewer bits than F32. */
bool op_is_16bit(const struct op_case *c);

/* All golden cases of op_under_test (op_main.c). */
int op_test_goldens(const char *backend);
/* Each line's network against the CPU back end, F32 and unfused (tests/op/fused.c). */
int op_test_fused(const char *backend, const char *const *lines, size_t count);
/* The same for lines that may have nothing to fuse (tests/op/variants.c). */
int op_test_lines(const char *backend, const char *const *lines, size_t count);
