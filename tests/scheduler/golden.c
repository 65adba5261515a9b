/*
 * Every sampler against diffusers and k-diffusion in float64: the time and input of every U-Net
 * call and the final x of a toy model. tests/golden/scheduler.py made tests/golden/scheduler.txt
 * and documents its lines.
 */
#include "scheduler/internal.h"
#include "scheduler/noise.h"
#include "tests/check.h"

enum { LATENT = 2, SEED = 11 };

/* The file has 12 digits, and the toy model amplifies rounding by up to about 100 over 50 steps. */
static const double TOLERANCE = 1e-9;

static bool near_to(double got, double expected, double size)
{
    return fabs(got - expected) <= TOLERANCE * fmax(size, fabs(expected));
}

static void toy(const double *x, double t, double *out)
{
    for (int i = 0; i < LATENT; i++)
        out[i] = 0.6 * x[i] + 0.4 * sin(2.0 * x[i] + t / 200.0 + i);
}

static void draw(float *noise, size_t n, void *user)
{
    noise_draw(user, noise, n);
}

static const char *const PREDICTIONS[] = {"eps", "v", "sample"};
static const char *const SPACINGS[] = {"leading", "linspace", "trailing"};
static const char *const BETAS[] = {"scaled_linear", "linear", "squaredcos_cap_v2"};

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    CHECK(false, "unknown word %s", name);
    return 0;
}

static void set_key(struct sched_model *m, struct sched_params *p, const char *key,
                    const char *value)
{
    g_autoptr(GError) error = NULL;
    if (strcmp(key, "sampler") == 0)
        CHECK(sched_sampler_parse(value, &p->sampler, NULL, &error), "%s", error->message);
    else if (strcmp(key, "schedule") == 0)
        CHECK(sched_schedule_parse(value, &p->schedule, &error), "%s", error->message);
    else if (strcmp(key, "sigmas") == 0)
        CHECK(sched_schedule_parse(value, &m->sigmas, &error), "%s", error->message);
    else if (strcmp(key, "steps") == 0)
        p->steps = atoi(value);
    else if (strcmp(key, "pred") == 0)
        m->prediction = (enum sched_prediction)index_of(PREDICTIONS, value);
    else if (strcmp(key, "spacing") == 0)
        m->spacing = (enum sched_spacing)index_of(SPACINGS, value);
    else if (strcmp(key, "betas") == 0)
        m->betas = (enum sched_betas)index_of(BETAS, value);
    else if (strcmp(key, "zsnr") == 0)
        m->zero_snr = atoi(value);
    else if (strcmp(key, "offset") == 0)
        m->steps_offset = atoi(value);
    else if (strcmp(key, "one") == 0)
        m->set_alpha_to_one = atoi(value);
    else if (strcmp(key, "eta") == 0)
        p->eta = g_ascii_strtod(value, NULL);
    else if (strcmp(key, "s_noise") == 0)
        p->s_noise = g_ascii_strtod(value, NULL);
    else if (strcmp(key, "s_churn") == 0)
        p->s_churn = g_ascii_strtod(value, NULL);
    else
        CHECK(false, "unknown key %s", key);
}

