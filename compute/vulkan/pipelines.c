#include "compute/vulkan/pipelines.h"

#include "compute/vulkan/queue.h"
#include "compute/vulkan/shaders.h"
#include "compute/vulkan/variants.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <string.h>

#define DIGEST_BYTES 32

struct pipelines {
    struct device *d;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipelineCache cache;
    GHashTable *table;   /* text of the key -> VkPipeline */
    GHashTable *modules; /* struct shader -> VkShaderModule */
    GHashTable *warm;    /* texts */
    bool changed;
};

char *pipelines_cache_path(const struct device *d, const char *suffix)
{
    GString *name = g_string_new(NULL);
    for (unsigned i = 0; i < VK_UUID_SIZE; i++)
        g_string_append_printf(name, "%02x",
                               d->device_uuid[i] ^ d->driver_uuid[i] ^ d->cache_uuid[i]);
    g_string_append_printf(name, "-%08x%s", d->driver_version, suffix);
    char *path = g_build_filename(g_get_user_cache_dir(), "figment", name->str, NULL);
    g_string_free(name, true);
    return path;
}

static void digest(const void *data, size_t bytes, uint8_t out[DIGEST_BYTES])
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize length = DIGEST_BYTES;
    g_checksum_update(sum, (const guchar *)data, (gssize)bytes);
    g_checksum_get_digest(sum, out, &length);
    g_checksum_free(sum);
}

static VkPipelineCache load_cache(struct device *d, GError **error)
{
    g_autofree char *path = pipelines_cache_path(d, ".pipelines");
    g_autofree char *data = NULL;
    gsize bytes = 0;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    /* A damaged file is not offered to the driver: it may crash on it. */
    if (g_file_get_contents(path, &data, &bytes, NULL) && bytes > DIGEST_BYTES) {
        uint8_t found[DIGEST_BYTES];
        digest(data + DIGEST_BYTES, bytes - DIGEST_BYTES, found);
        if (memcmp(found, data, DIGEST_BYTES) == 0) {
            info.pInitialData = data + DIGEST_BYTES;
            info.initialDataSize = bytes - DIGEST_BYTES;
        }
    }
    VkPipelineCache cache = VK_NULL_HANDLE;
    VkResult result = d->vk.CreatePipelineCache(d->handle, &info, NULL, &cache);
    if (result)
        gpu_fail(d, result, _("the pipeline cache"), error);
    return result ? VK_NULL_HANDLE : cache;
}

void pipelines_save(struct pipelines *p)
{
    if (!p->changed)
        return;
    p->changed = false;
    size_t bytes = 0;
    if (p->d->vk.GetPipelineCacheData(p->d->handle, p->cache, &bytes, NULL) || !bytes)
        return;
    g_autofree uint8_t *data = (uint8_t *)g_try_malloc(DIGEST_BYTES + bytes);
    if (!data || p->d->vk.GetPipelineCacheData(p->d->handle, p->cache, &bytes, data + DIGEST_BYTES))
        return;
    digest(data + DIGEST_BYTES, bytes, data);
    g_autofree char *path = pipelines_cache_path(p->d, ".pipelines");
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(GError) error = NULL;
    g_mkdir_with_parents(folder, 0700);
    if (!g_file_set_contents_full(path, (const char *)data, (gssize)(DIGEST_BYTES + bytes),
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
        g_debug("pipeline cache: %s", error->message);
}

static bool create_layouts(struct pipelines *p, GError **error)
{
    struct device *d = p->d;
    VkDescriptorSetLayoutBinding bindings[2 * SLOTS];
    for (uint32_t i = 0; i < 2 * SLOTS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = i < SLOTS ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER
                                        : VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType =
                                               VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = 2 * SLOTS,
                                           .pBindings = bindings};
    VkResult result = d->vk.CreateDescriptorSetLayout(d->handle, &set, NULL, &p->set_layout);
    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, PUSH_BYTES};
    VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                       .setLayoutCount = 1,
                                       .pSetLayouts = &p->set_layout,
                                       .pushConstantRangeCount = 1,
                                       .pPushConstantRanges = &range};
    if (!result)
        result = d->vk.CreatePipelineLayout(d->handle, &info, NULL, &p->layout);
    if (result)
        gpu_fail(d, result, _("the pipeline layout"), error);
    return !result;
}

struct pipelines *pipelines_create(struct device *d, GError **error)
{
    struct pipelines *p = g_new0(struct pipelines, 1);
    p->d = d;
    p->table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    p->modules = g_hash_table_new(NULL, NULL);
    p->warm = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (create_layouts(p, error) && (p->cache = load_cache(d, error)))
        return p;
    pipelines_destroy(p);
    return NULL;
}

