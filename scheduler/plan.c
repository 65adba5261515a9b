#include "scheduler/internal.h"

#include <glib/gi18n-lib.h>
#include <math.h>

G_DEFINE_QUARK(sched - error - quark, sched_error)

/*
 * Automatic schedules, dropped sigmas and default eta are A1111's (modules/sd_samplers_*.py);
 * grids are those of the diffusers class of that sampler.
 */
static const struct sched_traits TRAITS[SCHED_N_SAMPLERS] = {
    [SCHED_DPMPP_2M] = {.grid = SCHED_GRID_DPM, .automatic = SCHEDULE_KARRAS, .calls = 1},
    [SCHED_DPMPP_2M_SDE] = {.grid = SCHED_GRID_DPM,
                            .automatic = SCHEDULE_EXPONENTIAL,
                            .calls = 1,
                            .eta = 1.0,
                            .random = true},
    [SCHED_DPMPP_2M_SDE_HEUN] = {.grid = SCHED_GRID_DPM,
                                 .automatic = SCHEDULE_EXPONENTIAL,
                                 .calls = 1,
                                 .eta = 1.0,
                                 .random = true},
    [SCHED_DPMPP_SDE] = {.grid = SCHED_GRID_EULER,
                         .automatic = SCHEDULE_KARRAS,
                         .calls = 2,
                         .eta = 1.0,
                         .random = true},
    [SCHED_DPMPP_2S_A] = {.grid = SCHED_GRID_DPM,
                          .automatic = SCHEDULE_KARRAS,
                          .calls = 2,
                          .eta = 1.0,
                          .random = true},
    [SCHED_DPMPP_3M_SDE] = {.grid = SCHED_GRID_DPM,
                            .automatic = SCHEDULE_EXPONENTIAL,
                            .calls = 1,
                            .eta = 1.0,
                            .random = true,
                            .discard = true},
    [SCHED_EULER] = {.grid = SCHED_GRID_EULER, .automatic = SCHEDULE_UNIFORM, .calls = 1},
    [SCHED_EULER_A] = {.grid = SCHED_GRID_EULER,
                       .automatic = SCHEDULE_UNIFORM,
                       .calls = 1,
                       .eta = 1.0,
                       .random = true},
    [SCHED_HEUN] = {.grid = SCHED_GRID_EULER, .automatic = SCHEDULE_UNIFORM, .calls = 2},
    [SCHED_DPM2] = {.grid = SCHED_GRID_EULER,
                    .automatic = SCHEDULE_KARRAS,
                    .calls = 2,
                    .discard = true},
    [SCHED_DPM2_A] = {.grid = SCHED_GRID_EULER,
                      .automatic = SCHEDULE_KARRAS,
                      .calls = 2,
                      .eta = 1.0,
                      .random = true,
                      .discard = true},
    [SCHED_LMS] = {.grid = SCHED_GRID_EULER, .automatic = SCHEDULE_UNIFORM, .calls = 1},
    [SCHED_DDIM] = {.grid = SCHED_GRID_DDIM,
                    .automatic = SCHEDULE_MODEL,
                    .calls = 1,
                    .vp = true,
                    .steps_by_stride = true},
    [SCHED_DDPM] = {.grid = SCHED_GRID_DDIM,
                    .automatic = SCHEDULE_MODEL,
                    .calls = 1,
                    .vp = true,
                    .random = true},
    [SCHED_PLMS] = {.grid = SCHED_GRID_DDIM,
                    .automatic = SCHEDULE_MODEL,
                    .calls = 1,
                    .vp = true,
                    .steps_by_stride = true},
    [SCHED_UNIPC] = {.grid = SCHED_GRID_DPM, .automatic = SCHEDULE_MODEL, .calls = 1},
    [SCHED_LCM] = {.grid = SCHED_GRID_DDIM,
                   .automatic = SCHEDULE_DISTILLED,
                   .calls = 1,
                   .vp = true,
                   .random = true},
    [SCHED_TCD] = {.grid = SCHED_GRID_DDIM,
                   .automatic = SCHEDULE_DISTILLED,
                   .calls = 1,
                   .eta = 0.3,
                   .vp = true,
                   .random = true},
    [SCHED_RESTART] = {.grid = SCHED_GRID_EULER,
                       .automatic = SCHEDULE_KARRAS,
                       .calls = 2,
                       .random = true},
    [SCHED_IPNDM] = {.grid = SCHED_GRID_EULER, .automatic = SCHEDULE_UNIFORM, .calls = 1},
};

