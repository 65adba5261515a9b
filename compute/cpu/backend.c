/* The CPU back end's life, its programs, and the cache of packed weights. */
#include "compute/cpu/private.h"

#include "compute/cpu/memory.h"
#include "compute/cpu/parallel.h"

#include <gio/gio.h>
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

static void count_bytes(struct cpu *cpu, size_t taken, size_t given)
{
    cpu->base.bytes_now += taken;
    cpu->base.bytes_now -= given;
    cpu->base.bytes_peak = MAX(cpu->base.bytes_peak, cpu->base.bytes_now);
}

/* ---- packed weights ---- */

static guint packed_hash(gconstpointer key)
{
    const struct packed *p = (const struct packed *)key;
    return g_direct_hash(p->weight) ^ p->revision * 31u ^ (guint)p->dtype * 7u;
}

static gboolean packed_equal(gconstpointer x, gconstpointer y)
{
    const struct packed *a = (const struct packed *)x, *b = (const struct packed *)y;
    return a->weight == b->weight && a->revision == b->revision && a->dtype == b->dtype &&
           !a->layout == !b->layout && (!a->layout || dnn_layout_equal(a->layout, b->layout));
}

static void packed_free(struct cpu *cpu, struct packed *p)
{
    if (p->data)
        count_bytes(cpu, 0, p->bytes);
    memory_give(p->data, p->bytes);
    dnn_layout_free(p->layout);
    g_free(p);
}

/* Elements read at once: long reads stop here when the user cancels. */
#define READ_COUNT ((size_t)4 << 20)

static bool read_weight(const struct weight *weight, enum dtype as, void *dst, const int *cancel,
                        GError **error)
{
    size_t count = weight_count(weight);
    for (size_t first = 0; first < count; first += READ_COUNT) {
        size_t n = MIN(READ_COUNT, count - first);
        if (step_cancelled(cancel, error) ||
            !weight->read(weight, as, first, n, (char *)dst + first * dtype_size(as), error))
            return false;
    }
    return true;
}

static bool reorder(struct cpu *cpu, struct packed *p, const void *plain, GError **error)
{
    const struct weight *w = p->weight;
    enum dtype type = dnn_layout_dtype(p->layout);
    size_t bytes = dnn_layout_bytes(p->layout);
    /* F32 for oneDNN but BF16 in memory: through a copy. */
    void *packed = type == p->dtype ? p->data : memory_take(bytes, "packing a weight", error);
    if (!packed)
        return false;
    bool ok =
        dnn_pack(cpu->dnn, p->layout, w->rank == 4 && !dnn_layout_is_matrix(p->layout) ? 4 : 2,
                 w->dims, type, plain, packed);
    if (!ok)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cpu: oneDNN cannot pack '%s'", w->name);
    if (packed != p->data) {
        cpu->kernels->to_bf16(packed, p->data, bytes / sizeof(float));
        memory_give(packed, bytes);
    }
    return ok;
}

static bool read_packed(struct cpu *cpu, struct packed *p, const int *cancel, GError **error)
{
    const struct weight *w = p->weight;
    if (!p->layout)
        return read_weight(w, p->dtype, p->data, cancel, error);
    enum dtype type = dnn_layout_dtype(p->layout);
    size_t bytes = weight_count(w) * dtype_size(type);
    void *plain = memory_take(bytes, "reading a weight", error);
    if (!plain)
        return false;
    count_bytes(cpu, bytes, 0);
    bool ok = read_weight(w, type, plain, cancel, error) && reorder(cpu, p, plain, error);
    memory_give(plain, bytes);
    count_bytes(cpu, 0, bytes);
    return ok;
}

static struct packed *pack(struct cpu *cpu, const struct packed *key, const int *cancel,
                           GError **error)
{
    struct packed *p = g_new0(struct packed, 1);
    p->weight = key->weight;
    p->revision = key->revision;
    p->dtype = key->dtype;
    p->layout = key->layout ? dnn_layout_copy(key->layout) : NULL;
    size_t count = p->layout ? dnn_layout_bytes(p->layout) / dtype_size(dnn_layout_dtype(p->layout))
                             : weight_count(p->weight);
    p->bytes = count * dtype_size(p->dtype);
    p->data = memory_take(p->bytes, "the model's weights", error);
    if (p->data)
        count_bytes(cpu, p->bytes, 0);
    if (p->data && read_packed(cpu, p, cancel, error)) {
        g_hash_table_add(cpu->packed, p);
        return p;
    }
    packed_free(cpu, p);
    return NULL;
}

