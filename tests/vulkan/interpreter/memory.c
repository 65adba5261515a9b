/*
 * Pointers, loads and stores, and values put together from others. A pointer is two cells: the
 * binding of a buffer (else 0), and where in it: bytes in buffers and push constants, by their
 * decorations; cells in variables.
 */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

void interpreter_unwrite(union cell *cells, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        cells[i].u = UNWRITTEN;
}

static void copy(union cell *to, const union cell *from, const struct type *type)
{
    memcpy(to, from, type->cells * sizeof *to);
}

/* ---- memory of bytes ---- */

uint8_t *interpreter_reach(const struct thread *t, const struct instruction *i,
                           const struct operand *pointer, uint64_t offset, uint32_t bytes,
                           bool write)
{
    const union cell *p = &t->cells[pointer->at];
    bool push = pointer->type->storage == STORAGE_PUSH_CONSTANT;
    const struct interpreter_buffer *b = push ? NULL : &t->dispatch->buffers[p[0].u];
    uint64_t size = push ? t->dispatch->push_bytes : b->bytes, at = p[1].u + offset;
    uint8_t *data = push ? (uint8_t *)(uintptr_t)t->dispatch->push : b->data;
    if (!data)
        interpreter_fault(t, i, "nothing is bound at binding %u", p[0].u);
    if (at + bytes > size)
        interpreter_fault(t, i,
                          "bytes %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
                          " of %s %u, which has %" G_GUINT64_FORMAT,
                          at, at + bytes, push ? "push constants" : "binding", p[0].u, size);
    interpreter_note(t, i, data + at, bytes, write);
    return data + at;
}

/* That one element takes in memory. */
static uint32_t byte_size(const struct thread *t, const struct instruction *i,
                          const struct type *type)
{
    switch (type->kind) {
    case KIND_INT:
        return 4;
    case KIND_FLOAT:
        return type->width / 8;
    case KIND_VECTOR:
        return type->count * byte_size(t, i, type->of);
    case KIND_ARRAY:
        return (type->count - 1) * type->stride + byte_size(t, i, type->of);
    case KIND_STRUCT:
        return type->offsets[type->count - 1] + byte_size(t, i, type->types[type->count - 1]);
    default:
        interpreter_fault(t, i, "a type that is not in memory");
    }
}

static void move_number(const struct type *type, union cell *cell, uint8_t *bytes, bool load)
{
    uint16_t half = 0;
    if (type->width == 16 && load) {
        memcpy(&half, bytes, sizeof half);
        cell->f = half_to_float(half);
    } else if (type->width == 16) {
        half = half_from_float(cell->f);
        memcpy(bytes, &half, sizeof half);
    } else if (load) {
        memcpy(cell, bytes, sizeof *cell);
    } else {
        memcpy(bytes, cell, sizeof *cell);
    }
}

/* Between cells and bytes that were reached. */
static void move(const struct thread *t, const struct instruction *i, const struct type *type,
                 union cell *cells, uint8_t *bytes, bool load)
{
    bool many = type->kind == KIND_VECTOR || type->kind == KIND_ARRAY;
    if (type->kind == KIND_INT || type->kind == KIND_FLOAT)
        move_number(type, cells, bytes, load);
    uint32_t stride = type->kind == KIND_VECTOR ? byte_size(t, i, type->of) : type->stride;
    for (uint32_t k = 0; many && k < type->count; k++)
        move(t, i, type->of, cells + k * type->of->cells, bytes + k * stride, load);
    for (uint32_t k = 0; type->kind == KIND_STRUCT && k < type->count; k++) {
        move(t, i, type->types[k], cells, bytes + type->offsets[k], load);
        cells += type->types[k]->cells;
    }
}

static bool in_bytes(const struct operand *pointer)
{
    return pointer->type->storage == STORAGE_BUFFER ||
           pointer->type->storage == STORAGE_PUSH_CONSTANT;
}

static void run_load(struct thread *t, const struct instruction *i)
{
    const struct operand *p = &i->operands[0];
    if (in_bytes(p))
        move(t, i, i->type, result_of(t, i),
             interpreter_reach(t, i, p, 0, byte_size(t, i, i->type), false), true);
    else
        copy(result_of(t, i), &t->cells[cells_of(t, i, 0)[1].u], i->type);
}

