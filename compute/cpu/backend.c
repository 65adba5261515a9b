/* The CPU back end's life, its programs and their data. */
#include "compute/cpu/private.h"

#include "compute/cpu/memory.h"
#include "compute/cpu/parallel.h"
#include "compute/poison.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

bool fail_cancelled(GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "cancelled");
    return false;
}

bool step_cancelled(const int *cancel, GError **error)
{
    if (!cancel || g_atomic_int_get(cancel) == 0)
        return false;
    fail_cancelled(error);
    return true;
}

void cpu_count_bytes(struct cpu *cpu, size_t taken, size_t given)
{
    cpu->base.bytes_now += taken;
    cpu->base.bytes_now -= given;
    cpu->base.bytes_peak = MAX(cpu->base.bytes_peak, cpu->base.bytes_now);
}

void *cpu_take(struct cpu *cpu, size_t bytes, const char *purpose, GError **error)
{
    void *block = NULL;
    if (cpu->limit && cpu->base.bytes_now + bytes > cpu->limit)
        memory_fail(bytes, purpose, error);
    else
        block = memory_take(bytes, purpose, error);
    if (block)
        cpu_count_bytes(cpu, bytes, 0);
    return block;
}

void cpu_give(struct cpu *cpu, void *block, size_t bytes)
{
    if (block)
        cpu_count_bytes(cpu, 0, bytes);
    memory_give(block, bytes);
}

/* ---- shared blocks ---- */

static bool grow(struct cpu *cpu, void **block, size_t *size, size_t needed, const char *purpose,
                 GError **error)
{
    if (needed <= *size)
        return true;
    cpu_give(cpu, *block, *size);
    *size = 0;
    *block = cpu_take(cpu, needed, purpose, error);
    if (!*block)
        return false;
    *size = needed;
    return true;
}

/* Again when a program that failed to grow them left them smaller than this one needs. */
static bool ready(struct cpu_program *program, GError **error)
{
    struct cpu *cpu = program->cpu;
    return grow(cpu, &cpu->arena, &cpu->arena_bytes, program->arena_bytes, _("activations"),
                error) &&
           grow(cpu, &cpu->scratch, &cpu->scratch_bytes, program->scratch_bytes, _("activations"),
                error);
}

static void shrink(struct cpu *cpu)
{
    size_t arena = 0, scratch = 0;
    for (guint i = 0; i < cpu->programs->len; i++) {
        const struct cpu_program *program = cpu->programs->pdata[i];
        arena = MAX(arena, program->arena_bytes);
        scratch = MAX(scratch, program->scratch_bytes);
    }
    if (arena < cpu->arena_bytes) {
        cpu_give(cpu, cpu->arena, cpu->arena_bytes);
        cpu->arena = NULL;
        cpu->arena_bytes = 0;
    }
    if (scratch < cpu->scratch_bytes) {
        cpu_give(cpu, cpu->scratch, cpu->scratch_bytes);
        cpu->scratch = NULL;
        cpu->scratch_bytes = 0;
    }
}

/* ---- data ---- */

static void *place_data(const struct cpu_program *program, const struct place *place)
{
    if (place->kind == PLACE_IMPORT) {
        const struct cpu_program *from = (const struct cpu_program *)place->from;
        const struct place *p = plan_place(place->from_plan, place->from_tensor);
        return place_data(from, p);
    }
    g_assert(place->kind == PLACE_ARENA || place->kind == PLACE_KEPT);
    char *block = place->kind == PLACE_ARENA ? program->cpu->arena : program->kept;
    return block + place->offset;
}

void *step_data(const struct step *step, const struct tensor *x)
{
    return place_data(step->program, plan_place(step->program->plan, x));
}

void step_need_scratch(struct step *step, size_t bytes)
{
    /* Never none, so that pointers into it may be formed. */
    step->program->scratch_bytes = MAX(step->program->scratch_bytes, MAX(bytes, 64));
}

void *step_scratch(const struct step *step)
{
    return step->program->cpu->scratch;
}

const float *row_read(const struct cpu *cpu, enum dtype store, const void *x, size_t first,
                      size_t n, float *row)
{
    if (store != DTYPE_BF16)
        return (const float *)x + first;
    cpu->kernels->from_bf16((const uint16_t *)x + first, row, n);
    return row;
}

float *row_target(enum dtype store, void *x, size_t first, float *row)
{
    return store == DTYPE_BF16 ? row : (float *)x + first;
}

