/*
 * The Vulkan back end: runs tapes as compute shaders. One thread per back end. What it needs: a
 * Vulkan 1.2 device with compute, subgroup arithmetic and (for F16) 16-bit storage.
 *
 * Environment:
 *
 *  FIGMENT_VULKAN_PATH=shared|register|matrix: the kernels for products of matrices.
 *
 *  FIGMENT_VULKAN_SELFTEST=1: measures anew, also on a software device and with the matrix kernels,
 *  which no GPU has run yet; what is found is kept for later starts. Kernels that crashed or hung
 *  the driver are left out, unless it is "again".
 *
 *  FIGMENT_VULKAN_LIMITS: lowers the device's limits (compute/vulkan/device.h).
 *
 *  FIGMENT_ONE_DISPATCH=1: every dispatch in its own submission, for validation.
 *
 *  FIGMENT_VALIDATION=1: counts messages of the validation layers, which must be loaded.
 */
#pragma once

#include "compute/backend.h"

enum vulkan_kind {
    VULKAN_DISCRETE,
    VULKAN_INTEGRATED,
    VULKAN_VIRTUAL,
    VULKAN_SOFTWARE, /* runs on the CPU: used only when asked for */
};

struct vulkan_device_info {
    char name[256];
    char driver[256]; /* "radv, Mesa 25.0.7" */
    char version[32]; /* of Vulkan: "1.3.230" */
    enum vulkan_kind kind;
    uint64_t memory; /* bytes of device-local memory as reported */
    bool usable, f16;
    char problem[128]; /* why it is not usable */
    /* What the self-test found, "f16: registers, 0.0178 TFLOP/s"; "" = not run. */
    char kernels[128];
};

/*
 * The devices, best first (struct vulkan_device_info; free with g_array_unref). An empty array when
 * Vulkan works but has no device; NULL with a sentence when there is no Vulkan.
 */
GArray *vulkan_devices(GError **error);
const char *vulkan_kind_name(enum vulkan_kind kind); /* "discrete GPU" */

/*
 * `device` is NULL (the best), a number (place in vulkan_devices()) or part of a name; `precision`
 * F16 or F32. Fails with a sentence.
 */
struct backend *vulkan_backend_create(const char *device, enum dtype precision, GError **error);

/*
 * Errors of the back end that the engine acts on; others are plain sentences.
 * VULKAN_ERROR_LOST: the device was reset: destroy every tape and the back end, make a new one,
 * redo the picture once. VULKAN_ERROR_MEMORY: did not fit; all of its memory is given back.
 */
#define VULKAN_ERROR (vulkan_error_quark())
GQuark vulkan_error_quark(void);
enum vulkan_error {
    VULKAN_ERROR_LOST,
    VULKAN_ERROR_MEMORY,
    VULKAN_ERROR_DRIVER,
};
