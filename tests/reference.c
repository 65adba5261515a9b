#include "tests/reference.h"

#include "compute/plan.h"

#include <math.h>
#include <string.h>

struct reference_program {
    struct program program;
    const struct plan *plan;
    char *arena, *kept;
    GHashTable *weights; /* struct weight -> float *, in the file's order */
};

static void *place(struct program *program, const struct plan *plan, const struct tensor *x)
{
    const struct place *p = plan_place(plan, x);
    struct reference_program *r = (struct reference_program *)program;
    if (p->kind == PLACE_IMPORT)
        return place(p->from, p->from_plan, p->from_tensor);
    g_assert(p->kind != PLACE_NONE);
    return (p->kind == PLACE_ARENA ? r->arena : r->kept) + p->offset;
}

static float *value(struct reference_program *r, const struct tensor *x)
{
    return place(&r->program, r->plan, x);
}

static const float *weight(struct reference_program *r, const struct weight *w)
{
    return w ? g_hash_table_lookup(r->weights, w) : NULL;
}

/* ---- the ops ---- */

static void conv2d(struct reference_program *r, const struct node *n)
{
    const float *x = value(r, n->in[0]), *w = weight(r, n->weight), *b = weight(r, n->bias);
    float *y = value(r, n->out);
    const int64_t *d = n->in[0]->dims, *o = n->out->dims, *k = n->weight->dims;
    int stride = n->params.conv2d.stride, padding = n->params.conv2d.padding;

    for (int64_t at = 0; at < o[0] * o[1] * o[2]; at++) {
        int64_t batch = at / (o[1] * o[2]), oy = at / o[2] % o[1], ox = at % o[2];
        for (int64_t c = 0; c < k[0]; c++) {
            double sum = b ? b[c] : 0;
            for (int64_t ky = 0; ky < k[2]; ky++)
                for (int64_t kx = 0; kx < k[3]; kx++) {
                    int64_t iy = oy * stride + ky - padding, ix = ox * stride + kx - padding;
                    if (iy < 0 || iy >= d[1] || ix < 0 || ix >= d[2])
                        continue;
                    const float *in = x + ((batch * d[1] + iy) * d[2] + ix) * d[3];
                    const float *row = w + c * k[1] * k[2] * k[3] + ky * k[3] + kx;
                    for (int64_t i = 0; i < k[1]; i++)
                        sum += (double)in[i] * row[i * k[2] * k[3]];
                }
            y[at * k[0] + c] = (float)sum;
        }
    }
}

static void linear(struct reference_program *r, const struct node *n)
{
    const float *x = value(r, n->in[0]), *w = weight(r, n->weight), *b = weight(r, n->bias);
    float *y = value(r, n->out);
    int64_t out = n->weight->dims[0], in = n->weight->dims[1];
    int64_t rows = (int64_t)tensor_count(n->in[0]) / in;

    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < out; c++) {
            double sum = b ? b[c] : 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)x[row * in + i] * w[c * in + i];
            y[row * out + c] = (float)sum;
        }
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void attention(struct reference_program *r, const struct node *n)
{
    const float *q = value(r, n->in[0]), *k = value(r, n->in[1]), *v = value(r, n->in[2]);
    float *y = value(r, n->out);
    int64_t queries = n->in[0]->dims[1], keys = n->in[1]->dims[1], channels = n->in[0]->dims[2];
    int64_t heads = n->params.attention.heads, size = channels / heads;
    g_autofree double *p = g_new(double, keys);

    for (int64_t at = 0; at < n->in[0]->dims[0] * queries * heads; at++) {
        int64_t head = at % heads, row = at / heads, batch = row / queries;
        int64_t seen = n->params.attention.causal ? row % queries + 1 : keys;
        const float *query = q + row * channels + head * size;
        float *out = y + row * channels + head * size;
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < seen; j++) {
            const float *key = k + (batch * keys + j) * channels + head * size;
            p[j] = dot(query, key, size) * n->params.attention.scale;
            most = MAX(most, p[j]);
        }
        for (int64_t j = 0; j < seen; j++)
            sum += p[j] = exp(p[j] - most);
        for (int64_t i = 0; i < size; i++) {
            double mixed = 0;
            for (int64_t j = 0; j < seen; j++)
                mixed += p[j] * v[(batch * keys + j) * channels + head * size + i];
            out[i] = (float)(mixed / sum);
        }
    }
}