static void run_store(struct thread *t, const struct instruction *i)
{
    const struct operand *p = &i->operands[0];
    const struct type *type = i->operands[1].type;
    union cell *from = &t->cells[i->operands[1].at];
    if (p->type->storage == STORAGE_BUFFER)
        move(t, i, type, from, interpreter_reach(t, i, p, 0, byte_size(t, i, type), true), false);
    else
        copy(&t->cells[cells_of(t, i, 0)[1].u], from, type);
}

static void check_pointer(const struct interpreter *m, const struct instruction *i)
{
    const struct type *p = i->operands[0].type;
    bool store = i->operation->number == OpStore;
    if (p->kind != KIND_POINTER || p->of != (store ? i->operands[1].type : i->type))
        interpreter_refuse(m, "%s %%%u of another type", i->operation->name, i->id);
    if (store && (p->storage == STORAGE_PUSH_CONSTANT || p->storage == STORAGE_INPUT))
        interpreter_refuse(m, "a store to what is only read");
}

/* A variable of a function begins unwritten at each call. */
static void run_variable(struct thread *t, const struct instruction *i)
{
    union cell *pointer = result_of(t, i);
    uint32_t at = i->result + i->type->cells;
    pointer[0].u = 0;
    pointer[1].u = at;
    if (i->operand_count)
        copy(&t->cells[at], cells_of(t, i, 0), i->type->of);
    else
        interpreter_unwrite(&t->cells[at], i->type->of->cells);
}

static void check_variable(const struct interpreter *m, const struct instruction *i)
{
    if (i->type->storage != STORAGE_FUNCTION)
        interpreter_refuse(m, "variable %%%u of a function is elsewhere", i->id);
}

/* ---- steps into a type ---- */

/* One step: the type there, and how far it is, in bytes or cells. */
static const struct type *step(const struct thread *t, const struct instruction *i,
                               const struct type *type, int32_t index, bool bytes, int64_t *at)
{
    bool sized = type->kind == KIND_VECTOR || type->kind == KIND_ARRAY || type->kind == KIND_STRUCT;
    if (!sized && type->kind != KIND_RUNTIME_ARRAY)
        interpreter_fault(t, i, "a step into what has no parts");
    if (index < 0 || (sized && (uint32_t)index >= type->count))
        interpreter_fault(t, i, "index %d of %u", index, type->count);
    if (type->kind == KIND_STRUCT) {
        for (int32_t k = 0; k < index && !bytes; k++)
            *at += type->types[k]->cells;
        *at += bytes ? type->offsets[index] : 0;
        return type->types[index];
    }
    uint32_t stride = !bytes                      ? type->of->cells
                      : type->kind == KIND_VECTOR ? byte_size(t, i, type->of)
                                                  : type->stride;
    if (bytes && stride == 0)
        interpreter_fault(t, i, "an array without a stride");
    *at += (int64_t)index * stride;
    return type->of;
}

static void run_access_chain(struct thread *t, const struct instruction *i)
{
    const struct operand *base = &i->operands[0];
    const struct type *type = base->type->of;
    const union cell *from = cells_of(t, i, 0);
    int64_t at = from[1].u;
    for (uint32_t k = 1; k < i->operand_count; k++)
        type = step(t, i, type, cells_of(t, i, k)->i, in_bytes(base), &at);
    if (at > UINT32_MAX || type != i->type->of)
        interpreter_fault(t, i, "ends nowhere, or at another type");
    union cell *to = result_of(t, i);
    to[0] = from[0];
    to[1].u = (uint32_t)at;
}

/* Of a runtime array that is the last member of a bound block. */
static void run_array_length(struct thread *t, const struct instruction *i)
{
    const struct type *block = i->operands[0].type->of;
    uint32_t member = i->operands[1].at;
    const struct interpreter_buffer *b = &t->dispatch->buffers[cells_of(t, i, 0)->u];
    size_t room = b->bytes - MIN(b->bytes, block->offsets[member]);
    result_of(t, i)->u = (uint32_t)(room / block->types[member]->stride);
}

static uint32_t run_steps(const struct thread *t, const struct instruction *i, uint32_t first,
                          const struct type **type)
{
    int64_t at = 0;
    for (uint32_t k = first; k < i->operand_count; k++)
        *type = step(t, i, *type, (int32_t)i->operands[k].at, false, &at);
    return (uint32_t)at;
}

static void run_extract(struct thread *t, const struct instruction *i)
{
    const struct type *type = i->operands[0].type;
    uint32_t at = run_steps(t, i, 1, &type);
    copy(result_of(t, i), cells_of(t, i, 0) + at, type);
}

