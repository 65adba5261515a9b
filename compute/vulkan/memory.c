#include "compute/vulkan/memory.h"

#include "compute/poison.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define PIECE_BLOCK_BYTES ((size_t)64 << 20)
#define PIECE_ALIGNMENT 256
#define STAGING_SLOTS 2
#define STAGING_BYTES ((size_t)8 << 20)

struct hole {
    size_t offset, bytes;
};

struct slot {
    struct memory_block *block;
    VkCommandBuffer commands;
    VkFence fence;
    bool busy;
    uint64_t submission;
};

struct memory {
    struct device *d;
    struct backend *counters;
    GPtrArray *blocks; /* those that hold pieces */
    VkCommandPool pool;
    struct slot upload[STAGING_SLOTS], download;
    unsigned next;
    bool enforce_heap;
};

struct memory *gpu_memory_create(struct device *d, struct backend *count_in)
{
    struct memory *m = g_new0(struct memory, 1);
    m->d = d;
    m->counters = count_in;
    m->blocks = g_ptr_array_new();
    /* A software device reports a heap that is not what the machine has. */
    m->enforce_heap = d->limits.heap < d->info.memory;
    return m;
}

static void slot_finish(struct memory *m, struct slot *s)
{
    if (s->busy && s->fence)
        gpu_drain(m->d, s->fence);
    s->busy = false;
    if (s->fence)
        m->d->vk.DestroyFence(m->d->handle, s->fence, NULL);
    gpu_memory_block_destroy(m, s->block);
}

void gpu_memory_destroy(struct memory *m)
{
    if (!m)
        return;
    for (int i = 0; i < STAGING_SLOTS; i++)
        slot_finish(m, &m->upload[i]);
    slot_finish(m, &m->download);
    if (m->pool)
        m->d->vk.DestroyCommandPool(m->d->handle, m->pool, NULL);
    g_warn_if_fail(m->blocks->len == 0);
    g_ptr_array_free(m->blocks, true);
    g_free(m);
}

static void count(struct memory *m, gssize bytes)
{
    m->counters->bytes_now += (size_t)bytes;
    m->counters->bytes_peak = MAX(m->counters->bytes_peak, m->counters->bytes_now);
}

static void no_memory(struct memory *m, size_t bytes, const char *what, const char *why,
                      GError **error)
{
    g_autofree char *needs = g_format_size(bytes);
    g_autofree char *used = g_format_size(m->counters->bytes_now);
    g_autofree char *heap = g_format_size(m->d->limits.heap);
    g_set_error(
        error, VULKAN_ERROR, VULKAN_ERROR_MEMORY,
        _("Not enough graphics memory on “%s”: %s needs %s more, Figment uses %s of %s (%s). "
          "Try a smaller picture or fewer at once, or make it on the CPU."),
        m->d->info.name, what, needs, used, heap, why);
}

static int pick_type(const struct device *d, uint32_t types, enum memory_use use)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags mapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    int type = -1;
    if (use == MEMORY_DEVICE) {
        if (d->info.kind != VULKAN_DISCRETE)
            type = gpu_memory_type(d, types, local | mapped);
        if (type < 0)
            type = gpu_memory_type(d, types, local);
    } else {
        if (use == MEMORY_DOWNLOAD)
            type = gpu_memory_type(d, types, mapped | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
        if (type < 0)
            type = gpu_memory_type(d, types, mapped);
    }
    return type >= 0 ? type : gpu_memory_type(d, types, 0);
}

/* Lavapipe compiles a shader anew for texel buffers in a buffer whose size is a power of two, and
 * their views have room for VIEW_ROOM bytes more than they need (record.c). */
static size_t buffer_bytes(const struct device *d, size_t bytes)
{
    if (!d->texel_kernels)
        return bytes;
    bytes += VIEW_ROOM;
    return bytes & (bytes - 1) ? bytes : bytes + 256;
}

static VkResult allocate(struct memory *m, struct memory_block *b, enum memory_use use)
{
    struct device *d = m->d;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = buffer_bytes(d, b->bytes),
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkResult result = d->vk.CreateBuffer(d->handle, &info, NULL, &b->buffer);
    if (result)
        return result;
    VkMemoryRequirements needs;
    d->vk.GetBufferMemoryRequirements(d->handle, b->buffer, &needs);
    int type = pick_type(d, needs.memoryTypeBits, use);
    if (type < 0)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    VkMemoryAllocateInfo allocation = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = (uint32_t)type};
    result = d->vk.AllocateMemory(d->handle, &allocation, NULL, &b->memory);
    if (!result)
        result = d->vk.BindBufferMemory(d->handle, b->buffer, b->memory, 0);
    VkMemoryPropertyFlags flags = d->memory.memoryTypes[type].propertyFlags;
    bool mappable = (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) &&
                    (flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) &&
                    !(use == MEMORY_DEVICE && d->unmapped);
    if (!result && mappable)
        result = d->vk.MapMemory(d->handle, b->memory, 0, VK_WHOLE_SIZE, 0, (void **)&b->mapped);
    return result;
}