const struct sched_traits *sched_sampler_traits(enum sched_sampler sampler)
{
    g_return_val_if_fail((unsigned)sampler < SCHED_N_SAMPLERS, &TRAITS[0]);
    return &TRAITS[sampler];
}

bool sched_sampler_is_random(enum sched_sampler sampler)
{
    return sched_sampler_traits(sampler)->random;
}

int sched_sampler_calls(enum sched_sampler sampler)
{
    return sched_sampler_traits(sampler)->calls;
}

struct sched_model sched_model_default(void)
{
    return (struct sched_model){
        .betas = SCHED_BETAS_SCALED_LINEAR,
        .beta_start = 0.00085,
        .beta_end = 0.012,
        .train_steps = 1000,
        .prediction = SCHED_EPSILON,
        .spacing = SCHED_SPACING_LEADING,
        .steps_offset = 1,
        .sigmas = SCHEDULE_MODEL,
    };
}

struct sched_params sched_params_default(void)
{
    return (struct sched_params){
        .sampler = SCHED_DPMPP_2M,
        .schedule = SCHEDULE_AUTOMATIC,
        .steps = 20,
        .eta = NAN,
        .s_noise = 1.0,
        .s_tmax = INFINITY,
        .strength = 1.0,
        .rho = NAN,
        .beta_a = 0.6,
        .beta_b = 0.6,
    };
}

static bool fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool fail(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error)
        *error = g_error_new_valist(SCHED_ERROR, SCHED_ERROR_VALUE, format, args);
    va_end(args);
    return false;
}

static bool check_model(const struct sched_model *m, GError **error)
{
    if (m->train_steps < 1 || m->train_steps > SCHED_MAX_TRAIN_STEPS)
        return fail(error, _("the model's num_train_timesteps is %d; it must be 1 to %d"),
                    m->train_steps, SCHED_MAX_TRAIN_STEPS);
    bool betas_used = m->betas != SCHED_BETAS_SQUAREDCOS;
    if (betas_used && !(m->beta_start > 0.0 && m->beta_start <= m->beta_end && m->beta_end < 1.0))
        return fail(error,
                    _("the model's beta_start %g and beta_end %g are no noise schedule; they must "
                      "rise between 0 and 1"),
                    m->beta_start, m->beta_end);
    if (m->steps_offset < 0 || m->steps_offset >= m->train_steps)
        return fail(error, _("the model's steps_offset is %d; it must be 0 to %d"), m->steps_offset,
                    m->train_steps - 1);
    if (m->sigmas != SCHEDULE_MODEL && m->sigmas != SCHEDULE_KARRAS &&
        m->sigmas != SCHEDULE_EXPONENTIAL && m->sigmas != SCHEDULE_BETA)
        return fail(error, _("the model's config cannot ask for the schedule '%s'"),
                    sched_schedule_name(m->sigmas));
    return true;
}

static bool check_noise(const struct sched_params *p, GError **error)
{
    if (!isnan(p->eta) && !(p->eta >= 0.0 && p->eta <= 1.0))
        return fail(error, _("eta is %g; it must be 0 (no noise) to 1"), p->eta);
    if (!(p->s_noise >= 0.0 && p->s_noise <= 2.0))
        return fail(error, _("s_noise is %g; it must be 0 to 2 (1 is usual)"), p->s_noise);
    if (!(p->s_churn >= 0.0 && p->s_churn <= 1000.0))
        return fail(error, _("s_churn is %g; it must be 0 to 1000 (0 is usual)"), p->s_churn);
    if (!(p->s_tmin >= 0.0) || !(p->s_tmax >= p->s_tmin))
        return fail(error, _("s_tmin %g and s_tmax %g must rise from 0"), p->s_tmin, p->s_tmax);
    return true;
}

static bool check_params(const struct sched_model *m, const struct sched_params *p, GError **error)
{
    if ((unsigned)p->sampler >= SCHED_N_SAMPLERS || (unsigned)p->schedule >= SCHED_N_SCHEDULES)
        return fail(error, _("sampler number %d with schedule number %d does not exist"),
                    p->sampler, p->schedule);
    int most = MIN(SCHED_MAX_STEPS, m->train_steps);
    if (p->steps < 1 || p->steps > most)
        return fail(error, _("%d steps cannot be run; choose 1 to %d (20 is usual)"), p->steps,
                    most);
    if (!(p->strength > 0.0 && p->strength <= 1.0))
        return fail(error, _("strength is %g; it must be above 0 and at most 1"), p->strength);
    if (!isnan(p->rho) && !(p->rho >= 0.1 && p->rho <= 100.0))
        return fail(error, _("rho is %g; it must be 0.1 to 100"), p->rho);
    if (!(p->beta_a >= 0.05 && p->beta_a <= 20.0 && p->beta_b >= 0.05 && p->beta_b <= 20.0))
        return fail(error, _("the Beta schedule's %g and %g must be 0.05 to 20"), p->beta_a,
                    p->beta_b);
    return check_noise(p, error);
}

