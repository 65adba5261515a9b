/* group_norm (with silu) and layer_norm. Statistics are F32 within a chunk of rows, double across.
 */
#include "compute/cpu/private.h"

#include "compute/cpu/parallel.h"

#include <math.h>
#include <string.h>

/* Elements of one chunk of rows: part of the result's definition, not of the machine. */
#define CHUNK_ELEMENTS 65536

struct norm_weights {
    const struct packed *weight, *bias;
};

static size_t rounded_up(size_t n)
{
    return (n + 15) / 16 * 16;
}

void norm_describe(struct norm *g, const struct step *step, const struct tensor *x, int groups,
                   float eps)
{
    memset(g, 0, sizeof *g);
    g->step = step;
    g->cpu = step->program->cpu;
    g->groups = (size_t)groups;
    g->eps = eps;
    g->channels = (size_t)x->dims[x->rank - 1];
    g->batch = groups ? (size_t)x->dims[0] : 1;
    g->rows = tensor_count(x) / g->channels / g->batch;
    g->chunk_rows = MAX(CHUNK_ELEMENTS / g->channels, 1);
    g->chunks = (g->rows + g->chunk_rows - 1) / g->chunk_rows;
    g->in_type = step_store(step, x);
}

size_t norm_scratch(const struct norm *g)
{
    size_t floats = 2 * (size_t)parallel_threads() * rounded_up(g->channels);
    if (g->groups)
        floats += 3 * rounded_up(g->batch * g->channels) +
                  rounded_up(g->batch * g->chunks * 2 * g->channels);
    return floats * sizeof(float);
}

static void norm_of_node(const struct step *step, struct norm *g)
{
    const struct node *n = step->node;
    bool group = n->op == OP_group_norm;
    norm_describe(g, step, n->in[0], group ? n->params.group_norm.groups : 0,
                  group ? n->params.group_norm.eps : n->params.layer_norm.eps);
    if (group && n->params.group_norm.moments) {
        g->rows = (size_t)n->params.group_norm.rows * (size_t)n->in[0]->dims[2];
        g->chunks = (g->rows + g->chunk_rows - 1) / g->chunk_rows;
    }
}

static void norm_data(struct norm *g)
{
    const struct step *step = g->step;
    const struct norm_weights *w = (const struct norm_weights *)step->state;
    g->out_type = step_store(step, step->node->out);
    g->in = step_data(step, step->node->in[0]);
    g->out = step_data(step, step->node->out);
    g->weight = w->weight ? (const float *)w->weight->data : NULL;
    g->bias = w->bias ? (const float *)w->bias->data : NULL;
}

static bool norm_weights_init(struct step *step, const int *cancel, GError **error)
{
    struct norm_weights *w = g_new0(struct norm_weights, 1);
    step->state = w;
    const struct node *n = step->node;
    if (n->weight &&
        !(w->weight = step_weight(step, n->weight, PACK_PLAIN, NULL, DTYPE_F32, cancel, error)))
        return false;
    return !n->bias ||
           (w->bias = step_weight(step, n->bias, PACK_PLAIN, NULL, DTYPE_F32, cancel, error));
}

static void norm_finish(struct step *step)
{
    g_free(step->state);
}

static float *thread_row(const struct norm *g, int thread, int which)
{
    return g->threads + (size_t)(2 * thread + which) * rounded_up(g->channels);
}

static void sum_chunk(void *data, size_t index, int thread)
{
    const struct norm *g = (const struct norm *)data;
    size_t batch = index / g->chunks, first = index % g->chunks * g->chunk_rows;
    size_t end = MIN(first + g->chunk_rows, g->rows);
    float *sum = g->sums + index * 2 * g->channels, *square = sum + g->channels;
    const float *shift = g->shift + batch * g->channels;
    memset(sum, 0, 2 * g->channels * sizeof *sum);
    size_t element = (batch * g->rows + first) * g->channels;
    if (g->in_type == DTYPE_F32) {
        g->cpu->kernels->moments((const float *)g->in + element, shift, sum, square, end - first,
                                 g->channels);
        return;
    }
    for (size_t r = first; r < end; r++, element += g->channels) {
        const float *x =
            row_read(g->cpu, g->in_type, g->in, element, g->channels, thread_row(g, thread, 0));
        g->cpu->kernels->moments(x, shift, sum, square, 1, g->channels);
    }
}

/* From the sums of deviations from `shift`: each channel's mean and second moment, then the group's
 * by Chan et al.'s formula. */
static void group_moments(const struct norm *g, size_t batch, size_t first, size_t count,
                          double *mean_out, double *variance_out)
{
    double n = (double)g->rows, mean = 0, moment = 0, spread = 0;
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t c = first; c < first + count; c++) {
            double sum = 0, square = 0;
            for (size_t k = 0; k < g->chunks; k++) {
                const float *s = g->sums + (batch * g->chunks + k) * 2 * g->channels;
                sum += (double)s[c];
                square += (double)s[g->channels + c];
            }
            double channel_mean = (double)g->shift[batch * g->channels + c] + sum / n;
            if (pass == 0) {
                mean += channel_mean / (double)count;
                moment += square - sum * sum / n;
            } else {
                spread += (channel_mean - mean) * (channel_mean - mean);
            }
        }
    double variance = (moment + n * spread) / (n * (double)count);
    /* Rounding may leave a tiny negative; a NaN must stay. */
    *variance_out = variance < 0 ? 0 : variance;
    *mean_out = mean;
}

