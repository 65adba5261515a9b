/* Shader modules and pipelines that are interpreted, and whether the device claims what they need.
 */
#include "tests/vulkan/interpreter/opcodes.h"
#include "tests/vulkan/matrix2_private.h"

#include <stdio.h>
#include <string.h>

struct module {
    uint32_t *words;
    size_t count;
};

/* Ours are handles of themselves. */
static GHashTable *modules, *pipelines;
static VkPhysicalDeviceCooperativeMatrix2FeaturesNV enabled;

/* ---- what is claimed, and what a pipeline may have of it ---- */

VkResult matrix2_dimensions(uint32_t *count,
                            VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list)
{
    const char *text = g_getenv("FIGMENT_TEST_MATRIX2");
    g_auto(GStrv) items = g_strsplit(text ? text : "32x32x16 128, 32x32x16 256", ", ", -1);
    uint32_t n = g_strv_length(items);
    for (uint32_t i = 0; list && i < n && i < *count; i++) {
        VkCooperativeMatrixFlexibleDimensionsPropertiesNV *m = &list[i];
        if (sscanf(items[i], "%ux%ux%u %u", &m->MGranularity, &m->NGranularity, &m->KGranularity,
                   &m->workgroupInvocations) != 4)
            g_error("FIGMENT_TEST_MATRIX2: “%s”", items[i]);
        m->AType = m->BType = VK_COMPONENT_TYPE_FLOAT16_KHR;
        m->CType = m->ResultType = VK_COMPONENT_TYPE_FLOAT32_KHR;
        m->saturatingAccumulation = VK_FALSE;
        m->scope = VK_SCOPE_WORKGROUP_KHR;
    }
    VkResult result = list && *count < n ? VK_INCOMPLETE : VK_SUCCESS;
    *count = list ? MIN(*count, n) : n;
    return result;
}

static bool listed(const struct interpreter_product *p, uint32_t invocations)
{
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV list[16];
    uint32_t count = G_N_ELEMENTS(list);
    matrix2_dimensions(&count, list);
    for (uint32_t i = 0; i < count; i++)
        if (p->m % list[i].MGranularity == 0 && p->n % list[i].NGranularity == 0 &&
            p->k % list[i].KGranularity == 0 && invocations == list[i].workgroupInvocations)
            return MAX(MAX(p->m, p->n), p->k) <= MATRIX2_MAX_DIMENSION;
    return false;
}

static void check_pipeline(const struct interpreter *m)
{
    size_t count;
    const struct interpreter_product *products = interpreter_products(m, &count);
    uint32_t invocations = interpreter_invocations(m);
    if (!enabled.cooperativeMatrixWorkgroupScope || !enabled.cooperativeMatrixFlexibleDimensions ||
        !enabled.cooperativeMatrixTensorAddressing ||
        (!enabled.cooperativeMatrixConversions &&
         interpreter_declares(m, CapabilityCooperativeMatrixConversionsNV)) ||
        (!enabled.cooperativeMatrixPerElementOperations &&
         interpreter_declares(m, CapabilityCooperativeMatrixPerElementOperationsNV)))
        g_error("matrix2: a kernel has what the device was not asked for");
    if (invocations > MATRIX2_MAX_INVOCATIONS)
        g_error("matrix2: a workgroup of %u invocations", invocations);
    for (size_t i = 0; i < count; i++)
        if (!listed(&products[i], invocations))
            g_error("matrix2: a product of %ux%ux%u by %u invocations is not listed", products[i].m,
                    products[i].n, products[i].k, invocations);
}

void matrix2_enable(const VkPhysicalDeviceCooperativeMatrix2FeaturesNV *features)
{
    memset(&enabled, 0, sizeof enabled);
    if (features)
        enabled = *features;
}

/* ---- modules and pipelines ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device,
                                                    const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkShaderModule *module)
{
    size_t count = info->codeSize / sizeof *info->pCode;
    if (!interpreter_wants(info->pCode, count))
        return matrix2_next.CreateShaderModule(device, info, callbacks, module);
    struct module *m = g_new0(struct module, 1);
    m->words = (uint32_t *)g_memdup2(info->pCode, info->codeSize);
    m->count = count;
    *module = (VkShaderModule)matrix2_keep(modules, m, m);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_module(VkDevice device, VkShaderModule module,
                                                 const VkAllocationCallbacks *callbacks)
{
    if (!matrix2_forget(modules, (gpointer)module))
        matrix2_next.DestroyShaderModule(device, module, callbacks);
}

static VkPipeline interpret(const struct module *m, const VkPipelineShaderStageCreateInfo *stage)
{
    const VkSpecializationInfo *special = stage->pSpecializationInfo;
    uint32_t count = special ? special->mapEntryCount : 0;
    g_autofree struct interpreter_constant *constants =
        g_new0(struct interpreter_constant, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const VkSpecializationMapEntry *e = &special->pMapEntries[i];
        if (e->size != sizeof constants[i].value)
            g_error("matrix2: specialisation constant %u of %zu bytes", e->constantID, e->size);
        constants[i].id = e->constantID;
        memcpy(&constants[i].value, (const uint8_t *)special->pData + e->offset, e->size);
    }
    struct interpreter *p = interpreter_create(m->words, m->count, stage->pName, constants, count);
    check_pipeline(p);
    return (VkPipeline)matrix2_keep(pipelines, p, p);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache,
                                                       uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *callbacks,
                                                       VkPipeline *created)
{
    VkResult result = VK_SUCCESS;
    for (uint32_t i = 0; i < count; i++) {
        const struct module *m =
            (const struct module *)matrix2_look_up(modules, (gpointer)infos[i].stage.module);
        VkResult one = VK_SUCCESS;
        if (m)
            created[i] = interpret(m, &infos[i].stage);
        else
            one = matrix2_next.CreateComputePipelines(device, cache, 1, &infos[i], callbacks,
                                                      &created[i]);
        result = one ? one : result;
    }
    return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_pipeline(VkDevice device, VkPipeline pipeline,
                                                   const VkAllocationCallbacks *callbacks)
{
    if (!matrix2_forget(pipelines, (gpointer)pipeline))
        matrix2_next.DestroyPipeline(device, pipeline, callbacks);
}

struct interpreter *matrix2_pipeline(VkPipeline pipeline)
{
    return (struct interpreter *)matrix2_look_up(pipelines, (gpointer)pipeline);
}

static void free_module(void *module)
{
    g_free(((struct module *)module)->words);
    g_free(module);
}

static void free_pipeline(void *pipeline)
{
    interpreter_destroy((struct interpreter *)pipeline);
}

void matrix2_pipelines_enter(void)
{
    modules = matrix2_table(free_module);
    pipelines = matrix2_table(free_pipeline);
}

const struct layer_hook matrix2_pipeline_hooks[] = {
    HOOK(CreateShaderModule, create_module),
    HOOK(DestroyShaderModule, destroy_module),
    HOOK(CreateComputePipelines, create_pipelines),
    HOOK(DestroyPipeline, destroy_pipeline),
    {NULL, NULL},
};
