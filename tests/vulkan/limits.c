/*
 * A device with small limits gives the same picture: ranges of 200 kB cut every tensor of the small
 * network into windows, 128 invocations, 700 groups; so does one whose memory the CPU does not see,
 * and one that is so slow that products are cut. Also: no dispatch has more loop trips than
 * lavapipe runs, memory that runs out and loops that are too long are a sentence, and memory is
 * given back.
 */
#include "compute/tape_private.h"
#include "compute/vulkan/internal.h"
#include "tests/vulkan/net.h"

#define SIZE 48
#define SLOW_SIZE 64 /* the last convolution splits its sum when cut, and only then */

static struct backend *create(const char *limits, enum dtype precision)
{
    GError *error = NULL;
    if (limits)
        g_setenv("FIGMENT_VULKAN_LIMITS", limits, true);
    else
        g_unsetenv("FIGMENT_VULKAN_LIMITS");
    struct backend *b = vulkan_backend_create(NULL, precision, &error);
    if (!b)
        g_error("%s", error->message);
    return b;
}

static struct commands_stats stats_of(const struct net *net)
{
    return commands_stats(((struct vulkan_program *)net->tape->program)->commands);
}

static float *picture(struct backend *b, int size, int *dispatches)
{
    GError *error = NULL;
    struct net net = net_record(size);
    float *out = g_new0(float, net.out_count);
    bool good = net_finish(&net, b, &error) && net_run(&net, out, &error);
    CHECK(good, "%s", error ? error->message : "");
    g_clear_error(&error);
    if (good) {
        *dispatches = stats_of(&net).dispatches;
        CHECK(stats_of(&net).most_trips <= LAVAPIPE_TRIPS);
    }
    net_destroy(&net);
    backend_forget_weights(b);
    return out;
}

/* `more`: dispatches at least, for what is cut. */
static void same_picture(const char *usually, const char *limits, int size, int more,
                         enum dtype precision)
{
    struct backend *usual = create(usually, precision);
    struct backend *small = create(limits, precision);
    if (strstr(limits, "flops="))
        ((struct vulkan_backend *)small)->scale = 1e4; /* as measured on a slow device */
    int few = 0, many = 0;
    g_autofree float *expected = picture(usual, size, &few), *got = picture(small, size, &many);
    CHECK(many >= few + more, "%s: %d dispatches, %d usually: nothing was cut", limits, many, few);
    /* The same sums in the same order: windows change no bit. */
    size_t count = (size_t)(2 * size * size * 3), different = 0;
    for (size_t i = 0; i < count; i++)
        different += memcmp(&expected[i], &got[i], sizeof(float)) != 0;
    CHECK(different == 0, "%s: %zu of %zu values differ", limits, different, count);
    backend_destroy(small);
    backend_destroy(usual);
}

static void memory_runs_out(void)
{
    struct backend *b = create("heap=1500000", DTYPE_F32);
    size_t before = b->bytes_now;
    GError *error = NULL;
    struct net net = net_record(256);
    CHECK(!net_finish(&net, b, &error));
    CHECK(error && g_error_matches(error, VULKAN_ERROR, VULKAN_ERROR_MEMORY));
    CHECK(error && strstr(error->message, "Not enough graphics memory"), "%s",
          error ? error->message : "");
    g_clear_error(&error);
    net_destroy(&net);
    backend_forget_weights(b);
    CHECK(b->bytes_now == before, "%zu bytes before, %zu after", before, b->bytes_now);
    struct net small = net_record(8);
    g_autofree float *out = g_new0(float, small.out_count);
    CHECK(net_finish(&small, b, &error) && net_run(&small, out, &error), "%s",
          error ? error->message : "");
    net_destroy(&small);
    backend_destroy(b);
}

static bool read_zeros(const struct weight *w, enum dtype as, size_t first, size_t count, void *dst,
                       GError **error)
{
    (void)w;
    (void)first;
    (void)error;
    memset(dst, 0, count * dtype_size(as));
    return true;
}

/* The deepest loops and the longest dispatches of real networks, compiled but not run: the recorder
 * asserts the trips. What one dispatch takes nothing can interrupt, on the slowest device either.
 */
static void deep_loops(void)
{
    struct backend *b = create(NULL, DTYPE_F16);
    struct tape *t = tape_create("a VAE's attention at 1024 x 1024");
    struct tensor *q = tape_input(t, "q", DTYPE_F32, 3, (int64_t[]){1, 16384, 512});
    struct tensor *y = op_attention(t, q, q, q, (struct attention_params){.heads = 1});
    y = op_group_norm(t, y, NULL, NULL, 32, 1e-6f);
    struct weight w = {.name = "w", .rank = 4, .dims = {1280, 2560, 3, 3}, .read = read_zeros};
    struct tensor *deep = tape_input(t, "deep", DTYPE_F32, 4, (int64_t[]){2, 16, 16, 2560});
    tape_output(t, "conv", op_conv2d(t, deep, &w, NULL, (struct conv2d_params){.padding = -1}));
    tape_output(t, "y", y);
    GError *error = NULL;
    CHECK(tape_finish(t, b, NULL, &error), "%s", error ? error->message : "");
    struct net net = {.tape = t};
    CHECK(stats_of(&net).most_seconds <= 0.1, "%g s", stats_of(&net).most_seconds);
    CHECK(stats_of(&net).most_trips > 30000 && stats_of(&net).most_trips <= LAVAPIPE_TRIPS,
          "%" G_GUINT64_FORMAT " trips", stats_of(&net).most_trips);
    tape_destroy(t);
    backend_destroy(b);
}

