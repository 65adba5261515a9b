/*
 * Loads and stores of matrices by tensor layouts and views. Which element of memory an element of
 * a matrix is follows, step by step and by the same names, the pseudo code of
 * SPV_NV_cooperative_matrix2, "Tensor Layout and View". Beyond what is undefined there it refuses
 * what no kernel here means: a view or span that holds another number of elements than the matrix,
 * so that elements wrap around.
 */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

enum clamp_mode {
    CLAMP_UNDEFINED,
    CLAMP_CONSTANT,
    CLAMP_TO_EDGE,
    CLAMP_REPEAT,
    CLAMP_REPEAT_MIRRORED,
};

/* ---- which element ---- */

struct access {
    const struct thread *thread;
    const struct instruction *instruction;
    const struct type *matrix, *layout, *view; /* view NULL = none */
    struct tensor_layout t;
    struct tensor_view v;
    bool store;
    uint32_t held; /* elements of the span */
};

enum outcome { IN_TENSOR, SKIPPED, CLAMPED };

typedef uint32_t coord[MAX_DIMENSIONS];

static enum outcome matrix_coord_to_linear(const struct access *a, uint32_t row, uint32_t column,
                                           uint32_t *index)
{
    const struct tensor_view *v = &a->v;
    if (!a->view) {
        *index = row * a->matrix->columns + column;
        return IN_TENSOR;
    }
    if (row < v->clip_row_offset || row - v->clip_row_offset >= v->clip_row_span ||
        column < v->clip_column_offset || column - v->clip_column_offset >= v->clip_column_span)
        return SKIPPED;
    uint32_t width = MIN(a->matrix->columns, v->clip_column_span);
    *index = (row - v->clip_row_offset) * width + (column - v->clip_column_offset);
    return IN_TENSOR;
}

static void linear_to_view_coord(const struct access *a, uint32_t index, coord view_coord)
{
    const uint32_t *dimensions = a->view->has_dimensions ? a->v.dimension : a->t.span;
    for (uint32_t d = a->view->count; d-- > 0;) {
        uint32_t i = a->view->permutation[d];
        view_coord[i] = index % dimensions[i];
        index /= dimensions[i];
    }
}

static uint32_t view_coord_to_linear(const struct access *a, const coord view_coord)
{
    coord stride = {0};
    uint32_t last = a->view->count - 1, index = 0;
    if (a->view->has_dimensions) {
        memcpy(stride, a->v.stride, sizeof stride);
    } else {
        stride[last] = 1;
        for (uint32_t d = last; d-- > 0;)
            stride[d] = stride[d + 1] * a->t.span[d + 1];
    }
    for (uint32_t d = 0; d <= last; d++)
        index += view_coord[d] * stride[d];
    return index;
}

static void linear_to_span_coord(const struct access *a, uint32_t index, coord span_coord)
{
    if (index >= a->held)
        interpreter_fault(a->thread, a->instruction, "element %u of a span of %u", index, a->held);
    for (uint32_t d = a->layout->count; d-- > 0;) {
        span_coord[d] = index % a->t.span[d];
        index /= a->t.span[d];
    }
}

/* The remainder has the sign of the divisor, as OpSMod's. */
static int64_t modulo(int64_t c, int64_t by)
{
    int64_t r = by ? c % by : 0;
    return r < 0 ? r + by : r;
}

static enum outcome clamp(const struct access *a, uint32_t d, int64_t *c)
{
    int64_t size = a->t.dimension[d];
    enum clamp_mode mode = (enum clamp_mode)a->layout->clamp;
    if (mode == CLAMP_UNDEFINED)
        interpreter_fault(a->thread, a->instruction,
                          "coordinate %u is %" G_GINT64_FORMAT " of %u, and nothing clamps it", d,
                          *c, a->t.dimension[d]);
    if (mode == CLAMP_CONSTANT || a->store)
        return CLAMPED;
    if (size == 0)
        interpreter_fault(a->thread, a->instruction, "a coordinate clamped to an empty tensor");
    if (mode == CLAMP_TO_EDGE) {
        *c = CLAMP(*c, 0, size - 1);
    } else if (mode == CLAMP_REPEAT) {
        *c = modulo(*c, size);
    } else {
        *c = modulo(*c, 2 * size - 2);
        *c = *c >= size ? 2 * size - 2 - *c : *c;
    }
    return IN_TENSOR;
}

