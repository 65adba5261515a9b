/*
 * Submitting work and waiting for it, with finite waits only. A lost device (or one that does not
 * answer) sets device->lost: everything that uses it fails from then on with VULKAN_ERROR_LOST, and
 * only destroying is allowed. One thread.
 */
#pragma once

#include "compute/vulkan/device.h"

VkFence gpu_fence(struct device *d, GError **error); /* unsignalled; destroy with vk.DestroyFence */
bool gpu_submit(struct device *d, const VkCommandBuffer *list, uint32_t count, VkFence fence,
                GError **error);
/* Waits for a fence that was submitted and resets it. */
bool gpu_wait(struct device *d, VkFence fence, GError **error);
/* Before destroying what may be in flight after an error: waits a while, ignores failures. */
void gpu_drain(struct device *d, VkFence fence);
/* The sentence for a failed Vulkan call. `what` is a noun: "the command buffers". */
void gpu_fail(struct device *d, VkResult result, const char *what, GError **error);
