/*
 * A Vulkan layer that makes calls fail, for tests that cannot reach the back end's own table of
 * functions: VK_LAYER_FIGMENT_fault, loaded by the loader (VK_LAYER_PATH, VK_INSTANCE_LAYERS). The
 * test opens the same library and finds its controls as the symbol `fault`. One device at a time.
 */
#pragma once

#include <stddef.h>

enum fault_kind {
    FAULT_ALLOCATE, /* out of device memory */
    FAULT_SUBMIT,   /* the device is lost, until it is destroyed */
    FAULT_WAIT,     /* the same, told at a wait */
    FAULT_KINDS,
};

struct fault {
    int calls[FAULT_KINDS]; /* since the test set them to 0; submits and waits of each new device */
    enum fault_kind kind;
    int at;    /* the call that fails, from 1; 0 = none */
    int times; /* how often: a lost device is opened anew, and then lost again */
    int struck;
    int devices;            /* alive */
    int allocations;        /* alive */
    size_t allocation_size; /* bytes alive */
};
