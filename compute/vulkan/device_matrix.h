/* What a device has of cooperative matrices: found and switched on when it is opened. */
#pragma once

#include "compute/vulkan/device.h"

/* What the shaders of cooperative matrices use of a device that has them. */
struct matrix_features {
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR khr;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV nv;
    VkPhysicalDeviceMaintenance4Features sizes; /* a workgroup's size by a constant, SPIR-V 1.6 */
};

/* Asks the device, adds the extensions (at most 2), and leaves what is to be switched on as a chain
 * within `f`; NULL = nothing. `f->khr.pNext` is set when the second extension is among it. */
void *matrix_ask(const struct device *d, struct matrix_features *f, const char **extensions,
                 uint32_t *count);
/* Of the opened device: d->matrix, and d->matrix2 where the second extension was switched on. */
void matrix_read(struct device *d, bool second);
