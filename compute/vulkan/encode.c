/*
 * From nodes of a plan to dispatches: the ops that are not products of matrices, and what both
 * files share. A tensor larger than the device can bind is done in windows of rows.
 */
#include "compute/vulkan/internal.h"

#include "compute/shaders/push.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

#define LOCAL_SIZE 128u
#define ROW_STEP 256 /* rows of a window: keeps every offset aligned for any row of whole quads */

struct span span_of(const struct encoder *e, const struct tensor *t)
{
    const struct plan *plan = e->p->plan;
    const struct place *place = plan_place(plan, t);
    struct span s = {.store = plan_store(plan, t), .offset = place->offset, .bytes = place->bytes};
    switch (place->kind) {
    case PLACE_ARENA:
        s.buffer = e->p->arena->block->buffer;
        break;
    case PLACE_KEPT:
        s.buffer = e->p->kept->buffer;
        break;
    case PLACE_IMPORT: {
        const struct place *from = plan_place(place->from_plan, place->from_tensor);
        s.buffer = ((struct vulkan_program *)place->from)->kept->buffer;
        s.offset = from->offset;
        s.bytes = from->bytes;
        break;
    }
    case PLACE_NONE:
        g_assert_not_reached();
    }
    return s;
}

struct span span_scratch(const struct encoder *e, uint64_t offset, uint64_t bytes)
{
    uint64_t base = (e->p->plan->arena_bytes + 255) & ~(uint64_t)255;
    g_assert(offset + bytes <= e->p->scratch);
    return (struct span){e->p->arena->block->buffer, base + offset, bytes, DTYPE_F32};
}

bool span_weight(struct encoder *e, const struct weight *w, enum packing packing, size_t count,
                 struct span *span, GError **error)
{
    struct packed *packed = pack_get(e->b, w, packing, count, error);
    if (!packed)
        return false;
    packed->users++;
    g_ptr_array_add(e->p->packed, packed);
    bool vector = packing != PACK_MATRIX && packing != PACK_MATRIX_GEGLU && packing != PACK_TABLE;
    *span = (struct span){packed->piece.block->buffer, packed->piece.offset, packed->bytes,
                          vector ? DTYPE_F32 : e->b->base.precision};
    return true;
}

void dispatch_bind(const struct encoder *e, struct dispatch *dispatch, uint32_t slot,
                   struct span span, uint64_t first, uint64_t bytes, bool write)
{
    bool texels = e->b->d->texel_kernels && !write && span.store != DTYPE_I32;
    struct binding *b = &dispatch->bindings[dispatch->binding_count++];
    /* A poisoned gap is bound too: else many devices answer a read behind the end with 0. */
    uint64_t gap = write ? 0 : e->b->base.gap;
    *b = (struct binding){.slot = slot,
                          .write = write,
                          .buffer = span.buffer,
                          .offset = span.offset + first,
                          .bytes = (bytes + 15) & ~(uint64_t)15};
    b->bytes = MAX(b->bytes, MIN(b->bytes + gap, e->b->d->limits.range & ~(uint64_t)15));
    if (texels)
        b->texels =
            span.store == DTYPE_F16 ? VK_FORMAT_R16G16B16A16_SFLOAT : VK_FORMAT_R32G32B32A32_SFLOAT;
}

bool dispatch_add(struct encoder *e, struct dispatch *dispatch, struct pipeline_key *key,
                  bool texels, const void *push, size_t push_bytes, GError **error)
{
    static const char *const suffixes[2][2] = {{"_f32", "_f32_t"}, {"_f16", "_f16_t"}};
    const char *suffix = suffixes[e->b->base.precision == DTYPE_F16][texels];
    dispatch->pipeline = pipelines_get(e->b->p, key, suffix, error);
    if (!dispatch->pipeline)
        return false;
    g_assert(push_bytes <= PUSH_BYTES);
    memcpy(dispatch->push, push, push_bytes);
    dispatch->push_bytes = (uint32_t)push_bytes;
    dispatch->node = e->node;
    uint64_t bytes = 0;
    for (int i = 0; i < dispatch->binding_count; i++)
        bytes += dispatch->bindings[i].bytes;
    dispatch->seconds += 5e-6 + (double)bytes / e->b->bandwidth;
    commands_add(e->p->commands, dispatch);
    return true;
}

