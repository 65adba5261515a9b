#include "engine/decode.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "engine/device.h"
#include "engine/engine.h"

/*
 * Ways to decode, from the fastest to the one that needs least memory: rows of a strip in cells,
 * and how many levels of the way up stay whole (vae.h). 0 rows: the picture at once.
 */
static const struct way {
    int rows, cut;
} ways[] = {{0, 0}, {64, 2}, {32, 2}, {16, 1}, {8, 1}};
#define N_WAYS ((int)G_N_ELEMENTS(ways))

struct decoder {
    struct backend *backend;
    const struct vae *vae;
    const struct tiny *tiny;
    GPtrArray *notices;
    int first;         /* index into ways: larger pieces do not fit */
    int height, width; /* of the decode tape */
    int rows;          /* of the last picture's strips; 0 = whole */
    struct tape *decode, *quick, *encode;
    double strip_flops;
    int quick_height, quick_width, encode_height, encode_width;
};

struct decoder *decoder_create(struct backend *backend, const struct vae *vae,
                               const struct tiny *tiny, GPtrArray *notices)
{
    struct decoder *d = g_new0(struct decoder, 1);

    d->backend = backend;
    d->vae = vae;
    d->tiny = tiny && tiny->decoder.layers ? tiny : NULL;
    d->notices = notices ? g_ptr_array_ref(notices) : NULL;
    return d;
}

void decoder_forget(struct decoder *d)
{
    g_clear_pointer(&d->decode, tape_destroy);
    g_clear_pointer(&d->quick, tape_destroy);
    g_clear_pointer(&d->encode, tape_destroy);
}

void decoder_destroy(struct decoder *d)
{
    if (!d)
        return;
    decoder_forget(d);
    g_clear_pointer(&d->notices, g_ptr_array_unref);
    g_free(d);
}

/* ---- tapes ---- */

typedef struct tensor *(*forward_fn)(struct tape *, const struct vae *, struct tensor *);

static struct tape *record(const struct decoder *d, const char *name, int height, int width,
                           int channels, forward_fn forward)
{
    struct tape *t = tape_create(name);
    struct tensor *x = tape_input(t, "in", DTYPE_F32, 4, (int64_t[]){1, height, width, channels});

    tape_output(t, "out", forward(t, d->vae, x));
    return t;
}

/* Compiles; *tape stays NULL on failure. */
static bool compile(const struct decoder *d, struct tape *t, struct tape **tape, const int *cancel,
                    GError **error)
{
    if (!tape_finish(t, d->backend, cancel, error)) {
        tape_destroy(t);
        return false;
    }
    *tape = t;
    return true;
}

static bool run(struct tape *t, const float *in, float *out, const int *cancel, GError **error)
{
    tape_write(t, "in", in);
    if (!tape_run(t, cancel, error))
        return false;
    tape_read(t, "out", out);
    return true;
}

static float *take_floats(size_t n, GError **error)
{
    float *values = g_try_new(float, n);

    if (!values)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MEMORY,
                    _("Not enough memory to decode the picture; try a smaller size."));
    return values;
}

/* ---- strips ---- */

/*
 * A strip has rows of its own and, around them, what its convolutions look at, so that its own rows
 * come out as they would in the whole picture; all strips are windows of one height. What a group
 * norm divides out is a matter of the whole picture: it is found norm by norm, each in a pass over
 * all strips up to it. Slow, and exact.
 */
struct strips {
    const struct decoder *d;
    int height, width;    /* of the latent */
    int cut, rows, count; /* own rows of a strip, in cells; strips */
    int window;           /* rows of a strip with those around */
    int norms, groups;
    float *whole; /* [H << cut, W << cut, channels]: the lower part's */
    int channels;
    float *known; /* [norms][groups][2] */
    double flops; /* of the last strip */
    const int *cancel;
};

static int own_rows(const struct strips *s, int index)
{
    return MIN(s->rows, s->height - index * s->rows);
}

/* First row of a strip's window, and of its own rows within. */
static int window_at(const struct strips *s, int index, int *first)
{
    int halo = vae_upper_halo(s->d->vae, s->cut);
    int at = CLAMP(index * s->rows - halo, 0, s->height - s->window);

    *first = index * s->rows - at;
    return at;
}

static struct tape *record_strip(const struct strips *s, const struct vae_strip *strip)
{
    struct tape *t = tape_create("vae.strip");
    struct tensor *h =
        tape_input(t, "in", DTYPE_F32, 4,
                   (int64_t[]){1, s->window << s->cut, s->width << s->cut, s->channels});

    vae_decode_strip(t, s->d->vae, h, strip);
    return t;
}

