/* The verbs: check shapes, infer the output, append a node. */
#include "compute/op.h"
#include "compute/tape_private.h"

#include <math.h>
#include <string.h>

static const char *const op_names[] = {
#define OP(name, inputs, weights) #name,
#include "compute/op.def"
#undef OP
};

const char *op_name(enum op op)
{
    g_return_val_if_fail(op < OP_COUNT, "?");
    return op_names[op];
}

static const char *shape(const struct tensor *x)
{
    return dims_text(x->rank, x->dims);
}

static const char *weight_shape(const struct weight *w)
{
    return dims_text(w->rank, w->dims);
}

/* A tensor that lets forward code go on after an error: right rank, no dimension of 0. */
static struct tensor *placeholder(struct tape *t, int rank, const struct tensor *like)
{
    int64_t dims[TENSOR_MAX_RANK] = {1, 1, 1, 1};
    for (int i = 0; i < rank && i < like->rank; i++)
        dims[i] = like->dims[i];
    return tape_tensor(t, DTYPE_F32, rank, dims);
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->rank) == 0;
}

static int64_t last_dim(const struct tensor *x)
{
    return x->dims[x->rank - 1];
}

static bool is_float(struct tape *t, const char *op, const struct tensor *x)
{
    if (x->dtype == DTYPE_I32)
        tape_fail(t, "%s: the input %s holds integers", op, shape(x));
    return x->dtype != DTYPE_I32;
}

static bool vector_fits(struct tape *t, const char *op, const struct weight *w, int64_t channels)
{
    if (!w || (weight_count(w) == (size_t)channels))
        return true;
    tape_fail(t, "%s: '%s' is %s, expected [%" G_GINT64_FORMAT "]", op, w->name, weight_shape(w),
              channels);
    return false;
}

struct tensor *op_conv2d(struct tape *t, struct tensor *x, const struct weight *w,
                         const struct weight *b, struct conv2d_params params)
{
    static const char op[] = "op_conv2d";
    if (!w || w->rank != 4) {
        tape_fail(t, "%s: the weight '%s' is %s, not [out,in,height,width]", op,
                  w ? w->name : "(none)", w ? weight_shape(w) : "missing");
        return placeholder(t, 4, x);
    }
    if (params.stride < 1)
        params.stride = 1;
    if (params.padding < 0)
        params.padding = (int)w->dims[2] / 2;
    if (x->rank != 4 || x->dims[3] != w->dims[1]) {
        tape_fail(t, "%s: the input %s does not fit '%s' %s", op, shape(x), w->name,
                  weight_shape(w));
        return placeholder(t, 4, x);
    }
    if (!is_float(t, op, x) || !vector_fits(t, op, b, w->dims[0]))
        return placeholder(t, 4, x);
    int64_t extra = 2 * (int64_t)params.padding + (params.pad_end ? 1 : 0);
    int64_t height = (x->dims[1] + extra - w->dims[2]) / params.stride + 1;
    int64_t width = (x->dims[2] + extra - w->dims[3]) / params.stride + 1;
    if (x->dims[1] + extra < w->dims[2] || x->dims[2] + extra < w->dims[3]) {
        tape_fail(t, "%s: the input %s is smaller than the kernel of '%s' %s", op, shape(x),
                  w->name, weight_shape(w));
        return placeholder(t, 4, x);
    }
    struct node n = {.op = OP_conv2d, .in = {x}, .weight = w, .bias = b};
    n.params.conv2d = params;
    return tape_node(t, n, 4, (int64_t[]){x->dims[0], height, width, w->dims[0]});
}

struct tensor *op_linear(struct tape *t, struct tensor *x, const struct weight *w,
                         const struct weight *b)
{
    static const char op[] = "op_linear";
    bool flat = w && (w->rank == 2 || (w->rank == 4 && w->dims[2] == 1 && w->dims[3] == 1));
    if (!flat) {
        tape_fail(t, "%s: the weight '%s' is %s, not [out,in]", op, w ? w->name : "(none)",
                  w ? weight_shape(w) : "missing");
        return placeholder(t, x->rank, x);
    }
    if (last_dim(x) != w->dims[1]) {
        tape_fail(t, "%s: the input %s does not fit '%s' %s", op, shape(x), w->name,
                  weight_shape(w));
        return placeholder(t, x->rank, x);
    }
    if (!is_float(t, op, x) || !vector_fits(t, op, b, w->dims[0]))
        return placeholder(t, x->rank, x);
    int64_t dims[TENSOR_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] = w->dims[0];
    struct node n = {.op = OP_linear, .in = {x}, .weight = w, .bias = b};
    return tape_node(t, n, x->rank, dims);
}

