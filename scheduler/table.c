#include "scheduler/internal.h"

#include <math.h>

/* diffusers' stand-in for an alpha_bar of 0 at the last step of a zero-terminal-SNR model. */
static const double ZERO_SNR_ABAR = 1.0 / (1 << 24);

static double cosine_abar(double u)
{
    double c = cos((u + 0.008) / 1.008 * G_PI_2);
    return c * c;
}

static double beta_at(const struct sched_model *m, int i)
{
    double u = m->train_steps > 1 ? (double)i / (m->train_steps - 1) : 0.0;
    if (m->betas == SCHED_BETAS_LINEAR)
        return m->beta_start + (m->beta_end - m->beta_start) * u;
    if (m->betas == SCHED_BETAS_SCALED_LINEAR) {
        double lo = sqrt(m->beta_start), hi = sqrt(m->beta_end);
        double root = lo + (hi - lo) * u;
        return root * root;
    }
    double n = m->train_steps;
    return fmin(1.0 - cosine_abar((i + 1) / n) / cosine_abar(i / n), 0.999);
}

/*
 * Lin et al. 2023, algorithm 1: shift sqrt(abar) so that the last is 0, scale so that the first
 * stays.
 */
static void rescale_zero_snr(double *abar, int n)
{
    double first = sqrt(abar[0]), last = sqrt(abar[n - 1]);
    for (int i = 0; i < n; i++) {
        double root = (sqrt(abar[i]) - last) * first / (first - last);
        abar[i] = root * root;
    }
    abar[n - 1] = 0.0;
}

void sched_table_init(struct sched_table *table, const struct sched_model *model, bool floor_abar)
{
    int n = model->train_steps;
    table->n = n;
    table->abar = g_new(double, n);
    table->sigma = g_new(double, n);
    table->log_sigma = g_new(double, n);
    double product = 1.0;
    for (int i = 0; i < n; i++) {
        product *= 1.0 - beta_at(model, i);
        table->abar[i] = product;
    }
    if (model->zero_snr && n > 1)
        rescale_zero_snr(table->abar, n);
    for (int i = 0; i < n; i++) {
        double abar = table->abar[i] > 0.0 ? table->abar[i] : ZERO_SNR_ABAR;
        if (floor_abar)
            table->abar[i] = abar;
        table->sigma[i] = sqrt((1.0 - abar) / abar);
        table->log_sigma[i] = log(table->sigma[i]);
    }
}

void sched_table_finish(struct sched_table *table)
{
    g_clear_pointer(&table->abar, g_free);
    g_clear_pointer(&table->sigma, g_free);
    g_clear_pointer(&table->log_sigma, g_free);
}

double sched_table_t(const struct sched_table *table, double sigma)
{
    double v = log(sigma);
    int lo = 0, hi = table->n - 1;
    if (v <= table->log_sigma[lo])
        return lo;
    if (v >= table->log_sigma[hi])
        return hi;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (table->log_sigma[mid] <= v)
            lo = mid;
        else
            hi = mid;
    }
    return lo + (v - table->log_sigma[lo]) / (table->log_sigma[hi] - table->log_sigma[lo]);
}

static double interpolate(const double *y, int n, double t)
{
    if (t <= 0.0)
        return y[0];
    if (t >= n - 1)
        return y[n - 1];
    int lo = (int)t;
    double w = t - lo;
    return w > 0.0 ? (1.0 - w) * y[lo] + w * y[lo + 1] : y[lo];
}

double sched_table_sigma(const struct sched_table *table, double t)
{
    return exp(interpolate(table->log_sigma, table->n, t));
}

double sched_table_sigma_lin(const struct sched_table *table, double t)
{
    return interpolate(table->sigma, table->n, t);
}
