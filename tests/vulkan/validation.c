/*
 * The validation layers over the small network, and controls that they must flag: without
 * these a check that is switched off would look like a clean program.
 *
 *     test_vulkan_validation net | barrier | index | texel | leak
 *
 * The environment (tests/vulkan/CMakeLists.txt) loads the layer and chooses its checks.
 */
#include "compute/shaders/push.h"
#include "compute/vulkan/internal.h"
#include "tests/vulkan/net.h"

static struct vulkan_backend *create(enum dtype precision)
{
    GError *error = NULL;
    struct backend *b = vulkan_backend_create(NULL, precision, &error);
    if (!b)
        g_error("%s", error->message);
    return (struct vulkan_backend *)b;
}

static void run_net(enum dtype precision)
{
    struct vulkan_backend *b = create(precision);
    GError *error = NULL;
    struct net net = net_record(16);
    g_autofree float *out = g_new0(float, net.out_count);
    bool good = net_finish(&net, &b->base, &error) && net_run(&net, out, &error);
    CHECK(good, "%s", error ? error->message : "");
    net_destroy(&net);
    backend_destroy(&b->base);
}

/* Doubles `quads` quads from one half of a block to the other, or the other way. */
static struct dispatch scale(struct vulkan_backend *b, struct memory_block *block, uint64_t from,
                             uint64_t to, uint32_t quads, uint64_t bound, bool texels)
{
    GError *error = NULL;
    struct push_unary push = {quads, 2};
    struct pipeline_key key = {.shader = "scale", .constants = {64, 1}, .constant_count = 2};
    struct dispatch d = {.groups = {(uint32_t)ceil_div(quads, 64), 1, 1},
                         .push_bytes = sizeof push,
                         .binding_count = 2};
    memcpy(d.push, &push, sizeof push);
    d.pipeline = pipelines_get(b->p, &key, texels ? "_f32_t" : "_f32", &error);
    if (!d.pipeline)
        g_error("%s", error->message);
    VkFormat format = texels ? VK_FORMAT_R32G32B32A32_SFLOAT : VK_FORMAT_UNDEFINED;
    d.bindings[0] = (struct binding){0, false, block->buffer, from, bound, format};
    d.bindings[1] = (struct binding){1, true, block->buffer, to, bound, VK_FORMAT_UNDEFINED};
    return d;
}

static void run_commands(struct vulkan_backend *b, struct commands *c)
{
    GError *error = NULL;
    bool good =
        commands_finish(c, b->spare->buffer, NULL, &error) && commands_run(c, NULL, NULL, &error);
    CHECK(good, "%s", error ? error->message : "");
    commands_destroy(c);
}

/* Two dispatches where the second reads what the first wrote; the recorder is told otherwise. */
static void without_barrier(void)
{
    struct vulkan_backend *b = create(DTYPE_F32);
    struct memory_block *block = gpu_memory_block_create(b->m, 8192, MEMORY_DEVICE, "a test", NULL);
    struct commands *c = commands_create(b->d, b->p, &b->scale);
    struct dispatch there = scale(b, block, 0, 4096, 256, 4096, false);
    struct dispatch back = scale(b, block, 4096, 0, 256, 4096, false);
    there.bindings[1].write = back.bindings[1].write = false;
    commands_add(c, &there);
    commands_add(c, &back);
    run_commands(b, c);
    gpu_memory_block_destroy(b->m, block);
    backend_destroy(&b->base);
}

/* A dispatch that is told of twice the quads that are bound: GPU-assisted validation alone sees it.
 * `texels`: the shader of lavapipe, and only what it reads is too short. */
static void out_of_range(bool texels)
{
    struct vulkan_backend *b = create(DTYPE_F32);
    struct memory_block *block = gpu_memory_block_create(b->m, 8192, MEMORY_DEVICE, "a test", NULL);
    struct commands *c = commands_create(b->d, b->p, &b->scale);
    struct dispatch d = scale(b, block, 0, 4096, 256, 2048, texels);
    if (texels)
        d.bindings[1].bytes = 4096;
    commands_add(c, &d);
    run_commands(b, c);
    gpu_memory_block_destroy(b->m, block);
    backend_destroy(&b->base);
}

static void leak(void)
{
    struct vulkan_backend *b = create(DTYPE_F32);
    gpu_memory_block_create(b->m, 8192, MEMORY_DEVICE, "a test", NULL);
    backend_destroy(&b->base);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "net";
    if (strcmp(mode, "net") == 0) {
        run_net(DTYPE_F32);
        run_net(DTYPE_F16);
        CHECK(gpu_validation_messages() == 0, "%d messages", gpu_validation_messages());
        return check_result();
    }
    if (strcmp(mode, "barrier") == 0)
        without_barrier();
    else if (strcmp(mode, "index") == 0)
        out_of_range(false);
    else if (strcmp(mode, "texel") == 0)
        out_of_range(true);
    else
        leak();
    CHECK(gpu_validation_messages() > 0, "the layers did not see the fault '%s'", mode);
    return check_result();
}
