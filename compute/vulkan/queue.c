#include "compute/vulkan/queue.h"

#include <glib/gi18n-lib.h>

#define POLL_NS (100 * 1000 * 1000)

G_DEFINE_QUARK(figment - vulkan - error, vulkan_error)

void gpu_fail(struct device *d, VkResult result, const char *what, GError **error)
{
    if (result == VK_ERROR_DEVICE_LOST || result == VK_TIMEOUT) {
        d->lost = true;
        g_set_error(
            error, VULKAN_ERROR, VULKAN_ERROR_LOST,
            _("The graphics driver reset “%s” (%s). The picture can be made again, or on the "
              "CPU."),
            d->info.name, vk_result_text(result));
        return;
    }
    bool memory = result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
    if (memory)
        g_set_error(
            error, VULKAN_ERROR, VULKAN_ERROR_MEMORY,
            _("Not enough graphics memory on “%s” for %s (%s). Try a smaller picture or fewer "
              "at once, or make it on the CPU."),
            d->info.name, what, vk_result_text(result));
    else
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                    _("The graphics driver of “%s” failed at %s: %s."), d->info.name, what,
                    vk_result_text(result));
}

VkFence gpu_fence(struct device *d, GError **error)
{
    VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkFence fence = VK_NULL_HANDLE;
    VkResult result = d->vk.CreateFence(d->handle, &info, NULL, &fence);
    if (result) {
        gpu_fail(d, result, _("a fence"), error);
        return VK_NULL_HANDLE;
    }
    return fence;
}

bool gpu_submit(struct device *d, const VkCommandBuffer *list, uint32_t count, VkFence fence,
                GError **error)
{
    if (d->lost) {
        gpu_fail(d, VK_ERROR_DEVICE_LOST, "", error);
        return false;
    }
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .commandBufferCount = count,
                         .pCommandBuffers = list};
    VkResult result = d->vk.QueueSubmit(d->queue, 1, &info, fence);
    d->submitted += !result;
    if (result)
        gpu_fail(d, result, _("the submission of work"), error);
    return !result;
}

static VkResult wait_for(struct device *d, VkFence fence, double seconds)
{
    gint64 end = g_get_monotonic_time() + (gint64)(seconds * 1e6);
    VkResult result;
    do
        result = d->vk.WaitForFences(d->handle, 1, &fence, VK_TRUE, POLL_NS);
    while (result == VK_TIMEOUT && g_get_monotonic_time() < end);
    return result;
}

bool gpu_wait(struct device *d, VkFence fence, GError **error)
{
    VkResult result = wait_for(d, fence, d->limits.wait);
    if (!result)
        result = d->vk.ResetFences(d->handle, 1, &fence);
    /* A validation layer wakes up who waits for a fence before it has read what the shaders
     * reported, and loses that when the command buffer goes; who waits for the device is told
     * afterwards. */
    if (!result && d->validated)
        result = d->vk.DeviceWaitIdle(d->handle);
    if (result)
        gpu_fail(d, result, _("waiting for its work"), error);
    return !result;
}

void gpu_drain(struct device *d, VkFence fence)
{
    double seconds = MIN(d->info.kind == VULKAN_SOFTWARE ? 60 : 2, d->limits.wait);
    /* A wait that fails at once says nothing about work that is still running. */
    for (int tries = 0; tries < 3; tries++)
        if (wait_for(d, fence, seconds) == VK_SUCCESS)
            return;
}
