#include "compute/vulkan/device_matrix.h"
#include "compute/vulkan/internal.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

static gint validation_messages;

int gpu_validation_messages(void)
{
    return g_atomic_int_get(&validation_messages);
}

static VKAPI_ATTR VkBool32 VKAPI_CALL message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                              VkDebugUtilsMessageTypeFlagsEXT types,
                                              const VkDebugUtilsMessengerCallbackDataEXT *data,
                                              void *user)
{
    (void)types;
    (void)user;
    if (severity < VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT)
        return VK_FALSE;
    /* The loader warns about unrelated files, the layer tells how it sets itself up; only what it
     * finds counts. */
    static const char *const idle[] = {"Loader Message", "WARNING-Setting-Limit-Adjusted",
                                       "WARNING-GPU-Assisted-Validation"};
    for (gsize i = 0; data->pMessageIdName && i < G_N_ELEMENTS(idle); i++)
        if (strcmp(data->pMessageIdName, idle[i]) == 0)
            return VK_FALSE;
    g_atomic_int_inc(&validation_messages);
    g_printerr("validation: %s: %s\n", data->pMessageIdName ? data->pMessageIdName : "?",
               data->pMessage);
    return VK_FALSE;
}

static void add_messenger(struct device *d)
{
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)d->instance_api.GetInstanceProcAddr(
            d->instance, "vkCreateDebugUtilsMessengerEXT");
    if (!create)
        return;
    VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = message,
    };
    create(d->instance, &info, NULL, &d->messenger);
}

static void no_device(GError **error)
{
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                        _("Vulkan finds no graphics device on this machine; the picture can be "
                          "made on the CPU instead."));
}

static bool open_instance(struct device *d, GError **error)
{
    PFN_vkGetInstanceProcAddr get = vk_loader(error);
    if (!get)
        return false;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)get(NULL, "vkCreateInstance");
    bool validation = d->validated = g_getenv("FIGMENT_VALIDATION") != NULL;
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .pApplicationName = "figment",
                             .apiVersion = VK_API_VERSION_1_3};
    const char *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &app,
                                 .enabledExtensionCount = validation ? 1 : 0,
                                 .ppEnabledExtensionNames = extensions};
    VkResult result = create(&info, NULL, &d->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) { /* the loader's word for no driver at all */
        no_device(error);
        return false;
    }
    if (result) {
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER, _("Vulkan could not start: %s."),
                    vk_result_text(result));
        return false;
    }
    vk_load_instance(&d->instance_api, get, d->instance);
    if (validation)
        add_messenger(d);
    return true;
}

static void close_instance(struct device *d)
{
    if (!d->instance)
        return;
    if (d->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)d->instance_api.GetInstanceProcAddr(
                d->instance, "vkDestroyDebugUtilsMessengerEXT");
        destroy(d->instance, d->messenger, NULL);
    }
    d->instance_api.DestroyInstance(d->instance, NULL);
    d->instance = VK_NULL_HANDLE;
}

bool gpu_has_extension(const struct device *d, const char *name)
{
    uint32_t count = 0;
    d->instance_api.EnumerateDeviceExtensionProperties(d->physical, NULL, &count, NULL);
    VkExtensionProperties *list = g_new0(VkExtensionProperties, count);
    d->instance_api.EnumerateDeviceExtensionProperties(d->physical, NULL, &count, list);
    bool found = false;
    for (uint32_t i = 0; i < count; i++)
        found |= strcmp(list[i].extensionName, name) == 0;
    g_free(list);
    return found;
}

/* -1 = none. `bits`, when not NULL: of its clock; 0 = it has none. */
static int compute_family(const struct device *d, uint32_t *bits)
{
    uint32_t count = 0;
    d->instance_api.GetPhysicalDeviceQueueFamilyProperties(d->physical, &count, NULL);
    VkQueueFamilyProperties *list = g_new0(VkQueueFamilyProperties, count);
    d->instance_api.GetPhysicalDeviceQueueFamilyProperties(d->physical, &count, list);
    int best = -1;
    for (uint32_t i = 0; i < count; i++)
        if ((list[i].queueFlags & VK_QUEUE_COMPUTE_BIT) && best < 0)
            best = (int)i;
    if (bits)
        *bits = best < 0 ? 0 : list[best].timestampValidBits;
    g_free(list);
    return best;
}

