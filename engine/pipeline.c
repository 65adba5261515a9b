/* One job from its request to its last file: see pipeline.h. How a latent is sampled is in
 * sample.c. */
#include "engine/pipeline.h"

#include <string.h>

#include "engine/add_ons.h"
#include "engine/device.h"
#include "engine/dump.h"
#include "engine/init.h"
#include "engine/loaded.h"
#include "engine/npy.h"
#include "engine/sample.h"
#include "engine/save.h"
#include "engine/schedule.h"
#include "engine/settings.h"

#define LOST_TRIES 3                          /* of one picture, when its device is reset */
#define HASH_WAIT_BYTES ((uint64_t)256 << 20) /* a file whose hash is worth waiting for */

/* A1111's model hash, computed beside the first picture. */
struct hash {
    char *path;
    char *value;
    GThread *thread;
    int cancel, done;
};

struct pipeline {
    char **folders;
    int threads; /* of the CPU back end, 0 = all */
    struct backend *backend;
    char *device, *precision; /* what the back end was opened for */
    struct loaded *loaded;
    struct add_ons *add_ons;
    GPtrArray *notices; /* char *, not told yet */
    struct hash hash;
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
    float *noise; /* from a file, [B, h, w, C]; NULL */
    float *init;  /* the latent to start from, or NULL */
    struct dump *dump;
    char *folder, *pattern, *exact; /* where pictures go */
    int index;                      /* of the picture */
    gint64 last_step, step_time;    /* microseconds; of all timed steps */
    int steps_timed;
};

/* ---- hash ---- */

static gpointer hash_run(gpointer data)
{
    struct hash *h = data;

    h->value = library_hash(h->path, false, &h->cancel);
    g_atomic_int_set(&h->done, 1);
    return NULL;
}

static void hash_stop(struct hash *h)
{
    if (h->thread) {
        g_atomic_int_set(&h->cancel, 1);
        g_thread_join(h->thread);
    }
    g_free(h->path);
    g_free(h->value);
    memset(h, 0, sizeof *h);
}

static void hash_start(struct hash *h, const char *path)
{
    if (g_strcmp0(h->path, path) == 0)
        return;
    hash_stop(h);
    h->path = g_strdup(path);
    h->value = library_hash(path, true, NULL);
    if (h->value)
        h->done = 1;
    else
        h->thread = g_thread_new("hash", hash_run, h);
}

static const char *hash_value(struct hash *h, uint64_t bytes)
{
    if (h->thread && (bytes <= HASH_WAIT_BYTES || g_atomic_int_get(&h->done))) {
        g_thread_join(h->thread);
        h->thread = NULL;
    }
    return h->thread ? NULL : h->value;
}

/* ---- what stays from job to job ---- */

struct pipeline *pipeline_create(char **folders, int threads)
{
    struct pipeline *p = g_new0(struct pipeline, 1);

    p->threads = threads;
    p->folders = g_strdupv(folders);
    p->add_ons = add_ons_create(folders);
    p->notices = g_ptr_array_new_with_free_func(g_free);
    return p;
}

void pipeline_unload(struct pipeline *p)
{
    hash_stop(&p->hash);
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
    add_ons_destroy(p->add_ons);
    g_ptr_array_unref(p->notices);
    g_strfreev(p->folders);
    g_free(p);
}

static bool open_backend(struct pipeline *p, const struct request *r, GError **error)
{
    const char *device = r->device ? r->device : "auto";
    const char *precision = r->precision ? r->precision : "auto";

    if (p->backend && strcmp(p->device, device) == 0 && strcmp(p->precision, precision) == 0)
        return true;
    close_backend(p);
    if (!(p->backend = device_open(device, precision, p->threads, error)))
        return false;
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
    g_set_error_literal(error, ENGINE_ERROR, ENGINE_ERROR_CANCELLED, "Cancelled.");
    return true;
}

static bool load(struct job_run *run, GError **error)
{
    struct pipeline *p = run->p;

    if (p->loaded && strcmp(p->loaded->path, run->info->path) == 0)
        return true;
    tell(run, (struct event){.type = EVENT_LOADING, .text = run->info->name});
    pipeline_unload(p);
    p->loaded =
        loaded_create(p->backend, run->info, add_ons_inversions(p->add_ons), p->notices, error);
    return p->loaded && (run->settings.request.preview_every < 0 ||
                         loaded_fit_preview(p->loaded, run->context->cancel, error));
}

