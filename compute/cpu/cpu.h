/*
 * The CPU back end: oneDNN for convolutions and matrix products, own loops (kernels.h) for the
 * rest. F32 everywhere, or BF16 weights and activations with F32 sums and statistics. Results are
 * the same from run to run whatever else the machine does.
 */
#pragma once

#include "compute/backend.h"

/*
 * precision: DTYPE_F32 or DTYPE_BF16. BF16 works on every CPU; where there are no BF16 products
 * (cpu_has_bf16()) it halves memory and is slower than F32. threads: 0 = all of the machine's.
 * Fails when oneDNN cannot start or too little address space is left for its code generator.
 */
struct backend *cpu_backend_create(enum dtype precision, int threads, GError **error);
/* $FIGMENT_CPU_MEMORY: bytes that each CPU back end may hold; 0 = what the machine has. For tests
 * of what happens when memory is short. */
size_t cpu_memory_limit(void);
/* Whether BF16 is the faster precision here. */
bool cpu_has_bf16(void);
