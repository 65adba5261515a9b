/*
 * Tensor layouts and views: how their state is made, as SPV_NV_tensor_addressing tells instruction
 * by instruction. A stride smaller than its rule, a tensor of more elements than 32 bits count and
 * a clip that wraps around are refused.
 */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

/* ---- layouts ---- */

struct tensor_layout interpreter_layout(const struct thread *t, const struct instruction *i,
                                        uint32_t operand)
{
    struct tensor_layout l;
    memcpy(&l, cells_of(t, i, operand), sizeof l);
    if (l.created != WRITTEN)
        interpreter_fault(t, i, "a tensor layout that was not created");
    return l;
}

static void set_layout(struct thread *t, const struct instruction *i, const struct tensor_layout *l)
{
    memcpy(result_of(t, i), l, sizeof *l);
}

uint32_t interpreter_times(const struct thread *t, const struct instruction *i, uint64_t a,
                           uint32_t b)
{
    if (a * b > UINT32_MAX)
        interpreter_fault(t, i, "a tensor with more elements than 32 bits count");
    return (uint32_t)(a * b);
}

static uint32_t blocks(const struct tensor_layout *l, uint32_t d)
{
    return (uint32_t)(((uint64_t)l->dimension[d] + l->block_size[d] - 1) / l->block_size[d]);
}

static void run_create_layout(struct thread *t, const struct instruction *i)
{
    struct tensor_layout l = {.created = WRITTEN};
    for (uint32_t d = 0; d < MAX_DIMENSIONS; d++)
        l.block_size[d] = 1;
    set_layout(t, i, &l);
}

static void run_set_block_size(struct thread *t, const struct instruction *i)
{
    struct tensor_layout l = interpreter_layout(t, i, 0);
    for (uint32_t d = 0; d < i->type->count; d++)
        if ((l.block_size[d] = cells_of(t, i, 1 + d)->u) == 0)
            interpreter_fault(t, i, "a block of no elements");
    set_layout(t, i, &l);
}

static void run_set_dimension(struct thread *t, const struct instruction *i)
{
    struct tensor_layout l = interpreter_layout(t, i, 0);
    uint32_t last = i->type->count - 1;
    for (uint32_t d = 0; d <= last; d++) {
        l.dimension[d] = l.span[d] = cells_of(t, i, 1 + d)->u;
        l.offset[d] = 0;
    }
    l.stride[last] = 1;
    for (uint32_t d = last; d > 0; d--)
        l.stride[d - 1] = interpreter_times(t, i, l.stride[d], blocks(&l, d));
    set_layout(t, i, &l);
}

static void check_strides(const struct thread *t, const struct instruction *i,
                          const struct tensor_layout *l)
{
    for (uint32_t d = 0; d + 1 < i->type->count; d++)
        if (l->stride[d] < (uint64_t)l->stride[d + 1] * blocks(l, d + 1))
            interpreter_fault(t, i, "stride %u is %u, less than %u times %u", d, l->stride[d],
                              l->stride[d + 1], blocks(l, d + 1));
}

static void run_set_stride(struct thread *t, const struct instruction *i)
{
    struct tensor_layout l = interpreter_layout(t, i, 0);
    for (uint32_t d = 0; d < i->type->count; d++)
        l.stride[d] = cells_of(t, i, 1 + d)->u;
    check_strides(t, i, &l);
    set_layout(t, i, &l);
}

static void run_slice(struct thread *t, const struct instruction *i)
{
    struct tensor_layout l = interpreter_layout(t, i, 0);
    for (uint32_t d = 0; d < i->type->count; d++) {
        int64_t offset = (int64_t)l.offset[d] + cells_of(t, i, 1 + 2 * d)->i;
        if (offset < INT32_MIN || offset > INT32_MAX)
            interpreter_fault(t, i, "an offset of more than 31 bits");
        l.offset[d] = (int32_t)offset;
        l.span[d] = cells_of(t, i, 2 + 2 * d)->u;
    }
    check_strides(t, i, &l);
    set_layout(t, i, &l);
}

static void run_set_clamp_value(struct thread *t, const struct instruction *i)
{
    struct tensor_layout l = interpreter_layout(t, i, 0);
    l.clamp_value = cells_of(t, i, 1)->u;
    set_layout(t, i, &l);
}