/* What the device can do besides its limits; fills info.usable and info.problem. */
static void read_features(struct device *d, const VkPhysicalDeviceProperties *p,
                          const VkPhysicalDeviceSubgroupProperties *subgroup)
{
    VkPhysicalDeviceVulkan11Features v11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES, .pNext = &v11};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &control};
    struct vulkan_device_info *info = &d->info;
    if (p->apiVersion < VK_API_VERSION_1_2) {
        g_snprintf(info->problem, sizeof info->problem,
                   _("its driver is too old (Vulkan %s, 1.2 is needed)"), info->version);
        return;
    }
    d->instance_api.GetPhysicalDeviceFeatures2(d->physical, &features);
    VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    if ((subgroup->supportedOperations & needed) != needed ||
        !(subgroup->supportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
        g_strlcpy(info->problem, _("it has no subgroup arithmetic"), sizeof info->problem);
    else if (p->limits.maxPerStageDescriptorStorageBuffers < 8 ||
             p->limits.maxPerStageDescriptorSampledImages < 8)
        g_strlcpy(info->problem, _("it binds too few buffers"), sizeof info->problem);
    else if (compute_family(d, NULL) < 0)
        g_strlcpy(info->problem, _("it has no compute queue"), sizeof info->problem);
    else
        info->usable = true;
    info->f16 = d->f16 = v11.storageBuffer16BitAccess;
    d->subgroup_control = control.subgroupSizeControl && control.computeFullSubgroups;
}

static void lower_limits(struct device *d, struct limits *l)
{
    const char *text = g_getenv("FIGMENT_VULKAN_LIMITS");
    if (!text)
        return;
    char **parts = g_strsplit(text, ",", -1);
    for (char **part = parts; *part; part++) {
        char *value = strchr(*part, '=');
        guint64 n = value ? g_ascii_strtoull(value + 1, NULL, 10) : 0;
        if (!n)
            continue;
        if (g_str_has_prefix(*part, "range="))
            l->range = MIN(l->range, n);
        else if (g_str_has_prefix(*part, "allocation="))
            l->allocation = MIN(l->allocation, n);
        else if (g_str_has_prefix(*part, "heap="))
            l->heap = MIN(l->heap, n);
        else if (g_str_has_prefix(*part, "invocations="))
            l->invocations = MIN(l->invocations, (uint32_t)n);
        else if (g_str_has_prefix(*part, "shared="))
            l->shared = MIN(l->shared, (uint32_t)n);
        else if (g_str_has_prefix(*part, "groups="))
            l->groups = MIN(l->groups, (uint32_t)n);
        else if (g_str_has_prefix(*part, "trips="))
            l->trips = MIN(l->trips, n);
        else if (g_str_has_prefix(*part, "tile="))
            l->tile = n >= 128 ? 128 : n >= 64 ? 64 : 32;
        else if (g_str_has_prefix(*part, "flops="))
            l->flops = MIN(l->flops, (double)n);
        else if (g_str_has_prefix(*part, "fill="))
            l->fill = MIN(l->fill, (uint32_t)n);
        else if (g_str_has_prefix(*part, "wait="))
            l->wait = (double)n;
        else if (g_str_has_prefix(*part, "plain="))
            d->texel_kernels = false;
        else if (g_str_has_prefix(*part, "unmapped="))
            d->unmapped = true;
    }
    g_strfreev(parts);
}

static void read_limits(struct device *d, const VkPhysicalDeviceLimits *p, uint64_t allocation)
{
    struct limits *l = &d->limits;
    l->range = p->maxStorageBufferRange;
    l->texels = p->maxTexelBufferElements;
    l->allocation = allocation;
    l->invocations = MIN(p->maxComputeWorkGroupInvocations, p->maxComputeWorkGroupSize[0]);
    l->shared = p->maxComputeSharedMemorySize;
    l->groups = MIN(p->maxComputeWorkGroupCount[0], p->maxComputeWorkGroupCount[1]);
    l->groups = MIN(MIN(l->groups, p->maxComputeWorkGroupCount[2]), 65535);
    l->alignment = (uint32_t)MAX(
        MAX(p->minStorageBufferOffsetAlignment, p->minTexelBufferOffsetAlignment), 64);
    l->trips = d->lavapipe ? LAVAPIPE_TRIPS : UINT64_MAX;
    l->tile = 128;
    l->flops = 1e9;
    l->fill = 256;
    /* Long enough for the slowest submission on a busy machine, short enough that a hung driver
     * ends in a message. A software device shares its cores with everything else. */
    l->wait = d->info.kind == VULKAN_SOFTWARE ? 300 : 20;
    l->heap = 0;
    for (uint32_t i = 0; i < d->memory.memoryHeapCount; i++)
        if (d->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            l->heap = MAX(l->heap, d->memory.memoryHeaps[i].size);
    d->info.memory = l->heap;
    lower_limits(d, l);
    d->timestamp_ns = p->timestampPeriod;
}

static void describe(struct device *d, VkPhysicalDevice physical)
{
    d->physical = physical;
    VkPhysicalDeviceSubgroupSizeControlProperties control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &control};
    VkPhysicalDeviceMaintenance3Properties allocation = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &subgroup};
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
                                       .pNext = &allocation};
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &id};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &driver};
    d->instance_api.GetPhysicalDeviceProperties2(physical, &p);
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    d->instance_api.GetPhysicalDeviceMemoryProperties2(physical, &memory);
    d->memory = memory.memoryProperties;

    struct vulkan_device_info *info = &d->info;
    memset(info, 0, sizeof *info);
    g_strlcpy(info->name, p.properties.deviceName, sizeof info->name);
    g_snprintf(info->driver, sizeof info->driver, "%.100s, %.150s", driver.driverName,
               driver.driverInfo);
    uint32_t v = p.properties.apiVersion;
    g_snprintf(info->version, sizeof info->version, "%u.%u.%u", VK_API_VERSION_MAJOR(v),
               VK_API_VERSION_MINOR(v), VK_API_VERSION_PATCH(v));
    switch (p.properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        info->kind = VULKAN_DISCRETE;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        info->kind = VULKAN_INTEGRATED;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        info->kind = VULKAN_SOFTWARE;
        break;
    default:
        info->kind = VULKAN_VIRTUAL;
    }
    memcpy(d->device_uuid, id.deviceUUID, VK_UUID_SIZE);
    memcpy(d->driver_uuid, id.driverUUID, VK_UUID_SIZE);
    memcpy(d->cache_uuid, p.properties.pipelineCacheUUID, VK_UUID_SIZE);
    d->api_version = v;
    d->driver_version = p.properties.driverVersion;
    d->vendor_id = p.properties.vendorID;
    d->lavapipe = d->texel_kernels = driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE;
    d->subgroup = d->subgroup_min = d->subgroup_max = subgroup.subgroupSize;
    read_features(d, &p.properties, &subgroup);
    read_limits(d, &p.properties.limits, allocation.maxMemoryAllocationSize);
    if (d->subgroup_control && (control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)) {
        d->subgroup_min = control.minSubgroupSize;
        d->subgroup_max = control.maxSubgroupSize;
    } else {
        d->subgroup_control = false;
    }
}

