/*
 * Noise schedules and samplers as tables: pure math in doubles, no tensor, no GPU, no file.
 *
 * A sampler is turned into a plan once, before the first U-Net call. One row of the plan is one
 * U-Net call and the linear combination that follows it; nothing about the sampler is left to
 * decide while it runs. The engine's whole sampling loop is
 *
 *     struct sched_plan *plan = sched_plan_new(&model, &params, &error);
 *     struct sched_state *state = sched_state_new(plan, n);        // n = values of all latents
 *     sched_start(state, noise, latent);                           // latent NULL: from pure noise
 *     for (int r = 0; r < plan->n_rows; r++) {
 *         const struct sched_row *row = &plan->rows[r];
 *         sched_input(state, row, draw, user, input);              // what the U-Net sees
 *         ... run the U-Net on input at time row->t, apply guidance, giving out ...
 *         sched_step(state, row, out, draw, user, x0);             // x0: the preview, may be NULL
 *     }
 *     sched_latent(state, latent);                                 // ready for the VAE
 *
 * Owner: the caller frees a plan with sched_plan_free() and a state with sched_state_free(); a
 * state borrows its plan. Threads: every function is free of global state; one state belongs to
 * one thread. Failure: only the functions with a GError fail, always with a sentence.
 * Sources: k-diffusion (sampling.py, external.py), diffusers (schedulers/), AUTOMATIC1111's web UI
 * (modules/sd_schedulers.py, sd_samplers_kdiffusion.py), and the papers they name.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define SCHED_ERROR (sched_error_quark())
GQuark sched_error_quark(void);

enum sched_error {
    SCHED_ERROR_NAME,  /* no sampler or schedule of that name */
    SCHED_ERROR_VALUE, /* a number out of its range */
};

enum sched_sampler {
    SCHED_DPMPP_2M, /* the default */
    SCHED_DPMPP_2M_SDE,
    SCHED_DPMPP_2M_SDE_HEUN,
    SCHED_DPMPP_SDE,
    SCHED_DPMPP_2S_A,
    SCHED_DPMPP_3M_SDE,
    SCHED_EULER,
    SCHED_EULER_A,
    SCHED_HEUN,
    SCHED_DPM2,
    SCHED_DPM2_A,
    SCHED_LMS,
    SCHED_DDIM,
    SCHED_DDPM,
    SCHED_PLMS,
    SCHED_UNIPC,
    SCHED_LCM,
    SCHED_TCD,
    SCHED_IPNDM,
    SCHED_RESTART,
    SCHED_N_SAMPLERS
};

enum sched_schedule {
    /*
     * A model with its own scheduler_config.json (sched_model.has_config), with zero terminal SNR
     * or with trailing spacing: SCHEDULE_MODEL. Else what A1111 pairs with the sampler (Karras for
     * DPM++ 2M, Exponential for the multistep SDE ones, Uniform for Euler, the model's own spacing
     * for DDIM, DDPM, PLMS and UniPC, 50 distillation steps for LCM and TCD).
     */
    SCHEDULE_AUTOMATIC,
    SCHEDULE_MODEL, /* the model's config: sched_model.spacing and sched_model.sigmas */
    SCHEDULE_UNIFORM,
    SCHEDULE_KARRAS,
    SCHEDULE_EXPONENTIAL,
    SCHEDULE_POLYEXPONENTIAL,
    SCHEDULE_SGM_UNIFORM,
    SCHEDULE_KL_OPTIMAL,
    SCHEDULE_ALIGN_YOUR_STEPS,
    SCHEDULE_SIMPLE,
    SCHEDULE_NORMAL,
    SCHEDULE_DDIM_UNIFORM,
    SCHEDULE_BETA,
    SCHEDULE_TURBO,
    SCHEDULE_LEADING,   /* diffusers' timestep_spacing, whatever the config says */
    SCHEDULE_LINSPACE,  /* the same */
    SCHEDULE_TRAILING,  /* the same */
    SCHEDULE_DISTILLED, /* LCM's and TCD's subset of 50 steps */
    SCHED_N_SCHEDULES
};

