/*
 * Every fallible Vulkan call fails once, at every place where the small network calls it: the error
 * is a sentence of the right kind, memory goes back to where it was, and the next run (on the same
 * back end, or a new one after a lost device) gives the same bits. Sampled where a call is
 * frequent. Also: a device that hangs, and a run that is cancelled.
 */
#include "compute/vulkan/internal.h"
#include "tests/vulkan/net.h"

#include <gio/gio.h>

#define SIZE 8

static struct {
    int left; /* calls until the fault; 0 = never */
    VkResult result;
    bool hit;
} fault;

static bool strikes(void)
{
    if (fault.left == 0 || --fault.left > 0)
        return false;
    fault.hit = true;
    return true;
}

static struct vk_api real;

/* Waits run really before they are lost: what is in flight may not be destroyed under the driver.
 */
#define HOOK(name, parameters, arguments)                                                          \
    static VKAPI_ATTR VkResult VKAPI_CALL failing_##name parameters                                \
    {                                                                                              \
        return strikes() ? fault.result : real.name arguments;                                     \
    }
HOOK(AllocateMemory,
     (VkDevice d, const VkMemoryAllocateInfo *i, const VkAllocationCallbacks *a, VkDeviceMemory *m),
     (d, i, a, m))
HOOK(MapMemory,
     (VkDevice d, VkDeviceMemory m, VkDeviceSize o, VkDeviceSize s, VkMemoryMapFlags f, void **p),
     (d, m, o, s, f, p))
HOOK(CreateBuffer,
     (VkDevice d, const VkBufferCreateInfo *i, const VkAllocationCallbacks *a, VkBuffer *b),
     (d, i, a, b))
HOOK(BindBufferMemory, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize o), (d, b, m, o))
HOOK(CreateBufferView,
     (VkDevice d, const VkBufferViewCreateInfo *i, const VkAllocationCallbacks *a, VkBufferView *v),
     (d, i, a, v))
HOOK(CreateShaderModule,
     (VkDevice d, const VkShaderModuleCreateInfo *i, const VkAllocationCallbacks *a,
      VkShaderModule *m),
     (d, i, a, m))
HOOK(CreateComputePipelines,
     (VkDevice d, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *i,
      const VkAllocationCallbacks *a, VkPipeline *p),
     (d, c, n, i, a, p))
HOOK(CreateDescriptorPool,
     (VkDevice d, const VkDescriptorPoolCreateInfo *i, const VkAllocationCallbacks *a,
      VkDescriptorPool *p),
     (d, i, a, p))
HOOK(AllocateDescriptorSets, (VkDevice d, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *s),
     (d, i, s))
HOOK(CreateCommandPool,
     (VkDevice d, const VkCommandPoolCreateInfo *i, const VkAllocationCallbacks *a,
      VkCommandPool *p),
     (d, i, a, p))
HOOK(AllocateCommandBuffers, (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *b),
     (d, i, b))
HOOK(BeginCommandBuffer, (VkCommandBuffer b, const VkCommandBufferBeginInfo *i), (b, i))
HOOK(EndCommandBuffer, (VkCommandBuffer b), (b))
HOOK(CreateFence,
     (VkDevice d, const VkFenceCreateInfo *i, const VkAllocationCallbacks *a, VkFence *f),
     (d, i, a, f))
HOOK(ResetFences, (VkDevice d, uint32_t n, const VkFence *f), (d, n, f))
HOOK(QueueSubmit, (VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f), (q, n, i, f))
HOOK(WaitForFences, (VkDevice d, uint32_t n, const VkFence *f, VkBool32 a, uint64_t t),
     (d, n, f, a, t))

