/* The back end's vtable: programs, inputs and outputs. */
#include "compute/poison.h"
#include "compute/vulkan/internal.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

static const struct backend_class vulkan_class;

static void free_arena(struct vulkan_backend *b, struct arena *a)
{
    g_ptr_array_remove_fast(b->arenas, a);
    gpu_memory_block_destroy(b->m, a->block);
    g_free(a);
}

/* The smallest shared block that is large enough, or a new one. */
static struct arena *take_arena(struct vulkan_backend *b, size_t bytes, const char *what,
                                GError **error)
{
    struct arena *best = NULL;
    for (guint i = 0; i < b->arenas->len; i++) {
        struct arena *a = (struct arena *)b->arenas->pdata[i];
        if (a->block->bytes >= bytes && (!best || a->block->bytes < best->block->bytes))
            best = a;
    }
    if (!best) {
        struct memory_block *block =
            gpu_memory_block_create(b->m, bytes, MEMORY_DEVICE, what, error);
        if (!block)
            return NULL;
        best = g_new0(struct arena, 1);
        best->block = block;
        g_ptr_array_add(b->arenas, best);
    }
    best->users++;
    return best;
}

static void destroy_program(struct program *program)
{
    struct vulkan_program *p = (struct vulkan_program *)program;
    if (!p)
        return;
    struct vulkan_backend *b = (struct vulkan_backend *)program->backend;
    commands_destroy(p->commands);
    host_destroy(p);
    for (guint i = 0; i < p->packed->len; i++)
        ((struct packed *)p->packed->pdata[i])->users--;
    g_ptr_array_free(p->packed, true);
    if (p->arena && --p->arena->users == 0)
        free_arena(b, p->arena);
    gpu_memory_block_destroy(b->m, p->kept);
    g_free(p);
}

static bool arena_fits(const struct vulkan_backend *b, size_t bytes)
{
    for (guint i = 0; i < b->arenas->len; i++)
        if (((const struct arena *)b->arenas->pdata[i])->block->bytes >= bytes)
            return true;
    return false;
}

/* Bytes that a program takes beyond what is there: activations, kept values, weights. */
static uint64_t missing_bytes(const struct vulkan_backend *b, const struct plan *plan,
                              size_t activations)
{
    g_autoptr(GHashTable) there = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < b->packed->len; i++)
        g_hash_table_add(there, (gpointer)((const struct packed *)b->packed->pdata[i])->weight);
    uint64_t needs = plan->kept_bytes + (arena_fits(b, activations) ? 0 : activations);
    for (guint i = 0; i < plan->weights->len; i++) {
        const struct weight *w = (const struct weight *)plan->weights->pdata[i];
        if (!g_hash_table_contains(there, w))
            needs += (uint64_t)weight_count(w) * dtype_size(b->base.precision);
    }
    return needs;
}

/* Told before anything is allocated, and only where the reported heap means something: not what a
 * software device says, unless it was lowered. */
static bool check_heap(struct vulkan_backend *b, const struct plan *plan, size_t activations,
                       GError **error)
{
    uint64_t heap = b->d->limits.heap, used = b->base.bytes_now;
    bool lowered = heap < b->d->info.memory;
    if (b->d->info.kind == VULKAN_SOFTWARE && !lowered)
        return true;
    uint64_t needs = missing_bytes(b, plan, activations);
    uint64_t left = MIN(heap > used ? heap - used : 0, gpu_memory_left(b->d));
    if (needs <= left)
        return true;
    g_autofree char *more = g_format_size(needs);
    g_autofree char *free_now = g_format_size(left);
    g_autofree char *all = g_format_size(heap);
    g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_MEMORY,
                _("Not enough graphics memory on “%s”: %s needs %s more, and of its %s only %s are "
                  "free. Try a smaller picture or fewer at once, or make it on the CPU."),
                b->d->info.name, plan->name, more, all, free_now);
    return false;
}

