/* What a module declares outside of its functions: types, constants, what is bound. */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

static struct type *add_type(struct interpreter *m, const uint32_t *w, enum kind kind,
                             uint32_t cells)
{
    struct type *t = g_new0(struct type, 1);
    t->kind = kind;
    t->cells = cells;
    g_ptr_array_add(m->types, t);
    interpreter_define(m, w[1], t, 0, w[0] & 0xffff);
    return t;
}

static union cell constant(const struct interpreter *m, uint32_t id)
{
    const struct value *v = id < m->bound ? &m->values[id] : NULL;
    if (!v || v->operation < OpConstantTrue || v->operation > OpSpecConstantOp)
        interpreter_refuse(m, "%%%u is not a constant", id);
    return g_array_index(m->image, union cell, v->at);
}

static bool decoration(const struct interpreter *m, uint32_t id, uint32_t member, uint32_t kind,
                       uint32_t *value)
{
    for (guint i = 0; i < m->decorations->len; i++) {
        const struct decoration *d = &g_array_index(m->decorations, struct decoration, i);
        if (d->id == id && d->member == member && d->kind == kind) {
            *value = d->value;
            return true;
        }
    }
    return false;
}

/* ---- types ---- */

static void type_number(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    bool is_float = (w[0] & 0xffff) == OpTypeFloat;
    if (count < 3 || !(w[2] == 32 || (is_float && w[2] == 16)) || (is_float && count > 3))
        interpreter_refuse(m, "numbers of %u bits are not known", w[2]);
    add_type(m, w, is_float ? KIND_FLOAT : KIND_INT, 1)->width = w[2];
}

static void type_vector(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    struct type *t = add_type(m, w, KIND_VECTOR, w[3]);
    t->of = interpreter_type(m, w[2]);
    t->count = w[3];
}

static void type_array(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    bool sized = (w[0] & 0xffff) == OpTypeArray;
    const struct type *of = interpreter_type(m, w[2]);
    uint32_t elements = sized ? constant(m, w[3]).u : 0;
    struct type *t = add_type(m, w, sized ? KIND_ARRAY : KIND_RUNTIME_ARRAY, elements * of->cells);
    t->of = of;
    t->count = elements;
    decoration(m, w[1], UINT32_MAX, DecorationArrayStride, &t->stride);
}

static void type_struct(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    struct type *t = add_type(m, w, KIND_STRUCT, 0);
    t->count = count - 2;
    t->types = g_new0(const struct type *, t->count + 1);
    t->offsets = g_new0(uint32_t, t->count + 1);
    for (uint32_t i = 0; i < t->count; i++) {
        t->types[i] = interpreter_type(m, w[2 + i]);
        t->cells += t->types[i]->cells;
        if (!decoration(m, w[1], i, DecorationOffset, &t->offsets[i]))
            t->offsets[i] = UINT32_MAX;
    }
}

static void type_pointer(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    struct type *t = add_type(m, w, KIND_POINTER, 2);
    t->storage = (enum storage)w[2];
    t->of = interpreter_type(m, w[3]);
}

static void type_function(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    struct type *t = add_type(m, w, KIND_FUNCTION, 0);
    t->of = interpreter_type(m, w[2]);
    t->count = count - 3;
}

static void type_matrix(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    enum { WORKGROUP = 2 };
    const struct type *of = interpreter_type(m, w[2]);
    uint32_t rows = constant(m, w[4]).u, columns = constant(m, w[5]).u, use = constant(m, w[6]).u;
    if (of->kind != KIND_FLOAT || constant(m, w[3]).u != WORKGROUP || use > MATRIX_ACCUMULATOR ||
        !rows || !columns || rows > 4096 || columns > 4096)
        interpreter_refuse(m, "matrix %%%u is not of floats and of a workgroup's scope", w[1]);
    struct type *t = add_type(m, w, KIND_MATRIX, 1 + rows * columns);
    t->of = of;
    t->rows = rows;
    t->columns = columns;
    t->use = (enum matrix_use)use;
    struct interpreter_matrix matrix = {rows, columns, use, of->width};
    g_array_append_val(m->matrices, matrix);
}

static uint32_t dimensions(const struct interpreter *m, uint32_t id)
{
    uint32_t n = constant(m, id).u;
    if (n < 1 || n > MAX_DIMENSIONS)
        interpreter_refuse(m, "a tensor of %u dimensions", n);
    return n;
}

static void type_layout(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    enum { REPEAT_MIRRORED = 4 };
    struct type *t = add_type(m, w, KIND_LAYOUT, sizeof(struct tensor_layout) / sizeof(union cell));
    t->count = dimensions(m, w[2]);
    t->clamp = constant(m, w[3]).u;
    if (t->clamp > REPEAT_MIRRORED)
        interpreter_refuse(m, "clamp mode %u is not known", t->clamp);
}