#define HOOKED(F)                                                                                  \
    F(AllocateMemory, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                               \
    F(AllocateMemory, VK_ERROR_OUT_OF_HOST_MEMORY)                                                 \
    F(MapMemory, VK_ERROR_OUT_OF_HOST_MEMORY)                                                      \
    F(CreateBuffer, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                                 \
    F(BindBufferMemory, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                             \
    F(CreateBufferView, VK_ERROR_OUT_OF_HOST_MEMORY)                                               \
    F(CreateShaderModule, VK_ERROR_OUT_OF_HOST_MEMORY)                                             \
    F(CreateComputePipelines, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                       \
    F(CreateDescriptorPool, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                         \
    F(AllocateDescriptorSets, VK_ERROR_OUT_OF_HOST_MEMORY)                                         \
    F(CreateCommandPool, VK_ERROR_OUT_OF_HOST_MEMORY)                                              \
    F(AllocateCommandBuffers, VK_ERROR_OUT_OF_HOST_MEMORY)                                         \
    F(BeginCommandBuffer, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                           \
    F(EndCommandBuffer, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                             \
    F(CreateFence, VK_ERROR_OUT_OF_HOST_MEMORY)                                                    \
    F(ResetFences, VK_ERROR_OUT_OF_DEVICE_MEMORY)                                                  \
    F(QueueSubmit, VK_ERROR_DEVICE_LOST)                                                           \
    F(QueueSubmit, VK_ERROR_OUT_OF_HOST_MEMORY)                                                    \
    F(WaitForFences, VK_ERROR_DEVICE_LOST)

enum {
#define F(name, result) FAULT_##name##_##result,
    HOOKED(F)
#undef F
        FAULT_COUNT
};

static const char *name_of(int kind)
{
    static const char *const names[] = {
#define F(name, result) #name " " #result,
        HOOKED(F)
#undef F
    };
    return names[kind];
}

static void hook(struct vulkan_backend *b, int kind)
{
    b->d->vk = real;
    switch (kind) {
#define F(name, value)                                                                             \
    case FAULT_##name##_##value:                                                                   \
        b->d->vk.name = failing_##name;                                                            \
        fault.result = value;                                                                      \
        break;
        HOOKED(F)
#undef F
    }
}

static struct vulkan_backend *create(void)
{
    GError *error = NULL;
    struct backend *b = vulkan_backend_create(NULL, DTYPE_F32, &error);
    if (!b)
        g_error("%s", error->message);
    real = ((struct vulkan_backend *)b)->d->vk;
    return (struct vulkan_backend *)b;
}

static bool picture(struct vulkan_backend *b, float *out, GError **error)
{
    struct net net = net_record(SIZE);
    bool good = net_finish(&net, &b->base, error) && net_run(&net, out, error);
    net_destroy(&net);
    backend_forget_weights(&b->base);
    return good;
}

/* The n-th call of a kind fails. Returns whether there was an n-th call. */
static bool try_fault(struct vulkan_backend **b, int kind, int n, const float *expected,
                      size_t count)
{
    g_autofree float *out = g_new0(float, count);
    GError *error = NULL;
    size_t before = (*b)->base.bytes_now;
    hook(*b, kind);
    fault.left = n;
    fault.hit = false;
    bool good = picture(*b, out, &error);
    fault.left = 0;
    (*b)->d->vk = real;
    if (!fault.hit) {
        CHECK(good, "%s", error ? error->message : "");
        return false;
    }
    CHECK(!good && error && error->domain == VULKAN_ERROR && error->message[0], "%s %d: %s",
          name_of(kind), n, error ? error->message : "no error");
    if (error && fault.result != VK_ERROR_DEVICE_LOST)
        CHECK(strstr(error->message, "Not enough graphics memory"), "%s", error->message);
    CHECK(error && (error->code == VULKAN_ERROR_LOST) == (fault.result == VK_ERROR_DEVICE_LOST),
          "%s %d", name_of(kind), n);
    g_clear_error(&error);
    CHECK((*b)->base.bytes_now == before, "%s %d: %zu bytes before, %zu after", name_of(kind), n,
          before, (*b)->base.bytes_now);
    if ((*b)->d->lost) {
        CHECK(!picture(*b, out, &error), "a lost device computes");
        g_clear_error(&error);
        backend_destroy(&(*b)->base);
        *b = create();
    }
    CHECK(picture(*b, out, &error), "%s %d: %s", name_of(kind), n, error ? error->message : "");
    g_clear_error(&error);
    CHECK(memcmp(out, expected, count * sizeof *out) == 0, "%s %d: another picture", name_of(kind),
          n);
    return true;
}

static VKAPI_ATTR VkResult VKAPI_CALL hanging_wait(VkDevice d, uint32_t n, const VkFence *f,
                                                   VkBool32 a, uint64_t t)
{
    VkResult result = real.WaitForFences(d, n, f, a, t);
    g_usleep(10 * 1000);
    return result ? result : VK_TIMEOUT;
}

/* A submission that never ends: the wait does, as a lost device. */
static void hang(struct vulkan_backend *b, size_t count)
{
    g_autofree float *out = g_new0(float, count);
    g_autoptr(GError) error = NULL;
    gint64 begun = g_get_monotonic_time();
    b->d->limits.wait = 0.2;
    b->d->vk.WaitForFences = hanging_wait;
    CHECK(!picture(b, out, &error), "a hung device computes");
    CHECK(g_get_monotonic_time() - begun >= 200 * 1000, "nobody waited");
    CHECK(g_error_matches(error, VULKAN_ERROR, VULKAN_ERROR_LOST), "%s",
          error ? error->message : "");
    b->d->vk = real;
}

static int sent;
static int stop;

static VKAPI_ATTR VkResult VKAPI_CALL stopping_submit(VkQueue q, uint32_t n, const VkSubmitInfo *i,
                                                      VkFence f)
{
    sent++;
    stop = 1;
    return real.QueueSubmit(q, n, i, f);
}

/* Stop, pressed while the first submission runs: no other follows it. */
static void cancel(struct vulkan_backend *b)
{
    g_autoptr(GError) error = NULL;
    struct net net = net_record(SIZE);
    g_autofree float *out = g_new0(float, net.out_count);
    g_setenv("FIGMENT_ONE_DISPATCH", "1", true);
    CHECK(net_finish(&net, &b->base, &error), "%s", error ? error->message : "");
    g_unsetenv("FIGMENT_ONE_DISPATCH");
    b->d->vk.QueueSubmit = stopping_submit;
    CHECK(!tape_run(net.tape, &stop, &error), "it went on");
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED), "%s",
          error ? error->message : "");
    b->d->vk = real;
    CHECK(sent == 1, "%d submissions", sent);
    g_clear_error(&error);
    CHECK(net_run(&net, out, &error), "%s", error ? error->message : "");
    net_destroy(&net);
}

int main(void)
{
    struct vulkan_backend *b = create();
    GError *error = NULL;
    size_t count = (size_t)(2 * SIZE * SIZE * 3);
    g_autofree float *expected = g_new0(float, count);
    CHECK(picture(b, expected, &error), "%s", error ? error->message : "");
    for (int kind = 0; kind < FAULT_COUNT; kind++) {
        int n = 1, faults = 0;
        while (try_fault(&b, kind, n, expected, count)) {
            faults++;
            n += n < 4 ? 1 : n / 2; /* 1 2 3 4 6 9 13 ... */
        }
        /* Pipelines and shaders are made once a back end. */
        bool once = kind == FAULT_CreateShaderModule_VK_ERROR_OUT_OF_HOST_MEMORY ||
                    kind == FAULT_CreateComputePipelines_VK_ERROR_OUT_OF_DEVICE_MEMORY;
        if (once) {
            backend_destroy(&b->base);
            b = create();
            faults += try_fault(&b, kind, 1, expected, count);
            faults += try_fault(&b, kind, 3, expected, count);
        }
        CHECK(faults > 0, "%s was never called", name_of(kind));
    }
    cancel(b);
    hang(b, count);
    backend_destroy(&b->base);
    return check_result();
}
