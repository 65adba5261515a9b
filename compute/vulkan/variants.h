/*
 * Which pipelines the back end can ask for: for every shader, the values of each specialisation
 * constant and which of them go together. pipelines_get() asserts that what it builds is listed,
 * and tests/vulkan/coverage.c goes through the list and demands a test of everything on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VARIANT_AXES 16

/* A choice: bits `mask` of specialisation constant `constant` are one of `values`. */
struct variant_axis {
    const char *name;
    uint32_t constant, mask;
    uint32_t count, values[8];
};

struct variant_shader {
    const char *name; /* a name in shaders.h, without the suffix */
    const char *ops;  /* of compute/op.def that it computes, between spaces: " conv2d linear " */
    const struct variant_axis *axes[VARIANT_AXES]; /* ends with NULL */
    /* Whether values that are all allowed go together. NULL = always. */
    bool (*together)(const uint32_t *constants, bool f16);
    bool matrix; /* needs a device with cooperative matrices */
};

extern const struct variant_shader variant_shaders[];
extern const size_t variant_shader_count;

const struct variant_shader *variant_find(const char *shader); /* NULL = not listed */
/* Constant 0 is the workgroup size, which follows the device: any. */
bool variant_allowed(const struct variant_shader *shader, const uint32_t *constants, uint32_t count,
                     bool f16);
