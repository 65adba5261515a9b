/* figment generate: one job through the engine, its events as a progress line or as JSON. */
#include <glib-unix.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/cli.h"
#include "engine/engine.h"
#include "engine/library.h"
#include "engine/metadata.h"
#include "engine/parts.h"
#include "engine/settings.h"
#include "engine/style_names.h"
#include "weights/quote.h"

struct generate {
    struct request request;
    char *from;       /* --from */
    char *folders[2]; /* --models, NULL */
    int threads;
    bool json, quiet, verbose;

    GMainLoop *loop;
    struct engine *engine;
    unsigned job;
    bool stopping, on_terminal, line_open;
    int saved, status;
    gint64 begun, picture_begun;
};

/* ---- options whose value needs a look ---- */

static bool bad(GError **error, const char *format, const char *value)
{
    g_autofree char *text = g_strdup_printf(format, value);

    g_set_error_literal(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, text);
    return false;
}

static bool set_size(const char *value, void *target, GError **error)
{
    struct request *r = target;
    g_auto(GStrv) sides = g_strsplit_set(value, "xX", 3);

    if (g_strv_length(sides) != 2)
        return bad(error, "--size must be like 512x512, not “%s”.", value);
    return cli_int("The width in --size", sides[0], SETTINGS_SIDE_MIN, SETTINGS_SIDE_MAX, &r->width,
                   error) &&
           cli_int("The height in --size", sides[1], SETTINGS_SIDE_MIN, SETTINGS_SIDE_MAX,
                   &r->height, error);
}

static bool set_seed(const char *value, void *target, GError **error)
{
    struct request *r = target;
    guint64 seed;

    if (strcmp(value, "-1") == 0) {
        r->fixed_seed = false;
        return true;
    }
    if (!g_ascii_string_to_unsigned(value, 10, 0, G_MAXUINT64, &seed, NULL))
        return bad(error, "--seed must be a whole number from 0 to 2^64 - 1, or -1, not “%s”.",
                   value);
    r->seed = seed;
    r->fixed_seed = true;
    return true;
}

static bool set_variation_seed(const char *value, void *target, GError **error)
{
    struct request *r = target;
    guint64 seed;

    if (!g_ascii_string_to_unsigned(value, 10, 0, G_MAXUINT64, &seed, NULL))
        return bad(error, "--variation-seed must be a whole number from 0 to 2^64 - 1, not “%s”.",
                   value);
    r->variation_seed = seed;
    return true;
}

/* 0 and 1 both mean "no guidance": papers and programs differ. */
static bool set_cfg(const char *value, void *target, GError **error)
{
    struct request *r = target;

    if (!cli_number("--cfg", value, 0, SETTINGS_CFG_MAX, &r->cfg, error))
        return false;
    r->cfg = r->cfg == 0 ? 1 : r->cfg;
    return true;
}

static bool set_eta(const char *value, void *target, GError **error)
{
    struct request *r = target;

    r->fixed_eta = true;
    return cli_number("--eta", value, 0, 1, &r->eta, error);
}

static bool add_style(const char *value, void *target, GError **error)
{
    struct request *r = target;
    char *all = r->styles ? g_strconcat(r->styles, "\n", value, NULL) : g_strdup(value);

    (void)error;
    g_free(r->styles);
    r->styles = all;
    return true;
}

static bool set_emphasis(const char *value, void *target, GError **error)
{
    static const char *const names[] = {
        [EMPHASIS_ORIGINAL] = "a1111", [EMPHASIS_NO_NORM] = "no-norm", [EMPHASIS_COMFY] = "comfy",
        [EMPHASIS_IGNORE] = "ignore",  [EMPHASIS_NONE] = "none",
    };
    struct request *r = target;

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(value, names[i]) == 0) {
            r->emphasis = (enum emphasis)i;
            return true;
        }
    return bad(error, "--emphasis must be a1111, no-norm, comfy, ignore or none, not “%s”.", value);
}

static bool set_rng(const char *value, void *target, GError **error)
{
    struct request *r = target;

    if (strcmp(value, "cpu") != 0 && strcmp(value, "gpu") != 0)
        return bad(error, "--rng must be cpu or gpu, not “%s”.", value);
    r->rng = strcmp(value, "gpu") == 0 ? RNG_GPU : RNG_CPU;
    return true;
}

