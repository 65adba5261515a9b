#include "scheduler/internal.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

/* The distillation steps that LCM and TCD were trained on. */
enum { DISTILLED_STEPS = 50 };

/* https://research.nvidia.com/labs/toronto-ai/AlignYourSteps/howto.html */
enum { AYS_POINTS = 11 };
static const double AYS_SD[AYS_POINTS] = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396,
                                          0.963,  0.652, 0.399, 0.152, 0.029};
static const double AYS_SDXL[AYS_POINTS] = {14.615, 6.315, 3.771, 2.181, 1.342, 0.862,
                                            0.555,  0.380, 0.234, 0.113, 0.029};

static void node_set_sigma(struct sched_node *node, const struct sched_table *table, double sigma)
{
    double root = sqrt(1.0 + sigma * sigma);
    node->t = sched_table_t(table, sigma);
    node->sigma = sigma;
    node->a = 1.0 / root;
    node->s = sigma / root;
}

static void node_set_t(struct sched_node *node, const struct sched_table *table, double t)
{
    if (t != floor(t)) {
        node_set_sigma(node, table, sched_table_sigma_lin(table, t));
        node->t = t;
        return;
    }
    double abar = table->abar[(int)t];
    node->t = t;
    node->sigma = abar > 0.0 ? table->sigma[(int)t] : INFINITY;
    node->a = sqrt(abar);
    node->s = sqrt(1.0 - abar);
}

/*
 * Whole timesteps may repeat when there are nearly as many steps as training steps; a solver needs
 * each step to go down.
 */
static void make_descending(double *t, int n, int train_steps)
{
    for (int i = 0; i < n; i++) {
        double top = i > 0 ? t[i - 1] - 1.0 : train_steps - 1.0;
        t[i] = fmax(fmin(t[i], top), n - 1 - i);
    }
}

static void space_timesteps(double *t, int n, const struct sched_model *m, enum sched_grid grid,
                            enum sched_spacing spacing)
{
    double top = m->train_steps - 1;
    int parts = grid == SCHED_GRID_DPM ? n + 1 : n;
    /* A single step has to start from pure noise; diffusers starts it at steps_offset or 0. */
    if (n == 1)
        spacing = SCHED_SPACING_TRAILING;
    for (int i = 0; i < n; i++) {
        switch (spacing) {
        case SCHED_SPACING_LEADING:
            t[i] = (double)(m->train_steps / parts) * (parts - 1 - i) + m->steps_offset;
            break;
        case SCHED_SPACING_LINSPACE:
            t[i] = parts > 1 ? top * (parts - 1 - i) / (parts - 1) : top;
            break;
        case SCHED_SPACING_TRAILING:
            t[i] = rint(m->train_steps - i * ((double)m->train_steps / n)) - 1.0;
            break;
        }
        if (grid != SCHED_GRID_EULER)
            t[i] = rint(t[i]);
    }
    if (grid != SCHED_GRID_EULER || spacing != SCHED_SPACING_LINSPACE)
        make_descending(t, n, m->train_steps);
}

static void distilled_timesteps(double *t, int n, int train_steps)
{
    int origin = MIN(DISTILLED_STEPS, train_steps);
    for (int i = 0; i < n; i++) {
        int index = (int)((gint64)i * origin / n);
        t[i] = (double)(origin - index) * (train_steps / origin) - 1.0;
    }
}

static void uniform_sigmas(double *sigma, int n, int parts, const struct sched_table *table)
{
    double top = table->n - 1;
    for (int i = 0; i < n; i++)
        sigma[i] = sched_table_sigma(table, parts > 1 ? top * (parts - 1 - i) / (parts - 1) : top);
}

void sched_karras(double *sigma, int n, double lo, double hi, double rho)
{
    double a = pow(hi, 1.0 / rho), b = pow(lo, 1.0 / rho);
    for (int i = 0; i < n; i++)
        sigma[i] = pow(a + (n > 1 ? (double)i / (n - 1) : 0.0) * (b - a), rho);
}

