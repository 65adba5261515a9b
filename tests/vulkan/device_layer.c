/*
 * A Vulkan layer that makes the software device another one, for tests of what the back end does
 * with devices that nobody has here: VK_LAYER_FIGMENT_device. FIGMENT_TEST_DEVICE lists what it is,
 * "type=discrete,api=1.1.0,wrong=conv2d":
 *
 *  type=discrete: a graphics card, which is measured and what "auto" is;
 *  api=1.1.0: the Vulkan that its driver has;
 *  subgroup=basic: no arithmetic; buffers=4: so many storage buffers; queue=none: it only draws;
 *  wrong=SHADER: forgets the bias of conv2d and linear;
 *  empty=SHADER: computes nothing, and the driver never sees it (cooperative matrices);
 *  dies=SHADER: the process is killed at the submission after the shader was bound;
 *  hangs=SHADER: what is waited for after the shader was bound never ends.
 *
 * SHADER is the beginning of an embedded shader's name ("conv2d_register", all that begin with
 * "conv2d_f": shared memory); several are several entries. One device at a time.
 */
#include "compute/shaders/push.h"
#include "compute/vulkan/pipelines.h"
#include "compute/vulkan/shaders.h"
#include "tests/vulkan/layer_link.h"

#include <signal.h>
#include <stdio.h>

static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static VkInstance instance_now;
static VkDevice device_now;

/* Asked for at once: later the loader answers with the first layer's. */
static PFN_vkGetPhysicalDeviceProperties2 next_properties;
static PFN_vkGetPhysicalDeviceQueueFamilyProperties next_families;

static GHashTable *shader_of; /* VkShaderModule and VkPipeline -> name */
static bool dying, hanging;

#define NEXT(name) ((PFN_vk##name)next_device(device_now, "vk" #name))

/* The value of an entry, of several the first that `beginning_of` begins with; NULL = none. */
static const char *entry(const char *name, const char *beginning_of)
{
    static char found[64];
    const char *all = g_getenv("FIGMENT_TEST_DEVICE");
    g_auto(GStrv) entries = g_strsplit(all ? all : "", ",", -1);
    for (char **e = entries; *e; e++) {
        const char *value = strchr(*e, '=');
        if (!value || strncmp(*e, name, strlen(name)) != 0 || (*e)[strlen(name)] != '=')
            continue;
        if (beginning_of && !g_str_has_prefix(beginning_of, value + 1))
            continue;
        g_strlcpy(found, value + 1, sizeof found);
        return found;
    }
    return NULL;
}

static bool struck(const char *name, gconstpointer handle)
{
    const char *shader = g_hash_table_lookup(shader_of, handle);
    return shader && entry(name, shader);
}

/* ---- what it says ---- */

static VKAPI_ATTR void VKAPI_CALL properties(VkPhysicalDevice physical,
                                             VkPhysicalDeviceProperties2 *p)
{
    next_properties(physical, p);
    unsigned major, minor, patch;
    const char *api = entry("api", NULL);
    if (api && sscanf(api, "%u.%u.%u", &major, &minor, &patch) == 3)
        p->properties.apiVersion = VK_MAKE_API_VERSION(0, major, minor, patch);
    if (entry("type", NULL))
        p->properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    const char *buffers = entry("buffers", NULL);
    if (buffers)
        p->properties.limits.maxPerStageDescriptorStorageBuffers =
            (uint32_t)g_ascii_strtoull(buffers, NULL, 10);
    for (VkBaseOutStructure *s = p->pNext; s && entry("subgroup", NULL); s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES)
            ((VkPhysicalDeviceSubgroupProperties *)s)->supportedOperations =
                VK_SUBGROUP_FEATURE_BASIC_BIT;
}

static VKAPI_ATTR void VKAPI_CALL families(VkPhysicalDevice physical, uint32_t *count,
                                           VkQueueFamilyProperties *list)
{
    next_families(physical, count, list);
    for (uint32_t i = 0; list && i < *count && entry("queue", NULL); i++)
        list[i].queueFlags &= ~(VkQueueFlags)VK_QUEUE_COMPUTE_BIT;
}

/* ---- what it does ---- */