static bool set_format(const char *value, void *target, GError **error)
{
    struct request *r = target;

    if (strcmp(value, "png") != 0 && strcmp(value, "jpeg") != 0 && strcmp(value, "jpg") != 0)
        return bad(error, "--format must be png or jpeg, not “%s”.", value);
    r->format = strcmp(value, "png") == 0 ? PICTURE_PNG : PICTURE_JPEG;
    return true;
}

/* ---- events ---- */

static void print_json(json_t *object)
{
    char *line = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);

    puts(line);
    fflush(stdout);
    free(line);
    json_decref(object);
}

static const char *code_name(const GError *error)
{
    static const char *const names[] = {"input", "model",   "device",   "memory",
                                        "disk",  "numbers", "cancelled"};

    return error->domain == ENGINE_ERROR && (gsize)error->code < G_N_ELEMENTS(names)
               ? names[error->code]
               : "other";
}

static void set_text(json_t *object, const char *key, const char *text)
{
    if (text)
        json_object_set_new(object, key, json_string(text));
}

static double seconds_since(gint64 then)
{
    return (double)(g_get_monotonic_time() - then) / G_USEC_PER_SEC;
}

static json_t *estimate_json(const struct estimate *e)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:i, s:f, s:I, s:f}",
                     "text_weights", (json_int_t)e->text_weights, "unet_weights",
                     (json_int_t)e->unet_weights, "vae_weights", (json_int_t)e->vae_weights,
                     "text_work", (json_int_t)e->text_work, "unet_work", (json_int_t)e->unet_work,
                     "vae_work", (json_int_t)e->vae_work, "peak", (json_int_t)e->peak, "budget",
                     (json_int_t)e->budget, "fits", e->fits, "drop_text", e->drop_text, "drop_unet",
                     e->drop_unet, "vae_strips", e->vae_strips, "seconds", e->seconds, "measured",
                     (json_int_t)e->measured, "took", e->took);
}

static void json_event(const struct generate *g, const struct event *e)
{
    static const char *const names[] = {
        [EVENT_LOADING] = "loading",   [EVENT_ENCODING] = "encoding",   [EVENT_STEP] = "step",
        [EVENT_PREVIEW] = "preview",   [EVENT_DECODING] = "decoding",   [EVENT_SAVING] = "saving",
        [EVENT_PICTURE] = "picture",   [EVENT_TAPE] = "tape",           [EVENT_DONE] = "done",
        [EVENT_FAILED] = "failed",     [EVENT_CANCELLED] = "cancelled", [EVENT_NOTICE] = "notice",
        [EVENT_ESTIMATE] = "estimate", [EVENT_MEASURED] = "measured",
    };
    json_t *o = json_pack("{s:s, s:i, s:i, s:i, s:f}", "event", names[e->type], "job", (int)e->job,
                          "picture", e->index, "batch", e->batch, "time", seconds_since(g->begun));

    set_text(o, "text", e->text);
    if (e->steps) {
        json_object_set_new(o, "step", json_integer(e->step));
        json_object_set_new(o, "steps", json_integer(e->steps));
    }
    if (e->type == EVENT_STEP) {
        json_object_set_new(o, "steps_per_second", json_real(e->steps_per_second));
        json_object_set_new(o, "seconds_left", json_real(e->seconds_left));
    }
    if (e->picture) {
        json_object_set_new(o, "width", json_integer(e->picture->width));
        json_object_set_new(o, "height", json_integer(e->picture->height));
    }
    if (e->estimate)
        json_object_set_new(o, "estimate", estimate_json(e->estimate));
    set_text(o, "path", e->path);
    if (e->settings) {
        g_autofree char *seed = g_strdup_printf("%" G_GUINT64_FORMAT, e->settings->seed);

        set_text(o, "seed", seed); /* text: JSON's numbers lose digits above 2^53 */
    }
    set_text(o, "parameters", e->parameters);
    if (e->error) {
        set_text(o, "code", code_name(e->error));
        set_text(o, "message", e->error->message);
    }
    print_json(o);
}