/* Best first: kind, then memory; stable otherwise. */
static VkPhysicalDevice *sorted_devices(struct device *d, uint32_t *count)
{
    *count = 0;
    d->instance_api.EnumeratePhysicalDevices(d->instance, count, NULL);
    VkPhysicalDevice *list = g_new0(VkPhysicalDevice, *count + 1);
    d->instance_api.EnumeratePhysicalDevices(d->instance, count, list);
    uint64_t *rank = g_new0(uint64_t, *count + 1);
    for (uint32_t i = 0; i < *count; i++) {
        describe(d, list[i]);
        rank[i] = ((uint64_t)(d->info.usable ? 0 : 8) + d->info.kind) << 56;
        rank[i] += ((uint64_t)1 << 55) - MIN(d->info.memory, ((uint64_t)1 << 55) - 1);
    }
    for (uint32_t i = 1; i < *count; i++)
        for (uint32_t j = i; j > 0 && rank[j] < rank[j - 1]; j--) {
            uint64_t r = rank[j];
            rank[j] = rank[j - 1];
            rank[j - 1] = r;
            VkPhysicalDevice p = list[j];
            list[j] = list[j - 1];
            list[j - 1] = p;
        }
    g_free(rank);
    return list;
}

GArray *vulkan_devices(GError **error)
{
    struct device d = {0};
    if (!open_instance(&d, error))
        return NULL;
    GArray *out = g_array_new(false, true, sizeof(struct vulkan_device_info));
    uint32_t count;
    VkPhysicalDevice *list = sorted_devices(&d, &count);
    for (uint32_t i = 0; i < count; i++) {
        describe(&d, list[i]);
        selftest_recall(&d, d.info.kernels, sizeof d.info.kernels);
        g_array_append_val(out, d.info);
    }
    g_free(list);
    close_instance(&d);
    return out;
}

const char *vulkan_kind_name(enum vulkan_kind kind)
{
    static const char *const names[] = {N_("discrete GPU"), N_("integrated GPU"), N_("virtual GPU"),
                                        N_("software that runs on the CPU")};
    return _(names[kind]);
}