/* ---- views ---- */

struct tensor_view interpreter_view(const struct thread *t, const struct instruction *i,
                                    uint32_t operand)
{
    struct tensor_view v;
    memcpy(&v, cells_of(t, i, operand), sizeof v);
    if (v.created != WRITTEN)
        interpreter_fault(t, i, "a tensor view that was not created");
    return v;
}

static void set_view(struct thread *t, const struct instruction *i, const struct tensor_view *v)
{
    memcpy(result_of(t, i), v, sizeof *v);
}

static void run_create_view(struct thread *t, const struct instruction *i)
{
    struct tensor_view v = {
        .created = WRITTEN, .clip_row_span = UINT32_MAX, .clip_column_span = UINT32_MAX};
    set_view(t, i, &v);
}

static void run_view_set_dimension(struct thread *t, const struct instruction *i)
{
    struct tensor_view v = interpreter_view(t, i, 0);
    uint32_t last = i->type->count - 1;
    for (uint32_t d = 0; d <= last; d++)
        v.dimension[d] = cells_of(t, i, 1 + d)->u;
    v.stride[last] = 1;
    for (uint32_t d = last; d > 0; d--)
        v.stride[d - 1] = interpreter_times(t, i, v.stride[d], v.dimension[d]);
    set_view(t, i, &v);
}

static void run_view_set_stride(struct thread *t, const struct instruction *i)
{
    struct tensor_view v = interpreter_view(t, i, 0);
    for (uint32_t d = 0; d < i->type->count; d++)
        v.stride[d] = cells_of(t, i, 1 + d)->u;
    set_view(t, i, &v);
}

static void run_view_set_clip(struct thread *t, const struct instruction *i)
{
    struct tensor_view v = interpreter_view(t, i, 0);
    v.clip_row_offset = cells_of(t, i, 1)->u;
    v.clip_row_span = cells_of(t, i, 2)->u;
    v.clip_column_offset = cells_of(t, i, 3)->u;
    v.clip_column_span = cells_of(t, i, 4)->u;
    if (v.clip_row_offset > UINT32_MAX - v.clip_row_span ||
        v.clip_column_offset > UINT32_MAX - v.clip_column_span)
        interpreter_fault(t, i, "a clip that wraps around");
    set_view(t, i, &v);
}

/* As many values as dimensions, or twice as many. */
static void check_values(const struct interpreter *m, const struct instruction *i)
{
    uint32_t n = i->type->count, number_of = i->operation->number;
    uint32_t expected = number_of == OpTensorLayoutSliceNV           ? 2 * n
                        : number_of == OpTensorViewSetClipNV         ? 4
                        : number_of == OpTensorLayoutSetClampValueNV ? 1
                                                                     : n;
    if (i->operand_count != 1 + expected || i->operands[0].type != i->type)
        interpreter_refuse(m, "%%%u: %s with %u values", i->id, i->operation->name,
                           i->operand_count - 1);
}

const struct operation layout_operations[] = {
    OPERATION(OpCreateTensorLayoutNV, "tr", run_create_layout),
    OPERATION(OpTensorLayoutSetBlockSizeNV, "trvv*", run_set_block_size, .check = check_values),
    OPERATION(OpTensorLayoutSetDimensionNV, "trvv*", run_set_dimension, .check = check_values),
    OPERATION(OpTensorLayoutSetStrideNV, "trvv*", run_set_stride, .check = check_values),
    OPERATION(OpTensorLayoutSliceNV, "trvv*", run_slice, .check = check_values),
    OPERATION(OpTensorLayoutSetClampValueNV, "trvv", run_set_clamp_value, .check = check_values),
    OPERATION(OpCreateTensorViewNV, "tr", run_create_view),
    OPERATION(OpTensorViewSetDimensionNV, "trvv*", run_view_set_dimension, .check = check_values),
    OPERATION(OpTensorViewSetStrideNV, "trvv*", run_view_set_stride, .check = check_values),
    OPERATION(OpTensorViewSetClipNV, "trvv*", run_view_set_clip, .check = check_values),
    {.name = NULL},
};
