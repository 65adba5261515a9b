#include "compute/vulkan/api.h"

#include <dlfcn.h>
#include <gio/gio.h>
#include <glib/gi18n-lib.h>

PFN_vkGetInstanceProcAddr vk_loader(GError **error)
{
    static gsize once;
    static PFN_vkGetInstanceProcAddr get;
    if (g_once_init_enter(&once)) {
        void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        if (library)
            *(void **)&get = dlsym(library, "vkGetInstanceProcAddr");
        g_once_init_leave(&once, 1);
    }
    if (!get)
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                            _("Vulkan is not installed on this machine (no libvulkan.so.1); the "
                              "picture can be made on the CPU instead."));
    return get;
}

void vk_load_instance(struct vk_instance_api *api, PFN_vkGetInstanceProcAddr get,
                      VkInstance instance)
{
    api->GetInstanceProcAddr = get;
#define F(name) api->name = (PFN_vk##name)get(instance, "vk" #name);
    VK_INSTANCE_FUNCTIONS(F)
#undef F
}

void vk_load_device(struct vk_api *api, const struct vk_instance_api *from, VkDevice device)
{
#define F(name) api->name = (PFN_vk##name)from->GetDeviceProcAddr(device, "vk" #name);
    VK_DEVICE_FUNCTIONS(F)
#undef F
}

const char *vk_result_text(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return _("out of memory");
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return _("out of graphics memory");
    case VK_ERROR_INITIALIZATION_FAILED:
        return _("the driver could not start");
    case VK_ERROR_DEVICE_LOST:
        return _("the device was lost");
    case VK_ERROR_LAYER_NOT_PRESENT:
        return _("a Vulkan layer that was asked for is missing");
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return _("the driver lacks a feature it announced");
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return _("no driver fits");
    case VK_ERROR_TOO_MANY_OBJECTS:
        return _("the driver has no room for more objects");
    case VK_TIMEOUT:
        return _("the device did not answer in time");
    default:
        return _("the driver reported a failure");
    }
}
