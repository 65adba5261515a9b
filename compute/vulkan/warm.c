/*
 * Lavapipe compiles a shader when it first runs, inside the submission, for up to seconds. It is
 * made to do so before, while a program is prepared: by dispatches of no groups, each in a
 * submission of its own, with a look at `cancel` between them.
 */
#include "compute/vulkan/queue.h"
#include "compute/vulkan/record_private.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>

/* What it compiles for: the pipeline and the formats of its texel buffers. Their sizes would count
 * as well (buffer_bytes() in memory.c and view_bytes() in record.c keep them alike). */
static char *variant_of(const struct dispatch *dispatch)
{
    VkFormat formats[SLOTS] = {VK_FORMAT_UNDEFINED};
    GString *text = g_string_new(NULL);
    for (int i = 0; i < dispatch->binding_count; i++)
        formats[dispatch->bindings[i].slot] = dispatch->bindings[i].texels;
    g_string_append_printf(text, "%p", (void *)dispatch->pipeline);
    for (int i = 0; i < SLOTS; i++)
        g_string_append_printf(text, " %d", (int)formats[i]);
    return g_string_free(text, false);
}

static VkResult record_empty(struct commands *c, guint index, VkCommandBuffer *to)
{
    const struct vk_api *vk = &c->d->vk;
    VkResult result = commands_begin(c, to);
    if (result)
        return result;
    commands_bind(c, *to, index);
    vk->CmdDispatch(*to, 0, 0, 0);
    return vk->EndCommandBuffer(*to);
}

static bool run_empty(struct commands *c, guint index, GError **error)
{
    VkCommandBuffer commands;
    VkResult result = record_empty(c, index, &commands);
    if (result) {
        gpu_fail(c->d, result, _("the command buffers"), error);
        return false;
    }
    struct flight *f = &c->flights[0];
    f->busy = gpu_submit(c->d, &commands, 1, f->fence, error);
    if (!f->busy || !gpu_wait(c->d, f->fence, error))
        return false; /* what is busy is drained before it is destroyed */
    f->busy = false;
    c->d->done = c->d->submitted;
    return true;
}

bool commands_warm(struct commands *c, const int *cancel, GError **error)
{
    gint64 begun = g_get_monotonic_time(), last = begun, longest = 0;
    int count = 0;
    for (guint i = 0; i < c->dispatches->len; i++) {
        g_autofree char *variant = variant_of(&g_array_index(c->dispatches, struct dispatch, i));
        if (pipelines_is_warm(c->p, variant))
            continue;
        if (cancel && g_atomic_int_get(cancel)) {
            g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "cancelled");
            return false;
        }
        last = g_get_monotonic_time();
        if (!run_empty(c, i, error))
            return false;
        pipelines_set_warm(c->p, g_steal_pointer(&variant));
        longest = MAX(longest, g_get_monotonic_time() - last);
        count++;
    }
    if (count)
        g_debug("%d shaders compiled or read in %.2f s, one of them in %.2f s", count,
                (double)(g_get_monotonic_time() - begun) * 1e-6, (double)longest * 1e-6);
    return true;
}
