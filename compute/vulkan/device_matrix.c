#include "compute/vulkan/device_matrix.h"

void *matrix_ask(const struct device *d, struct matrix_features *f, const char **extensions,
                 uint32_t *count)
{
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    *f = (struct matrix_features){
        .khr.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .nv.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
        .sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES};
    VkPhysicalDeviceFeatures2 have = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                      .pNext = &v12};
    if (!d->f16 || !gpu_has_extension(d, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
        return NULL;
    /* The second extension's kernel is of a newer SPIR-V, which comes with Vulkan 1.3. */
    bool second = d->api_version >= VK_API_VERSION_1_3 &&
                  gpu_has_extension(d, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME);
    v12.pNext = &f->khr;
    f->khr.pNext = second ? &f->nv : NULL;
    f->nv.pNext = &f->sizes;
    d->instance_api.GetPhysicalDeviceFeatures2(d->physical, &have);
    if (!f->khr.cooperativeMatrix || !v12.shaderFloat16 || !v12.vulkanMemoryModel)
        return NULL;
    second = second && f->sizes.maintenance4 && f->nv.cooperativeMatrixWorkgroupScope &&
             f->nv.cooperativeMatrixFlexibleDimensions && f->nv.cooperativeMatrixTensorAddressing &&
             f->nv.cooperativeMatrixPerElementOperations && f->nv.cooperativeMatrixReductions &&
             f->nv.cooperativeMatrixConversions;
    extensions[(*count)++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (second)
        extensions[(*count)++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
    f->khr.pNext = second ? &f->nv : NULL;
    f->khr.cooperativeMatrixRobustBufferAccess = VK_FALSE;
    f->nv.cooperativeMatrixBlockLoads = VK_FALSE;
    return &f->khr;
}

static void read_matrix_shapes(struct device *d)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)d->instance_api.GetInstanceProcAddr(
            d->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t count = 0;
    if (!get || get(d->physical, &count, NULL) || !count)
        return;
    VkCooperativeMatrixPropertiesKHR *list = g_new0(VkCooperativeMatrixPropertiesKHR, count);
    for (uint32_t i = 0; i < count; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    get(d->physical, &count, list);
    for (uint32_t i = 0; i < count && d->matrix_count < DEVICE_MAX_MATRIX_SHAPES; i++) {
        const VkCooperativeMatrixPropertiesKHR *m = &list[i];
        bool fits = m->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                    m->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                    m->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                    m->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                    m->scope == VK_SCOPE_SUBGROUP_KHR && !m->saturatingAccumulation;
        if (fits)
            d->matrix[d->matrix_count++] = (struct matrix_shape){m->MSize, m->NSize, m->KSize};
    }
    g_free(list);
}

/* What is summed in 32 bits is loaded and stored in 16: matrices of the same sizes that an entry
 * for 16-bit sums allows, though nothing is summed so. */
static bool stores_f16(const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list,
                       uint32_t count,
                       const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *sums)
{
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *m = &list[i];
        bool f16 = m->CType == VK_COMPONENT_TYPE_FLOAT16_KHR ||
                   m->ResultType == VK_COMPONENT_TYPE_FLOAT16_KHR;
        if (f16 && m->scope == VK_SCOPE_WORKGROUP_KHR &&
            m->workgroupInvocations == sums->workgroupInvocations &&
            sums->MGranularity % m->MGranularity == 0 && sums->NGranularity % m->NGranularity == 0)
            return true;
    }
    return false;
}

/* For a tile, of the entries that allow it: the invocations wanted, or the most below them, or else
 * the fewest. */
static struct matrix2 matrix2_entry(const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list,
                                    uint32_t count, uint32_t tile, uint32_t wanted, uint32_t most)
{
    struct matrix2 best = {0};
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *m = &list[i];
        uint32_t n = m->workgroupInvocations;
        bool fits = m->scope == VK_SCOPE_WORKGROUP_KHR &&
                    m->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                    m->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                    m->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                    m->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && !m->saturatingAccumulation &&
                    tile % m->MGranularity == 0 && tile % m->NGranularity == 0 &&
                    32 % m->KGranularity == 0 && n <= most && stores_f16(list, count, m);
        uint32_t had = best.local;
        if (fits && (!had || (had > wanted ? n < had : n > had && n <= wanted)))
            best = (struct matrix2){n, m->MGranularity, m->NGranularity};
    }
    return best;
}

static void read_matrix2(struct device *d)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)
            d->instance_api.GetInstanceProcAddr(
                d->instance, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                       .pNext = &properties};
    uint32_t count = 0;
    if (!get || get(d->physical, &count, NULL) || !count)
        return;
    g_autofree VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list =
        g_new0(VkCooperativeMatrixFlexibleDimensionsPropertiesNV, count);
    for (uint32_t i = 0; i < count; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    get(d->physical, &count, list);
    d->instance_api.GetPhysicalDeviceProperties2(d->physical, &all);
    uint32_t most =
        MIN(d->limits.invocations, properties.cooperativeMatrixWorkgroupScopeMaxWorkgroupSize);
    d->matrix2_most = properties.cooperativeMatrixFlexibleDimensionsMaxDimension;
    for (uint32_t i = 0; i < DEVICE_MATRIX2_TILES; i++) {
        uint32_t tile = 64u << i;
        if (tile <= d->matrix2_most)
            d->matrix2[i] = matrix2_entry(list, count, tile, tile == 128 ? 256 : 128, most);
    }
}

void matrix_read(struct device *d, bool second)
{
    read_matrix_shapes(d);
    if (second)
        read_matrix2(d);
}