static enum outcome span_coord_to_tensor_coord(const struct access *a, const coord span_coord,
                                               coord block_coord)
{
    for (uint32_t d = 0; d < a->layout->count; d++) {
        int64_t c = (int64_t)span_coord[d] + a->t.offset[d];
        if ((c < 0 || c >= a->t.dimension[d]) && clamp(a, d, &c) == CLAMPED)
            return CLAMPED;
        block_coord[d] = (uint32_t)c;
        if (a->t.block_size[d] != 1)
            block_coord[d] /= a->t.block_size[d];
    }
    return IN_TENSOR;
}

static uint32_t tensor_coord_to_linear(const struct access *a, const coord block_coord)
{
    uint64_t index = 0;
    for (uint32_t d = 0; d < a->layout->count; d++)
        index += (uint64_t)block_coord[d] * a->t.stride[d];
    return interpreter_times(a->thread, a->instruction, index, 1);
}

static enum outcome tensor_element(const struct access *a, uint32_t row, uint32_t column,
                                   uint32_t *index)
{
    coord view_coord, span_coord, block_coord;
    enum outcome outcome = matrix_coord_to_linear(a, row, column, index);
    if (outcome != IN_TENSOR)
        return outcome;
    if (a->view) {
        linear_to_view_coord(a, *index, view_coord);
        *index = view_coord_to_linear(a, view_coord);
    }
    linear_to_span_coord(a, *index, span_coord);
    outcome = span_coord_to_tensor_coord(a, span_coord, block_coord);
    if (outcome == IN_TENSOR)
        *index = tensor_coord_to_linear(a, block_coord);
    return outcome;
}

/* ---- loads and stores ---- */

static uint32_t elements(const struct access *a, const uint32_t *dimensions, uint32_t count)
{
    uint32_t n = 1;
    for (uint32_t d = 0; d < count; d++)
        n = interpreter_times(a->thread, a->instruction, n, dimensions[d]);
    return n;
}

/* What the matrix asks for is as much as the span, and the view's dimensions, hold. */
static void check_access(struct access *a)
{
    uint32_t rows = a->matrix->rows, columns = a->matrix->columns;
    if (a->view) {
        rows = MIN(rows, a->v.clip_row_span);
        columns = MIN(columns, a->v.clip_column_span);
    }
    a->held = elements(a, a->t.span, a->layout->count);
    uint32_t viewed =
        a->view && a->view->has_dimensions ? elements(a, a->v.dimension, a->view->count) : a->held;
    if (viewed != rows * columns || a->held != rows * columns)
        interpreter_fault(a->thread, a->instruction,
                          "a matrix of %u x %u elements, a view of %u and a span of %u", rows,
                          columns, viewed, a->held);
    for (uint32_t d = 0; a->store && d < a->layout->count; d++)
        if (a->t.block_size[d] != 1)
            interpreter_fault(a->thread, a->instruction, "a store of blocks");
}

/* Operands: pointer, object, layout, and a view if there is one. */
static struct access access_of(const struct thread *t, const struct instruction *i)
{
    struct access a = {.thread = t, .instruction = i, .matrix = i->operands[1].type};
    a.layout = i->operands[2].type;
    a.t = interpreter_layout(t, i, 2);
    if (i->operand_count > 3) {
        a.view = i->operands[3].type;
        a.v = interpreter_view(t, i, 3);
    }
    a.store = i->operation->number == OpCooperativeMatrixStoreTensorNV;
    check_access(&a);
    return a;
}

