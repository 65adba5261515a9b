/* One job from its request to its last file: see pipeline.h. How a latent is sampled is in
 * sample.c. */
#include "engine/pipeline.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#include "engine/add_ons.h"
#include "engine/device.h"
#include "engine/dump.h"
#include "engine/estimate_loaded.h"
#include "engine/hash.h"
#include "engine/init.h"
#include "engine/loaded.h"
#include "engine/npy.h"
#include "engine/parts.h"
#include "engine/sample.h"
#include "engine/save.h"
#include "engine/schedule.h"
#include "engine/settings.h"
#include "engine/style_names.h"
#include "weights/quote.h"

#define LOST_TRIES 2    /* of one picture, when its device is reset */
#define QUICK_SHARE 0.1 /* of a step's time that a preview may take */

struct pipeline {
    char **folders;
    int threads;      /* of the CPU back end, 0 = all */
    bool tell_device; /* a notice when "auto" is the CPU */
    struct backend *backend;
    char *device, *precision; /* what the back end was opened for */
    struct loaded *loaded;
    struct add_ons *add_ons;
    GPtrArray *notices; /* char *, not told yet */
    struct hash *model_hash, *vae_hash;
};

/* What belongs to one job. */
struct job_run {
    struct pipeline *p;
    const struct job_context *context;
    struct settings settings;
    char *prompt; /* of the picture at hand: wildcards filled in */
    struct model_info *info;
    struct prompt_pair *prompts;
    struct sched_plan *plan;
    float *noise;        /* from a file, [B, h, w, C]; NULL */
    float *init;         /* the latent to start from, or NULL */
    float *first;        /* its picture, [H, W, 3] */
    float *mask, *cells; /* where it may change: pixels [H, W], cells [h, w]; or NULL */
    float *extra;        /* [h, w, E] of an inpainting or instruct model, or NULL */
    struct estimate estimate;
    double quick_seconds; /* of a preview by TAESD; 0 = not known, negative = it failed */
    int quick_previews;
    gint64 begun;
    struct dump *dump;
    char *folder, *pattern, *exact; /* where pictures go */
    int index;                      /* of the picture */
    gint64 last_step, step_time;    /* microseconds; of all timed steps */
    int steps_timed;
};

/* ---- what stays from job to job ---- */

struct pipeline *pipeline_create(char **folders, int threads, bool tell_device)
{
    struct pipeline *p = g_new0(struct pipeline, 1);

    p->threads = threads;
    p->tell_device = tell_device;
    p->folders = g_strdupv(folders);
    p->add_ons = add_ons_create(folders);
    p->notices = g_ptr_array_new_with_free_func(g_free);
    p->model_hash = hash_create();
    p->vae_hash = hash_create();
    return p;
}

void pipeline_unload(struct pipeline *p)
{
    g_clear_pointer(&p->loaded, loaded_destroy);
    add_ons_forget_model(p->add_ons);
    if (p->backend)
        backend_forget_weights(p->backend);
}

static void close_backend(struct pipeline *p)
{
    pipeline_unload(p);
    g_clear_pointer(&p->backend, backend_destroy);
    g_clear_pointer(&p->device, g_free);
    g_clear_pointer(&p->precision, g_free);
}

void pipeline_destroy(struct pipeline *p)
{
    if (!p)
        return;
    close_backend(p);
    hash_destroy(p->model_hash);
    hash_destroy(p->vae_hash);
    add_ons_destroy(p->add_ons);
    g_ptr_array_unref(p->notices);
    g_strfreev(p->folders);
    g_free(p);
}

static bool open_backend(struct pipeline *p, const struct request *r, GError **error)
{
    const char *device = r->device ? r->device : "auto";
    const char *precision = r->precision ? r->precision : "auto";
    g_autofree char *why = NULL;

    /* A loss that the last picture got over (its decoder went to the CPU) is not this one's. */
    if (p->backend && !p->backend->lost && strcmp(p->device, device) == 0 &&
        strcmp(p->precision, precision) == 0)
        return true;
    close_backend(p);
    if (!(p->backend = device_open(device, precision, p->threads, &why, error)))
        return false;
    if (why && p->tell_device)
        g_ptr_array_add(p->notices, g_steal_pointer(&why));
    p->device = g_strdup(device);
    p->precision = g_strdup(precision);
    return true;
}

static void tell(struct job_run *run, struct event event)
{
    event.job = run->context->job;
    event.index = run->index;
    event.batch = run->settings.request.batch;
    run->context->emit(&event, run->context->user);
}

