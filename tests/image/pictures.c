/*
 * Whole pictures from text, through the engine, against StableDiffusionPipeline
 * (tests/golden/make_tiny.py): tokens, text encoder, guidance, sampler, noise, autoencoder.
 * Arguments: device, precision.
 */
#include "tests/check.h"

#include <glib/gstdio.h>

#include "engine/npy.h"
#include "tests/engine/run.h"
#ifdef FIGMENT_HAVE_VULKAN
#include "tests/vulkan/record.h"
#endif
#include "weights/weights.h"

static const char *const samplers[] = {"DDIM", "Euler", "Euler a", "DPM++ 2M", "Heun", "UniPC"};

static float *golden(struct weights *w, const char *sampler, const char *what, size_t *n)
{
    char *name = sampler ? g_strdup_printf("%s/%s", sampler, what) : g_strdup(what);
    const struct weight *weight = weights_find(w, name);
    float *values = NULL;

    CHECK(weight, "there is no %s", name);
    if (weight) {
        *n = weight_count(weight);
        values = g_new(float, *n);
        CHECK(weight->read(weight, DTYPE_F32, 0, *n, values, NULL), "%s", name);
    }
    g_free(name);
    return values;
}

static float *dumped(const char *folder, const char *name, size_t *n)
{
    char *path = g_build_filename(folder, name, NULL);
    int64_t dims[NPY_MAX_RANK];
    int rank = 0;
    float *values = npy_read(path, &rank, dims, NULL);

    CHECK(values, "there is no %s", name);
    *n = 1;
    for (int i = 0; i < rank; i++)
        *n *= (size_t)dims[i];
    g_free(path);
    return values;
}

static void compare(const char *sampler, const float *got, size_t n, const float *expected,
                    size_t m, const char *what, double bound)
{
    double error = n == m && got && expected ? check_relative_error(got, expected, n) : NAN;

    CHECK(error <= bound, "%s: %s differs by %.2e", sampler, what, error);
}

/* Of values -1 to 1, clamped as they are for the file. */
static double psnr(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double d = CLAMP(a[i], -1.0f, 1.0f) - CLAMP(b[i], -1.0f, 1.0f);

        sum += d * d / 4;
    }
    return sum > 0 ? -10 * log10(sum / (double)n) : 200;
}

static void test_sampler(struct engine *engine, struct run *run, struct weights *w,
                         const char *sampler, const char *device, const char *precision,
                         const char *folder)
{
    struct request r = {
        .model = (char *)"tests/golden/tiny",
        .prompt = (char *)"a red apple, 3d style on a blue table",
        .negative = (char *)"worm",
        .fixed_seed = true,
        .seed = 3,
        .sampler = (char *)sampler,
        .device = (char *)device,
        .precision = (char *)precision,
        .no_save = true,
        .dump_folder = (char *)folder,
    };
    /* f32: rounding of sums in another order, 8 steps (measured 2e-6). bf16: 8 bits of mantissa
     * through a whole U-Net, 8 times (measured 1.4e-2). */
    bool exact = strcmp(precision, "f32") == 0;
    double bound = exact ? 1e-4 : 5e-2, least = exact ? 60 : 30;
    size_t n = 0, m = 0;
    float *got, *expected;

    CHECK(run_request(engine, run, &r) == EVENT_DONE, "%s: %s", sampler, run->message);
    got = dumped(folder, "latent_008.npy", &n);
    expected = golden(w, sampler, "latent", &m);
    compare(sampler, got, n, expected, m, "latent", bound);
    g_free(got);
    g_free(expected);
    got = dumped(folder, "image.npy", &n);
    expected = golden(w, sampler, "picture", &m);
    CHECK(got && expected && n == m && psnr(got, expected, n) >= least, "%s: %.1f dB", sampler,
          got && expected && n == m ? psnr(got, expected, n) : 0.0);
    g_free(got);
    g_free(expected);
    for (int i = 0; i < 2; i++) {
        got = dumped(folder, i ? "uncond.npy" : "text.npy", &n);
        expected = golden(w, NULL, i ? "uncond" : "text", &m);
        compare(sampler, got, n, expected, m, i ? "uncond" : "text", exact ? 1e-5 : 2e-2);
        g_free(got);
        g_free(expected);
    }
}

static void remove_files(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        char *path = g_build_filename(folder, name, NULL);

        g_remove(path);
        g_free(path);
    }
    if (dir)
        g_dir_close(dir);
    g_rmdir(folder);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu", *precision = argc > 2 ? argv[2] : "f32";
    struct weights *w = weights_open("tests/golden/tiny/pictures.safetensors", NULL);
    char *folder = g_dir_make_tmp("figment-pictures-XXXXXX", NULL);
    struct run run;
    struct engine *engine;

    run_init(&run);
    engine = engine_create(&(struct engine_options){.threads = 1}, run_event, &run);
    CHECK(w && folder, "the golden file is not there");
    for (gsize i = 0; w && i < G_N_ELEMENTS(samplers); i++)
        test_sampler(engine, &run, w, samplers[i], device, precision, folder);
    engine_destroy(engine);
    weights_destroy(w);
    remove_files(folder);
    g_free(folder);
    run_finish(&run);
#ifdef FIGMENT_HAVE_VULKAN
    check_validation();
#endif
    return check_result();
}