void dispatch_fold(const struct encoder *e, struct dispatch *dispatch, uint64_t groups)
{
    uint64_t limit = e->b->d->limits.groups, x = MIN(MAX(groups, 1), limit);
    if (groups > limit)
        x = ceil_div(groups, ceil_div(groups, limit));
    dispatch->groups[0] = (uint32_t)x;
    dispatch->groups[1] = (uint32_t)ceil_div(MAX(groups, 1), x);
    dispatch->groups[2] = 1;
}

static bool too_large(const struct encoder *e, uint64_t bytes, GError **error)
{
    g_autofree char *has = g_format_size(bytes);
    g_autofree char *limit = g_format_size(e->b->d->limits.range);
    g_set_error(
        error, VULKAN_ERROR, VULKAN_ERROR_MEMORY,
        _("“%s” can bind at most %s of memory at once, and a part of this picture needs %s. "
          "Try a smaller picture, or make it on the CPU."),
        e->b->d->info.name, limit, has);
    return false;
}

static bool fits(const struct encoder *e, uint64_t bytes, GError **error)
{
    return bytes + 15 <= e->b->d->limits.range || too_large(e, bytes, error);
}

bool rows_in_range(const struct encoder *e, uint64_t row_bytes, uint64_t *rows, GError **error)
{
    uint64_t range = e->b->d->limits.range;
    if (e->b->d->texel_kernels) /* texel buffers have a limit of their own, in texels of 8 bytes or
                                   more */
        range = MIN(range, e->b->d->limits.texels * 8);
    *rows = range / row_bytes / ROW_STEP * ROW_STEP;
    return *rows > 0 || too_large(e, row_bytes * ROW_STEP, error);
}

static uint32_t local_size(const struct encoder *e)
{
    return MIN(LOCAL_SIZE, e->b->d->limits.invocations);
}

/* Workgroups that reduce: one subgroup on lavapipe. */
static uint32_t reducing_size(const struct encoder *e)
{
    return e->b->d->texel_kernels ? 8 : local_size(e);
}

static struct pipeline_key key_of(const char *shader, uint32_t local, bool aligned)
{
    return (struct pipeline_key){
        .shader = shader, .constants = {local, aligned}, .constant_count = 2};
}

static uint64_t last_dim(const struct tensor *t)
{
    return (uint64_t)t->dims[t->rank - 1];
}

static uint64_t row_count(const struct tensor *t)
{
    return tensor_count(t) / last_dim(t);
}

static size_t element(const struct encoder *e)
{
    return dtype_size(e->b->base.precision);
}

/* Windows of a flat run of quads: *first is advanced; false when done. */
static uint64_t next_quads(const struct encoder *e, uint64_t left)
{
    uint64_t most = e->b->d->limits.range / (4 * element(e)) / ROW_STEP * ROW_STEP;
    return MIN(left, most);
}

static bool encode_unary(struct encoder *e, const struct node *n, GError **error)
{
    struct span x = span_of(e, n->in[0]), y = span_of(e, n->out);
    uint64_t quads = ceil_div(tensor_count(n->out), 4), quad_bytes = 4 * element(e);
    bool texels = e->b->d->texel_kernels;
    for (uint64_t first = 0; first < quads;) {
        uint64_t count = next_quads(e, quads - first);
        struct push_unary push = {(uint32_t)count, n->op == OP_scale ? n->params.scale.factor : 0};
        struct pipeline_key key = key_of(op_name(n->op), local_size(e), true);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, x, first * quad_bytes, count * quad_bytes, false);
        dispatch_bind(e, &d, 1, y, first * quad_bytes, count * quad_bytes, true);
        dispatch_fold(e, &d, ceil_div(count, key.constants[0]));
        if (!dispatch_add(e, &d, &key, texels, &push, sizeof push, error))
            return false;
        first += count;
    }
    return true;
}