static void type_view(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    struct type *t = add_type(m, w, KIND_VIEW, sizeof(struct tensor_view) / sizeof(union cell));
    t->count = dimensions(m, w[2]);
    t->has_dimensions = constant(m, w[3]).u;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < t->count && 4 + i < count; i++) {
        t->permutation[i] = constant(m, w[4 + i]).u;
        seen |= t->permutation[i] < t->count ? 1u << t->permutation[i] : 0;
    }
    if (count != 4 + t->count || seen != (1u << t->count) - 1)
        interpreter_refuse(m, "view %%%u has no valid permutation", w[1]);
}

/* ---- constants ---- */

static void add_constant(struct interpreter *m, const uint32_t *w, const struct type *type)
{
    interpreter_define(m, w[2], type, interpreter_cells(m, type->cells), w[0] & 0xffff);
}

static union cell *image_of(struct interpreter *m, uint32_t id)
{
    return &g_array_index(m->image, union cell, m->values[id].at);
}

static uint32_t specialized(const struct interpreter *m, uint32_t id, uint32_t value)
{
    uint32_t spec = 0;
    if (decoration(m, id, UINT32_MAX, DecorationSpecId, &spec))
        for (size_t i = 0; i < m->constant_count; i++)
            if (m->constants[i].id == spec)
                return m->constants[i].value;
    return value;
}

static void constant_bool(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    uint32_t op = w[0] & 0xffff;
    add_constant(m, w, interpreter_type(m, w[1]));
    image_of(m, w[2])->u = specialized(m, w[2], op == OpConstantTrue || op == OpSpecConstantTrue);
}

static void constant_number(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    const struct type *t = interpreter_type(m, w[1]);
    if (count != 4)
        interpreter_refuse(m, "constant %%%u is no number of one word", w[2]);
    add_constant(m, w, t);
    union cell *c = image_of(m, w[2]);
    c->u = specialized(m, w[2], w[3]);
    if (t->kind == KIND_FLOAT && t->width == 16)
        c->f = half_to_float((uint16_t)c->u);
}

static void constant_null(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    const struct type *t = interpreter_type(m, w[1]);
    add_constant(m, w, t);
    memset(image_of(m, w[2]), 0, t->cells * sizeof(union cell));
    if (t->kind == KIND_MATRIX)
        image_of(m, w[2])->u = WRITTEN;
}

static void undefined(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    add_constant(m, w, interpreter_type(m, w[1]));
}

static void run_now(struct interpreter *m, const struct operation *o, const uint32_t *w,
                    const uint32_t *operands, uint32_t count)
{
    struct instruction i = {.run = o->run, .operation = o, .type = interpreter_type(m, w[1])};
    struct thread t = {.m = m};
    add_constant(m, w, i.type);
    i.id = w[2];
    i.result = m->values[w[2]].at;
    interpreter_decode_operands(m, &i, operands, count);
    t.cells = (union cell *)(void *)m->image->data;
    i.run(&t, &i);
}

static void constant_composite(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    run_now(m, interpreter_operation(OpCompositeConstruct), w, w + 3, count - 3);
}

static void constant_operation(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    const struct operation *o = count > 4 ? interpreter_operation(w[3]) : NULL;
    if (!o || !g_str_has_prefix(o->form, "trv"))
        interpreter_refuse(m, "%%%u is no constant that is known", w[2]);
    run_now(m, o, w, w + 4, count - 4);
}

/* ---- what is bound ---- */

static uint32_t input(struct interpreter *m, uint32_t id, const struct type *of)
{
    uint32_t built_in = UINT32_MAX, at = interpreter_cells(m, of->cells);
    decoration(m, id, UINT32_MAX, DecorationBuiltIn, &built_in);
    if (built_in == BuiltInWorkgroupId)
        m->group_at = at;
    else if (built_in == BuiltInNumWorkgroups)
        m->groups_at = at;
    else
        interpreter_refuse(m, "built-in %u differs between invocations, or is not known", built_in);
    return at;
}

static uint32_t bound_at(struct interpreter *m, uint32_t id)
{
    uint32_t set = UINT32_MAX, binding = UINT32_MAX;
    decoration(m, id, UINT32_MAX, DecorationDescriptorSet, &set);
    decoration(m, id, UINT32_MAX, DecorationBinding, &binding);
    if (set != 0 || binding >= INTERPRETER_BINDINGS)
        interpreter_refuse(m, "buffer %%%u is not in set 0, or at binding %u", id, binding);
    m->writable[binding] |= !decoration(m, id, UINT32_MAX, DecorationNonWritable, &set);
    return binding;
}

static void variable(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    const struct type *t = interpreter_type(m, w[1]);
    add_constant(m, w, t);
    union cell pointer[2] = {{0}, {0}};
    if (w[3] == STORAGE_INPUT)
        pointer[1].u = input(m, w[2], t->of);
    else if (w[3] == STORAGE_PRIVATE)
        pointer[1].u = interpreter_cells(m, t->of->cells);
    else if (w[3] == STORAGE_BUFFER)
        pointer[0].u = bound_at(m, w[2]);
    else if (w[3] != STORAGE_PUSH_CONSTANT)
        interpreter_refuse(m, "variable %%%u is in storage class %u, which is not known", w[2],
                           w[3]);
    if (w[3] == STORAGE_PRIVATE && count > 4)
        memcpy(&g_array_index(m->image, union cell, pointer[1].u), image_of(m, w[4]),
               t->of->cells * sizeof(union cell));
    memcpy(image_of(m, w[2]), pointer, sizeof pointer);
}