/* void main() {}, one invocation */
static const uint32_t nothing[] = {
    0x07230203, 0x00010000, 0,          5,          0,    /* header */
    0x00020011, 1,                                        /* Shader */
    0x0003000e, 0,          1,                            /* Logical GLSL450 */
    0x0005000f, 5,          1,          0x6e69616d, 0,    /* "main" */
    0x00060010, 1,          17,         1,          1, 1, /* LocalSize */
    0x00020013, 2,          0x00030021, 3,          2,    /* void, void() */
    0x00050036, 2,          1,          0,          3, 0x000200f8, 4, 0x000100fd, 0x00010038,
};

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device,
                                                    const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkShaderModule *module)
{
    VkShaderModuleCreateInfo own = *info;
    const char *name = NULL;
    for (size_t i = 0; i < shader_count && !name; i++)
        if (shaders[i].bytes == info->codeSize &&
            memcmp(shaders[i].words, info->pCode, info->codeSize) == 0)
            name = shaders[i].name;
    if (name && entry("empty", name)) {
        own.pCode = nothing;
        own.codeSize = sizeof nothing;
    }
    VkResult result = NEXT(CreateShaderModule)(device, &own, callbacks, module);
    if (!result)
        g_hash_table_insert(shader_of, (gpointer)*module, (gpointer)name);
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache,
                                                       uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *callbacks,
                                                       VkPipeline *pipelines)
{
    g_assert(count == 1);
    VkComputePipelineCreateInfo own = *infos;
    VkSpecializationInfo special = *own.stage.pSpecializationInfo;
    uint32_t constants[MAX_CONSTANTS];
    memcpy(constants, special.pData, special.dataSize);
    if (struck("wrong", own.stage.module)) {
        constants[2] &= ~(uint32_t)FLAG_BIAS;
        special.pData = constants;
        own.stage.pSpecializationInfo = &special;
    }
    VkResult result = NEXT(CreateComputePipelines)(device, cache, 1, &own, callbacks, pipelines);
    if (!result)
        g_hash_table_insert(shader_of, (gpointer)*pipelines,
                            g_hash_table_lookup(shader_of, own.stage.module));
    return result;
}

static VKAPI_ATTR void VKAPI_CALL bind(VkCommandBuffer commands, VkPipelineBindPoint point,
                                       VkPipeline pipeline)
{
    dying |= struck("dies", pipeline);
    hanging |= struck("hangs", pipeline);
    NEXT(CmdBindPipeline)(commands, point, pipeline);
}

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t n, const VkSubmitInfo *info,
                                             VkFence fence)
{
    if (dying)
        raise(SIGKILL);
    return NEXT(QueueSubmit)(queue, n, info, fence);
}

/* What runs ends before: a driver of the CPU must not lose its memory. */
static VKAPI_ATTR VkResult VKAPI_CALL wait_for(VkDevice device, uint32_t n, const VkFence *fences,
                                               VkBool32 all, uint64_t timeout)
{
    VkResult result = NEXT(WaitForFences)(device, n, fences, all, timeout);
    if (!hanging)
        return result;
    g_usleep(10 * 1000);
    return VK_TIMEOUT;
}

/* ---- between the loader and the next layer ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDevice *device)
{
    PFN_vkGetInstanceProcAddr get;
    if (!layer_enter_device(info, &get, &next_device))
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)get(instance_now, "vkCreateDevice");
    VkResult result = create(physical, info, callbacks, device);
    device_now = *device;
    dying = hanging = false;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *callbacks,
                                                      VkInstance *instance)
{
    VkResult result = layer_create_instance(info, callbacks, instance, &next_instance);
    if (result)
        return result;
    instance_now = *instance;
    next_properties = (PFN_vkGetPhysicalDeviceProperties2)next_instance(
        instance_now, "vkGetPhysicalDeviceProperties2");
    next_families = (PFN_vkGetPhysicalDeviceQueueFamilyProperties)next_instance(
        instance_now, "vkGetPhysicalDeviceQueueFamilyProperties");
    if (!shader_of)
        shader_of = g_hash_table_new(NULL, NULL);
    return VK_SUCCESS;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name);

static PFN_vkVoidFunction hook(const char *name)
{
    static const struct layer_hook hooks[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkGetPhysicalDeviceProperties2", (PFN_vkVoidFunction)properties},
        {"vkGetPhysicalDeviceQueueFamilyProperties", (PFN_vkVoidFunction)families},
        {"vkCreateShaderModule", (PFN_vkVoidFunction)create_module},
        {"vkCreateComputePipelines", (PFN_vkVoidFunction)create_pipelines},
        {"vkCmdBindPipeline", (PFN_vkVoidFunction)bind},
        {"vkQueueSubmit", (PFN_vkVoidFunction)submit},
        {"vkWaitForFences", (PFN_vkVoidFunction)wait_for},
        {NULL, NULL},
    };
    return layer_find(hooks, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction function = hook(name);
    return function ? function : next_instance(instance, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name)
{
    PFN_vkVoidFunction function = hook(name);
    return function ? function : next_device(device, name);
}

VK_LAYER_EXPORT VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *negotiated)
{
    return layer_negotiate(negotiated, get_instance, get_device, NULL);
}
