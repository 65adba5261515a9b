/* From words to instructions whose operands are places of cells. */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

#define MAGIC 0x07230203u
#define HEADER_WORDS 5

void interpreter_refuse(const struct interpreter *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_error("SPIR-V module of “%s”: %s", m->entry, text);
}

const struct type *interpreter_type(const struct interpreter *m, uint32_t id)
{
    const struct value *v = id < m->bound ? &m->values[id] : NULL;
    if (!v || v->operation < OpTypeVoid || !v->type)
        interpreter_refuse(m, "%%%u is not a type", id);
    return v->type;
}

/* Places for `count` cells; while there are no functions yet, part of the image. */
uint32_t interpreter_cells(struct interpreter *m, uint32_t count)
{
    uint32_t at = m->cells;
    m->cells += count;
    if (m->functions->len == 0) {
        g_array_set_size(m->image, m->cells);
        interpreter_unwrite(&g_array_index(m->image, union cell, at), count);
    }
    return at;
}

void interpreter_define(struct interpreter *m, uint32_t id, const struct type *type, uint32_t at,
                        uint32_t operation)
{
    if (id >= m->bound || m->values[id].operation)
        interpreter_refuse(m, "%%%u is defined twice or out of bounds", id);
    m->values[id] = (struct value){type, at, operation};
}

const struct operation *interpreter_operation(uint32_t number)
{
    static const struct operation *const tables[] = {control_operations,    memory_operations,
                                                     arithmetic_operations, matrix_operations,
                                                     layout_operations,     tensor_operations};
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
        for (const struct operation *o = tables[i]; o->name; o++)
            if (o->number == number)
                return o;
    return NULL;
}

/* What has no meaning where nothing runs at the same time. */
static bool ignored(uint32_t number)
{
    return number == OpNop || number == OpLine || number == OpNoLine || number == OpLoopMerge ||
           number == OpSelectionMerge || number == OpControlBarrier || number == OpMemoryBarrier;
}

/* ---- operands ---- */

struct reader {
    struct interpreter *m;
    const struct operation *operation;
    const uint32_t *words;
    uint32_t count, at;
    GArray *operands;
};

static uint32_t take(struct reader *r)
{
    if (r->at >= r->count)
        interpreter_refuse(r->m, "%s lacks an operand", r->operation->name);
    return r->words[r->at++];
}

static void literal(struct reader *r, uint32_t value)
{
    struct operand o = {value, NULL};
    g_array_append_val(r->operands, o);
}

static void value(struct reader *r)
{
    uint32_t id = take(r);
    const struct value *v = id < r->m->bound ? &r->m->values[id] : NULL;
    if (!v || !v->operation || !v->type || v->operation == OpFunction ||
        (v->operation >= OpTypeVoid && v->operation <= OpTypeFunction))
        interpreter_refuse(r->m, "%s reads %%%u, which is no value", r->operation->name, id);
    struct operand o = {v->at, v->type};
    g_array_append_val(r->operands, o);
}

static void place(struct reader *r, uint32_t operation)
{
    uint32_t id = take(r);
    if (id >= r->m->bound || r->m->values[id].operation != operation)
        interpreter_refuse(r->m, "%s goes to %%%u, which is no such place", r->operation->name, id);
    literal(r, r->m->values[id].at);
}

/* A mask of how memory is accessed, and what its bits bring along: an alignment, two scopes. */
static void memory_operands(struct reader *r)
{
    enum { ALIGNED = 2, AVAILABLE = 8, VISIBLE = 16 };
    if (r->at >= r->count)
        return;
    uint32_t mask = take(r);
    for (uint32_t bit = ALIGNED; bit <= VISIBLE; bit <<= 1)
        if (mask & bit & (ALIGNED | AVAILABLE | VISIBLE))
            take(r);
}

static void view(struct reader *r)
{
    uint32_t mask = take(r);
    if (mask > 1)
        interpreter_refuse(r->m, "%s decodes blocks, which is not known", r->operation->name);
    if (mask)
        value(r);
}

static void operand(struct reader *r, char form)
{
    switch (form) {
    case 's':
        take(r);
        break;
    case 'l':
        literal(r, take(r));
        break;
    case 'v':
        value(r);
        break;
    case 'b':
        place(r, OpLabel);
        break;
    case 'f':
        place(r, OpFunction);
        break;
    case 'p':
        literal(r, take(r));
        place(r, OpLabel);
        break;
    case 'q':
        value(r);
        place(r, OpLabel);
        break;
    case 'M':
        memory_operands(r);
        break;
    case 'V':
        view(r);
        break;
    default:
        g_assert_not_reached();
    }
}

