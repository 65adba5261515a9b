/*
 * Samplers on x = a * x0 + s * noise with a^2 + s^2 = 1: DDIM, DDPM, PLMS, LCM, TCD.
 * Source: Song et al. 2021 (DDIM), Ho et al. 2020 (DDPM, the smaller of its two variances), Liu et
 * al. 2022 (PNDM without its Runge-Kutta start), Luo et al. 2023 (LCM), Zheng et al. 2024 (TCD).
 */
#include "scheduler/internal.h"

#include <math.h>

static struct sched_row *row_at(struct sched_build *b, int i, int step, bool ends_step)
{
    struct sched_row *row = sched_row_add(b, step, ends_step);
    sched_row_vp(b, row, &b->nodes->node[i]);
    return row;
}

/* Remember the predicted noise (x - a * x0) / s. */
static void keep_eps(const struct sched_build *b, struct sched_row *row,
                     const struct sched_node *at)
{
    switch (b->model->prediction) {
    case SCHED_EPSILON:
        row->h_out = 1.0;
        break;
    case SCHED_V_PREDICTION:
        row->h_x = at->s;
        row->h_out = at->a;
        break;
    case SCHED_SAMPLE:
        row->h_x = 1.0 / at->s;
        row->h_out = -at->a / at->s;
        break;
    }
}

/*
 * x = to_x0 * x0 + to_eps * eps, with eps in h[0]. x0 in terms of x and eps divides by a, which may
 * be 0 when the model does not predict eps, so x0 is written in x and out, and out in h[0].
 */
static void combine(const struct sched_build *b, struct sched_row *row, const struct sched_node *at,
                    double to_x0, double to_eps)
{
    switch (b->model->prediction) {
    case SCHED_EPSILON:
        row->h_out = 1.0;
        row->k_x = to_x0 / at->a;
        row->k_h[0] = to_eps - to_x0 * at->s / at->a;
        break;
    case SCHED_V_PREDICTION:
        row->h_out = 1.0;
        row->k_x = to_x0 * at->a + to_eps * at->s;
        row->k_h[0] = to_eps * at->a - to_x0 * at->s;
        break;
    case SCHED_SAMPLE:
        row->h_out = 1.0;
        row->k_x = to_eps / at->s;
        row->k_h[0] = to_x0 - to_eps * at->a / at->s;
        break;
    }
}

static void ddim(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i, i, true);
    double alpha = at->a / at->a_next; /* of this step alone */
    double noise = b->params->eta * at->s_next / at->s * sqrt(fmax(0.0, 1.0 - alpha * alpha));
    combine(b, row, at, at->a_next, sqrt(fmax(0.0, at->s_next * at->s_next - noise * noise)));
    row->k_noise = b->params->s_noise * noise;
}

static void ddpm(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i, i, true);
    double alpha = at->a / at->a_next, beta = 1.0 - alpha * alpha;
    double var = at->s * at->s;
    sched_row_keep_x0(row);
    row->k_h[0] = at->a_next * beta / var;
    row->k_x = alpha * at->s_next * at->s_next / var;
    row->k_noise = b->params->s_noise * at->s_next / at->s * sqrt(fmax(0.0, beta));
}

/* PNDM's transfer from `at` to the level (a, s), formula 9, of the weighted noise (or v) in h. */
static void plms_transfer(const struct sched_build *b, struct sched_row *row,
                          const struct sched_node *at, double a, double s, double *on_x,
                          const double *weights)
{
    double on_eps = (at->a * at->a - a * a) / (at->a * (at->a * s + at->s * a));
    double scale = on_eps;
    *on_x = a / at->a;
    if (b->model->prediction == SCHED_V_PREDICTION) {
        *on_x += on_eps * at->s;
        scale = on_eps * at->a;
    }
    for (int j = 0; j < SCHED_HISTORY; j++)
        row->k_h[j] = scale * weights[j];
}

/*
 * For v models diffusers mixes the v of several calls and turns the mixture into noise at the
 * newest x, so h keeps v itself.
 */
