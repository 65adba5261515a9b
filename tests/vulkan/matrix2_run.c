#include "tests/vulkan/matrix2_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static GHashTable *command_buffers;
static GMutex lock;

struct vk_api matrix2_next;
static PFN_vkQueueWaitIdle next_wait;

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

/* ---- tables ---- */

GHashTable *matrix2_table(GDestroyNotify destroy)
{
    return g_hash_table_new_full(NULL, NULL, NULL, destroy);
}

gpointer matrix2_keep(GHashTable *table, gpointer handle, gpointer object)
{
    g_mutex_lock(&lock);
    g_hash_table_replace(table, handle, object);
    g_mutex_unlock(&lock);
    return object;
}

gpointer matrix2_look_up(GHashTable *table, gpointer handle)
{
    g_mutex_lock(&lock);
    gpointer object = g_hash_table_lookup(table, handle);
    g_mutex_unlock(&lock);
    return object;
}

bool matrix2_forget(GHashTable *table, gpointer handle)
{
    g_mutex_lock(&lock);
    bool known = g_hash_table_remove(table, handle);
    g_mutex_unlock(&lock);
    return known;
}

/* Of sets and command buffers, whose structs begin with their pool. */
static gboolean of_pool(gpointer handle, gpointer object, gpointer pool)
{
    (void)handle;
    return memcmp(object, &pool, sizeof pool) == 0;
}

void matrix2_forget_pool(GHashTable *table, gpointer pool)
{
    g_mutex_lock(&lock);
    g_hash_table_foreach_remove(table, of_pool, pool);
    g_mutex_unlock(&lock);
}

/* ---- command buffers ---- */

static struct commands *commands_of(VkCommandBuffer handle)
{
    return (struct commands *)matrix2_look_up(command_buffers, (gpointer)handle);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_commands(VkDevice device,
                                                        const VkCommandBufferAllocateInfo *info,
                                                        VkCommandBuffer *list)
{
    VkResult result = matrix2_next.AllocateCommandBuffers(device, info, list);
    for (uint32_t i = 0; !result && i < info->commandBufferCount; i++)
        ((struct commands *)matrix2_keep(command_buffers, list[i], g_new0(struct commands, 1)))
            ->pool = info->commandPool;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL free_commands(VkDevice device, VkCommandPool pool, uint32_t count,
                                                const VkCommandBuffer *list)
{
    for (uint32_t i = 0; i < count; i++)
        matrix2_forget(command_buffers, list[i]);
    matrix2_next.FreeCommandBuffers(device, pool, count, list);
}

static VKAPI_ATTR void VKAPI_CALL destroy_command_pool(VkDevice device, VkCommandPool pool,
                                                       const VkAllocationCallbacks *callbacks)
{
    matrix2_forget_pool(command_buffers, (gpointer)pool);
    matrix2_next.DestroyCommandPool(device, pool, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL begin(VkCommandBuffer to,
                                            const VkCommandBufferBeginInfo *info)
{
    struct commands *c = commands_of(to);
    *c = (struct commands){.pool = c->pool};
    return matrix2_next.BeginCommandBuffer(to, info);
}

static VKAPI_ATTR void VKAPI_CALL bind_pipeline(VkCommandBuffer to, VkPipelineBindPoint point,
                                                VkPipeline pipeline)
{
    struct commands *c = commands_of(to);
    c->pipeline = matrix2_pipeline(pipeline);
    if (!c->pipeline)
        matrix2_next.CmdBindPipeline(to, point, pipeline);
}

static VKAPI_ATTR void VKAPI_CALL bind_sets(VkCommandBuffer to, VkPipelineBindPoint point,
                                            VkPipelineLayout layout, uint32_t first, uint32_t count,
                                            const VkDescriptorSet *list, uint32_t offsets,
                                            const uint32_t *offset)
{
    if (first != 0 || count != 1 || offsets != 0)
        g_error("matrix2: more than descriptor set 0 is bound");
    commands_of(to)->set = list[0];
    matrix2_next.CmdBindDescriptorSets(to, point, layout, first, count, list, offsets, offset);
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
    matrix2_next.CmdPushConstants(to, layout, stages, offset, bytes, data);
}

static VKAPI_ATTR void VKAPI_CALL dispatch(VkCommandBuffer to, uint32_t x, uint32_t y, uint32_t z)
{
    struct commands *c = commands_of(to);
    if (!c->pipeline) {
        c->others++;
        matrix2_next.CmdDispatch(to, x, y, z);
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
    matrix2_next.CmdCopyBuffer(to, from, into, count, regions);
}

/* ---- submissions ---- */

static void run(const struct commands *c)
{
    struct interpreter_dispatch d = {.push = c->push,
                                     .push_bytes = c->push_bytes,
                                     .groups = {c->groups[0], c->groups[1], c->groups[2]}};
    if (c->others)
        g_error("matrix2: a dispatch beside others in a command buffer; FIGMENT_ONE_DISPATCH=1 "
                "is needed");
    matrix2_bound(c->set, &d);
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
            result = matrix2_next.QueueSubmit(queue, 1, &part, VK_NULL_HANDLE);
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
    return result ? result : matrix2_next.QueueSubmit(queue, 0, NULL, fence);
}

/* ---- devices ---- */

static const struct layer_hook hooks[] = {
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

PFN_vkVoidFunction matrix2_find(const char *name)
{
    PFN_vkVoidFunction function = layer_find(hooks, name);
    if (!function)
        function = layer_find(matrix2_pipeline_hooks, name);
    return function ? function : layer_find(matrix2_memory_hooks, name);
}

/* The driver goes with the last instance, and may come back elsewhere. */
void matrix2_enter(VkDevice device, PFN_vkGetDeviceProcAddr get)
{
    struct vk_instance_api from = {.GetDeviceProcAddr = get};
    vk_load_device(&matrix2_next, &from, device);
    next_wait = (PFN_vkQueueWaitIdle)get(device, "vkQueueWaitIdle");
    matrix2_memory_enter(device, get);
    matrix2_pipelines_enter();
    if (!command_buffers)
        command_buffers = matrix2_table(g_free);
}
