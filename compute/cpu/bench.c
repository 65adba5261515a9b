/* oneDNN alone, as the measure of what the CPU can do. */
#include "compute/bench.h"
#include "compute/cpu/memory.h"
#include "compute/cpu/onednn_compat.h"
#include "compute/cpu/parallel.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

#define RUNS 4
#define COPY_BYTES ((size_t)128 << 20)
#define COPY_CHUNK ((size_t)1 << 20)

/* GFLOP/s of a product that it takes over; 0 with an error on failure. */
static double rate(struct dnn *dnn, struct dnn_product *product, double flops, GError **error)
{
    size_t sizes[] = {dnn_product_source_bytes(product),
                      dnn_layout_bytes(dnn_product_layout(product)),
                      dnn_product_destination_bytes(product), dnn_product_scratch(product)};
    char *blocks[4] = {NULL};
    bool ok = true;
    for (size_t i = 0; ok && i < G_N_ELEMENTS(blocks); i++) {
        blocks[i] = memory_take(MAX(sizes[i], 64), _("a measurement"), error);
        ok = blocks[i] != NULL;
        /* Numbers near 0.5 in both formats: pages of their own, no denormals. */
        for (size_t k = 0; ok && i < 2 && k + 2 <= sizes[i]; k += 2)
            memcpy(blocks[i] + k, &(uint16_t){0x3f00}, 2);
    }
    double best = 0;
    for (int i = 0; ok && i < RUNS; i++) {
        gint64 start = g_get_monotonic_time();
        ok = dnn_product_run(dnn, product, blocks[0], blocks[1], NULL, blocks[2], blocks[3]);
        best = MAX(best, flops / (double)MAX(g_get_monotonic_time() - start, 1) / 1e3);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
        memory_give(blocks[i], MAX(sizes[i], 64));
    dnn_product_destroy(product);
    return ok ? best : 0;
}

static bool best_linear(struct dnn *dnn, enum dtype precision, struct bench_onednn *r,
                        GError **error)
{
    static const int64_t shapes[][3] = {{4096, 320, 2560}, {1024, 1280, 1280}, {2048, 2048, 2048}};
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        struct dnn_matmul m = {.rows = shapes[i][0],
                               .in = shapes[i][1],
                               .out = shapes[i][2],
                               .type = precision,
                               .out_type = precision};
        struct dnn_product *product = dnn_matmul_create(dnn, &m, NULL);
        if (!product)
            return false;
        g_strlcpy(r->linear_name, dnn_product_name(product), sizeof r->linear_name);
        double flops = 2.0 * (double)m.rows * (double)m.in * (double)m.out;
        double got = rate(dnn, product, flops, error);
        if (got <= 0)
            return false;
        r->linear = MAX(r->linear, got);
    }
    return true;
}

static bool best_conv(struct dnn *dnn, enum dtype precision, struct bench_onednn *r, GError **error)
{
    static const int64_t shapes[][3] = {{64, 320, 320}, {32, 640, 640}, {128, 256, 256}};
    for (size_t i = 0; i < 2 * G_N_ELEMENTS(shapes); i++) {
        const int64_t *s = shapes[i / 2];
        struct dnn_conv c = {.batch = 1,
                             .height = s[0],
                             .width = s[0],
                             .in = s[1],
                             .out = s[2],
                             .kernel_height = 3,
                             .kernel_width = 3,
                             .out_height = s[0],
                             .out_width = s[0],
                             .stride = 1,
                             .top = 1,
                             .left = 1,
                             .bottom = 1,
                             .right = 1,
                             .type = precision,
                             .out_type = precision,
                             .any_layout = i % 2};
        struct dnn_product *product = dnn_conv_create(dnn, &c, NULL);
        if (!product)
            return false;
        g_autofree char *name = g_strdup(dnn_product_name(product));
        double flops = 18.0 * (double)(s[0] * s[0]) * (double)(s[1] * s[2]);
        double got = rate(dnn, product, flops, error);
        if (got <= 0)
            return false;
        if (got > r->conv)
            g_strlcpy(r->conv_name, name, sizeof r->conv_name);
        r->conv = MAX(r->conv, got);
    }
    return true;
}

static void copy_chunk(void *data, size_t index, int thread)
{
    char *const *blocks = (char *const *)data;
    (void)thread;
    memcpy(blocks[1] + index * COPY_CHUNK, blocks[0] + index * COPY_CHUNK, COPY_CHUNK);
}

static bool copy_rate(struct bench_onednn *r, GError **error)
{
    char *blocks[2] = {memory_take(COPY_BYTES, _("a measurement"), error), NULL};
    blocks[1] = blocks[0] ? memory_take(COPY_BYTES, _("a measurement"), error) : NULL;
    if (blocks[1])
        memset(blocks[0], 1, COPY_BYTES);
    for (int i = 0; blocks[1] && i < RUNS; i++) {
        gint64 start = g_get_monotonic_time();
        parallel_for(COPY_BYTES / COPY_CHUNK, NULL, copy_chunk, blocks);
        double microseconds = (double)MAX(g_get_monotonic_time() - start, 1);
        r->copy = MAX(r->copy, 2.0 * (double)COPY_BYTES / microseconds / 1e3);
    }
    bool ok = blocks[1] != NULL;
    memory_give(blocks[0], COPY_BYTES);
    memory_give(blocks[1], COPY_BYTES);
    return ok;
}

bool bench_onednn(enum dtype precision, int threads, struct bench_onednn *result, GError **error)
{
    memset(result, 0, sizeof *result);
    g_strlcpy(result->library, dnn_version(), sizeof result->library);
    if (!memory_check_space(error))
        return false;
    struct dnn *dnn = dnn_create(error);
    if (!dnn)
        return false;
    parallel_set_threads(threads);
    GError *problem = NULL;
    bool ok = best_linear(dnn, precision, result, &problem) &&
              best_conv(dnn, precision, result, &problem) && copy_rate(result, &problem);
    if (!ok && !problem)
        g_set_error(&problem, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    _("cpu: %s has no %s products on this machine"), result->library,
                    dtype_name(precision));
    if (problem)
        g_propagate_error(error, problem);
    dnn_destroy(dnn);
    return ok;
}
