/*
 * What VK_LAYER_FIGMENT_matrix2 (matrix2_layer.c) keeps of a device's objects, and how it runs the
 * kernels that the driver never sees: shader modules with tensor addressing are interpreted
 * (tests/vulkan/interpreter/) when their command buffer is submitted, on the memory that the driver
 * maps. Any thread; the devices are all of one driver.
 */
#pragma once

#include "compute/vulkan/api.h"
#include "tests/vulkan/layer_link.h"

#define MATRIX2_MAX_DIMENSION 256
#define MATRIX2_MAX_INVOCATIONS 1024

/* The next layer's functions, for each device that is made. */
void matrix2_enter(VkDevice device, PFN_vkGetDeviceProcAddr next);
/* Features of the second extension that the program switched on; NULL = none. */
void matrix2_enable(const VkPhysicalDeviceCooperativeMatrix2FeaturesNV *features);
/* What the layer lists as flexible dimensions, FIGMENT_TEST_MATRIX2. */
VkResult matrix2_dimensions(uint32_t *count,
                            VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list);
/* The layer's own of a device function; NULL = it does not look at that. */
PFN_vkVoidFunction matrix2_find(const char *name);
