#include "engine/decode.h"

#include <string.h>

#include "engine/engine.h"
#include "vae/tiles.h"

/* Cells a side above which the decoder's upper half is cut, and how far tiles overlap: what a
 * 1024-pixel picture needs fits in 2 GB, and the seam is hidden by the fade. */
#define TILE_SIDE 128
#define TILE_OVERLAP 16

struct decoder {
    struct backend *backend;
    const struct vae *vae;
    int height, width;                   /* of the tapes */
    struct tape *decode, *lower, *upper; /* whole, or in two halves */
    struct tile_plan tiles;
    int encode_height, encode_width;
    struct tape *encode;
};

struct decoder *decoder_create(struct backend *backend, const struct vae *vae)
{
    struct decoder *d = g_new0(struct decoder, 1);

    d->backend = backend;
    d->vae = vae;
    return d;
}

void decoder_forget(struct decoder *d)
{
    g_clear_pointer(&d->decode, tape_destroy);
    g_clear_pointer(&d->lower, tape_destroy);
    g_clear_pointer(&d->upper, tape_destroy);
    g_clear_pointer(&d->encode, tape_destroy);
}

void decoder_destroy(struct decoder *d)
{
    if (!d)
        return;
    decoder_forget(d);
    g_free(d);
}

/* Records, compiles; *tape stays NULL on failure. */
static bool compile(struct decoder *d, const char *name, int height, int width, int channels,
                    struct tensor *(*forward)(struct tape *, const struct vae *, struct tensor *),
                    struct tape **tape, const int *cancel, GError **error)
{
    struct tape *t = tape_create(name);
    struct tensor *x = tape_input(t, "in", DTYPE_F32, 4, (int64_t[]){1, height, width, channels});

    tape_output(t, "out", forward(t, d->vae, x));
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

static bool prepare_decode(struct decoder *d, int height, int width, const int *cancel,
                           GError **error)
{
    const struct vae_config *c = &d->vae->config;
    int top = c->channels[c->levels - 1];

    if ((d->decode || d->upper) && d->height == height && d->width == width)
        return true;
    g_clear_pointer(&d->decode, tape_destroy);
    g_clear_pointer(&d->lower, tape_destroy);
    g_clear_pointer(&d->upper, tape_destroy);
    d->height = height;
    d->width = width;
    if (height <= TILE_SIDE && width <= TILE_SIDE)
        return compile(d, "vae.decode", height, width, c->latent_channels, vae_decode, &d->decode,
                       cancel, error);
    d->tiles = tile_plan(height, width, TILE_SIDE, TILE_OVERLAP);
    return compile(d, "vae.lower", height, width, c->latent_channels, vae_decode_lower, &d->lower,
                   cancel, error) &&
           compile(d, "vae.upper", d->tiles.tile_height, d->tiles.tile_width, top, vae_decode_upper,
                   &d->upper, cancel, error);
}

static bool decode_tiles(struct decoder *d, const float *latent, float *picture, const int *cancel,
                         GError **error)
{
    const struct vae_config *c = &d->vae->config;
    const struct tile_plan *plan = &d->tiles;
    int top = c->channels[c->levels - 1], factor = vae_factor(d->vae);
    size_t cells = (size_t)plan->height * plan->width;
    size_t tile_cells = (size_t)plan->tile_height * plan->tile_width;
    g_autofree float *whole = g_try_new(float, cells *top);
    g_autofree float *in = g_try_new(float, tile_cells *top);
    g_autofree float *out = g_try_new(float, tile_cells *factor *factor * 3);

    if (!whole || !in || !out) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MEMORY,
                    "Not enough memory to decode the picture; try a smaller size.");
        return false;
    }
    if (!run(d->lower, latent, whole, cancel, error))
        return false;
    memset(picture, 0, cells * factor * factor * 3 * sizeof *picture);
    for (int i = 0; i < tile_count(plan); i++) {
        tile_cut(plan, i, top, whole, in);
        if (!run(d->upper, in, out, cancel, error))
            return false;
        tile_blend(plan, i, factor, 3, out, picture);
    }
    return true;
}

bool decoder_decode(struct decoder *d, const float *latent, int height, int width, float *picture,
                    const int *cancel, GError **error)
{
    size_t n = (size_t)height * width * d->vae->config.latent_channels;
    g_autofree float *own = g_memdup2(latent, n * sizeof *latent);

    if (!prepare_decode(d, height, width, cancel, error))
        return false;
    vae_from_model(d->vae, own, n);
    return d->decode ? run(d->decode, own, picture, cancel, error)
                     : decode_tiles(d, own, picture, cancel, error);
}

bool decoder_encode(struct decoder *d, const float *picture, int height, int width, float *latent,
                    const int *cancel, GError **error)
{
    int channels = d->vae->config.latent_channels, factor = vae_factor(d->vae);
    size_t cells = (size_t)height * width;
    g_autofree float *moments = g_new(float, cells *channels * 2);

    if (!d->vae->has_encoder) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    "This model has no encoder, so it can't start from a picture.");
        return false;
    }
    if (!d->encode || d->encode_height != height || d->encode_width != width) {
        g_clear_pointer(&d->encode, tape_destroy);
        if (!compile(d, "vae.encode", height * factor, width * factor, 3, vae_encode, &d->encode,
                     cancel, error))
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

double decoder_flops(const struct decoder *d)
{
    return d->decode ? tape_flops(d->decode) : d->upper ? tape_flops(d->upper) : 0;
}

void decoder_dump(const struct decoder *d, GString *out)
{
    struct tape *const tapes[] = {d->decode, d->lower, d->upper, d->encode};

    for (gsize i = 0; i < G_N_ELEMENTS(tapes); i++)
        if (tapes[i])
            tape_dump(tapes[i], out);
}
