/* Weights in the form the steps want them: packed once, shared by programs, straight from the file.
 */
#include "compute/cpu/private.h"

#include "compute/cpu/memory.h"
#include "compute/cpu/panels.h"
#include "compute/cpu/parallel.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

static guint packed_hash(gconstpointer key)
{
    const struct packed *p = (const struct packed *)key;
    return g_direct_hash(p->weight) ^ p->revision * 31u ^ (guint)p->packing * 13u;
}

static gboolean packed_equal(gconstpointer x, gconstpointer y)
{
    const struct packed *a = (const struct packed *)x, *b = (const struct packed *)y;
    return a->weight == b->weight && a->revision == b->revision &&
           (a->dtype == b->dtype || a->packing == PACK_FILE) && a->packing == b->packing &&
           (a->packing != PACK_ONEDNN || dnn_layout_equal(a->layout, b->layout));
}

GHashTable *cpu_packed_table(void)
{
    return g_hash_table_new(packed_hash, packed_equal);
}

static void packed_free(struct cpu *cpu, struct packed *p)
{
    if (p->data)
        cpu_count_bytes(cpu, 0, p->bytes);
    memory_pool_give(&cpu->pool, p->data, p->bytes);
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
    void *packed = type == p->dtype ? p->data : memory_take(bytes, _("packing a weight"), error);
    if (!packed)
        return false;
    bool ok =
        dnn_pack(cpu->dnn, p->layout, w->rank == 4 && !dnn_layout_is_matrix(p->layout) ? 4 : 2,
                 w->dims, type, plain, packed);
    if (!ok)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, _("cpu: oneDNN cannot pack '%s'"),
                    w->name);
    if (packed != p->data) {
        cpu->kernels->to_bf16(packed, p->data, bytes / sizeof(float));
        memory_give(packed, bytes);
    }
    return ok;
}

/* ---- by pieces, on all cores: as in the file, or as panels of pairs ---- */

/* Read and searched for NaN while it is in a cache. */
#define PIECE_BYTES ((size_t)512 << 10)
/* Elements that become panels of pairs at once. */
#define PAIRS_COUNT ((size_t)128 << 10)
/* Elements of what an add-on changes, which reads its factors for each piece. */
#define CHANGED_COUNT ((size_t)1 << 20)

struct filling {
    struct packed *packed;
    size_t piece;         /* elements (whole rows of what is changed), or panels */
    struct panels panels; /* of pairs */
    char *buffers;        /* one for each thread: floats for panels_pack(), then rows of the file */
    size_t buffer_bytes;
    const int *cancel;
    GMutex lock;
    GError *error;
};

static size_t piece_of(const struct packed *p)
{
    size_t count = weight_count(p->weight), row = count / MAX((size_t)p->weight->dims[0], 1);
    if (!p->weight->changed)
        return PIECE_BYTES / dtype_size(p->dtype);
    return MAX(CHANGED_COUNT / MAX(row, 1), 1) * MAX(row, 1);
}

static void filling_failed(struct filling *f, GError *error)
{
    g_mutex_lock(&f->lock);
    if (!f->error)
        f->error = g_steal_pointer(&error);
    g_mutex_unlock(&f->lock);
    g_clear_error(&error);
}

static void fill_piece(void *data, size_t index, int thread)
{
    struct filling *f = (struct filling *)data;
    const struct weight *w = f->packed->weight;
    enum dtype as = f->packed->dtype;
    size_t first = index * f->piece;
    (void)thread;
    GError *error = NULL;
    if (step_cancelled(f->cancel, &error) ||
        !w->read(w, as, first, MIN(f->piece, weight_count(w) - first),
                 (char *)f->packed->data + first * dtype_size(as), &error))
        filling_failed(f, error);
}

/* The format that panels of pairs are made from: an add-on's changes are read as F32. */
static enum dtype pairs_source(const struct weight *w)
{
    return w->changed || w->dtype == DTYPE_F64 ? DTYPE_F32 : w->dtype;
}