static bool run_strip(const struct strips *s, struct tape *t, int index, int known, GError **error)
{
    int first, at = window_at(s, index, &first);
    size_t row = ((size_t)s->width << s->cut) * (size_t)s->channels;

    for (int k = 0; k < known; k++) {
        g_autofree char *name = g_strdup_printf("given.%d", k);

        tape_write(t, name, s->known + (size_t)k * s->groups * 2);
    }
    tape_write(t, "in", s->whole + ((size_t)at << s->cut) * row);
    return tape_run(t, s->cancel, error);
}

/* Norm k's means and variances over all strips. A tape serves those that lie alike in their
 * windows: the first ones, those in the middle, the last ones. */
static bool find_moments(struct strips *s, int k, GError **error)
{
    g_autofree float *values = g_new(float, 2 * s->groups);
    g_autofree double *sums = g_new0(double, 2 * s->groups);
    struct vae_strip strip = {.cut = s->cut, .known = k};
    struct tape *t = NULL;
    bool ok = true;

    for (int i = 0; ok && i < s->count; i++) {
        int first, rows = own_rows(s, i);

        window_at(s, i, &first);
        if (!t || first != strip.first || rows != strip.rows) {
            g_clear_pointer(&t, tape_destroy);
            strip.first = first;
            strip.rows = rows;
            ok = compile(s->d, record_strip(s, &strip), &t, s->cancel, error);
        }
        ok = ok && run_strip(s, t, i, k, error);
        if (!ok)
            break;
        tape_read(t, "moments", values);
        for (int g = 0; g < s->groups; g++) {
            double mean = values[2 * g], share = (double)rows / s->height;

            sums[2 * g] += share * mean;
            sums[2 * g + 1] += share * (values[2 * g + 1] + mean * mean);
        }
    }
    tape_destroy(t);
    for (int g = 0; g < s->groups; g++) {
        float *to = s->known + ((size_t)k * s->groups + g) * 2;

        to[0] = (float)sums[2 * g];
        to[1] = (float)MAX(sums[2 * g + 1] - sums[2 * g] * sums[2 * g], 0);
    }
    return ok;
}

static bool draw_strips(struct strips *s, float *picture, GError **error)
{
    struct vae_strip strip = {.cut = s->cut, .known = s->norms};
    int factor = vae_factor(s->d->vae);
    size_t row = (size_t)s->width * factor * 3;
    g_autofree float *out = take_floats((size_t)s->window * factor * row, error);
    struct tape *t = NULL;
    bool ok = out && compile(s->d, record_strip(s, &strip), &t, s->cancel, error);

    for (int i = 0; ok && i < s->count; i++) {
        int first;

        window_at(s, i, &first);
        if (!(ok = run_strip(s, t, i, s->norms, error)))
            break;
        tape_read(t, "out", out);
        memcpy(picture + (size_t)i * s->rows * factor * row, out + (size_t)first * factor * row,
               (size_t)own_rows(s, i) * factor * row * sizeof *out);
    }
    if (t)
        s->flops = tape_flops(t);
    tape_destroy(t);
    return ok;
}

static int channels_after(const struct vae_config *c, int cut)
{
    return c->channels[cut ? c->levels - cut : c->levels - 1];
}

static struct strips strips_of(const struct decoder *d, int height, int width,
                               const struct way *way)
{
    const struct vae_config *c = &d->vae->config;
    struct strips s = {.d = d,
                       .height = height,
                       .width = width,
                       .cut = MIN(way->cut, c->levels - 1),
                       .groups = c->groups};

    s.count = (height + way->rows - 1) / way->rows;
    s.rows = (height + s.count - 1) / s.count;
    s.count = (height + s.rows - 1) / s.rows;
    s.window = MIN(height, s.rows + 2 * vae_upper_halo(d->vae, s.cut));
    s.norms = vae_upper_norms(d->vae, s.cut);
    s.channels = channels_after(c, s.cut);
    return s;
}

/* Values of the lower part's output. */
static size_t whole_count(const struct strips *s)
{
    return ((size_t)s->height << s->cut) * ((size_t)s->width << s->cut) * (size_t)s->channels;
}

static struct tape *record_lower(const struct decoder *d, int height, int width, int cut)
{
    struct tape *t = tape_create("vae.lower");
    struct tensor *x = tape_input(t, "in", DTYPE_F32, 4,
                                  (int64_t[]){1, height, width, d->vae->config.latent_channels});

    tape_output(t, "out", vae_decode_lower(t, d->vae, x, cut));
    return t;
}

static bool decode_strips(struct decoder *d, const float *latent, int height, int width,
                          const struct way *way, float *picture, const int *cancel, GError **error)
{
    struct strips s = strips_of(d, height, width, way);
    g_autofree float *whole = take_floats(whole_count(&s), error);
    g_autofree float *known = g_new0(float, (size_t)s.norms *s.groups * 2);
    struct tape *t = NULL;
    bool ok;

    s.whole = whole;
    s.known = known;
    s.cancel = cancel;
    if (!whole)
        return false;
    ok = compile(d, record_lower(d, height, width, s.cut), &t, cancel, error) &&
         run(t, latent, whole, cancel, error);
    tape_destroy(t);
    for (int k = 0; ok && k < s.norms; k++)
        ok = find_moments(&s, k, error);
    ok = ok && draw_strips(&s, picture, error);
    d->strip_flops = s.flops;
    return ok;
}