struct tensor *op_attention(struct tape *t, struct tensor *q, struct tensor *k, struct tensor *v,
                            struct attention_params params)
{
    static const char op[] = "op_attention";
    if (q->rank != 3 || k->rank != 3 || !same_shape(k, v) || k->dims[0] != q->dims[0] ||
        k->dims[2] != q->dims[2]) {
        tape_fail(t, "%s: q %s, k %s and v %s do not fit", op, shape(q), shape(k), shape(v));
        return placeholder(t, 3, q);
    }
    if (params.heads < 1 || q->dims[2] % params.heads != 0 || !(params.scale >= 0)) {
        tape_fail(t, "%s: %s cannot be split into %d heads", op, shape(q), params.heads);
        return placeholder(t, 3, q);
    }
    if (params.causal && q->dims[1] != k->dims[1]) {
        tape_fail(t, "%s: causal needs as many keys %s as queries %s", op, shape(k), shape(q));
        return placeholder(t, 3, q);
    }
    if (!is_float(t, op, q) || !is_float(t, op, k) || !is_float(t, op, v))
        return placeholder(t, 3, q);
    if (params.scale == 0)
        params.scale = (float)(1 / sqrt((double)q->dims[2] / params.heads));
    struct node n = {.op = OP_attention, .in = {q, k, v}};
    n.params.attention = params;
    return tape_node(t, n, 3, q->dims);
}

struct tensor *op_group_norm(struct tape *t, struct tensor *x, const struct weight *w,
                             const struct weight *b, int groups, float eps)
{
    static const char op[] = "op_group_norm";
    if (x->rank < 2 || groups < 1 || last_dim(x) % groups != 0) {
        tape_fail(t, "%s: %s cannot be split into %d groups of channels", op, shape(x), groups);
        return placeholder(t, x->rank, x);
    }
    if (!is_float(t, op, x) || !vector_fits(t, op, w, last_dim(x)) ||
        !vector_fits(t, op, b, last_dim(x)))
        return placeholder(t, x->rank, x);
    struct node n = {.op = OP_group_norm, .in = {x}, .weight = w, .bias = b};
    n.params.group_norm.groups = groups;
    n.params.group_norm.eps = eps;
    return tape_node(t, n, x->rank, x->dims);
}

struct tensor *op_group_moments(struct tape *t, struct tensor *x, int groups, int first, int rows)
{
    static const char op[] = "op_group_moments";
    if (x->rank != 4 || x->dims[0] != 1 || groups < 1 || last_dim(x) % groups != 0 || first < 0 ||
        rows < 1 || first + rows > x->dims[1] || !is_float(t, op, x)) {
        tape_fail(t, "%s: %s has no rows %d to %d of %d groups", op, shape(x), first, first + rows,
                  groups);
        return placeholder(t, 3, x);
    }
    struct node n = {.op = OP_group_norm, .in = {x}};
    n.params.group_norm.groups = groups;
    n.params.group_norm.moments = true;
    n.params.group_norm.first = first;
    n.params.group_norm.rows = rows;
    return tape_node(t, n, 3, (int64_t[]){1, groups, 2});
}

struct tensor *op_group_norm_given(struct tape *t, struct tensor *x, struct tensor *moments,
                                   const struct weight *w, const struct weight *b, int groups,
                                   float eps)
{
    struct tensor *out = op_group_norm(t, x, w, b, groups, eps);
    if (moments->rank != 3 || moments->dims[0] != x->dims[0] || moments->dims[1] != groups ||
        moments->dims[2] != 2 || !tape_is_input(t, moments)) {
        tape_fail(t, "op_group_norm_given: %s are no moments of %s", shape(moments), shape(x));
        return out;
    }
    struct node *last = tape_last(t);
    if (last && last->out == out && last->op == OP_group_norm)
        last->in[1] = moments;
    return out;
}

