/*
 * conv2d and linear: shapes to tiles for the kernels of each path. A dispatch is cut so that its
 * input, output and weight fit bound ranges, and so that it takes no longer than a desktop can
 * wait.
 */
#include "compute/vulkan/internal.h"

#include "compute/shaders/push.h"

#include <string.h>

#define ROW_STEP 256
/* Below this many workgroups a GPU stands partly idle, and K is split. */
#define ENOUGH_GROUPS 128
#define MIN_SPLIT_DEPTH 256
#define MAX_SPLIT 16

/* A conv2d or linear as a product of matrices. */
struct product {
    uint64_t rows; /* output pixels */
    uint64_t inputs, padded, taps;
    uint64_t outputs;   /* channels of the output tensor */
    uint64_t columns;   /* packed, a multiple of 32 */
    uint64_t in_pixels; /* of the input tensor */
    uint64_t in_row;    /* pixels of one input line; 1 for linear */
    bool conv;
};

struct tile {
    const char *shader;
    uint32_t rows, columns, local, depth;
};

static struct tile tile_of(const struct vulkan_backend *b, uint64_t rows, uint64_t columns)
{
    if (b->path == PATH_REGISTER)
        return (struct tile){"conv2d_register", rows > 8 ? 16 : rows > 4 ? 8 : 4, 32, 8, 16};
    if (b->path == PATH_SHARED)
        return (struct tile){"conv2d", 64, 64, 128, 16};
    /* Large tiles read less, small ones keep more of the device busy. */
    uint32_t side = ceil_div(rows, 128) * ceil_div(columns, 128) >= ENOUGH_GROUPS ? 128 : 64;
    side = MAX(MIN(side, b->d->limits.tile), 2 * MAX(b->shape.m, b->shape.n));
    return (struct tile){"conv2d_matrix", side, side, 4 * b->d->subgroup, 32};
}

static struct product product_of(const struct node *n)
{
    const struct tensor *x = n->in[0], *y = n->out;
    struct product p = {.conv = n->op == OP_conv2d, .taps = 1, .in_row = 1};
    p.outputs = (uint64_t)y->dims[y->rank - 1];
    p.inputs = (uint64_t)x->dims[x->rank - 1];
    p.rows = tensor_count(y) / p.outputs;
    p.in_pixels = tensor_count(x) / p.inputs;
    p.padded = ceil_div(p.inputs, 32) * 32;
    p.columns = n->geglu ? ceil_div(p.outputs, 16) * 32 : ceil_div(p.outputs, 32) * 32;
    if (p.conv) {
        p.taps = (uint64_t)(n->weight->dims[2] * n->weight->dims[3]);
        p.in_row = (uint64_t)x->dims[2];
    }
    return p;
}

static uint32_t split_of(const struct vulkan_backend *b, const struct product *p, uint64_t rows,
                         uint64_t columns)
{
    struct tile tile = tile_of(b, rows, columns);
    if (b->path == PATH_REGISTER)
        return 1;
    uint64_t groups = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns);
    uint64_t depth = p->taps * p->padded;
    uint64_t split = MIN(ceil_div(ENOUGH_GROUPS, groups), MIN(depth / MIN_SPLIT_DEPTH, MAX_SPLIT));
    return (uint32_t)MAX(split, 1);
}

size_t scratch_conv2d(struct vulkan_backend *b, const struct node *n)
{
    struct product p = product_of(n);
    if (b->path == PATH_REGISTER || p.taps * p.padded < 2 * MIN_SPLIT_DEPTH)
        return 0;
    /* Whatever window is split: its workgroups are fewer than ENOUGH_GROUPS, with all parts of K
     * fewer than twice as many. */
    struct tile tile = tile_of(b, 1, 1);
    uint64_t most = MAX_SPLIT * p.rows * p.columns;
    return 4 * MIN(most, 2 * ENOUGH_GROUPS * (uint64_t)tile.rows * tile.columns);
}

static uint32_t activation_of(enum op op)
{
    switch (op) {
    case OP_silu:
        return ACTIVATION_SILU;
    case OP_gelu:
        return ACTIVATION_GELU;
    case OP_quick_gelu:
        return ACTIVATION_QUICK_GELU;
    case OP_relu:
        return ACTIVATION_RELU;
    default:
        return ACTIVATION_NONE;
    }
}

