/* Where the driver's memory is mapped, and what descriptors say of it. */
#include "tests/vulkan/matrix2_private.h"

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

static GHashTable *memories, *buffers, *sets;
static PFN_vkFreeDescriptorSets next_free_sets;

/* ---- memory: all of it is mapped here, and the program given a part of that ---- */

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                               const VkAllocationCallbacks *callbacks,
                                               VkDeviceMemory *memory)
{
    VkResult result = matrix2_next.AllocateMemory(device, info, callbacks, memory);
    if (result)
        return result;
    struct memory *m =
        (struct memory *)matrix2_keep(memories, (gpointer)*memory, g_new0(struct memory, 1));
    if (matrix2_next.MapMemory(device, *memory, 0, VK_WHOLE_SIZE, 0, (void **)&m->mapped))
        g_error("matrix2: memory that is not mapped");
    return result;
}

static VKAPI_ATTR void VKAPI_CALL release(VkDevice device, VkDeviceMemory memory,
                                          const VkAllocationCallbacks *callbacks)
{
    matrix2_forget(memories, (gpointer)memory);
    matrix2_next.FreeMemory(device, memory, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL map(VkDevice device, VkDeviceMemory memory,
                                          VkDeviceSize offset, VkDeviceSize size,
                                          VkMemoryMapFlags flags, void **data)
{
    (void)device;
    (void)size;
    (void)flags;
    *data = ((struct memory *)matrix2_look_up(memories, (gpointer)memory))->mapped + offset;
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
    VkResult result = matrix2_next.CreateBuffer(device, info, callbacks, buffer);
    if (!result)
        ((struct buffer *)matrix2_keep(buffers, (gpointer)*buffer, g_new0(struct buffer, 1)))
            ->size = info->size;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_buffer(VkDevice device, VkBuffer buffer,
                                                 const VkAllocationCallbacks *callbacks)
{
    matrix2_forget(buffers, (gpointer)buffer);
    matrix2_next.DestroyBuffer(device, buffer, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL bind_memory(VkDevice device, VkBuffer buffer,
                                                  VkDeviceMemory memory, VkDeviceSize offset)
{
    struct buffer *b = (struct buffer *)matrix2_look_up(buffers, (gpointer)buffer);
    b->memory = memory;
    b->offset = offset;
    return matrix2_next.BindBufferMemory(device, buffer, memory, offset);
}

/* ---- descriptors ---- */

static VKAPI_ATTR VkResult VKAPI_CALL allocate_sets(VkDevice device,
                                                    const VkDescriptorSetAllocateInfo *info,
                                                    VkDescriptorSet *list)
{
    VkResult result = matrix2_next.AllocateDescriptorSets(device, info, list);
    for (uint32_t i = 0; !result && i < info->descriptorSetCount; i++)
        ((struct set *)matrix2_keep(sets, (gpointer)list[i], g_new0(struct set, 1)))->pool =
            info->descriptorPool;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_set_pool(VkDevice device, VkDescriptorPool pool,
                                                   const VkAllocationCallbacks *callbacks)
{
    matrix2_forget_pool(sets, (gpointer)pool);
    matrix2_next.DestroyDescriptorPool(device, pool, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL free_sets(VkDevice device, VkDescriptorPool pool,
                                                uint32_t count, const VkDescriptorSet *list)
{
    for (uint32_t i = 0; i < count; i++)
        matrix2_forget(sets, (gpointer)list[i]);
    return next_free_sets(device, pool, count, list);
}

static VKAPI_ATTR void VKAPI_CALL update_sets(VkDevice device, uint32_t count,
                                              const VkWriteDescriptorSet *writes, uint32_t copies,
                                              const VkCopyDescriptorSet *copy)
{
    matrix2_next.UpdateDescriptorSets(device, count, writes, copies, copy);
    if (copies)
        g_error("matrix2: descriptors are copied");
    for (uint32_t i = 0; i < count; i++) {
        const VkWriteDescriptorSet *w = &writes[i];
        struct set *s = (struct set *)matrix2_look_up(sets, (gpointer)w->dstSet);
        if (w->descriptorType != VK_DESCRIPTOR_TYPE_STORAGE_BUFFER)
            continue;
        if (w->descriptorCount != 1 || w->dstBinding >= INTERPRETER_BINDINGS)
            g_error("matrix2: %u descriptors at binding %u", w->descriptorCount, w->dstBinding);
        s->buffers[w->dstBinding] = w->pBufferInfo[0];
    }
}

static struct interpreter_buffer bound(const VkDescriptorBufferInfo *info)
{
    struct interpreter_buffer out = {NULL, 0};
    const struct buffer *b =
        (const struct buffer *)matrix2_look_up(buffers, (gpointer)info->buffer);
    const struct memory *m =
        b ? (const struct memory *)matrix2_look_up(memories, (gpointer)b->memory) : NULL;
    if (!m || info->offset > b->size)
        return out;
    out.data = m->mapped + b->offset + info->offset;
    out.bytes = info->range == VK_WHOLE_SIZE ? b->size - info->offset : info->range;
    if (out.bytes > b->size - info->offset)
        g_error("matrix2: a descriptor beyond its buffer");
    return out;
}

void matrix2_bound(VkDescriptorSet set, struct interpreter_dispatch *dispatch)
{
    const struct set *s = (const struct set *)matrix2_look_up(sets, (gpointer)set);
    if (!s)
        g_error("matrix2: a dispatch without descriptors");
    for (uint32_t i = 0; i < INTERPRETER_BINDINGS; i++)
        if (s->buffers[i].buffer)
            dispatch->buffers[i] = bound(&s->buffers[i]);
}

void matrix2_memory_enter(VkDevice device, PFN_vkGetDeviceProcAddr get)
{
    next_free_sets = (PFN_vkFreeDescriptorSets)get(device, "vkFreeDescriptorSets");
    if (memories)
        return;
    memories = matrix2_table(g_free);
    buffers = matrix2_table(g_free);
    sets = matrix2_table(g_free);
}

const struct layer_hook matrix2_memory_hooks[] = {
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
    {NULL, NULL},
};
