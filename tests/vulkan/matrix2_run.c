#include "tests/vulkan/matrix2_run.h"

#include "tests/vulkan/interpreter/interpreter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Numbers of the SPIR-V specification */
enum { CAPABILITY_CONVERSIONS = 5431, CAPABILITY_PER_ELEMENT = 5432 };

struct module {
    uint32_t *words;
    size_t count;
};

struct memory {
    uint8_t *mapped;
};

struct buffer {
    VkDeviceSize size, offset;
    VkDeviceMemory memory;
};

struct set {
    VkDescriptorPool pool;
    VkDescriptorBufferInfo buffers[INTERPRETER_BINDINGS];
};

struct commands {
    VkCommandPool pool;
    struct interpreter *pipeline; /* bound; NULL = the driver's */
    VkDescriptorSet set;
    uint8_t push[256];
    uint32_t push_bytes;
    int others; /* dispatches and copies that the driver does */
    struct interpreter *dispatched;
    uint32_t groups[3];
};

/* By handle. Shader modules and pipelines of ours are handles of themselves. */
static GHashTable *modules, *pipelines, *memories, *buffers, *sets, *command_buffers;
static GRecMutex lock;

static struct vk_api next;
static PFN_vkQueueWaitIdle next_wait;
static PFN_vkFreeDescriptorSets next_free_sets;
static VkPhysicalDeviceCooperativeMatrix2FeaturesNV enabled;

static int dispatches;
static guint64 workgroups;

/* A test may ask that so many dispatches were interpreted: else nothing was tested. */
__attribute__((destructor)) static void tell(void)
{
    const char *least = getenv("FIGMENT_TEST_MATRIX2_LEAST");
    if (dispatches || least)
        fprintf(stderr, "matrix2: %d dispatches, %llu workgroups interpreted\n", dispatches,
                (unsigned long long)workgroups);
    if (least && dispatches < atoi(least)) {
        fprintf(stderr, "matrix2: %s were expected\n", least);
        _exit(EXIT_FAILURE);
    }
}

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
         interpreter_declares(m, CAPABILITY_CONVERSIONS)) ||
        (!enabled.cooperativeMatrixPerElementOperations &&
         interpreter_declares(m, CAPABILITY_PER_ELEMENT)))
        g_error("matrix2: a kernel has what the device was not asked for");
    if (invocations > MATRIX2_MAX_INVOCATIONS)
        g_error("matrix2: a workgroup of %u invocations", invocations);
    for (size_t i = 0; i < count; i++)
        if (!listed(&products[i], invocations))
            g_error("matrix2: a product of %ux%ux%u by %u invocations is not listed", products[i].m,
                    products[i].n, products[i].k, invocations);
}

/* ---- devices ---- */

static void free_module(void *module)
{
    g_free(((struct module *)module)->words);
    g_free(module);
}

static void free_pipeline(void *pipeline)
{
    interpreter_destroy((struct interpreter *)pipeline);
}

void matrix2_enter(VkDevice device, PFN_vkGetDeviceProcAddr get)
{
    static gsize once;
    struct vk_instance_api from = {.GetDeviceProcAddr = get};
    if (!g_once_init_enter(&once))
        return;
    vk_load_device(&next, &from, device);
    next_wait = (PFN_vkQueueWaitIdle)get(device, "vkQueueWaitIdle");
    next_free_sets = (PFN_vkFreeDescriptorSets)get(device, "vkFreeDescriptorSets");
    modules = g_hash_table_new_full(NULL, NULL, NULL, free_module);
    pipelines = g_hash_table_new_full(NULL, NULL, NULL, free_pipeline);
    memories = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    buffers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    sets = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    command_buffers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    g_once_init_leave(&once, 1);
}

void matrix2_enable(const VkPhysicalDeviceCooperativeMatrix2FeaturesNV *features)
{
    memset(&enabled, 0, sizeof enabled);
    if (features)
        enabled = *features;
}

static gpointer keep(GHashTable *table, gpointer handle, gpointer object)
{
    g_rec_mutex_lock(&lock);
    g_hash_table_replace(table, handle, object);
    g_rec_mutex_unlock(&lock);
    return object;
}

static gpointer look_up(GHashTable *table, gpointer handle)
{
    g_rec_mutex_lock(&lock);
    gpointer object = g_hash_table_lookup(table, handle);
    g_rec_mutex_unlock(&lock);
    return object;
}

static bool forget(GHashTable *table, gpointer handle)
{
    g_rec_mutex_lock(&lock);
    bool known = g_hash_table_remove(table, handle);
    g_rec_mutex_unlock(&lock);
    return known;
}

/* Of sets and command buffers, whose structs begin with their pool. */
static gboolean of_pool(gpointer handle, gpointer object, gpointer pool)
{
    (void)handle;
    return memcmp(object, &pool, sizeof pool) == 0;
}

