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
    uint64_t outputs;     /* channels of the output tensor */
    uint64_t columns;     /* packed, a multiple of 32 */
    uint64_t in_pixels;   /* of the input tensor */
    uint64_t in_row;      /* pixels of one input line; 1 for linear */
    uint64_t lines, line; /* of one output picture, and its pixels; linear: one line of all rows */
    bool conv, geglu;
    enum path path; /* the kernels that compute it */
};

struct tile {
    const char *shader;
    uint32_t rows, columns, local, depth;
    uint32_t box; /* PATH_MATRIX2: the rows are a box of pixels as wide as this */
};

/* A picture is divided into boxes, so it should not be smaller than one; what a tap reads must be a
 * box too, and channels whole steps of the sum. */
static bool fits_matrix2(const struct product *p, const struct node *n)
{
    bool whole = p->inputs % 32 == 0 && p->outputs % 32 == 0;
    if (!p->conv || !whole)
        return whole;
    return !n->upsample && n->params.conv2d.stride <= 2 && p->lines >= 4 && p->line >= 4;
}

static struct tile tile_of_matrix2(const struct vulkan_backend *b, const struct product *p)
{
    uint32_t packed = p->geglu ? 2 : 1; /* columns of the weight for one of the output */
    uint32_t box = p->line > 8 ? 16 : 8;
    const struct matrix2 *m = b->d->matrix2;
    bool many = ceil_div(p->rows, 128) * ceil_div(p->columns, 128 * packed) >= ENOUGH_GROUPS;
    int size = many && m[1].local && b->d->limits.tile >= 128;
    uint32_t side = 64u << size;
    return (struct tile){
        "conv2d_matrix2",    side, side * packed, m[size].local, p->inputs % 64 ? 32 : 64,
        p->conv ? box : side};
}

/* Of a window of the product; that of matrices of a workgroup is the same for all windows. */
static struct tile tile_of(const struct vulkan_backend *b, const struct product *p, uint64_t rows,
                           uint64_t columns)
{
    if (p->path == PATH_REGISTER)
        return (struct tile){"conv2d_register", rows > 8 ? 16 : rows > 4 ? 8 : 4, 32, 8, 16, 0};
    if (p->path == PATH_SHARED)
        return (struct tile){"conv2d", 64, 64, 128, 16, 0};
    if (p->path == PATH_MATRIX2)
        return tile_of_matrix2(b, p);
    /* Large tiles read less, small ones keep more of the device busy. */
    uint32_t side = ceil_div(rows, 128) * ceil_div(columns, 128) >= ENOUGH_GROUPS ? 128 : 64;
    side = MAX(MIN(side, b->d->limits.tile), 2 * MAX(b->shape.m, b->shape.n));
    return (struct tile){"conv2d_matrix", side, side, 4 * b->d->subgroup, 32, 0};
}

static struct product product_of(const struct vulkan_backend *b, const struct node *n)
{
    const struct tensor *x = n->in[0], *y = n->out;
    struct product p = {
        .conv = n->op == OP_conv2d, .geglu = n->geglu, .taps = 1, .in_row = 1, .path = b->path};
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
    p.lines = p.conv ? (uint64_t)y->dims[1] : 1;
    p.line = p.conv ? (uint64_t)y->dims[2] : p.rows;
    if (b->path == PATH_MATRIX2 && !fits_matrix2(&p, n))
        p.path = b->shape.m ? PATH_MATRIX : PATH_SHARED;
    return p;
}

/* Workgroups along x: boxes that a window's first to last line touch, else tiles of rows. */
static uint64_t row_groups(const struct product *p, const struct tile *tile, uint64_t first,
                           uint64_t rows)
{
    if (p->path != PATH_MATRIX2 || !p->conv)
        return ceil_div(rows, tile->rows);
    uint64_t height = tile->rows / tile->box, down = ceil_div(p->lines, height);
    uint64_t top = first / p->line, bottom = (first + rows - 1) / p->line;
    uint64_t from = top / p->lines * down + top % p->lines / height;
    uint64_t to = bottom / p->lines * down + bottom % p->lines / height;
    return (to - from + 1) * ceil_div(p->line, tile->box);
}

/* Of the whole product: windows follow what was measured, and bits must not. */
static uint32_t split_of(const struct vulkan_backend *b, const struct product *p)
{
    struct tile tile = tile_of(b, p, p->rows, p->columns);
    /* conv2d_reduce knows gates in quads only */
    if (p->path == PATH_REGISTER || (p->path == PATH_MATRIX2 && p->geglu))
        return 1;
    uint64_t groups = row_groups(p, &tile, 0, p->rows) * ceil_div(p->columns, tile.columns);
    uint64_t depth = p->taps * p->padded;
    uint64_t split = MIN(ceil_div(ENOUGH_GROUPS, groups), MIN(depth / MIN_SPLIT_DEPTH, MAX_SPLIT));
    return (uint32_t)MAX(split, 1);
}