static void plms_keep(const struct sched_build *b, struct sched_row *row,
                      const struct sched_node *at)
{
    keep_eps(b, row, at);
    if (b->model->prediction == SCHED_V_PREDICTION) {
        row->h_x = 0.0;
        row->h_out = 1.0;
    }
}

static void plms(struct sched_build *b)
{
    static const double average[SCHED_HISTORY] = {0.5, 0.5};
    const struct sched_node *node = b->nodes->node;
    int n = b->nodes->n;
    struct sched_row *row = row_at(b, 0, 0, n == 1);
    plms_keep(b, row, &node[0]);
    row->s_s = 0.0;
    row->s_x = 1.0;
    plms_transfer(b, row, &node[0], node[0].a_next, node[0].s_next, &row->k_x,
                  SCHED_ADAMS_BASHFORTH[0]);
    if (n == 1)
        return;
    /* The first step again, with the mean of the outputs at both ends. */
    struct sched_node from = node[0];
    double a = node[0].a_next, s = node[0].s_next;
    if (b->nodes->stride) {
        int t = MIN((int)node[1].t + b->nodes->stride, b->table->n - 1);
        from.a = sqrt(b->table->abar[t]);
        from.s = sqrt(1.0 - b->table->abar[t]);
        a = node[1].a;
        s = node[1].s;
    }
    row = row_at(b, 1, 0, true);
    plms_keep(b, row, &node[1]);
    plms_transfer(b, row, &from, a, s, &row->k_s, average);
    for (int i = 1; i < n; i++) {
        double gapped[SCHED_HISTORY] = {0};
        /* The call at the end of the first try does not count as a past output; it is h[i] now. */
        for (int j = 0; j < MIN(i + 1, SCHED_ORDER); j++)
            gapped[j < i ? j : j + 1] = SCHED_ADAMS_BASHFORTH[MIN(i, SCHED_ORDER - 1)][j];
        row = row_at(b, i, i, true);
        plms_keep(b, row, &node[i]);
        plms_transfer(b, row, &node[i], node[i].a_next, node[i].s_next, &row->k_x, gapped);
    }
}

/*
 * On the distilled timesteps with the consistency function's boundary condition c_skip * x +
 * c_out * x0 (sigma_data 0.5, timesteps scaled by 10); on others, which may come near 0 where that
 * would keep all noise, plainly x0, as k-diffusion based tools do.
 */
static void lcm(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i, i, true);
    if (b->nodes->schedule == SCHEDULE_DISTILLED) {
        double t = 10.0 * at->t, data = 0.5, norm = t * t + data * data;
        double c_skip = data * data / norm, c_out = t / sqrt(norm);
        row->x0_x = c_skip + c_out * row->x0_x;
        row->x0_out *= c_out;
    }
    sched_row_keep_x0(row);
    row->k_h[0] = at->a_next;
    row->k_noise = b->params->s_noise * at->s_next;
}

static void tcd(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i, i, true);
    int s = (int)floor((1.0 - b->params->eta) * at[1].t);
    double a_s = sqrt(b->table->abar[s]), s_s = sqrt(1.0 - b->table->abar[s]);
    bool last = i == b->nodes->n - 1;
    double noise = 0.0, keep = 1.0;
    if (!last && b->params->eta > 0.0) {
        keep = at->a_next / a_s;
        noise = sqrt(fmax(0.0, 1.0 - keep * keep));
    }
    combine(b, row, at, keep * a_s, keep * s_s);
    row->k_noise = b->params->s_noise * noise;
}

void sched_build_vp(struct sched_build *b)
{
    if (b->params->sampler == SCHED_PLMS) {
        plms(b);
        return;
    }
    for (int i = 0; i < b->nodes->n; i++) {
        switch (b->params->sampler) {
        case SCHED_DDPM:
            ddpm(b, i);
            break;
        case SCHED_LCM:
            lcm(b, i);
            break;
        case SCHED_TCD:
            tcd(b, i);
            break;
        default:
            ddim(b, i);
        }
    }
}
