/*
 * What the tests of networks share: the back end under test, goldens, comparison.
 *
 * The back end is the program's first argument, or FIGMENT_TEST_DEVICE: "reference" (plain loops),
 * "cpu", "vulkan"; the second, or FIGMENT_TEST_PRECISION: "f32", "bf16", "f16".
 */
#pragma once

#include "compute/backend.h"
#include "compute/tape.h"
#include "tests/check.h"
#include "weights/weights.h"

struct block_test {
    struct backend *backend;
    double relative; /* bound of the relative error, 0 = none */
    double psnr;     /* bound in dB, 0 = none */
    double worst;    /* relative error so far */
    double worst_psnr;
    double loosen; /* of the next comparisons; 1 = as it is */
};

/* False (after a message) when this build has no such back end: the test is skipped (exit 77). */
bool block_test_init(struct block_test *test, int argc, char **argv);
/* Whether all comparisons passed. */
bool block_test_finish(struct block_test *test);

/* tests/golden/models/NAME.safetensors and NAME.json; the test stops when they cannot be read. */
struct weights *golden_open(const char *name);
json_t *golden_config(const char *name, uint64_t *seed);
/* The values, F32 (g_free); dims as in the file, channels last. NULL when there is none. */
float *golden_read(struct weights *golden, const char *name, int *rank, int64_t *dims);
/* Makes an input of the tape that has a golden's shape; NULL when there is no such golden. */
struct tensor *golden_input(struct tape *t, struct weights *golden, const char *name);
void golden_write(struct tape *t, struct weights *golden, const char *name);

void golden_compare(struct block_test *test, struct weights *golden, const char *model,
                    const char *name, const float *got, size_t count);
/* Compares the value of every mark that has a golden; at least `marks` of them. */
void golden_compare_marks(struct block_test *test, struct tape *t, struct weights *golden,
                          const char *model, int marks);
/* Compares an output of the tape with a golden of another name. */
void golden_compare_output(struct block_test *test, struct tape *t, struct weights *golden,
                           const char *model, const char *output, const char *name);