/* y = x * factor + offset by channel. */
static void finish_group(const struct norm *g, size_t batch, size_t group)
{
    size_t count = g->channels / g->groups, first = group * count;
    size_t at = (batch * g->groups + group) * 2;
    double mean, variance;
    if (g->given) {
        mean = (double)g->given[at];
        variance = (double)g->given[at + 1];
    } else {
        group_moments(g, batch, first, count, &mean, &variance);
    }
    if (g->moments) {
        g->moments[at] = (float)mean;
        g->moments[at + 1] = (float)variance;
        return;
    }
    double inverse = 1 / sqrt(variance + (double)g->eps);
    for (size_t c = first; c < first + count; c++) {
        double factor = inverse * (g->weight ? (double)g->weight[c] : 1);
        g->factors[batch * g->channels + c] = (float)factor;
        g->offsets[batch * g->channels + c] =
            (float)((g->bias ? (double)g->bias[c] : 0) - mean * factor);
    }
}

static void affine_chunk(void *data, size_t index, int thread)
{
    const struct norm *g = (const struct norm *)data;
    size_t batch = index / g->chunks, first = index % g->chunks * g->chunk_rows;
    size_t end = MIN(first + g->chunk_rows, g->rows);
    bool silu = g->step->node->activation == OP_silu;
    for (size_t r = first; r < end; r++) {
        size_t element = (batch * g->rows + r) * g->channels;
        const float *x =
            row_read(g->cpu, g->in_type, g->in, element, g->channels, thread_row(g, thread, 0));
        float *y = row_target(g->out_type, g->out, element, thread_row(g, thread, 1));
        g->cpu->kernels->affine(x, g->factors + batch * g->channels,
                                g->offsets + batch * g->channels, silu, y, g->channels);
        row_write(g->cpu, g->out_type, g->out, element, g->channels, y);
    }
}

bool norm_statistics(struct norm *g, float *scratch, const int *cancel)
{
    size_t vectors = rounded_up(g->batch * g->channels);
    g->shift = scratch;
    g->factors = g->shift + vectors;
    g->offsets = g->factors + vectors;
    g->sums = g->offsets + vectors;
    g->threads = g->sums + rounded_up(g->batch * g->chunks * 2 * g->channels);
    for (size_t b = 0; b < g->batch; b++) {
        float *shift = g->shift + b * g->channels;
        const float *x =
            row_read(g->cpu, g->in_type, g->in, b * g->rows * g->channels, g->channels, shift);
        if (x != shift)
            memcpy(shift, x, g->channels * sizeof *x);
    }
    if (!g->given && !parallel_for(g->batch * g->chunks, cancel, sum_chunk, g))
        return false;
    for (size_t b = 0; b < g->batch; b++)
        for (size_t k = 0; k < g->groups; k++)
            finish_group(g, b, k);
    return true;
}

static bool group_norm_run(struct step *step, const int *cancel, GError **error)
{
    struct norm g;
    norm_of_node(step, &g);
    norm_data(&g);
    if (step->node->in[1])
        g.given = (const float *)step_data(step, step->node->in[1]);
    if (step->node->params.group_norm.moments) {
        size_t first = (size_t)step->node->params.group_norm.first *
                       (size_t)step->node->in[0]->dims[2] * g.channels;
        g.in = (const char *)g.in + first * dtype_size(g.in_type);
        g.moments = (float *)g.out;
    }
    return (norm_statistics(&g, (float *)step_scratch(step), cancel) &&
            (g.moments || parallel_for(g.batch * g.chunks, cancel, affine_chunk, &g))) ||
           fail_cancelled(error);
}

static const struct step_class group_norm_class = {group_norm_run, norm_finish};

bool group_norm_init(struct step *step, const int *cancel, GError **error)
{
    struct norm g;
    norm_of_node(step, &g);
    step->class = &group_norm_class;
    step_need_scratch(step, norm_scratch(&g));
    return norm_weights_init(step, cancel, error);
}

static void layer_chunk(void *data, size_t index, int thread)
{
    const struct norm *g = (const struct norm *)data;
    size_t first = index * g->chunk_rows, end = MIN(first + g->chunk_rows, g->rows);
    for (size_t r = first; r < end; r++) {
        size_t element = r * g->channels;
        const float *x =
            row_read(g->cpu, g->in_type, g->in, element, g->channels, thread_row(g, thread, 0));
        float *y = row_target(g->out_type, g->out, element, thread_row(g, thread, 1));
        g->cpu->kernels->layer_norm(x, g->weight, g->bias, g->eps, y, g->channels);
        row_write(g->cpu, g->out_type, g->out, element, g->channels, y);
    }
}

static bool layer_norm_run(struct step *step, const int *cancel, GError **error)
{
    struct norm g;
    norm_of_node(step, &g);
    norm_data(&g);
    g.threads = (float *)step_scratch(step);
    return parallel_for(g.chunks, cancel, layer_chunk, &g) || fail_cancelled(error);
}

static const struct step_class layer_norm_class = {layer_norm_run, norm_finish};

bool layer_norm_init(struct step *step, const int *cancel, GError **error)
{
    struct norm g;
    norm_of_node(step, &g);
    step->class = &layer_norm_class;
    step_need_scratch(step, norm_scratch(&g));
    return norm_weights_init(step, cancel, error);
}