static void exponential_sigmas(double *sigma, int n, double lo, double hi, double rho)
{
    for (int i = 0; i < n; i++) {
        double ramp = n > 1 ? (double)(n - 1 - i) / (n - 1) : 1.0;
        sigma[i] = exp(log(lo) + pow(ramp, rho) * (log(hi) - log(lo)));
    }
}

/*
 * ComfyUI's form, whose last step goes to 0; A1111's stops at the lowest sigma and leaves its
 * noise in the picture.
 */
static void kl_optimal_sigmas(double *sigma, int n, double lo, double hi)
{
    for (int i = 0; i < n; i++) {
        double u = n > 1 ? (double)i / (n - 1) : 0.0;
        sigma[i] = tan(u * atan(lo) + (1.0 - u) * atan(hi));
    }
}

static void beta_sigmas(double *sigma, int n, double lo, double hi, double a, double b)
{
    for (int i = 0; i < n; i++) {
        double p = n > 1 ? 1.0 - (double)i / (n - 1) : 1.0;
        sigma[i] = lo + sched_beta_ppf(p, a, b) * (hi - lo);
    }
}

static void ays_sigmas(double *sigma, int n, const double *points)
{
    for (int i = 0; i < n; i++) {
        double u = n > 1 ? (double)i / (n - 1) * (AYS_POINTS - 1) : 0.0;
        int lo = MIN((int)u, AYS_POINTS - 2);
        double w = u - lo;
        sigma[i] = exp((1.0 - w) * log(points[lo]) + w * log(points[lo + 1]));
    }
}

static void simple_sigmas(double *sigma, int n, const struct sched_table *table)
{
    double stride = (double)table->n / n;
    for (int i = 0; i < n; i++)
        sigma[i] = table->sigma[table->n - 1 - (int)(i * stride)];
}

static void ddim_uniform_timesteps(double *t, int n, int train_steps)
{
    for (int i = 0; i < n; i++)
        t[i] = n > 1 ? 1.0 + (double)(train_steps / n) * (n - 1 - i) : train_steps - 1.0;
    make_descending(t, n, train_steps);
}

static void sigmas_of(enum sched_schedule schedule, double *sigma, int n,
                      const struct sched_table *table, const struct sched_model *m,
                      const struct sched_params *p)
{
    double lo = table->sigma[0], hi = table->sigma[table->n - 1];
    switch (schedule) {
    case SCHEDULE_KARRAS:
        sched_karras(sigma, n, lo, hi, isnan(p->rho) ? 7.0 : p->rho);
        break;
    case SCHEDULE_EXPONENTIAL:
        exponential_sigmas(sigma, n, lo, hi, 1.0);
        break;
    case SCHEDULE_POLYEXPONENTIAL:
        exponential_sigmas(sigma, n, lo, hi, isnan(p->rho) ? 1.0 : p->rho);
        break;
    case SCHEDULE_SGM_UNIFORM:
        uniform_sigmas(sigma, n, n + 1, table);
        break;
    case SCHEDULE_KL_OPTIMAL:
        kl_optimal_sigmas(sigma, n, lo, hi);
        break;
    case SCHEDULE_ALIGN_YOUR_STEPS:
        ays_sigmas(sigma, n, m->sdxl ? AYS_SDXL : AYS_SD);
        break;
    case SCHEDULE_SIMPLE:
        simple_sigmas(sigma, n, table);
        break;
    case SCHEDULE_BETA:
        beta_sigmas(sigma, n, lo, hi, p->beta_a, p->beta_b);
        break;
    default: /* Uniform and Normal: two names for the same sigmas */
        uniform_sigmas(sigma, n, n, table);
    }
}