void pipelines_destroy(struct pipelines *p)
{
    if (!p)
        return;
    struct device *d = p->d;
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, p->table);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        d->vk.DestroyPipeline(d->handle, (VkPipeline)value, NULL);
    g_hash_table_iter_init(&iter, p->modules);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        d->vk.DestroyShaderModule(d->handle, (VkShaderModule)value, NULL);
    g_hash_table_destroy(p->table);
    g_hash_table_destroy(p->modules);
    g_hash_table_destroy(p->warm);
    if (p->cache)
        d->vk.DestroyPipelineCache(d->handle, p->cache, NULL);
    if (p->layout)
        d->vk.DestroyPipelineLayout(d->handle, p->layout, NULL);
    if (p->set_layout)
        d->vk.DestroyDescriptorSetLayout(d->handle, p->set_layout, NULL);
    g_free(p);
}

VkPipelineLayout pipelines_layout(const struct pipelines *p)
{
    return p->layout;
}

VkDescriptorSetLayout pipelines_set_layout(const struct pipelines *p)
{
    return p->set_layout;
}

static const struct shader *find_shader(const char *name, const char *suffix)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < shader_count; i++)
        if (strncmp(shaders[i].name, name, length) == 0 &&
            strcmp(shaders[i].name + length, suffix) == 0)
            return &shaders[i];
    return NULL;
}

bool pipelines_is_warm(const struct pipelines *p, const char *variant)
{
    return g_hash_table_contains(p->warm, variant);
}

void pipelines_set_warm(struct pipelines *p, char *variant)
{
    g_hash_table_add(p->warm, variant);
}

bool pipelines_have(const char *shader, const char *suffix)
{
    return find_shader(shader, suffix) != NULL;
}

static VkShaderModule module_of(struct pipelines *p, const struct shader *shader, GError **error)
{
    VkShaderModule module = (VkShaderModule)g_hash_table_lookup(p->modules, shader);
    if (module)
        return module;
    VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                     .codeSize = shader->bytes,
                                     .pCode = shader->words};
    VkResult result = p->d->vk.CreateShaderModule(p->d->handle, &info, NULL, &module);
    if (result) {
        gpu_fail(p->d, result, shader->name, error);
        return VK_NULL_HANDLE;
    }
    g_hash_table_insert(p->modules, (gpointer)shader, (gpointer)module);
    return module;
}

static VkPipeline build(struct pipelines *p, const struct pipeline_key *key,
                        const struct shader *shader, GError **error)
{
    VkShaderModule module = module_of(p, shader, error);
    if (!module)
        return VK_NULL_HANDLE;
    VkSpecializationMapEntry entries[MAX_CONSTANTS];
    for (uint32_t i = 0; i < key->constant_count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * sizeof(uint32_t), sizeof(uint32_t)};
    VkSpecializationInfo special = {.mapEntryCount = key->constant_count,
                                    .pMapEntries = entries,
                                    .dataSize = key->constant_count * sizeof(uint32_t),
                                    .pData = key->constants};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = key->subgroup};
    bool ask = key->subgroup && p->d->subgroup_control;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = ask ? &subgroup : NULL,
                  .flags = ask ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &special},
        .layout = p->layout};
    VkPipeline pipeline = VK_NULL_HANDLE;
    VkResult result =
        p->d->vk.CreateComputePipelines(p->d->handle, p->cache, 1, &info, NULL, &pipeline);
    if (result) {
        gpu_fail(p->d, result, shader->name, error);
        return VK_NULL_HANDLE;
    }
    return pipeline;
}

VkPipeline pipelines_get(struct pipelines *p, const struct pipeline_key *key, const char *suffix,
                         GError **error)
{
    GString *text = g_string_new(key->shader);
    g_string_append_printf(text, "%s,%u", suffix, key->subgroup);
    for (uint32_t i = 0; i < key->constant_count; i++)
        g_string_append_printf(text, ",%u", key->constants[i]);
    VkPipeline pipeline = (VkPipeline)g_hash_table_lookup(p->table, text->str);
    if (pipeline) {
        g_string_free(text, true);
        return pipeline;
    }
    const struct variant_shader *variants = variant_find(key->shader);
    g_assert(variants && variant_allowed(variants, key->constants, key->constant_count,
                                         strncmp(suffix, "_f16", 4) == 0));
    const struct shader *shader = find_shader(key->shader, suffix);
    if (!shader)
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                    _("This build has no shader “%s%s”: it was compiled without it."), key->shader,
                    suffix);
    else
        pipeline = build(p, key, shader, error);
    if (!pipeline) {
        g_string_free(text, true);
        return VK_NULL_HANDLE;
    }
    p->changed = true;
    g_hash_table_insert(p->table, g_string_free(text, false), (gpointer)pipeline);
    return pipeline;
}

void pipelines_list(const struct pipelines *p, GString *out)
{
    GHashTableIter iter;
    gpointer text;
    g_hash_table_iter_init(&iter, p->table);
    while (g_hash_table_iter_next(&iter, &text, NULL))
        g_string_append_printf(out, "%s\n", (const char *)text);
}
