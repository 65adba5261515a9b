/*
 * What a machine can do: the pieces of `figment bench`. Rates are GFLOP/s (multiply-adds count as
 * 2) and GB/s, each the best of a few runs, so that a busy moment does not count. Takes some
 * seconds; blocks the calling thread.
 */
#pragma once

#include "compute/backend.h"

/* Through tapes on any back end: the shapes that the U-Net of SD 1.5 spends its time in. */
struct bench_rates {
    double linear;    /* [4096,320] x [320,2560] */
    double conv;      /* 3x3, 64 x 64, 320 -> 320 */
    double attention; /* 8 heads of 40 over 4096 positions */
};
bool bench_backend(struct backend *backend, struct bench_rates *rates, const int *cancel,
                   GError **error);

/* One layer with parameters of any values. A kernel of 0 is a linear layer of height * width rows.
 */
struct bench_layer {
    int batch, height, width, inputs, outputs, kernel;
};
/* Seconds of the best run; 0 with an error on failure. */
double bench_layer(struct backend *backend, const struct bench_layer *layer, double *flops,
                   const int *cancel, GError **error);

/* oneDNN's own peak by plain primitives, without tapes, in the layouts it likes best. */
struct bench_onednn {
    char library[48];     /* "oneDNN 2.6.3" */
    char linear_name[64]; /* which implementation oneDNN chose */
    char conv_name[64];
    double linear; /* the best of a few large matrix products */
    double conv;   /* the best of the large 3x3 convolutions of SD 1.5 */
    double copy;   /* memory bandwidth, GB/s read plus written */
};
/* precision: F32 or BF16. threads as in cpu_backend_create(). False where oneDNN has no products in
 * this precision (BF16 before AVX-512). */
bool bench_onednn(enum dtype precision, int threads, struct bench_onednn *result, GError **error);
