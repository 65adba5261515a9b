#include "compute/vulkan/internal.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define ALIGNMENT 16

/* One direction: a block that the CPU sees, and where in it a tensor is. */
struct side {
    struct memory_block *block;
    size_t *at; /* by tensor id; SIZE_MAX = not in it */
    size_t bytes;
};

struct host {
    struct side in, out;
};

static void lay_out(struct side *side, const struct plan *plan, const bool *wanted)
{
    side->at = g_new(size_t, plan->tensor_count + 1);
    for (int id = 0; id < plan->tensor_count; id++) {
        bool here = wanted[id] && plan->places[id].kind == PLACE_KEPT;
        side->at[id] = here ? side->bytes : SIZE_MAX;
        if (here)
            side->bytes += (plan->places[id].bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    }
}

static bool add(struct vulkan_program *p, struct side *side, bool before, GError **error)
{
    struct vulkan_backend *b = (struct vulkan_backend *)p->base.backend;
    if (side->bytes == 0)
        return true;
    side->block =
        gpu_memory_block_create(b->m, side->bytes, before ? MEMORY_UPLOAD : MEMORY_DOWNLOAD,
                                before ? _("the inputs") : _("the outputs"), error);
    if (!side->block)
        return false;
    for (int id = 0; id < p->plan->tensor_count; id++) {
        const struct place *place = &p->plan->places[id];
        if (side->at[id] == SIZE_MAX)
            continue;
        VkBuffer here = side->block->buffer, there = p->kept->buffer;
        struct copy copy = {before ? here : there, before ? there : here, {.size = place->bytes}};
        copy.region.srcOffset = before ? side->at[id] : place->offset;
        copy.region.dstOffset = before ? place->offset : side->at[id];
        commands_add_copy(p->commands, before, &copy);
    }
    return true;
}

bool host_create(struct vulkan_program *p, GError **error)
{
    if (p->kept->mapped)
        return true;
    p->host = g_new0(struct host, 1);
    lay_out(&p->host->in, p->plan, p->plan->written);
    lay_out(&p->host->out, p->plan, p->plan->read);
    return add(p, &p->host->in, true, error) && add(p, &p->host->out, false, error);
}

void host_destroy(struct vulkan_program *p)
{
    struct vulkan_backend *b = (struct vulkan_backend *)p->base.backend;
    struct host *h = p->host;
    if (!h)
        return;
    gpu_memory_block_destroy(b->m, h->in.block);
    gpu_memory_block_destroy(b->m, h->out.block);
    g_free(h->in.at);
    g_free(h->out.at);
    g_free(h);
}

static uint8_t *find(const struct vulkan_program *p, const struct side *side,
                     const struct tensor *t)
{
    size_t at = side->at[tensor_base(t)->id];
    bool own = plan_place(p->plan, t)->kind == PLACE_KEPT;
    return own && at != SIZE_MAX ? side->block->mapped + at : NULL;
}

uint8_t *host_input(const struct vulkan_program *p, const struct tensor *t)
{
    return p->host ? find(p, &p->host->in, t) : NULL;
}

const uint8_t *host_output(const struct vulkan_program *p, const struct tensor *t)
{
    return p->host ? find(p, &p->host->out, t) : NULL;
}
