/*
 * attention: heads and queries to workgroups for the kernels of each path. A dispatch is cut by
 * pictures and queries, as in encode_product.c; which kernel runs follows the whole layer, so that
 * no window changes a bit.
 */
#include "compute/vulkan/internal.h"

#include "compute/shaders/push.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define ROW_STEP 256

struct heads {
    uint64_t batch, queries, keys, width, count, head_size;
    struct span q, k, v, y;
};

/* What computes a layer. */
struct kernel {
    const char *shader;
    uint32_t queries; /* of a workgroup */
    uint32_t local, subgroup;
    uint32_t more[6]; /* specialisation constants from 2 on */
    uint32_t more_count;
    uint64_t slices;  /* of the output columns: scores are computed for each */
    uint64_t columns; /* of a slice, where a dispatch may have some of them; 0 = all slices */
    uint64_t trips;
    double work; /* seconds over those that its products alone would take */
};

/* attention_matrix.comp */
struct matrix_kernel {
    uint32_t head;         /* columns, padded */
    uint32_t rows, groups; /* fragments of queries of a group, groups of a workgroup */
    uint32_t split;        /* subgroups of a group */
    uint32_t keys, depth, part, queries, local;
};

static struct matrix_kernel matrix_of(const struct vulkan_backend *b, uint32_t head, uint32_t rows,
                                      uint32_t groups)
{
    struct matrix_kernel k = {head, rows, groups, 1, 32, head, 32, 0, 0};
    if (head > 160) {
        k.split = 4;
        k.keys = k.depth = 64;
        k.part = 16;
    }
    k.queries = groups * rows * b->shape.m;
    k.local = groups * k.split * b->d->subgroup;
    return k;
}

/* Bytes of shared memory, as the shader declares it. */
static uint64_t matrix_shared(const struct matrix_kernel *k, uint32_t m)
{
    uint64_t stride = k->depth / 4 + 2, team = k->local / k->groups;
    uint64_t key_tile = k->keys * stride, value_tile = k->part * (uint64_t)(k->head / 4 + 2);
    uint64_t pool =
        k->split > 1 ? MAX(key_tile + k->queries * stride, value_tile) : key_tile + value_tile;
    uint64_t row = k->keys / 4 + 2, lanes = MAX(MIN(team / m, k->keys / 4), 1);
    return 8 * pool + (uint64_t)k->groups * m * (16 * row + 4 * lanes) + k->queries * (8 * row + 4);
}

/* The trips of loops that are not unrolled, at most. */
static uint64_t matrix_trips(const struct vulkan_backend *b, const struct matrix_kernel *k,
                             uint64_t keys)
{
    uint64_t m = b->shape.m, lanes = b->d->subgroup, tiles = ceil_div(keys, k->keys);
    uint64_t scaled = k->rows * (m / lanes + m * b->shape.n / 4 / lanes + 2), tile = 3 + scaled;
    if (k->split > 1)
        tile += k->head / k->depth * ((k->keys + k->queries) * k->depth / 4 / k->local + 3) +
                k->keys / k->part * (k->part * k->head / 4 / k->local + 2);
    uint64_t once = k->rows * (k->groups * m * k->head / 4 / k->local + 2);
    return tiles * tile + 2 * once + k->rows * (m / lanes + 1);
}

/* A head as the matrix kernel pads it; 0 = too large. */
static uint32_t padded_head(uint64_t head_size)
{
    static const uint32_t heads[] = {32, 48, 64, 80, 128, 160, 256, 512};
    for (size_t i = 0; i < G_N_ELEMENTS(heads); i++)
        if (head_size <= heads[i])
            return heads[i];
    return 0;
}

struct matrix_try {
    uint32_t largest; /* head */
    uint32_t rows, groups;
    bool many; /* only where it leaves workgroups enough to fill the device */
};

/* Best first. False = none that this device has the room for. */
static bool find_matrix(const struct vulkan_backend *b, const struct heads *h,
                        struct matrix_kernel *k)
{
    static const struct matrix_try tries[] = {
        {80, 2, 4, true},  {160, 1, 4, false}, {160, 1, 2, false},
        {512, 2, 2, true}, {512, 2, 1, false},
    };
    const struct matrix_shape *s = &b->shape;
    const struct limits *l = &b->d->limits;
    uint32_t head = padded_head(h->head_size);
    bool matrix = b->path == PATH_MATRIX || (b->path == PATH_MATRIX2 && s->m);
    if (!matrix || !head || 16 % s->m || 16 % s->n || 16 % s->k ||
        !pipelines_have("attention_matrix", "_f16"))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(tries); i++) {
        const struct matrix_try *t = &tries[i];
        if (head > t->largest || (head <= 160 && t->largest > 160))
            continue;
        *k = matrix_of(b, head, t->rows, t->groups);
        uint64_t groups = ceil_div(h->queries, k->queries) * h->batch * h->count;
        if ((!t->many || groups >= l->fill) && k->local <= MIN(l->invocations, 512) &&
            matrix_shared(k, s->m) <= l->shared && matrix_trips(b, k, h->keys) <= l->trips)
            return true;
    }
    return false;
}