/* The progress line, on a terminal only. */
static void show(struct generate *g, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void show(struct generate *g, const char *format, ...)
{
    va_list arguments;

    if (!g->on_terminal)
        return;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fflush(stderr);
    g->line_open = true;
}

static void close_line(struct generate *g)
{
    if (g->line_open)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    g->line_open = false;
}

static void tell_estimate(struct generate *g, const struct event *e)
{
    const struct estimate *m = e->estimate;
    g_autofree char *unet = weights_size_text(m->unet_weights + m->unet_work);
    g_autofree char *text = weights_size_text(m->text_weights + m->text_work);
    g_autofree char *vae = weights_size_text(m->vae_weights + m->vae_work);

    close_line(g);
    if (e->type == EVENT_MEASURED) {
        fprintf(stderr, "took %s\n", e->text);
        return;
    }
    fprintf(stderr, "needs %s (text encoder %s%s, U-Net %s%s, decoder %s%s)\n", e->text, text,
            m->drop_text ? ", freed after reading the prompt" : "", unet,
            m->drop_unet ? ", freed before decoding" : "", vae, m->vae_strips ? ", in strips" : "");
}

static void text_event(struct generate *g, const struct event *e)
{
    g_autofree char *which =
        e->batch > 1 ? g_strdup_printf("picture %d of %d: ", e->index + 1, e->batch) : g_strdup("");

    switch (e->type) {
    case EVENT_LOADING:
        show(g, "loading %s", e->text);
        break;
    case EVENT_ENCODING:
        show(g, "reading the prompt");
        break;
    case EVENT_STEP:
        show(g, "%sstep %d of %d, %.2f it/s, %.0f s left", which, e->step, e->steps,
             e->steps_per_second, e->seconds_left);
        break;
    case EVENT_DECODING:
        show(g, "%sdecoding", which);
        break;
    case EVENT_SAVING:
        show(g, "%ssaving", which);
        break;
    case EVENT_PICTURE:
        close_line(g);
        if (e->path)
            printf("%s\n", e->path);
        fflush(stdout);
        break;
    case EVENT_TAPE:
        close_line(g);
        fputs(e->text, stdout);
        break;
    case EVENT_ESTIMATE:
    case EVENT_MEASURED:
        if (g->verbose)
            tell_estimate(g, e);
        break;
    case EVENT_NOTICE:
        close_line(g);
        fprintf(stderr, "figment: %s\n", e->text);
        break;
    case EVENT_FAILED:
        close_line(g);
        fprintf(stderr, "figment: %s\n", e->error->message);
        break;
    case EVENT_CANCELLED:
        close_line(g);
        fprintf(stderr, "figment: Stopped.\n");
        break;
    case EVENT_PREVIEW:
    case EVENT_DONE:
        break;
    }
}

static gboolean quit(gpointer data)
{
    g_main_loop_quit(((struct generate *)data)->loop);
    return G_SOURCE_REMOVE;
}

/* On the engine's thread, which is the only one that prints while a job runs. */
static void on_event(const struct event *e, void *user)
{
    struct generate *g = user;

    if (g->json)
        json_event(g, e);
    else
        text_event(g, e);
    if (e->type == EVENT_PICTURE && !e->error)
        g->saved++;
    if (e->type < EVENT_DONE)
        return;
    if (e->type == EVENT_CANCELLED)
        g->status = CLI_STOPPED;
    else if (e->type == EVENT_FAILED)
        g->status = g->saved ? CLI_PARTLY : engine_error_exit(e->error);
    g_idle_add(quit, g);
}

static gboolean on_interrupt(gpointer data)
{
    struct generate *g = data;

    if (g->stopping)
        _exit(CLI_STOPPED);
    g->stopping = true;
    engine_cancel_all(g->engine);
    return G_SOURCE_CONTINUE;
}

static int run(struct generate *g)
{
    struct engine_options options = {g->folders, g->threads, .tell_device = !g->quiet};

    g->begun = g_get_monotonic_time();
    g->on_terminal = isatty(STDERR_FILENO) && !g->json && !g->quiet;
    g->loop = g_main_loop_new(NULL, FALSE);
    g->engine = engine_create(&options, on_event, g);
    g_unix_signal_add(SIGINT, on_interrupt, g);
    g_unix_signal_add(SIGTERM, on_interrupt, g);
    g->job = engine_submit(g->engine, &g->request);
    g_main_loop_run(g->loop);
    engine_destroy(g->engine);
    g_main_loop_unref(g->loop);
    return g->status;
}

/* ---- --from ---- */

static const char *find_from(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "--from="))
            return argv[i] + strlen("--from=");
        if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            return argv[i + 1];
    }
    return NULL;
}

