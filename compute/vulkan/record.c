#include "compute/vulkan/queue.h"
#include "compute/vulkan/record_private.h"

#include <glib/gi18n-lib.h>
#include <string.h>

struct commands *commands_create(struct device *d, struct pipelines *p, double *scale)
{
    struct commands *c = g_new0(struct commands, 1);
    c->d = d;
    c->p = p;
    c->scale = scale;
    c->dispatches = g_array_new(false, false, sizeof(struct dispatch));
    c->pieces = g_array_new(false, true, sizeof(struct piece));
    c->before = g_array_new(false, false, sizeof(struct copy));
    c->after = g_array_new(false, false, sizeof(struct copy));
    c->views = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    c->one_dispatch = g_getenv("FIGMENT_ONE_DISPATCH") != NULL;
    return c;
}

void commands_destroy(struct commands *c)
{
    if (!c)
        return;
    struct device *d = c->d;
    for (int i = 0; i < IN_FLIGHT; i++) {
        if (c->flights[i].busy)
            gpu_drain(d, c->flights[i].fence);
        if (c->flights[i].fence)
            d->vk.DestroyFence(d->handle, c->flights[i].fence, NULL);
    }
    if (c->command_pool)
        d->vk.DestroyCommandPool(d->handle, c->command_pool, NULL);
    if (c->times)
        d->vk.DestroyQueryPool(d->handle, c->times, NULL);
    if (c->pool)
        d->vk.DestroyDescriptorPool(d->handle, c->pool, NULL);
    GHashTableIter iter;
    gpointer view;
    g_hash_table_iter_init(&iter, c->views);
    while (g_hash_table_iter_next(&iter, NULL, &view))
        d->vk.DestroyBufferView(d->handle, (VkBufferView)view, NULL);
    if (c->spare_view)
        d->vk.DestroyBufferView(d->handle, c->spare_view, NULL);
    g_hash_table_destroy(c->views);
    g_array_free(c->after, true);
    g_array_free(c->before, true);
    g_array_free(c->pieces, true);
    g_array_free(c->dispatches, true);
    g_free(c->sets);
    g_free(c);
}

void commands_add(struct commands *c, const struct dispatch *dispatch)
{
    const struct limits *l = &c->d->limits;
    for (int i = 0; i < 3; i++)
        g_assert(dispatch->groups[i] >= 1 && dispatch->groups[i] <= l->groups);
    g_assert(dispatch->trips <= l->trips);
    g_assert(dispatch->push_bytes <= PUSH_BYTES && dispatch->binding_count <= MAX_BINDINGS);
    for (int i = 0; i < dispatch->binding_count; i++) {
        const struct binding *b = &dispatch->bindings[i];
        g_assert(b->bytes > 0 && b->bytes <= l->range && b->offset % l->alignment == 0);
    }
    c->stats.most_seconds = MAX(c->stats.most_seconds, dispatch->seconds * *c->scale);
    c->stats.most_trips = MAX(c->stats.most_trips, dispatch->trips);
    g_array_append_val(c->dispatches, *dispatch);
}

void commands_add_copy(struct commands *c, bool before, const struct copy *copy)
{
    g_array_append_vals(before ? c->before : c->after, copy, 1);
}

static VkBufferView make_view(struct commands *c, VkBuffer buffer, VkFormat format, uint64_t offset,
                              uint64_t bytes, GError **error)
{
    VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                   .buffer = buffer,
                                   .format = format,
                                   .offset = offset,
                                   .range = bytes};
    VkBufferView view = VK_NULL_HANDLE;
    VkResult result = c->d->vk.CreateBufferView(c->d->handle, &info, NULL, &view);
    if (result) {
        gpu_fail(c->d, result, _("a buffer view"), error);
        return VK_NULL_HANDLE;
    }
    return view;
}

/* Lavapipe compiles a shader anew for views whose bits 8 to 15 of the size are all zero: a mistake
 * of its own, which takes them for the levels of an image. */