/* Output columns of a head in one workgroup of attention.comp, in blocks of 64: at most 3. */
static uint32_t head_blocks(uint64_t head_size, uint64_t *slices)
{
    uint64_t blocks = ceil_div(head_size, 64);
    *slices = ceil_div(blocks, 3);
    return (uint32_t)ceil_div(blocks, *slices);
}

/* attention_matrix2.comp: heads padded to what the device's matrices are multiples of, in at most
 * two pieces. */
static bool find_matrix2(const struct vulkan_backend *b, const struct heads *h, struct kernel *k)
{
    enum { KEYS = 64, MOST = 256 };
    const struct matrix2 *m = &b->d->matrix2[0];
    if (b->path != PATH_MATRIX2 || !pipelines_have("attention_matrix2", "_f16") ||
        h->width % 8 != 0 || h->head_size > 2 * MOST || b->d->matrix2_most < MOST)
        return false;
    uint32_t step = MAX(m->columns, 32);
    uint32_t chunk = MIN((uint32_t)ceil_div(h->head_size, step) * step, MOST);
    uint32_t chunks = (uint32_t)ceil_div(h->head_size, chunk);
    bool small = chunk > 96 && 32 % m->rows == 0; /* sums have to fit in registers */
    *k = (struct kernel){.shader = "attention_matrix2",
                         .queries = small ? 32 : 64,
                         .local = m->local,
                         .more = {chunk, chunks, small ? 32 : 64},
                         .more_count = 3,
                         .slices = chunks,
                         .trips = ceil_div(h->keys, KEYS),
                         .work = 2};
    return true;
}

/* attention_register.comp in one of its ways. */
static struct kernel register_way(const struct heads *h, bool causal, bool deep)
{
    uint64_t slices = ceil_div(h->head_size, causal || deep ? 64 : 80);
    uint64_t least = ceil_div(h->head_size, slices);
    uint32_t columns = 64;
    if (!causal && !deep)
        columns = least <= 32 ? 32 : least <= 40 ? 40 : least <= 64 ? 64 : 80;
    uint64_t step = ceil_div(h->head_size, deep ? 16 : 4) + 8 + 1; /* depth, pairs of keys */
    return (struct kernel){.shader = "attention_register",
                           .queries = 32,
                           .local = 8,
                           .subgroup = 8,
                           .more = {columns, causal, deep},
                           .more_count = 3,
                           .slices = slices,
                           .columns = h->head_size % columns == 0 ? columns : 0,
                           .trips = ceil_div(h->keys, 16) * step + columns / 4 * 5,
                           .work = 1};
}

static struct kernel register_kernel(const struct limits *l, const struct heads *h, bool causal)
{
    struct kernel k = register_way(h, causal, false);
    bool deep = !causal && (h->head_size > 160 || k.trips > l->trips);
    return deep ? register_way(h, causal, true) : k;
}

static struct kernel kernel_of(const struct vulkan_backend *b, const struct heads *h, bool causal)
{
    struct kernel k = {.work = 1};
    struct matrix_kernel m;
    if (find_matrix2(b, h, &k))
        return k;
    if (find_matrix(b, h, &m)) {
        uint32_t more[] = {m.head, m.rows, m.groups, b->shape.m, b->shape.n, b->shape.k};
        memcpy(k.more, more, sizeof more);
        k.more_count = G_N_ELEMENTS(more);
        k.shader = "attention_matrix";
        k.queries = m.queries;
        k.local = m.local;
        k.subgroup = b->d->subgroup;
        k.slices = 1;
        k.trips = matrix_trips(b, &m, h->keys);
        k.work = 2; /* the rate is that of convolutions, without exponentials in between */
        return k;
    }
    if (b->path == PATH_REGISTER)
        return register_kernel(&b->d->limits, h, causal);
    k.shader = "attention";
    k.queries = 32;
    k.local = 128;
    k.more[0] = head_blocks(h->head_size, &k.slices);
    k.more_count = 1;
    k.trips = ceil_div(h->keys, 32) * (ceil_div(h->head_size, 16) + 1);
    return k;
}

/* What a dispatch computes: queries [first, first + count) of one picture, or of all when the
 * pictures lie together, and some slices of their heads. */
struct part {
    uint64_t picture, pictures, first, count, slice, slices;
};

/* The products of so many queries, and of slices of their heads; scores as if they had no more. */
static double flops_of(const struct heads *h, const struct kernel *k, uint64_t queries,
                       uint64_t slices)
{
    return 2.0 * (double)(queries * h->keys * h->width) * (double)(slices + 1) * k->work;
}