/* Copies into what is about to go may still run: nobody waited for an upload yet. */
static void settle(struct memory *m)
{
    for (int i = 0; i < STAGING_SLOTS; i++)
        if (m->upload[i].busy && m->upload[i].submission > m->d->done)
            gpu_drain(m->d, m->upload[i].fence);
}

static void release(struct memory *m, struct memory_block *b)
{
    if (b->buffer)
        m->d->vk.DestroyBuffer(m->d->handle, b->buffer, NULL);
    if (b->memory)
        m->d->vk.FreeMemory(m->d->handle, b->memory, NULL);
    if (b->free)
        g_array_free(b->free, true);
    g_free(b);
}

struct memory_block *gpu_memory_block_create(struct memory *m, size_t bytes, enum memory_use use,
                                             const char *what, GError **error)
{
    bytes = (MAX(bytes, 1) + 255) & ~(size_t)255;
    if (bytes > m->d->limits.allocation) {
        no_memory(m, bytes, what, _("more than the device gives in one piece"), error);
        return NULL;
    }
    if (m->enforce_heap && m->counters->bytes_now + bytes > m->d->limits.heap) {
        no_memory(m, bytes, what, _("the limit that was set"), error);
        return NULL;
    }
    struct memory_block *b = g_new0(struct memory_block, 1);
    b->bytes = bytes;
    VkResult result = allocate(m, b, use);
    if (result) {
        release(m, b);
        if (result == VK_ERROR_DEVICE_LOST)
            gpu_fail(m->d, result, what, error);
        else
            no_memory(m, bytes, what, vk_result_text(result), error);
        return NULL;
    }
    count(m, (gssize)bytes);
    if (m->counters->gap && use == MEMORY_DEVICE &&
        !gpu_memory_fill(m, b, 0, b->bytes, POISON_BYTE, error)) {
        gpu_memory_block_destroy(m, b);
        return NULL;
    }
    return b;
}

void gpu_memory_block_destroy(struct memory *m, struct memory_block *block)
{
    if (!block)
        return;
    settle(m);
    count(m, -(gssize)block->bytes);
    release(m, block);
}

static bool take(struct memory_block *b, size_t bytes, struct memory_piece *piece)
{
    for (guint i = 0; i < b->free->len; i++) {
        struct hole *h = &g_array_index(b->free, struct hole, i);
        if (h->bytes < bytes)
            continue;
        *piece = (struct memory_piece){b, h->offset, bytes};
        h->offset += bytes;
        h->bytes -= bytes;
        if (h->bytes == 0)
            g_array_remove_index(b->free, i);
        return true;
    }
    return false;
}

/* What lay there before is not poison. */
static bool poison_piece(struct memory *m, struct memory_piece *piece, GError **error)
{
    if (gpu_memory_fill(m, piece->block, piece->offset, piece->bytes, POISON_BYTE, error))
        return true;
    gpu_memory_piece_destroy(m, piece);
    return false;
}

bool gpu_memory_piece_create(struct memory *m, size_t bytes, const char *what,
                             struct memory_piece *piece, GError **error)
{
    bytes = MAX(bytes, 1) + m->counters->gap;
    bytes = (bytes + PIECE_ALIGNMENT - 1) & ~(size_t)(PIECE_ALIGNMENT - 1);
    for (guint i = 0; i < m->blocks->len; i++)
        if (take((struct memory_block *)m->blocks->pdata[i], bytes, piece))
            return !m->counters->gap || poison_piece(m, piece, error);
    size_t size = MIN(PIECE_BLOCK_BYTES, m->d->limits.heap / 8);
    size = MAX(MIN(size, m->d->limits.allocation), bytes);
    struct memory_block *b = gpu_memory_block_create(m, size, MEMORY_DEVICE, what, error);
    if (!b)
        return false;
    b->free = g_array_new(false, false, sizeof(struct hole));
    struct hole all = {0, b->bytes};
    g_array_append_val(b->free, all);
    g_ptr_array_add(m->blocks, b);
    return take(b, bytes, piece);
}

void gpu_memory_piece_destroy(struct memory *m, struct memory_piece *piece)
{
    struct memory_block *b = piece->block;
    if (!b)
        return;
    struct hole hole = {piece->offset, piece->bytes};
    guint i = 0;
    while (i < b->free->len && g_array_index(b->free, struct hole, i).offset < hole.offset)
        i++;
    g_array_insert_val(b->free, i, hole);
    for (guint j = b->free->len - 1; j > 0; j--) { /* join neighbours */
        struct hole *left = &g_array_index(b->free, struct hole, j - 1);
        struct hole *right = &g_array_index(b->free, struct hole, j);
        if (left->offset + left->bytes == right->offset) {
            left->bytes += right->bytes;
            g_array_remove_index(b->free, j);
        }
    }
    *piece = (struct memory_piece){0};
    if (b->free->len == 1 && g_array_index(b->free, struct hole, 0).bytes == b->bytes) {
        g_ptr_array_remove(m->blocks, b);
        gpu_memory_block_destroy(m, b);
    }
}