/* The picture's settings first, so that the other options have the last word. The model's name goes
 * to *model: it counts when no option names another. */
static bool take_from(struct generate *g, const char *path, char **model, int *status)
{
    GError *error = NULL;
    struct metadata *m = metadata_read(path, &error);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    const char *hash;

    if (!m) {
        *status = cli_fail_error(error);
        return false;
    }
    metadata_apply(m, &g->request, NULL, notices);
    hash = metadata_get(m, "Model hash");
    if (g->request.model)
        *model = g_strdup_printf("%s\n%s", g->request.model, hash ? hash : "");
    g_clear_pointer(&g->request.model, g_free);
    for (guint i = 0; i < notices->len; i++)
        cli_fail(0, "%s", (char *)notices->pdata[i]);
    metadata_free(m);
    return true;
}

/* A name from a picture is looked up in the library and never opened as a path. */
static void choose_model(struct generate *g, const char *from)
{
    g_auto(GStrv) parts = from ? g_strsplit(from, "\n", 2) : NULL;
    struct model_info *info;

    if (!parts || g->request.model)
        return;
    info = library_match(g->folders, parts[0], parts[1]);
    if (info)
        g->request.model = g_strdup(info->path);
    else
        cli_fail(0, "Made with “%s”%s%s%s, which you don't have.", parts[0],
                 *parts[1] ? " (hash " : "", parts[1], *parts[1] ? ")" : "");
    model_info_free(info);
}

/* The same for an autoencoder, which the model's own replaces. */
static void choose_vae(struct generate *g, const char *from)
{
    struct model_info none = {.path = (char *)"", .folder = true};
    g_autofree char *path = NULL;

    if (!from || g_strcmp0(g->request.vae, from) != 0)
        return;
    if ((path = parts_find_vae(g->folders, &none, from, NULL)))
        return;
    cli_fail(0, "Made with the autoencoder “%s”, which you don't have; the model's own is used.",
             from);
    g_clear_pointer(&g->request.vae, g_free);
}

/* What the settings are, before an engine is made for them. */
static bool check(const struct generate *g, int *status)
{
    char **folders = (char **)g->folders;
    GError *error = NULL;
    struct model_info *info = library_find(folders, g->request.model, &error);
    struct settings settings;
    bool ok = info && settings_init(&settings, &g->request, info, &error);

    if (ok) {
        ok = style_names_apply(folders, &settings.request, &error);
        g_free(parts_find_vae(folders, info, g->request.vae, ok ? &error : NULL));
        ok = !error;
        settings_finish(&settings);
    }
    if (!ok)
        *status = cli_fail_error(error);
    model_info_free(info);
    return ok;
}