static uint64_t view_bytes(const struct device *d, uint64_t bytes)
{
    bool zero = d->texel_kernels && (bytes & 0xff00) == 0;
    return zero && bytes + VIEW_ROOM <= d->limits.texels * 8 ? bytes + VIEW_ROOM : bytes;
}

static VkBufferView view_of(struct commands *c, const struct binding *b, GError **error)
{
    g_autofree char *key = g_strdup_printf("%p %d %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT,
                                           (void *)b->buffer, (int)b->texels, b->offset, b->bytes);
    VkBufferView view = (VkBufferView)g_hash_table_lookup(c->views, key);
    if (!view &&
        (view = make_view(c, b->buffer, b->texels, b->offset, view_bytes(c->d, b->bytes), error)))
        g_hash_table_insert(c->views, g_steal_pointer(&key), (gpointer)view);
    return view;
}

static bool create_sets(struct commands *c, GError **error)
{
    uint32_t count = MAX(c->dispatches->len, 1);
    VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, SLOTS * count},
                                    {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, SLOTS * count}};
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = count,
                                       .poolSizeCount = 2,
                                       .pPoolSizes = sizes};
    VkResult result = c->d->vk.CreateDescriptorPool(c->d->handle, &info, NULL, &c->pool);
    if (result) {
        gpu_fail(c->d, result, _("the descriptors"), error);
        return false;
    }
    c->sets = g_new0(VkDescriptorSet, count);
    VkDescriptorSetLayout *layouts = g_new(VkDescriptorSetLayout, count);
    for (uint32_t i = 0; i < count; i++)
        layouts[i] = pipelines_set_layout(c->p);
    VkDescriptorSetAllocateInfo allocation = {.sType =
                                                  VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                              .descriptorPool = c->pool,
                                              .descriptorSetCount = count,
                                              .pSetLayouts = layouts};
    result = c->d->vk.AllocateDescriptorSets(c->d->handle, &allocation, c->sets);
    g_free(layouts);
    if (result)
        gpu_fail(c->d, result, _("the descriptors"), error);
    return !result;
}

/* Every slot is written: what a shader names but does not use is the spare buffer. */
static bool write_set(struct commands *c, guint index, VkBuffer spare, GError **error)
{
    const struct dispatch *dispatch = &g_array_index(c->dispatches, struct dispatch, index);
    VkDescriptorBufferInfo buffers[SLOTS];
    VkBufferView views[SLOTS];
    VkWriteDescriptorSet writes[2 * SLOTS];
    bool any_texels = false;
    for (uint32_t i = 0; i < SLOTS; i++) {
        buffers[i] = (VkDescriptorBufferInfo){spare, 0, VK_WHOLE_SIZE};
        views[i] = c->spare_view;
    }
    for (int i = 0; i < dispatch->binding_count; i++) {
        const struct binding *b = &dispatch->bindings[i];
        buffers[b->slot] = (VkDescriptorBufferInfo){b->buffer, b->offset, b->bytes};
        if (b->texels == VK_FORMAT_UNDEFINED)
            continue;
        any_texels = true;
        if (!(views[b->slot] = view_of(c, b, error)))
            return false;
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        VkWriteDescriptorSet w = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = c->sets[index],
                                  .dstBinding = i,
                                  .descriptorCount = 1,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = &buffers[i]};
        writes[i] = w;
        w.dstBinding = i + SLOTS;
        w.descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
        w.pBufferInfo = NULL;
        w.pTexelBufferView = &views[i];
        writes[SLOTS + i] = w;
    }
    c->d->vk.UpdateDescriptorSets(c->d->handle, any_texels ? 2 * SLOTS : SLOTS, writes, 0, NULL);
    return true;
}