static bool cancelled(const struct job_run *run, GError **error)
{
    if (!g_atomic_int_get(run->context->cancel))
        return false;
    g_set_error_literal(error, ENGINE_ERROR, ENGINE_ERROR_CANCELLED, _("Cancelled."));
    return true;
}

static bool load(struct job_run *run, GError **error)
{
    struct pipeline *p = run->p;
    GError *problem = NULL;
    g_autofree char *vae =
        parts_find_vae(p->folders, run->info, run->settings.request.vae, &problem);
    g_autofree char *taesd = NULL;
    struct loaded_options options = {
        .vae = vae, .inversions = add_ons_inversions(p->add_ons), .notices = p->notices};

    if (problem) {
        g_propagate_error(error, problem);
        return false;
    }
    if (p->loaded && strcmp(p->loaded->path, run->info->path) == 0 &&
        g_strcmp0(p->loaded->vae_path, vae) == 0)
        return true;
    tell(run, (struct event){.type = EVENT_LOADING, .text = run->info->name});
    pipeline_unload(p);
    options.taesd = taesd = parts_find_taesd(
        p->folders, run->info->family && g_str_has_prefix(run->info->family, "SDXL"));
    p->loaded = loaded_create(p->backend, run->info, &options, error);
    return p->loaded && (run->settings.request.preview_every < 0 ||
                         loaded_fit_preview(p->loaded, run->context->cancel, error));
}

/* ---- before the first picture ---- */

/* Channels that the U-Net takes beside the latent: 5 for inpainting, 4 to edit by instruction. */
static int extra_channels(const struct loaded *l)
{
    return l->unet.config.in_channels - denoiser_channels(l->denoiser);
}

static bool edits(const struct loaded *l)
{
    return extra_channels(l) == PREVIEW_CHANNELS;
}

static bool make_plan(struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;
    struct sched_model model;
    struct sched_params params = sched_params_default();
    const struct loaded *l = run->p->loaded;

    if (!schedule_read(&model, l->model->scheduler, run->settings.sampler,
                       l->model->family == MODEL_SDXL, error))
        return false;
    params.sampler = run->settings.sampler;
    params.schedule = run->settings.schedule;
    params.steps = r->steps;
    if (r->fixed_eta)
        params.eta = r->eta;
    if (r->init_path && !edits(l)) /* an instruct model looks at it and begins with noise */
        params.strength = r->strength;
    run->plan = sched_plan_new(&model, &params, error);
    return run->plan != NULL;
}

/* Sides of the latent. */
static void latent_size(const struct job_run *run, int *height, int *width)
{
    int factor = vae_factor(&run->p->loaded->vae);

    *height = run->settings.request.height / factor;
    *width = run->settings.request.width / factor;
}

static bool read_noise(struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;
    int factor = vae_factor(&run->p->loaded->vae), rank;
    int64_t dims[NPY_MAX_RANK], h = r->height / factor, w = r->width / factor;
    g_autofree float *values = NULL;

    if (!r->noise_path)
        return true;
    if (!(values = npy_read(r->noise_path, &rank, dims, error)))
        return false;
    if (rank != 4 || dims[0] != r->batch || dims[1] != PREVIEW_CHANNELS || dims[2] != h ||
        dims[3] != w) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("The noise in “%s” must be [%d, %d, %d, %d] for this size and number of "
                      "pictures."),
                    r->noise_path, r->batch, PREVIEW_CHANNELS, (int)h, (int)w);
        return false;
    }
    run->noise = g_new(float, (gsize)(dims[0] * dims[1] * h * w));
    npy_from_torch(values, run->noise, dims[0], h, w, PREVIEW_CHANNELS);
    return true;
}

/* ---- pictures to start from ---- */

static bool check_pictures(const struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;

    if (edits(run->p->loaded) && !r->init_path)
        return engine_input_error(error,
                                  _("“%s” edits pictures by instruction: give it a picture "
                                    "(--init) and say in the prompt what to change."),
                                  run->info->name);
    if (r->mask_path && !r->init_path)
        return engine_input_error(error, _("A mask needs a picture that it belongs to (--init)."));
    return true;
}

static bool encode_picture(struct job_run *run, const float *picture, float *latent, GError **error)
{
    const struct request *r = &run->settings.request;
    int factor = vae_factor(&run->p->loaded->vae);

    return decoder_encode(run->p->loaded->decoder, picture, r->height / factor, r->width / factor,
                          latent, run->context->cancel, error);
}