static struct program *compile(struct backend *backend, const struct plan *plan, const int *cancel,
                               GError **error)
{
    struct vulkan_backend *b = (struct vulkan_backend *)backend;
    struct vulkan_program *p = g_new0(struct vulkan_program, 1);
    p->base.backend = backend;
    p->plan = plan;
    p->packed = g_ptr_array_new();
    p->scratch = encode_scratch(b, plan);
    size_t activations = ((plan->arena_bytes + 255) & ~(size_t)255) + p->scratch;
    g_autofree char *what = g_strdup_printf("%s (%d steps)", plan->name, plan->node_count);
    if (!check_heap(b, plan, activations, error) ||
        !(p->arena = take_arena(b, activations, what, error)) ||
        !(p->kept = gpu_memory_block_create(b->m, plan->kept_bytes, MEMORY_DEVICE, what, error)))
        goto fail;
    p->commands = commands_create(b->d, b->p, &b->scale);
    if (!encode_program(p, cancel, error) || !host_create(p, error) ||
        !commands_finish(p->commands, b->spare->buffer, cancel, error))
        goto fail;
    pipelines_save(b->p);
    p->base.arena_bytes = p->arena->block->bytes;
    p->base.kept_bytes = p->kept->bytes;
    for (guint i = 0; i < p->packed->len; i++)
        p->base.weight_bytes += ((struct packed *)p->packed->pdata[i])->bytes;
    return &p->base;
fail:
    backend->lost = b->d->lost;
    destroy_program(&p->base);
    return NULL;
}

struct filling {
    struct vulkan_program *p;
    GError **error;
    bool good;
};

static void fill_kept(void *data, size_t offset, size_t bytes)
{
    struct filling *f = (struct filling *)data;
    struct vulkan_backend *b = (struct vulkan_backend *)f->p->base.backend;
    f->good = f->good && gpu_memory_fill(b->m, f->p->kept, offset, bytes, POISON_BYTE, f->error);
}

static bool poison(struct vulkan_program *p, GError **error)
{
    struct vulkan_backend *b = (struct vulkan_backend *)p->base.backend;
    const struct memory_block *arena = p->arena->block;
    struct filling f = {p, error,
                        gpu_memory_fill(b->m, arena, 0, arena->bytes, POISON_BYTE, error)};
    poison_outputs(p->plan, fill_kept, &f);
    return f.good;
}

static bool run(struct program *program, const int *cancel, GError **error)
{
    struct vulkan_program *p = (struct vulkan_program *)program;
    size_t gap = program->backend->gap;
    if (program->profile)
        memset(program->node_seconds, 0, sizeof(double) * (size_t)p->plan->node_count);
    if (gap && !poison(p, error))
        return false;
    if (!commands_run(p->commands, cancel, program->profile ? program->node_seconds : NULL,
                      error)) {
        program->backend->lost = ((struct vulkan_backend *)program->backend)->d->lost;
        return false;
    }
    struct commands_stats stats = commands_stats(p->commands);
    program->device_seconds = stats.device_seconds;
    program->backend->longest = MAX(program->backend->longest, stats.worst_seconds);
    bool visible = p->arena->block->mapped && p->kept->mapped;
    return !gap || !visible ||
           poison_intact(p->plan, vulkan_class.alignment, p->arena->block->mapped, p->kept->mapped,
                         error);
}

static const struct memory_block *block_of(const struct vulkan_program *p, const struct tensor *t,
                                           size_t *offset)
{
    const struct place *place = plan_place(p->plan, t);
    *offset = place->offset;
    if (place->kind == PLACE_KEPT)
        return p->kept;
    g_assert(place->kind == PLACE_IMPORT);
    *offset = plan_place(place->from_plan, place->from_tensor)->offset;
    return ((const struct vulkan_program *)place->from)->kept;
}

static void write_input(struct program *program, const struct tensor *input, const void *data)
{
    struct vulkan_program *p = (struct vulkan_program *)program;
    struct vulkan_backend *b = (struct vulkan_backend *)program->backend;
    if (plan_place(p->plan, input)->kind == PLACE_NONE)
        return; /* nobody reads it */
    size_t offset, count = tensor_count(input);
    const struct memory_block *block = block_of(p, input, &offset);
    enum dtype store = plan_store(p->plan, input);
    g_autofree uint16_t *halves = NULL;
    if (store == DTYPE_F16) {
        halves = g_new(uint16_t, count);
        for (size_t i = 0; i < count; i++)
            halves[i] = half_from_float(((const float *)data)[i]);
        data = halves;
    }
    uint8_t *host = host_input(p, input);
    if (host)
        memcpy(host, data, count * dtype_size(store));
    else
        gpu_memory_upload(b->m, block, offset, data, count * dtype_size(store), NULL); /* mapped */
}

