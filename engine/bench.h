/*
 * Measures of this machine: what `figment bench` prints and docs/SPEED.md quotes. Networks have the
 * published shapes and random parameters, so nothing is downloaded. Any thread; takes minutes.
 */
#pragma once

#include "engine/engine.h"

struct bench_options {
    const char *device, *precision; /* as in a request */
    int threads;
    const char *only; /* rows whose name holds this text; NULL = all */
    bool large;       /* also what only a GPU does in seconds: SDXL, 1024 x 1024, single layers */
    int repeats;      /* 0 = until 3 runs or 10 seconds are over, at least 2 */
    const int *cancel;
};

struct bench_row {
    const char *name;
    double seconds; /* median of the runs */
    double flops;   /* of one run; 0 = does not apply */
    double peak;    /* FLOP/s that plain big convolutions reach on this device; 0 = not known */
    uint64_t bytes; /* memory held at the most, weights with it; 0 = does not apply */
};

typedef void (*bench_row_fn)(const struct bench_row *row, void *user);

/* Calls `fn` for each row as it is measured. */
bool bench_run(const struct bench_options *options, bench_row_fn fn, void *user, GError **error);

/*
 * One figure of a device, to choose by: FLOP/s in the 3x3 convolutions that the U-Net of SD 1.5
 * spends its time in. Some seconds. Any thread.
 */
bool bench_device(const char *device, const char *precision, double *flops, GError **error);
