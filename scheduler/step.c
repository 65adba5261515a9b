/* Runs a plan: the registers x, s and h of scheduler.h over n values. */
#include "scheduler/scheduler.h"

#include <string.h>

struct sched_state {
    const struct sched_plan *plan;
    size_t n;
    double *x, *s;
    double *h[SCHED_HISTORY]; /* h[newest] is h[0] of the row, then backwards */
    int newest;
    float *noise;    /* [n] NULL when the plan draws none */
    double *scratch; /* [n] input or output in doubles */
};

struct sched_state *sched_state_new(const struct sched_plan *plan, size_t n)
{
    struct sched_state *state = g_new0(struct sched_state, 1);
    state->plan = plan;
    state->n = n;
    state->x = g_new0(double, n);
    state->s = g_new0(double, n);
    state->scratch = g_new0(double, n);
    for (int j = 0; j < SCHED_HISTORY; j++)
        state->h[j] = g_new0(double, n);
    if (plan->draws)
        state->noise = g_new0(float, n);
    return state;
}

void sched_state_free(struct sched_state *state)
{
    if (!state)
        return;
    g_free(state->x);
    g_free(state->s);
    g_free(state->scratch);
    for (int j = 0; j < SCHED_HISTORY; j++)
        g_free(state->h[j]);
    g_free(state->noise);
    g_free(state);
}

void sched_start(struct sched_state *state, const float *noise, const float *latent)
{
    const struct sched_plan *plan = state->plan;
    g_return_if_fail(latent || plan->init_latent == 0.0);
    for (size_t i = 0; i < state->n; i++) {
        state->x[i] = plan->init_noise * noise[i];
        if (plan->init_latent != 0.0)
            state->x[i] += plan->init_latent * latent[i];
        state->s[i] = 0.0;
    }
    for (int j = 0; j < SCHED_HISTORY; j++)
        memset(state->h[j], 0, state->n * sizeof *state->h[j]);
    state->newest = 0;
}

void sched_input_f64(struct sched_state *state, const struct sched_row *row, sched_draw_fn draw,
                     void *user, double *input)
{
    if (row->pre_noise != 0.0) {
        draw(state->noise, state->n, user);
        for (size_t i = 0; i < state->n; i++)
            state->x[i] += row->pre_noise * state->noise[i];
    }
    for (size_t i = 0; i < state->n; i++)
        input[i] = row->in_scale * state->x[i];
}

void sched_input(struct sched_state *state, const struct sched_row *row, sched_draw_fn draw,
                 void *user, float *input)
{
    sched_input_f64(state, row, draw, user, state->scratch);
    for (size_t i = 0; i < state->n; i++)
        input[i] = (float)state->scratch[i];
}

/*
 * into[i] += k * from[i]; most coefficients of a row are 0, and an unused register may be anything.
 */
static void add_scaled(double *into, double k, const double *from, size_t n)
{
    if (k == 0.0)
        return;
    for (size_t i = 0; i < n; i++)
        into[i] += k * from[i];
}

static void scale(double *x, double k, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = k == 0.0 ? 0.0 : k * x[i];
}

static void add_noise(double *into, double k, const float *noise, size_t n)
{
    if (k == 0.0)
        return;
    for (size_t i = 0; i < n; i++)
        into[i] += k * noise[i];
}

void sched_step_f64(struct sched_state *state, const struct sched_row *row, const double *out,
                    sched_draw_fn draw, void *user, double *x0)
{
    size_t n = state->n;
    if (x0) {
        for (size_t i = 0; i < n; i++)
            x0[i] = row->x0_x * state->x[i] + row->x0_out * out[i];
    }
    state->newest = (state->newest + SCHED_HISTORY - 1) % SCHED_HISTORY;
    double *h[SCHED_HISTORY];
    for (int j = 0; j < SCHED_HISTORY; j++)
        h[j] = state->h[(state->newest + j) % SCHED_HISTORY];
    for (size_t i = 0; i < n; i++)
        h[0][i] = row->h_x * state->x[i] + row->h_out * out[i];
    if (row->s_noise != 0.0 || row->k_noise != 0.0)
        draw(state->noise, n, user);

    scale(state->s, row->s_s, n);
    add_scaled(state->s, row->s_x, state->x, n);
    for (int j = 0; j < SCHED_HISTORY; j++)
        add_scaled(state->s, row->s_h[j], h[j], n);
    add_noise(state->s, row->s_noise, state->noise, n);

    scale(state->x, row->k_x, n);
    add_scaled(state->x, row->k_s, state->s, n);
    for (int j = 0; j < SCHED_HISTORY; j++)
        add_scaled(state->x, row->k_h[j], h[j], n);
    add_noise(state->x, row->k_noise, state->noise, n);
}

void sched_step(struct sched_state *state, const struct sched_row *row, const float *out,
                sched_draw_fn draw, void *user, float *x0)
{
    for (size_t i = 0; i < state->n; i++)
        state->scratch[i] = out[i];
    if (x0) {
        for (size_t i = 0; i < state->n; i++)
            x0[i] = (float)(row->x0_x * state->x[i] + row->x0_out * state->scratch[i]);
    }
    sched_step_f64(state, row, state->scratch, draw, user, NULL);
}

void sched_latent(const struct sched_state *state, float *x)
{
    for (size_t i = 0; i < state->n; i++)
        x[i] = (float)state->x[i];
}

double *sched_x(struct sched_state *state)
{
    return state->x;
}
