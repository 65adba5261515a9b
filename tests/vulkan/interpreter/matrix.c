/*
 * Cooperative matrices of a workgroup: rows x columns floats, row by row, after a cell that tells
 * whether they were written. A product multiplies 16-bit floats and sums in 32 bits, as the kernels
 * ask of the device.
 */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

static const union cell *matrix(const struct thread *t, const struct instruction *i,
                                uint32_t operand)
{
    const union cell *cells = cells_of(t, i, operand);
    if (cells[0].u != WRITTEN)
        interpreter_fault(t, i, "reads a matrix that was not written");
    return cells + 1;
}

static bool same_shape(const struct type *a, const struct type *b)
{
    return a->kind == KIND_MATRIX && b->kind == KIND_MATRIX && a->rows == b->rows &&
           a->columns == b->columns;
}

/* ---- element by element ---- */

/* Decoded so that results and operands are the elements: the cell before tells of writing. */
void interpreter_run_elements(struct thread *t, const struct instruction *i)
{
    for (uint32_t k = 0; k < i->operand_count; k++)
        if (t->cells[i->operands[k].at - 1].u != WRITTEN)
            interpreter_fault(t, i, "reads a matrix that was not written");
    i->elements(t, i);
    t->cells[i->result - 1].u = WRITTEN;
}

static void run_times_scalar(struct thread *t, const struct instruction *i)
{
    const union cell *a = matrix(t, i, 0);
    float factor = cells_of(t, i, 1)->f;
    union cell *r = result_of(t, i);
    for (uint32_t k = 0; k < i->count; k++)
        r[1 + k].f = i->half ? interpreter_half(a[k].f * factor) : a[k].f * factor;
    r[0].u = WRITTEN;
}

static void check_times_scalar(const struct interpreter *m, const struct instruction *i)
{
    if (i->type->kind != KIND_MATRIX || i->operands[0].type != i->type ||
        i->operands[1].type != i->type->of)
        interpreter_refuse(m, "%%%u: types that do not fit", i->id);
}

/* Between component types; an accumulator may become an A or a B. */
void interpreter_check_conversion(const struct interpreter *m, const struct instruction *i)
{
    const struct type *from = i->operands[0].type, *to = i->type;
    if (from->kind != KIND_MATRIX && to->kind != KIND_MATRIX)
        return;
    if (!same_shape(from, to) || (from->use != to->use && from->use != MATRIX_ACCUMULATOR))
        interpreter_refuse(m, "%%%u: a conversion between matrices that do not fit", i->id);
    if (from->use != to->use && !interpreter_declares(m, CapabilityCooperativeMatrixConversionsNV))
        interpreter_refuse(m, "%%%u: a conversion of use without its capability", i->id);
}

static void run_convert(struct thread *t, const struct instruction *i)
{
    memcpy(result_of(t, i) + 1, matrix(t, i, 0), i->count * sizeof(union cell));
    result_of(t, i)->u = WRITTEN;
}

static void check_convert(const struct interpreter *m, const struct instruction *i)
{
    const struct type *from = i->operands[0].type;
    interpreter_check_conversion(m, i);
    if (i->type->kind != KIND_MATRIX || from->of != i->type->of || from->use == i->type->use)
        interpreter_refuse(m, "%%%u: no conversion of use", i->id);
}

/* Row, column, element, and what else was given: the same element of matrices, or the value. */
static void run_per_element(struct thread *t, const struct instruction *i)
{
    const struct function *f = &g_array_index(t->m->functions, struct function, i->operands[1].at);
    const struct operand *to = (const struct operand *)(void *)f->parameters->data;
    const union cell *from = matrix(t, i, 0);
    union cell *cells = t->cells, *r = result_of(t, i);
    for (uint32_t k = 2; k < i->operand_count; k++)
        if (i->operands[k].type->kind != KIND_MATRIX)
            memcpy(&cells[to[k + 1].at], cells_of(t, i, k),
                   to[k + 1].type->cells * sizeof(union cell));
    for (uint32_t e = 0; e < i->count; e++) {
        cells[to[0].at].u = e / i->type->columns;
        cells[to[1].at].u = e % i->type->columns;
        cells[to[2].at] = from[e];
        for (uint32_t k = 2; k < i->operand_count; k++)
            if (i->operands[k].type->kind == KIND_MATRIX)
                cells[to[k + 1].at] = matrix(t, i, k)[e];
        interpreter_call(t, f);
        r[1 + e] = *t->value;
    }
    r[0].u = WRITTEN;
}

static void check_per_element(const struct interpreter *m, const struct instruction *i)
{
    const struct function *f = &g_array_index(m->functions, struct function, i->operands[1].at);
    const struct type *of = i->type->of;
    bool fits = i->type->kind == KIND_MATRIX && i->operands[0].type == i->type &&
                f->type->of == of && f->parameters->len == i->operand_count + 1;
    for (guint k = 0; fits && k < f->parameters->len; k++) {
        const struct type *to = g_array_index(f->parameters, struct operand, k).type;
        const struct type *from = k < 3 ? NULL : i->operands[k - 1].type;
        if (k < 2)
            fits = to->kind == KIND_INT;
        else if (k == 2 || from->kind == KIND_MATRIX)
            fits = to == of && (k == 2 || from == i->type);
        else
            fits = to == from;
    }
    if (!fits)
        interpreter_refuse(m, "%%%u does not fit the function that it calls", i->id);
    if (!interpreter_declares(m, CapabilityCooperativeMatrixPerElementOperationsNV))
        interpreter_refuse(m, "%%%u: an operation on elements without its capability", i->id);
}