struct sched_row *sched_row_add(struct sched_build *b, int step, bool ends_step)
{
    struct sched_row *row = &b->plan->rows[b->plan->n_rows++];
    *row = (struct sched_row){.s_s = 1.0, .step = step, .ends_step = ends_step};
    return row;
}

void sched_row_vp(const struct sched_build *b, struct sched_row *row, const struct sched_node *at)
{
    row->t = at->t;
    row->sigma = at->sigma;
    row->in_scale = 1.0;
    switch (b->model->prediction) {
    case SCHED_EPSILON:
        row->x0_x = 1.0 / at->a;
        row->x0_out = -at->s / at->a;
        break;
    case SCHED_V_PREDICTION:
        row->x0_x = at->a;
        row->x0_out = -at->s;
        break;
    case SCHED_SAMPLE:
        row->x0_out = 1.0;
        break;
    }
}

void sched_row_ve(const struct sched_build *b, struct sched_row *row, double t, double sigma)
{
    double root = sqrt(1.0 + sigma * sigma);
    row->t = t;
    row->sigma = sigma;
    row->in_scale = 1.0 / root;
    switch (b->model->prediction) {
    case SCHED_EPSILON:
        row->x0_x = 1.0;
        row->x0_out = -sigma;
        break;
    case SCHED_V_PREDICTION:
        row->x0_x = 1.0 / (root * root);
        row->x0_out = -sigma / root;
        break;
    case SCHED_SAMPLE:
        row->x0_out = 1.0;
        break;
    }
}

void sched_row_keep_x0(struct sched_row *row)
{
    row->h_x = row->x0_x;
    row->h_out = row->x0_out;
}

void sched_row_keep_d(struct sched_row *row)
{
    row->h_x = (1.0 - row->x0_x) / row->sigma;
    row->h_out = -row->x0_out / row->sigma;
}

static void set_start(struct sched_plan *plan, const struct sched_nodes *nodes, bool vp, bool whole)
{
    const struct sched_node *first = &nodes->node[0];
    if (whole) {
        plan->init_latent = 0.0;
        plan->init_noise = vp                  ? 1.0
                           : nodes->unit_start ? sqrt(1.0 + first->sigma * first->sigma)
                                               : first->sigma;
    } else {
        plan->init_latent = vp ? first->a : 1.0;
        plan->init_noise = vp ? first->s : first->sigma;
    }
}

struct sched_plan *sched_plan_new(const struct sched_model *model,
                                  const struct sched_params *params, GError **error)
{
    if (!check_model(model, error) || !check_params(model, params, error))
        return NULL;
    const struct sched_traits *traits = sched_sampler_traits(params->sampler);
    struct sched_params p = *params;
    if (isnan(p.eta))
        p.eta = traits->eta;
    /* DDIM, LCM and TCD never divide by alpha unless the model predicts noise. */
    bool divides = !traits->vp || p.sampler == SCHED_PLMS || model->prediction == SCHED_EPSILON;
    struct sched_table table;
    sched_table_init(&table, model, divides);
    struct sched_nodes nodes;
    struct sched_plan *plan = NULL;
    if (sched_nodes_init(&nodes, &table, model, &p, error)) {
        plan = g_new0(struct sched_plan, 1);
        plan->sampler = p.sampler;
        plan->schedule = nodes.schedule;
        plan->n_steps = nodes.n;
        plan->rows = g_new0(struct sched_row, 2 * nodes.n + 1);
        struct sched_build b = {model, &table, &p, &nodes, plan};
        if (traits->vp)
            sched_build_vp(&b);
        else if (traits->calls == 2 || p.sampler == SCHED_EULER || p.sampler == SCHED_EULER_A)
            sched_build_onestep(&b);
        else
            sched_build_multistep(&b);
        set_start(plan, &nodes, traits->vp, p.strength >= 1.0);
        for (int i = 0; i < plan->n_rows; i++) {
            const struct sched_row *row = &plan->rows[i];
            plan->draws |= row->pre_noise != 0.0 || row->s_noise != 0.0 || row->k_noise != 0.0;
        }
        sched_nodes_finish(&nodes);
    }
    sched_table_finish(&table);
    return plan;
}

void sched_plan_free(struct sched_plan *plan)
{
    if (plan)
        g_free(plan->rows);
    g_free(plan);
}
