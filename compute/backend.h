/*
 * A back end: where tapes run. Created by cpu_backend_create() (compute/cpu/cpu.h) or
 * vulkan_backend_create() (compute/vulkan/vulkan.h); used by one thread. What a back end implements
 * is struct backend_class; what it gets is a struct plan (compute/plan.h).
 */
#pragma once

#include "compute/tensor.h"

struct plan;
struct backend;
struct program; /* a compiled plan; each back end embeds it first in its own */

/* Bits of what a back end can fuse into the producing op (see plan.h). */
enum fuse {
    FUSE_RESIDUAL = 1 << 0,   /* conv2d, linear: + a tensor of the output's shape */
    FUSE_BROADCAST = 1 << 1,  /* conv2d: + [B, C] (the time embedding) */
    FUSE_NORM_SILU = 1 << 2,  /* group_norm: then silu */
    FUSE_ACTIVATION = 1 << 3, /* conv2d, linear: then silu, gelu, quick_gelu, relu */
    FUSE_GEGLU = 1 << 4,      /* linear: then geglu */
    FUSE_UPSAMPLE = 1 << 5,   /* conv2d: reads its input through a nearest 2x upsampling */
    FUSE_NORM_INPUT = 1 << 6, /* conv2d: its input through group_norm and silu */
    FUSE_IN_PLACE = 1 << 7,   /* elementwise ops and residuals may write over what they read */
    FUSE_F32_OUTPUT = 1 << 8, /* conv2d, linear: can write F32 for the host to read */
};

struct backend_class {
    const char *name; /* "cpu", "vulkan" */
    unsigned fuse;
    size_t alignment; /* of places in the arena, bytes */
    struct program *(*compile)(struct backend *backend, const struct plan *plan, const int *cancel,
                               GError **error);
    bool (*run)(struct program *program, const int *cancel, GError **error);
    void (*write)(struct program *program, const struct tensor *input, const void *data);
    void (*read)(struct program *program, const struct tensor *output, float *data);
    void (*destroy_program)(struct program *program);
    /* Frees packed weights that no program uses; `stale`: only those of values that have changed
     * since (their struct weight is alive). */
    void (*forget_weights)(struct backend *backend, bool stale);
    /* Of all weights of a plan, as compiling it would keep them; NULL: in the precision. */
    size_t (*weight_bytes)(const struct backend *backend, const struct plan *plan);
    void (*destroy)(struct backend *backend);
};

struct backend {
    const struct backend_class *class;
    enum dtype precision; /* of activations and packed weights: F32, BF16 (cpu), F16 (vulkan) */
    char *label;          /* for people: "CPU (bf16)", "Radeon RX 7600 (f16)" */
    size_t bytes_now, bytes_peak; /* memory held: weights, arenas, kept values */
    double longest; /* seconds: submission of work yet, whoever measures sets it to 0; 0 = none */
    bool lost;      /* the device was reset: destroy every tape and this, and open another */
    size_t gap;     /* bytes behind every tensor; 0, but with FIGMENT_POISON (compute/poison.h) */
};

void backend_destroy(struct backend *backend); /* takes NULL */
void backend_forget_weights(struct backend *backend);
/* After an add-on changed parameters and the tapes that used them are gone: the others stay. */
void backend_forget_stale_weights(struct backend *backend);
