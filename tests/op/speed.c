/*
 * Not a test: measures single layers on a back end, for docs/SPEED.md. Also checks a few values
 * against a plain loop, so that a fast wrong kernel is seen.
 *
 *     op_speed cpu:f32|cpu:bf16 [THREADS]
 *     op_speed vulkan:f32|vulkan:f16 [DEVICE]
 */
#include "compute/op.h"
#include "tests/backends.h"
#include "weights/convert.h"

#include <time.h>

static float *random_values(size_t n, unsigned seed, float scale)
{
    float *v = g_new(float, n);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = ((float)(seed >> 8) / (1 << 24) - 0.5f) * 2 * scale;
    }
    return v;
}

static bool read_values(const struct weight *w, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    (void)error;
    return convert_elements(DTYPE_F32, (const float *)w->owner + first, as, dst, count);
}

static struct backend *backend;

/* Of all threads of the process: what a software device used, however busy the machine is. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Best wall and CPU time of a few runs. */
static void measure(struct tape *t, double *wall, double *cpu)
{
    GError *error = NULL;
    *wall = *cpu = 1e9;
    for (int i = 0; i < 6; i++) {
        gint64 start = g_get_monotonic_time();
        double cpu_start = cpu_seconds();
        if (!tape_run(t, NULL, &error))
            g_error("%s", error->message);
        *wall = MIN(*wall, (double)(g_get_monotonic_time() - start) * 1e-6);
        *cpu = MIN(*cpu, cpu_seconds() - cpu_start);
    }
}

static void conv(int b, int h, int w, int in, int out, int k)
{
    size_t n = (size_t)(b * h * w);
    float *x = random_values(n * (size_t)in, 1, 1), *weights, *bias;
    weights = random_values((size_t)(out * in * k * k), 2, 1.0f / sqrtf((float)(in * k * k)));
    bias = random_values((size_t)out, 3, 1);
    struct weight wt = {
        .name = "w", .rank = 4, .dims = {out, in, k, k}, .read = read_values, .owner = weights};
    struct weight bt = {.name = "b", .rank = 1, .dims = {out}, .read = read_values, .owner = bias};
    struct tape *t = tape_create("speed");
    struct tensor *xi = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){b, h, w, in});
    tape_output(t, "y", op_conv2d(t, xi, &wt, &bt, (struct conv2d_params){.padding = -1}));
    GError *error = NULL;
    if (!tape_finish(t, backend, NULL, &error))
        g_error("%s", error->message);
    tape_write(t, "x", x);
    double wall, cpu, flops = tape_flops(t);
    measure(t, &wall, &cpu);
    float *y = g_new(float, n *(size_t)out);
    tape_read(t, "y", y);
    float got[64], expected[64];
    for (int s = 0; s < 64; s++) {
        int row = (int)((size_t)s * 7919 % n), o = s * 31 % out;
        int bb = row / (h * w), yy = row / w % h, xx = row % w;
        double sum = bias[o];
        for (int ky = 0; ky < k; ky++)
            for (int kx = 0; kx < k; kx++) {
                int iy = yy + ky - k / 2, ix = xx + kx - k / 2;
                if (iy < 0 || ix < 0 || iy >= h || ix >= w)
                    continue;
                for (int c = 0; c < in; c++)
                    sum += (double)x[((size_t)(bb * h + iy) * (size_t)w + (size_t)ix) * (size_t)in +
                                     (size_t)c] *
                           weights[((o * in + c) * k + ky) * k + kx];
            }
        expected[s] = (float)sum;
        got[s] = y[(size_t)row * (size_t)out + (size_t)o];
    }
    double e = check_relative_error(got, expected, 64);
    printf("conv %d x %dx%d %d->%d k%d: %.2f ms, %.1f GFLOP/s, %.1f per CPU second, error %.2g\n",
           b, h, w, in, out, k, wall * 1e3, flops / wall * 1e-9, flops / cpu * 1e-9, e);
    enum dtype precision = backend->precision;
    double bound = precision == DTYPE_F32 ? 1e-5 : precision == DTYPE_BF16 ? 1e-2 : 2e-3;
    CHECK(e < bound, "error %g", e);
    tape_destroy(t);
    backend_forget_weights(backend);
    g_free(x);
    g_free(weights);
    g_free(bias);
    g_free(y);
}

