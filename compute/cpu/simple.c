/* The ops that move or map elements: activations, add, scale, geglu, concat, upsampling, look-ups.
 */
#include "compute/cpu/private.h"

#include "compute/cpu/parallel.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

/* Elements one thread takes at a time, and as F32 in its stack. */
#define CHUNK ((size_t)16384)
#define ROW ((size_t)1024)

struct simple {
    const struct step *step;
    const struct cpu *cpu;
    const struct node *node;
    enum dtype in_type, out_type;
    const char *in[2];
    char *out;
    size_t count;    /* elements or rows of the output */
    size_t channels; /* last dimension of the output */
    size_t chunk;    /* of count, a task */
};

static void map_chunk(void *data, size_t index, int thread)
{
    const struct simple *s = (const struct simple *)data;
    const struct kernels *k = s->cpu->kernels;
    (void)thread;
    size_t end = MIN((index + 1) * s->chunk, s->count);
    float a[ROW], b[ROW];
    for (size_t i = index * s->chunk; i < end; i += ROW) {
        size_t n = MIN(ROW, end - i);
        const float *x = row_read(s->cpu, s->in_type, s->in[0], i, n, a);
        float *y = row_target(s->out_type, s->out, i, a);
        if (s->node->op == OP_add)
            k->add(x, row_read(s->cpu, s->in_type, s->in[1], i, n, b), y, n);
        else if (s->node->op == OP_scale)
            k->scale(x, s->node->params.scale.factor, y, n);
        else
            k->activate(s->node->op, x, y, n);
        row_write(s->cpu, s->out_type, s->out, i, n, y);
    }
}

/* One row of the output at a time, in pieces of ROW elements. */
static void rows_chunk(void *data, size_t index, int thread)
{
    const struct simple *s = (const struct simple *)data;
    const struct kernels *k = s->cpu->kernels;
    (void)thread;
    size_t per_batch = tensor_count(s->node->out) / (size_t)s->node->out->dims[0] / s->channels;
    float a[ROW], b[ROW];
    size_t end = MIN((index + 1) * s->chunk, s->count);
    for (size_t row = index * s->chunk; row < end; row++)
        for (size_t c = 0; c < s->channels; c += ROW) {
            size_t n = MIN(ROW, s->channels - c), i = row * s->channels + c;
            float *y = row_target(s->out_type, s->out, i, a);
            if (s->node->op == OP_geglu) {
                size_t first = row * 2 * s->channels + c;
                const float *x = row_read(s->cpu, s->in_type, s->in[0], first, n, a);
                const float *gate =
                    row_read(s->cpu, s->in_type, s->in[0], first + s->channels, n, b);
                k->geglu(x, gate, y, n);
            } else {
                bool by_batch = s->node->in[1]->rank == 2;
                size_t other = by_batch ? row / per_batch : row % per_batch;
                const float *x = row_read(s->cpu, s->in_type, s->in[0], i, n, a);
                k->add(x, row_read(s->cpu, s->in_type, s->in[1], other * s->channels + c, n, b), y,
                       n);
            }
            row_write(s->cpu, s->out_type, s->out, i, n, y);
        }
}

static void concat_chunk(void *data, size_t index, int thread)
{
    const struct simple *s = (const struct simple *)data;
    (void)thread;
    size_t size = dtype_size(s->out_type);
    const struct tensor *a = s->node->in[0];
    size_t first = (size_t)a->dims[a->rank - 1] * size, all = s->channels * size;
    size_t second = all - first;
    size_t end = MIN((index + 1) * s->chunk, s->count);
    for (size_t row = index * s->chunk; row < end; row++) {
        memcpy(s->out + row * all, s->in[0] + row * first, first);
        memcpy(s->out + row * all + first, s->in[1] + row * second, second);
    }
}

/* A row here is one pixel of the output. */
static void upsample_chunk(void *data, size_t index, int thread)
{
    const struct simple *s = (const struct simple *)data;
    (void)thread;
    const int64_t *in = s->node->in[0]->dims, *out = s->node->out->dims;
    size_t bytes = s->channels * dtype_size(s->out_type);
    size_t end = MIN((index + 1) * s->chunk, s->count);
    for (size_t row = index * s->chunk; row < end; row++) {
        int64_t x = (int64_t)row % out[2], y = (int64_t)row / out[2] % out[1];
        int64_t batch = (int64_t)row / out[2] / out[1];
        int64_t from = (batch * in[1] + y * in[1] / out[1]) * in[2] + x * in[2] / out[2];
        memcpy(s->out + row * bytes, s->in[0] + (size_t)from * bytes, bytes);
    }
}