struct product_spans {
    struct span x, y, weight, bias, residual, broadcast;
};

static bool find_spans(struct encoder *e, const struct node *n, struct product_spans *s,
                       GError **error)
{
    s->x = span_of(e, n->in[0]);
    s->y = span_of(e, n->out);
    if (!span_weight(e, n->weight, n->geglu ? PACK_MATRIX_GEGLU : PACK_MATRIX, 0, &s->weight,
                     error))
        return false;
    if (n->bias &&
        !span_weight(e, n->bias, n->geglu ? PACK_VECTOR_GEGLU : PACK_VECTOR, 0, &s->bias, error))
        return false;
    if (n->residual)
        s->residual = span_of(e, n->residual);
    if (n->broadcast)
        s->broadcast = span_of(e, n->broadcast);
    return true;
}

static uint32_t flags_of(const struct encoder *e, const struct node *n)
{
    uint32_t flags = n->op == OP_conv2d ? FLAG_CONV : 0;
    flags |= n->bias ? FLAG_BIAS : 0;
    flags |= n->residual ? FLAG_RESIDUAL : 0;
    flags |= n->broadcast ? FLAG_BROADCAST : 0;
    flags |= n->geglu ? FLAG_GEGLU : 0;
    flags |= n->upsample ? FLAG_UPSAMPLE : 0;
    bool f32 = plan_store(e->p->plan, n->out) == DTYPE_F32;
    flags |= f32 && e->b->base.precision != DTYPE_F32 ? FLAG_F32_OUTPUT : 0;
    return flags;
}

/* The input pixels that output rows [first, first + count) read. */
static void input_window(const struct product *p, const struct node *n, uint64_t first,
                         uint64_t count, uint64_t *low, uint64_t *high)
{
    *low = first;
    *high = first + count;
    if (p->conv) {
        const struct conv2d_params *c = &n->params.conv2d;
        int64_t size = n->out->dims[1] * n->out->dims[2], width = n->out->dims[2];
        int64_t height = n->in[0]->dims[1] * (n->upsample ? 2 : 1);
        int64_t in_size = n->in[0]->dims[1] * n->in[0]->dims[2];
        int64_t last = (int64_t)(first + count - 1);
        int64_t top = (int64_t)first % size / width * c->stride - c->padding;
        int64_t bottom = last % size / width * c->stride - c->padding + n->weight->dims[2];
        top = CLAMP(top, 0, height - 1);
        bottom = CLAMP(bottom, 1, height);
        if (n->upsample) {
            top /= 2;
            bottom = (bottom + 1) / 2;
        }
        *low = (uint64_t)((int64_t)first / size * in_size) + (uint64_t)top * p->in_row;
        *high = (uint64_t)(last / size * in_size) + (uint64_t)bottom * p->in_row;
    }
    *low = *low / ROW_STEP * ROW_STEP;
    *high = MIN(*high, p->in_pixels);
}

static bool reduce_parts(struct encoder *e, const struct push_conv2d *push, struct pipeline_key key,
                         struct span parts, const struct dispatch *main_dispatch, GError **error)
{
    struct dispatch d = {0};
    /* bias, residual, broadcast, output as the product would have had them */
    for (int i = 0; i < main_dispatch->binding_count; i++)
        if (main_dispatch->bindings[i].slot >= 2 && main_dispatch->bindings[i].slot <= 5)
            d.bindings[d.binding_count++] = main_dispatch->bindings[i];
    dispatch_bind(e, &d, 7, parts, 0, parts.bytes, false);
    key.shader = "conv2d_reduce";
    key.subgroup = 0;
    key.constant_count = 4;
    key.constants[0] = 128;
    key.constants[2] &= ~(uint32_t)(FLAG_CONV | FLAG_UPSAMPLE);
    dispatch_fold(e, &d, ceil_div((uint64_t)push->rows * push->columns / 4, key.constants[0]));
    d.trips = push->split;
    return dispatch_add(e, &d, &key, false, push, sizeof *push, error);
}

struct window {
    uint64_t first, rows, column, columns;
};