enum sched_betas { SCHED_BETAS_SCALED_LINEAR, SCHED_BETAS_LINEAR, SCHED_BETAS_SQUAREDCOS };
enum sched_prediction { SCHED_EPSILON, SCHED_V_PREDICTION, SCHED_SAMPLE };
enum sched_spacing { SCHED_SPACING_LEADING, SCHED_SPACING_LINSPACE, SCHED_SPACING_TRAILING };

/* What the model was trained with: the fields of a diffusers scheduler_config.json. */
struct sched_model {
    enum sched_betas betas; /* beta_schedule */
    double beta_start;      /* 0 < beta_start <= beta_end < 1 */
    double beta_end;
    int train_steps; /* num_train_timesteps, 1 to SCHED_MAX_TRAIN_STEPS */
    bool zero_snr;   /* rescale_betas_zero_snr */
    enum sched_prediction prediction;
    enum sched_spacing spacing; /* timestep_spacing */
    int steps_offset;
    bool set_alpha_to_one;      /* of DDIM and PLMS */
    enum sched_schedule sigmas; /* SCHEDULE_MODEL, or KARRAS, EXPONENTIAL, BETA for use_*_sigmas */
    bool has_config; /* the model came with a scheduler config (see SCHEDULE_AUTOMATIC) */
    bool sdxl;       /* picks the Align Your Steps table */
};
#define SCHED_MAX_TRAIN_STEPS 100000
#define SCHED_MAX_STEPS 1000

/*
 * SD 1.5 in a single file: scaled_linear 0.00085 to 0.012, 1000 steps, epsilon, leading, offset 1.
 */
struct sched_model sched_model_default(void);

struct sched_params {
    enum sched_sampler sampler;
    enum sched_schedule schedule;
    int steps;      /* visible steps, 1 to SCHED_MAX_STEPS and at most the model's train_steps */
    double eta;     /* NAN: the sampler's own (ancestral and SDE 1, DDIM 0, TCD 0.3); else 0 to 1 */
    double s_noise; /* multiplies the noise that a sampler adds; 1 */
    double s_churn; /* Euler, Heun, DPM2 only; 0 */
    double s_tmin;  /* churn only at sigmas in [s_tmin, s_tmax]; 0 and INFINITY */
    double s_tmax;
    double
        strength; /* 1: from pure noise; less: the last int(steps * strength) steps, as diffusers */
    double rho;   /* of Karras and Polyexponential; NAN: 7 and 1 */
    double beta_a; /* of the Beta schedule; 0.6 both */
    double beta_b;
};

/* DPM++ 2M, Automatic, 20 steps, everything else as above. */
struct sched_params sched_params_default(void);

#define SCHED_HISTORY 5

/*
 * One U-Net call and what follows. x is the latent, s a second register that some samplers keep
 * (the x at the start of the step), h[0..4] the values remembered from this and the last 4 calls.
 * All start at 0. In this order:
 *     x  = x + pre_noise * noise                          a draw only if pre_noise != 0
 *     in = in_scale * x, out = unet(in, t)
 *     x0 = x0_x * x + x0_out * out                        the denoised estimate (preview)
 *     h  = {h_x * x + h_out * out, h[0], h[1], h[2], h[3]}
 *     s  = s_s * s + s_x * x + sum(s_h * h) + s_noise * noise
 *     x  = k_s * s + k_x * x + sum(k_h * h) + k_noise * noise    with the new s and h, the same
 *                                                         noise; a draw only if s_ or k_noise != 0
 */
struct sched_row {
    double t;     /* for the time embedding; may be a fraction */
    double sigma; /* noise level of x, sqrt((1 - alpha_bar) / alpha_bar); INFINITY at zero SNR */
    double pre_noise;
    double in_scale;
    double x0_x, x0_out;
    double h_x, h_out;
    double s_s, s_x, s_h[SCHED_HISTORY], s_noise;
    double k_s, k_x, k_h[SCHED_HISTORY], k_noise;
    int step;       /* visible step that this row belongs to, from 0 */
    bool ends_step; /* x is now a whole step further: report progress */
};

