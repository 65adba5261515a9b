/*
 * A Vulkan layer that makes a device claim cooperative matrices that it does not have, for tests of
 * what the back end chooses (tests/vulkan/shapes.c): VK_LAYER_FIGMENT_shapes. The list is
 * FIGMENT_TEST_MATRICES, "16x16x16 hhff, 16x8x16 hhhh saturating, ...": sizes, types of A, B, C and
 * the result (h 16-bit float, f 32-bit float), "saturating", "workgroup" (scope). Unset: the device
 * as it is. Nothing can run on them, unless the device has matrices of its own that may have any
 * size (flexible dimensions of VK_NV_cooperative_matrix2, lavapipe of Mesa 26.2): these are then
 * switched on, and tests/vulkan/matrix_shapes.sh runs the kernels.
 */
#include "compute/vulkan/api.h"
#include "tests/vulkan/layer_link.h"

#include <stdio.h>
#include <string.h>

static PFN_vkGetInstanceProcAddr next_instance;
static VkInstance current;

static bool native, flexible; /* what the device has itself */

/* Asked for at once: later the loader answers with the first layer's. */
static PFN_vkEnumerateDeviceExtensionProperties next_extensions;
static PFN_vkGetPhysicalDeviceFeatures2 next_features;
static PFN_vkGetDeviceProcAddr next_device;

static bool claims(void)
{
    return g_getenv("FIGMENT_TEST_MATRICES") != NULL;
}

static VkComponentTypeKHR type_of(char letter)
{
    return letter == 'h' ? VK_COMPONENT_TYPE_FLOAT16_KHR : VK_COMPONENT_TYPE_FLOAT32_KHR;
}

static VKAPI_ATTR VkResult VKAPI_CALL matrices(VkPhysicalDevice physical, uint32_t *count,
                                               VkCooperativeMatrixPropertiesKHR *list)
{
    (void)physical;
    g_auto(GStrv) items = g_strsplit(claims() ? g_getenv("FIGMENT_TEST_MATRICES") : "", ", ", -1);
    uint32_t n = g_strv_length(items);
    for (uint32_t i = 0; list && i < n && i < *count; i++) {
        VkCooperativeMatrixPropertiesKHR *m = &list[i];
        char types[5] = "";
        if (sscanf(items[i], "%ux%ux%u %4s", &m->MSize, &m->NSize, &m->KSize, types) != 4)
            g_error("FIGMENT_TEST_MATRICES: “%s”", items[i]);
        m->AType = type_of(types[0]);
        m->BType = type_of(types[1]);
        m->CType = type_of(types[2]);
        m->ResultType = type_of(types[3]);
        m->saturatingAccumulation = strstr(items[i], "saturating") != NULL;
        m->scope = strstr(items[i], "workgroup") ? VK_SCOPE_WORKGROUP_KHR : VK_SCOPE_SUBGROUP_KHR;
    }
    *count = list ? MIN(*count, n) : n;
    return VK_SUCCESS;
}