void row_write(const struct cpu *cpu, enum dtype store, void *x, size_t first, size_t n,
               const float *row)
{
    if (store == DTYPE_BF16)
        cpu->kernels->to_bf16(row, (uint16_t *)x + first, n);
}

static void write_input(struct program *p, const struct tensor *input, const void *data)
{
    struct cpu_program *program = (struct cpu_program *)p;
    size_t count = tensor_count(input);
    void *to = place_data(program, plan_place(program->plan, input));
    if (plan_store(program->plan, input) == DTYPE_BF16)
        program->cpu->kernels->to_bf16(data, to, count);
    else
        memcpy(to, data, count * 4);
}

static void read_output(struct program *p, const struct tensor *output, float *data)
{
    struct cpu_program *program = (struct cpu_program *)p;
    size_t count = tensor_count(output);
    const void *from = place_data(program, plan_place(program->plan, output));
    if (plan_store(program->plan, output) == DTYPE_BF16)
        program->cpu->kernels->from_bf16(from, data, count);
    else
        memcpy(data, from, count * 4);
}

/* ---- programs ---- */

static bool step_init(struct step *step, const int *cancel, GError **error)
{
    switch (step->node->op) {
    case OP_conv2d:
    case OP_linear:
        if (!step->program->cpu->direct)
            return product_init(step, cancel, error);
        return step->program->cpu->winograd && winograd_suits(step->program->cpu, step->node)
                   ? winograd_init(step, cancel, error)
                   : direct_init(step, cancel, error);
    case OP_attention:
        return attention_init(step, cancel, error);
    case OP_group_norm:
        return group_norm_init(step, cancel, error);
    case OP_layer_norm:
        return layer_norm_init(step, cancel, error);
    default:
        return simple_init(step, cancel, error);
    }
}

static void destroy_program(struct program *p)
{
    struct cpu_program *program = (struct cpu_program *)p;
    struct cpu *cpu = program->cpu;
    for (int i = 0; i < program->step_count; i++)
        if (program->steps[i].class && program->steps[i].class->finish)
            program->steps[i].class->finish(&program->steps[i]);
    for (guint i = 0; i < program->weights->len; i++)
        ((struct packed *)program->weights->pdata[i])->users--;
    cpu_give(cpu, program->kept, program->kept_bytes);
    g_ptr_array_remove_fast(cpu->programs, program);
    shrink(cpu);
    g_ptr_array_free(program->weights, TRUE);
    g_free(program->steps);
    g_free(program);
}

static struct program *compile(struct backend *backend, const struct plan *plan, const int *cancel,
                               GError **error)
{
    struct cpu *cpu = (struct cpu *)backend;
    parallel_set_threads(cpu->threads);
    struct cpu_program *program = g_new0(struct cpu_program, 1);
    program->base.backend = backend;
    program->plan = plan;
    program->cpu = cpu;
    program->weights = g_ptr_array_new();
    program->steps = g_new0(struct step, plan->node_count + 1);
    program->arena_bytes = plan->arena_bytes;
    g_ptr_array_add(cpu->programs, program);
    bool ok = memory_check_space(error);
    if (ok && plan->kept_bytes) {
        program->kept = cpu_take(cpu, plan->kept_bytes, _("inputs and outputs"), error);
        ok = program->kept != NULL;
        program->kept_bytes = ok ? plan->kept_bytes : 0;
        if (ok && backend->gap)
            memset(program->kept, POISON_BYTE, program->kept_bytes);
    }
    for (; ok && program->step_count < plan->node_count; program->step_count++) {
        struct step *step = &program->steps[program->step_count];
        step->program = program;
        step->node = &plan->nodes[program->step_count];
        ok = !step_cancelled(cancel, error) && step_init(step, cancel, error);
    }
    ok = ok && ready(program, error);
    program->base.arena_bytes = program->arena_bytes + program->scratch_bytes;
    program->base.kept_bytes = program->kept_bytes;
    if (ok)
        return &program->base;
    destroy_program(&program->base);
    return NULL;
}

static void fill_kept(void *kept, size_t offset, size_t bytes)
{
    memset((char *)kept + offset, POISON_BYTE, bytes);
}

static void poison(struct cpu_program *program)
{
    struct cpu *cpu = program->cpu;
    if (cpu->arena)
        memset(cpu->arena, POISON_BYTE, cpu->arena_bytes);
    if (cpu->scratch)
        memset(cpu->scratch, POISON_BYTE, cpu->scratch_bytes);
    poison_outputs(program->plan, fill_kept, program->kept);
}