struct sched_plan {
    enum sched_sampler sampler;
    enum sched_schedule schedule; /* never SCHEDULE_AUTOMATIC: what it became */
    int n_steps;                  /* visible steps (steps * strength) */
    int n_rows;                   /* U-Net calls */
    struct sched_row *rows;
    double init_latent; /* x = init_latent * latent + init_noise * noise; */
    double init_noise;  /* init_latent is 0 when strength is 1 */
    bool draws;         /* some row draws noise */
};

/*
 * NULL with a sentence (SCHED_ERROR_VALUE) when a number of model or params is out of range.
 * Every number in a plan is finite except sched_row.sigma.
 */
struct sched_plan *sched_plan_new(const struct sched_model *model,
                                  const struct sched_params *params, GError **error);
void sched_plan_free(struct sched_plan *plan);

/*
 * Fills noise with n standard normal values, the next ones of each latent's own generator (see
 * noise.h). Called in the order of the rows, at most twice a row.
 */
typedef void (*sched_draw_fn)(float *noise, size_t n, void *user);

/*
 * The registers of a running plan: n values each, kept in doubles because at zero terminal SNR x
 * starts thousands of times larger than the picture. n counts all latents of a batch, in any
 * memory order: every operation is per value.
 */
struct sched_state;
struct sched_state *sched_state_new(const struct sched_plan *plan, size_t n);
void sched_state_free(struct sched_state *state);

/*
 * noise [n]: unit variance. latent [n]: the encoded picture to start from, in the VAE's scaled
 * space; NULL when the plan's strength is 1 (its init_latent is 0).
 */
void sched_start(struct sched_state *state, const float *noise, const float *latent);
/* input [n]: the U-Net's input for this row. */
void sched_input(struct sched_state *state, const struct sched_row *row, sched_draw_fn draw,
                 void *user, float *input);
/* out [n]: the U-Net's output after guidance. x0 [n] or NULL: the denoised estimate. */
void sched_step(struct sched_state *state, const struct sched_row *row, const float *out,
                sched_draw_fn draw, void *user, float *x0);
/* x [n]: x as it stands. After the last row it is the picture's latent. */
void sched_latent(const struct sched_state *state, float *x);
/* The registers themselves, for a mask that is blended into x between rows. [n], borrowed. */
double *sched_x(struct sched_state *state);

/* The same in doubles (the tests compare to 1e-9, beyond a float). */
void sched_input_f64(struct sched_state *state, const struct sched_row *row, sched_draw_fn draw,
                     void *user, double *input);
void sched_step_f64(struct sched_state *state, const struct sched_row *row, const double *out,
                    sched_draw_fn draw, void *user, double *x0);

/*
 * Names. What users see is A1111's label. Also read, whatever the case, spaces, '_' and '-': the
 * names of ComfyUI, stable-diffusion.cpp, k-diffusion, and diffusers' class names.
 */
const char *sched_sampler_name(enum sched_sampler sampler);    /* "DPM++ 2M" */
const char *sched_schedule_name(enum sched_schedule schedule); /* "Karras" */
/*
 * "DPM++ 2M Karras", the old form, gives both; else *schedule is left as it was. Either may be
 * NULL. False with "there is no sampler 'Eulr'; did you mean 'Euler'?".
 */
bool sched_sampler_parse(const char *name, enum sched_sampler *sampler,
                         enum sched_schedule *schedule, GError **error);
bool sched_schedule_parse(const char *name, enum sched_schedule *schedule, GError **error);
/*
 * True when the sampler draws noise between steps at its default eta: the same seed gives another
 * picture at another number of steps.
 */
bool sched_sampler_is_random(enum sched_sampler sampler);
/* U-Net calls per visible step (Heun, DPM2, DPM++ SDE, DPM++ 2S a: 2). */
int sched_sampler_calls(enum sched_sampler sampler);
