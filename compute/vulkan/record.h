/*
 * The dispatches of a program: collected once, recorded into command buffers once, run many times.
 * Barriers are derived from the ranges that dispatches read and write. Command buffers are the
 * pieces that submissions are made of: a submission aims at 80 ms and is cut by what was measured
 * in earlier runs, so that the desktop stays alive and a cancel is seen soon. Owned by a program,
 * one thread.
 */
#pragma once

#include "compute/vulkan/pipelines.h"

#define MAX_BINDINGS 10

struct binding {
    uint32_t slot;
    bool write;
    VkBuffer buffer;
    uint64_t offset, bytes;
    VkFormat texels; /* also as a texel buffer in slot + SLOTS; VK_FORMAT_UNDEFINED = no */
};

struct dispatch {
    VkPipeline pipeline;
    uint8_t push[PUSH_BYTES];
    uint32_t push_bytes;
    uint32_t groups[3];
    struct binding bindings[MAX_BINDINGS];
    int binding_count;
    double seconds; /* expected */
    uint64_t trips; /* of loops that are not unrolled, of one invocation */
    int node;       /* of the plan; for the profile */
};

/* Between what shaders use and what the CPU sees. */
struct copy {
    VkBuffer from, to;
    VkBufferCopy region;
};

struct commands;

struct commands_stats {
    int dispatches, barriers, submissions; /* of the last run */
    double worst_seconds;                  /* longest submission of the last run */
    double device_seconds; /* that the device worked in it, by its clock; 0 = it has none */
    uint64_t most_trips;   /* of any dispatch */
    double most_seconds;   /* of any dispatch, as expected */
};

/* `scale` (measured over expected seconds) is the back end's, learned over all of its programs. */
struct commands *commands_create(struct device *d, struct pipelines *p, double *scale);
void commands_destroy(struct commands *c); /* takes NULL */
/* Asserts the limits that a wrong number would break silently: groups, trips, ranges. */
void commands_add(struct commands *c, const struct dispatch *dispatch);
/* Part of every run: before its first dispatch, or after its last. */
void commands_add_copy(struct commands *c, bool before, const struct copy *copy);
/* Descriptors and command buffers; a software device compiles its shaders. `spare` is a small
 * buffer that nobody writes; `cancel` may be NULL. */
bool commands_finish(struct commands *c, VkBuffer spare, const int *cancel, GError **error);
/*
 * Runs all. `cancel` may be NULL: nonzero ends the run within the submissions in flight. With
 * node_seconds every node has its own submission and its time (the device's, where it has a clock)
 * is added.
 */
bool commands_run(struct commands *c, const int *cancel, double *node_seconds, GError **error);
struct commands_stats commands_stats(const struct commands *c);