/* The mask and the picture without what is under it (grey), which an inpainting model sees; without
 * a picture all is under it. */
static bool make_inpainting(struct job_run *run, int height, int width, GError **error)
{
    size_t cells = (size_t)height * width, factor = (size_t)vae_factor(&run->p->loaded->vae);
    size_t pixels = cells * factor * factor;
    g_autofree float *seen = g_new0(float, pixels * 3);
    g_autofree float *latent = g_new(float, cells *PREVIEW_CHANNELS);

    for (size_t i = 0; run->mask && i < pixels * 3; i++)
        seen[i] = run->mask[i / 3] > 0 ? 0 : run->first[i];
    if (!encode_picture(run, seen, latent, error))
        return false;
    run->extra = g_new(float, cells *(PREVIEW_CHANNELS + 1));
    for (size_t i = 0; i < cells; i++) {
        float *to = run->extra + i * (PREVIEW_CHANNELS + 1);

        to[0] = run->cells ? run->cells[i] : 1;
        memcpy(to + 1, latent + i * PREVIEW_CHANNELS, PREVIEW_CHANNELS * sizeof *to);
    }
    return true;
}

/* Everything that comes from pictures given: the latent to start from, masks, what the U-Net sees
 * beside the latent. */
static bool read_pictures(struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;
    const struct loaded *l = run->p->loaded;
    int height, width;
    size_t count;

    latent_size(run, &height, &width);
    count = (size_t)height * width * PREVIEW_CHANNELS;
    if (r->init_path && !(run->first = init_load(r->init_path, r->width, r->height, error)))
        return false;
    if (r->mask_path) {
        if (!(run->mask = mask_load(r->mask_path, r->width, r->height, error)))
            return false;
        run->cells = mask_cells(run->mask, width, height, vae_factor(&l->vae));
    }
    if (run->first) {
        run->init = g_new(float, count);
        if (!encode_picture(run, run->first, run->init, error))
            return false;
    }
    if (edits(l)) { /* in the autoencoder's own scale */
        run->extra = g_steal_pointer(&run->init);
        vae_from_model(&l->vae, run->extra, count);
        return true;
    }
    return !extra_channels(l) || make_inpainting(run, height, width, error);
}

static bool check_size(const struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;
    int factor = vae_factor(&run->p->loaded->vae);

    if (r->width % factor == 0 && r->height % factor == 0)
        return true;
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                _("This model makes pictures whose sides are multiples of %d, not %dx%d."), factor,
                r->width, r->height);
    return false;
}

static void tell_notices(struct job_run *run)
{
    GPtrArray *notices = run->p->notices;

    for (guint i = 0; i < notices->len; i++)
        tell(run, (struct event){.type = EVENT_NOTICE, .text = notices->pdata[i]});
    g_ptr_array_set_size(notices, 0);
}

/* The prompt of picture run->index: wildcards filled in, add-ons applied, encoded. */
static bool encode(struct job_run *run, GError **error)
{
    struct pipeline *p = run->p;
    struct request *r = &run->settings.request;
    g_autofree char *words = NULL;
    struct text_options options;
    bool changed, ok;

    g_clear_pointer(&run->prompts, prompt_pair_free);
    g_clear_pointer(&run->prompt, g_free);
    tell(run, (struct event){.type = EVENT_ENCODING});
    run->prompt =
        add_ons_expand(p->add_ons, r->prompt, r->seed + (uint64_t)run->index, p->notices, error);
    if (!run->prompt)
        return false;
    words = add_ons_apply(p->add_ons, p->loaded->model, run->prompt, &changed, p->notices, error);
    if (words && changed) {
        loaded_forget_tapes(p->loaded);
        backend_forget_stale_weights(p->backend); /* packed from the old values */
    }
    options = (struct text_options){.clip_skip = r->clip_skip,
                                    .emphasis = r->emphasis,
                                    .steps = run->plan->n_steps *
                                             sched_sampler_calls(run->plan->sampler)};
    ok = words && (run->prompts = text_encode(p->loaded->text, words, r->negative, &options,
                                              run->context->cancel, error));
    if (run->estimate.drop_text) {
        text_encoder_release(p->loaded->text);
        backend_forget_weights(p->backend);
    }
    tell_notices(run);
    return ok;
}

/* ---- what it will take ---- */