static void read_output(struct program *program, const struct tensor *output, float *data)
{
    struct vulkan_program *p = (struct vulkan_program *)program;
    struct vulkan_backend *b = (struct vulkan_backend *)program->backend;
    size_t offset, count = tensor_count(output);
    const struct memory_block *block = block_of(p, output, &offset);
    enum dtype store = plan_store(p->plan, output);
    g_autofree uint16_t *halves = store == DTYPE_F16 ? g_new(uint16_t, count) : NULL;
    g_autoptr(GError) error = NULL;
    void *to = halves ? (void *)halves : (void *)data;
    const uint8_t *host = host_output(p, output);
    if (host) {
        memcpy(to, host, count * dtype_size(store));
    } else if (!gpu_memory_download(b->m, block, offset, to, count * dtype_size(store), &error)) {
        g_warning("%s", error->message); /* a mark's, or what another program keeps */
        for (size_t i = 0; i < count; i++)
            data[i] = NAN; /* found by whoever checks the picture */
        return;
    }
    if (halves)
        for (size_t i = 0; i < count; i++)
            data[i] = half_to_float(halves[i]);
}

static void forget_weights(struct backend *backend, bool stale)
{
    pack_forget_unused((struct vulkan_backend *)backend, stale);
}

static void destroy(struct backend *backend)
{
    struct vulkan_backend *b = (struct vulkan_backend *)backend;
    if (!b)
        return;
    if (b->packed)
        pack_forget_unused(b, false);
    if (b->packed_index)
        g_hash_table_destroy(b->packed_index);
    if (b->packed)
        g_ptr_array_free(b->packed, true);
    if (b->arenas)
        g_ptr_array_free(b->arenas, true);
    if (b->m)
        gpu_memory_block_destroy(b->m, b->spare);
    gpu_memory_destroy(b->m);
    pipelines_destroy(b->p);
    gpu_close(b->d);
    g_free(backend->label);
    g_free(b);
}

static const struct backend_class vulkan_class = {
    .name = "vulkan",
    .fuse = FUSE_RESIDUAL | FUSE_BROADCAST | FUSE_NORM_SILU | FUSE_ACTIVATION | FUSE_GEGLU |
            FUSE_UPSAMPLE | FUSE_IN_PLACE | FUSE_F32_OUTPUT,
    .alignment = 256,
    .compile = compile,
    .run = run,
    .write = write_input,
    .read = read_output,
    .destroy_program = destroy_program,
    .forget_weights = forget_weights,
    .destroy = destroy,
};

/* What is expected before anything is measured: low enough that first submissions stay short. */
static void expect(struct vulkan_backend *b)
{
    static const double rates[] = {2e12, 2e11, 1e11, 3e10};
    static const double bandwidths[] = {1e11, 2e10, 1e10, 3e9};
    b->rate = rates[b->d->info.kind];
    b->bandwidth = bandwidths[b->d->info.kind];
    b->scale = 1;
}

struct backend *vulkan_backend_create(const char *device, enum dtype precision, GError **error)
{
    g_return_val_if_fail(precision == DTYPE_F32 || precision == DTYPE_F16, NULL);
    struct vulkan_backend *b = g_new0(struct vulkan_backend, 1);
    b->base.class = &vulkan_class;
    b->base.gap = poison_gap();
    b->base.precision = precision;
    if (!(b->d = gpu_open(device, error)))
        goto fail;
    if (precision == DTYPE_F16 && !b->d->f16) {
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                    _("“%s” has no 16-bit storage; use --precision f32."), b->d->info.name);
        goto fail;
    }
    b->base.label = g_strdup_printf("%s (%s)", b->d->info.name, dtype_name(precision));
    b->m = gpu_memory_create(b->d, &b->base);
    b->packed = g_ptr_array_new();
    b->packed_index = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    b->arenas = g_ptr_array_new();
    expect(b);
    if (!(b->p = pipelines_create(b->d, error)) ||
        !(b->spare = gpu_memory_block_create(b->m, 256, MEMORY_DEVICE, _("a constant"), error)) ||
        !selftest_choose(b, error))
        goto fail;
    return &b->base;
fail:
    destroy(&b->base);
    return NULL;
}
