/*
 * conv2d and linear on oneDNN. Long ones are cut into strips of rows, so that a cancel is noticed
 * within about 50 ms: channels last, a strip of an image is one piece of memory. Where the CPU does
 * not multiply BF16, a strip's input, the weights and the strip's output pass through F32.
 */
#include "compute/cpu/private.h"

#include "compute/cpu/parallel.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

/* FLOPs of one oneDNN call per thread: at 100 GFLOP/s, 40 ms. */
#define CALL_FLOPS 4e9
/* Elements one thread takes at a time in the passes around oneDNN. */
#define CHUNK ((size_t)16384)

/* One execution of a primitive. */
struct call {
    struct dnn_product *product; /* borrowed from product.primitives */
    size_t src, dst;             /* first element */
    size_t src_count, dst_count;
    int64_t batch; /* whose broadcast row, when there is one */
};

struct product {
    GPtrArray *primitives;
    GArray *calls;
    const struct packed *weights, *bias;
    bool convert;       /* BF16 in memory, F32 in oneDNN */
    enum op activation; /* after oneDNN, by own loops; OP_COUNT = none */
    size_t scratch_bytes, weight_floats, src_floats, dst_floats;
};

/* A strip of a convolution, as the key of its primitive. */
struct strip {
    struct dnn_conv conv;
    struct dnn_product *product;
};

static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* ---- passes around oneDNN ---- */

struct pass {
    const struct cpu *cpu;
    enum op op; /* OP_COUNT = convert */
    enum dtype from_type, to_type;
    const char *from;
    char *to;
    size_t count;
};

static void pass_chunk(void *data, size_t index, int thread)
{
    const struct pass *p = (const struct pass *)data;
    (void)thread;
    size_t first = index * CHUNK, n = MIN(CHUNK, p->count - first);
    const struct kernels *k = p->cpu->kernels;
    float row[1024];
    for (size_t i = first; i < first + n; i += G_N_ELEMENTS(row)) {
        size_t m = MIN(G_N_ELEMENTS(row), first + n - i);
        const float *x = row_read(p->cpu, p->from_type, p->from, i, m, row);
        if (p->op == OP_COUNT && p->to_type == DTYPE_F32) {
            if (p->from_type == DTYPE_F32)
                memcpy((float *)p->to + i, x, m * sizeof *x);
            else
                k->from_bf16((const uint16_t *)p->from + i, (float *)p->to + i, m);
            continue;
        }
        if (p->op != OP_COUNT) {
            float *y = row_target(p->to_type, p->to, i, row);
            k->activate(p->op, x, y, m);
            x = y;
        }
        row_write(p->cpu, p->to_type, p->to, i, m, x);
    }
}

static void pass(const struct cpu *cpu, enum op op, enum dtype from_type, const void *from,
                 enum dtype to_type, void *to, size_t count)
{
    struct pass p = {cpu, op, from_type, to_type, (const char *)from, (char *)to, count};
    parallel_for((count + CHUNK - 1) / CHUNK, NULL, pass_chunk, &p);
}

/* ---- run ---- */

/* bias (or 0) + row `batch` of the broadcast tensor. */
static void sum_bias(struct step *step, const struct product *p, int64_t batch, float *bias)
{
    const struct tensor *b = step->node->broadcast;
    size_t n = (size_t)b->dims[1];
    const float *x = row_read(step->program->cpu, step_store(step, b), step_data(step, b),
                              (size_t)batch * n, n, bias);
    if (p->bias)
        step->program->cpu->kernels->add(x, (const float *)p->bias->data, bias, n);
    else if (x != bias)
        memcpy(bias, x, n * sizeof *x);
}

static bool product_run(struct step *step, const int *cancel, GError **error)
{
    const struct product *p = (const struct product *)step->state;
    const struct node *n = step->node;
    const struct cpu *cpu = step->program->cpu;
    enum dtype in_type = step_store(step, n->in[0]), out_type = step_store(step, n->out);
    size_t in_size = dtype_size(in_type), out_size = dtype_size(out_type);
    const char *in = (const char *)step_data(step, n->in[0]);
    const char *residual = n->residual ? (const char *)step_data(step, n->residual) : NULL;
    char *out = (char *)step_data(step, n->out);
    char *scratch = (char *)step_scratch(step), *next = scratch + p->scratch_bytes;
    float *bias_row = (float *)next;
    next += rounded((size_t)n->out->dims[n->out->rank - 1] * sizeof(float));
    float *weights = (float *)next, *src = weights + p->weight_floats, *dst = src + p->src_floats;
    const void *w = p->weights->data;
    if (p->convert) {
        pass(cpu, OP_COUNT, DTYPE_BF16, w, DTYPE_F32, weights, p->weights->bytes / 2);
        w = weights;
    }
    for (guint i = 0; i < p->calls->len; i++) {
        const struct call *c = &g_array_index(p->calls, struct call, i);
        if (step_cancelled(cancel, error))
            return false;
        const void *from = in + c->src * in_size;
        void *to = out + c->dst * out_size;
        const char *add = residual ? residual + c->dst * out_size : NULL;
        const float *bias = p->bias ? (const float *)p->bias->data : NULL;
        if (n->broadcast) {
            sum_bias(step, p, c->batch, bias_row);
            bias = bias_row;
        }
        if (p->convert) {
            pass(cpu, OP_COUNT, in_type, from, DTYPE_F32, src, c->src_count);
            from = src;
            if (add)
                pass(cpu, OP_COUNT, out_type, add, DTYPE_F32, dst, c->dst_count);
        } else if (add && add != to) {
            pass(cpu, OP_COUNT, DTYPE_F32, add, DTYPE_F32, to, c->dst_count * out_size / 4);
            if (c->dst_count * out_size % 4)
                memcpy((char *)to + (c->dst_count - 1) * out_size,
                       add + (c->dst_count - 1) * out_size, out_size);
        }
        if (!dnn_product_run(cpu->dnn, c->product, from, w, bias, p->convert ? (void *)dst : to,
                             scratch)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, _("cpu: oneDNN failed in %s '%s'"),
                        op_name(n->op), n->weight->name);
            return false;
        }
        if (p->convert)
            pass(cpu, p->activation, DTYPE_F32, dst, out_type, to, c->dst_count);
        else if (p->activation != OP_COUNT)
            pass(cpu, p->activation, out_type, to, out_type, to, c->dst_count);
    }
    return true;
}

