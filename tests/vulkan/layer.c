/* See layer.h. Everything that is not counted or made to fail goes straight to the next layer. */
#include "tests/vulkan/layer.h"

#include "tests/vulkan/layer_link.h"

#include <stdbool.h>

#define LAYER VK_LAYER_EXPORT VKAPI_ATTR

LAYER extern struct fault fault;
struct fault fault;

static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static bool lost;

/* What is alive, to count its bytes when it is freed. */
static struct {
    VkDeviceMemory memory;
    size_t bytes;
} alive[4096];

static bool strikes(enum fault_kind kind)
{
    if (++fault.calls[kind] != fault.at || fault.kind != kind || fault.times == 0)
        return false;
    fault.times--;
    fault.struck++;
    return true;
}

static void count(VkDeviceMemory memory, size_t bytes)
{
    for (size_t i = 0; i < sizeof alive / sizeof *alive; i++) {
        if (alive[i].memory == (bytes ? VK_NULL_HANDLE : memory)) {
            fault.allocations += bytes ? 1 : -1;
            fault.allocation_size += bytes;
            fault.allocation_size -= alive[i].bytes;
            alive[i].memory = bytes ? memory : VK_NULL_HANDLE;
            alive[i].bytes = bytes;
            return;
        }
    }
}

#define NEXT(name) ((PFN_vk##name)next_device(device, "vk" #name))

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                               const VkAllocationCallbacks *callbacks,
                                               VkDeviceMemory *memory)
{
    if (strikes(FAULT_ALLOCATE))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    VkResult result = NEXT(AllocateMemory)(device, info, callbacks, memory);
    if (!result)
        count(*memory, (size_t)info->allocationSize);
    return result;
}

static VKAPI_ATTR void VKAPI_CALL release(VkDevice device, VkDeviceMemory memory,
                                          const VkAllocationCallbacks *callbacks)
{
    if (memory)
        count(memory, 0);
    NEXT(FreeMemory)(device, memory, callbacks);
}

static VkDevice current; /* a queue does not tell its device */

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t n, const VkSubmitInfo *info,
                                             VkFence fence)
{
    VkDevice device = current;
    lost = lost || strikes(FAULT_SUBMIT);
    return lost ? VK_ERROR_DEVICE_LOST : NEXT(QueueSubmit)(queue, n, info, fence);
}

/* What is in flight ends before it is called lost: a driver of the CPU must not lose its memory. */
static VKAPI_ATTR VkResult VKAPI_CALL wait_for(VkDevice device, uint32_t n, const VkFence *fences,
                                               VkBool32 all, uint64_t timeout)
{
    bool strike = strikes(FAULT_WAIT);
    VkResult result = NEXT(WaitForFences)(device, n, fences, all, strike ? UINT64_MAX : timeout);
    lost = lost || strike;
    return lost && result != VK_TIMEOUT ? VK_ERROR_DEVICE_LOST : result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice device,
                                                 const VkAllocationCallbacks *callbacks)
{
    PFN_vkDestroyDevice destroy = NEXT(DestroyDevice);
    fault.devices--;
    destroy(device, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDevice *device)
{
    PFN_vkGetInstanceProcAddr get;
    if (!layer_enter_device(info, &get, &next_device))
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)get(VK_NULL_HANDLE, "vkCreateDevice");
    VkResult result = create(physical, info, callbacks, device);
    if (!result) {
        current = *device;
        lost = false;
        fault.devices++;
        fault.calls[FAULT_SUBMIT] = fault.calls[FAULT_WAIT] = 0;
    }
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *callbacks,
                                                      VkInstance *instance)
{
    return layer_create_instance(info, callbacks, instance, &next_instance);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name);

static PFN_vkVoidFunction hook(const char *name)
{
    static const struct layer_hook hooks[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkDestroyDevice", (PFN_vkVoidFunction)destroy_device},
        {"vkAllocateMemory", (PFN_vkVoidFunction)allocate},
        {"vkFreeMemory", (PFN_vkVoidFunction)release},
        {"vkQueueSubmit", (PFN_vkVoidFunction)submit},
        {"vkWaitForFences", (PFN_vkVoidFunction)wait_for},
        {NULL, NULL},
    };
    return layer_find(hooks, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name)
{
    PFN_vkVoidFunction function = hook(name);
    return function ? function : next_device(device, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction function = hook(name);
    return function ? function : next_instance(instance, name);
}

VK_LAYER_EXPORT VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *negotiated)
{
    return layer_negotiate(negotiated, get_instance, get_device, NULL);
}
