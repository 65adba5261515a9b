/* Names of the per-instruction-set symbols; KERNELS_ISA is set by the build
 * (plain, avx2, avx512).
 */
#pragma once

#include "compute/cpu/kernels.h"

#define KERNELS_JOIN(a, b) a##_##b
#define KERNELS_NAME_OF(a, b) KERNELS_JOIN(a, b)
#define KERNELS_TEXT(x) #x
#define KERNELS_TEXT_OF(x) KERNELS_TEXT(x)
#define KERNELS KERNELS_NAME_OF(kernels, KERNELS_ISA)
#define KERNELS_ATTENTION KERNELS_NAME_OF(attention, KERNELS_ISA)
#define KERNELS_ATTENTION_BF16 KERNELS_NAME_OF(attention_bf16, KERNELS_ISA)
#define KERNELS_PRODUCT KERNELS_NAME_OF(product, KERNELS_ISA)
#define KERNELS_PRODUCT_BF16 KERNELS_NAME_OF(product_bf16, KERNELS_ISA)
#define KERNELS_PACK KERNELS_NAME_OF(pack, KERNELS_ISA)
#define KERNELS_WINOGRAD_WEIGHTS KERNELS_NAME_OF(winograd_weights, KERNELS_ISA)
#define KERNELS_WINOGRAD_INPUT KERNELS_NAME_OF(winograd_input, KERNELS_ISA)
#define KERNELS_WINOGRAD_OUTPUT KERNELS_NAME_OF(winograd_output, KERNELS_ISA)
#define KERNELS_NAME KERNELS_TEXT_OF(KERNELS_ISA)

void KERNELS_ATTENTION(const struct attention_tile *tile, float *scratch);
void KERNELS_ATTENTION_BF16(const struct attention_tile *tile, float *scratch);
product_kernel KERNELS_PRODUCT, KERNELS_PRODUCT_BF16;
void KERNELS_PACK(enum dtype dtype, const void *w, size_t stride, size_t rows, size_t in,
                  size_t taps, float *panel);
void KERNELS_WINOGRAD_WEIGHTS(const float *panel, size_t in, float *to, size_t stride);
void KERNELS_WINOGRAD_INPUT(const float *x, size_t row, size_t pixel, size_t channels, float *to,
                            size_t stride);
void KERNELS_WINOGRAD_OUTPUT(const float *m, size_t stride, const float *start,
                             const float *residual, float *y, size_t row, size_t pixel);