static enum sched_schedule resolve(const struct sched_model *m, const struct sched_params *p)
{
    const struct sched_traits *traits = sched_sampler_traits(p->sampler);
    enum sched_schedule schedule = p->schedule;
    if (schedule == SCHEDULE_AUTOMATIC) {
        bool own = m->has_config || m->zero_snr || m->spacing == SCHED_SPACING_TRAILING;
        schedule = own ? SCHEDULE_MODEL : traits->automatic;
    }
    /* LCM and TCD schedulers have no other spacing of their own. */
    if (schedule == SCHEDULE_MODEL && traits->automatic == SCHEDULE_DISTILLED)
        schedule = SCHEDULE_DISTILLED;
    if (schedule == SCHEDULE_DISTILLED && p->steps > MIN(DISTILLED_STEPS, m->train_steps))
        schedule = SCHEDULE_TRAILING;
    return schedule;
}

static bool schedule_is_spaced(enum sched_schedule schedule)
{
    return schedule == SCHEDULE_MODEL || schedule == SCHEDULE_LEADING ||
           schedule == SCHEDULE_LINSPACE || schedule == SCHEDULE_TRAILING;
}

/*
 * DDIM and PLMS in diffusers step down by train_steps / steps, which is not always the distance to
 * the next t. That is followed while it is nearly right: a model whose last alpha_bar is 0 gives
 * PLMS no room for it, and with 2 steps under linspace spacing x would be denoised half-way only.
 */
static int stride_of(const struct sched_nodes *nodes, const struct sched_model *m,
                     const struct sched_params *p)
{
    int n = nodes->n, stride = m->train_steps / n;
    if (!schedule_is_spaced(nodes->schedule) ||
        !sched_sampler_traits(p->sampler)->steps_by_stride ||
        (m->zero_snr && p->sampler == SCHED_PLMS))
        return 0;
    double mean = n > 1 ? (nodes->node[0].t - nodes->node[n - 1].t) / (n - 1) : stride;
    return fabs(stride - mean) <= 0.2 * mean ? stride : 0;
}

static void ddim_targets(struct sched_nodes *nodes, const struct sched_table *table,
                         const struct sched_model *m)
{
    for (int i = 0; i < nodes->n; i++) {
        int t = (int)nodes->node[i].t - nodes->stride;
        double last = m->set_alpha_to_one ? 1.0 : table->abar[0];
        double abar = t >= 0 ? table->abar[t] : last;
        nodes->node[i].a_next = sqrt(abar);
        nodes->node[i].s_next = sqrt(1.0 - abar);
    }
}

/* use_karras_sigmas and the like: the model's spacing gives only the range of sigmas. */
static void config_sigmas(struct sched_nodes *nodes, double *sigma, const struct sched_table *table,
                          const struct sched_model *m, enum sched_grid grid)
{
    int n = nodes->n;
    bool spaced = grid == SCHED_GRID_EULER;
    double hi = spaced ? nodes->node[0].sigma : table->sigma[table->n - 1];
    double lo = spaced ? nodes->node[n - 1].sigma : table->sigma[0];
    if (m->sigmas == SCHEDULE_KARRAS)
        sched_karras(sigma, n, lo, hi, 7.0);
    else if (m->sigmas == SCHEDULE_EXPONENTIAL)
        exponential_sigmas(sigma, n, lo, hi, 1.0);
    else
        beta_sigmas(sigma, n, lo, hi, 0.6, 0.6);
    for (int i = 0; i < n; i++) {
        node_set_sigma(&nodes->node[i], table, sigma[i]);
        /*
         * DPMSolverMultistepScheduler and UniPC keep whole timesteps, rounded for Karras and cut
         * for the others; the Euler family keeps the fraction.
         */
        if (grid == SCHED_GRID_DPM)
            nodes->node[i].t =
                m->sigmas == SCHEDULE_KARRAS ? rint(nodes->node[i].t) : floor(nodes->node[i].t);
    }
}

