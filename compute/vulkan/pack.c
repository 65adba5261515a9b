/* Weights: read from their file, put in the order the shaders want, sent to the device, shared. */
#include "compute/vulkan/internal.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

/* Tiles are gathered up to this size before they are sent. */
#define BATCH_BYTES ((size_t)4 << 20)
#define TILE 32

uint16_t half_from_float(float value)
{
    union {
        float f;
        uint32_t u;
    } in = {value}, scaled;
    uint32_t sign = (in.u >> 16) & 0x8000;
    in.u &= 0x7fffffff;
    if (in.u >= 0x47800000) /* too large, infinite or NaN */
        return (uint16_t)(sign | (in.u > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (in.u < 0x38800000) { /* subnormal: the adder rounds */
        scaled.f = in.f + 0.5f;
        return (uint16_t)(sign | (scaled.u - 0x3f000000));
    }
    uint32_t rounded = in.u + 0xc8000fff + ((in.u >> 13) & 1); /* to nearest, ties to even */
    return (uint16_t)(sign | (rounded >> 13));
}

float half_to_float(uint16_t half)
{
    union {
        uint32_t u;
        float f;
    } out, magic = {113u << 23};
    out.u = (uint32_t)(half & 0x7fff) << 13;
    uint32_t exponent = out.u & (0x7c00u << 13);
    out.u += (127 - 15) << 23;
    if (exponent == 0x7c00u << 13) {
        out.u += (128 - 16) << 23;
    } else if (exponent == 0) {
        out.u += 1 << 23;
        out.f -= magic.f;
    }
    out.u |= (uint32_t)(half & 0x8000) << 16;
    return out.f;
}

struct matrix {
    size_t outputs, inputs, padded, taps;
    size_t run; /* columns of values before as many gates; 0 = no gates */
    size_t element;
};

static size_t run_of(enum packing packing)
{
    switch (packing) {
    case PACK_MATRIX_GEGLU:
    case PACK_VECTOR_GEGLU:
        return 2;
    case PACK_MATRIX_HALVES:
    case PACK_VECTOR_HALVES:
        return TILE / 2;
    default:
        return 0;
    }
}

static struct matrix matrix_of(const struct vulkan_backend *b, const struct weight *w, size_t run)
{
    struct matrix m = {.outputs = (size_t)w->dims[0], .inputs = (size_t)w->dims[1], .taps = 1};
    for (int i = 2; i < w->rank; i++)
        m.taps *= (size_t)w->dims[i];
    m.padded = (m.inputs + TILE - 1) / TILE * TILE;
    m.run = run;
    m.element = dtype_size(b->base.precision);
    return m;
}

/* The row of the file that a packed column holds, or SIZE_MAX for padding. */
static size_t source_row(const struct matrix *m, size_t column)
{
    size_t run = m->run;
    if (!run)
        return column < m->outputs ? column : SIZE_MAX;
    size_t half = m->outputs / 2, c = column / (2 * run) * run + column % run;
    if (c >= half)
        return SIZE_MAX;
    return column % (2 * run) < run ? c : half + c;
}

static void scatter(const struct matrix *m, const void *row, size_t column, void *tile)
{
    for (size_t i = 0; i < m->inputs; i++)
        for (size_t tap = 0; tap < m->taps; tap++) {
            size_t to = (tap * m->padded + i) * TILE + column, from = i * m->taps + tap;
            if (m->element == 2)
                ((uint16_t *)tile)[to] = ((const uint16_t *)row)[from];
            else
                ((uint32_t *)tile)[to] = ((const uint32_t *)row)[from];
        }
}

/* One tile: 32 packed columns. Rows that lie together in the file are read at once. */
static bool pack_tile(const struct vulkan_backend *b, const struct weight *w,
                      const struct matrix *m, size_t tile, uint8_t *rows, uint8_t *out,
                      GError **error)
{
    size_t depth = m->inputs * m->taps;
    memset(out, 0, m->taps * m->padded * TILE * m->element);
    size_t per_read = m->run ? TILE / 2 : TILE;
    size_t first = tile * per_read, limit = m->run ? m->outputs / 2 : m->outputs;
    size_t count = MIN(per_read, limit - first);
    for (int part = 0; part < (m->run ? 2 : 1); part++) {
        size_t start = first + (part ? limit : 0);
        if (!w->read(w, b->base.precision, start * depth, count * depth, rows, error))
            return false;
        for (size_t column = 0; column < TILE; column++) {
            size_t row = source_row(m, tile * TILE + column);
            if (row != SIZE_MAX && row >= start && row < start + count)
                scatter(m, rows + (row - start) * depth * m->element, column, out);
        }
    }
    return true;
}

static bool send_matrix(struct vulkan_backend *b, struct packed *p, GError **error)
{
    struct matrix m = matrix_of(b, p->weight, run_of(p->packing));
    size_t tile_bytes = m.taps * m.padded * TILE * m.element;
    size_t tiles = p->bytes / tile_bytes;
    size_t batch = CLAMP(BATCH_BYTES / tile_bytes, 1, tiles);
    g_autofree uint8_t *out = (uint8_t *)g_try_malloc(batch * tile_bytes);
    g_autofree uint8_t *rows = (uint8_t *)g_try_malloc(m.inputs * m.taps * TILE * m.element);
    if (!out || !rows) {
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_MEMORY,
                    _("Not enough memory to load '%s'. Close other programs and try again."),
                    p->weight->name);
        return false;
    }
    for (size_t tile = 0; tile < tiles; tile += batch) {
        size_t count = MIN(batch, tiles - tile);
        for (size_t i = 0; i < count; i++)
            if (!pack_tile(b, p->weight, &m, tile + i, rows, out + i * tile_bytes, error))
                return false;
        if (!gpu_memory_upload(b->m, p->piece.block, p->piece.offset + tile * tile_bytes, out,
                               count * tile_bytes, error))
            return false;
    }
    return true;
}

static bool send_vector(struct vulkan_backend *b, struct packed *p, GError **error)
{
    size_t padded = p->bytes / sizeof(float);
    g_autofree float *out = g_new0(float, padded);
    if (!p->weight) {
        for (size_t i = 0; i < padded; i++)
            out[i] = p->packing == PACK_ONES ? 1 : 0;
    } else {
        size_t count = weight_count(p->weight);
        g_autofree float *values = g_new(float, count);
        if (!p->weight->read(p->weight, DTYPE_F32, 0, count, values, error))
            return false;
        struct matrix m = {.outputs = count, .run = run_of(p->packing)};
        for (size_t i = 0; i < padded; i++) {
            size_t row = source_row(&m, i);
            out[i] = row == SIZE_MAX ? 0 : values[row];
        }
    }
    return gpu_memory_upload(b->m, p->piece.block, p->piece.offset, out, p->bytes, error);
}

static bool send_table(struct vulkan_backend *b, struct packed *p, GError **error)
{
    size_t element = dtype_size(b->base.precision), count = weight_count(p->weight);
    size_t batch = MIN(count, BATCH_BYTES / element);
    g_autofree uint8_t *values = (uint8_t *)g_malloc(batch * element);
    for (size_t i = 0; i < count; i += batch) {
        size_t n = MIN(batch, count - i);
        if (!p->weight->read(p->weight, b->base.precision, i, n, values, error) ||
            !gpu_memory_upload(b->m, p->piece.block, p->piece.offset + i * element, values,
                               n * element, error))
            return false;
    }
    return true;
}

static bool is_matrix(enum packing packing)
{
    return packing == PACK_MATRIX || packing == PACK_MATRIX_GEGLU || packing == PACK_MATRIX_HALVES;
}

static size_t packed_bytes(const struct vulkan_backend *b, const struct packed *p)
{
    if (p->packing == PACK_TABLE)
        return weight_count(p->weight) * dtype_size(b->base.precision);
    size_t run = run_of(p->packing);
    if (is_matrix(p->packing)) {
        struct matrix m = matrix_of(b, p->weight, run);
        size_t columns = (m.outputs + TILE - 1) / TILE * TILE;
        if (m.run) /* 16 outputs a tile */
            columns = (m.outputs / 2 + TILE / 2 - 1) / (TILE / 2) * TILE;
        return columns * m.taps * m.padded * m.element;
    }
    size_t count = p->weight ? weight_count(p->weight) : p->count;
    if (run)
        return (count / 2 + TILE / 2 - 1) / (TILE / 2) * TILE * sizeof(float);
    return (count + TILE - 1) / TILE * TILE * sizeof(float);
}

static bool send(struct vulkan_backend *b, struct packed *p, GError **error)
{
    p->bytes = packed_bytes(b, p);
    if (!gpu_memory_piece_create(b->m, p->bytes, p->weight ? p->weight->name : _("a constant"),
                                 &p->piece, error))
        return false;
    bool good = false;
    if (is_matrix(p->packing))
        good = send_matrix(b, p, error);
    else if (p->packing == PACK_TABLE)
        good = send_table(b, p, error);
    else
        good = send_vector(b, p, error);
    if (!good)
        gpu_memory_piece_destroy(b->m, &p->piece);
    return good;
}

static char *key_of(const struct weight *w, unsigned revision, enum packing packing, size_t count)
{
    return g_strdup_printf("%p %u %d %zu", (const void *)w, revision, (int)packing, count);
}

struct packed *pack_get(struct vulkan_backend *b, const struct weight *w, enum packing packing,
                        size_t count, GError **error)
{
    g_autofree char *key = key_of(w, w ? w->revision : 0, packing, w ? 0 : count);
    struct packed *p = (struct packed *)g_hash_table_lookup(b->packed_index, key);
    if (p)
        return p;
    p = g_new0(struct packed, 1);
    p->weight = w;
    p->revision = w ? w->revision : 0;
    p->packing = packing;
    p->count = w ? 0 : count;
    if (!send(b, p, error)) {
        g_free(p);
        return NULL;
    }
    g_ptr_array_add(b->packed, p);
    g_hash_table_insert(b->packed_index, g_steal_pointer(&key), p);
    return p;
}

void pack_forget_unused(struct vulkan_backend *b, bool stale)
{
    for (guint i = b->packed->len; i-- > 0;) {
        struct packed *p = (struct packed *)b->packed->pdata[i];
        if (p->users > 0 || (stale && (!p->weight || p->revision == p->weight->revision)))
            continue;
        g_autofree char *key = key_of(p->weight, p->revision, p->packing, p->count);
        g_hash_table_remove(b->packed_index, key);
        g_ptr_array_remove_index_fast(b->packed, i);
        gpu_memory_piece_destroy(b->m, &p->piece);
        g_free(p);
    }
}