struct tensor *op_layer_norm(struct tape *t, struct tensor *x, const struct weight *w,
                             const struct weight *b, float eps)
{
    static const char op[] = "op_layer_norm";
    if (!is_float(t, op, x) || !vector_fits(t, op, w, last_dim(x)) ||
        !vector_fits(t, op, b, last_dim(x)))
        return placeholder(t, x->rank, x);
    struct node n = {.op = OP_layer_norm, .in = {x}, .weight = w, .bias = b};
    n.params.layer_norm.eps = eps;
    return tape_node(t, n, x->rank, x->dims);
}

static struct tensor *elementwise(struct tape *t, enum op op, struct tensor *x)
{
    if (x->dtype == DTYPE_I32) {
        tape_fail(t, "op_%s: the input %s holds integers", op_name(op), shape(x));
        return placeholder(t, x->rank, x);
    }
    return tape_node(t, (struct node){.op = op, .in = {x}}, x->rank, x->dims);
}

struct tensor *op_silu(struct tape *t, struct tensor *x)
{
    return elementwise(t, OP_silu, x);
}

struct tensor *op_gelu(struct tape *t, struct tensor *x)
{
    return elementwise(t, OP_gelu, x);
}

struct tensor *op_quick_gelu(struct tape *t, struct tensor *x)
{
    return elementwise(t, OP_quick_gelu, x);
}

struct tensor *op_relu(struct tape *t, struct tensor *x)
{
    return elementwise(t, OP_relu, x);
}

struct tensor *op_soft_clamp(struct tape *t, struct tensor *x)
{
    return elementwise(t, OP_soft_clamp, x);
}

struct tensor *op_geglu(struct tape *t, struct tensor *x)
{
    static const char op[] = "op_geglu";
    if (last_dim(x) % 2 != 0) {
        tape_fail(t, "%s: the last size of %s is odd", op, shape(x));
        return placeholder(t, x->rank, x);
    }
    if (!is_float(t, op, x))
        return placeholder(t, x->rank, x);
    int64_t dims[TENSOR_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] /= 2;
    return tape_node(t, (struct node){.op = OP_geglu, .in = {x}}, x->rank, dims);
}

struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b)
{
    static const char op[] = "op_add";
    bool channels =
        b->rank == 2 && a->rank > 2 && b->dims[0] == a->dims[0] && b->dims[1] == last_dim(a);
    bool rows = a->rank == 3 && b->rank == 3 && b->dims[0] == 1 && b->dims[1] == a->dims[1] &&
                b->dims[2] == a->dims[2];
    if (!same_shape(a, b) && !channels && !rows) {
        tape_fail(t, "%s: %s and %s differ", op, shape(a), shape(b));
        return placeholder(t, a->rank, a);
    }
    if (!is_float(t, op, a) || !is_float(t, op, b))
        return placeholder(t, a->rank, a);
    return tape_node(t, (struct node){.op = OP_add, .in = {a, b}}, a->rank, a->dims);
}

struct tensor *op_scale(struct tape *t, struct tensor *x, float factor)
{
    if (!is_float(t, "op_scale", x))
        return placeholder(t, x->rank, x);
    struct node n = {.op = OP_scale, .in = {x}};
    n.params.scale.factor = factor;
    return tape_node(t, n, x->rank, x->dims);
}

struct tensor *op_concat(struct tape *t, struct tensor *a, struct tensor *b)
{
    static const char op[] = "op_concat";
    size_t outer = sizeof a->dims[0] * (size_t)(a->rank - 1);
    if (a->rank != b->rank || memcmp(a->dims, b->dims, outer) != 0) {
        tape_fail(t, "%s: %s and %s differ", op, shape(a), shape(b));
        return placeholder(t, a->rank, a);
    }
    if (!is_float(t, op, a) || !is_float(t, op, b))
        return placeholder(t, a->rank, a);
    int64_t dims[TENSOR_MAX_RANK];
    memcpy(dims, a->dims, sizeof dims);
    dims[a->rank - 1] += last_dim(b);
    return tape_node(t, (struct node){.op = OP_concat, .in = {a, b}}, a->rank, dims);
}