/* NULL = it failed. */
static float *attend(const char *limits, GError **error)
{
    enum { LENGTH = 300, WIDTH = 40 };
    struct backend *b = create(limits, DTYPE_F32);
    struct tape *t = tape_create("attention");
    struct tensor *q = tape_input(t, "q", DTYPE_F32, 3, (int64_t[]){1, LENGTH, WIDTH});
    tape_output(t, "y", op_attention(t, q, q, q, (struct attention_params){.heads = 1}));
    g_autofree float *in = g_new(float, LENGTH *WIDTH);
    float *out = g_new0(float, LENGTH *WIDTH);
    for (int i = 0; i < LENGTH * WIDTH; i++)
        in[i] = sinf((float)i * 0.37f);
    bool good = tape_finish(t, b, NULL, error);
    if (good) {
        tape_write(t, "q", in);
        good = tape_run(t, NULL, error);
    }
    if (good)
        tape_read(t, "y", out);
    else
        g_clear_pointer(&out, g_free);
    tape_destroy(t);
    backend_destroy(b);
    return out;
}

/* Too many keys for a loop: more of a head a trip, with the same sums; at last a sentence. */
static void short_loops(void)
{
    GError *error = NULL;
    g_autofree float *usual = attend(NULL, &error), *deep = attend("trips=330", &error);
    CHECK(usual && deep, "%s", error ? error->message : "");
    CHECK(usual && deep && memcmp(usual, deep, 300 * 40 * sizeof *usual) == 0, "other numbers");
    g_autofree float *none = attend("trips=250", &error);
    CHECK(!none && g_error_matches(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER));
    CHECK(error && strstr(error->message, "cannot compare 300 places"), "%s",
          error ? error->message : "");
    g_clear_error(&error);
}

/* A weight that is bound in windows of columns is split where the whole product would not be. */
static void split_windows(void)
{
    struct backend *b = create("plain=1,range=16777216", DTYPE_F16);
    struct tape *t = tape_create("many columns");
    struct weight w = {.name = "w", .rank = 2, .dims = {10240, 1280}, .read = read_zeros};
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 3, (int64_t[]){1, 64, 1280});
    tape_output(t, "y", op_linear(t, x, &w, NULL));
    GError *error = NULL;
    CHECK(tape_finish(t, b, NULL, &error), "%s", error ? error->message : "");
    tape_destroy(t);
    backend_destroy(b);
}

static PFN_vkWaitForFences real_wait;
static bool slow;

static VKAPI_ATTR VkResult VKAPI_CALL slow_wait(VkDevice d, uint32_t n, const VkFence *fences,
                                                VkBool32 all, uint64_t timeout)
{
    VkResult result = real_wait(d, n, fences, all, timeout);
    /* A fifth of it is learned at once: 600 ms of work, for submissions of 80. A busy machine only
     * adds to it. */
    if (!result && slow)
        g_usleep(3000 * 1000);
    return result;
}

/* A device that is taken for a thousand times as fast as it is: all goes into one submission. When
 * that is seen to take too long, the next run is cut, and gives the same picture. */
static void submissions_adapt(void)
{
    struct backend *b = create(NULL, DTYPE_F32);
    struct vulkan_backend *v = (struct vulkan_backend *)b;
    GError *error = NULL;
    v->scale = 1e-3;
    real_wait = v->d->vk.WaitForFences;
    v->d->vk.WaitForFences = slow_wait;
    struct net net = net_record(8);
    g_autofree float *first = g_new0(float, net.out_count);
    g_autofree float *second = g_new0(float, net.out_count);
    bool good = net_finish(&net, b, &error);
    slow = true;
    good = good && net_run(&net, first, &error);
    CHECK(good, "%s", error ? error->message : "");
    slow = false;
    int before = stats_of(&net).submissions;
    CHECK(net_run(&net, second, &error), "%s", error ? error->message : "");
    int after = stats_of(&net).submissions;
    CHECK(before == 1 && after >= 5, "%d submissions, then %d", before, after);
    CHECK(memcmp(first, second, net.out_count * sizeof *first) == 0, "another picture");
    net_destroy(&net);
    backend_destroy(b);
}

int main(void)
{
    submissions_adapt();
    for (int i = 0; i < 2; i++) {
        enum dtype precision = i ? DTYPE_F16 : DTYPE_F32;
        same_picture(NULL, "range=200000,invocations=128,groups=700", SIZE, 6, precision);
        same_picture(NULL, "unmapped=1", SIZE, 0, precision);
        same_picture(NULL, "flops=4000000", SIZE, 6, precision);
        same_picture("plain=1", "plain=1,flops=4000000", SLOW_SIZE, 6, precision);
    }
    split_windows();
    memory_runs_out();
    deep_loops();
    short_loops();
    return check_result();
}