static void look(VkPhysicalDevice physical)
{
    uint32_t count = 0;
    next_extensions(physical, NULL, &count, NULL);
    g_autofree VkExtensionProperties *list = g_new0(VkExtensionProperties, count + 1);
    next_extensions(physical, NULL, &count, list);
    native = flexible = false;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = list[i].extensionName;
        native |= strcmp(name, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) == 0;
        flexible |= strcmp(name, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME) == 0;
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL extensions(VkPhysicalDevice physical, const char *layer,
                                                 uint32_t *count, VkExtensionProperties *list)
{
    if (!claims() || layer)
        return next_extensions(physical, layer, count, list);
    look(physical);
    if (native)
        return next_extensions(physical, layer, count, list);
    uint32_t have = 0, room = *count;
    VkResult result = next_extensions(physical, NULL, &have, NULL);
    *count = have + 1;
    if (result || !list)
        return result;
    if (room <= have)
        return VK_INCOMPLETE;
    result = next_extensions(physical, NULL, &have, list);
    list[have] = (VkExtensionProperties){VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, 2};
    return result;
}

static VKAPI_ATTR void VKAPI_CALL features(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *f)
{
    VkBaseOutStructure **from = NULL;
    look(physical);
    if (native) {
        next_features(physical, f);
        return;
    }
    VkBaseOutStructure *matrix =
        layer_take_out(f, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, &from);
    next_features(physical, f);
    if (!matrix)
        return;
    *from = matrix;
    ((VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)matrix)->cooperativeMatrix = claims();
}

/* The device's own matrices, in any size. */
static VkResult create_native(PFN_vkCreateDevice create, VkPhysicalDevice physical,
                              const VkDeviceCreateInfo *info,
                              const VkAllocationCallbacks *callbacks, VkDevice *device)
{
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV more = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
        .pNext = (void *)info->pNext,
        .cooperativeMatrixFlexibleDimensions = VK_TRUE};
    VkDeviceCreateInfo all = *info;
    const char *names[17];
    if (!claims() || !flexible || info->enabledExtensionCount >= G_N_ELEMENTS(names))
        return create(physical, info, callbacks, device);
    memcpy(names, info->ppEnabledExtensionNames, info->enabledExtensionCount * sizeof *names);
    names[all.enabledExtensionCount++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
    all.ppEnabledExtensionNames = names;
    all.pNext = &more;
    return create(physical, &all, callbacks, device);
}

/* The driver is not told of what it does not have. */
static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDevice *device)
{
    PFN_vkGetInstanceProcAddr get;
    if (!layer_enter_device(info, &get, &next_device))
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)get(current, "vkCreateDevice");
    if (native)
        return create_native(create, physical, info, callbacks, device);
    VkDeviceCreateInfo less = *info;
    const char *names[16];
    less.enabledExtensionCount = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount && i < G_N_ELEMENTS(names); i++)
        if (!claims() ||
            strcmp(info->ppEnabledExtensionNames[i], VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) != 0)
            names[less.enabledExtensionCount++] = info->ppEnabledExtensionNames[i];
    less.ppEnabledExtensionNames = names;
    VkBaseOutStructure **from = NULL, *matrix = NULL;
    if (claims())
        matrix = layer_take_out(
            &less, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, &from);
    VkResult result = create(physical, &less, callbacks, device);
    if (matrix)
        *from = matrix;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *callbacks,
                                                      VkInstance *instance)
{
    VkResult result = layer_create_instance(info, callbacks, instance, &next_instance);
    if (result)
        return result;
    current = *instance;
    next_extensions = (PFN_vkEnumerateDeviceExtensionProperties)next_instance(
        current, "vkEnumerateDeviceExtensionProperties");
    next_features =
        (PFN_vkGetPhysicalDeviceFeatures2)next_instance(current, "vkGetPhysicalDeviceFeatures2");
    return result;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name);

static PFN_vkVoidFunction hook(const char *name)
{
    static const struct layer_hook hooks[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkEnumerateDeviceExtensionProperties", (PFN_vkVoidFunction)extensions},
        {"vkGetPhysicalDeviceFeatures2", (PFN_vkVoidFunction)features},
        {"vkGetPhysicalDeviceFeatures2KHR", (PFN_vkVoidFunction)features},
        {"vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR", (PFN_vkVoidFunction)matrices},
        {NULL, NULL},
    };
    return layer_find(hooks, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction function = hook(name);
    return function ? function : next_instance(instance, name);
}

/* A loader older than the extension asks here for what it does not know. */
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_physical(VkInstance instance, const char *name)
{
    (void)instance;
    bool ours = strcmp(name, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR") == 0;
    return ours ? hook(name) : NULL;
}

/* Nothing of a device is looked at. */
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name)
{
    return next_device(device, name);
}

VK_LAYER_EXPORT VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *negotiated)
{
    return layer_negotiate(negotiated, get_instance, get_device, get_physical);
}