static bool run(struct program *p, const int *cancel, GError **error)
{
    struct cpu_program *program = (struct cpu_program *)p;
    struct cpu *cpu = program->cpu;
    parallel_set_threads(cpu->threads);
    if (!ready(program, error))
        return false;
    if (cpu->base.gap)
        poison(program);
    for (int i = 0; i < program->step_count; i++) {
        struct step *step = &program->steps[i];
        if (step_cancelled(cancel, error))
            return false;
        gint64 start = program->base.profile ? g_get_monotonic_time() : 0;
        if (!step->class->run(step, cancel, error))
            return false;
        if (program->base.profile)
            program->base.node_seconds[i] = (double)(g_get_monotonic_time() - start) / 1e6;
    }
    return !cpu->base.gap ||
           poison_intact(program->plan, cpu->class.alignment, cpu->arena, program->kept, error);
}

static void destroy(struct backend *backend)
{
    struct cpu *cpu = (struct cpu *)backend;
    g_warn_if_fail(cpu->programs->len == 0);
    cpu_forget_weights(backend, false);
    g_hash_table_destroy(cpu->packed);
    memory_pool_finish(&cpu->pool);
    g_ptr_array_free(cpu->programs, TRUE);
    memory_give(cpu->arena, cpu->arena_bytes);
    memory_give(cpu->scratch, cpu->scratch_bytes);
    dnn_destroy(cpu->dnn);
    g_free(cpu->base.label);
    g_free(cpu);
}

static const struct backend_class cpu_class = {
    .name = "cpu",
    .fuse = FUSE_RESIDUAL | FUSE_BROADCAST | FUSE_NORM_SILU | FUSE_ACTIVATION | FUSE_IN_PLACE |
            FUSE_F32_OUTPUT,
    .alignment = 64,
    .compile = compile,
    .run = run,
    .write = write_input,
    .read = read_output,
    .destroy_program = destroy_program,
    .forget_weights = cpu_forget_weights,
    .weight_bytes = cpu_weight_bytes,
    .destroy = destroy,
};

size_t cpu_memory_limit(void)
{
    const char *limit = g_getenv("FIGMENT_CPU_MEMORY");
    return limit ? (size_t)g_ascii_strtoull(limit, NULL, 10) : 0;
}

bool cpu_has_bf16(void)
{
    return dnn_has_bf16();
}

/*
 * oneDNN's products of BF16 are the faster ones where the CPU has matrix registers, which our loops
 * do not use. FIGMENT_CPU_PRODUCTS=own|direct|onednn chooses (tests, measurements); direct: own
 * without Winograd's.
 */
static void choose_products(struct cpu *cpu)
{
    const char *wish = g_getenv("FIGMENT_CPU_PRODUCTS");
    bool matrices = cpu->base.precision == DTYPE_BF16 && dnn_has_amx();
    cpu->winograd = g_strcmp0(wish, "direct") != 0;
    bool own = g_strcmp0(wish, "own") == 0 || !cpu->winograd;
    cpu->direct = own || (g_strcmp0(wish, "onednn") != 0 && !matrices);
}

struct backend *cpu_backend_create(enum dtype precision, int threads, GError **error)
{
    g_assert(precision == DTYPE_F32 || precision == DTYPE_BF16);
    if (!memory_check_space(error))
        return NULL;
    struct dnn *dnn = dnn_create(error);
    if (!dnn)
        return NULL;
    struct cpu *cpu = g_new0(struct cpu, 1);
    cpu->class = cpu_class;
    cpu->base.class = &cpu->class;
    cpu->base.precision = precision;
    cpu->base.gap = poison_gap();
    cpu->base.label = g_strdup_printf("CPU (%s)", dtype_name(precision));
    cpu->dnn = dnn;
    cpu->kernels = kernels_choose();
    cpu->threads = threads;
    cpu->limit = cpu_memory_limit();
    cpu->native_bf16 = dnn_has_bf16();
    choose_products(cpu);
    /* Tests walk this path on every machine. */
    cpu->pairs = cpu->kernels->fast_bf16 || g_getenv("FIGMENT_CPU_PAIRS") != NULL;
    if (cpu->direct)
        cpu->class.fuse |= FUSE_GEGLU | FUSE_NORM_INPUT | FUSE_UPSAMPLE;
    cpu->packed = cpu_packed_table();
    memory_pool_init(&cpu->pool);
    cpu->programs = g_ptr_array_new();
    return &cpu->base;
}