/* ---- one way of decoding ---- */

void decoder_fail_numbers(GError **error)
{
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_NUMBERS,
                _("The autoencoder's numbers went out of range (NaN or infinity). Try "
                  "--precision f32."));
}

static bool decode_whole(struct decoder *d, const float *latent, int height, int width,
                         float *picture, const int *cancel, GError **error)
{
    if (!d->decode || d->height != height || d->width != width) {
        g_clear_pointer(&d->decode, tape_destroy);
        d->height = height;
        d->width = width;
        if (!compile(
                d,
                record(d, "vae.decode", height, width, d->vae->config.latent_channels, vae_decode),
                &d->decode, cancel, error))
            return false;
    }
    return run(d->decode, latent, picture, cancel, error);
}

/* `latent` is the autoencoder's own here. */
static bool decode_as(struct decoder *d, const float *latent, int height, int width,
                      const struct way *way, float *picture, const int *cancel, GError **error)
{
    size_t n = (size_t)height * width * vae_factor(d->vae) * vae_factor(d->vae) * 3;

    d->rows = way->rows;
    if (way->rows)
        g_clear_pointer(&d->decode, tape_destroy);
    if (!(way->rows ? decode_strips(d, latent, height, width, way, picture, cancel, error)
                    : decode_whole(d, latent, height, width, picture, cancel, error)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(picture[i])) {
            decoder_fail_numbers(error);
            return false;
        }
    return true;
}

/* ---- and the next one when it fails ---- */

static void tell(struct decoder *d, char *sentence)
{
    if (d->notices)
        g_ptr_array_add(d->notices, sentence);
    else
        g_free(sentence);
}

static bool is_smaller(const struct way *way, int height)
{
    return way->rows < height;
}

/* From the largest piece that is not known to be too large on, while memory is what is missing. */
static bool decode_smaller(struct decoder *d, const float *latent, int height, int width,
                           float *picture, const int *cancel, GError **error)
{
    GError *problem = NULL;

    for (int i = d->first; i < N_WAYS; i++) {
        if (!is_smaller(&ways[i], height))
            continue;
        g_clear_error(&problem);
        if (decode_as(d, latent, height, width, &ways[i], picture, cancel, &problem)) {
            d->first = i;
            return true;
        }
        g_clear_pointer(&d->decode, tape_destroy);
        if (!device_out_of_memory(problem))
            break;
    }
    if (!problem) /* smaller than the smallest strip, and told to be cut */
        return decode_as(d, latent, height, width, &ways[0], picture, cancel, error);
    g_propagate_error(error, problem);
    return false;
}

/* On a back end of its own that is gone afterwards. */
static bool decode_on_cpu(struct decoder *d, const float *latent, int height, int width,
                          float *picture, const int *cancel, GError **error)
{
    struct backend *backend = cpu_backend_create(DTYPE_F32, 0, error);
    struct decoder *cpu = backend ? decoder_create(backend, d->vae, NULL, NULL) : NULL;
    bool ok = cpu && decode_smaller(cpu, latent, height, width, picture, cancel, error);

    decoder_destroy(cpu);
    backend_destroy(backend);
    return ok;
}

bool decoder_decode(struct decoder *d, const float *latent, int height, int width, float *picture,
                    const int *cancel, GError **error)
{
    size_t n = (size_t)height * width * d->vae->config.latent_channels;
    g_autofree float *own = g_memdup2(latent, n * sizeof *latent);
    bool is_cpu = strcmp(d->backend->class->name, "cpu") == 0, numbers;
    GError *problem = NULL;

    vae_from_model(d->vae, own, n);
    if (decode_smaller(d, own, height, width, picture, cancel, &problem))
        return true;
    numbers = g_error_matches(problem, ENGINE_ERROR, ENGINE_ERROR_NUMBERS);
    if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_CANCELLED) ||
        (is_cpu && (!numbers || d->backend->precision == DTYPE_F32)) ||
        !decode_on_cpu(d, own, height, width, picture, cancel, NULL)) {
        g_propagate_error(error, problem);
        return false;
    }
    tell(d, numbers
                ? g_strdup_printf(_("The autoencoder's numbers went out of range in %s; the "
                                    "picture was decoded again in f32."),
                                  dtype_name(d->backend->precision))
                : g_strdup_printf(_("The picture was decoded on the CPU: %s"), problem->message));
    g_error_free(problem);
    return true;
}

