#include "engine/bench.h"

#include <math.h>
#include <string.h>

#include "compute/bench.h"
#include "compute/op.h"
#include "compute/tape.h"
#include "engine/decode.h"
#include "engine/denoise.h"
#include "engine/device.h"
#include "engine/random_model.h"
#include "engine/text.h"

#define ENOUGH_SECONDS 10.0
#define RUNS_MAX 64
#define KIND_RUNS 3
#define SDXL_POOLED 1280

struct bench {
    const struct bench_options *options;
    bench_row_fn fn;
    void *user;
    struct backend *backend;
    double peak;
    double first_longest; /* submission of the run that warms up */
};

static bool wanted(const struct bench *b, const char *name)
{
    return !b->options->only || strstr(name, b->options->only);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median of runs after one that compiles and warms up. */
static bool measure(struct bench *b, bool (*run)(void *user, GError **error), void *user,
                    double *seconds, GError **error)
{
    double times[RUNS_MAX], total = 0;
    int n = 0, least = b->options->repeats ? b->options->repeats : 3;

    b->backend->longest = 0;
    if (!run(user, error))
        return false;
    b->first_longest = b->backend->longest;
    b->backend->longest = 0;
    while (n < RUNS_MAX &&
           (n < 2 || (n < least && (b->options->repeats || total < ENOUGH_SECONDS)))) {
        gint64 begun = g_get_monotonic_time();

        if (!run(user, error))
            return false;
        times[n] = (double)(g_get_monotonic_time() - begun) / G_USEC_PER_SEC;
        total += times[n++];
    }
    qsort(times, (size_t)n, sizeof times[0], by_value);
    *seconds = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
    return true;
}

static void report(struct bench *b, const char *name, double seconds, double flops)
{
    struct bench_row row = {name, seconds, flops, b->peak, b->backend->bytes_peak};

    b->fn(&row, b->user);
    if (b->backend->longest > 0) {
        b->fn(&(struct bench_row){.name = "  longest submission", .seconds = b->backend->longest},
              b->user);
        b->fn(&(struct bench_row){.name = "  longest submission, first run",
                                  .seconds = b->first_longest},
              b->user);
    }
}

static float *random_values(size_t n, guint32 seed)
{
    float *values = g_new(float, n);

    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
    return values;
}

/* ---- the U-Net ---- */

struct unet_run {
    struct denoiser *denoiser;
    struct guidance guidance;
    float *input, *output;
    const int *cancel;
};

static bool run_unet(void *user, GError **error)
{
    struct unet_run *r = user;

    return denoiser_run(r->denoiser, 0, r->input, &r->guidance, r->output, r->cancel, error);
}

/* Of the time of a call: what goes into each kind of op, and what the device was idle. Each the
 * best of a few runs. */
static bool bench_kinds(struct bench *b, struct unet_run *run, GError **error)
{
    static const struct {
        const char *name;
        int first, last;
    } kinds[] = {{"  of it convolutions", OP_conv2d, OP_conv2d},
                 {"  of it linear layers", OP_linear, OP_linear},
                 {"  of it attention", OP_attention, OP_attention},
                 {"  of it all the rest", OP_group_norm, OP_COUNT}};
    double best[G_N_ELEMENTS(kinds)], flops[G_N_ELEMENTS(kinds)], idle = INFINITY;
    struct tape *t = denoiser_tape(run->denoiser);
    bool profiled = false;

    for (int i = 0; i < KIND_RUNS; i++) {
        gint64 begun = g_get_monotonic_time();
        double worked;

        if (!run_unet(run, error))
            return false;
        worked = tape_device_seconds(t);
        if (worked > 0)
            idle = MIN(idle, (double)(g_get_monotonic_time() - begun) / G_USEC_PER_SEC - worked);
    }
    tape_profile(t, true);
    for (int i = 0; i < KIND_RUNS; i++) {
        if (!run_unet(run, error))
            return false;
        for (gsize k = 0; k < G_N_ELEMENTS(kinds); k++) {
            double seconds;

            profiled = tape_profile_ops(t, kinds[k].first, kinds[k].last, &seconds, &flops[k]);
            best[k] = i ? MIN(best[k], seconds) : seconds;
        }
    }
    tape_profile(t, false);
    for (gsize k = 0; profiled && k < G_N_ELEMENTS(kinds); k++)
        b->fn(&(struct bench_row){kinds[k].name, best[k], flops[k], b->peak, 0}, b->user);
    if (isfinite(idle))
        b->fn(&(struct bench_row){.name = "  outside kernels", .seconds = idle}, b->user);
    return true;
}

static struct conditioning *random_text(const struct unet_config *config, guint32 seed)
{
    int pooled = config->added_channels ? SDXL_POOLED : 0;

    return conditioning_new(77, config->text_channels,
                            random_values((size_t)77 * config->text_channels, seed), pooled,
                            pooled ? random_values((size_t)pooled, seed) : NULL);
}

static bool bench_unet_size(struct bench *b, const struct unet *unet, const char *shape, int side,
                            double cfg, GError **error)
{
    g_autofree char *name =
        g_strdup_printf("%s U-Net %d x %d, batch %d", shape, side, side, cfg == 1 ? 1 : 2);
    int cells = side / 8;
    struct sched_row row = {.t = 500};
    struct sched_plan plan = {.n_rows = 1, .rows = &row};
    struct unet_run run = {.cancel = b->options->cancel};
    double seconds;
    bool ok;

    if (!wanted(b, name))
        return true;
    run.denoiser = denoiser_create(b->backend, unet);
    run.guidance = (struct guidance){.cfg = cfg, .n = 1};
    run.guidance.texts[0].weight = 1;
    run.guidance.texts[0].text = random_text(&unet->config, 1);
    run.guidance.uncond = random_text(&unet->config, 2);
    run.input = random_values((size_t)cells * cells * unet->config.in_channels, 3);
    run.output = g_new(float, (size_t)cells *cells * unet->config.in_channels);
    denoiser_begin(run.denoiser, cells, cells, &plan, NULL);
    b->backend->bytes_peak = b->backend->bytes_now;
    ok = measure(b, run_unet, &run, &seconds, error);
    if (ok)
        report(b, name, seconds, denoiser_flops(run.denoiser));
    ok = ok && bench_kinds(b, &run, error);
    denoiser_destroy(run.denoiser);
    conditioning_free(run.guidance.texts[0].text);
    conditioning_free(run.guidance.uncond);
    g_free(run.input);
    g_free(run.output);
    return ok;
}

static bool bench_unet(struct bench *b, struct model *model, const char *shape, GError **error)
{
    struct unet unet = {0};
    bool ok = unet_init(&unet, model->weights[MODEL_UNET], model->config[MODEL_UNET], error);

    ok = ok && bench_unet_size(b, &unet, shape, 128, 1, error) &&
         bench_unet_size(b, &unet, shape, 256, 1, error) &&
         bench_unet_size(b, &unet, shape, 512, 1, error) &&
         bench_unet_size(b, &unet, shape, 512, 7, error);
    unet_finish(&unet);
    backend_forget_weights(b->backend);
    return ok;
}

/* ---- the autoencoder ---- */

struct vae_run {
    struct decoder *decoder;
    int cells;
    float *latent, *picture;
    const int *cancel;
};

static bool run_vae(void *user, GError **error)
{
    struct vae_run *r = user;

    return decoder_decode(r->decoder, r->latent, r->cells, r->cells, r->picture, r->cancel, error);
}

static bool bench_vae_size(struct bench *b, const struct vae *vae, const char *shape, int side,
                           GError **error)
{
    g_autofree char *name = g_strdup_printf("%s VAE decode %d x %d", shape, side, side);
    struct vae_run run = {.cells = side / 8, .cancel = b->options->cancel};
    double seconds;
    bool ok;

    if (!wanted(b, name))
        return true;
    run.decoder = decoder_create(b->backend, vae, NULL, NULL);
    run.latent = random_values((size_t)run.cells * run.cells * vae->config.latent_channels, 4);
    run.picture = g_new(float, (size_t)side *side * 3);
    b->backend->bytes_peak = b->backend->bytes_now;
    ok = measure(b, run_vae, &run, &seconds, error);
    if (ok)
        report(b, name, seconds, decoder_flops(run.decoder));
    decoder_destroy(run.decoder);
    g_free(run.latent);
    g_free(run.picture);
    return ok;
}

static bool bench_vae(struct bench *b, struct model *model, const char *shape, GError **error)
{
    struct vae vae = {0};
    bool ok = vae_init(&vae, model->weights[MODEL_VAE], model->config[MODEL_VAE], error);

    ok = ok && bench_vae_size(b, &vae, shape, 256, error) &&
         bench_vae_size(b, &vae, shape, 512, error) &&
         (!b->options->large || bench_vae_size(b, &vae, shape, 1024, error));
    vae_finish(&vae);
    backend_forget_weights(b->backend);
    return ok;
}

/* ---- the text encoder ---- */

struct text_run {
    struct text_encoder *encoder;
    int count;
    const int *cancel;
};

static bool run_text(void *user, GError **error)
{
    struct text_run *r = user;
    /* Always another one: encodings are kept. Prompt and negative are one and the same. */
    g_autofree char *prompt = g_strdup_printf("a red apple, number %d", r->count++);
    struct text_options options = {.clip_skip = 1, .steps = 1};
    struct prompt_pair *pair = text_encode(r->encoder, prompt, prompt, &options, r->cancel, error);

    prompt_pair_free(pair);
    return pair != NULL;
}

static bool bench_text(struct bench *b, struct model *model, const char *shape, GError **error)
{
    g_autofree char *name = g_strdup_printf("%s text encoder, 77 tokens", shape);
    struct text_run run = {.cancel = b->options->cancel};
    double seconds;
    bool ok;

    if (!wanted(b, name))
        return true;
    if (!(run.encoder = text_encoder_create(b->backend, model, NULL, NULL, error)))
        return false;
    b->backend->bytes_peak = b->backend->bytes_now;
    ok = measure(b, run_text, &run, &seconds, error);
    if (ok)
        report(b, name, seconds, text_encoder_flops(run.encoder));
    text_encoder_destroy(run.encoder);
    backend_forget_weights(b->backend);
    return ok;
}

/* ---- the machine ---- */

static void report_rate(struct bench *b, const char *name, double gflops)
{
    struct bench_row row = {.name = name, .seconds = 1, .flops = gflops * 1e9, .peak = b->peak};

    if (gflops > 0)
        b->fn(&row, b->user);
}

/* What plain primitives reach, which the networks are then measured against. A device without
 * oneDNN is measured by its own convolution. */
static bool bench_peak(struct bench *b, GError **error)
{
    struct bench_onednn onednn = {0};
    struct bench_rates rates = {0};

    if (strcmp(b->backend->class->name, "cpu") == 0) {
        bench_onednn(b->backend->precision, b->options->threads, &onednn, NULL);
        b->peak = MAX(onednn.linear, onednn.conv) * 1e9;
        report_rate(b, "peak: oneDNN's large matrix products", onednn.linear);
        report_rate(b, "peak: oneDNN's large convolutions", onednn.conv);
    }
    if (b->peak > 0 && !wanted(b, "op: "))
        return true;
    if (!bench_backend(b->backend, &rates, b->options->cancel, error))
        return false;
    if (b->peak <= 0)
        b->peak = MAX(rates.linear, rates.conv) * 1e9;
    report_rate(b, "op: linear 4096 x 320 x 2560", rates.linear);
    report_rate(b, "op: conv2d 3x3, 64 x 64, 320", rates.conv);
    report_rate(b, "op: attention, 4096 positions, 8 heads", rates.attention);
    return true;
}

/* ---- what only a GPU does in seconds ---- */

/* The layers that SD 1.5 spends most in at 512 x 512 with guidance, and its decoder; a product that
 * is as large as any. The smallest shows that all of this runs, on any device. */
static bool bench_layers(struct bench *b, GError **error)
{
    static const struct bench_layer layers[] = {
        {1, 64, 64, 4096, 4096, 0}, {2, 64, 64, 320, 320, 3},   {2, 64, 64, 640, 320, 3},
        {2, 64, 64, 960, 320, 3},   {2, 32, 32, 640, 640, 3},   {2, 32, 32, 1280, 640, 3},
        {2, 32, 32, 1920, 640, 3},  {2, 16, 16, 1280, 1280, 3}, {2, 16, 16, 2560, 1280, 3},
        {2, 32, 32, 1280, 1280, 3}, {1, 512, 512, 128, 128, 3}, {1, 256, 256, 256, 256, 3},
        {1, 128, 128, 512, 512, 3}, {1, 8, 8, 32, 32, 3},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(layers); i++) {
        const struct bench_layer *l = &layers[i];
        g_autofree char *name =
            l->kernel
                ? g_strdup_printf("layer: conv %dx%d, %d x %d, %d to %d, batch %d", l->kernel,
                                  l->kernel, l->height, l->width, l->inputs, l->outputs, l->batch)
                : g_strdup_printf("layer: linear %d x %d x %d", l->batch * l->height * l->width,
                                  l->inputs, l->outputs);
        double flops, seconds;

        if (!wanted(b, name))
            continue;
        if ((seconds = bench_layer(b->backend, l, &flops, b->options->cancel, error)) <= 0)
            return false;
        b->fn(
            &(struct bench_row){.name = name, .seconds = seconds, .flops = flops, .peak = b->peak},
            b->user);
    }
    return true;
}

static bool bench_sdxl(struct bench *b, GError **error)
{
    struct unet unet = {0};
    struct model *model;
    bool ok;

    if (!wanted(b, "SDXL U-Net 1024 x 1024, batch 2"))
        return true;
    if (!(model = random_model_create("sdxl", 1, error)))
        return false;
    ok = unet_init(&unet, model->weights[MODEL_UNET], model->config[MODEL_UNET], error) &&
         bench_unet_size(b, &unet, "SDXL", 1024, 7, error);
    unet_finish(&unet);
    backend_forget_weights(b->backend);
    model_close(model);
    return ok;
}

/* ---- all of it ---- */

bool bench_run(const struct bench_options *options, bench_row_fn fn, void *user, GError **error)
{
    struct bench b = {.options = options, .fn = fn, .user = user};
    struct model *model = NULL;
    GError *problem = NULL;
    bool ok;

    b.backend = device_open(options->device, options->precision, options->threads, NULL, &problem);
    ok = b.backend && bench_peak(&b, &problem) &&
         (model = random_model_create("sd15", 1, &problem)) &&
         bench_text(&b, model, "SD 1.5", &problem) && bench_unet(&b, model, "SD 1.5", &problem) &&
         bench_vae(&b, model, "SD 1.5", &problem) &&
         (!options->large || (bench_layers(&b, &problem) && bench_sdxl(&b, &problem)));
    model_close(model);
    backend_destroy(b.backend);
    if (problem)
        device_take_error(error, problem);
    return ok;
}

bool bench_device(const char *device, const char *precision, double *flops, GError **error)
{
    struct bench_rates rates = {0};
    GError *problem = NULL;
    struct backend *backend = device_open(device, precision, 0, NULL, &problem);
    bool ok = backend && bench_backend(backend, &rates, NULL, &problem);

    backend_destroy(backend);
    if (problem)
        device_take_error(error, problem);
    *flops = rates.conv * 1e9;
    return ok;
}