/* Told before anything is allocated; what surely does not fit is not begun. */
static bool plan_memory(struct job_run *run, GError **error)
{
    struct pipeline *p = run->p;
    struct estimate *e = &run->estimate;
    g_autofree char *text = NULL, *needed = NULL, *left = NULL;

    estimate_loaded(p->loaded, p->backend, &run->settings, run->plan->n_rows,
                    device_budget(p->device, p->backend), e);
    decoder_begin(p->loaded->decoder, e->vae_strips);
    text = estimate_text(e);
    tell(run, (struct event){.type = EVENT_ESTIMATE, .estimate = e, .text = text});
    if (e->fits || e->peak - e->peak / 8 <= e->budget) /* what is free changes by the moment */
        return true;
    needed = weights_size_text(e->peak);
    left = weights_size_text(e->budget);
    g_set_error(
        error, ENGINE_ERROR, ENGINE_ERROR_MEMORY,
        p->backend->precision == DTYPE_F32
            ? _("Not enough memory for “%s” at %dx%d (needs %s, %s free). Options: a smaller "
                "picture, closing other programs, --precision bf16.")
            : _("Not enough memory for “%s” at %dx%d (needs %s, %s free). Options: a smaller "
                "picture, closing other programs."),
        run->info->name, run->settings.request.width, run->settings.request.height, needed, left);
    return false;
}

static void tell_measured(struct job_run *run)
{
    struct pipeline *p = run->p;
    struct estimate *e = &run->estimate;
    g_autofree char *text = NULL;
    uint64_t program = e->peak - MIN(e->peak, estimate_networks(e));

    e->measured = p->backend->bytes_peak + program;
    e->took = (double)(g_get_monotonic_time() - run->begun) / G_USEC_PER_SEC;
    text = estimate_text(e);
    tell(run, (struct event){.type = EVENT_MEASURED, .estimate = e, .text = text});
    if (run->steps_timed > 1)
        estimate_remember_speed(p->device, p->precision,
                                e->step_flops * run->plan->n_rows / run->plan->n_steps *
                                    run->steps_timed * 1e6 / (double)run->step_time);
}

static bool prepare(struct job_run *run, GError **error)
{
    return load(run, error) && check_size(run, error) && make_plan(run, error) &&
           check_pictures(run, error) && read_noise(run, error) && plan_memory(run, error) &&
           !cancelled(run, error) && encode(run, error) && read_pictures(run, error);
}

/* ---- one picture ---- */

/* By TAESD, when there is one and it costs little beside a step. */
static bool quick_preview(struct job_run *run, const float *latent, int height, int width,
                          double step_seconds, struct picture *picture)
{
    struct loaded *l = run->p->loaded;
    int factor = vae_factor(&l->vae);
    gint64 begun = g_get_monotonic_time();
    g_autofree float *values = NULL;

    if (!l->tiny_weights || factor != TINY_FACTOR || run->quick_seconds < 0 || step_seconds <= 0 ||
        run->quick_seconds > QUICK_SHARE * step_seconds)
        return false;
    values = g_new(float, (gsize)height *width *factor *factor * 3);
    if (!decoder_quick(l->decoder, latent, height, width, values, NULL, NULL) ||
        !picture_from_floats(picture, values, width * factor, height * factor)) {
        run->quick_seconds = -1;
        return false;
    }
    if (run->quick_previews++) /* the first one may have compiled */
        run->quick_seconds = (double)(g_get_monotonic_time() - begun) / G_USEC_PER_SEC;
    return true;
}

static void on_step(const struct sample_step *done, void *user)
{
    struct job_run *run = user;
    const struct request *r = &run->settings.request;
    int steps = run->plan->n_steps, height, width;
    gint64 now = g_get_monotonic_time();
    double each;

    latent_size(run, &height, &width);
    dump_latent(run->dump, done->step, done->latent, height, width, PREVIEW_CHANNELS);
    if (done->step > 1) { /* the first one may have compiled */
        run->step_time += now - run->last_step;
        run->steps_timed++;
    }
    run->last_step = now;
    if (done->step == 0)
        return;
    each = run->steps_timed ? run->step_time / 1e6 / run->steps_timed : 0;
    tell(run,
         (struct event){.type = EVENT_STEP,
                        .step = done->step,
                        .steps = steps,
                        .fraction = (double)done->rows / run->plan->n_rows,
                        .steps_per_second = each > 0 ? 1 / each : 0,
                        .seconds_left = each * ((r->batch - run->index) * steps - done->step)});
    if (r->preview_every > 0 && done->step % r->preview_every == 0) {
        struct picture small = {0};

        if (!quick_preview(run, done->estimate, height, width, each, &small))
            small = preview_picture(&run->p->loaded->preview, done->estimate, width, height);
        tell(run,
             (struct event){
                 .type = EVENT_PREVIEW, .step = done->step, .steps = steps, .picture = &small});
        picture_clear(&small);
    }
}