struct tensor *op_upsample_nearest(struct tape *t, struct tensor *x, int height, int width)
{
    static const char op[] = "op_upsample_nearest";
    if (x->rank != 4 || height < 1 || width < 1 || !is_float(t, op, x)) {
        tape_fail(t, "%s: %s cannot become %d x %d", op, shape(x), height, width);
        return placeholder(t, 4, x);
    }
    struct node n = {.op = OP_upsample_nearest, .in = {x}};
    return tape_node(t, n, 4, (int64_t[]){x->dims[0], height, width, x->dims[3]});
}

struct tensor *op_embedding(struct tape *t, struct tensor *ids, const struct weight *table)
{
    static const char op[] = "op_embedding";
    if (ids->dtype != DTYPE_I32 || ids->rank >= TENSOR_MAX_RANK || !table || table->rank != 2) {
        tape_fail(t, "%s: ids %s %s and table '%s' do not fit", op, dtype_name(ids->dtype),
                  shape(ids), table ? table->name : "(none)");
        return placeholder(t, MIN(ids->rank + 1, TENSOR_MAX_RANK), ids);
    }
    int64_t dims[TENSOR_MAX_RANK];
    memcpy(dims, ids->dims, sizeof dims);
    dims[ids->rank] = table->dims[1];
    struct node n = {.op = OP_embedding, .in = {ids}, .weight = table};
    return tape_node(t, n, ids->rank + 1, dims);
}

struct tensor *op_gather(struct tape *t, struct tensor *ids, struct tensor *table)
{
    static const char op[] = "op_gather";
    if (ids->dtype != DTYPE_I32 || ids->rank >= TENSOR_MAX_RANK || table->rank < 2 ||
        table->dtype == DTYPE_I32) {
        tape_fail(t, "%s: ids %s %s and table %s do not fit", op, dtype_name(ids->dtype),
                  shape(ids), shape(table));
        return placeholder(t, MIN(ids->rank + 1, TENSOR_MAX_RANK), ids);
    }
    int64_t dims[TENSOR_MAX_RANK];
    memcpy(dims, ids->dims, sizeof dims);
    dims[ids->rank] = last_dim(table);
    struct node n = {.op = OP_embedding, .in = {ids, table}};
    return tape_node(t, n, ids->rank + 1, dims);
}

struct tensor *op_time_embedding(struct tape *t, struct tensor *steps, int channels, bool cos_first,
                                 float shift)
{
    static const char op[] = "op_time_embedding";
    if (steps->rank != 1 || steps->dtype != DTYPE_F32 || channels < 2 || channels % 2 != 0 ||
        (float)channels / 2 <= shift || !tape_is_input(t, steps)) {
        tape_fail(t, "%s: %s cannot become %d channels", op, shape(steps), channels);
        return placeholder(t, 2, steps);
    }
    struct node n = {.op = OP_time_embedding, .in = {steps}};
    n.params.time_embedding.cos_first = cos_first;
    n.params.time_embedding.shift = shift;
    return tape_node(t, n, 2, (int64_t[]){steps->dims[0], channels});
}

struct tensor *op_reshape(struct tape *t, struct tensor *x, int rank, const int64_t *dims)
{
    size_t count = 1;
    for (int i = 0; i < rank && i < TENSOR_MAX_RANK; i++)
        count *= (size_t)dims[i];
    if (rank < 1 || rank > TENSOR_MAX_RANK || count != tensor_count(x)) {
        tape_fail(t, "op_reshape: %s cannot become %s", shape(x),
                  dims_text(CLAMP(rank, 0, TENSOR_MAX_RANK), dims));
        return placeholder(t, CLAMP(rank, 1, TENSOR_MAX_RANK), x);
    }
    struct tensor *out = tape_node(t, (struct node){.op = OP_reshape, .in = {x}}, rank, dims);
    out->dtype = x->dtype;
    out->view_of = x;
    return out;
}