int cli_generate(int argc, char **argv)
{
    struct generate g = {0};
    struct request *r = &g.request;
    const struct cli_option options[] = {
        CLI_OPTION_STRING("--prompt", "TEXT", "what to draw", &r->prompt),
        CLI_OPTION_STRING("--negative", "TEXT", "what to keep out of it", &r->negative),
        CLI_OPTION_CALL("--style", "NAME", "of a styles.csv, put around the prompt; repeatable",
                        add_style, r),
        CLI_OPTION_CALL("--emphasis", "NAME",
                        "what (a:1.2) does: a1111, no-norm, comfy, ignore, none", set_emphasis, r),
        CLI_OPTION_STRING("--model", "NAME|PATH", "see “figment models”; default: the bundled one",
                          &r->model),
        CLI_OPTION_STRING("--vae", "NAME|PATH", "another autoencoder; None: the model's own",
                          &r->vae),
        CLI_OPTION_FLAG("--taesd", "decode with TAESD: fast, a sketch", &r->taesd),
        CLI_OPTION_CALL("--size", "WxH", "pixels, multiples of 8; default: the model's", set_size,
                        r),
        CLI_OPTION_INT("--steps", "N", "default: the model's, or 20", &r->steps, 1,
                       SETTINGS_STEPS_MAX),
        CLI_OPTION_CALL("--cfg", "X", "guidance; 1 is none; default: the model's, or 7", set_cfg,
                        r),
        CLI_OPTION_STRING("--sampler", "NAME", "“DPM++ 2M”, “Euler a”, dpmpp_2m, ...", &r->sampler),
        CLI_OPTION_STRING("--schedule", "NAME", "“Karras”, “SGM Uniform”, ...", &r->schedule),
        CLI_OPTION_CALL("--seed", "N", "-1, the default, draws one", set_seed, r),
        CLI_OPTION_INT("--batch", "N", "pictures, with seeds N, N+1, ...", &r->batch, 1,
                       SETTINGS_BATCH_MAX),
        CLI_OPTION_INT("--clip-skip", "N", "as A1111; 1 is the last layer", &r->clip_skip, 1, 12),
        CLI_OPTION_CALL("--eta", "X", "noise of DDIM and ancestral samplers, 0 to 1", set_eta, r),
        CLI_OPTION_CALL("--rng", "cpu|gpu",
                        "the noise of torch's CPU (diffusers) or of CUDA (A1111)", set_rng, r),
        CLI_OPTION_CALL("--variation-seed", "N", "a second seed, blended in", set_variation_seed,
                        r),
        CLI_OPTION_NUMBER("--variation-strength", "X", "0 to 1", &r->variation_strength, 0, 1),
        CLI_OPTION_STRING("--init", "FILE", "start from a picture (PNG, JPEG)", &r->init_path),
        CLI_OPTION_STRING("--mask", "FILE", "change only where this one is white", &r->mask_path),
        CLI_OPTION_NUMBER("--strength", "X", "how far from it, above 0 to 1; default 0.75",
                          &r->strength, 0.01, 1),
        CLI_OPTION_STRING("--from", "PICTURE", "take the settings of a picture; other options win",
                          &g.from),
        CLI_OPTION_STRING("--device", "NAME", "auto, cpu, vulkan, vulkan:N", &r->device),
        CLI_OPTION_STRING("--precision", "NAME", "auto, f32, f16, bf16", &r->precision),
        CLI_OPTION_INT("--threads", "N", "of the CPU; default: all", &g.threads, 1, 1024),
        CLI_OPTION_STRING("--models", "FOLDER", "one more folder with models", &g.folders[0]),
        CLI_OPTION_STRING("--output", "FILE|PATTERN",
                          "“apple.png”, “out/[prompt_words]-[seed].png”", &r->output),
        CLI_OPTION_CALL("--format", "png|jpeg", "where --output does not tell", set_format, r),
        CLI_OPTION_INT("--quality", "N", "of JPEG, 1 to 100; default 90", &r->quality, 1, 100),
        CLI_OPTION_FLAG("--no-metadata", "leave the settings out of the file", &r->no_metadata),
        CLI_OPTION_FLAG("--json", "one event a line on stdout", &g.json),
        CLI_OPTION_FLAG("--quiet", "no progress line", &g.quiet),
        CLI_OPTION_FLAG("--verbose", "tell what it will take, and what it took", &g.verbose),
        CLI_OPTION_FLAG("--low-memory", "keep nothing in memory longer than needed",
                        &r->low_memory),
        CLI_OPTION_INT("--preview-every", "N", "steps between previews in --json; -1 never",
                       &r->preview_every, -1, SETTINGS_STEPS_MAX),
        CLI_OPTION_STRING("--noise", "FILE.npy", "the starting noise, [B,4,h,w] of F32",
                          &r->noise_path),
        CLI_OPTION_STRING("--dump", "FOLDER", "text, latents and picture as .npy", &r->dump_folder),
        CLI_OPTION_FLAG("--dump-tape", "print the networks with shapes and memory", &r->dump_tape),
    };
    char *rest[1] = {NULL};
    const struct cli_command command = {
        "generate",
        "--prompt TEXT [OPTIONS]",
        "Makes pictures from a prompt.",
        options,
        G_N_ELEMENTS(options),
        0,
        1,
        rest,
    };
    int status = CLI_DONE;
    const char *from = find_from(argc, argv);
    g_autofree char *model = NULL, *vae = NULL;
    bool ok = !from || take_from(&g, from, &model, &status);

    vae = g_strdup(r->vae);
    if (ok && cli_parse(&command, argc, argv, &status)) {
        choose_model(&g, model);
        choose_vae(&g, vae);
        if (rest[0] && !r->prompt)
            r->prompt = g_strdup(rest[0]);
        if (!r->prompt)
            status = cli_fail(CLI_INPUT, "What should be drawn? Say --prompt \"a red apple\".");
        else if (check(&g, &status))
            status = run(&g);
    }
    request_clear(r);
    g_free(g.from);
    g_free(g.folders[0]);
    return status;
}