/* Some panels of one half: their rows lie side by side in the file. */
static void fill_panels(void *data, size_t index, int thread)
{
    struct filling *f = (struct filling *)data;
    const struct panels *s = &f->panels;
    const struct weight *w = f->packed->weight;
    size_t tasks = (s->count + f->piece - 1) / f->piece, half = index / tasks;
    size_t first = index % tasks * f->piece, count = MIN(f->piece, s->count - first);
    size_t row = s->in * s->taps, rows = MIN(count * s->panel, s->rows - first * s->panel);
    enum dtype as = pairs_source(w);
    float *scratch = (float *)(void *)(f->buffers + (size_t)thread * f->buffer_bytes);
    char *from = (char *)(scratch + s->thread_floats);
    GError *error = NULL;
    if (step_cancelled(f->cancel, &error) ||
        !w->read(w, as, (half * s->rows + first * s->panel) * row, rows * row, from, &error))
        filling_failed(f, error);
    else
        for (size_t i = 0; i < count; i++)
            panels_pack(s, first + i, as, from + i * s->panel * row * dtype_size(as),
                        (uint32_t *)f->packed->data +
                            (half * s->count + first + i) * s->depth * s->panel,
                        scratch);
}

static struct panels pairs_of(const struct cpu *cpu, const struct packed *p)
{
    struct panels s;
    panels_describe(&s, cpu, p->weight,
                    p->packing == PACK_PAIRS_HALVES ? PANELS_HALVES : PANELS_PLAIN);
    return s;
}

static bool is_pairs(const struct packed *p)
{
    return p->packing == PACK_PAIRS || p->packing == PACK_PAIRS_HALVES;
}

static void read_pairs(struct cpu *cpu, struct filling *f, GError **error)
{
    struct packed *p = f->packed;
    const struct panels *s = &f->panels;
    f->panels = pairs_of(cpu, p);
    size_t one = s->panel * s->in * s->taps,
           most = p->weight->changed ? CHANGED_COUNT : PAIRS_COUNT;
    f->piece = CLAMP(most / one, 1, s->count);
    f->buffer_bytes = s->thread_floats * sizeof(float) +
                      (f->piece * one * dtype_size(pairs_source(p->weight)) + 63) / 64 * 64;
    size_t bytes = (size_t)parallel_threads() * f->buffer_bytes;
    f->buffers = cpu_take(cpu, bytes, _("reading a weight"), error);
    if (f->buffers)
        parallel_for(s->halves * ((s->count + f->piece - 1) / f->piece), f->cancel, fill_panels, f);
    cpu_give(cpu, f->buffers, bytes);
}

static bool read_pieces(struct cpu *cpu, struct packed *p, const int *cancel, GError **error)
{
    struct filling f = {.packed = p, .cancel = cancel, .piece = piece_of(p)};
    g_mutex_init(&f.lock);
    if (!is_pairs(p))
        parallel_for((weight_count(p->weight) + f.piece - 1) / f.piece, cancel, fill_piece, &f);
    else
        read_pairs(cpu, &f, &f.error);
    g_mutex_clear(&f.lock);
    if (!f.error && step_cancelled(cancel, &f.error))
        g_assert(f.error);
    if (f.error)
        g_propagate_error(error, f.error);
    return f.error == NULL;
}

/*
 * The number format a weight has in memory where products convert it: that of the file, which loses
 * nothing, but BF16 of F32 when that is asked for. What an add-on changed is rounded to 11 bits
 * where the file had at most as many.
 */
enum dtype cpu_weight_dtype(const struct cpu *cpu, const struct weight *w)
{
    bool large = w->dtype == DTYPE_F32 || w->dtype == DTYPE_F64;
    if (large)
        return cpu->base.precision;
    return w->changed ? DTYPE_F16 : w->dtype;
}

static size_t packed_count(const struct cpu *cpu, const struct packed *p)
{
    if (p->packing == PACK_ONEDNN)
        return dnn_layout_bytes(p->layout) / dtype_size(dnn_layout_dtype(p->layout));
    if (!is_pairs(p))
        return weight_count(p->weight);
    struct panels s = pairs_of(cpu, p);
    return panels_bytes(&s) / dtype_size(p->dtype);
}