/* ---- before the first picture ---- */

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
    if (r->init_path)
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
                    "The noise in “%s” must be [%d, %d, %d, %d] for this size and number of "
                    "pictures.",
                    r->noise_path, r->batch, PREVIEW_CHANNELS, (int)h, (int)w);
        return false;
    }
    run->noise = g_new(float, (gsize)(dims[0] * dims[1] * h * w));
    npy_from_torch(values, run->noise, dims[0], h, w, PREVIEW_CHANNELS);
    return true;
}

static bool read_init(struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;
    int factor = vae_factor(&run->p->loaded->vae);
    g_autofree float *picture = NULL;

    if (!r->init_path)
        return true;
    if (!(picture = init_load(r->init_path, r->width, r->height, error)))
        return false;
    run->init = g_new(float, (gsize)(r->width / factor) * (r->height / factor) * PREVIEW_CHANNELS);
    return decoder_encode(run->p->loaded->decoder, picture, r->height / factor, r->width / factor,
                          run->init, run->context->cancel, error);
}

static bool check_size(const struct job_run *run, GError **error)
{
    const struct request *r = &run->settings.request;
    int factor = vae_factor(&run->p->loaded->vae);

    if (r->width % factor == 0 && r->height % factor == 0)
        return true;
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                "This model makes pictures whose sides are multiples of %d, not %dx%d.", factor,
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
    bool changed, ok;

    g_clear_pointer(&run->prompts, prompt_pair_free);
    g_clear_pointer(&run->prompt, g_free);
    tell(run, (struct event){.type = EVENT_ENCODING});
    run->prompt =
        add_ons_expand(p->add_ons, r->prompt, r->seed + (uint64_t)run->index, p->notices, error);
    if (!run->prompt)
        return false;
    words = add_ons_apply(p->add_ons, p->loaded->model, run->prompt, &changed, p->notices, error);
    if (words && changed)
        loaded_forget_tapes(p->loaded);
    if (words && changed)
        backend_forget_weights(p->backend); /* what was packed for the old values */
    ok = words &&
         (run->prompts = text_encode(p->loaded->text, words, r->negative, r->clip_skip,
                                     run->plan->n_steps * sched_sampler_calls(run->plan->sampler),
                                     run->context->cancel, error));
    tell_notices(run);
    return ok;
}

static bool prepare(struct job_run *run, GError **error)
{
    return load(run, error) && check_size(run, error) && make_plan(run, error) &&
           read_noise(run, error) && !cancelled(run, error) && encode(run, error) &&
           read_init(run, error);
}

/* ---- one picture ---- */

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
        struct picture small =
            preview_picture(&run->p->loaded->preview, done->estimate, width, height);

        tell(run,
             (struct event){
                 .type = EVENT_PREVIEW, .step = done->step, .steps = steps, .picture = &small});
        picture_clear(&small);
    }
}

static bool decode(struct job_run *run, const float *latent, struct picture *picture,
                   GError **error)
{
    struct loaded *l = run->p->loaded;
    int height, width, factor = vae_factor(&l->vae);
    g_autofree float *values = NULL;

    latent_size(run, &height, &width);
    values = g_try_new(float, (gsize)height *width *factor *factor * 3);
    if (!values) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MEMORY,
                    "Not enough memory for the picture; try a smaller size.");
        return false;
    }
    tell(run, (struct event){.type = EVENT_DECODING});
    if (!decoder_decode(l->decoder, latent, height, width, values, run->context->cancel, error))
        return false;
    dump_image(run->dump, values, height * factor, width * factor);
    if (!picture_from_floats(picture, values, width * factor, height * factor)) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_NUMBERS,
                    "The autoencoder's numbers went out of range (NaN or infinity). Try "
                    "--precision f32.");
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
    struct metadata_model model = {run->info->name, hash_value(&run->p->hash, run->info->bytes)};
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

    if (!open_backend(run->p, &run->settings.request, error) || !prepare(run, error))
        return false;
    hash_start(&run->p->hash, run->info->path);
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
    return dump_write(run->dump, error);
}

static void forget_prepared(struct job_run *run)
{
    g_clear_pointer(&run->prompts, prompt_pair_free);
    g_clear_pointer(&run->prompt, g_free);
    g_clear_pointer(&run->plan, sched_plan_free);
    g_clear_pointer(&run->noise, g_free);
    g_clear_pointer(&run->init, g_free);
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
    choose_target(&run);
    for (int i = 0; i < LOST_TRIES && !ok; i++) {
        g_clear_error(&problem);
        ok = run_from(&run, &problem);
        forget_prepared(&run);
        if (ok || !device_was_lost(problem))
            break;
        close_backend(p); /* everything on it is gone; the picture begins again */
    }
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