static void free_before_decoding(struct job_run *run)
{
    if (!run->estimate.drop_unet)
        return;
    denoiser_forget(run->p->loaded->denoiser);
    backend_forget_weights(run->p->backend);
}

static void free_after_decoding(struct job_run *run)
{
    if (!run->settings.request.low_memory)
        return;
    decoder_forget(run->p->loaded->decoder);
    backend_forget_weights(run->p->backend);
}

static bool decode(struct job_run *run, const float *latent, struct picture *picture,
                   GError **error)
{
    const struct request *r = &run->settings.request;
    struct loaded *l = run->p->loaded;
    int height, width, factor = vae_factor(&l->vae);
    g_autofree float *values = NULL;
    bool ok;

    latent_size(run, &height, &width);
    values = g_try_new(float, (gsize)height *width *factor *factor * 3);
    if (!values) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MEMORY,
                    _("Not enough memory for the picture; try a smaller size."));
        return false;
    }
    tell(run, (struct event){.type = EVENT_DECODING});
    free_before_decoding(run);
    ok = (r->taesd ? decoder_quick : decoder_decode)(l->decoder, latent, height, width, values,
                                                     run->context->cancel, error);
    free_after_decoding(run);
    tell_notices(run);
    if (!ok)
        return false;
    if (run->mask)
        mask_put_back(values, run->first, run->mask, r->width, r->height, MASK_BLUR);
    dump_image(run->dump, values, height * factor, width * factor);
    if (!picture_from_floats(picture, values, width * factor, height * factor)) {
        decoder_fail_numbers(error);
        return false;
    }
    if (!l->preview.fitted)
        preview_fit(&l->preview, latent, width, height, values, factor);
    return true;
}

/* "apple.png" for the first picture, "apple-2.png" for the second. g_free(). */
static char *batch_name(const char *exact, int index)
{
    const char *dot = exact ? strrchr(exact, '.') : NULL;

    if (!exact || index == 0)
        return g_strdup(exact);
    return g_strdup_printf("%.*s-%d%s", (int)(dot - exact), exact, index + 1, dot);
}

/* Tells of the picture whether or not it could be saved; false with the reason when not. */
static bool hand_over(struct job_run *run, const struct request *r, const struct picture *picture,
                      GError **error)
{
    const char *vae_path = run->p->loaded->vae_path;
    g_autofree char *vae = vae_path ? g_path_get_basename(vae_path) : NULL;
    struct metadata_model model = {run->info->name, hash_value(run->p->model_hash), vae,
                                   hash_value(run->p->vae_hash)};
    g_autofree char *parameters = metadata_write(r, &model), *path = NULL;
    g_autofree char *exact = batch_name(run->exact, run->index);
    struct save_target target = {run->folder, run->pattern, exact};
    GError *problem = NULL;

    if (!r->no_save) {
        tell(run, (struct event){.type = EVENT_SAVING});
        if (cancelled(run, error))
            return false;
        save_picture(picture, r, &model, &target, run->index, &path, &problem);
    }
    tell(run, (struct event){.type = EVENT_PICTURE,
                             .picture = picture,
                             .path = path,
                             .settings = r,
                             .parameters = parameters,
                             .error = problem});
    if (!problem)
        return true;
    g_propagate_error(error, problem);
    return false;
}

static bool make_picture(struct job_run *run, GError **error)
{
    struct loaded *l = run->p->loaded;
    struct request r = run->settings.request; /* strings stay the settings' */
    struct sampling s = {
        .denoiser = l->denoiser, .plan = run->plan, .prompts = run->prompts, .request = &r};
    g_autofree float *latent = NULL;
    struct picture picture = {0};
    size_t count;
    bool ok;

    r.seed += (uint64_t)run->index;
    r.prompt = run->prompt;
    latent_size(run, &s.height, &s.width);
    s.channels = PREVIEW_CHANNELS;
    count = (size_t)s.height * s.width * s.channels;
    s.noise = run->noise ? run->noise + count * run->index : NULL;
    s.init = run->init;
    s.mask = run->cells;
    s.extra = run->extra;
    s.cancel = run->context->cancel;
    s.on_step = on_step;
    s.user = run;
    latent = g_new(float, count);
    ok = sample(&s, latent, error) && decode(run, latent, &picture, error) &&
         hand_over(run, &r, &picture, error);
    picture_clear(&picture);
    return ok;
}