static void forget_pool(GHashTable *table, gpointer pool)
{
    g_rec_mutex_lock(&lock);
    g_hash_table_foreach_remove(table, of_pool, pool);
    g_rec_mutex_unlock(&lock);
}

/* ---- modules and pipelines ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device,
                                                    const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkShaderModule *module)
{
    size_t count = info->codeSize / sizeof *info->pCode;
    if (!interpreter_wants(info->pCode, count))
        return next.CreateShaderModule(device, info, callbacks, module);
    struct module *m = g_new0(struct module, 1);
    m->words = (uint32_t *)g_memdup2(info->pCode, info->codeSize);
    m->count = count;
    *module = (VkShaderModule)keep(modules, m, m);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_module(VkDevice device, VkShaderModule module,
                                                 const VkAllocationCallbacks *callbacks)
{
    if (!forget(modules, (gpointer)module))
        next.DestroyShaderModule(device, module, callbacks);
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
    return (VkPipeline)keep(pipelines, p, p);
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
            (const struct module *)look_up(modules, (gpointer)infos[i].stage.module);
        VkResult one = VK_SUCCESS;
        if (m)
            created[i] = interpret(m, &infos[i].stage);
        else
            one = next.CreateComputePipelines(device, cache, 1, &infos[i], callbacks, &created[i]);
        result = one ? one : result;
    }
    return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_pipeline(VkDevice device, VkPipeline pipeline,
                                                   const VkAllocationCallbacks *callbacks)
{
    if (!forget(pipelines, (gpointer)pipeline))
        next.DestroyPipeline(device, pipeline, callbacks);
}

/* ---- memory: all of it is mapped here, and the program given a part of that ---- */

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                               const VkAllocationCallbacks *callbacks,
                                               VkDeviceMemory *memory)
{
    VkResult result = next.AllocateMemory(device, info, callbacks, memory);
    if (result)
        return result;
    struct memory *m = (struct memory *)keep(memories, (gpointer)*memory, g_new0(struct memory, 1));
    if (next.MapMemory(device, *memory, 0, VK_WHOLE_SIZE, 0, (void **)&m->mapped))
        g_error("matrix2: memory that is not mapped");
    return result;
}