/* Component by component, a matrix's after the cell that tells that it was written. */
static void by_components(struct interpreter *m, struct instruction *i)
{
    bool matrix = i->type->kind == KIND_MATRIX;
    for (uint32_t k = 0; k < i->operand_count; k++) {
        const struct type *t = i->operands[k].type;
        bool convert = i->operation->number == OpFConvert;
        if (t->cells != i->type->cells || (t->kind == KIND_MATRIX) != matrix ||
            (matrix && !convert && t != i->type))
            interpreter_refuse(m, "%s of types that do not fit", i->operation->name);
        if (matrix && convert)
            interpreter_check_conversion(m, i);
        i->operands[k].at += matrix;
    }
    i->result += matrix;
    if (matrix) {
        i->elements = i->run;
        i->run = interpreter_run_elements;
    }
}

static void measure(struct instruction *i)
{
    const struct type *t = i->type;
    i->count = t->kind == KIND_MATRIX ? t->rows * t->columns : t->cells;
    const struct type *component = t->kind == KIND_VECTOR || t->kind == KIND_MATRIX ? t->of : t;
    i->half = component->kind == KIND_FLOAT && component->width == 16;
}

/* The operands after the result; `i` has its operation, type and result. */
void interpreter_decode_operands(struct interpreter *m, struct instruction *i,
                                 const uint32_t *words, uint32_t count)
{
    struct reader r = {
        m, i->operation, words, count, 0, g_array_new(false, false, sizeof(struct operand))};
    for (const char *form = i->operation->form + strspn(i->operation->form, "tr"); *form; form++) {
        bool many = form[1] == '*';
        if (!many)
            operand(&r, *form);
        while (many && r.at < r.count)
            operand(&r, *form);
        form += many;
    }
    if (r.at != r.count)
        interpreter_refuse(m, "%s has %u words too many", i->operation->name, r.count - r.at);
    i->operand_count = r.operands->len;
    i->operands = (struct operand *)g_array_free(r.operands, false);
    g_ptr_array_add(m->operand_lists, i->operands);
    if (i->type)
        measure(i);
    if (i->operation->check)
        i->operation->check(m, i);
    if (i->operation->each)
        by_components(m, i);
}

/* ---- functions ---- */

/* Where an instruction is; decoded when all are known, as blocks and functions are named before
 * they come. */
struct pending {
    uint32_t word, count;
};

static void begin_function(struct interpreter *m, const uint32_t *w)
{
    struct function f = {.id = w[2], .first = m->code->len, .type = interpreter_type(m, w[4])};
    f.parameters = g_array_new(false, false, sizeof(struct operand));
    interpreter_define(m, w[2], f.type, m->functions->len, OpFunction);
    g_array_append_val(m->functions, f);
}

static void add_parameter(struct interpreter *m, const uint32_t *w)
{
    struct function *f = &g_array_index(m->functions, struct function, m->functions->len - 1);
    const struct type *type = interpreter_type(m, w[1]);
    struct operand o = {interpreter_cells(m, type->cells), type};
    interpreter_define(m, w[2], type, o.at, OpFunctionParameter);
    g_array_append_val(f->parameters, o);
}

static void add_instruction(struct interpreter *m, const uint32_t *w, uint32_t count, GArray *where)
{
    uint32_t number = w[0] & 0xffff;
    bool extended = number == OpExtInst && count > 4;
    const struct operation *o =
        extended ? interpreter_extended(w[4]) : interpreter_operation(number);
    if (!o)
        interpreter_refuse(m, "instruction %u is not known (word %td)", extended ? w[4] : number,
                           w - m->words);
    uint32_t skip = (uint32_t)strspn(o->form, "tr") + 1;
    if (count < skip)
        interpreter_refuse(m, "%s is cut off", o->name);
    struct instruction i = {.run = o->run, .operation = o};
    if (o->form[0] == 't') {
        i.type = interpreter_type(m, w[1]);
        i.id = w[2];
        i.result = interpreter_cells(m, i.type->cells);
        interpreter_define(m, w[2], i.type, i.result, number);
        if (number == OpVariable) /* what it points to comes next */
            interpreter_cells(m, i.type->of->cells);
    } else if (o->number == OpLabel) {
        interpreter_define(m, w[1], NULL, m->code->len, OpLabel);
    }
    struct pending p = {(uint32_t)(w - m->words) + skip, count - skip};
    g_array_append_val(m->code, i);
    g_array_append_val(where, p);
}

static void add_word(struct interpreter *m, const uint32_t *w, uint32_t count, GArray *where)
{
    uint32_t number = w[0] & 0xffff;
    if (number == OpFunction)
        begin_function(m, w);
    else if (number == OpFunctionParameter)
        add_parameter(m, w);
    else if (number != OpFunctionEnd && !ignored(number))
        add_instruction(m, w, count, where);
}

