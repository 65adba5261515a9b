/*
 * Samplers that remember earlier calls: DPM++ 2M, 2M SDE, 3M SDE, LMS, iPNDM, UniPC.
 * x is x0 + sigma * noise throughout; lambda is -log sigma.
 * Source: Lu et al. 2022 (DPM-Solver++), Zhao et al. 2023 (UniPC, B2(h), order 2, data
 * prediction), k-diffusion.
 */
#include "scheduler/internal.h"

#include <math.h>

static struct sched_row *row_at(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = sched_row_add(b, i, true);
    sched_row_ve(b, row, at->t, at->sigma);
    return row;
}

/* log(sigma[i] / sigma[i + 1]), the width of step i in lambda; infinite for the last step. */
static double width(const struct sched_build *b, int i)
{
    return log(b->nodes->node[i].sigma / b->nodes->node[i + 1].sigma);
}

static void dpmpp_2m(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i);
    double rest = 1.0 - at[1].sigma / at[0].sigma, slope = 0.0;
    if (i > 0 && at[1].sigma > 0.0)
        slope = 0.5 * width(b, i) / width(b, i - 1);
    sched_row_keep_x0(row);
    row->k_x = at[1].sigma / at[0].sigma;
    row->k_h[0] = rest * (1.0 + slope);
    row->k_h[1] = -rest * slope;
}

static void dpmpp_2m_sde(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i);
    sched_row_keep_x0(row);
    if (at[1].sigma == 0.0) {
        row->k_h[0] = 1.0;
        return;
    }
    double h = width(b, i), eta_h = b->params->eta * h;
    double rest = -expm1(-h - eta_h), slope = 0.0;
    if (i > 0) {
        double r = width(b, i - 1) / h;
        slope = b->params->sampler == SCHED_DPMPP_2M_SDE ? 0.5 * rest / r
                                                         : (1.0 - rest / (h + eta_h)) / r;
    }
    row->k_x = at[1].sigma / at[0].sigma * exp(-eta_h);
    row->k_h[0] = rest + slope;
    row->k_h[1] = -slope;
    row->k_noise = b->params->s_noise * at[1].sigma * sqrt(-expm1(-2.0 * eta_h));
}

static void dpmpp_3m_sde(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i);
    sched_row_keep_x0(row);
    if (at[1].sigma == 0.0) {
        row->k_h[0] = 1.0;
        return;
    }
    double h = width(b, i), h_eta = h * (1.0 + b->params->eta);
    double phi_2 = expm1(-h_eta) / h_eta + 1.0, phi_3 = phi_2 / h_eta - 0.5;
    row->k_x = exp(-h_eta);
    row->k_h[0] = -expm1(-h_eta);
    row->k_noise = b->params->s_noise * at[1].sigma * sqrt(-expm1(-2.0 * h * b->params->eta));
    if (i == 0)
        return;
    double r0 = width(b, i - 1) / h;
    if (i == 1) {
        row->k_h[0] += phi_2 / r0;
        row->k_h[1] = -phi_2 / r0;
        return;
    }
    /* First differences 10 = (h0 - h1) / r0 and 11 = (h1 - h2) / r1; d1 and d2 combine them. */
    double r1 = width(b, i - 2) / h;
    double on_10 = phi_2 * (1.0 + r0 / (r0 + r1)) - phi_3 / (r0 + r1);
    double on_11 = -phi_2 * r0 / (r0 + r1) + phi_3 / (r0 + r1);
    row->k_h[0] += on_10 / r0;
    row->k_h[1] = -on_10 / r0 + on_11 / r1;
    row->k_h[2] = -on_11 / r1;
}

/*
 * The integral over step i of the Lagrange polynomial of past call j among the last `order` calls.
 * Two Gauss-Legendre points are exact for its degree of at most 3.
 */