/* What a dispatch may touch: of a view, its room as well. */
static uint64_t end_of(const struct device *d, const struct binding *b)
{
    bool view = b->texels != VK_FORMAT_UNDEFINED;
    return b->offset + (view ? view_bytes(d, b->bytes) : b->bytes);
}

static bool overlap(const struct device *d, const struct binding *a, const struct binding *b)
{
    return a->buffer == b->buffer && (a->write || b->write) && a->offset < end_of(d, b) &&
           b->offset < end_of(d, a);
}

static void barrier(struct commands *c, VkCommandBuffer to)
{
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                              .dstAccessMask =
                                  VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    c->d->vk.CmdPipelineBarrier(to, stage, stage, 0, 1, &memory, 0, NULL, 0, NULL);
}

void commands_bind(struct commands *c, VkCommandBuffer to, guint index)
{
    const struct vk_api *vk = &c->d->vk;
    const struct dispatch *dispatch = &g_array_index(c->dispatches, struct dispatch, index);
    vk->CmdBindPipeline(to, VK_PIPELINE_BIND_POINT_COMPUTE, dispatch->pipeline);
    vk->CmdBindDescriptorSets(to, VK_PIPELINE_BIND_POINT_COMPUTE, pipelines_layout(c->p), 0, 1,
                              &c->sets[index], 0, NULL);
    vk->CmdPushConstants(to, pipelines_layout(c->p), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         dispatch->push_bytes, dispatch->push);
}

static void record_dispatch(struct commands *c, VkCommandBuffer to, guint index, GArray *touched)
{
    const struct dispatch *dispatch = &g_array_index(c->dispatches, struct dispatch, index);
    bool wait = false;
    for (int i = 0; i < dispatch->binding_count && !wait; i++)
        for (guint j = 0; j < touched->len && !wait; j++)
            wait =
                overlap(c->d, &dispatch->bindings[i], &g_array_index(touched, struct binding, j));
    if (wait) {
        barrier(c, to);
        c->stats.barriers++;
        g_array_set_size(touched, 0);
    }
    g_array_append_vals(touched, dispatch->bindings, (guint)dispatch->binding_count);
    commands_bind(c, to, index);
    c->d->vk.CmdDispatch(to, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
}

/* Copies between barriers to what was before and what comes after. The host reads what it sees of
 * the last dispatch, or of the copies after it. */
static void record_copies(struct commands *c, VkCommandBuffer to, const GArray *copies, bool last)
{
    const VkPipelineStageFlags shader = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkPipelineStageFlags transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier in = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                          .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                          .dstAccessMask =
                              VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    VkMemoryBarrier out = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = last ? VK_ACCESS_HOST_READ_BIT
                              : VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                                    VK_ACCESS_TRANSFER_READ_BIT};
    if (copies->len)
        c->d->vk.CmdPipelineBarrier(to, shader | transfer, transfer, 0, 1, &in, 0, NULL, 0, NULL);
    for (guint i = 0; i < copies->len; i++) {
        const struct copy *copy = &g_array_index(copies, struct copy, i);
        c->d->vk.CmdCopyBuffer(to, copy->from, copy->to, 1, &copy->region);
    }
    if (copies->len || last)
        c->d->vk.CmdPipelineBarrier(to, shader | transfer,
                                    last ? VK_PIPELINE_STAGE_HOST_BIT : shader | transfer, 0, 1,
                                    &out, 0, NULL, 0, NULL);
}

VkResult commands_begin(struct commands *c, VkCommandBuffer *to)
{
    const struct vk_api *vk = &c->d->vk;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = c->command_pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkResult result = vk->AllocateCommandBuffers(c->d->handle, &info, to);
    return result ? result : vk->BeginCommandBuffer(*to, &begin);
}

