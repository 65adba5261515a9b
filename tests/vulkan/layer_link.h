/* What the layers of these tests share: the functions that they put before others, and how they get
 * at the next layer (what the loader puts into the chain of a create call, taken off for whoever
 * comes next). */
#pragma once

#include <stdbool.h>
#include <string.h>
#include <vulkan/vk_layer.h>

struct layer_hook {
    const char *name; /* "vkCreateDevice"; NULL = the end of a list */
    PFN_vkVoidFunction function;
};

static inline PFN_vkVoidFunction layer_find(const struct layer_hook *hooks, const char *name)
{
    for (; hooks->name; hooks++)
        if (strcmp(name, hooks->name) == 0)
            return hooks->function;
    return NULL;
}

/* For vkNegotiateLoaderLayerInterfaceVersion. `physical` may be NULL. */
static inline VkResult layer_negotiate(VkNegotiateLayerInterface *negotiated,
                                       PFN_vkGetInstanceProcAddr instance,
                                       PFN_vkGetDeviceProcAddr device,
                                       PFN_GetPhysicalDeviceProcAddr physical)
{
    negotiated->loaderLayerInterfaceVersion = 2;
    negotiated->pfnGetInstanceProcAddr = instance;
    negotiated->pfnGetDeviceProcAddr = device;
    negotiated->pfnGetPhysicalDeviceProcAddr = physical;
    return VK_SUCCESS;
}

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

/* Takes a struct out of a chain behind its first; put back with *from = taken. */
static inline VkBaseOutStructure *layer_take_out(void *first, VkStructureType type,
                                                 VkBaseOutStructure ***from)
{
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)first; s; s = s->pNext) {
        VkBaseOutStructure *taken = s->pNext;
        if (!taken || taken->sType != type)
            continue;
        *from = &s->pNext;
        s->pNext = taken->pNext;
        return taken;
    }
    return NULL;
}