static void decode(struct interpreter *m)
{
    g_autoptr(GArray) where = g_array_new(false, false, sizeof(struct pending));
    for (size_t at = HEADER_WORDS; at < m->word_count;) {
        uint32_t count = m->words[at] >> 16, number = m->words[at] & 0xffff;
        if (count == 0 || count > m->word_count - at)
            interpreter_refuse(m, "it is cut off at word %zu", at);
        if (m->functions->len == 0 && number != OpFunction && !ignored(number)) {
            if (!interpreter_declare(m, m->words + at, count))
                interpreter_refuse(m, "declaration %u is not known (word %zu)", number, at);
        } else {
            add_word(m, m->words + at, count, where);
        }
        at += count;
    }
    for (guint k = 0; k < where->len; k++) {
        const struct pending *p = &g_array_index(where, struct pending, k);
        interpreter_decode_operands(m, &g_array_index(m->code, struct instruction, k),
                                    m->words + p->word, p->count);
    }
}

/* ---- modules ---- */

bool interpreter_wants(const uint32_t *words, size_t count)
{
    for (size_t at = HEADER_WORDS; at < count && words[at] >> 16; at += words[at] >> 16)
        if ((words[at] & 0xffff) == OpCapability && at + 1 < count &&
            words[at + 1] == CapabilityCooperativeMatrixTensorAddressingNV)
            return true;
    return false;
}

static void clear_function(void *function)
{
    g_array_free(((struct function *)function)->parameters, true);
}

static void free_type(void *type)
{
    g_free((void *)((struct type *)type)->types);
    g_free(((struct type *)type)->offsets);
    g_free(type);
}

static void find_size(struct interpreter *m)
{
    for (int axis = 0; axis < 3; axis++) {
        const struct value *v = &m->values[m->size_ids[axis]];
        if (m->size_ids[axis])
            m->size[axis] = g_array_index(m->image, union cell, v->at).u;
    }
    if (m->size[0] == 0)
        interpreter_refuse(m, "it does not tell the size of its workgroup");
}

struct interpreter *interpreter_create(const uint32_t *words, size_t count, const char *entry,
                                       const struct interpreter_constant *constants,
                                       size_t constant_count)
{
    struct interpreter *m = g_new0(struct interpreter, 1);
    m->entry = g_strdup(entry);
    m->constants = constants;
    m->constant_count = constant_count;
    if (count < HEADER_WORDS || words[0] != MAGIC)
        interpreter_refuse(m, "it is no SPIR-V");
    m->words = (uint32_t *)g_memdup2(words, count * sizeof *words);
    m->word_count = count;
    m->bound = words[3];
    m->values = g_new0(struct value, m->bound);
    m->decorations = g_array_new(false, false, sizeof(struct decoration));
    m->capabilities = g_array_new(false, false, sizeof(uint32_t));
    m->products = g_array_new(false, false, sizeof(struct interpreter_product));
    m->matrices = g_array_new(false, false, sizeof(struct interpreter_matrix));
    m->types = g_ptr_array_new_with_free_func(free_type);
    m->operand_lists = g_ptr_array_new_with_free_func(g_free);
    m->code = g_array_new(false, true, sizeof(struct instruction));
    m->functions = g_array_new(false, true, sizeof(struct function));
    g_array_set_clear_func(m->functions, clear_function);
    m->image = g_array_new(false, false, sizeof(union cell));
    interpreter_cells(m, 1); /* place 0 is nobody's */
    decode(m);
    if (!m->entry_id || m->values[m->entry_id].operation != OpFunction)
        interpreter_refuse(m, "it has no such entry point");
    m->entry_function = m->values[m->entry_id].at;
    find_size(m);
    m->constants = NULL;
    return m;
}

void interpreter_destroy(struct interpreter *m)
{
    if (!m)
        return;
    g_array_free(m->image, true);
    g_array_free(m->functions, true);
    g_array_free(m->code, true);
    g_ptr_array_free(m->operand_lists, true);
    g_ptr_array_free(m->types, true);
    g_array_free(m->matrices, true);
    g_array_free(m->products, true);
    g_array_free(m->capabilities, true);
    g_array_free(m->decorations, true);
    g_free(m->values);
    g_free(m->words);
    g_free(m->entry);
    g_free(m);
}

bool interpreter_declares(const struct interpreter *m, uint32_t capability)
{
    for (guint i = 0; i < m->capabilities->len; i++)
        if (g_array_index(m->capabilities, uint32_t, i) == capability)
            return true;
    return false;
}

uint32_t interpreter_invocations(const struct interpreter *m)
{
    return m->size[0] * m->size[1] * m->size[2];
}

const struct interpreter_product *interpreter_products(const struct interpreter *m, size_t *count)
{
    *count = m->products->len;
    return (const struct interpreter_product *)(void *)m->products->data;
}

const struct interpreter_matrix *interpreter_matrices(const struct interpreter *m, size_t *count)
{
    *count = m->matrices->len;
    return (const struct interpreter_matrix *)(void *)m->matrices->data;
}