/* ---- rows ---- */

enum { REDUCE_ROW = 1 };

/* Combines a row's elements from the left; all of the result's row are what it gives. */
static void run_reduce(struct thread *t, const struct instruction *i)
{
    const struct function *f = &g_array_index(t->m->functions, struct function, i->operands[2].at);
    const struct operand *to = (const struct operand *)(void *)f->parameters->data;
    const struct type *from = i->operands[0].type;
    const union cell *elements = matrix(t, i, 0);
    union cell *r = result_of(t, i);
    g_autofree union cell *combined = g_new(union cell, from->rows);
    for (uint32_t row = 0; row < from->rows; row++) {
        combined[row] = elements[row * from->columns];
        for (uint32_t k = 1; k < from->columns; k++) {
            t->cells[to[0].at] = combined[row];
            t->cells[to[1].at] = elements[row * from->columns + k];
            interpreter_call(t, f);
            combined[row] = *t->value;
        }
    }
    for (uint32_t e = 0; e < i->count; e++)
        r[1 + e] = combined[e / i->type->columns];
    r[0].u = WRITTEN;
}

static void check_reduce(const struct interpreter *m, const struct instruction *i)
{
    const struct function *f = &g_array_index(m->functions, struct function, i->operands[2].at);
    const struct type *from = i->operands[0].type, *to = i->type;
    bool fits = from->kind == KIND_MATRIX && to->kind == KIND_MATRIX && from->of == to->of &&
                from->rows == to->rows && from->use == MATRIX_ACCUMULATOR &&
                to->use == MATRIX_ACCUMULATOR && f->type->of == to->of && f->parameters->len == 2;
    for (guint k = 0; fits && k < 2; k++)
        fits = g_array_index(f->parameters, struct operand, k).type == to->of;
    if (!fits)
        interpreter_refuse(m, "%%%u: a reduction that does not fit its matrix or function", i->id);
    if (i->operands[1].at != REDUCE_ROW)
        interpreter_refuse(m, "%%%u: a reduction that is not of rows", i->id);
    if (!interpreter_declares(m, CapabilityCooperativeMatrixReductionsNV))
        interpreter_refuse(m, "%%%u: a reduction without its capability", i->id);
}

/* ---- products ---- */

/* r += a b, a row of r at a time. */
static void multiply(float *restrict r, const float *restrict a, const float *restrict b,
                     uint32_t rows, uint32_t columns, uint32_t depth)
{
    for (uint32_t m = 0; m < rows; m++)
        for (uint32_t k = 0; k < depth; k++) {
            const float factor = a[m * depth + k];
            for (uint32_t n = 0; n < columns; n++)
                r[m * columns + n] += factor * b[k * columns + n];
        }
}

static void run_multiply(struct thread *t, const struct instruction *i)
{
    const union cell *a = matrix(t, i, 0), *b = matrix(t, i, 1), *c = matrix(t, i, 2);
    union cell *r = result_of(t, i);
    memcpy(r + 1, c, i->count * sizeof *r);
    multiply(&r[1].f, &a->f, &b->f, i->type->rows, i->type->columns, i->operands[0].type->columns);
    r[0].u = WRITTEN;
}

static void check_multiply(const struct interpreter *m, const struct instruction *i)
{
    const struct type *a = i->operands[0].type, *b = i->operands[1].type, *c = i->type;
    bool fits = a->kind == KIND_MATRIX && b->kind == KIND_MATRIX && c->kind == KIND_MATRIX &&
                i->operands[2].type == c && a->use == MATRIX_A && b->use == MATRIX_B &&
                c->use == MATRIX_ACCUMULATOR && a->rows == c->rows && b->columns == c->columns &&
                a->columns == b->rows;
    if (!fits || a->of->width != 16 || b->of->width != 16 || c->of->width != 32)
        interpreter_refuse(m, "%%%u: a product of matrices that do not fit", i->id);
    if (i->operand_count > 3 && i->operands[3].at != 0)
        interpreter_refuse(m, "%%%u: a product with operands %u", i->id, i->operands[3].at);
    struct interpreter_product p = {c->rows, c->columns, a->columns};
    g_array_append_val(m->products, p);
}

const struct operation matrix_operations[] = {
    OPERATION(OpMatrixTimesScalar, "trvv", run_times_scalar, .check = check_times_scalar),
    OPERATION(OpCooperativeMatrixConvertNV, "trv", run_convert, .check = check_convert),
    OPERATION(OpCooperativeMatrixPerElementOpNV, "trvfv*", run_per_element,
              .check = check_per_element),
    OPERATION(OpCooperativeMatrixReduceNV, "trvlf", run_reduce, .check = check_reduce),
    OPERATION(OpCooperativeMatrixMulAddKHR, "trvvvl*", run_multiply, .check = check_multiply),
    {.name = NULL},
};