static bool encode_add_flat(struct encoder *e, const struct node *n, GError **error)
{
    struct span a = span_of(e, n->in[0]), b = span_of(e, n->in[1]), y = span_of(e, n->out);
    uint64_t quads = ceil_div(tensor_count(n->out), 4), quad_bytes = 4 * element(e);
    for (uint64_t first = 0; first < quads;) {
        uint64_t count = next_quads(e, quads - first);
        struct push_add push = {.quads = (uint32_t)count};
        struct pipeline_key key = key_of("add", local_size(e), true);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, a, first * quad_bytes, count * quad_bytes, false);
        dispatch_bind(e, &d, 1, b, first * quad_bytes, count * quad_bytes, false);
        dispatch_bind(e, &d, 2, y, first * quad_bytes, count * quad_bytes, true);
        dispatch_fold(e, &d, ceil_div(count, key.constants[0]));
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
        first += count;
    }
    return true;
}

static bool same_dims(const struct tensor *a, const struct tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->rank) == 0;
}

static bool encode_add(struct encoder *e, const struct node *n, GError **error)
{
    if (same_dims(n->in[0], n->in[1]))
        return encode_add_flat(e, n, error);
    struct span a = span_of(e, n->in[0]), b = span_of(e, n->in[1]), y = span_of(e, n->out);
    uint64_t channels = last_dim(n->out), rows = row_count(n->out), most;
    uint64_t row_bytes = channels * element(e);
    if (!rows_in_range(e, row_bytes, &most, error) || !fits(e, b.bytes, error))
        return false;
    bool per_picture = n->in[1]->rank == 2;
    for (uint64_t first = 0; first < rows; first += most) {
        uint64_t count = MIN(most, rows - first);
        struct push_add push = {
            .rows = (uint32_t)count, .channels = (uint32_t)channels, .first = (uint32_t)first};
        if (per_picture)
            push.rows_per_b = (uint32_t)(rows / (uint64_t)n->in[1]->dims[0]);
        else
            push.b_rows = (uint32_t)n->in[1]->dims[1];
        struct pipeline_key key = key_of("add", local_size(e), channels % 4 == 0);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, a, first * row_bytes, count * row_bytes, false);
        dispatch_bind(e, &d, 1, b, 0, b.bytes, false);
        dispatch_bind(e, &d, 2, y, first * row_bytes, count * row_bytes, true);
        dispatch_fold(e, &d, ceil_div(count * ceil_div(channels, 4), key.constants[0]));
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

static bool encode_geglu(struct encoder *e, const struct node *n, GError **error)
{
    struct span x = span_of(e, n->in[0]), y = span_of(e, n->out);
    uint64_t channels = last_dim(n->out), rows = row_count(n->out), most;
    uint64_t row_bytes = channels * element(e);
    if (!rows_in_range(e, 2 * row_bytes, &most, error))
        return false;
    for (uint64_t first = 0; first < rows; first += most) {
        uint64_t count = MIN(most, rows - first);
        struct push_geglu push = {(uint32_t)count, (uint32_t)channels};
        struct pipeline_key key = key_of("geglu", local_size(e), channels % 4 == 0);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, x, first * 2 * row_bytes, count * 2 * row_bytes, false);
        dispatch_bind(e, &d, 1, y, first * row_bytes, count * row_bytes, true);
        dispatch_fold(e, &d, ceil_div(count * ceil_div(channels, 4), key.constants[0]));
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

static bool encode_concat(struct encoder *e, const struct node *n, GError **error)
{
    struct span a = span_of(e, n->in[0]), b = span_of(e, n->in[1]), y = span_of(e, n->out);
    uint64_t left = last_dim(n->in[0]), right = last_dim(n->in[1]), rows = row_count(n->out), most;
    if (!rows_in_range(e, (left + right) * element(e), &most, error))
        return false;
    for (uint64_t first = 0; first < rows; first += most) {
        uint64_t count = MIN(most, rows - first);
        struct push_concat push = {(uint32_t)count, (uint32_t)left, (uint32_t)right};
        struct pipeline_key key = key_of("concat", local_size(e), left % 4 == 0 && right % 4 == 0);
        uint64_t bytes = element(e);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, a, first * left * bytes, count * left * bytes, false);
        dispatch_bind(e, &d, 1, b, first * right * bytes, count * right * bytes, false);
        dispatch_bind(e, &d, 2, y, first * (left + right) * bytes, count * (left + right) * bytes,
                      true);
        uint64_t quads = ceil_div(left, 4) + ceil_div(right, 4);
        dispatch_fold(e, &d, ceil_div(count * quads, key.constants[0]));
        d.trips = 4;
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

static bool encode_upsample_nearest(struct encoder *e, const struct node *n, GError **error)
{
    struct span x = span_of(e, n->in[0]), y = span_of(e, n->out);
    const int64_t *in = n->in[0]->dims, *out = n->out->dims;
    uint64_t channels = last_dim(n->out), rows = row_count(n->out), most;
    uint64_t row_bytes = channels * element(e), in_pixels = row_count(n->in[0]);
    uint64_t out_size = (uint64_t)(out[1] * out[2]), in_size = (uint64_t)(in[1] * in[2]);
    if (!rows_in_range(e, row_bytes, &most, error))
        return false;
    for (uint64_t first = 0; first < rows; first += most) {
        uint64_t count = MIN(most, rows - first), last = first + count - 1;
        uint64_t from_line = first % out_size / (uint64_t)out[2] * (uint64_t)in[1];
        uint64_t to_line = last % out_size / (uint64_t)out[2] * (uint64_t)in[1];
        uint64_t low = first / out_size * in_size + from_line / (uint64_t)out[1] * (uint64_t)in[2];
        uint64_t high =
            last / out_size * in_size + (to_line / (uint64_t)out[1] + 1) * (uint64_t)in[2];
        low = low / ROW_STEP * ROW_STEP;
        high = MIN(high, in_pixels);
        struct push_upsample_nearest push = {(uint32_t)count,    (uint32_t)first, (uint32_t)low,
                                             (uint32_t)channels, (uint32_t)in[1], (uint32_t)in[2],
                                             (uint32_t)out[1],   (uint32_t)out[2]};
        struct pipeline_key key = key_of("upsample_nearest", local_size(e), channels % 4 == 0);
        struct dispatch d = {0};
        if (!fits(e, (high - low) * row_bytes, error))
            return false;
        dispatch_bind(e, &d, 0, x, low * row_bytes, (high - low) * row_bytes, false);
        dispatch_bind(e, &d, 1, y, first * row_bytes, count * row_bytes, true);
        dispatch_fold(e, &d, ceil_div(count * ceil_div(channels, 4), key.constants[0]));
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

static bool encode_embedding(struct encoder *e, const struct node *n, GError **error)
{
    struct span ids = span_of(e, n->in[0]), y = span_of(e, n->out), table;
    uint64_t channels = last_dim(n->out), rows = row_count(n->out), most;
    uint64_t row_bytes = channels * element(e);
    uint64_t table_rows = n->weight ? (uint64_t)n->weight->dims[0] : row_count(n->in[1]);
    if (n->weight && !span_weight(e, n->weight, PACK_TABLE, 0, &table, error))
        return false;
    if (!n->weight)
        table = span_of(e, n->in[1]);
    if (!rows_in_range(e, row_bytes, &most, error) || !fits(e, rows * row_bytes, error))
        return false;
    for (uint64_t first = 0; first < table_rows; first += most) {
        uint64_t count = MIN(most, table_rows - first);
        struct push_embedding push = {(uint32_t)rows, (uint32_t)channels, (uint32_t)first,
                                      (uint32_t)count};
        struct pipeline_key key = key_of("embedding", local_size(e), channels % 4 == 0);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, ids, 0, ids.bytes, false);
        dispatch_bind(e, &d, 1, table, first * row_bytes, count * row_bytes, false);
        dispatch_bind(e, &d, 2, y, 0, rows * row_bytes, true);
        dispatch_fold(e, &d, ceil_div(rows * ceil_div(channels, 4), key.constants[0]));
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

static bool encode_time_embedding(struct encoder *e, const struct node *n, GError **error)
{
    struct span steps = span_of(e, n->in[0]), y = span_of(e, n->out);
    struct push_time_embedding push = {(uint32_t)row_count(n->out), (uint32_t)last_dim(n->out),
                                       n->params.time_embedding.cos_first,
                                       n->params.time_embedding.shift};
    g_assert(steps.store == DTYPE_F32);
    struct pipeline_key key = key_of("time_embedding", local_size(e), true);
    struct dispatch d = {0};
    if (!fits(e, y.bytes, error))
        return false;
    dispatch_bind(e, &d, 0, steps, 0, steps.bytes, false);
    dispatch_bind(e, &d, 1, y, 0, y.bytes, true);
    dispatch_fold(e, &d, ceil_div(tensor_count(n->out), key.constants[0]));
    return dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error);
}

/* The scale and shift of a norm, or ones and zeros. */
static bool norm_weights(struct encoder *e, const struct node *n, uint64_t channels,
                         struct span *weight, struct span *bias, GError **error)
{
    return span_weight(e, n->weight, n->weight ? PACK_VECTOR : PACK_ONES, channels, weight,
                       error) &&
           span_weight(e, n->bias, n->bias ? PACK_VECTOR : PACK_ZEROS, channels, bias, error);
}

static bool encode_layer_norm(struct encoder *e, const struct node *n, GError **error)
{
    struct span x = span_of(e, n->in[0]), y = span_of(e, n->out), weight, bias;
    uint64_t channels = last_dim(n->out), rows = row_count(n->out), most;
    uint64_t row_bytes = channels * element(e);
    if (!rows_in_range(e, row_bytes, &most, error) ||
        !norm_weights(e, n, channels, &weight, &bias, error))
        return false;
    for (uint64_t first = 0; first < rows; first += most) {
        uint64_t count = MIN(most, rows - first);
        struct push_layer_norm push = {(uint32_t)count, (uint32_t)channels,
                                       n->params.layer_norm.eps};
        struct pipeline_key key = key_of("layer_norm", reducing_size(e), channels % 4 == 0);
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, x, first * row_bytes, count * row_bytes, false);
        dispatch_bind(e, &d, 1, weight, 0, weight.bytes, false);
        dispatch_bind(e, &d, 2, bias, 0, bias.bytes, false);
        dispatch_bind(e, &d, 3, y, first * row_bytes, count * row_bytes, true);
        dispatch_fold(e, &d, count);
        d.trips = 3 * ceil_div(channels, 4 * key.constants[0]) + 64;
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

/* Rows that one invocation of group_norm_stats sums: at most 256 chunks a picture. A power of two,
 * so that windows of whole chunks begin at aligned offsets. */
static uint64_t norm_chunk(uint64_t rows)
{
    uint64_t chunk = 16;
    while (chunk * 256 < rows)
        chunk *= 2;
    return chunk;
}

struct norm_shape {
    uint64_t pictures, rows, channels, quads, chunk, chunks, partial_bytes, scale_bytes;
};

static struct norm_shape norm_shape(const struct node *n)
{
    const struct tensor *x = n->in[0];
    struct norm_shape s = {.pictures = (uint64_t)x->dims[0], .channels = last_dim(x)};
    s.rows = n->op == OP_group_norm && n->params.group_norm.moments
                 ? (uint64_t)n->params.group_norm.rows * (uint64_t)x->dims[2]
                 : row_count(x) / s.pictures;
    s.quads = ceil_div(s.channels, 4);
    s.chunk = norm_chunk(s.rows);
    s.chunks = ceil_div(s.rows, s.chunk);
    s.partial_bytes = s.pictures * s.chunks * s.quads * 32;
    s.partial_bytes = (s.partial_bytes + 255) & ~(uint64_t)255;
    s.scale_bytes = s.pictures * s.quads * 32;
    return s;
}

static bool encode_norm_stats(struct encoder *e, const struct norm_shape *s, struct span x,
                              struct span partials, GError **error)
{
    uint64_t row_bytes = s->channels * element(e), most;
    if (!rows_in_range(e, row_bytes, &most, error))
        return false;
    bool whole = s->pictures * s->rows <= most;
    /* Windows of whole chunks of one picture, whose offsets are aligned. */
    uint64_t unit = MAX(s->chunk, ROW_STEP);
    uint64_t step = whole ? s->pictures * s->rows : MAX(most / unit, 1) * unit;
    for (uint64_t b = 0; b < (whole ? 1 : s->pictures); b++) {
        uint64_t rows = whole ? s->pictures * s->rows : s->rows;
        for (uint64_t first = 0; first < rows; first += step) {
            uint64_t count = MIN(step, rows - first);
            uint64_t chunks = whole ? s->pictures * s->chunks : ceil_div(count, s->chunk);
            struct push_group_norm push = {
                .rows = (uint32_t)(whole ? s->rows : count),
                .channels = (uint32_t)s->channels,
                .chunk = (uint32_t)s->chunk,
                .chunks = (uint32_t)(whole ? s->chunks : chunks),
                .first = (uint32_t)((b * s->chunks + first / s->chunk) * s->quads * 2),
                .count = (uint32_t)chunks};
            struct pipeline_key key =
                key_of("group_norm_stats", local_size(e), s->channels % 4 == 0);
            struct dispatch d = {0};
            uint64_t at = (b * s->rows + first) * row_bytes;
            if (!fits(e, count * row_bytes, error))
                return false;
            dispatch_bind(e, &d, 0, x, at, count * row_bytes, false);
            dispatch_bind(e, &d, 1, partials, 0, s->partial_bytes, true);
            dispatch_fold(e, &d, ceil_div(chunks * s->quads, key.constants[0]));
            d.trips = s->chunk;
            if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
                return false;
        }
    }
    return true;
}

static bool encode_norm_scale(struct encoder *e, const struct node *n, const struct norm_shape *s,
                              struct span partials, struct span scales, GError **error)
{
    struct span weight, bias;
    if (!norm_weights(e, n, s->channels, &weight, &bias, error))
        return false;
    uint64_t groups = (uint64_t)n->params.group_norm.groups;
    struct push_group_norm push = {.rows = (uint32_t)s->rows,
                                   .channels = (uint32_t)s->channels,
                                   .groups = (uint32_t)groups,
                                   .chunk = (uint32_t)s->chunk,
                                   .chunks = (uint32_t)s->chunks,
                                   .eps = n->params.group_norm.eps};
    struct pipeline_key key = key_of("group_norm_scale", reducing_size(e), true);
    key.constants[key.constant_count++] = n->params.group_norm.moments ? 1 : n->in[1] ? 2 : 0;
    struct dispatch d = {.groups = {(uint32_t)groups, (uint32_t)s->pictures, 1}};
    dispatch_bind(e, &d, 0, partials, 0, partials.bytes, false);
    dispatch_bind(e, &d, 1, weight, 0, weight.bytes, false);
    dispatch_bind(e, &d, 2, bias, 0, bias.bytes, false);
    dispatch_bind(e, &d, 3, scales, 0, scales.bytes, true);
    d.trips = (2 * s->chunks + 1) * ceil_div(s->channels / groups, key.constants[0]) + 64;
    return dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error);
}

static bool encode_group_norm(struct encoder *e, const struct node *n, GError **error)
{
    struct norm_shape s = norm_shape(n);
    struct span x = span_of(e, n->in[0]), y = span_of(e, n->out);
    struct span partials = span_scratch(e, 0, s.partial_bytes);
    struct span scales = span_scratch(e, s.partial_bytes, s.scale_bytes);
    uint64_t row_bytes = s.channels * element(e), rows = s.pictures * s.rows, most;
    bool moments = n->params.group_norm.moments, given = n->in[1] != NULL;
    if (moments) {
        uint64_t first = (uint64_t)n->params.group_norm.first * (uint64_t)n->in[0]->dims[2];
        x.offset += first * row_bytes;
        x.bytes -= first * row_bytes;
        if (first * row_bytes % ROW_STEP != 0) { /* offsets that any device can bind */
            g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                        "rows of %" G_GUINT64_FORMAT " bytes cannot be cut", row_bytes);
            return false;
        }
    }
    if (!fits(e, s.partial_bytes, error) ||
        (!given && !encode_norm_stats(e, &s, x, partials, error)) ||
        !encode_norm_scale(e, n, &s, given ? span_of(e, n->in[1]) : partials, moments ? y : scales,
                           error) ||
        !rows_in_range(e, row_bytes, &most, error))
        return false;
    if (moments)
        return true;
    for (uint64_t first = 0; first < rows; first += most) {
        uint64_t count = MIN(most, rows - first);
        struct push_group_norm push = {.rows = (uint32_t)s.rows,
                                       .channels = (uint32_t)s.channels,
                                       .first = (uint32_t)first,
                                       .count = (uint32_t)count};
        struct pipeline_key key = key_of("group_norm", local_size(e), s.channels % 4 == 0);
        key.constants[key.constant_count++] = n->activation == OP_silu;
        struct dispatch d = {0};
        dispatch_bind(e, &d, 0, x, first * row_bytes, count * row_bytes, false);
        dispatch_bind(e, &d, 1, scales, 0, s.scale_bytes, false);
        dispatch_bind(e, &d, 2, y, first * row_bytes, count * row_bytes, true);
        dispatch_fold(e, &d, ceil_div(count * s.quads, key.constants[0]));
        if (!dispatch_add(e, &d, &key, e->b->d->texel_kernels, &push, sizeof push, error))
            return false;
    }
    return true;
}

size_t encode_scratch(struct vulkan_backend *b, const struct plan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->node_count; i++) {
        const struct node *n = &plan->nodes[i];
        size_t bytes = 0;
        if (n->op == OP_group_norm) {
            struct norm_shape s = norm_shape(n);
            bytes = s.partial_bytes + s.scale_bytes;
        } else if (n->op == OP_conv2d || n->op == OP_linear) {
            bytes = scratch_conv2d(b, n);
        }
        most = MAX(most, bytes);
    }
    return most ? ((most + 255) & ~(size_t)255) + b->base.gap : 0;
}

static bool encode_node(struct encoder *e, const struct node *n, GError **error)
{
    switch (n->op) {
    case OP_conv2d:
    case OP_linear:
        return encode_conv2d(e, n, error);
    case OP_attention:
        return encode_attention(e, n, error);
    case OP_group_norm:
        return encode_group_norm(e, n, error);
    case OP_layer_norm:
        return encode_layer_norm(e, n, error);
    case OP_silu:
    case OP_gelu:
    case OP_quick_gelu:
    case OP_relu:
    case OP_soft_clamp:
    case OP_scale:
        return encode_unary(e, n, error);
    case OP_geglu:
        return encode_geglu(e, n, error);
    case OP_add:
        return encode_add(e, n, error);
    case OP_concat:
        return encode_concat(e, n, error);
    case OP_upsample_nearest:
        return encode_upsample_nearest(e, n, error);
    case OP_embedding:
        return encode_embedding(e, n, error);
    case OP_time_embedding:
        return encode_time_embedding(e, n, error);
    case OP_reshape:
    case OP_COUNT:
        break;
    }
    g_assert_not_reached();
}

bool encode_program(struct vulkan_program *p, const int *cancel, GError **error)
{
    struct encoder e = {.b = (struct vulkan_backend *)p->base.backend, .p = p};
    for (e.node = 0; e.node < p->plan->node_count; e.node++) {
        if (cancel && g_atomic_int_get(cancel)) {
            g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "cancelled");
            return false;
        }
        if (!encode_node(&e, &p->plan->nodes[e.node], error))
            return false;
    }
    return true;
}
