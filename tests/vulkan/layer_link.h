/* How a layer of these tests gets at the next one: what the loader puts into the chain of a create
 * call, taken off for whoever comes next. */
#pragma once

#include <stdbool.h>
#include <vulkan/vk_layer.h>

/* Of an instance's or a device's chain; their structs begin alike. NULL = not called by a loader.
 */
static inline void *layer_link(const void *chain, VkStructureType type)
{
    for (VkLayerDeviceCreateInfo *info = (VkLayerDeviceCreateInfo *)chain; info;
         info = (VkLayerDeviceCreateInfo *)info->pNext)
        if (info->sType == type && info->function == VK_LAYER_LINK_INFO)
            return info;
    return NULL;
}

static inline VkResult layer_create_instance(const VkInstanceCreateInfo *info,
                                             const VkAllocationCallbacks *callbacks,
                                             VkInstance *instance, PFN_vkGetInstanceProcAddr *next)
{
    VkLayerInstanceCreateInfo *link =
        layer_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    if (!link)
        return VK_ERROR_INITIALIZATION_FAILED;
    *next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    return ((PFN_vkCreateInstance)(*next)(VK_NULL_HANDLE, "vkCreateInstance"))(info, callbacks,
                                                                               instance);
}

/* The next layer's functions, for a vkCreateDevice. */
static inline bool layer_enter_device(const VkDeviceCreateInfo *info,
                                      PFN_vkGetInstanceProcAddr *instance,
                                      PFN_vkGetDeviceProcAddr *device)
{
    VkLayerDeviceCreateInfo *link =
        layer_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    if (!link)
        return false;
    *instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    *device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    return true;
}