/* Runs the case of line `at` on the lines after it; returns the line after the case. */
static int run_case(char **lines, int at)
{
    const char *name = lines[at];
    struct sched_model model = sched_model_default();
    struct sched_params params = sched_params_default();
    g_auto(GStrv) words = g_strsplit(name, " ", -1);
    for (int i = 1; words[i]; i++) {
        char *value = strchr(words[i], '=');
        *value++ = '\0';
        set_key(&model, &params, words[i], value);
    }
    g_autoptr(GError) error = NULL;
    struct sched_plan *plan = sched_plan_new(&model, &params, &error);
    CHECK(plan, "%s: %s", name, error ? error->message : "no error");
    struct sched_state *state = sched_state_new(plan, LATENT);
    struct noise noise;
    float start[LATENT];
    noise_init(&noise, NOISE_CPU, SEED);
    noise_draw(&noise, start, LATENT);
    sched_start(state, start, NULL);
    bool good = true;
    int line = at + 1;
    for (int r = 0; r < plan->n_rows; r++, line++) {
        double input[LATENT], out[LATENT], t, x[LATENT];
        sched_input_f64(state, &plan->rows[r], draw, &noise, input);
        if (sscanf(lines[line], "%lf %lf %lf", &t, &x[0], &x[1]) != 3) {
            CHECK(false, "%s: call %d is one too many", name, r);
            good = false;
            break;
        }
        good &= near_to(plan->rows[r].t, t, 1.0);
        for (int i = 0; i < LATENT; i++)
            good &= near_to(input[i], x[i], 1.0);
        CHECK(good, "%s: call %d is t %.12g, input %.12g %.12g, expected %s", name, r,
              plan->rows[r].t, input[0], input[1], lines[line]);
        if (!good)
            break;
        toy(input, plan->rows[r].t, out);
        sched_step_f64(state, &plan->rows[r], out, draw, &noise, NULL);
    }
    double x[LATENT];
    const double *end = sched_x(state);
    if (good) {
        CHECK(sscanf(lines[line], "x %lf %lf", &x[0], &x[1]) == 2, "%s: calls are missing", name);
        CHECK(near_to(end[0], x[0], 1.0) && near_to(end[1], x[1], 1.0),
              "%s: ends at %.12g %.12g, expected %s", name, end[0], end[1], lines[line]);
    }
    while (lines[line][0] != 'x')
        line++;
    sched_state_free(state);
    sched_plan_free(plan);
    return line + 1;
}

/* `sigmas NAME N s0 s1 ... 0`: the sigmas that a Euler plan visits. */
static void run_sigmas(const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    struct sched_model model = sched_model_default();
    struct sched_params params = sched_params_default();
    params.sampler = SCHED_EULER;
    params.steps = atoi(words[2]);
    model.sdxl = g_str_has_suffix(words[1], "XL");
    if (model.sdxl)
        words[1][strlen(words[1]) - 2] = '\0';
    g_autoptr(GError) error = NULL;
    CHECK(sched_schedule_parse(words[1], &params.schedule, &error), "%s", line);
    struct sched_plan *plan = sched_plan_new(&model, &params, &error);
    CHECK(plan && plan->n_rows == params.steps, "%s", line);
    for (int i = 0; plan && i < plan->n_rows; i++) {
        double sigma = g_ascii_strtod(words[3 + i], NULL);
        /* 14 digits in the file; the Beta schedule adds the error of scipy's own inverse. */
        CHECK(fabs(plan->rows[i].sigma - sigma) <= 1e-12 * sigma, "%s: sigma %d is %.14g", line, i,
              plan->rows[i].sigma);
    }
    sched_plan_free(plan);
}

/* `ppf a b p x`. */
static void run_ppf(const char *line)
{
    double a, b, p, x;
    CHECK(sscanf(line, "ppf %lf %lf %lf %lf", &a, &b, &p, &x) == 4, "%s", line);
    double got = sched_beta_ppf(p, a, b);
    CHECK(fabs(got - x) <= 1e-12 * x, "%s: got %.16g", line, got);
}

int main(void)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    CHECK(g_file_get_contents("tests/golden/scheduler.txt", &text, NULL, &error), "%s",
          error->message);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    int cases = 0;
    for (int i = 0; lines[i];) {
        if (g_str_has_prefix(lines[i], "case ")) {
            i = run_case(lines, i);
            cases++;
            continue;
        }
        if (g_str_has_prefix(lines[i], "sigmas "))
            run_sigmas(lines[i]);
        else if (g_str_has_prefix(lines[i], "ppf "))
            run_ppf(lines[i]);
        i++;
    }
    CHECK(cases >= 120, "only %d cases were read", cases);
    return check_result();
}