/* ---- the rest ---- */

static void skip(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)m;
    (void)w;
    (void)count;
}

static void capability(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    static const uint32_t known[] = {CapabilityShader,
                                     CapabilityFloat16,
                                     CapabilityStorageBuffer16BitAccess,
                                     CapabilityStorageUniform16,
                                     CapabilityVulkanMemoryModel,
                                     CapabilityVulkanMemoryModelDeviceScope,
                                     CapabilityCooperativeMatrixConversionsNV,
                                     CapabilityCooperativeMatrixReductionsNV,
                                     CapabilityCooperativeMatrixPerElementOperationsNV,
                                     CapabilityCooperativeMatrixTensorAddressingNV,
                                     CapabilityTensorAddressingNV,
                                     CapabilityCooperativeMatrixKHR};
    (void)count;
    bool found = false;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        found |= known[i] == w[1];
    if (!found)
        interpreter_refuse(m, "capability %u is not known", w[1]);
    g_array_append_val(m->capabilities, w[1]);
}

static void import(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    if (strcmp((const char *)&w[2], "GLSL.std.450") != 0)
        interpreter_refuse(m, "“%s” is not known", (const char *)&w[2]);
}

static void entry_point(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    enum { COMPUTE = 5 };
    (void)count;
    if (w[1] == COMPUTE && strcmp((const char *)&w[3], m->entry) == 0)
        m->entry_id = w[2];
}

static void execution_mode(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    if (w[1] != m->entry_id || count != 6)
        return;
    if (w[2] == ExecutionModeLocalSize)
        memcpy(m->size, &w[3], sizeof m->size);
    else if (w[2] == ExecutionModeLocalSizeId)
        memcpy(m->size_ids, &w[3], sizeof m->size_ids);
}

static void decorate(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    bool member = (w[0] & 0xffff) == OpMemberDecorate;
    const uint32_t *rest = w + 2 + member;
    bool has_value = count > 3u + member;
    struct decoration d = {w[1], member ? w[2] : UINT32_MAX, rest[0], has_value ? rest[1] : 0};
    g_array_append_val(m->decorations, d);
}

static void type_void(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    add_type(m, w, KIND_VOID, 0);
}

static void type_bool(struct interpreter *m, const uint32_t *w, uint32_t count)
{
    (void)count;
    add_type(m, w, KIND_BOOL, 1);
}

bool interpreter_declare(struct interpreter *m, const uint32_t *words, uint32_t count)
{
    static const struct {
        uint32_t number, words; /* words: at least */
        void (*declare)(struct interpreter *m, const uint32_t *w, uint32_t count);
    } declarations[] = {
        {OpUndef, 3, undefined},
        {OpSource, 1, skip},
        {OpSourceExtension, 1, skip},
        {OpName, 1, skip},
        {OpMemberName, 1, skip},
        {OpString, 1, skip},
        {OpModuleProcessed, 1, skip},
        {OpExtension, 1, skip},
        {OpMemoryModel, 3, skip},
        {OpExtInstImport, 3, import},
        {OpEntryPoint, 4, entry_point},
        {OpExecutionMode, 3, execution_mode},
        {OpExecutionModeId, 3, execution_mode},
        {OpCapability, 2, capability},
        {OpDecorate, 3, decorate},
        {OpMemberDecorate, 4, decorate},
        {OpTypeVoid, 2, type_void},
        {OpTypeBool, 2, type_bool},
        {OpTypeInt, 4, type_number},
        {OpTypeFloat, 3, type_number},
        {OpTypeVector, 4, type_vector},
        {OpTypeArray, 4, type_array},
        {OpTypeRuntimeArray, 3, type_array},
        {OpTypeStruct, 2, type_struct},
        {OpTypePointer, 4, type_pointer},
        {OpTypeFunction, 3, type_function},
        {OpTypeCooperativeMatrixKHR, 7, type_matrix},
        {OpTypeTensorLayoutNV, 4, type_layout},
        {OpTypeTensorViewNV, 4, type_view},
        {OpConstantTrue, 3, constant_bool},
        {OpConstantFalse, 3, constant_bool},
        {OpSpecConstantTrue, 3, constant_bool},
        {OpSpecConstantFalse, 3, constant_bool},
        {OpConstant, 4, constant_number},
        {OpSpecConstant, 4, constant_number},
        {OpConstantNull, 3, constant_null},
        {OpConstantComposite, 3, constant_composite},
        {OpSpecConstantComposite, 3, constant_composite},
        {OpSpecConstantOp, 4, constant_operation},
        {OpVariable, 4, variable},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(declarations); i++) {
        if (declarations[i].number != (words[0] & 0xffff))
            continue;
        if (count < declarations[i].words)
            interpreter_refuse(m, "declaration %u is cut off", words[0] & 0xffff);
        declarations[i].declare(m, words, count);
        return true;
    }
    return false;
}