/* ---- the job ---- */

static void tell_tapes(struct job_run *run)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (!run->settings.request.dump_tape)
        return;
    text_encoder_dump(run->p->loaded->text, text);
    denoiser_dump(run->p->loaded->denoiser, text);
    decoder_dump(run->p->loaded->decoder, text);
    tell(run, (struct event){.type = EVENT_TAPE, .text = text->str});
}

/* A prompt with wildcards is another one for each seed. */
static bool encode_again(struct job_run *run, GError **error)
{
    return run->index == 0 || !add_ons_are_random(run->settings.request.prompt) ||
           encode(run, error);
}

/* Prepares and makes the pictures from run->index on. */
static bool run_from(struct job_run *run, GError **error)
{
    struct guidance guidance;

    if (!open_backend(run->p, &run->settings.request, error))
        return false;
    run->p->backend->bytes_peak = run->p->backend->bytes_now;
    run->begun = g_get_monotonic_time();
    if (!prepare(run, error))
        return false;
    hash_start(run->p->model_hash, run->info->path);
    hash_start(run->p->vae_hash, run->p->loaded->vae_path);
    if (run->settings.request.dump_folder && !run->dump) {
        run->dump = dump_create(run->settings.request.dump_folder);
        prompt_pair_at(run->prompts, 0, run->settings.request.cfg, &guidance);
        dump_texts(run->dump, &guidance);
    }
    for (; run->index < run->settings.request.batch; run->index++) {
        if (cancelled(run, error) || !encode_again(run, error) || !make_picture(run, error))
            return false;
        if (run->index == 0)
            tell_tapes(run);
    }
    tell_measured(run);
    return dump_write(run->dump, error);
}

static void forget_prepared(struct job_run *run)
{
    g_clear_pointer(&run->prompts, prompt_pair_free);
    g_clear_pointer(&run->prompt, g_free);
    g_clear_pointer(&run->plan, sched_plan_free);
    g_clear_pointer(&run->noise, g_free);
    g_clear_pointer(&run->init, g_free);
    g_clear_pointer(&run->first, g_free);
    g_clear_pointer(&run->mask, g_free);
    g_clear_pointer(&run->cells, g_free);
    g_clear_pointer(&run->extra, g_free);
}

/* Where pictures go, from the request's folder, pattern or output. */
static void choose_target(struct job_run *run)
{
    struct request *r = &run->settings.request;

    if (r->output)
        save_split_output(r->output, &run->folder, &run->pattern, &run->exact, &r->format);
    if (!run->folder)
        run->folder = r->folder ? g_strdup(r->folder) : library_pictures_folder();
    if (!run->pattern)
        run->pattern = g_strdup(r->pattern);
    if (!r->no_save)
        save_sweep(run->folder);
}

static bool run_job(struct job_run *run, GError **error)
{
    GError *problem = NULL;
    bool ok = false;

    choose_target(run);
    for (int i = 0; i < LOST_TRIES && !ok; i++) {
        g_clear_error(&problem);
        ok = run_from(run, &problem);
        forget_prepared(run);
        if (ok || !device_was_lost(problem))
            break;
        close_backend(run->p); /* everything on it is gone; the picture begins again */
    }
    if (problem)
        g_propagate_error(error, problem);
    return ok;
}

bool pipeline_run(struct pipeline *p, const struct request *request,
                  const struct job_context *context, GError **error)
{
    struct job_run run = {.p = p, .context = context};
    GError *problem = NULL;
    bool ok = false;

    if (!(run.info = library_find(p->folders, request->model, error)))
        return false;
    if (!settings_init(&run.settings, request, run.info, error)) {
        model_info_free(run.info);
        return false;
    }
    ok = style_names_apply(p->folders, &run.settings.request, &problem) && run_job(&run, &problem);
    if (problem)
        device_take_error(error, problem);
    dump_destroy(run.dump);
    g_free(run.folder);
    g_free(run.pattern);
    g_free(run.exact);
    model_info_free(run.info);
    settings_finish(&run.settings);
    return ok;
}