static void bind_window(struct encoder *e, struct dispatch *d, const struct node *n,
                        const struct product *p, const struct product_spans *s, struct window w,
                        uint64_t low, uint64_t high)
{
    uint64_t in_bytes = p->inputs * dtype_size(s->x.store);
    uint64_t out_row = p->outputs * dtype_size(s->y.store);
    uint64_t column_bytes = p->taps * p->padded * dtype_size(s->weight.store);
    dispatch_bind(e, d, 0, s->x, low * in_bytes, (high - low) * in_bytes, false);
    dispatch_bind(e, d, 1, s->weight, w.column * column_bytes, w.columns * column_bytes, false);
    if (n->bias)
        dispatch_bind(e, d, 2, s->bias, 0, s->bias.bytes, false);
    uint64_t row = p->outputs * dtype_size(e->b->base.precision);
    if (n->residual)
        dispatch_bind(e, d, 3, s->residual, w.first * row, w.rows * row, false);
    if (n->broadcast)
        dispatch_bind(e, d, 4, s->broadcast, 0, s->broadcast.bytes, false);
    dispatch_bind(e, d, 5, s->y, w.first * out_row, w.rows * out_row, true);
}

static struct push_conv2d push_of(const struct product *p, const struct node *n, struct window w,
                                  uint64_t low)
{
    struct push_conv2d push = {.rows = (uint32_t)w.rows,
                               .first = (uint32_t)w.first,
                               .in_first = (uint32_t)low,
                               .inputs = (uint32_t)p->inputs,
                               .inputs_padded = (uint32_t)p->padded,
                               .outputs = (uint32_t)p->outputs,
                               .column = (uint32_t)w.column,
                               .columns = (uint32_t)w.columns,
                               .kernel_height = 1,
                               .kernel_width = 1,
                               .stride = 1,
                               .split = 1,
                               .split_steps = UINT32_MAX};
    if (p->conv) {
        const struct tensor *x = n->in[0], *y = n->out;
        uint32_t scale = n->upsample ? 2 : 1;
        push.in_height = (uint32_t)x->dims[1] * scale;
        push.in_width = (uint32_t)x->dims[2] * scale;
        push.out_height = (uint32_t)y->dims[1];
        push.out_width = (uint32_t)y->dims[2];
        push.kernel_height = (uint32_t)n->weight->dims[2];
        push.kernel_width = (uint32_t)n->weight->dims[3];
        push.stride = (uint32_t)n->params.conv2d.stride;
        push.padding = (uint32_t)n->params.conv2d.padding;
    } else {
        /* the rows of one picture, for the broadcast */
        uint64_t pictures = n->broadcast ? (uint64_t)n->broadcast->dims[0] : 1;
        push.out_height = 1;
        push.out_width = (uint32_t)(p->rows / pictures);
    }
    return push;
}

static bool add_window(struct encoder *e, const struct node *n, const struct product *p,
                       const struct product_spans *s, struct window w, GError **error)
{
    struct tile tile = tile_of(e->b, w.rows, w.columns);
    uint64_t low, high;
    input_window(p, n, w.first, w.rows, &low, &high);
    struct push_conv2d push = push_of(p, n, w, low);
    struct pipeline_key key = {.shader = tile.shader,
                               .constants = {tile.local, p->inputs % 4 == 0 && p->outputs % 4 == 0,
                                             flags_of(e, n), activation_of(n->activation)},
                               .constant_count = 4};
    bool registers = e->b->path == PATH_REGISTER;
    if (registers) {
        key.subgroup = 8;
        key.constants[key.constant_count++] = tile.rows;
    }
    if (e->b->path == PATH_MATRIX) {
        uint32_t more[] = {tile.rows, e->b->shape.m, e->b->shape.n, e->b->shape.k};
        memcpy(key.constants + key.constant_count, more, sizeof more);
        key.constant_count += G_N_ELEMENTS(more);
        key.subgroup = e->b->d->subgroup;
    }
    /* Of the whole product: windows follow what was measured, and bits must not. */
    push.split = split_of(e->b, p, p->rows, p->columns);
    uint64_t steps = p->taps * p->padded / tile.depth;
    push.split_steps = (uint32_t)ceil_div(steps, push.split);
    push.split = (uint32_t)ceil_div(steps, push.split_steps);

    struct dispatch d = {.groups = {(uint32_t)ceil_div(w.rows, tile.rows),
                                    (uint32_t)ceil_div(w.columns, tile.columns), push.split}};
    d.seconds =
        2.0 * (double)w.rows * (double)w.columns * (double)(p->taps * p->padded) / e->b->rate;
    d.trips = p->taps * (ceil_div(p->inputs, tile.depth) + 1);
    if (!registers)
        d.trips = push.split_steps;
    bind_window(e, &d, n, p, s, w, low, high);
    if (push.split == 1) {
        /* the shader names slot 6 but does not write it: bound to what it does write */
        struct binding out = d.bindings[d.binding_count - 1];
        out.slot = 6;
        d.bindings[d.binding_count++] = out;
        return dispatch_add(e, &d, &key, registers, &push, sizeof push, error);
    }
    struct span parts = span_scratch(e, 0, push.split * w.rows * w.columns * 4);
    struct dispatch product = d;
    struct binding *out = &product.bindings[product.binding_count - 1];
    out->buffer = parts.buffer;
    out->offset = parts.offset;
    out->bytes = parts.bytes;
    product.bindings[product.binding_count] = *out;
    product.bindings[product.binding_count++].slot = 6;
    /* Parts have no epilogue: one pipeline for all of them. */
    struct pipeline_key part = key;
    part.constants[2] &= FLAG_CONV | FLAG_UPSAMPLE;
    part.constants[3] = ACTIVATION_NONE;
    return dispatch_add(e, &product, &part, false, &push, sizeof push, error) &&
           reduce_parts(e, &push, key, parts, &d, error);
}

