/*
 * Number formats: blocks of elements from the format of a file to the format of a back end. Plain
 * functions of memory; any thread. Little-endian hosts only (so are the files).
 *
 * Rounding is to nearest, ties to even, subnormals kept, as PyTorch does: F64 goes through F32 (as
 * there), the others round once. F8_E4M3 is the variant without infinities (e4m3fn).
 */
#pragma once

#include "compute/tensor.h"

/*
 * Converts n elements of `from` (F32, F16, BF16, F64, F8_E4M3, F8_E5M2) at src to `to` (F32, F16,
 * BF16) at dst. The two do not overlap. False when an element of dst is a NaN or infinite (all are
 * written all the same): the source held one, or a number too large for the format.
 */
bool convert_elements(enum dtype from, const void *src, enum dtype to, void *dst, size_t n);

/* Every element is finite. */
bool convert_all_finite(enum dtype dtype, const void *src, size_t n);

/* Plain scalar forms: what the tests hold the fast ones against, and what small readers use. */
float convert_f16_to_f32(uint16_t h);
uint16_t convert_f32_to_f16(float f);
float convert_bf16_to_f32(uint16_t b);
uint16_t convert_f32_to_bf16(float f);
float convert_f8_to_f32(enum dtype dtype, uint8_t b);
