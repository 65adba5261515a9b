/*
 * What a kernel multiplies: F32, or with KERNELS_PAIRS two BF16 that are neighbours of the sum in
 * one lane, whose sums are F32. A file that includes this is compiled once for each.
 */
#pragma once

#include "compute/cpu/kernels_private.h"
#include "compute/cpu/vector.h"

#ifdef KERNELS_PAIRS
#define ITEMS(n) (((n) + 1) / 2)
typedef uint32_t item __attribute__((may_alias));
typedef vec_u32 vec_item;
typedef uint32_t vec_item_unaligned __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE vec multiply_add(vec sum, item x, vec_item y)
{
    return vec_dot_bf16(sum, x + (vec_u32){0}, y);
}
#else
#define ITEMS(n) (n)
typedef float item;
typedef vec vec_item;
typedef vec_unaligned vec_item_unaligned;

INLINE vec multiply_add(vec sum, item x, vec_item y)
{
    return sum + vec_splat(x) * y;
}
#endif

INLINE vec_item items_load(const item *x)
{
    return *(const vec_item_unaligned *)x;
}