static bool read_packed(struct cpu *cpu, struct packed *p, const int *cancel, GError **error)
{
    const struct weight *w = p->weight;
    if (p->packing == PACK_PLAIN)
        return read_weight(w, p->dtype, p->data, cancel, error);
    if (p->packing == PACK_FILE || is_pairs(p))
        return read_pieces(cpu, p, cancel, error);
    enum dtype type = dnn_layout_dtype(p->layout);
    size_t bytes = weight_count(w) * dtype_size(type);
    void *plain = cpu_take(cpu, bytes, _("reading a weight"), error);
    if (!plain)
        return false;
    bool ok = read_weight(w, type, plain, cancel, error) && reorder(cpu, p, plain, error);
    cpu_give(cpu, plain, bytes);
    return ok;
}

/* The copy of the values that this weight had before an add-on changed them: its memory is ready to
 * be filled again, which is quicker than to have pages taken and cleared. */
static struct packed *take_stale(struct cpu *cpu, const struct packed *key)
{
    size_t bytes = packed_count(cpu, key) * dtype_size(key->dtype);
    GHashTableIter iter;
    gpointer found;
    g_hash_table_iter_init(&iter, cpu->packed);
    while (g_hash_table_iter_next(&iter, &found, NULL)) {
        struct packed *p = (struct packed *)found;
        if (p->users || p->weight != key->weight || p->packing != key->packing ||
            (p->layout && !dnn_layout_equal(p->layout, key->layout)))
            continue;
        g_hash_table_iter_steal(&iter);
        if (p->bytes == bytes)
            return p;
        packed_free(cpu, p);
    }
    return NULL;
}

static bool take_data(struct cpu *cpu, struct packed *p, GError **error)
{
    const char *purpose = _("the model's weights");
    p->bytes = packed_count(cpu, p) * dtype_size(p->dtype);
    if (cpu->limit && cpu->base.bytes_now + p->bytes > cpu->limit)
        memory_fail(p->bytes, purpose, error);
    else
        p->data = memory_pool_take(&cpu->pool, p->bytes, purpose, error);
    if (p->data)
        cpu_count_bytes(cpu, p->bytes, 0);
    return p->data != NULL;
}

static struct packed *pack_as(struct cpu *cpu, const struct packed *key, enum dtype dtype,
                              const int *cancel, GError **error)
{
    struct packed wanted = *key;
    wanted.dtype = dtype;
    struct packed *p = take_stale(cpu, &wanted);
    if (!p) {
        p = g_new0(struct packed, 1);
        p->weight = key->weight;
        p->packing = key->packing;
        p->layout = key->layout ? dnn_layout_copy(key->layout) : NULL;
    }
    p->revision = key->revision;
    p->dtype = dtype;
    if ((p->data || take_data(cpu, p, error)) && read_packed(cpu, p, cancel, error)) {
        g_hash_table_add(cpu->packed, p);
        return p;
    }
    packed_free(cpu, p);
    return NULL;
}

static struct packed *pack(struct cpu *cpu, const struct packed *key, const int *cancel,
                           GError **error)
{
    GError *problem = NULL;
    struct packed *p = pack_as(cpu, key, key->dtype, cancel, &problem);
    /* What an add-on made too large for F16 is kept in F32. */
    if (!p && key->packing == PACK_FILE && key->weight->changed && key->dtype == DTYPE_F16 &&
        !step_cancelled(cancel, NULL)) {
        g_clear_error(&problem);
        p = pack_as(cpu, key, DTYPE_F32, cancel, &problem);
    }
    if (problem)
        g_propagate_error(error, problem);
    return p;
}

const struct packed *step_weight(struct step *step, const struct weight *weight,
                                 enum packing packing, const struct dnn_layout *layout,
                                 enum dtype dtype, const int *cancel, GError **error)
{
    struct cpu_program *program = step->program;
    struct packed key = {.weight = weight,
                         .revision = weight->revision,
                         .packing = packing,
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

void cpu_forget_weights(struct backend *backend, bool stale)
{
    if (stale) /* their memory is used again by the new values: take_stale() */
        return;
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

size_t cpu_weight_bytes(const struct backend *backend, const struct plan *plan)
{
    const struct cpu *cpu = (const struct cpu *)backend;
    size_t bytes = 0;
    for (guint i = 0; i < plan->weights->len; i++) {
        const struct weight *w = plan->weights->pdata[i];
        enum dtype dtype = w->rank == 1  ? DTYPE_F32
                           : cpu->direct ? cpu_weight_dtype(cpu, w)
                                         : backend->precision;
        bytes += weight_count(w) * dtype_size(dtype);
    }
    return bytes;
}