static bool choose(struct device *d, const char *name, GError **error)
{
    uint32_t count;
    g_autofree VkPhysicalDevice *list = sorted_devices(d, &count);
    char *end = NULL;
    guint64 index = name ? g_ascii_strtoull(name, &end, 10) : 0;
    bool by_index = name && *name && end && !*end;
    g_autofree char *wanted = name ? g_utf8_casefold(name, -1) : NULL;
    for (uint32_t i = 0; i < count; i++) {
        describe(d, list[i]);
        g_autofree char *folded = g_utf8_casefold(d->info.name, -1);
        if (by_index ? i != index : (wanted && !strstr(folded, wanted)))
            continue;
        if (d->info.usable)
            return true;
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER, _("“%s” cannot be used: %s."),
                    d->info.name, d->info.problem);
        return false;
    }
    if (count == 0)
        no_device(error);
    else
        g_set_error(
            error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
            _("No graphics device is called “%s”; “figment devices” lists the %u there are."), name,
            count);
    return false;
}

uint64_t gpu_memory_left(const struct device *d)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    if (!d->budget)
        return UINT64_MAX;
    d->instance_api.GetPhysicalDeviceMemoryProperties2(d->physical, &memory);
    uint64_t left = 0;
    for (uint32_t i = 0; i < d->memory.memoryHeapCount; i++)
        if ((d->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            budget.heapBudget[i] > budget.heapUsage[i])
            left = MAX(left, budget.heapBudget[i] - budget.heapUsage[i]);
    return left;
}

static bool create_device(struct device *d, GError **error)
{
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .pNext = &control};
    VkPhysicalDeviceVulkan11Features v11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &v12};
    VkPhysicalDeviceFeatures2 have = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                      .pNext = &v11};
    d->budget = gpu_has_extension(d, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    d->instance_api.GetPhysicalDeviceFeatures2(d->physical, &have);
    struct matrix_features matrix_features;
    const char *extensions[5];
    uint32_t extension_count = 0;
    void *matrix = matrix_ask(d, &matrix_features, extensions, &extension_count);

    /* Only what the shaders use; robust access turns a wrong index into a wrong number instead of
     * a crash of the driver, and for the same reason hides it from the validation layers. */
    bool robust = have.features.robustBufferAccess && !d->validated;
    VkPhysicalDeviceFeatures core = {.robustBufferAccess = robust};
    have.features = core;
    v11 = (VkPhysicalDeviceVulkan11Features){.sType = v11.sType,
                                             .pNext = &v12,
                                             .storageBuffer16BitAccess =
                                                 v11.storageBuffer16BitAccess};
    v12 = (VkPhysicalDeviceVulkan12Features){.sType = v12.sType,
                                             .pNext = d->subgroup_control ? &control : matrix,
                                             .shaderFloat16 = v12.shaderFloat16,
                                             .vulkanMemoryModel = v12.vulkanMemoryModel,
                                             .vulkanMemoryModelDeviceScope =
                                                 v12.vulkanMemoryModelDeviceScope};
    control.pNext = matrix;

    /* The feature struct of core 1.3 needs the extension on a 1.2 device. */
    if (d->subgroup_control && gpu_has_extension(d, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        extensions[extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    float priority = 0.5f;
    d->family = (uint32_t)compute_family(d, &d->timestamp_bits);
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = d->family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &have,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = extension_count,
                               .ppEnabledExtensionNames = extensions};
    VkResult result = d->instance_api.CreateDevice(d->physical, &info, NULL, &d->handle);
    if (result) {
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER, _("“%s” could not be opened: %s."),
                    d->info.name, vk_result_text(result));
        return false;
    }
    vk_load_device(&d->vk, &d->instance_api, d->handle);
    d->vk.GetDeviceQueue(d->handle, d->family, 0, &d->queue);
    if (matrix)
        matrix_read(d, matrix_features.khr.pNext != NULL);
    return true;
}

struct device *gpu_open(const char *name, GError **error)
{
    struct device *d = g_new0(struct device, 1);
    if (open_instance(d, error) && choose(d, name, error) && create_device(d, error))
        return d;
    gpu_close(d);
    return NULL;
}

void gpu_close(struct device *d)
{
    if (!d)
        return;
    if (d->handle)
        d->vk.DestroyDevice(d->handle, NULL);
    close_instance(d);
    g_free(d);
}

int gpu_memory_type(const struct device *d, uint32_t types, VkMemoryPropertyFlags wanted)
{
    for (uint32_t i = 0; i < d->memory.memoryTypeCount; i++)
        if ((types & (1u << i)) && (d->memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            return (int)i;
    return -1;
}