static void check_base(const struct access *a)
{
    enum { ALIGNMENT = 16 };
    const struct thread *t = a->thread;
    const struct instruction *i = a->instruction;
    const uint8_t *base = interpreter_reach(t, i, &i->operands[0], 0, 0, a->store);
    if ((uintptr_t)base % ALIGNMENT != 0)
        interpreter_fault(t, i, "the tensor begins at byte %u, which is no multiple of %d",
                          cells_of(t, i, 0)[1].u, ALIGNMENT);
}

static float number(const uint8_t *bytes, uint32_t size)
{
    union cell cell;
    uint16_t half;
    if (size == sizeof half) {
        memcpy(&half, bytes, sizeof half);
        return half_to_float(half);
    }
    memcpy(&cell, bytes, sizeof cell);
    return cell.f;
}

static void run_load_tensor(struct thread *t, const struct instruction *i)
{
    struct access a = access_of(t, i);
    check_base(&a);
    uint32_t size = i->type->of->width / 8, index;
    union cell *r = result_of(t, i);
    memcpy(r, cells_of(t, i, 1), i->type->cells * sizeof *r); /* for what is skipped */
    float outside = number((const uint8_t *)&a.t.clamp_value, size);
    for (uint32_t k = 0; k < i->count; k++) {
        enum outcome outcome =
            tensor_element(&a, k / i->type->columns, k % i->type->columns, &index);
        if (outcome == CLAMPED)
            r[1 + k].f = outside;
        else if (outcome == IN_TENSOR)
            r[1 + k].f = number(
                interpreter_reach(t, i, &i->operands[0], (uint64_t)index * size, size, false),
                size);
    }
    r[0].u = WRITTEN;
}

static void run_store_tensor(struct thread *t, const struct instruction *i)
{
    struct access a = access_of(t, i);
    check_base(&a);
    const struct type *m = a.matrix;
    const union cell *from = cells_of(t, i, 1);
    uint32_t size = m->of->width / 8, index;
    if (from[0].u != WRITTEN)
        interpreter_fault(t, i, "stores a matrix that was not written");
    for (uint32_t k = 0; k < m->rows * m->columns; k++) {
        if (tensor_element(&a, k / m->columns, k % m->columns, &index) != IN_TENSOR)
            continue;
        uint8_t *to = interpreter_reach(t, i, &i->operands[0], (uint64_t)index * size, size, true);
        uint16_t half = half_from_float(from[1 + k].f);
        memcpy(to, size == sizeof half ? (const void *)&half : &from[1 + k], size);
    }
}

static void check_tensor(const struct interpreter *m, const struct instruction *i)
{
    const struct type *pointer = i->operands[0].type, *matrix = i->operands[1].type;
    const struct type *layout = i->operands[2].type;
    const struct type *view = i->operand_count > 3 ? i->operands[3].type : NULL;
    bool fits = pointer->kind == KIND_POINTER && matrix->kind == KIND_MATRIX &&
                layout->kind == KIND_LAYOUT && (!i->type || i->type == matrix) &&
                (!view || view->kind == KIND_VIEW);
    if (!fits)
        interpreter_refuse(m, "%%%u: a load or store of types that do not fit", i->id);
    if (pointer->storage != STORAGE_BUFFER ||
        (pointer->of->kind != KIND_INT && pointer->of->kind != KIND_FLOAT &&
         pointer->of->kind != KIND_VECTOR))
        interpreter_refuse(m, "%%%u: a tensor that is not an array in a buffer", i->id);
    if (view && !view->has_dimensions && view->count != layout->count)
        interpreter_refuse(m, "%%%u: a view of %u dimensions for a layout of %u", i->id,
                           view->count, layout->count);
    if (!interpreter_declares(m, CapabilityCooperativeMatrixTensorAddressingNV) ||
        !interpreter_declares(m, CapabilityTensorAddressingNV))
        interpreter_refuse(m, "%%%u: tensor addressing without its capabilities", i->id);
}

const struct operation tensor_operations[] = {
    OPERATION(OpCooperativeMatrixLoadTensorNV, "trvvvMV", run_load_tensor, .check = check_tensor),
    OPERATION(OpCooperativeMatrixStoreTensorNV, "vvvMV", run_store_tensor, .check = check_tensor),
    {.name = NULL},
};
