/* Weights in the form the steps want them: packed once, shared by programs, straight from the file.
 */
#include "compute/cpu/private.h"

#include "compute/cpu/memory.h"
#include "compute/cpu/parallel.h"

#include <gio/gio.h>
#include <string.h>

static guint packed_hash(gconstpointer key)
{
    const struct packed *p = (const struct packed *)key;
    return g_direct_hash(p->weight) ^ p->revision * 31u ^ (guint)p->dtype * 7u ^
           (guint)p->packing * 13u;
}

static gboolean packed_equal(gconstpointer x, gconstpointer y)
{
    const struct packed *a = (const struct packed *)x, *b = (const struct packed *)y;
    return a->weight == b->weight && a->revision == b->revision && a->dtype == b->dtype &&
           a->packing == b->packing &&
           (a->packing != PACK_ONEDNN || dnn_layout_equal(a->layout, b->layout));
}

GHashTable *cpu_packed_table(void)
{
    return g_hash_table_new(packed_hash, packed_equal);
}

static void packed_free(struct cpu *cpu, struct packed *p)
{
    cpu_give(cpu, p->data, p->bytes);
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

/* ---- panels ---- */

#define TOGETHER_FLOATS ((size_t)1 << 18) /* 1 MB: stays in the second cache or near it */

struct panels {
    struct cpu *cpu;
    struct packed *packed;
    const int *cancel;
    size_t panel, rows, taps, in; /* rows of the weight; elements of one: taps * in */
    size_t half_rows, half_panels;
    size_t together; /* panels that are read at once */
    GMutex lock;
    GError *error;
};

static struct panels panels_of(struct cpu *cpu, struct packed *p)
{
    const struct weight *w = p->weight;
    struct panels s = {.cpu = cpu, .packed = p, .panel = (size_t)cpu->kernels->panel};
    s.rows = (size_t)w->dims[0];
    s.in = (size_t)w->dims[1];
    s.taps = w->rank == 4 ? (size_t)(w->dims[2] * w->dims[3]) : 1;
    s.half_rows = p->packing == PACK_HALVES ? s.rows / 2 : s.rows;
    s.half_panels = (s.half_rows + s.panel - 1) / s.panel;
    s.together = CLAMP(TOGETHER_FLOATS / (s.panel * s.taps * s.in), 1, 8);
    return s;
}

static size_t panels_count(const struct panels *s)
{
    size_t panels = s->half_panels * (s->packed->packing == PACK_HALVES ? 2 : 1);
    size_t taps = s->packed->packing == PACK_PHASES ? 16 : s->taps;
    return panels * taps * s->in * s->panel;
}

/* n rows of a panel from file order [n][in][taps] into [taps][in][panel], in blocks of `in` whose
 * lines stay in the first cache while all rows write to them. */
static void transpose(const struct panels *s, size_t n, const float *plain, float *panel)
{
    enum { BLOCK = 16 };
    for (size_t first = 0; first < s->in; first += BLOCK) {
        size_t end = MIN(first + BLOCK, s->in);
        for (size_t r = 0; r < n; r++)
            for (size_t i = first; i < end; i++)
                for (size_t t = 0; t < s->taps; t++)
                    panel[(t * s->in + i) * s->panel + r] = plain[(r * s->in + i) * s->taps + t];
    }
}

/* The 2x2 kernel that a 3x3 kernel is at one parity of the output: taps that see the same pixel add
 * up. `panel` is [9][in][panel], `phase` [4][in][panel]. */
static void sum_phase(const struct panels *s, int py, int px, const float *panel, float *phase)
{
    size_t tap = s->in * s->panel;
    memset(phase, 0, 4 * tap * sizeof *phase);
    for (int ky = 0; ky < 3; ky++)
        for (int kx = 0; kx < 3; kx++) {
            int y = (ky + py + 1) / 2 - py, x = (kx + px + 1) / 2 - px;
            float *to = phase + (size_t)(y * 2 + x) * tap;
            s->cpu->kernels->add(to, panel + (size_t)(ky * 3 + kx) * tap, to, tap);
        }
}

static void store_panel(const struct panels *s, const float *from, size_t first, size_t n)
{
    if (s->packed->dtype == DTYPE_BF16)
        s->cpu->kernels->to_bf16(from, (uint16_t *)s->packed->data + first, n);
    else
        memcpy((float *)s->packed->data + first, from, n * sizeof *from);
}

/* One panel, from its rows in file order. */
static void pack_panel(const struct panels *s, size_t index, size_t n, const float *plain,
                       float *panel)
{
    size_t row = s->taps * s->in;
    if (n < s->panel)
        memset(panel, 0, s->panel * row * sizeof *panel);
    transpose(s, n, plain, panel);
    if (s->packed->packing != PACK_PHASES) {
        store_panel(s, panel, index * s->panel * row, s->panel * row);
        return;
    }
    size_t phase_row = 4 * s->in, panels = s->half_panels;
    g_autofree float *phase = g_new(float, s->panel *phase_row);
    for (int i = 0; i < 4; i++) {
        sum_phase(s, i / 2, i % 2, panel, phase);
        store_panel(s, phase, ((size_t)i * panels + index) * s->panel * phase_row,
                    s->panel * phase_row);
    }
}

/* Some panels of one half: rows that are read together, since an add-on (LoRA) reads its factors
 * for each run of them. */
static void panel_chunk(void *data, size_t index, int thread)
{
    struct panels *s = (struct panels *)data;
    (void)thread;
    size_t chunks = (s->half_panels + s->together - 1) / s->together;
    size_t half = index / chunks, first = index % chunks * s->together;
    size_t count = MIN(s->together, s->half_panels - first), row = s->taps * s->in;
    size_t start = first * s->panel, rows = MIN(count * s->panel, s->half_rows - start);
    g_autofree float *plain = g_new(float, rows *row);
    g_autofree float *panel = g_new(float, s->panel *row);
    GError *error = NULL;
    if (step_cancelled(s->cancel, &error) ||
        !s->packed->weight->read(s->packed->weight, DTYPE_F32, (half * s->half_rows + start) * row,
                                 rows * row, plain, &error)) {
        g_mutex_lock(&s->lock);
        if (!s->error)
            s->error = g_steal_pointer(&error);
        g_mutex_unlock(&s->lock);
        g_clear_error(&error);
        return;
    }
    for (size_t k = 0; k < count; k++)
        pack_panel(s, half * s->half_panels + first + k, MIN(s->panel, rows - k * s->panel),
                   plain + k * s->panel * row, panel);
}

static bool read_panels(struct cpu *cpu, struct packed *p, const int *cancel, GError **error)
{
    struct panels s = panels_of(cpu, p);
    s.cancel = cancel;
    g_mutex_init(&s.lock);
    parallel_for((s.half_panels + s.together - 1) / s.together *
                     (p->packing == PACK_HALVES ? 2 : 1),
                 cancel, panel_chunk, &s);
    g_mutex_clear(&s.lock);
    if (!s.error && step_cancelled(cancel, &s.error))
        g_assert(s.error);
    if (s.error)
        g_propagate_error(error, s.error);
    return s.error == NULL;
}

static size_t packed_count(struct cpu *cpu, struct packed *p)
{
    if (p->packing == PACK_PLAIN)
        return weight_count(p->weight);
    if (p->packing == PACK_ONEDNN)
        return dnn_layout_bytes(p->layout) / dtype_size(dnn_layout_dtype(p->layout));
    struct panels s = panels_of(cpu, p);
    return panels_count(&s);
}

static bool read_packed(struct cpu *cpu, struct packed *p, const int *cancel, GError **error)
{
    const struct weight *w = p->weight;
    if (p->packing == PACK_PLAIN)
        return read_weight(w, p->dtype, p->data, cancel, error);
    if (p->packing != PACK_ONEDNN)
        return read_panels(cpu, p, cancel, error);
    enum dtype type = dnn_layout_dtype(p->layout);
    size_t bytes = weight_count(w) * dtype_size(type);
    void *plain = cpu_take(cpu, bytes, "reading a weight", error);
    if (!plain)
        return false;
    bool ok = read_weight(w, type, plain, cancel, error) && reorder(cpu, p, plain, error);
    cpu_give(cpu, plain, bytes);
    return ok;
}

/* The copy of the values that this weight had before an add-on changed them: its memory is ready to
 * be filled again, which is quicker than to have pages taken and cleared. */
static struct packed *take_stale(struct cpu *cpu, struct packed *key)
{
    size_t bytes = packed_count(cpu, key) * dtype_size(key->dtype);
    GHashTableIter iter;
    gpointer found;
    g_hash_table_iter_init(&iter, cpu->packed);
    while (g_hash_table_iter_next(&iter, &found, NULL)) {
        struct packed *p = (struct packed *)found;
        if (p->users || p->weight != key->weight || p->packing != key->packing ||
            p->dtype != key->dtype || p->bytes != bytes ||
            (p->layout && !dnn_layout_equal(p->layout, key->layout)))
            continue;
        g_hash_table_iter_steal(&iter);
        return p;
    }
    return NULL;
}

static struct packed *pack(struct cpu *cpu, struct packed *key, const int *cancel, GError **error)
{
    struct packed *p = take_stale(cpu, key);
    if (p) {
        p->revision = key->revision;
        if (read_packed(cpu, p, cancel, error)) {
            g_hash_table_add(cpu->packed, p);
            return p;
        }
        packed_free(cpu, p);
        return NULL;
    }
    p = g_new0(struct packed, 1);
    p->weight = key->weight;
    p->revision = key->revision;
    p->dtype = key->dtype;
    p->packing = key->packing;
    p->layout = key->layout ? dnn_layout_copy(key->layout) : NULL;
    p->bytes = packed_count(cpu, p) * dtype_size(p->dtype);
    p->data = cpu_take(cpu, p->bytes, "the model's weights", error);
    if (p->data && read_packed(cpu, p, cancel, error)) {
        g_hash_table_add(cpu->packed, p);
        return p;
    }
    packed_free(cpu, p);
    return NULL;
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
