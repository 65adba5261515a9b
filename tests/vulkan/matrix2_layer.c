/*
 * A Vulkan layer that gives the software device what VK_NV_cooperative_matrix2 has: matrices of a
 * whole workgroup, of flexible dimensions, with tensor addressing, operations on elements and sums
 * of rows: VK_LAYER_FIGMENT_matrix2. The kernels are run by an interpreter (matrix2_run.c), the
 * driver is not told. FIGMENT_TEST_MATRIX2 is the list of granularities and invocations, "32x32x16
 * 128, 64x64x16 256"; all are f16 products, with sums of 32 and of
 * 16 bits ("32x32x16 128 f32": of 32 alone). The list of the first extension
 * (VK_KHR_cooperative_matrix) is empty.
 */
#include "tests/vulkan/matrix2_run.h"

#include <string.h>

static PFN_vkGetInstanceProcAddr next_instance;
static VkInstance current;

/* Asked for at once: later the loader answers with the first layer's. */
static PFN_vkEnumerateDeviceExtensionProperties next_extensions;
static PFN_vkGetPhysicalDeviceFeatures2 next_features;
static PFN_vkGetPhysicalDeviceProperties2 next_properties;
static PFN_vkGetDeviceProcAddr next_device;

static const VkExtensionProperties claimed[] = {{VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, 2},
                                                {VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME, 1}};

static bool claims(const char *extension)
{
    for (size_t i = 0; i < G_N_ELEMENTS(claimed); i++)
        if (strcmp(claimed[i].extensionName, extension) == 0)
            return true;
    return false;
}

/* ---- what the device says of itself ---- */

/* The driver's, without those of ours that it has itself, and ours. */
static VKAPI_ATTR VkResult VKAPI_CALL extensions(VkPhysicalDevice physical, const char *layer,
                                                 uint32_t *count, VkExtensionProperties *list)
{
    uint32_t have = 0, n = 0, room = *count;
    if (layer)
        return next_extensions(physical, layer, count, list);
    VkResult result = next_extensions(physical, NULL, &have, NULL);
    g_autofree VkExtensionProperties *all =
        g_new0(VkExtensionProperties, have + G_N_ELEMENTS(claimed));
    if (!result)
        result = next_extensions(physical, NULL, &have, all);
    for (uint32_t i = 0; i < have; i++)
        if (!claims(all[i].extensionName))
            all[n++] = all[i];
    for (size_t i = 0; i < G_N_ELEMENTS(claimed); i++)
        all[n++] = claimed[i];
    *count = list ? MIN(room, n) : n;
    if (list)
        memcpy(list, all, *count * sizeof *list);
    return result ? result : list && room < n ? VK_INCOMPLETE : VK_SUCCESS;
}

static VkBaseOutStructure *find(void *chain, VkStructureType type)
{
    VkBaseOutStructure *s = (VkBaseOutStructure *)chain;
    while (s && s->sType != type)
        s = s->pNext;
    return s;
}

/* The driver leaves alone what it does not know. */
static VKAPI_ATTR void VKAPI_CALL features(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *f)
{
    next_features(physical, f);
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR *khr =
        (VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)(void *)find(
            f, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV *nv =
        (VkPhysicalDeviceCooperativeMatrix2FeaturesNV *)(void *)find(
            f, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV);
    if (khr)
        khr->cooperativeMatrix = VK_TRUE;
    if (nv)
        nv->cooperativeMatrixWorkgroupScope = nv->cooperativeMatrixFlexibleDimensions =
            nv->cooperativeMatrixReductions = nv->cooperativeMatrixConversions =
                nv->cooperativeMatrixPerElementOperations = nv->cooperativeMatrixTensorAddressing =
                    VK_TRUE;
}

static VKAPI_ATTR void VKAPI_CALL properties(VkPhysicalDevice physical,
                                             VkPhysicalDeviceProperties2 *p)
{
    next_properties(physical, p);
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV *nv =
        (VkPhysicalDeviceCooperativeMatrix2PropertiesNV *)(void *)find(
            p, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV);
    if (!nv)
        return;
    nv->cooperativeMatrixWorkgroupScopeMaxWorkgroupSize = MATRIX2_MAX_INVOCATIONS;
    nv->cooperativeMatrixFlexibleDimensionsMaxDimension = MATRIX2_MAX_DIMENSION;
    nv->cooperativeMatrixWorkgroupScopeReservedSharedMemory = 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL shapes(VkPhysicalDevice physical, uint32_t *count,
                                             VkCooperativeMatrixPropertiesKHR *list)
{
    (void)physical;
    (void)list;
    *count = 0;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL
dimensions(VkPhysicalDevice physical, uint32_t *count,
           VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list)
{
    (void)physical;
    return matrix2_dimensions(count, list);
}

/* ---- instances and devices ---- */

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
    VkDeviceCreateInfo less = *info;
    VkBaseOutStructure **khr_from = NULL, **nv_from = NULL;
    bool second = false;
    g_autofree const char **names = g_new0(const char *, info->enabledExtensionCount + 1);
    less.ppEnabledExtensionNames = names;
    less.enabledExtensionCount = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
        const char *name = info->ppEnabledExtensionNames[i];
        second |= strcmp(name, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME) == 0;
        if (!claims(name))
            names[less.enabledExtensionCount++] = name;
    }
    VkBaseOutStructure *nv = layer_take_out(
        &less, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV, &nv_from);
    VkBaseOutStructure *khr = layer_take_out(
        &less, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, &khr_from);
    VkResult result = create(physical, &less, callbacks, device);
    if (khr)
        *khr_from = khr;
    if (nv)
        *nv_from = nv;
    if (result)
        return result;
    matrix2_enter(*device, next_device);
    matrix2_enable(second ? (VkPhysicalDeviceCooperativeMatrix2FeaturesNV *)(void *)nv : NULL);
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
    next_properties = (PFN_vkGetPhysicalDeviceProperties2)next_instance(
        current, "vkGetPhysicalDeviceProperties2");
    return result;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name);

static const struct layer_hook hooks[] = {
    {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance},
    {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device},
    {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
    {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
    {"vkEnumerateDeviceExtensionProperties", (PFN_vkVoidFunction)extensions},
    {"vkGetPhysicalDeviceFeatures2", (PFN_vkVoidFunction)features},
    {"vkGetPhysicalDeviceFeatures2KHR", (PFN_vkVoidFunction)features},
    {"vkGetPhysicalDeviceProperties2", (PFN_vkVoidFunction)properties},
    {"vkGetPhysicalDeviceProperties2KHR", (PFN_vkVoidFunction)properties},
    {NULL, NULL},
};

/* A loader older than the extensions asks for these as for what it does not know. */
static const struct layer_hook physical_hooks[] = {
    {"vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR", (PFN_vkVoidFunction)shapes},
    {"vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV",
     (PFN_vkVoidFunction)dimensions},
    {NULL, NULL},
};

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_physical(VkInstance instance, const char *name)
{
    (void)instance;
    return layer_find(physical_hooks, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction function = layer_find(hooks, name);
    if (!function)
        function = layer_find(physical_hooks, name);
    if (!function)
        function = matrix2_find(name);
    return function ? function : next_instance(instance, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name)
{
    PFN_vkVoidFunction function = matrix2_find(name);
    if (strcmp(name, "vkGetDeviceProcAddr") == 0)
        function = (PFN_vkVoidFunction)get_device;
    return function ? function : next_device(device, name);
}

VK_LAYER_EXPORT VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *negotiated)
{
    return layer_negotiate(negotiated, get_instance, get_device, get_physical);
}
