/*
 * Samplers that remember nothing from the step before: Euler, Euler a, Heun, DPM2, DPM2 a,
 * DPM++ 2S a, DPM++ SDE, Restart. x is x0 + sigma * noise throughout.
 * Source: Karras et al. 2022 (Euler, Heun, churn), k-diffusion (the rest).
 */
#include "scheduler/internal.h"

#include <math.h>

/*
 * Split a step from sigma `from` to `to` into a deterministic step to *down and fresh noise *up
 * such that down^2 + up^2 = to^2.
 */
static void ancestral(double from, double to, double eta, double *down, double *up)
{
    *up = fmin(to, eta * sqrt(fmax(0.0, to * to * (from * from - to * to)) / (from * from)));
    *down = sqrt(to * to - *up * *up);
}

static void noise_up(struct sched_row *row, const struct sched_build *b, double amount)
{
    row->k_noise = b->params->s_noise * amount;
}

/* Karras' churn: noise is added before the call, which then sees a sigma above the schedule's. */
static struct sched_row *churned_row(struct sched_build *b, int i, bool ends_step)
{
    const struct sched_node *at = &b->nodes->node[i];
    const struct sched_params *p = b->params;
    struct sched_row *row = sched_row_add(b, i, ends_step);
    double gamma = 0.0;
    if (p->s_tmin <= at->sigma && at->sigma <= p->s_tmax)
        gamma = fmin(p->s_churn / b->nodes->n, G_SQRT2 - 1.0);
    if (gamma > 0.0) {
        double hat = at->sigma * (1.0 + gamma);
        row->pre_noise = p->s_noise * sqrt(hat * hat - at->sigma * at->sigma);
        sched_row_ve(b, row, sched_table_t(b->table, hat), hat);
    } else {
        sched_row_ve(b, row, at->t, at->sigma);
    }
    return row;
}

/* x moves along the line from x (at row->sigma) to x0 until sigma `to`. */
static void euler_to(struct sched_row *row, double to)
{
    sched_row_keep_x0(row);
    row->k_x = to / row->sigma;
    row->k_h[0] = 1.0 - to / row->sigma;
}

static void euler(struct sched_build *b, int i)
{
    struct sched_row *row = churned_row(b, i, true);
    euler_to(row, b->nodes->node[i + 1].sigma);
}

static void euler_a(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    double down, up;
    ancestral(at[0].sigma, at[1].sigma, b->params->eta, &down, &up);
    struct sched_row *row = sched_row_add(b, i, true);
    sched_row_ve(b, row, at->t, at->sigma);
    euler_to(row, down);
    noise_up(row, b, up);
}

/* The second half of a Heun step: the slope at `next` too. `first` is the row at its start. */
static void heun_from(struct sched_build *b, struct sched_row *first, const struct sched_node *next)
{
    int step = first->step;
    double dt = next->sigma - first->sigma;
    sched_row_keep_d(first);
    first->s_s = 0.0;
    first->s_x = 1.0;
    first->k_x = 1.0;
    first->k_h[0] = dt;
    struct sched_row *row = sched_row_add(b, step, true);
    sched_row_ve(b, row, next->t, next->sigma);
    sched_row_keep_d(row);
    row->k_s = 1.0;
    row->k_h[0] = row->k_h[1] = 0.5 * dt;
}

static void heun(struct sched_build *b, int i)
{
    const struct sched_node *next = &b->nodes->node[i + 1];
    if (next->sigma == 0.0)
        euler(b, i);
    else
        heun_from(b, churned_row(b, i, false), next);
}

/* Midpoint in log sigma; `first` is the row at the start of the step. */
static void midpoint(struct sched_build *b, int i, struct sched_row *first, double to, double up)
{
    double sigma = first->sigma, mid = sqrt(sigma * to);
    sched_row_keep_d(first);
    first->s_s = 0.0;
    first->s_x = 1.0;
    first->k_x = 1.0;
    first->k_h[0] = mid - sigma;
    struct sched_row *row = sched_row_add(b, i, true);
    sched_row_ve(b, row, sched_table_t(b->table, mid), mid);
    sched_row_keep_d(row);
    row->k_s = 1.0;
    row->k_h[0] = to - sigma;
    noise_up(row, b, up);
}

static void dpm2(struct sched_build *b, int i)
{
    double to = b->nodes->node[i + 1].sigma;
    if (to == 0.0)
        euler(b, i);
    else
        midpoint(b, i, churned_row(b, i, false), to, 0.0);
}

/* True when the step down ends at 0 and is therefore a plain Euler a step. */
static bool ends_clean(struct sched_build *b, int i, double *down, double *up)
{
    const struct sched_node *at = &b->nodes->node[i];
    ancestral(at[0].sigma, at[1].sigma, b->params->eta, down, up);
    if (*down > 0.0)
        return false;
    euler_a(b, i);
    return true;
}

static void dpm2_a(struct sched_build *b, int i)
{
    double down, up;
    if (ends_clean(b, i, &down, &up))
        return;
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = sched_row_add(b, i, false);
    sched_row_ve(b, row, at->t, at->sigma);
    midpoint(b, i, row, down, up);
}