static void product_finish(struct step *step)
{
    struct product *p = (struct product *)step->state;
    if (!p)
        return;
    g_ptr_array_free(p->primitives, TRUE);
    g_array_free(p->calls, TRUE);
    g_free(p);
}

static const struct step_class product_class = {product_run, product_finish};

/* ---- init ---- */

static enum dnn_activation fused_activation(enum op op)
{
    switch (op) {
    case OP_silu:
        return DNN_SILU;
    case OP_gelu:
        return DNN_GELU;
    case OP_quick_gelu:
        return DNN_QUICK_GELU;
    default:
        return DNN_NONE;
    }
}

static const struct dnn_layout *known_layout(const struct product *p)
{
    return p->primitives->len ? dnn_product_layout(p->primitives->pdata[0]) : NULL;
}

static bool add_primitive(struct product *p, struct dnn_product *primitive, const struct node *n,
                          GError **error)
{
    if (!primitive) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    _("cpu: oneDNN cannot do the %s '%s'"), op_name(n->op), n->weight->name);
        return false;
    }
    g_ptr_array_add(p->primitives, primitive);
    p->scratch_bytes = MAX(p->scratch_bytes, rounded(dnn_product_scratch(primitive)));
    return true;
}

static void add_call(struct product *p, struct call call)
{
    g_array_append_val(p->calls, call);
    p->src_floats = MAX(p->src_floats, rounded(call.src_count));
    p->dst_floats = MAX(p->dst_floats, rounded(call.dst_count));
}

/* Rows [first, first + rows) of the output: the part of the input they see, and its zeros. */
static struct dnn_conv strip_of(const struct dnn_conv *whole, int64_t first, int64_t rows,
                                int64_t *input_row)
{
    struct dnn_conv c = *whole;
    int64_t begin = first * c.stride - c.top;
    int64_t end = (first + rows - 1) * c.stride - c.top + c.kernel_height;
    *input_row = MAX(begin, 0);
    c.top = (int)MAX(-begin, 0);
    c.bottom = (int)MAX(end - c.height, 0);
    c.height = MIN(end, whole->height) - *input_row;
    c.out_height = rows;
    return c;
}

static struct dnn_product *strip_primitive(struct step *step, struct product *p, GArray *known,
                                           const struct dnn_conv *conv, GError **error)
{
    for (guint i = 0; i < known->len; i++) {
        struct strip *s = &g_array_index(known, struct strip, i);
        if (memcmp(&s->conv, conv, sizeof *conv) == 0)
            return s->product;
    }
    struct strip s;
    memset(&s, 0, sizeof s);
    memcpy(&s.conv, conv, sizeof *conv);
    s.product = dnn_conv_create(step->program->cpu->dnn, conv, known_layout(p));
    if (!add_primitive(p, s.product, step->node, error))
        return NULL;
    g_array_append_val(known, s);
    return s.product;
}

