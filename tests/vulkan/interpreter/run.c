/* Running a decoded module: blocks, calls, workgroups. */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <string.h>

#define MAX_DEPTH 32
#define THREADS 2

void interpreter_fault(const struct thread *t, const struct instruction *i, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_error("%s (%%%u) of workgroup %u, %u, %u: %s", i->operation->name, i->id, t->group[0],
            t->group[1], t->group[2], text);
}

static const struct instruction *instruction_at(const struct thread *t, uint32_t index)
{
    return &g_array_index(t->m->code, struct instruction, index);
}

/* ---- blocks ---- */

/* What values come from the block before: all are read before one is written. */
static void run_label(struct thread *t, const struct instruction *i)
{
    const struct instruction *first = instruction_at(t, 0);
    t->previous = t->block;
    t->block = (uint32_t)(i - first);
    for (const struct instruction *phi = i + 1; phi->operation->number == OpPhi; phi++) {
        uint32_t k = 0;
        while (k < phi->operand_count && phi->operands[k + 1].at != t->previous)
            k += 2;
        if (k == phi->operand_count)
            interpreter_fault(t, phi, "comes from a block that it does not name");
        memcpy(result_of(t, phi), cells_of(t, phi, k), phi->type->cells * sizeof(union cell));
        t->next++;
    }
}

static void run_phi(struct thread *t, const struct instruction *i)
{
    interpreter_fault(t, i, "does not begin its block");
}

/* In one block none may read what another one there writes. */
static void check_phi(const struct interpreter *m, const struct instruction *i)
{
    for (const struct instruction *other = i; other->operation->number == OpPhi; other--)
        for (uint32_t k = 0; k < i->operand_count; k += 2)
            if (i->operands[k].at == other->result && other != i)
                interpreter_refuse(m, "OpPhi %%%u reads one of its own block", i->id);
}

static void run_branch(struct thread *t, const struct instruction *i)
{
    t->next = i->operands[0].at;
}

static void run_branch_conditional(struct thread *t, const struct instruction *i)
{
    t->next = i->operands[cells_of(t, i, 0)->u ? 1 : 2].at;
}

static void run_switch(struct thread *t, const struct instruction *i)
{
    t->next = i->operands[1].at;
    for (uint32_t k = 2; k < i->operand_count; k += 2)
        if (i->operands[k].at == cells_of(t, i, 0)->u)
            t->next = i->operands[k + 1].at;
}

static void run_unreachable(struct thread *t, const struct instruction *i)
{
    interpreter_fault(t, i, "was reached");
}

/* ---- calls ---- */

void interpreter_call(struct thread *t, const struct function *f)
{
    struct thread before = *t;
    t->next = f->first;
    t->block = UINT32_MAX;
    t->returned = false;
    if (++t->depth > MAX_DEPTH)
        interpreter_refuse(t->m, "function %%%u calls itself", f->id);
    while (!t->returned) {
        const struct instruction *i = instruction_at(t, t->next++);
        i->run(t, i);
    }
    t->next = before.next;
    t->block = before.block;
    t->previous = before.previous;
    t->depth = before.depth;
    t->returned = false;
}

static void run_call(struct thread *t, const struct instruction *i)
{
    const struct function *f = &g_array_index(t->m->functions, struct function, i->operands[0].at);
    for (uint32_t k = 1; k < i->operand_count; k++) {
        const struct operand *to = &g_array_index(f->parameters, struct operand, k - 1);
        memcpy(&t->cells[to->at], cells_of(t, i, k), to->type->cells * sizeof(union cell));
    }
    interpreter_call(t, f);
    if (i->type->cells)
        memcpy(result_of(t, i), t->value, i->type->cells * sizeof(union cell));
}

static void check_call(const struct interpreter *m, const struct instruction *i)
{
    const struct function *f = &g_array_index(m->functions, struct function, i->operands[0].at);
    bool fits = f->parameters->len == i->operand_count - 1 && f->type->of == i->type;
    for (uint32_t k = 1; fits && k < i->operand_count; k++)
        fits = g_array_index(f->parameters, struct operand, k - 1).type == i->operands[k].type;
    if (!fits)
        interpreter_refuse(m, "a call does not fit function %%%u", f->id);
}

static void run_return(struct thread *t, const struct instruction *i)
{
    t->returned = true;
    t->value = i->operand_count ? cells_of(t, i, 0) : NULL;
}

const struct operation control_operations[] = {
    OPERATION(OpLabel, "r", run_label),
    OPERATION(OpPhi, "trq*", run_phi, .check = check_phi),
    OPERATION(OpBranch, "b", run_branch),
    OPERATION(OpBranchConditional, "vbbl*", run_branch_conditional),
    OPERATION(OpSwitch, "vbp*", run_switch),
    OPERATION(OpUnreachable, "", run_unreachable),
    OPERATION(OpFunctionCall, "trfv*", run_call, .check = check_call),
    OPERATION(OpReturn, "", run_return),
    OPERATION(OpReturnValue, "v", run_return),
    {.name = NULL},
};

/* ---- workgroups ---- */

struct work {
    const struct interpreter *m;
    const struct interpreter_dispatch *dispatch;
    uint32_t count;
    struct watches *watches;
    gint next;
};

static void run_workgroup(struct thread *t, uint32_t index)
{
    const struct interpreter *m = t->m;
    const uint32_t *groups = t->dispatch->groups;
    t->group[0] = index % groups[0];
    t->group[1] = index / groups[0] % groups[1];
    t->group[2] = index / groups[0] / groups[1];
    t->depth = 0;
    t->self = index + 1;
    memcpy(t->cells, m->image->data, m->image->len * sizeof(union cell));
    if (m->group_at)
        memcpy(&t->cells[m->group_at], t->group, sizeof t->group);
    if (m->groups_at)
        memcpy(&t->cells[m->groups_at], groups, sizeof t->group);
    interpreter_call(t, &g_array_index(m->functions, struct function, m->entry_function));
}

static void *run_some(void *data)
{
    struct work *work = (struct work *)data;
    struct thread t = {.m = work->m, .dispatch = work->dispatch, .watches = work->watches};
    g_autofree union cell *cells = g_new(union cell, work->m->cells);
    interpreter_unwrite(cells, work->m->cells);
    t.cells = cells;
    for (;;) {
        uint32_t index = (uint32_t)g_atomic_int_add(&work->next, 1);
        if (index >= work->count)
            return NULL;
        run_workgroup(&t, index);
    }
}

void interpreter_run(const struct interpreter *m, const struct interpreter_dispatch *dispatch)
{
    struct work work = {.m = m, .dispatch = dispatch};
    work.count = dispatch->groups[0] * dispatch->groups[1] * dispatch->groups[2];
    work.watches = interpreter_watch(m, dispatch);
    GThread *others[THREADS - 1];
    uint32_t more = MIN(work.count, THREADS) - (work.count > 0);
    for (uint32_t i = 0; i < more; i++)
        others[i] = g_thread_new("interpreter", run_some, &work);
    run_some(&work);
    for (uint32_t i = 0; i < more; i++)
        g_thread_join(others[i]);
    interpreter_unwatch(work.watches);
}
