/*
 * The part of the self-test that runs attention: heads, queries and keys that fill no tile, with
 * maxima that grow along the keys, compared with a plain loop.
 */
#include "compute/vulkan/internal.h"

#include "compute/op.h"
#include "compute/tape.h"

#include <math.h>

struct layer {
    int batch, queries, keys, heads, head_size;
    bool causal, large;
};

/* Every kernel that real networks ask for (encode_attention.c): many heads make many workgroups. */
static const struct layer layers[] = {
    {.batch = 2, .queries = 70, .keys = 77, .heads = 3, .head_size = 40},
    {.batch = 1, .queries = 77, .keys = 77, .heads = 2, .head_size = 64, .causal = true},
    {.batch = 1, .queries = 45, .keys = 45, .heads = 2, .head_size = 80},
    {.batch = 1, .queries = 33, .keys = 77, .heads = 2, .head_size = 160},
    {.batch = 1, .queries = 37, .keys = 101, .heads = 1, .head_size = 512},
    /* kernels for many workgroups: minutes on a software device, which would not take them */
    {.batch = 1, .queries = 130, .keys = 77, .heads = 130, .head_size = 40, .large = true},
    {.batch = 1, .queries = 130, .keys = 33, .heads = 130, .head_size = 64, .large = true},
    {.batch = 1, .queries = 130, .keys = 33, .heads = 130, .head_size = 80, .large = true},
    {.batch = 1, .queries = 70, .keys = 101, .heads = 130, .head_size = 512, .large = true},
};
/* Rows of the output that are looked at */
#define ROWS 48

static size_t width_of(const struct layer *l)
{
    return (size_t)l->heads * (size_t)l->head_size;
}

static float query_at(const struct layer *l, int row, int head, int d)
{
    return selftest_value((size_t)row * width_of(l) + (size_t)(head * l->head_size + d), 1);
}

/* Small in the first half of a picture's keys: the maximum grows. */
static float key_at(const struct layer *l, int row, int head, int d)
{
    float x = selftest_value((size_t)row * width_of(l) + (size_t)(head * l->head_size + d), 2);
    return row % l->keys < l->keys / 2 ? x / 8 : x;
}

static float value_of(const struct layer *l, int row, int head, int d)
{
    return selftest_value((size_t)row * width_of(l) + (size_t)(head * l->head_size + d), 3);
}

static double scale_of(const struct layer *l)
{
    return 15 / sqrt(l->head_size);
}

/* One head of one row of the output. */
static void expected_row(const struct layer *l, int picture, int query, int head, double *out)
{
    int seen = l->causal ? MIN(query + 1, l->keys) : l->keys, row = picture * l->queries + query;
    g_autofree double *weight = g_new0(double, seen);
    double top = -INFINITY, sum = 0;
    for (int k = 0; k < seen; k++) {
        for (int d = 0; d < l->head_size; d++)
            weight[k] += (double)query_at(l, row, head, d) *
                         (double)key_at(l, picture * l->keys + k, head, d);
        weight[k] *= scale_of(l);
        top = MAX(top, weight[k]);
    }
    for (int d = 0; d < l->head_size; d++)
        out[d] = 0;
    for (int k = 0; k < seen; k++) {
        double e = exp(weight[k] - top);
        sum += e;
        for (int d = 0; d < l->head_size; d++)
            out[d] += e * (double)value_of(l, picture * l->keys + k, head, d);
    }
    for (int d = 0; d < l->head_size; d++)
        out[d] /= sum;
}

static double difference_of(const struct layer *l, const float *got)
{
    g_autofree double *expected = g_new(double, l->head_size);
    int rows = l->batch * l->queries * l->heads;
    double error = 0, norm = 0;
    for (int i = 0; i < MIN(rows, ROWS); i++) {
        int at = (int)((gint64)i * (rows - 1) / MAX(MIN(rows, ROWS) - 1, 1));
        int row = at / l->heads, head = at % l->heads;
        const float *g = got + (size_t)at * (size_t)l->head_size;
        expected_row(l, row / l->queries, row % l->queries, head, expected);
        for (int d = 0; d < l->head_size; d++) {
            error += ((double)g[d] - expected[d]) * ((double)g[d] - expected[d]);
            norm += expected[d] * expected[d];
        }
    }
    return sqrt(error / norm);
}

typedef float (*fill_function)(const struct layer *l, int row, int head, int d);

static void write_input(struct tape *t, const char *name, const struct layer *l, int rows,
                        fill_function at)
{
    g_autofree float *data = g_new(float, (size_t)rows *width_of(l));
    float *out = data;
    for (int row = 0; row < rows; row++)
        for (int head = 0; head < l->heads; head++)
            for (int d = 0; d < l->head_size; d++)
                *out++ = at(l, row, head, d);
    tape_write(t, name, data);
}

static bool run_layer(struct vulkan_backend *b, const struct layer *l, double *difference,
                      GError **error)
{
    int64_t width = l->heads * l->head_size;
    int64_t queries[] = {l->batch, l->queries, width}, keys[] = {l->batch, l->keys, width};
    struct tape *t = tape_create("self-test-attention");
    struct tensor *q = tape_input(t, "q", DTYPE_F32, 3, queries);
    struct tensor *k = tape_input(t, "k", DTYPE_F32, 3, keys);
    struct tensor *v = tape_input(t, "v", DTYPE_F32, 3, keys);
    struct tensor *y =
        op_attention(t, q, k, v,
                     (struct attention_params){
                         .heads = l->heads, .causal = l->causal, .scale = (float)scale_of(l)});
    tape_output(t, "y", y);
    bool good = tape_finish(t, &b->base, NULL, error);
    if (good) {
        write_input(t, "q", l, l->batch * l->queries, query_at);
        write_input(t, "k", l, l->batch * l->keys, key_at);
        write_input(t, "v", l, l->batch * l->keys, value_of);
        good = tape_run(t, NULL, error);
    }
    if (good) {
        g_autofree float *data = g_new(float, tensor_count(y));
        tape_read(t, "y", data);
        *difference = difference_of(l, data);
    }
    tape_destroy(t);
    return good;
}

bool selftest_attention(struct vulkan_backend *b, double *difference, GError **error)
{
    *difference = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(layers); i++) {
        double d = 0;
        if (layers[i].large && b->d->info.kind == VULKAN_SOFTWARE)
            continue;
        if (!run_layer(b, &layers[i], &d, error))
            return false;
        *difference = d <= *difference ? *difference : d; /* a NaN too */
        if (!(d < SELFTEST_ATTENTION_ERROR))
            break;
    }
    return true;
}
