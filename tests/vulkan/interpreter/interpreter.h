/*
 * An interpreter of SPIR-V compute modules whose control flow is uniform over a workgroup: kernels
 * written for VK_NV_cooperative_matrix2 that ask for no invocation's number and share no memory. A
 * workgroup is then one thread, and a cooperative matrix of workgroup scope is an array of floats.
 * It runs such kernels where no device can (tests/vulkan/matrix2_layer.c).
 *
 * It is strict where a device is undefined: an unknown instruction, an access outside the bound
 * range, a broken rule of tensor addressing, matrices that do not fit, a matrix that is read before
 * it was written, a race between workgroups end the program with a sentence (g_error). Types other
 * than 32-bit integers and 16- and 32-bit floats, descriptor sets other than 0, shared memory,
 * atomics and subgroups are refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interpreter;

/* A specialisation constant; a bool is 0 or 1. */
struct interpreter_constant {
    uint32_t id, value;
};

/* What is bound at a binding of set 0; data NULL = nothing. The caller's, while it runs. */
struct interpreter_buffer {
    uint8_t *data;
    size_t bytes;
};

#define INTERPRETER_BINDINGS 16

struct interpreter_dispatch {
    struct interpreter_buffer buffers[INTERPRETER_BINDINGS];
    const void *push;
    size_t push_bytes;
    uint32_t groups[3];
};

/* The sizes of a multiplication of matrices. */
struct interpreter_product {
    uint32_t m, n, k;
};

/* A type of matrices: use 0 A, 1 B, 2 accumulator, of 16 or 32 bits. */
struct interpreter_matrix {
    uint32_t rows, columns, use, bits;
};

/* Whether a module is of the kind that this is for: it has tensor addressing. */
bool interpreter_wants(const uint32_t *words, size_t count);
/* The words are copied. Ends the program when the module is not understood. Any thread. */
struct interpreter *interpreter_create(const uint32_t *words, size_t count, const char *entry,
                                       const struct interpreter_constant *constants,
                                       size_t constant_count);
void interpreter_destroy(struct interpreter *module);
bool interpreter_declares(const struct interpreter *module, uint32_t capability);
/* Invocations of a workgroup. */
uint32_t interpreter_invocations(const struct interpreter *module);
/* The matrix products in the module; owned by it. */
const struct interpreter_product *interpreter_products(const struct interpreter *module,
                                                       size_t *count);
const struct interpreter_matrix *interpreter_matrices(const struct interpreter *module,
                                                      size_t *count);
/* Runs all workgroups, on two threads when there are many; returns when all is done. */
void interpreter_run(const struct interpreter *module, const struct interpreter_dispatch *dispatch);