static bool record_piece(struct commands *c, struct piece *piece, GError **error)
{
    const struct vk_api *vk = &c->d->vk;
    uint32_t query = 2 * c->pieces->len;
    VkResult result = commands_begin(c, &piece->commands);
    if (!result) {
        GArray *touched = g_array_new(false, false, sizeof(struct binding));
        barrier(c, piece->commands); /* to all that was submitted before */
        if (piece->first == 0)
            record_copies(c, piece->commands, c->before, false);
        if (c->times) {
            vk->CmdResetQueryPool(piece->commands, c->times, query, 2);
            vk->CmdWriteTimestamp(piece->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, c->times,
                                  query);
        }
        for (guint i = 0; i < piece->count; i++)
            record_dispatch(c, piece->commands, piece->first + i, touched);
        g_array_free(touched, true);
        if (c->times)
            vk->CmdWriteTimestamp(piece->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, c->times,
                                  query + 1);
        if (piece->first + piece->count == c->dispatches->len)
            record_copies(c, piece->commands, c->after, true);
        result = vk->EndCommandBuffer(piece->commands);
    }
    if (result)
        gpu_fail(c->d, result, _("the command buffers"), error);
    return !result;
}

/* Two times a piece, and there are at most as many pieces as dispatches. Without them all goes on.
 */
static void create_times(struct commands *c)
{
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = 2 * MAX(c->dispatches->len, 1)};
    if (c->d->timestamp_bits &&
        c->d->vk.CreateQueryPool(c->d->handle, &info, NULL, &c->times) != VK_SUCCESS)
        c->times = VK_NULL_HANDLE;
}

static bool create_pool(struct commands *c, GError **error)
{
    const struct vk_api *vk = &c->d->vk;
    if (c->command_pool)
        vk->DestroyCommandPool(c->d->handle, c->command_pool, NULL);
    c->command_pool = VK_NULL_HANDLE;
    VkCommandPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = c->d->family};
    VkResult result = vk->CreateCommandPool(c->d->handle, &info, NULL, &c->command_pool);
    if (result)
        gpu_fail(c->d, result, _("a command pool"), error);
    return !result;
}

bool commands_record(struct commands *c, enum cut cut, GError **error)
{
    if (!create_pool(c, error))
        return false;
    g_array_set_size(c->pieces, 0);
    c->stats.barriers = 0;
    c->cut = cut;
    c->too_long = false;
    guint i = 0;
    do { /* once at least: there may be copies alone */
        struct piece piece = {.first = i};
        while (i < c->dispatches->len) {
            piece.expected += g_array_index(c->dispatches, struct dispatch, i).seconds;
            piece.count++;
            if (++i == c->dispatches->len || cut == CUT_BY_DISPATCH)
                break;
            const struct dispatch *next = &g_array_index(c->dispatches, struct dispatch, i);
            if (cut == CUT_BY_NODE && next->node != (next - 1)->node)
                break;
            if (cut == CUT_BY_TIME && (piece.expected + next->seconds) * *c->scale > PIECE_SECONDS)
                break;
        }
        if (!record_piece(c, &piece, error))
            return false;
        g_array_append_val(c->pieces, piece);
    } while (i < c->dispatches->len);
    return true;
}

bool commands_finish(struct commands *c, VkBuffer spare, const int *cancel, GError **error)
{
    c->stats.dispatches = (int)c->dispatches->len;
    c->spare_view = make_view(c, spare, VK_FORMAT_R32G32B32A32_SFLOAT, 0, 256, error);
    if (!c->spare_view || !create_sets(c, error))
        return false;
    for (guint i = 0; i < c->dispatches->len; i++)
        if (!write_set(c, i, spare, error))
            return false;
    for (int i = 0; i < IN_FLIGHT; i++)
        if (!(c->flights[i].fence = gpu_fence(c->d, error)))
            return false;
    if (c->d->lavapipe && (!create_pool(c, error) || !commands_warm(c, cancel, error)))
        return false;
    create_times(c);
    return commands_record(c, c->one_dispatch ? CUT_BY_DISPATCH : CUT_BY_TIME, error);
}