/* Operations that a dispatch may have: not longer than a desktop can wait. */
static double most_flops(const struct encoder *e)
{
    return MAX(e->b->rate / MAX(e->b->scale, 0.1) * DISPATCH_SECONDS, e->b->d->limits.flops);
}

/* Rows of one dispatch: what ranges, groups and time allow, and whose input fits too. */
static bool window_rows(struct encoder *e, const struct node *n, const struct product *p,
                        const struct product_spans *s, uint64_t first, uint64_t columns,
                        uint64_t *rows, GError **error)
{
    uint64_t out_row = p->outputs * MAX(dtype_size(s->y.store), dtype_size(s->x.store)), most;
    if (!rows_in_range(e, out_row, &most, error))
        return false;
    most = MIN(most, (uint64_t)e->b->d->limits.groups * 16 / ROW_STEP * ROW_STEP);
    double row_flops = 2.0 * (double)columns * (double)(p->taps * p->padded);
    uint64_t timed = (uint64_t)(most_flops(e) / row_flops) / ROW_STEP * ROW_STEP;
    most = MIN(MIN(most, MAX(timed, ROW_STEP)), p->rows - first);
    uint64_t in_row = p->inputs * dtype_size(s->x.store), low, high;
    for (;;) {
        input_window(p, n, first, most, &low, &high);
        if ((high - low) * in_row + 15 <= e->b->d->limits.range)
            break;
        if (most <= ROW_STEP)
            return rows_in_range(e, in_row * (high - low), rows, error);
        most = MAX(most / 2 / ROW_STEP, 1) * ROW_STEP;
    }
    *rows = most;
    return true;
}

bool encode_conv2d(struct encoder *e, const struct node *n, GError **error)
{
    struct product p = product_of(n);
    struct product_spans s = {0};
    if (!find_spans(e, n, &s, error))
        return false;
    uint64_t column_bytes = p.taps * p.padded * dtype_size(s.weight.store), column_step = p.columns;
    while (column_step * column_bytes > e->b->d->limits.range && column_step > 32)
        column_step = ceil_div(column_step / 2, 32) * 32;
    /* Few rows and many inputs: cut by columns, so that no weight is read twice. */
    double column_flops = 2.0 * (double)(p.taps * p.padded * MIN(p.rows, ROW_STEP));
    column_step = MIN(column_step, MAX((uint64_t)(most_flops(e) / column_flops) / 32, 1) * 32);
    for (uint64_t column = 0; column < p.columns; column += column_step) {
        uint64_t columns = MIN(column_step, p.columns - column);
        for (uint64_t first = 0, rows; first < p.rows; first += rows) {
            if (!window_rows(e, n, &p, &s, first, columns, &rows, error) ||
                !add_window(e, n, &p, &s, (struct window){first, rows, column, columns}, error))
                return false;
        }
    }
    return true;
}
