/*
 * attention: heads and queries to workgroups for the kernels of each path. A dispatch is cut by
 * pictures and queries, as in encode_product.c; which kernel runs follows the head alone, so that
 * no window changes a bit.
 */
#include "compute/vulkan/internal.h"

#include "compute/shaders/push.h"

#define ROW_STEP 256

/* Output columns of a head in one workgroup, in blocks of the kernel: at most 3 blocks. */
static uint32_t head_blocks(uint64_t head_size, uint64_t block, uint64_t *slices)
{
    uint64_t blocks = ceil_div(head_size, block);
    *slices = ceil_div(blocks, 3);
    return (uint32_t)ceil_div(blocks, *slices);
}

struct heads {
    uint64_t batch, queries, keys, width, head_size;
    struct span q, k, v, y;
};

/* Queries [first, first + count) of one picture, or of all when the pictures lie together. */
static bool add_attention(struct encoder *e, const struct node *n, const struct heads *h,
                          uint64_t picture, uint64_t batch, uint64_t first, uint64_t count,
                          GError **error)
{
    bool registers = e->b->path == PATH_REGISTER;
    uint64_t slices;
    uint32_t blocks = head_blocks(h->head_size, registers ? 32 : 64, &slices);
    struct push_attention push = {
        (uint32_t)count,          (uint32_t)h->keys,  (uint32_t)n->params.attention.heads,
        (uint32_t)h->head_size,   (uint32_t)h->width, n->params.attention.causal,
        n->params.attention.scale};
    struct pipeline_key key = {.shader = registers ? "attention_register" : "attention",
                               .constants = {registers ? 8 : 128, h->head_size % 4 == 0, blocks},
                               .constant_count = 3,
                               .subgroup = registers ? 8 : 0};
    uint64_t row = h->width * dtype_size(e->b->base.precision);
    uint64_t q_at = (picture * h->queries + first) * row, k_at = picture * h->keys * row;
    uint64_t tiles = ceil_div(h->keys, 32);
    struct dispatch d = {.groups = {(uint32_t)ceil_div(count, registers ? 16 : 32),
                                    (uint32_t)slices, (uint32_t)(batch * push.heads)}};
    dispatch_bind(e, &d, 0, h->q, q_at, batch * count * row, false);
    dispatch_bind(e, &d, 1, h->k, k_at, batch * h->keys * row, false);
    dispatch_bind(e, &d, 2, h->v, k_at, batch * h->keys * row, false);
    dispatch_bind(e, &d, 3, h->y, q_at, batch * count * row, true);
    d.trips = registers ? tiles * (ceil_div(h->head_size, 8) + 5)
                        : tiles * (ceil_div(h->head_size, 16) + 1);
    d.seconds =
        2.0 * (double)(batch * count * h->keys * h->width) * (double)(slices + 1) / e->b->rate;
    return dispatch_add(e, &d, &key, registers, &push, sizeof push, error);
}

/* Rows that a dispatch may be cut at, so that what it reads and writes there can be bound. */
static uint64_t row_step(const struct encoder *e, uint64_t row_bytes)
{
    uint64_t align = e->b->d->limits.alignment, step = 16;
    while (step < ROW_STEP && step * row_bytes % align)
        step *= 2;
    return step;
}

bool encode_attention(struct encoder *e, const struct node *n, GError **error)
{
    struct heads h = {.batch = (uint64_t)n->in[0]->dims[0],
                      .queries = (uint64_t)n->in[0]->dims[1],
                      .keys = (uint64_t)n->in[1]->dims[1],
                      .width = (uint64_t)n->in[0]->dims[2],
                      .q = span_of(e, n->in[0]),
                      .k = span_of(e, n->in[1]),
                      .v = span_of(e, n->in[2]),
                      .y = span_of(e, n->out)};
    h.head_size = h.width / (uint64_t)n->params.attention.heads;
    uint64_t row = h.width * dtype_size(e->b->base.precision), most;
    uint64_t range = e->b->d->limits.range, align = e->b->d->limits.alignment;
    bool together = h.batch * MAX(h.queries, h.keys) * row + 15 <= range &&
                    h.batch * (uint64_t)n->params.attention.heads <= e->b->d->limits.groups;
    uint64_t slices;
    head_blocks(h.head_size, e->b->path == PATH_REGISTER ? 32 : 64, &slices);
    double flops = 2.0 * (double)(h.queries * h.keys * (slices + 1)) * (double)h.width;
    bool quick = flops * (double)h.batch / e->b->rate * e->b->scale < DISPATCH_SECONDS;
    bool aligned = h.queries * row % align == 0 && h.keys * row % align == 0;
    if (together && (quick || !aligned || n->params.attention.causal))
        return add_attention(e, n, &h, 0, h.batch, 0, h.queries, error);
    if (!rows_in_range(e, row, &most, error))
        return false;
    if (h.keys * row + 15 > range || (h.batch > 1 && !aligned))
        return rows_in_range(e, range, &most, error); /* says so */
    uint64_t timed = (uint64_t)((double)h.queries * DISPATCH_SECONDS * e->b->rate /
                                MAX(e->b->scale, 0.1) / flops);
    uint64_t step = row_step(e, row);
    most = MIN(most, MAX(timed / step, 1) * step);
    if (n->params.attention.causal)
        most = h.queries;
    for (uint64_t b = 0; b < h.batch; b++)
        for (uint64_t first = 0; first < h.queries; first += most)
            if (!add_attention(e, n, &h, b, 1, first, MIN(most, h.queries - first), error))
                return false;
    return true;
}
