/*
 * One opened Vulkan device: the instance, the queue, what the device can do, and the limits that
 * the rest of compute/vulkan/ plans with. Owned by the back end, used by its thread.
 *
 * Limits can only be lowered for tests, by FIGMENT_VULKAN_LIMITS, a list such as
 * "range=16777216,heap=268435456,invocations=128" (also: allocation, shared, groups, trips, flops,
 * fill;
 * "wait=", which can be raised as well; "plain=1": lavapipe runs the kernels of GPUs; "unmapped=1":
 * the CPU does not see device memory, as on most cards).
 */
#pragma once

#include "compute/vulkan/api.h"
#include "compute/vulkan/vulkan.h"

#define VIEW_ROOM 256 /* bytes behind every buffer where shaders read through texel buffers */
/* lavapipe (Mesa 22.3) silently ends loops after this many trips of an invocation, all its loops
 * together */
#define LAVAPIPE_TRIPS 65535
#define DEVICE_MAX_MATRIX_SHAPES 8
#define DEVICE_MATRIX2_TILES 2

/* A tile that one subgroup multiplies at once: f16 inputs, f32 sums. */
struct matrix_shape {
    uint32_t m, n, k;
};

/* VK_NV_cooperative_matrix2: workgroups that multiply tiles of a size together. */
struct matrix2 {
    uint32_t local;         /* invocations; 0 = the device does not */
    uint32_t rows, columns; /* of a matrix are a multiple of these */
};

struct limits {
    uint64_t range;      /* bytes of one bound buffer */
    uint64_t texels;     /* elements of one texel buffer */
    uint64_t allocation; /* bytes of one allocation */
    uint64_t heap;       /* bytes of device-local memory */
    uint64_t trips;      /* of loops in an invocation */
    uint32_t invocations, shared, groups;
    double wait;        /* seconds that a submission may take before it counts as hung */
    double flops;       /* that a dispatch may have however slow the device seems: 1e9 */
    uint32_t fill;      /* workgroups that keep all of it busy: 256 */
    uint32_t tile;      /* rows and columns of the matrix kernels' largest tile */
    uint32_t alignment; /* of bound offsets: storage and texel buffers */
};

struct device {
    struct vk_instance_api instance_api;
    struct vk_api vk;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    uint32_t family;

    struct vulkan_device_info info;
    struct limits limits;
    VkPhysicalDeviceMemoryProperties memory;
    uint8_t device_uuid[VK_UUID_SIZE], driver_uuid[VK_UUID_SIZE], cache_uuid[VK_UUID_SIZE];
    uint32_t api_version, driver_version, vendor_id;
    bool lost;                /* set by queue.c */
    uint64_t submitted, done; /* submissions so far, and those that are known to be over */
    bool validated;           /* FIGMENT_VALIDATION */
    bool lavapipe;            /* Mesa's software device: short loops */
    bool unmapped;            /* device memory is taken for what the CPU does not see */
    bool texel_kernels; /* reads through texel buffers, reduces within a subgroup: for lavapipe */
    uint32_t subgroup;  /* lanes, as the driver picks */
    uint32_t subgroup_min, subgroup_max; /* what can be asked for; equal to subgroup when nothing */
    bool subgroup_control;
    bool f16;                /* 16-bit storage buffers */
    bool budget;             /* VK_EXT_memory_budget */
    uint32_t timestamp_bits; /* of the queue's clock; 0 = none */
    double timestamp_ns;
    struct matrix_shape matrix[DEVICE_MAX_MATRIX_SHAPES];
    int matrix_count;
    struct matrix2 matrix2[DEVICE_MATRIX2_TILES]; /* for tiles of 64 and of 128 squared */
    uint32_t matrix2_most;                        /* rows or columns of a matrix */
};

/* `name` NULL: the best one; a number: its place in vulkan_devices(); else part of its name. */
struct device *gpu_open(const char *name, GError **error);
void gpu_close(struct device *d); /* takes NULL */
bool gpu_has_extension(const struct device *d, const char *name);
/* The first memory type that has all of `wanted` and is allowed by `types`; -1 = none. */
int gpu_memory_type(const struct device *d, uint32_t types, VkMemoryPropertyFlags wanted);
/* Bytes of device-local memory that this process may still take, as the driver tells now;
 * UINT64_MAX = it does not tell (VK_EXT_memory_budget). */
uint64_t gpu_memory_left(const struct device *d);
/* Messages of the validation layers since the process started (tests). */
int gpu_validation_messages(void);
