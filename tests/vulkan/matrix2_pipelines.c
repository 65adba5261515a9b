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

/* Each item is an entry with 32-bit sums, and one with 16-bit sums unless it says "f32". */
VkResult matrix2_dimensions(uint32_t *count,
                            VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list)
{
    const char *text = g_getenv("FIGMENT_TEST_MATRIX2");
    g_auto(GStrv) items = g_strsplit(text ? text : "32x32x16 128, 32x32x16 256", ", ", -1);
    uint32_t n = 0, room = list ? *count : 0;
    for (uint32_t i = 0; items[i]; i++)
        for (int half = 0; half < (strstr(items[i], "f32") ? 1 : 2); half++, n++) {
            VkCooperativeMatrixFlexibleDimensionsPropertiesNV unlisted;
            VkCooperativeMatrixFlexibleDimensionsPropertiesNV *m = n < room ? &list[n] : &unlisted;
            if (sscanf(items[i], "%ux%ux%u %u", &m->MGranularity, &m->NGranularity,
                       &m->KGranularity, &m->workgroupInvocations) != 4)
                g_error("FIGMENT_TEST_MATRIX2: “%s”", items[i]);
            m->AType = m->BType = VK_COMPONENT_TYPE_FLOAT16_KHR;
            m->CType = half ? VK_COMPONENT_TYPE_FLOAT16_KHR : VK_COMPONENT_TYPE_FLOAT32_KHR;
            m->ResultType = m->CType;
            m->saturatingAccumulation = VK_FALSE;
            m->scope = VK_SCOPE_WORKGROUP_KHR;
        }
    *count = list ? MIN(room, n) : n;
    return list && room < n ? VK_INCOMPLETE : VK_SUCCESS;
}

/* Rows and columns are multiples of an entry's, of its types (A and B are of 16 bits). */
static bool fits(const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *entry,
                 const struct interpreter_matrix *m)
{
    enum { A, B, ACCUMULATOR };
    uint32_t rows = m->use == B ? entry->KGranularity : entry->MGranularity;
    uint32_t columns = m->use == A ? entry->KGranularity : entry->NGranularity;
    VkComponentTypeKHR type = m->use == ACCUMULATOR ? entry->CType : entry->AType;
    return m->rows % rows == 0 && m->columns % columns == 0 &&
           type == (m->bits == 16 ? VK_COMPONENT_TYPE_FLOAT16_KHR : VK_COMPONENT_TYPE_FLOAT32_KHR);
}

static bool listed(const struct interpreter_matrix *matrices, size_t n, uint32_t invocations)
{
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV list[16];
    uint32_t count = G_N_ELEMENTS(list);
    matrix2_dimensions(&count, list);
    for (uint32_t i = 0; i < count; i++) {
        bool all = invocations == list[i].workgroupInvocations;
        for (size_t k = 0; k < n; k++)
            all = all && fits(&list[i], &matrices[k]) &&
                  MAX(matrices[k].rows, matrices[k].columns) <= MATRIX2_MAX_DIMENSION;
        if (all)
            return true;
    }
    return false;
}

/* The matrices of a product fit one entry; any other matrix fits some. */
static void check_matrices(const struct interpreter *m)
{
    size_t product_count, matrix_count;
    const struct interpreter_product *products = interpreter_products(m, &product_count);
    const struct interpreter_matrix *matrices = interpreter_matrices(m, &matrix_count);
    uint32_t invocations = interpreter_invocations(m);
    for (size_t i = 0; i < product_count; i++) {
        const struct interpreter_product *p = &products[i];
        struct interpreter_matrix of[] = {
            {p->m, p->k, 0, 16}, {p->k, p->n, 1, 16}, {p->m, p->n, 2, 32}};
        if (!listed(of, G_N_ELEMENTS(of), invocations))
            g_error("matrix2: a product of %ux%ux%u by %u invocations is not listed", p->m, p->n,
                    p->k, invocations);
    }
    for (size_t i = 0; i < matrix_count; i++)
        if (!listed(&matrices[i], 1, invocations))
            g_error("matrix2: a matrix of %ux%u, use %u, %u bits, by %u invocations is not listed",
                    matrices[i].rows, matrices[i].columns, matrices[i].use, matrices[i].bits,
                    invocations);
}

static void check_pipeline(const struct interpreter *m)
{
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
    check_matrices(m);
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
    if (modules)
        return;
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