/* Normalises `groups` of channels over `rows` rows of `channels`. */
/* given: means and variances instead of the own ones; moments: only these are written, to y. */
static void normalise(const float *x, float *y, int64_t rows, int64_t channels, int64_t groups,
                      float eps, const float *w, const float *b, const float *given, bool moments)
{
    int64_t size = channels / groups;
    for (int64_t g = 0; g < groups; g++) {
        double mean = 0, variance = 0;
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = g * size; i < (g + 1) * size; i++)
                mean += x[row * channels + i];
        mean /= (double)(rows * size);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = g * size; i < (g + 1) * size; i++)
                variance += pow(x[row * channels + i] - mean, 2);
        variance /= (double)(rows * size);
        if (given) {
            mean = given[2 * g];
            variance = given[2 * g + 1];
        }
        if (moments) {
            y[2 * g] = (float)mean;
            y[2 * g + 1] = (float)variance;
            continue;
        }
        double rate = 1 / sqrt(variance + eps);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = g * size; i < (g + 1) * size; i++)
                y[row * channels + i] =
                    (float)((x[row * channels + i] - mean) * rate) * (w ? w[i] : 1) +
                    (b ? b[i] : 0);
    }
}

static void norm(struct reference_program *r, const struct node *n)
{
    const struct tensor *x = n->in[0];
    bool group = n->op == OP_group_norm;
    int64_t channels = x->dims[x->rank - 1], all = (int64_t)tensor_count(x);
    int64_t blocks = group ? x->dims[0] : all / channels, each = all / blocks;
    int64_t groups = group ? n->params.group_norm.groups : 1;
    bool moments = group && n->params.group_norm.moments;

    const float *from = value(r, x);
    if (moments) {
        from += n->params.group_norm.first * x->dims[2] * channels;
        each = n->params.group_norm.rows * x->dims[2] * channels;
    }
    for (int64_t i = 0; i < blocks; i++)
        normalise(from + i * each, value(r, n->out) + i * (moments ? 2 * groups : each),
                  each / channels, channels, groups,
                  group ? n->params.group_norm.eps : n->params.layer_norm.eps, weight(r, n->weight),
                  weight(r, n->bias), n->in[1] ? value(r, n->in[1]) + i * 2 * groups : NULL,
                  moments);
}

static double gelu(double x)
{
    return x / 2 * (1 + erf(x / sqrt(2)));
}

static double unary(const struct node *n, double x)
{
    switch (n->op) {
    case OP_silu:
        return x / (1 + exp(-x));
    case OP_gelu:
        return gelu(x);
    case OP_quick_gelu:
        return x / (1 + exp(-1.702 * x));
    case OP_relu:
        return MAX(x, 0);
    case OP_soft_clamp:
        return 3 * tanh(x / 3);
    default:
        return x * n->params.scale.factor;
    }
}

static void elementwise(struct reference_program *r, const struct node *n)
{
    const float *x = value(r, n->in[0]);
    float *y = value(r, n->out);
    for (size_t i = 0; i < tensor_count(n->out); i++)
        y[i] = (float)unary(n, x[i]);
}

static void geglu(struct reference_program *r, const struct node *n)
{
    const float *x = value(r, n->in[0]);
    float *y = value(r, n->out);
    size_t channels = (size_t)n->out->dims[n->out->rank - 1];
    for (size_t i = 0; i < tensor_count(n->out); i++) {
        const float *row = x + i / channels * 2 * channels + i % channels;
        y[i] = (float)(row[0] * gelu(row[channels]));
    }
}

static void add(struct reference_program *r, const struct node *n)
{
    const struct tensor *a = n->in[0], *b = n->in[1];
    const float *x = value(r, a), *z = value(r, b);
    float *y = value(r, n->out);
    size_t all = tensor_count(a), count = tensor_count(b), channels = (size_t)a->dims[a->rank - 1];
    bool rows = b->rank == 3 && a->rank == 3; /* [1, L, C], or the same shape */
    for (size_t i = 0; i < all; i++) {
        size_t batch = i / (all / (size_t)a->dims[0]);
        y[i] = x[i] + z[count == all || rows ? i % count : batch * channels + i % channels];
    }
}

static void concat(struct reference_program *r, const struct node *n)
{
    const float *a = value(r, n->in[0]), *b = value(r, n->in[1]);
    float *y = value(r, n->out);
    size_t first = (size_t)n->in[0]->dims[n->in[0]->rank - 1];
    size_t second = (size_t)n->in[1]->dims[n->in[1]->rank - 1];
    for (size_t row = 0; row < tensor_count(n->in[0]) / first; row++) {
        memcpy(y + row * (first + second), a + row * first, first * sizeof *y);
        memcpy(y + row * (first + second) + first, b + row * second, second * sizeof *y);
    }
}

static void upsample_nearest(struct reference_program *r, const struct node *n)
{
    const int64_t *d = n->in[0]->dims, *o = n->out->dims;
    const float *x = value(r, n->in[0]);
    float *y = value(r, n->out);
    for (int64_t at = 0; at < o[0] * o[1] * o[2]; at++) {
        int64_t batch = at / (o[1] * o[2]), iy = at / o[2] % o[1] * d[1] / o[1];
        int64_t ix = at % o[2] * d[2] / o[2];
        memcpy(y + at * o[3], x + ((batch * d[1] + iy) * d[2] + ix) * d[3],
               (size_t)o[3] * sizeof *y);
    }
}

