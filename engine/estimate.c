#include "engine/estimate.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/estimate_loaded.h"
#include "engine/parts.h"
#include "engine/save.h"
#include "scheduler/scheduler.h"
#include "weights/quote.h"

#define PROGRAM_BYTES ((uint64_t)110 << 20) /* of the process, without networks */
#define COMFORT 0.7 /* share of the budget above which text encoders do not stay */

/* ---- the sum ---- */

static uint64_t denoise_peak(const struct estimate *e)
{
    return (e->drop_text ? 0 : e->text_weights) + e->unet_weights + e->unet_work;
}

/* Activations of networks that are compiled at the same time share their memory. */
static uint64_t decode_peak(const struct estimate *e)
{
    uint64_t unet = e->drop_unet ? 0 : e->unet_weights;
    uint64_t work = e->drop_unet ? e->vae_work : MAX(e->vae_work, e->unet_work);

    return (e->drop_text ? 0 : e->text_weights) + unet + e->vae_weights + work;
}

uint64_t estimate_networks(const struct estimate *e)
{
    uint64_t text = e->text_weights + e->text_work, most = MAX(denoise_peak(e), decode_peak(e));

    return MAX(text, most);
}

static void choose_strips(struct estimate *e, const struct loaded *l, uint64_t program, int height,
                          int width)
{
    uint64_t others = decode_peak(e) - e->vae_work + program;
    size_t left = e->budget > others ? e->budget - others : 0;

    e->vae_strips = e->budget ? decoder_choose(l->decoder, height, width, left) : 0;
    e->vae_work = decoder_bytes(l->decoder, height, width, e->vae_strips);
}

/* From the least trouble to the most, until it fits. */
static void make_fit(struct estimate *e, const struct loaded *l, uint64_t program, int height,
                     int width, bool low_memory)
{
    uint64_t whole = e->vae_work;

    e->drop_text =
        low_memory || (e->budget && estimate_networks(e) + program > e->budget * COMFORT);
    e->drop_unet = low_memory;
    if (e->budget && decode_peak(e) + program > e->budget)
        choose_strips(e, l, program, height, width);
    if (e->budget && !e->drop_unet && decode_peak(e) + program > e->budget) {
        e->drop_unet = true;
        e->vae_work = whole;
        if (decode_peak(e) + program > e->budget)
            choose_strips(e, l, program, height, width);
    }
    e->peak = estimate_networks(e) + program;
    e->fits = !e->budget || e->peak <= e->budget;
}

void estimate_loaded(const struct loaded *l, struct backend *backend,
                     const struct settings *settings, int calls, uint64_t budget,
                     struct estimate *e)
{
    const struct request *r = &settings->request;
    int factor = vae_factor(&l->vae), height = r->height / factor, width = r->width / factor;
    bool guided = r->cfg != 1 && l->unet.config.guidance_channels == 0;
    struct denoiser_shape shape = {guided ? 2 : 1, height, width, calls};
    double step_flops, decode_flops;
    struct tape_memory unet = denoiser_memory(l->denoiser, &shape, &step_flops);
    struct tape_memory text = text_encoder_memory(l->text);
    struct tape_memory vae = decoder_memory(l->decoder, height, width, &decode_flops);
    bool cpu = strcmp(backend->class->name, "cpu") == 0;
    double speed = estimate_speed(r->device, r->precision);

    *e = (struct estimate){
        .step_flops = step_flops, .decode_flops = decode_flops, .calls = calls, .budget = budget};
    e->text_weights = text.weights;
    e->text_work = text.arena + text.kept;
    e->unet_weights = unet.weights;
    e->unet_work = unet.arena + unet.kept;
    e->vae_weights = vae.weights;
    e->vae_work = vae.arena + vae.kept;
    make_fit(e, l, cpu ? PROGRAM_BYTES : 0, height, width, r->low_memory);
    e->seconds = speed > 0 ? r->batch * (calls * e->step_flops + e->decode_flops) / speed : -1;
}

/* ---- speed ---- */

static char *speed_file(void)
{
    return g_build_filename(g_get_user_cache_dir(), "figment", "speed.ini", NULL);
}

static char *speed_group(const char *device, const char *precision)
{
    return g_strdup_printf("%s %s", device ? device : "auto", precision ? precision : "auto");
}

double estimate_speed(const char *device, const char *precision)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autofree char *path = speed_file(), *group = speed_group(device, precision);

    g_key_file_load_from_file(keys, path, G_KEY_FILE_NONE, NULL);
    return g_key_file_get_double(keys, group, "flops", NULL);
}

void estimate_remember_speed(const char *device, const char *precision, double flops)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autofree char *path = speed_file(), *group = speed_group(device, precision);
    double before;

    g_key_file_load_from_file(keys, path, G_KEY_FILE_NONE, NULL);
    before = g_key_file_get_double(keys, group, "flops", NULL);
    if (!(flops > 0) || (before > 0 && ABS(flops - before) < 0.05 * before))
        return;
    g_key_file_set_double(keys, group, "flops", flops);
    save_cache(path, keys);
}

/* ---- without a pipeline ---- */

/* U-Net calls of a picture by the settings alone: as the plan will have, but for a few. */
static int calls_of(const struct settings *s)
{
    double strength = s->request.init_path ? s->request.strength : 1;

    return MAX((int)(s->request.steps * strength), 1) * sched_sampler_calls(s->sampler);
}

bool estimate_request(char **folders, const struct request *request, struct estimate *estimate,
                      GError **error)
{
    struct model_info *info = library_find(folders, request->model, error);
    struct settings settings;
    struct loaded_options options = {0};
    struct loaded *loaded = NULL;
    struct backend *backend = NULL;
    g_autofree char *vae = NULL;
    GError *problem = NULL;
    bool ok = info && settings_init(&settings, request, info, error);

    memset(estimate, 0, sizeof *estimate);
    if (!ok) {
        model_info_free(info);
        return false;
    }
    options.vae = vae = parts_find_vae(folders, info, request->vae, NULL);
    ok = (backend = device_stand_in(request->device, request->precision, &problem)) &&
         (loaded = loaded_create(backend, info, &options, &problem));
    if (ok)
        estimate_loaded(loaded, backend, &settings, calls_of(&settings),
                        device_budget(request->device, NULL), estimate);
    loaded_destroy(loaded);
    backend_destroy(backend);
    settings_finish(&settings);
    model_info_free(info);
    if (problem)
        device_take_error(error, problem);
    return ok;
}

char *estimate_text(const struct estimate *e)
{
    g_autofree char *size = weights_size_text(e->measured ? e->measured : e->peak);
    g_autofree char *all = e->budget ? weights_size_text(e->budget) : NULL;
    double seconds = e->measured ? e->took : e->seconds;
    g_autofree char *memory = all ? g_strdup_printf(_("%s of %s memory"), size, all)
                                  : g_strdup_printf(_("%s memory"), size);
    g_autofree char *time = NULL;

    if (seconds < 0)
        return g_steal_pointer(&memory);
    if (seconds >= 90)
        time = g_strdup_printf(e->measured ? _("%.0f min") : _("about %.0f min"), seconds / 60);
    else
        time = g_strdup_printf(e->measured ? _("%.0f s") : _("about %.0f s"),
                               seconds < 1 ? 1 : seconds);
    return g_strdup_printf("%s, %s", memory, time);
}