static void dpmpp_2s_a(struct sched_build *b, int i)
{
    double down, up;
    if (ends_clean(b, i, &down, &up))
        return;
    const struct sched_node *at = &b->nodes->node[i];
    double mid = sqrt(at->sigma * down);
    struct sched_row *row = sched_row_add(b, i, false);
    sched_row_ve(b, row, at->t, at->sigma);
    row->s_s = 0.0;
    row->s_x = 1.0;
    euler_to(row, mid);
    row = sched_row_add(b, i, true);
    sched_row_ve(b, row, sched_table_t(b->table, mid), mid);
    euler_to(row, 0.0);
    row->k_s = down / at->sigma;
    row->k_h[0] = 1.0 - down / at->sigma;
    noise_up(row, b, up);
}

/*
 * The noise of the half step and of the whole step are increments of one Brownian motion in sigma,
 * as k-diffusion's BrownianTree gives them: the whole step's is the half step's draw and a second
 * draw, weighted by the square roots of the distances.
 */
static void dpmpp_sde(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    double sigma = at[0].sigma, to = at[1].sigma;
    if (to == 0.0) {
        euler_a(b, i);
        return;
    }
    double mid = sqrt(sigma * to), down, up;
    struct sched_row *row = sched_row_add(b, i, false);
    sched_row_ve(b, row, at->t, sigma);
    ancestral(sigma, mid, b->params->eta, &down, &up);
    euler_to(row, down);
    noise_up(row, b, up);
    ancestral(sigma, to, b->params->eta, &down, &up);
    row->s_s = 0.0;
    row->s_x = down / sigma;
    row->s_noise = b->params->s_noise * up * sqrt((sigma - mid) / (sigma - to));
    row = sched_row_add(b, i, true);
    sched_row_ve(b, row, sched_table_t(b->table, mid), mid);
    euler_to(row, 0.0);
    row->k_s = 1.0;
    row->k_h[0] = 1.0 - down / sigma;
    noise_up(row, b, up * sqrt((mid - to) / (sigma - to)));
}

/*
 * One Heun step of Restart between two sigmas; noise lifts x from sigma `reached` to `from` first.
 */
static void restart_step(struct sched_build *b, int *step, double reached, double from, double to)
{
    struct sched_row *row = sched_row_add(b, *step, to == 0.0);
    sched_row_ve(b, row, sched_table_t(b->table, from), from);
    if (reached < from)
        row->pre_noise = b->params->s_noise * sqrt(from * from - reached * reached);
    if (to == 0.0) {
        euler_to(row, to);
    } else {
        struct sched_node next = {.t = sched_table_t(b->table, to), .sigma = to};
        heun_from(b, row, &next);
    }
    ++*step;
}

static int nearest_sigma(const double *sigma, int n, double value)
{
    int best = 0;
    for (int i = 1; i <= n; i++) {
        if (fabs(sigma[i] - value) < fabs(sigma[best] - value))
            best = i;
    }
    return best;
}

/*
 * Xu et al. 2023: Heun down a Karras schedule; once near sigma 0.1, go back up to 2 with fresh
 * noise and down again, once, or twice from 36 steps on (A1111's choice of numbers).
 */
static void restart(struct sched_build *b)
{
    int n = b->nodes->n, again = 9, times = 1, step = 0;
    if (n >= 36) {
        again = n / 4;
        times = 2;
    }
    int down = n - again * times;
    double top = b->nodes->node[0].sigma, bottom = b->nodes->node[n - 1].sigma;
    g_autofree double *sigma = g_new(double, down + 1);
    g_autofree double *loop = g_new(double, again + 1);
    sched_karras(sigma, down, bottom, top, 7.0);
    sigma[down] = 0.0;
    int low = nearest_sigma(sigma, down, 0.1), high = nearest_sigma(sigma, down, 2.0);
    for (int i = 0; i < down; i++) {
        restart_step(b, &step, sigma[i], sigma[i], sigma[i + 1]);
        if (i + 1 != low || high >= low)
            continue;
        sched_karras(loop, again + 1, sigma[low], sigma[high], 7.0);
        for (int round = 0; round < times; round++) {
            for (int k = 0; k < again; k++)
                restart_step(b, &step, k ? loop[k] : sigma[low], loop[k], loop[k + 1]);
        }
    }
    b->plan->n_steps = step;
}

/* Below this many steps Restart is Heun. */
enum { RESTART_FROM = 20 };

void sched_build_onestep(struct sched_build *b)
{
    if (b->params->sampler == SCHED_RESTART && b->nodes->n >= RESTART_FROM) {
        restart(b);
        return;
    }
    for (int i = 0; i < b->nodes->n; i++) {
        switch (b->params->sampler) {
        case SCHED_EULER_A:
            euler_a(b, i);
            break;
        case SCHED_HEUN:
        case SCHED_RESTART:
            heun(b, i);
            break;
        case SCHED_DPM2:
            dpm2(b, i);
            break;
        case SCHED_DPM2_A:
            dpm2_a(b, i);
            break;
        case SCHED_DPMPP_2S_A:
            dpmpp_2s_a(b, i);
            break;
        case SCHED_DPMPP_SDE:
            dpmpp_sde(b, i);
            break;
        default:
            euler(b, i);
        }
    }
}
