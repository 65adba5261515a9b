/*
 * A small network that meets every kind of op, for the tests of the Vulkan back end: 2 pictures of
 * `size` x `size` pixels, 32 channels. Weights are made up and live as long as the process.
 */
#pragma once

#include "compute/op.h"
#include "compute/tape.h"
#include "tests/check.h"

struct net {
    struct tape *tape;
    size_t in_count, out_count;
    int size;
};

struct net net_record(int size);
/* Finishes, writes, runs, reads. False with the error of the first step that failed. */
bool net_finish(struct net *net, struct backend *backend, GError **error);
bool net_run(struct net *net, float *out, GError **error);
void net_destroy(struct net *net);