const struct packed *step_weight(struct step *step, const struct weight *weight,
                                 const struct dnn_layout *layout, enum dtype dtype,
                                 const int *cancel, GError **error)
{
    struct cpu_program *program = step->program;
    struct packed key = {.weight = weight,
                         .revision = weight->revision,
                         .layout = (struct dnn_layout *)layout,
                         .dtype = dtype};
    struct packed *p = g_hash_table_lookup(program->cpu->packed, &key);
    if (!p && !(p = pack(program->cpu, &key, cancel, error)))
        return NULL;
    if (!g_ptr_array_find(program->weights, p, NULL)) {
        g_ptr_array_add(program->weights, p);
        p->users++;
        program->base.weight_bytes += p->bytes;
    }
    return p;
}

static void forget_weights(struct backend *backend)
{
    struct cpu *cpu = (struct cpu *)backend;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, cpu->packed);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        struct packed *p = (struct packed *)key;
        if (p->users == 0) {
            g_hash_table_iter_remove(&iter);
            packed_free(cpu, p);
        }
    }
}

/* ---- shared blocks ---- */

static bool grow(struct cpu *cpu, void **block, size_t *size, size_t needed, const char *purpose,
                 GError **error)
{
    if (needed <= *size)
        return true;
    memory_give(*block, *size);
    count_bytes(cpu, 0, *size);
    *size = 0;
    *block = memory_take(needed, purpose, error);
    if (!*block)
        return false;
    *size = needed;
    count_bytes(cpu, needed, 0);
    return true;
}

/* Again when a program that failed to grow them left them smaller than this one needs. */
static bool ready(struct cpu_program *program, GError **error)
{
    struct cpu *cpu = program->cpu;
    return grow(cpu, &cpu->arena, &cpu->arena_bytes, program->arena_bytes, "activations", error) &&
           grow(cpu, &cpu->scratch, &cpu->scratch_bytes, program->scratch_bytes, "activations",
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
        memory_give(cpu->arena, cpu->arena_bytes);
        count_bytes(cpu, 0, cpu->arena_bytes);
        cpu->arena = NULL;
        cpu->arena_bytes = 0;
    }
    if (scratch < cpu->scratch_bytes) {
        memory_give(cpu->scratch, cpu->scratch_bytes);
        count_bytes(cpu, 0, cpu->scratch_bytes);
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
    step->program->scratch_bytes = MAX(step->program->scratch_bytes, bytes);
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
        return product_init(step, cancel, error);
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
    if (program->kept)
        count_bytes(cpu, 0, program->kept_bytes);
    memory_give(program->kept, program->kept_bytes);
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
        program->kept = memory_take(plan->kept_bytes, "inputs and outputs", error);
        ok = program->kept != NULL;
        program->kept_bytes = ok ? plan->kept_bytes : 0;
        count_bytes(cpu, program->kept_bytes, 0);
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

static bool run(struct program *p, const int *cancel, GError **error)
{
    struct cpu_program *program = (struct cpu_program *)p;
    parallel_set_threads(program->cpu->threads);
    if (!ready(program, error))
        return false;
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
    return true;
}

static void destroy(struct backend *backend)
{
    struct cpu *cpu = (struct cpu *)backend;
    g_warn_if_fail(cpu->programs->len == 0);
    forget_weights(backend);
    g_hash_table_destroy(cpu->packed);
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
    .forget_weights = forget_weights,
    .destroy = destroy,
};

bool cpu_has_bf16(void)
{
    return dnn_has_bf16();
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
    cpu->base.class = &cpu_class;
    cpu->base.precision = precision;
    cpu->base.label = g_strdup_printf("CPU (%s)", dtype_name(precision));
    cpu->dnn = dnn;
    cpu->kernels = kernels_choose();
    cpu->threads = threads;
    cpu->native_bf16 = dnn_has_bf16();
    cpu->packed = g_hash_table_new(packed_hash, packed_equal);
    cpu->programs = g_ptr_array_new();
    return &cpu->base;
}