static void spaced_nodes(struct sched_nodes *nodes, double *values, const struct sched_table *table,
                         const struct sched_model *m, const struct sched_params *p)
{
    enum sched_grid grid = sched_sampler_traits(p->sampler)->grid;
    enum sched_spacing spacing = m->spacing;
    if (nodes->schedule != SCHEDULE_MODEL)
        spacing = nodes->schedule == SCHEDULE_LEADING    ? SCHED_SPACING_LEADING
                  : nodes->schedule == SCHEDULE_LINSPACE ? SCHED_SPACING_LINSPACE
                                                         : SCHED_SPACING_TRAILING;
    space_timesteps(values, nodes->n, m, grid, spacing);
    for (int i = 0; i < nodes->n; i++)
        node_set_t(&nodes->node[i], table, values[i]);
    bool vp = sched_sampler_traits(p->sampler)->vp;
    if (nodes->schedule == SCHEDULE_MODEL && m->sigmas != SCHEDULE_MODEL && !vp)
        config_sigmas(nodes, values, table, m, grid);
    nodes->unit_start = grid == SCHED_GRID_DPM || spacing == SCHED_SPACING_LEADING;
}

static void sigma_nodes(struct sched_nodes *nodes, double *values, const struct sched_table *table,
                        const struct sched_model *m, const struct sched_params *p)
{
    int n = nodes->n;
    /* A1111 asks for one sigma more and drops the last but the 0 for these samplers. */
    bool discard = sched_sampler_traits(p->sampler)->discard && n < m->train_steps;
    if (nodes->schedule == SCHEDULE_DDIM_UNIFORM) {
        ddim_uniform_timesteps(values, n, m->train_steps);
        for (int i = 0; i < n; i++)
            values[i] = table->sigma[(int)values[i]];
    } else {
        sigmas_of(nodes->schedule, values, discard ? n + 1 : n, table, m, p);
    }
    for (int i = 0; i < n; i++)
        node_set_sigma(&nodes->node[i], table, values[i]);
}

/* The last int(steps * strength) steps, as diffusers counts them. */
static bool keep_tail(struct sched_nodes *nodes, double strength, GError **error)
{
    int keep = MIN((int)(nodes->n * strength), nodes->n);
    if (keep < 1) {
        g_set_error(error, SCHED_ERROR, SCHED_ERROR_VALUE,
                    _("strength %g of %d steps leaves no step to run; raise one of them"), strength,
                    nodes->n);
        return false;
    }
    int drop = nodes->n - keep;
    memmove(nodes->node, nodes->node + drop, sizeof *nodes->node * (size_t)(keep + 1));
    nodes->n = keep;
    return true;
}

bool sched_nodes_init(struct sched_nodes *nodes, const struct sched_table *table,
                      const struct sched_model *model, const struct sched_params *params,
                      GError **error)
{
    int n = params->steps;
    nodes->n = n;
    nodes->node = g_new0(struct sched_node, n + 1);
    nodes->schedule = resolve(model, params);
    nodes->unit_start = false;
    g_autofree double *values = g_new(double, n + 1);
    if (nodes->schedule == SCHEDULE_DISTILLED || nodes->schedule == SCHEDULE_TURBO) {
        if (nodes->schedule == SCHEDULE_DISTILLED)
            distilled_timesteps(values, n, model->train_steps);
        else
            space_timesteps(values, n, model, SCHED_GRID_DDIM, SCHED_SPACING_TRAILING);
        for (int i = 0; i < n; i++)
            node_set_t(&nodes->node[i], table, values[i]);
    } else if (schedule_is_spaced(nodes->schedule)) {
        spaced_nodes(nodes, values, table, model, params);
    } else {
        sigma_nodes(nodes, values, table, model, params);
    }
    nodes->node[n] = (struct sched_node){.a = 1.0, .a_next = 1.0};
    for (int i = 0; i < n; i++) {
        nodes->node[i].a_next = nodes->node[i + 1].a;
        nodes->node[i].s_next = nodes->node[i + 1].s;
    }
    nodes->stride = stride_of(nodes, model, params);
    if (nodes->stride)
        ddim_targets(nodes, table, model);
    if (keep_tail(nodes, params->strength, error))
        return true;
    sched_nodes_finish(nodes);
    return false;
}

void sched_nodes_finish(struct sched_nodes *nodes)
{
    g_clear_pointer(&nodes->node, g_free);
}
