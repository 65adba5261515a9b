#include "engine/sample.h"

#include <glib/gi18n-lib.h>
#include <math.h>

#include "engine/engine.h"
#include "engine/npy.h"
#include "scheduler/noise.h"

struct loop {
    const struct sampling *s;
    struct noise noise;
    size_t count;
    float *torch; /* one draw in PyTorch's order */
    float *start, *input, *output, *latent, *estimate;
};

static void draw(float *values, size_t n, void *user)
{
    struct loop *l = user;

    noise_draw(&l->noise, l->torch, n);
    npy_from_torch(l->torch, values, 1, l->s->height, l->s->width, l->s->channels);
}

static void first_noise(struct loop *l)
{
    const struct sampling *s = l->s;
    const struct request *r = s->request;
    enum noise_kind kind = r->rng == RNG_GPU ? NOISE_GPU : NOISE_CPU;
    struct noise_start start = {
        .channels = s->channels,
        .height = s->height,
        .width = s->width,
        .seed = r->seed,
        .variation = r->variation_strength,
        .variation_seed = r->variation_seed,
    };

    if (s->noise) {
        for (size_t i = 0; i < l->count; i++)
            l->start[i] = s->noise[i];
        /* The steps' own noise begins the generator, as in diffusers when latents are given. */
        noise_init(&l->noise, kind, r->seed);
        return;
    }
    noise_first(&l->noise, kind, &start, l->torch);
    npy_from_torch(l->torch, l->start, 1, s->height, s->width, s->channels);
}

static bool is_finite(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

static void report(struct loop *l, int step, int rows, const float *estimate)
{
    struct sample_step done = {step, rows, l->latent, estimate};

    if (l->s->on_step)
        l->s->on_step(&done, l->s->user);
}

/*
 * Where the mask says so, x is the picture's latent with this row's noise. Of x only its scale is
 * known: in_scale * x is sqrt(alpha_bar) * x0 + sqrt(1 - alpha_bar) * noise.
 */
static void keep_unmasked(struct loop *l, struct sched_state *state, const struct sched_row *row)
{
    const struct sampling *s = l->s;
    double alpha = row ? 1 / sqrt(1 + row->sigma * row->sigma) : 1, beta = sqrt(1 - alpha * alpha);
    double scale = row ? 1 / row->in_scale : 1, *x = sched_x(state);

    if (!s->mask || !s->init)
        return;
    for (size_t i = 0; i < l->count; i++) {
        double m = s->mask[i / (size_t)s->channels];

        x[i] = m * x[i] + (1 - m) * scale * (alpha * s->init[i] + beta * l->start[i]);
    }
}

static bool run_row(struct loop *l, struct sched_state *state, int index, GError **error)
{
    const struct sampling *s = l->s;
    const struct sched_row *row = &s->plan->rows[index];
    struct guidance guidance;

    keep_unmasked(l, state, row);
    prompt_pair_at(s->prompts, index, s->request->cfg, &guidance);
    sched_input(state, row, draw, l, l->input);
    if (!denoiser_run(s->denoiser, index, l->input, &guidance, l->output, s->cancel, error))
        return false;
    sched_step(state, row, l->output, draw, l, l->estimate);
    sched_latent(state, l->latent);
    if (!is_finite(l->output, l->count) || !is_finite(l->latent, l->count)) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_NUMBERS,
                    _("The U-Net's numbers went out of range at step %d (NaN or infinity). Try "
                      "--precision f32, or less guidance."),
                    row->step + 1);
        return false;
    }
    if (row->ends_step)
        report(l, row->step + 1, index + 1, l->estimate);
    return true;
}

static bool run_rows(struct loop *l, GError **error)
{
    const struct sampling *s = l->s;
    struct sched_state *state = sched_state_new(s->plan, l->count);
    bool ok = true;

    sched_start(state, l->start, s->init);
    sched_latent(state, l->latent);
    report(l, 0, 0, NULL);
    for (int i = 0; ok && i < s->plan->n_rows; i++)
        ok = run_row(l, state, i, error);
    keep_unmasked(l, state, NULL);
    sched_latent(state, l->latent);
    sched_state_free(state);
    return ok;
}

bool sample(const struct sampling *s, float *latent, GError **error)
{
    struct loop l = {.s = s, .count = (size_t)s->height * s->width * s->channels};
    g_autofree float *room = g_new(float, l.count * 5);
    bool ok;

    l.torch = room;
    l.start = room + l.count;
    l.input = room + 2 * l.count;
    l.output = room + 3 * l.count;
    l.estimate = room + 4 * l.count;
    l.latent = latent;
    denoiser_begin(s->denoiser, s->height, s->width, s->plan, s->extra);
    first_noise(&l);
    ok = run_rows(&l, error);
    return ok;
}