static void attention(int b, int l, int m, int heads, int d)
{
    size_t n = (size_t)(b * MAX(l, m) * heads * d);
    float *v = random_values(n, 5, 1);
    struct tape *t = tape_create("speed");
    struct tensor *q = tape_input(t, "q", DTYPE_F32, 3, (int64_t[]){b, l, heads * d});
    struct tensor *k = tape_input(t, "k", DTYPE_F32, 3, (int64_t[]){b, m, heads * d});
    struct tensor *vv = tape_input(t, "v", DTYPE_F32, 3, (int64_t[]){b, m, heads * d});
    tape_output(t, "y", op_attention(t, q, k, vv, (struct attention_params){.heads = heads}));
    GError *error = NULL;
    if (!tape_finish(t, backend, NULL, &error))
        g_error("%s", error->message);
    tape_write(t, "q", v);
    tape_write(t, "k", v);
    tape_write(t, "v", v);
    double wall, cpu, flops = tape_flops(t);
    measure(t, &wall, &cpu);
    printf("attention %d x %d x %d, %d heads of %d: %.2f ms, %.1f GFLOP/s, %.1f per CPU second\n",
           b, l, m, heads, d, wall * 1e3, flops / wall * 1e-9, flops / cpu * 1e-9);
    tape_destroy(t);
    g_free(v);
}

/* Layers of SD 1.5 at 512x512 and of its decoder, then of the bundled model. */
static void cpu_layers(void)
{
    static const int convs[][4] = {
        {1, 64, 320, 320},   {1, 64, 960, 320},   {1, 32, 640, 640},  {1, 32, 1920, 640},
        {2, 16, 1280, 1280}, {1, 16, 2560, 1280}, {1, 8, 1280, 1280}, {2, 8, 1280, 1280},
        {1, 64, 512, 512},   {1, 128, 256, 256},  {1, 256, 128, 128}, {2, 32, 64, 64},
        {2, 16, 96, 96},     {2, 8, 192, 192},    {1, 256, 16, 16},   {1, 128, 64, 64},
    };
    static const int flat[][3] = {
        {64, 320, 320}, {64, 320, 1280}, {32, 640, 2560}, {16, 1280, 1280}};
    for (size_t i = 0; i < G_N_ELEMENTS(convs); i++)
        conv(convs[i][0], convs[i][1], convs[i][1], convs[i][2], convs[i][3], 3);
    for (size_t i = 0; i < G_N_ELEMENTS(flat); i++)
        conv(1, flat[i][0], flat[i][0], flat[i][1], flat[i][2], 1);
    attention(1, 4096, 4096, 8, 40);
    attention(1, 1024, 1024, 8, 80);
}

/* Small ones: lavapipe is slow. */
static void vulkan_layers(void)
{
    conv(1, 16, 16, 64, 64, 3);
    conv(1, 16, 16, 320, 320, 3);
    conv(1, 16, 16, 320, 320, 1);
    conv(1, 16, 16, 4, 320, 3);
    conv(2, 8, 8, 640, 640, 3);
    conv(1, 32, 32, 320, 320, 3);
    attention(1, 256, 256, 8, 40);
    attention(2, 256, 77, 8, 40);
    attention(1, 64, 64, 8, 160);
    attention(1, 256, 256, 1, 512);
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    const char *name = argc > 1 ? argv[1] : "cpu:f32";
    backend = test_backend_create(name, argc > 2 ? argv[2] : NULL, &error);
    if (!backend) {
        fprintf(stderr, "no back end '%s': %s\n", name, error ? error->message : "unknown name");
        return EXIT_FAILURE;
    }
    printf("%s\n", backend->label);
    if (g_str_has_prefix(name, "cpu:"))
        cpu_layers();
    else
        vulkan_layers();
    test_backend_destroy(backend);
    return check_result();
}