static VKAPI_ATTR void VKAPI_CALL release(VkDevice device, VkDeviceMemory memory,
                                          const VkAllocationCallbacks *callbacks)
{
    forget(memories, (gpointer)memory);
    next.FreeMemory(device, memory, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL map(VkDevice device, VkDeviceMemory memory,
                                          VkDeviceSize offset, VkDeviceSize size,
                                          VkMemoryMapFlags flags, void **data)
{
    (void)device;
    (void)size;
    (void)flags;
    *data = ((struct memory *)look_up(memories, (gpointer)memory))->mapped + offset;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL unmap(VkDevice device, VkDeviceMemory memory)
{
    (void)device;
    (void)memory;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_buffer(VkDevice device, const VkBufferCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkBuffer *buffer)
{
    VkResult result = next.CreateBuffer(device, info, callbacks, buffer);
    if (!result)
        ((struct buffer *)keep(buffers, (gpointer)*buffer, g_new0(struct buffer, 1)))->size =
            info->size;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_buffer(VkDevice device, VkBuffer buffer,
                                                 const VkAllocationCallbacks *callbacks)
{
    forget(buffers, (gpointer)buffer);
    next.DestroyBuffer(device, buffer, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL bind_memory(VkDevice device, VkBuffer buffer,
                                                  VkDeviceMemory memory, VkDeviceSize offset)
{
    struct buffer *b = (struct buffer *)look_up(buffers, (gpointer)buffer);
    b->memory = memory;
    b->offset = offset;
    return next.BindBufferMemory(device, buffer, memory, offset);
}

/* ---- descriptors ---- */

static VKAPI_ATTR VkResult VKAPI_CALL allocate_sets(VkDevice device,
                                                    const VkDescriptorSetAllocateInfo *info,
                                                    VkDescriptorSet *list)
{
    VkResult result = next.AllocateDescriptorSets(device, info, list);
    for (uint32_t i = 0; !result && i < info->descriptorSetCount; i++)
        ((struct set *)keep(sets, (gpointer)list[i], g_new0(struct set, 1)))->pool =
            info->descriptorPool;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_set_pool(VkDevice device, VkDescriptorPool pool,
                                                   const VkAllocationCallbacks *callbacks)
{
    forget_pool(sets, (gpointer)pool);
    next.DestroyDescriptorPool(device, pool, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL free_sets(VkDevice device, VkDescriptorPool pool,
                                                uint32_t count, const VkDescriptorSet *list)
{
    for (uint32_t i = 0; i < count; i++)
        forget(sets, (gpointer)list[i]);
    return next_free_sets(device, pool, count, list);
}

static VKAPI_ATTR void VKAPI_CALL update_sets(VkDevice device, uint32_t count,
                                              const VkWriteDescriptorSet *writes, uint32_t copies,
                                              const VkCopyDescriptorSet *copy)
{
    next.UpdateDescriptorSets(device, count, writes, copies, copy);
    if (copies)
        g_error("matrix2: descriptors are copied");
    for (uint32_t i = 0; i < count; i++) {
        const VkWriteDescriptorSet *w = &writes[i];
        struct set *s = (struct set *)look_up(sets, (gpointer)w->dstSet);
        if (w->descriptorType != VK_DESCRIPTOR_TYPE_STORAGE_BUFFER)
            continue;
        if (w->descriptorCount != 1 || w->dstBinding >= INTERPRETER_BINDINGS)
            g_error("matrix2: %u descriptors at binding %u", w->descriptorCount, w->dstBinding);
        s->buffers[w->dstBinding] = w->pBufferInfo[0];
    }
}

/* ---- command buffers ---- */

static struct commands *commands_of(VkCommandBuffer handle)
{
    return (struct commands *)look_up(command_buffers, (gpointer)handle);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_commands(VkDevice device,
                                                        const VkCommandBufferAllocateInfo *info,
                                                        VkCommandBuffer *list)
{
    VkResult result = next.AllocateCommandBuffers(device, info, list);
    for (uint32_t i = 0; !result && i < info->commandBufferCount; i++)
        ((struct commands *)keep(command_buffers, list[i], g_new0(struct commands, 1)))->pool =
            info->commandPool;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL free_commands(VkDevice device, VkCommandPool pool, uint32_t count,
                                                const VkCommandBuffer *list)
{
    for (uint32_t i = 0; i < count; i++)
        forget(command_buffers, list[i]);
    next.FreeCommandBuffers(device, pool, count, list);
}

static VKAPI_ATTR void VKAPI_CALL destroy_command_pool(VkDevice device, VkCommandPool pool,
                                                       const VkAllocationCallbacks *callbacks)
{
    forget_pool(command_buffers, (gpointer)pool);
    next.DestroyCommandPool(device, pool, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL begin(VkCommandBuffer to,
                                            const VkCommandBufferBeginInfo *info)
{
    struct commands *c = commands_of(to);
    *c = (struct commands){.pool = c->pool};
    return next.BeginCommandBuffer(to, info);
}

static VKAPI_ATTR void VKAPI_CALL bind_pipeline(VkCommandBuffer to, VkPipelineBindPoint point,
                                                VkPipeline pipeline)
{
    struct commands *c = commands_of(to);
    c->pipeline = (struct interpreter *)look_up(pipelines, (gpointer)pipeline);
    if (!c->pipeline)
        next.CmdBindPipeline(to, point, pipeline);
}

static VKAPI_ATTR void VKAPI_CALL bind_sets(VkCommandBuffer to, VkPipelineBindPoint point,
                                            VkPipelineLayout layout, uint32_t first, uint32_t count,
                                            const VkDescriptorSet *list, uint32_t offsets,
                                            const uint32_t *offset)
{
    if (first != 0 || count != 1 || offsets != 0)
        g_error("matrix2: more than descriptor set 0 is bound");
    commands_of(to)->set = list[0];
    next.CmdBindDescriptorSets(to, point, layout, first, count, list, offsets, offset);
}

static VKAPI_ATTR void VKAPI_CALL push_constants(VkCommandBuffer to, VkPipelineLayout layout,
                                                 VkShaderStageFlags stages, uint32_t offset,
                                                 uint32_t bytes, const void *data)
{
    struct commands *c = commands_of(to);
    if (offset + bytes > sizeof c->push)
        g_error("matrix2: %u bytes of push constants", offset + bytes);
    memcpy(c->push + offset, data, bytes);
    c->push_bytes = MAX(c->push_bytes, offset + bytes);
    next.CmdPushConstants(to, layout, stages, offset, bytes, data);
}

static VKAPI_ATTR void VKAPI_CALL dispatch(VkCommandBuffer to, uint32_t x, uint32_t y, uint32_t z)
{
    struct commands *c = commands_of(to);
    if (!c->pipeline) {
        c->others++;
        next.CmdDispatch(to, x, y, z);
        return;
    }
    if (c->dispatched)
        g_error("matrix2: two dispatches in a command buffer; FIGMENT_ONE_DISPATCH=1 is needed");
    c->dispatched = c->pipeline;
    c->groups[0] = x;
    c->groups[1] = y;
    c->groups[2] = z;
}

static VKAPI_ATTR void VKAPI_CALL copy_buffer(VkCommandBuffer to, VkBuffer from, VkBuffer into,
                                              uint32_t count, const VkBufferCopy *regions)
{
    commands_of(to)->others++;
    next.CmdCopyBuffer(to, from, into, count, regions);
}

/* ---- submissions ---- */

static struct interpreter_buffer bound(const VkDescriptorBufferInfo *info)
{
    struct interpreter_buffer out = {NULL, 0};
    const struct buffer *b = (const struct buffer *)look_up(buffers, (gpointer)info->buffer);
    const struct memory *m =
        b ? (const struct memory *)look_up(memories, (gpointer)b->memory) : NULL;
    if (!m || info->offset > b->size)
        return out;
    out.data = m->mapped + b->offset + info->offset;
    out.bytes = info->range == VK_WHOLE_SIZE ? b->size - info->offset : info->range;
    if (out.bytes > b->size - info->offset)
        g_error("matrix2: a descriptor beyond its buffer");
    return out;
}

static void run(const struct commands *c)
{
    struct interpreter_dispatch d = {.push = c->push,
                                     .push_bytes = c->push_bytes,
                                     .groups = {c->groups[0], c->groups[1], c->groups[2]}};
    const struct set *s = (const struct set *)look_up(sets, (gpointer)c->set);
    if (!s)
        g_error("matrix2: a dispatch without descriptors");
    if (c->others)
        g_error("matrix2: a dispatch beside others in a command buffer; FIGMENT_ONE_DISPATCH=1 "
                "is needed");
    for (uint32_t i = 0; i < INTERPRETER_BINDINGS; i++)
        if (s->buffers[i].buffer)
            d.buffers[i] = bound(&s->buffers[i]);
    interpreter_run(c->dispatched, &d);
    dispatches++;
    workgroups += (guint64)c->groups[0] * c->groups[1] * c->groups[2];
}

/* What was submitted before is over before a kernel is interpreted, what comes after it follows.
 * The driver is given the command buffers all the same: barriers and times are in them. */
static VkResult submit_one(VkQueue queue, const VkSubmitInfo *info)
{
    VkSubmitInfo part = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1};
    for (uint32_t i = 0; i < info->commandBufferCount; i++) {
        const struct commands *c = commands_of(info->pCommandBuffers[i]);
        VkResult result = c->dispatched ? next_wait(queue) : VK_SUCCESS;
        if (!result && c->dispatched)
            run(c);
        part.pCommandBuffers = &info->pCommandBuffers[i];
        if (!result)
            result = next.QueueSubmit(queue, 1, &part, VK_NULL_HANDLE);
        if (result)
            return result;
    }
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t count,
                                             const VkSubmitInfo *infos, VkFence fence)
{
    VkResult result = VK_SUCCESS;
    for (uint32_t i = 0; !result && i < count; i++) {
        if (infos[i].waitSemaphoreCount || infos[i].signalSemaphoreCount || infos[i].pNext)
            g_error("matrix2: a submission with semaphores");
        result = submit_one(queue, &infos[i]);
    }
    return result ? result : next.QueueSubmit(queue, 0, NULL, fence);
}

#define HOOK(name, function)                                                                       \
    {                                                                                              \
        "vk" #name, (PFN_vkVoidFunction)function                                                   \
    }

const struct layer_hook matrix2_hooks[] = {
    HOOK(CreateShaderModule, create_module),
    HOOK(DestroyShaderModule, destroy_module),
    HOOK(CreateComputePipelines, create_pipelines),
    HOOK(DestroyPipeline, destroy_pipeline),
    HOOK(AllocateMemory, allocate),
    HOOK(FreeMemory, release),
    HOOK(MapMemory, map),
    HOOK(UnmapMemory, unmap),
    HOOK(CreateBuffer, create_buffer),
    HOOK(DestroyBuffer, destroy_buffer),
    HOOK(BindBufferMemory, bind_memory),
    HOOK(AllocateDescriptorSets, allocate_sets),
    HOOK(DestroyDescriptorPool, destroy_set_pool),
    HOOK(FreeDescriptorSets, free_sets),
    HOOK(UpdateDescriptorSets, update_sets),
    HOOK(AllocateCommandBuffers, allocate_commands),
    HOOK(FreeCommandBuffers, free_commands),
    HOOK(DestroyCommandPool, destroy_command_pool),
    HOOK(BeginCommandBuffer, begin),
    HOOK(CmdBindPipeline, bind_pipeline),
    HOOK(CmdBindDescriptorSets, bind_sets),
    HOOK(CmdPushConstants, push_constants),
    HOOK(CmdDispatch, dispatch),
    HOOK(CmdCopyBuffer, copy_buffer),
    HOOK(QueueSubmit, submit),
    {NULL, NULL},
};
