/* What record.c (what a run is made of) and submit.c (running it) share. */
#pragma once

#include "compute/vulkan/record.h"

#define PIECE_SECONDS 0.04 /* of a command buffer */
#define IN_FLIGHT 2

struct piece {
    VkCommandBuffer commands;
    guint first, count; /* dispatches */
    double expected;    /* seconds, before scaling */
    double measured;    /* 0 = not yet */
};

struct flight {
    VkFence fence;
    bool busy;
    guint first, count; /* pieces */
    gint64 start;
};

enum cut { CUT_BY_TIME, CUT_BY_NODE, CUT_BY_DISPATCH };

struct commands {
    struct device *d;
    struct pipelines *p;
    double *scale;
    GArray *dispatches, *pieces;
    GArray *before, *after; /* struct copy */
    GHashTable *views;      /* text -> VkBufferView */
    VkDescriptorPool pool;
    VkDescriptorSet *sets;
    VkCommandPool command_pool;
    VkQueryPool times; /* when each piece began and ended; none where the device has no clock */
    VkBufferView spare_view;
    struct flight flights[IN_FLIGHT];
    enum cut cut;
    bool one_dispatch, too_long;
    struct commands_stats stats;
};

/* Forgets the pieces and records all dispatches into new ones. Nothing may be in flight. */
bool commands_record(struct commands *c, enum cut cut, GError **error);
/* A command buffer of the pool, begun. */
VkResult commands_begin(struct commands *c, VkCommandBuffer *to);
/* Pipeline, descriptors and constants of a dispatch. */
void commands_bind(struct commands *c, VkCommandBuffer to, guint index);
/* warm.c: lavapipe compiles what it would compile at the first run. Needs the command pool. */
bool commands_warm(struct commands *c, const int *cancel, GError **error);
