/* Private to scheduler/ and its tests: the pieces that sched_plan_new() is made of. */
#pragma once

#include "scheduler/scheduler.h"

/* Noise levels of every training step. */
struct sched_table {
    int n;
    double *abar;      /* [n] product of (1 - beta) */
    double *sigma;     /* [n] sqrt((1 - abar) / abar), rising, finite */
    double *log_sigma; /* [n] */
};

/*
 * floor_abar: raise a last abar of exactly 0 to 2^-24, as diffusers does for samplers that divide
 * by it. sigma and log_sigma have that floor in any case.
 */
void sched_table_init(struct sched_table *table, const struct sched_model *model, bool floor_abar);
void sched_table_finish(struct sched_table *table);
double sched_table_t(const struct sched_table *table, double sigma);     /* log-linear, clamped */
double sched_table_sigma(const struct sched_table *table, double t);     /* log-linear, clamped */
double sched_table_sigma_lin(const struct sched_table *table, double t); /* linear, clamped */

/* One noise level of a schedule. a and s: sqrt(abar) and sqrt(1 - abar). */
struct sched_node {
    double t, sigma, a, s;
    double a_next, s_next; /* where DDIM, DDPM, PLMS, LCM and TCD step to from here */
};

/* A schedule made for a sampler: n nodes, and node n at sigma 0 (t 0, a 1, s 0). */
struct sched_nodes {
    int n;
    struct sched_node *node;      /* [n + 1] */
    enum sched_schedule schedule; /* resolved */
    bool unit_start; /* the first x has variance 1 + sigma^2, as diffusers starts; else sigma^2 */
    int stride;      /* timesteps per step of DDIM and PLMS in diffusers; 0: to the next node */
};

bool sched_nodes_init(struct sched_nodes *nodes, const struct sched_table *table,
                      const struct sched_model *model, const struct sched_params *params,
                      GError **error);
void sched_nodes_finish(struct sched_nodes *nodes);

/* n sigmas from hi to lo (Karras et al. 2022). */
void sched_karras(double *sigma, int n, double lo, double hi, double rho);

/* How diffusers spaces timesteps depends on the scheduler class. */
enum sched_grid { SCHED_GRID_EULER, SCHED_GRID_DDIM, SCHED_GRID_DPM };

struct sched_traits {
    bool vp;              /* x is a * x0 + s * noise; else x0 + sigma * noise */
    bool random;          /* at the default eta */
    bool discard;         /* A1111: one sigma more, then the next-to-last is dropped */
    bool steps_by_stride; /* diffusers steps to t - train_steps / steps, not to the next t */
    int calls;            /* per step */
    double eta;           /* default */
    double eta_max;
    enum sched_grid grid;
    enum sched_schedule automatic;
};
const struct sched_traits *sched_sampler_traits(enum sched_sampler sampler);

/* What the row builders share. */
struct sched_build {
    const struct sched_model *model;
    const struct sched_table *table;
    const struct sched_params *params; /* eta resolved */
    const struct sched_nodes *nodes;
    struct sched_plan *plan; /* rows has room for 2 * n + 1 */
};
struct sched_row *sched_row_add(struct sched_build *b, int step, bool ends_step);
/* Sets t, sigma, in_scale and the x0 coefficients for x = x0 + sigma * noise. */
void sched_row_ve(const struct sched_build *b, struct sched_row *row, double t, double sigma);
/* The same for x = a * x0 + s * noise. */
void sched_row_vp(const struct sched_build *b, struct sched_row *row, const struct sched_node *at);
/* Remember x0, or d = (x - x0) / sigma, or the predicted noise. */
void sched_row_keep_x0(struct sched_row *row);
void sched_row_keep_d(struct sched_row *row);

/* Weights of the last 1 to 4 slopes, newest first (Adams and Bashforth's method). */
enum { SCHED_ORDER = 4 };
extern const double SCHED_ADAMS_BASHFORTH[SCHED_ORDER][SCHED_HISTORY];

void sched_build_onestep(struct sched_build *b);   /* Euler, Euler a, Heun, DPM2 (a), 2S a, SDE */
void sched_build_multistep(struct sched_build *b); /* 2M, 2M SDE, 3M SDE, LMS, iPNDM, UniPC */
void sched_build_vp(struct sched_build *b);        /* DDIM, DDPM, PLMS, LCM, TCD */

/*
 * Inverse of the regularised incomplete beta function: x with I_x(a, b) = p. 0 <= p <= 1,
 * a, b > 0. Absolute error below 1e-14.
 */
double sched_beta_ppf(double p, double a, double b);
