#include "compute/bench.h"
#include "compute/op.h"
#include "compute/tape.h"

#include <string.h>

#define RUNS 4

/* Any values do: products take the same time, and these keep clear of denormals and infinity. */
static bool read_values(const struct weight *weight, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    /* -1/64, 0, 1/64, 1/32, in bits. */
    static const uint32_t f32[] = {0xbc800000, 0, 0x3c800000, 0x3d000000};
    static const uint16_t f16[] = {0xa400, 0, 0x2400, 0x2800};
    (void)weight;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        size_t k = (first + i) * 2654435761u >> 16 & 3;
        if (as == DTYPE_F32)
            memcpy((float *)dst + i, &f32[k], sizeof f32[k]);
        else
            ((uint16_t *)dst)[i] = as == DTYPE_F16 ? f16[k] : (uint16_t)(f32[k] >> 16);
    }
    return true;
}

/* Finishes the tape, runs it, and destroys it; 0 with an error on failure. */
static double rate(struct tape *t, struct tensor *x, struct tensor *y, struct backend *backend,
                   const int *cancel, GError **error)
{
    double best = 0;
    tape_output(t, "out", y);
    bool ok = tape_finish(t, backend, cancel, error);
    g_autofree float *data = g_new(float, tensor_count(x));
    for (size_t i = 0; i < tensor_count(x); i++)
        data[i] = (float)((i * 40503) % 64) / 32 - 1;
    if (ok)
        tape_write(t, "x", data);
    for (int i = 0; ok && i < RUNS; i++) {
        gint64 start = g_get_monotonic_time();
        ok = tape_run(t, cancel, error);
        gint64 microseconds = MAX(g_get_monotonic_time() - start, 1);
        best = MAX(best, tape_flops(t) / (double)microseconds / 1e3);
    }
    tape_destroy(t);
    return ok ? best : 0;
}

double bench_layer(struct backend *backend, const struct bench_layer *l, double *flops,
                   const int *cancel, GError **error)
{
    int kernel = MAX(l->kernel, 1);
    struct weight w = {.name = "layer",
                       .rank = l->kernel ? 4 : 2,
                       .dims = {l->outputs, l->inputs, kernel, kernel},
                       .read = read_values};
    struct tape *t = tape_create("bench");
    int64_t dims[] = {l->batch, l->height, l->width, l->inputs};
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, dims);
    struct tensor *y = l->kernel ? op_conv2d(t, x, &w, NULL, (struct conv2d_params){.padding = -1})
                                 : op_linear(t, x, &w, NULL);
    *flops = tape_flops(t);
    double gflops = rate(t, x, y, backend, cancel, error);
    backend_forget_weights(backend);
    return gflops > 0 ? *flops / gflops / 1e9 : 0;
}

bool bench_backend(struct backend *backend, struct bench_rates *rates, const int *cancel,
                   GError **error)
{
    struct weight linear = {.name = "linear", .rank = 2, .dims = {2560, 320}, .read = read_values};
    struct weight conv = {.name = "conv", .rank = 4, .dims = {320, 320, 3, 3}, .read = read_values};
    *rates = (struct bench_rates){0};

    struct tape *t = tape_create("bench");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 2, (int64_t[]){4096, 320});
    rates->linear = rate(t, x, op_linear(t, x, &linear, NULL), backend, cancel, error);
    if (rates->linear > 0) {
        t = tape_create("bench");
        x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){1, 64, 64, 320});
        struct tensor *y = op_conv2d(t, x, &conv, NULL, (struct conv2d_params){.padding = -1});
        rates->conv = rate(t, x, y, backend, cancel, error);
    }
    if (rates->conv > 0) {
        t = tape_create("bench");
        x = tape_input(t, "x", DTYPE_F32, 3, (int64_t[]){1, 4096, 320});
        struct tensor *y = op_attention(t, x, x, x, (struct attention_params){.heads = 8});
        rates->attention = rate(t, x, y, backend, cancel, error);
    }
    backend_forget_weights(backend);
    return rates->attention > 0;
}
