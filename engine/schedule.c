#include "engine/schedule.h"

#include "weights/config.h"

/* What diffusers' class of the sampler falls back to. */
static enum sched_spacing own_spacing(enum sched_sampler sampler)
{
    switch (sampler) {
    case SCHED_DDIM:
    case SCHED_DDPM:
    case SCHED_PLMS:
    case SCHED_LCM:
    case SCHED_TCD:
    case SCHED_IPNDM:
        return SCHED_SPACING_LEADING;
    default:
        return SCHED_SPACING_LINSPACE;
    }
}

static enum sched_schedule sigmas(struct config *c)
{
    if (config_bool(c, "use_karras_sigmas", false))
        return SCHEDULE_KARRAS;
    if (config_bool(c, "use_exponential_sigmas", false))
        return SCHEDULE_EXPONENTIAL;
    if (config_bool(c, "use_beta_sigmas", false))
        return SCHEDULE_BETA;
    return SCHEDULE_MODEL;
}

bool schedule_read(struct sched_model *model, const json_t *json, enum sched_sampler sampler,
                   bool sdxl, GError **error)
{
    static const char *const betas[] = {"scaled_linear", "linear", "squaredcos_cap_v2", NULL};
    static const char *const predictions[] = {"epsilon", "v_prediction", "sample", NULL};
    static const char *const spacings[] = {"leading", "linspace", "trailing", NULL};
    struct config c = config_init(json, "scheduler/scheduler_config.json");

    *model = sched_model_default();
    model->sdxl = sdxl;
    if (!json)
        return true;
    model->has_config = true;
    model->betas = (enum sched_betas)config_choice(&c, "beta_schedule", betas, SCHED_BETAS_LINEAR);
    model->beta_start = config_number(&c, "beta_start", 1e-9, 0.999, 0.0001);
    model->beta_end = config_number(&c, "beta_end", 1e-9, 0.999, 0.02);
    model->train_steps = (int)config_int(&c, "num_train_timesteps", 1, SCHED_MAX_TRAIN_STEPS, 1000);
    model->zero_snr = config_bool(&c, "rescale_betas_zero_snr", false);
    model->prediction =
        (enum sched_prediction)config_choice(&c, "prediction_type", predictions, SCHED_EPSILON);
    model->spacing = (enum sched_spacing)config_choice(&c, "timestep_spacing", spacings,
                                                       (int)own_spacing(sampler));
    model->steps_offset = (int)config_int(&c, "steps_offset", 0, 1000, 0);
    model->set_alpha_to_one = config_bool(&c, "set_alpha_to_one", sampler != SCHED_PLMS);
    model->sigmas = sigmas(&c);
    return config_finish(&c, error);
}