static bool add_attention(struct encoder *e, const struct node *n, const struct heads *h,
                          const struct kernel *k, struct part part, GError **error)
{
    uint64_t batch = part.pictures, count = part.count;
    struct push_attention push = {(uint32_t)count,          (uint32_t)h->keys,
                                  (uint32_t)h->count,       (uint32_t)h->head_size,
                                  (uint32_t)h->width,       n->params.attention.causal,
                                  n->params.attention.scale};
    struct pipeline_key key = {.shader = k->shader,
                               .constants = {k->local, h->head_size % 4 == 0},
                               .constant_count = 2 + k->more_count,
                               .subgroup = k->subgroup};
    memcpy(key.constants + 2, k->more, sizeof k->more);
    uint64_t size = dtype_size(e->b->base.precision), row = h->width * size;
    uint64_t column = part.slice * k->columns * size;
    uint64_t q_at = (part.picture * h->queries + part.first) * row;
    uint64_t k_at = part.picture * h->keys * row;
    struct dispatch d = {.groups = {(uint32_t)ceil_div(count, k->queries), (uint32_t)part.slices,
                                    (uint32_t)(batch * h->count)},
                         .trips = k->trips};
    dispatch_bind(e, &d, 0, h->q, q_at, batch * count * row, false);
    dispatch_bind(e, &d, 1, h->k, k_at, batch * h->keys * row, false);
    dispatch_bind(e, &d, 2, h->v, k_at + column, batch * h->keys * row - column, false);
    dispatch_bind(e, &d, 3, h->y, q_at + column, batch * count * row - column, true);
    d.seconds = flops_of(h, k, batch * count, part.slices) / e->b->rate;
    return dispatch_add(e, &d, &key, e->b->path == PATH_REGISTER, &push, sizeof push, error);
}

/* Rows that a dispatch may be cut at, so that what it reads and writes there can be bound; no
 * kernel has less to do for fewer. */
static uint64_t row_step(const struct encoder *e, uint64_t row_bytes)
{
    uint64_t align = e->b->d->limits.alignment, step = 32;
    while (step < ROW_STEP && step * row_bytes % align)
        step *= 2;
    return step;
}

/* Slices of a dispatch of so many rows, where all of them take too long; alike in number. */
static uint64_t slices_in(const struct encoder *e, const struct heads *h, const struct kernel *k,
                          uint64_t rows, double most_flops)
{
    uint64_t bytes = k->columns * dtype_size(e->b->base.precision);
    if (!bytes || bytes % e->b->d->limits.alignment)
        return k->slices;
    uint64_t fit = k->slices;
    while (fit > 1 && flops_of(h, k, rows, fit) > most_flops)
        fit--;
    return ceil_div(k->slices, ceil_div(k->slices, fit));
}

static bool too_many(const struct encoder *e, uint64_t keys, GError **error)
{
    g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                _("“%s” cannot compare %zu places of a picture with each other. Try a smaller "
                  "picture, or make it on the CPU."),
                e->b->d->info.name, (size_t)keys);
    return false;
}

bool encode_attention(struct encoder *e, const struct node *n, GError **error)
{
    struct heads h = {.batch = (uint64_t)n->in[0]->dims[0],
                      .queries = (uint64_t)n->in[0]->dims[1],
                      .keys = (uint64_t)n->in[1]->dims[1],
                      .width = (uint64_t)n->in[0]->dims[2],
                      .count = (uint64_t)n->params.attention.heads,
                      .q = span_of(e, n->in[0]),
                      .k = span_of(e, n->in[1]),
                      .v = span_of(e, n->in[2]),
                      .y = span_of(e, n->out)};
    h.head_size = h.width / h.count;
    struct kernel k = kernel_of(e->b, &h, n->params.attention.causal);
    if (k.trips > e->b->d->limits.trips)
        return too_many(e, h.keys, error);
    uint64_t row = h.width * dtype_size(e->b->base.precision), most;
    uint64_t range = e->b->d->limits.range, align = e->b->d->limits.alignment;
    bool together = h.batch * MAX(h.queries, h.keys) * row + 15 <= range &&
                    h.batch * h.count <= e->b->d->limits.groups;
    double flops = flops_of(&h, &k, h.queries, k.slices);
    bool quick = flops * (double)h.batch / e->b->rate * e->b->scale < DISPATCH_SECONDS;
    bool aligned = h.queries * row % align == 0 && h.keys * row % align == 0;
    if (together && (quick || !aligned || n->params.attention.causal))
        return add_attention(e, n, &h, &k, (struct part){0, h.batch, 0, h.queries, 0, k.slices},
                             error);
    if (!rows_in_range(e, row, &most, error))
        return false;
    if (h.keys * row + 15 > range || (h.batch > 1 && !aligned))
        return rows_in_range(e, range, &most, error); /* says so */
    double most_flops = DISPATCH_SECONDS * e->b->rate / MAX(e->b->scale, 0.1);
    uint64_t timed = (uint64_t)((double)h.queries * most_flops / flops);
    uint64_t step = row_step(e, row), slices = k.slices;
    most = MIN(most, MAX(timed / step, 1) * step);
    if (n->params.attention.causal)
        most = h.queries;
    else if (timed < step)
        slices = slices_in(e, &h, &k, step, most_flops);
    for (uint64_t b = 0; b < h.batch; b++)
        for (uint64_t first = 0; first < h.queries; first += most)
            for (uint64_t s = 0; s < k.slices; s += slices) {
                struct part part = {
                    b, 1, first, MIN(most, h.queries - first), s, MIN(slices, k.slices - s)};
                if (!add_attention(e, n, &h, &k, part, error))
                    return false;
            }
    return true;
}