static bool init_conv(struct step *step, struct product *p, enum dtype type, enum dtype out_type,
                      GError **error)
{
    const struct node *n = step->node;
    const struct tensor *x = n->in[0], *y = n->out;
    struct dnn_conv whole;
    memset(&whole, 0, sizeof whole); /* padding bytes too: it is compared */
    whole.batch = x->dims[0];
    whole.height = x->dims[1];
    whole.width = x->dims[2];
    whole.in = x->dims[3];
    whole.out = y->dims[3];
    whole.kernel_height = n->weight->dims[2];
    whole.kernel_width = n->weight->dims[3];
    whole.out_height = y->dims[1];
    whole.out_width = y->dims[2];
    whole.stride = n->params.conv2d.stride;
    whole.top = whole.left = n->params.conv2d.padding;
    whole.bottom = whole.right = n->params.conv2d.padding + (n->params.conv2d.pad_end ? 1 : 0);
    whole.type = type;
    whole.out_type = out_type;
    whole.bias = n->bias || n->broadcast;
    whole.sum = n->residual != NULL;
    whole.activation = fused_activation(n->activation);

    size_t in_row = (size_t)(x->dims[2] * x->dims[3]), out_row = (size_t)(y->dims[2] * y->dims[3]);
    size_t in_image = in_row * (size_t)x->dims[1], out_image = out_row * (size_t)y->dims[1];
    double limit = CALL_FLOPS * parallel_threads();
    g_autoptr(GArray) known = g_array_new(FALSE, FALSE, sizeof(struct strip));
    if (node_flops(n) <= limit && !n->broadcast) {
        struct dnn_product *product = strip_primitive(step, p, known, &whole, error);
        if (product)
            add_call(p, (struct call){product, 0, 0, tensor_count(x), tensor_count(y), 0});
        return product != NULL;
    }
    whole.batch = 1;
    double row_flops = node_flops(n) / (double)(y->dims[0] * y->dims[1]);
    int64_t strips = (int64_t)(row_flops * (double)y->dims[1] / limit) + 1;
    int64_t rows = (y->dims[1] + strips - 1) / strips;
    for (int64_t b = 0; b < x->dims[0]; b++)
        for (int64_t row = 0; row < y->dims[1]; row += rows) {
            int64_t input_row;
            struct dnn_conv conv = strip_of(&whole, row, MIN(rows, y->dims[1] - row), &input_row);
            struct dnn_product *product = strip_primitive(step, p, known, &conv, error);
            if (!product)
                return false;
            add_call(p, (struct call){product, (size_t)b * in_image + (size_t)input_row * in_row,
                                      (size_t)b * out_image + (size_t)row * out_row,
                                      (size_t)conv.height * in_row,
                                      (size_t)conv.out_height * out_row, b});
        }
    return true;
}

static bool init_linear(struct step *step, struct product *p, enum dtype type, enum dtype out_type,
                        GError **error)
{
    const struct node *n = step->node;
    int64_t in = n->weight->dims[1], out = n->weight->dims[0];
    int64_t rows = (int64_t)(tensor_count(n->out) / (size_t)out);
    int64_t parts = (int64_t)(node_flops(n) / (CALL_FLOPS * parallel_threads())) + 1;
    int64_t part = MIN(((rows + parts - 1) / parts + 47) / 48 * 48, rows);
    struct dnn_matmul m = {.rows = part,
                           .in = in,
                           .out = out,
                           .type = type,
                           .out_type = out_type,
                           .bias = n->bias != NULL,
                           .sum = n->residual != NULL,
                           .activation = fused_activation(n->activation)};
    for (int64_t row = 0; row < rows; row += part) {
        if (row == 0 || rows - row < part) {
            m.rows = MIN(part, rows - row);
            if (!add_primitive(p, dnn_matmul_create(step->program->cpu->dnn, &m, known_layout(p)),
                               n, error))
                return false;
        }
        add_call(p, (struct call){p->primitives->pdata[p->primitives->len - 1], (size_t)(row * in),
                                  (size_t)(row * out), (size_t)(m.rows * in),
                                  (size_t)(m.rows * out), 0});
    }
    return true;
}

bool product_init(struct step *step, const int *cancel, GError **error)
{
    const struct node *n = step->node;
    const struct cpu *cpu = step->program->cpu;
    struct product *p = g_new0(struct product, 1);
    step->class = &product_class;
    step->state = p;
    p->primitives = g_ptr_array_new_with_free_func((GDestroyNotify)dnn_product_destroy);
    p->calls = g_array_new(FALSE, FALSE, sizeof(struct call));
    p->convert = cpu->base.precision == DTYPE_BF16 && !cpu->native_bf16;
    /* oneDNN's relu turns NaN into 0, and a NaN must be seen. */
    p->activation = n->activation == OP_relu ? OP_relu : OP_COUNT;
    enum dtype type = p->convert ? DTYPE_F32 : cpu->base.precision;
    enum dtype out_type = p->convert ? DTYPE_F32 : step_store(step, n->out);
    bool ok = n->op == OP_conv2d ? init_conv(step, p, type, out_type, error)
                                 : init_linear(step, p, type, out_type, error);
    if (!ok)
        return false;
    p->weights = step_weight(step, n->weight, PACK_ONEDNN, known_layout(p), cpu->base.precision,
                             cancel, error);
    if (!p->weights)
        return false;
    if (n->bias &&
        !(p->bias = step_weight(step, n->bias, PACK_PLAIN, NULL, DTYPE_F32, cancel, error)))
        return false;
    if (p->convert)
        p->weight_floats = rounded(p->weights->bytes / 2);
    else
        p->src_floats = p->dst_floats = 0;
    size_t bias_bytes = rounded((size_t)n->out->dims[n->out->rank - 1] * sizeof(float));
    step_need_scratch(step, p->scratch_bytes + bias_bytes +
                                (p->weight_floats + p->src_floats + p->dst_floats) * sizeof(float));
    return true;
}