static double lms_weight(const struct sched_node *node, int i, int j, int order)
{
    double from = node[i].sigma, to = node[i + 1].sigma, sum = 0.0;
    for (int side = -1; side <= 1; side += 2) {
        double tau = 0.5 * (from + to) + side * 0.5 * (to - from) / sqrt(3.0), product = 1.0;
        for (int k = 0; k < order; k++) {
            if (k != j)
                product *= (tau - node[i - k].sigma) / (node[i - j].sigma - node[i - k].sigma);
        }
        sum += product;
    }
    return 0.5 * (to - from) * sum;
}

static void lms(struct sched_build *b, int i)
{
    struct sched_row *row = row_at(b, i);
    int order = MIN(i + 1, SCHED_ORDER);
    sched_row_keep_d(row);
    row->k_x = 1.0;
    for (int j = 0; j < order; j++)
        row->k_h[j] = lms_weight(b->nodes->node, i, j, order);
}

const double SCHED_ADAMS_BASHFORTH[SCHED_ORDER][SCHED_HISTORY] = {
    {1.0},
    {3.0 / 2, -1.0 / 2},
    {23.0 / 12, -16.0 / 12, 5.0 / 12},
    {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24},
};

static void ipndm(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i);
    /* The last step goes to x0 itself, as ComfyUI's sample_ipndm does. */
    int order = at[1].sigma == 0.0 ? 1 : MIN(i + 1, SCHED_ORDER);
    sched_row_keep_d(row);
    row->k_x = 1.0;
    for (int j = 0; j < order; j++)
        row->k_h[j] = (at[1].sigma - at[0].sigma) * SCHED_ADAMS_BASHFORTH[order - 1][j];
}

static int unipc_order(const struct sched_build *b, int i)
{
    return MIN(2, MIN(b->nodes->n - i, i + 1));
}

/*
 * UniC: redo step i - 1 with the call just made (h[0]) taken into account. s holds the x that step
 * started from and receives the corrected x.
 */
static void unipc_correct(struct sched_build *b, int i, struct sched_row *row)
{
    const struct sched_node *at = &b->nodes->node[i];
    double h = width(b, i - 1), ratio = at[0].sigma / at[-1].sigma, phi = ratio - 1.0;
    double on_new = 0.5, on_old = 0.0;
    if (unipc_order(b, i - 1) == 2) {
        double rk = -width(b, i - 2) / h;
        double phi_2 = -phi / h - 1.0, b1 = phi_2 / phi, b2 = 2.0 * (-phi_2 / h - 0.5) / phi;
        double rho = (b1 - b2) / (1.0 - rk);
        on_new = b1 - rho;
        on_old = rho / rk;
    }
    row->s_s = ratio;
    row->s_h[0] = -phi * on_new;
    row->s_h[1] = -phi * (1.0 - on_new - on_old);
    row->s_h[2] = -phi * on_old;
}

static void unipc(struct sched_build *b, int i)
{
    const struct sched_node *at = &b->nodes->node[i];
    struct sched_row *row = row_at(b, i);
    sched_row_keep_x0(row);
    if (i > 0) {
        unipc_correct(b, i, row);
    } else {
        row->s_s = 0.0;
        row->s_x = 1.0;
    }
    double ratio = at[1].sigma / at[0].sigma, phi = ratio - 1.0, slope = 0.0;
    if (unipc_order(b, i) == 2)
        slope = 0.5 / (-width(b, i - 1) / width(b, i));
    row->k_s = ratio;
    row->k_h[0] = -phi * (1.0 - slope);
    row->k_h[1] = -phi * slope;
}

void sched_build_multistep(struct sched_build *b)
{
    for (int i = 0; i < b->nodes->n; i++) {
        switch (b->params->sampler) {
        case SCHED_DPMPP_2M_SDE:
        case SCHED_DPMPP_2M_SDE_HEUN:
            dpmpp_2m_sde(b, i);
            break;
        case SCHED_DPMPP_3M_SDE:
            dpmpp_3m_sde(b, i);
            break;
        case SCHED_LMS:
            lms(b, i);
            break;
        case SCHED_IPNDM:
            ipndm(b, i);
            break;
        case SCHED_UNIPC:
            unipc(b, i);
            break;
        default:
            dpmpp_2m(b, i);
        }
    }
}