size_t scratch_conv2d(struct vulkan_backend *b, const struct node *n)
{
    struct product p = product_of(b, n);
    if (p.path == PATH_REGISTER || p.taps * p.padded < 2 * MIN_SPLIT_DEPTH)
        return 0;
    /* Whatever window is split: its workgroups are fewer than ENOUGH_GROUPS, with all parts of K
     * fewer than twice as many. */
    struct tile tile = tile_of(b, &p, 1, 1);
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

static bool find_spans(struct encoder *e, const struct node *n, const struct product *p,
                       struct product_spans *s, GError **error)
{
    bool halves = p->path == PATH_MATRIX2;
    enum packing matrix = !n->geglu ? PACK_MATRIX : halves ? PACK_MATRIX_HALVES : PACK_MATRIX_GEGLU;
    enum packing vector = !n->geglu ? PACK_VECTOR : halves ? PACK_VECTOR_HALVES : PACK_VECTOR_GEGLU;
    s->x = span_of(e, n->in[0]);
    s->y = span_of(e, n->out);
    if (!span_weight(e, n->weight, matrix, 0, &s->weight, error) ||
        (n->bias && !span_weight(e, n->bias, vector, 0, &s->bias, error)))
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

/* Rows that windows may be cut at: what is bound begins aligned, and boxes need whole lines. */
static uint64_t cut_of(const struct product *p)
{
    return p->path == PATH_MATRIX2 && p->conv ? 4 * p->line : ROW_STEP;
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
                                  uint64_t low, uint64_t high)
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
                               .split_steps = UINT32_MAX,
                               .in_count = (uint32_t)(high - low)};
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
    if (!p->conv && p->path == PATH_MATRIX2) { /* a window is a picture of one line */
        push.first = push.in_first = 0;
        push.in_height = 1;
        push.in_width = push.out_width = push.rows;
    }
    return push;
}

/* What the kernels of each path know besides what is fused. */
static void specialize(const struct vulkan_backend *b, const struct product *p,
                       const struct tile *tile, struct pipeline_key *key)
{
    key->constants[key->constant_count] = tile->rows;
    uint32_t *more = key->constants + key->constant_count + 1;
    switch (p->path) {
    case PATH_SHARED:
        break;
    case PATH_REGISTER:
        key->subgroup = 8;
        key->constant_count += 1;
        break;
    case PATH_MATRIX:
        key->subgroup = b->d->subgroup;
        more[0] = b->shape.m;
        more[1] = b->shape.n;
        more[2] = b->shape.k;
        key->constant_count += 4;
        break;
    case PATH_MATRIX2:
        key->constants[2] &= ~(uint32_t)FLAG_CONV; /* a linear layer is a picture, too */
        more[0] = tile->box;
        more[1] = tile->depth;
        key->constant_count += 3;
    }
}

static bool add_window(struct encoder *e, const struct node *n, const struct product *p,
                       const struct product_spans *s, struct window w, GError **error)
{
    struct tile tile = tile_of(e->b, p, w.rows, w.columns);
    uint64_t low, high;
    input_window(p, n, w.first, w.rows, &low, &high);
    struct push_conv2d push = push_of(p, n, w, low, high);
    struct pipeline_key key = {.shader = tile.shader,
                               .constants = {tile.local, p->inputs % 4 == 0 && p->outputs % 4 == 0,
                                             flags_of(e, n), activation_of(n->activation)},
                               .constant_count = 4};
    specialize(e->b, p, &tile, &key);
    bool registers = p->path == PATH_REGISTER;
    push.split = split_of(e->b, p);
    uint64_t steps = p->taps * p->padded / tile.depth;
    push.split_steps = (uint32_t)ceil_div(steps, push.split);
    push.split = (uint32_t)ceil_div(steps, push.split_steps);

    struct dispatch d = {.groups = {(uint32_t)row_groups(p, &tile, w.first, w.rows),
                                    (uint32_t)ceil_div(w.columns, tile.columns), push.split}};
    d.seconds =
        2.0 * (double)w.rows * (double)w.columns * (double)(p->taps * p->padded) / e->b->rate;
    d.trips = p->taps * (ceil_div(p->inputs, tile.depth) + 1) + tile.rows;
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
    /* A workgroup computes at least this many, boxes at the edges of small pictures fewest. */
    uint64_t cut = cut_of(p), least = p->path == PATH_MATRIX2 ? 8 : 16;
    most = MIN(most, e->b->d->limits.groups * least) / cut * cut;
    if (!most)
        return rows_in_range(e, out_row * cut, rows, error); /* says so */
    double row_flops = 2.0 * (double)columns * (double)(p->taps * p->padded);
    uint64_t timed = (uint64_t)(most_flops(e) / row_flops) / cut * cut;
    most = MIN(MIN(most, MAX(timed, cut)), p->rows - first);
    uint64_t in_row = p->inputs * dtype_size(s->x.store), low, high;
    for (;;) {
        input_window(p, n, first, most, &low, &high);
        if ((high - low) * in_row + 15 <= e->b->d->limits.range)
            break;
        if (most <= cut)
            return rows_in_range(e, in_row * (high - low), rows, error);
        most = MAX(most / 2 / cut, 1) * cut;
    }
    *rows = most;
    return true;
}

bool encode_conv2d(struct encoder *e, const struct node *n, GError **error)
{
    struct product p = product_of(e->b, n);
    struct product_spans s = {0};
    if (!find_spans(e, n, &p, &s, error))
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