static bool slot_prepare(struct memory *m, struct slot *s, enum memory_use use, GError **error)
{
    struct device *d = m->d;
    if (!m->pool) {
        VkCommandPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                        .queueFamilyIndex = d->family};
        VkResult result = d->vk.CreateCommandPool(d->handle, &info, NULL, &m->pool);
        if (result) {
            gpu_fail(d, result, _("a command pool"), error);
            return false;
        }
    }
    if (!s->block)
        s->block = gpu_memory_block_create(m, STAGING_BYTES, use, _("the staging buffer"), error);
    if (!s->block)
        return false;
    if (!s->fence && !(s->fence = gpu_fence(d, error)))
        return false;
    if (!s->commands) {
        VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = m->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
        VkResult result = d->vk.AllocateCommandBuffers(d->handle, &info, &s->commands);
        if (result) {
            s->commands = VK_NULL_HANDLE;
            gpu_fail(d, result, _("a command buffer"), error);
            return false;
        }
    }
    if (s->busy && !gpu_wait(d, s->fence, error))
        return false; /* may still run: drained before it is destroyed */
    s->busy = false;
    return true;
}

static bool slot_copy(struct memory *m, struct slot *s, VkBuffer from, VkBuffer to,
                      const VkBufferCopy *region, GError **error)
{
    struct device *d = m->d;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT |
                                                VK_ACCESS_MEMORY_WRITE_BIT |
                                                VK_ACCESS_HOST_READ_BIT};
    VkResult result = d->vk.BeginCommandBuffer(s->commands, &begin);
    if (!result) {
        VkPipelineStageFlags all = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
        barrier.dstAccessMask &= ~(VkAccessFlags)VK_ACCESS_HOST_READ_BIT;
        d->vk.CmdPipelineBarrier(s->commands, all, all, 0, 1, &barrier, 0, NULL, 0, NULL);
        d->vk.CmdCopyBuffer(s->commands, from, to, 1, region);
        barrier.dstAccessMask |= VK_ACCESS_HOST_READ_BIT;
        d->vk.CmdPipelineBarrier(s->commands, all, all | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier,
                                 0, NULL, 0, NULL);
        result = d->vk.EndCommandBuffer(s->commands);
    }
    if (result) {
        gpu_fail(d, result, _("a copy"), error);
        return false;
    }
    s->busy = gpu_submit(d, &s->commands, 1, s->fence, error);
    s->submission = d->submitted;
    return s->busy;
}

bool gpu_memory_upload(struct memory *m, const struct memory_block *block, size_t offset,
                       const void *data, size_t bytes, GError **error)
{
    if (block->mapped) {
        memcpy(block->mapped + offset, data, bytes);
        return true;
    }
    for (size_t done = 0; done < bytes;) {
        struct slot *s = &m->upload[m->next++ % STAGING_SLOTS];
        size_t part = MIN(bytes - done, STAGING_BYTES);
        if (!slot_prepare(m, s, MEMORY_UPLOAD, error))
            return false;
        memcpy(s->block->mapped, (const uint8_t *)data + done, part);
        VkBufferCopy region = {.dstOffset = offset + done, .size = part};
        if (!slot_copy(m, s, s->block->buffer, block->buffer, &region, error))
            return false;
        done += part;
    }
    return true;
}

bool gpu_memory_fill(struct memory *m, const struct memory_block *block, size_t offset,
                     size_t bytes, uint8_t byte, GError **error)
{
    if (block->mapped) {
        memset(block->mapped + offset, byte, bytes);
        return true;
    }
    size_t part = MIN(bytes, STAGING_BYTES);
    g_autofree uint8_t *data = (uint8_t *)g_malloc(part);
    memset(data, byte, part);
    for (size_t done = 0; done < bytes; done += part)
        if (!gpu_memory_upload(m, block, offset + done, data, MIN(part, bytes - done), error))
            return false;
    return true;
}

bool gpu_memory_download(struct memory *m, const struct memory_block *block, size_t offset,
                         void *data, size_t bytes, GError **error)
{
    if (block->mapped) {
        memcpy(data, block->mapped + offset, bytes);
        return true;
    }
    struct slot *s = &m->download;
    for (size_t done = 0; done < bytes;) {
        size_t part = MIN(bytes - done, STAGING_BYTES);
        VkBufferCopy region = {.srcOffset = offset + done, .size = part};
        if (!slot_prepare(m, s, MEMORY_DOWNLOAD, error) ||
            !slot_copy(m, s, block->buffer, s->block->buffer, &region, error))
            return false;
        if (!gpu_wait(m->d, s->fence, error))
            return false;
        s->busy = false;
        memcpy((uint8_t *)data + done, s->block->mapped, part);
        done += part;
    }
    return true;
}