/* ---- the quick one ---- */

bool decoder_quick(struct decoder *d, const float *latent, int height, int width, float *picture,
                   const int *cancel, GError **error)
{
    size_t n = (size_t)height * width * 64 * 3;

    if (!d->tiny) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("There is no TAESD decoder: put taesd_decoder.safetensors (for SDXL "
                      "taesdxl_decoder.safetensors) into a folder vae_approx."));
        return false;
    }
    if (!d->quick || d->quick_height != height || d->quick_width != width) {
        struct tape *t = tape_create("taesd");
        struct tensor *x = tape_input(t, "in", DTYPE_F32, 4,
                                      (int64_t[]){1, height, width, d->tiny->latent_channels});

        g_clear_pointer(&d->quick, tape_destroy);
        tape_output(t, "out", tiny_decode(t, d->tiny, x));
        if (!compile(d, t, &d->quick, cancel, error))
            return false;
        d->quick_height = height;
        d->quick_width = width;
    }
    if (!run(d->quick, latent, picture, cancel, error))
        return false;
    for (size_t i = 0; i < n; i++)
        picture[i] = picture[i] * 2 - 1;
    return true;
}

/* ---- pictures to latents ---- */

bool decoder_encode(struct decoder *d, const float *picture, int height, int width, float *latent,
                    const int *cancel, GError **error)
{
    int channels = d->vae->config.latent_channels, factor = vae_factor(d->vae);
    size_t cells = (size_t)height * width;
    g_autofree float *moments = g_new(float, cells *channels * 2);

    if (!d->vae->has_encoder) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("This model has no encoder, so it can't start from a picture."));
        return false;
    }
    if (!d->encode || d->encode_height != height || d->encode_width != width) {
        g_clear_pointer(&d->encode, tape_destroy);
        if (!compile(d, record(d, "vae.encode", height * factor, width * factor, 3, vae_encode),
                     &d->encode, cancel, error))
            return false;
        d->encode_height = height;
        d->encode_width = width;
    }
    if (!run(d->encode, picture, moments, cancel, error))
        return false;
    for (size_t i = 0; i < cells; i++)
        memcpy(latent + i * channels, moments + i * channels * 2,
               (size_t)channels * sizeof *latent);
    vae_to_model(d->vae, latent, cells * channels);
    return true;
}

/* ---- what it takes ---- */

int decoder_strips(const struct decoder *d)
{
    return d->rows;
}

static struct tape_memory estimate(const struct decoder *d, struct tape *t, double *flops)
{
    struct tape_memory memory = tape_estimate(t, d->backend);

    if (flops)
        *flops = tape_flops(t);
    tape_destroy(t);
    return memory;
}

struct tape_memory decoder_memory(const struct decoder *d, int height, int width, double *flops)
{
    return estimate(d, record(d, "", height, width, d->vae->config.latent_channels, vae_decode),
                    flops);
}

static size_t way_bytes(const struct decoder *d, int height, int width, const struct way *way)
{
    struct tape_memory lower, upper;
    struct vae_strip strip;
    struct strips s;

    if (!way->rows) {
        lower = decoder_memory(d, height, width, NULL);
        return lower.arena + lower.kept;
    }
    s = strips_of(d, height, width, way);
    strip = (struct vae_strip){.cut = s.cut, .known = s.norms};
    lower = estimate(d, record_lower(d, height, width, s.cut), NULL);
    upper = estimate(d, record_strip(&s, &strip), NULL);
    return whole_count(&s) * sizeof(float) +
           MAX(lower.arena + lower.kept, upper.arena + upper.kept);
}

size_t decoder_bytes(const struct decoder *d, int height, int width, int rows)
{
    const struct way *way = &ways[0];

    for (int i = 0; i < N_WAYS; i++)
        if (ways[i].rows == rows)
            way = &ways[i];
    return way_bytes(d, height, width, way);
}

int decoder_choose(const struct decoder *d, int height, int width, size_t budget)
{
    int best = 0;

    for (int i = 0; i < N_WAYS; i++) {
        if (!is_smaller(&ways[i], height))
            continue;
        best = ways[i].rows;
        if (way_bytes(d, height, width, &ways[i]) <= budget)
            break;
    }
    return best;
}

void decoder_begin(struct decoder *d, int rows)
{
    for (d->first = 0; d->first + 1 < N_WAYS && ways[d->first].rows != rows;)
        d->first++;
}

double decoder_flops(const struct decoder *d)
{
    return d->decode ? tape_flops(d->decode) : d->strip_flops;
}

void decoder_dump(const struct decoder *d, GString *out)
{
    struct tape *const tapes[] = {d->decode, d->quick, d->encode};

    for (gsize i = 0; i < G_N_ELEMENTS(tapes); i++)
        if (tapes[i])
            tape_dump(tapes[i], out);
}