static void run_insert(struct thread *t, const struct instruction *i)
{
    const struct type *type = i->operands[1].type;
    uint32_t at = run_steps(t, i, 2, &type);
    copy(result_of(t, i), cells_of(t, i, 1), i->type);
    copy(result_of(t, i) + at, cells_of(t, i, 0), type);
}

static void run_extract_dynamic(struct thread *t, const struct instruction *i)
{
    int64_t at = 0;
    step(t, i, i->operands[0].type, cells_of(t, i, 1)->i, false, &at);
    *result_of(t, i) = cells_of(t, i, 0)[at];
}

static void run_insert_dynamic(struct thread *t, const struct instruction *i)
{
    int64_t at = 0;
    step(t, i, i->type, cells_of(t, i, 2)->i, false, &at);
    copy(result_of(t, i), cells_of(t, i, 0), i->type);
    result_of(t, i)[at] = *cells_of(t, i, 1);
}

static void run_shuffle(struct thread *t, const struct instruction *i)
{
    uint32_t first = i->operands[0].type->count;
    for (uint32_t k = 2; k < i->operand_count; k++) {
        uint32_t from = i->operands[k].at;
        if (from < first + i->operands[1].type->count)
            result_of(t, i)[k - 2] =
                from < first ? cells_of(t, i, 0)[from] : cells_of(t, i, 1)[from - first];
        else
            interpreter_unwrite(&result_of(t, i)[k - 2], 1);
    }
}

/* Parts one after the other; a matrix is filled with one. */
static void run_construct(struct thread *t, const struct instruction *i)
{
    union cell *to = result_of(t, i);
    if (i->type->kind == KIND_MATRIX) {
        to[0].u = WRITTEN;
        for (uint32_t k = 0; k < i->count; k++)
            to[1 + k] = *cells_of(t, i, 0);
        return;
    }
    for (uint32_t k = 0; k < i->operand_count; k++) {
        copy(to, cells_of(t, i, k), i->operands[k].type);
        to += i->operands[k].type->cells;
    }
}

static void check_construct(const struct interpreter *m, const struct instruction *i)
{
    uint32_t cells = 0;
    for (uint32_t k = 0; k < i->operand_count; k++)
        cells += i->operands[k].type->cells;
    bool matrix = i->type->kind == KIND_MATRIX;
    if (matrix ? i->operand_count != 1 || i->operands[0].type != i->type->of
               : cells != i->type->cells)
        interpreter_refuse(m, "%%%u is not made of what it is made of", i->id);
}

static void run_copy(struct thread *t, const struct instruction *i)
{
    copy(result_of(t, i), cells_of(t, i, 0), i->type);
}

static void check_copy(const struct interpreter *m, const struct instruction *i)
{
    if (i->operands[0].type->cells != i->type->cells)
        interpreter_refuse(m, "%%%u is copied from another type", i->id);
}

static void run_undefined(struct thread *t, const struct instruction *i)
{
    interpreter_unwrite(result_of(t, i), i->type->cells);
}

const struct operation memory_operations[] = {
    OPERATION(OpUndef, "tr", run_undefined),
    OPERATION(OpVariable, "trsv*", run_variable, .check = check_variable),
    OPERATION(OpLoad, "trvM", run_load, .check = check_pointer),
    OPERATION(OpStore, "vvM", run_store, .check = check_pointer),
    OPERATION(OpAccessChain, "trvv*", run_access_chain),
    OPERATION(OpInBoundsAccessChain, "trvv*", run_access_chain),
    OPERATION(OpArrayLength, "trvl", run_array_length),
    OPERATION(OpCompositeConstruct, "trv*", run_construct, .check = check_construct),
    OPERATION(OpCompositeExtract, "trvl*", run_extract),
    OPERATION(OpCompositeInsert, "trvvl*", run_insert),
    OPERATION(OpVectorExtractDynamic, "trvv", run_extract_dynamic),
    OPERATION(OpVectorInsertDynamic, "trvvv", run_insert_dynamic),
    OPERATION(OpVectorShuffle, "trvvl*", run_shuffle),
    OPERATION(OpCopyObject, "trv", run_copy, .check = check_copy),
    OPERATION(OpCopyLogical, "trv", run_copy, .check = check_copy),
    {.name = NULL},
};