static void embedding(struct reference_program *r, const struct node *n)
{
    const int32_t *ids = (const int32_t *)value(r, n->in[0]);
    const float *table = n->weight ? weight(r, n->weight) : value(r, n->in[1]);
    float *y = value(r, n->out);
    int64_t channels = n->out->dims[n->out->rank - 1];
    for (size_t i = 0; i < tensor_count(n->in[0]); i++)
        memcpy(y + (int64_t)i * channels, table + ids[i] * channels, (size_t)channels * sizeof *y);
}

static void time_embedding(struct reference_program *r, const struct node *n)
{
    const float *steps = value(r, n->in[0]);
    float *y = value(r, n->out);
    int64_t channels = n->out->dims[1], half = channels / 2;
    bool cos_first = n->params.time_embedding.cos_first;
    for (int64_t i = 0; i < n->out->dims[0] * half; i++) {
        int64_t row = i / half, c = i % half;
        double rate =
            exp(-log(10000) * (double)c / ((double)half - n->params.time_embedding.shift));
        y[row * channels + c + (cos_first ? 0 : half)] = (float)cos(steps[row] * rate);
        y[row * channels + c + (cos_first ? half : 0)] = (float)sin(steps[row] * rate);
    }
}

static void run_node(struct reference_program *r, const struct node *n)
{
    switch (n->op) {
    case OP_conv2d:
        conv2d(r, n);
        break;
    case OP_linear:
        linear(r, n);
        break;
    case OP_attention:
        attention(r, n);
        break;
    case OP_group_norm:
    case OP_layer_norm:
        norm(r, n);
        break;
    case OP_geglu:
        geglu(r, n);
        break;
    case OP_add:
        add(r, n);
        break;
    case OP_concat:
        concat(r, n);
        break;
    case OP_upsample_nearest:
        upsample_nearest(r, n);
        break;
    case OP_embedding:
        embedding(r, n);
        break;
    case OP_time_embedding:
        time_embedding(r, n);
        break;
    default:
        elementwise(r, n);
    }
}

/* ---- the back end ---- */

static void destroy_program(struct program *program)
{
    struct reference_program *r = (struct reference_program *)program;
    g_hash_table_unref(r->weights);
    g_free(r->arena);
    g_free(r->kept);
    g_free(r);
}

static struct program *compile(struct backend *backend, const struct plan *plan, const int *cancel,
                               GError **error)
{
    struct reference_program *r = g_new0(struct reference_program, 1);
    (void)cancel;
    r->program.backend = backend;
    r->program.arena_bytes = plan->arena_bytes;
    r->program.kept_bytes = plan->kept_bytes;
    r->plan = plan;
    r->arena = g_malloc0(plan->arena_bytes + 1);
    r->kept = g_malloc0(plan->kept_bytes + 1);
    r->weights = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    for (guint i = 0; i < plan->weights->len; i++) {
        const struct weight *w = plan->weights->pdata[i];
        float *values = g_new(float, weight_count(w));
        g_hash_table_insert(r->weights, (gpointer)w, values);
        if (!w->read(w, DTYPE_F32, 0, weight_count(w), values, error)) {
            destroy_program(&r->program);
            return NULL;
        }
    }
    return &r->program;
}

static bool run(struct program *program, const int *cancel, GError **error)
{
    struct reference_program *r = (struct reference_program *)program;
    (void)cancel;
    (void)error;
    for (int i = 0; i < r->plan->node_count; i++)
        run_node(r, &r->plan->nodes[i]);
    return true;
}

static void write_input(struct program *program, const struct tensor *input, const void *data)
{
    memcpy(value((struct reference_program *)program, input), data, tensor_count(input) * 4);
}

static void read_output(struct program *program, const struct tensor *output, float *data)
{
    memcpy(data, value((struct reference_program *)program, output), tensor_count(output) * 4);
}

static void forget_weights(struct backend *backend, bool stale)
{
    (void)backend;
    (void)stale;
}

static void destroy(struct backend *backend)
{
    g_free(backend->label);
    g_free(backend);
}

static const struct backend_class reference_class = {
    .name = "reference",
    .alignment = 64,
    .compile = compile,
    .run = run,
    .write = write_input,
    .read = read_output,
    .destroy_program = destroy_program,
    .forget_weights = forget_weights,
    .destroy = destroy,
};

struct backend *reference_backend_create(void)
{
    struct backend *backend = g_new0(struct backend, 1);
    backend->class = &reference_class;
    backend->precision = DTYPE_F32;
    backend->label = g_strdup("reference");
    return backend;
}