static void describe(struct step *step, struct simple *s)
{
    const struct node *n = step->node;
    memset(s, 0, sizeof *s);
    s->step = step;
    s->cpu = step->program->cpu;
    s->node = n;
    s->in_type = step_store(step, n->in[0]);
    s->out_type = step_store(step, n->out);
    s->in[0] = (const char *)step_data(step, n->in[0]);
    s->in[1] = n->in[1] ? (const char *)step_data(step, n->in[1]) : NULL;
    s->out = (char *)step_data(step, n->out);
    s->channels = (size_t)n->out->dims[n->out->rank - 1];
}

static bool elements_run(struct step *step, const int *cancel, GError **error)
{
    struct simple s;
    describe(step, &s);
    s.count = tensor_count(step->node->out);
    s.chunk = CHUNK;
    return parallel_for((s.count + s.chunk - 1) / s.chunk, cancel, map_chunk, &s) ||
           fail_cancelled(error);
}

static bool rows_run(struct step *step, const int *cancel, GError **error)
{
    struct simple s;
    describe(step, &s);
    s.count = tensor_count(step->node->out) / s.channels;
    s.chunk = MAX(CHUNK / s.channels, 1);
    void (*body)(void *, size_t, int) = rows_chunk;
    if (step->node->op == OP_concat)
        body = concat_chunk;
    else if (step->node->op == OP_upsample_nearest)
        body = upsample_chunk;
    return parallel_for((s.count + s.chunk - 1) / s.chunk, cancel, body, &s) ||
           fail_cancelled(error);
}

/*
 * Rows are read from the file as they are needed: a prompt touches 77 of a table's 49408 rows,
 * which are not worth 150 MB.
 */
static bool embedding_run(struct step *step, const int *cancel, GError **error)
{
    struct simple s;
    describe(step, &s);
    const int32_t *ids = (const int32_t *)(const void *)s.in[0];
    const struct weight *table = step->node->weight;
    size_t n = tensor_count(step->node->in[0]);
    size_t rows = table ? (size_t)table->dims[0] : tensor_count(step->node->in[1]) / s.channels;
    size_t bytes = s.channels * dtype_size(s.out_type);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= rows) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                        _("cpu: token %d is outside '%s', which has %zu rows"), ids[i],
                        table ? table->name : _("a table"), rows);
            return false;
        }
        char *to = s.out + i * bytes;
        if (!table)
            memcpy(to, s.in[1] + (size_t)ids[i] * bytes, bytes);
        else if (step_cancelled(cancel, error) ||
                 !table->read(table, s.out_type, (size_t)ids[i] * s.channels, s.channels, to,
                              error))
            return false;
    }
    return true;
}

/* Sinusoids (Vaswani et al. 2017) as in diffusers' get_timestep_embedding(). */
static bool time_embedding_run(struct step *step, const int *cancel, GError **error)
{
    (void)cancel;
    (void)error;
    struct simple s;
    describe(step, &s);
    const float *steps = (const float *)(const void *)s.in[0];
    size_t half = s.channels / 2, n = tensor_count(step->node->in[0]);
    bool cos_first = step->node->params.time_embedding.cos_first;
    float shift = step->node->params.time_embedding.shift;
    g_autofree float *row = g_new(float, s.channels);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < half; k++) {
            /* F32 at each stage as there: at step 999 the rounding is seen in the result. */
            float exponent = (float)-log(10000.0) * (float)k / ((float)half - shift);
            double angle = (double)(steps[i] * (float)exp((double)exponent));
            row[k + (cos_first ? 0 : half)] = (float)cos(angle);
            row[k + (cos_first ? half : 0)] = (float)sin(angle);
        }
        float *y = row_target(s.out_type, s.out, i * s.channels, row);
        if (y != row)
            memcpy(y, row, s.channels * sizeof *row);
        row_write(s.cpu, s.out_type, s.out, i * s.channels, s.channels, row);
    }
    return true;
}

bool simple_init(struct step *step, const int *cancel, GError **error)
{
    static const struct step_class elements = {elements_run, NULL}, rows = {rows_run, NULL},
                                   embedding = {embedding_run, NULL},
                                   time_embedding = {time_embedding_run, NULL};
    (void)cancel;
    (void)error;
    const struct node *n = step->node;
    switch (n->op) {
    case OP_silu:
    case OP_gelu:
    case OP_quick_gelu:
    case OP_relu:
    case OP_soft_clamp:
    case OP_scale:
        step->class = &elements;
        return true;
    case OP_add:
        step->class = tensor_count(n->in[0]) == tensor_count(n->in[1]) ? &elements : &rows;
        return true;
    case OP_geglu:
    case OP_concat:
    case OP_upsample_nearest:
        step->class = &rows;
        return true;
    case OP_embedding:
        step->class = &embedding;
        return true;
    case OP_time_embedding:
        step->class = &time_embedding;
        return true;
    default:
        g_assert_not_reached();
    }
}
