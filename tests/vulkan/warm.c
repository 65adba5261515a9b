/*
 * A software device compiles its shaders while a program is prepared, not while it runs: Stop is
 * answered between two of them, nothing is compiled twice, and lavapipe is given no reason to
 * compile another variant later (sizes of buffers and of their views).
 */
#include "compute/vulkan/internal.h"
#include "tests/vulkan/net.h"

#include <gio/gio.h>

#define SIZE 64

static struct vk_api real;
static int compiled, stop;
static int buffers, views, roomy, wrong;

static VKAPI_ATTR void VKAPI_CALL stopping_dispatch(VkCommandBuffer c, uint32_t x, uint32_t y,
                                                    uint32_t z)
{
    if (x == 0) {
        compiled++;
        stop = 1;
    }
    real.CmdDispatch(c, x, y, z);
}

static VKAPI_ATTR VkResult VKAPI_CALL look_at_buffer(VkDevice d, const VkBufferCreateInfo *i,
                                                     const VkAllocationCallbacks *a, VkBuffer *b)
{
    buffers++;
    wrong += (i->size & (i->size - 1)) == 0;
    return real.CreateBuffer(d, i, a, b);
}

static VKAPI_ATTR VkResult VKAPI_CALL look_at_view(VkDevice d, const VkBufferViewCreateInfo *i,
                                                   const VkAllocationCallbacks *a, VkBufferView *v)
{
    views++;
    wrong += (i->range & 0xff00) == 0;
    roomy += (i->range & 0xff00) == VIEW_ROOM && i->range > 0xffff;
    return real.CreateBufferView(d, i, a, v);
}

int main(void)
{
    GError *error = NULL;
    struct backend *base = vulkan_backend_create(NULL, DTYPE_F32, &error);
    if (!base)
        g_error("%s", error->message);
    struct vulkan_backend *b = (struct vulkan_backend *)base;
    int after[3];
    real = b->d->vk;
    b->d->vk.CmdDispatch = stopping_dispatch;
    b->d->vk.CreateBuffer = look_at_buffer;
    b->d->vk.CreateBufferView = look_at_view;
    for (int i = 0; i < 3; i++) { /* stopped, to its end, again */
        struct net net = net_record(SIZE);
        compiled = stop = 0;
        bool good = tape_finish(net.tape, base, i == 0 ? &stop : NULL, &error);
        CHECK(good == (i > 0), "%d: %s", i, error ? error->message : "it went on");
        CHECK(good || g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED), "%s",
              error ? error->message : "");
        g_clear_error(&error);
        after[i] = compiled;
        net_destroy(&net);
    }
    CHECK(after[0] == 1 && after[1] > 10 && after[2] == 0, "%d, %d and %d compiled", after[0],
          after[1], after[2]);
    CHECK(buffers > 2 && views > 10 && roomy > 0 && wrong == 0,
          "%d buffers, %d views, %d with room, %d wrong", buffers, views, roomy, wrong);
    b->d->vk = real;
    backend_destroy(base);
    return check_result();
}
