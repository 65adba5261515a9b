/*
 * What samplers and schedules are called. Names are compared after folding(): lower case, without
 * spaces and punctuation, '+' read as 'p', so that "DPM++ 2M", "dpmpp_2m" and "dpm++2m" are one.
 */
#include "scheduler/scheduler.h"

#include <glib/gi18n-lib.h>
#include <string.h>

enum { FOLDED_MAX = 64, ALIASES_MAX = 6 };

struct name {
    const char *label;                /* A1111's */
    const char *aliases[ALIASES_MAX]; /* folded; the folded label itself is always read */
};

static const struct name SAMPLERS[SCHED_N_SAMPLERS] = {
    [SCHED_DPMPP_2M] = {"DPM++ 2M", {"dpmsolvermultistep", "dpmpp2mv2"}},
    [SCHED_DPMPP_2M_SDE] = {"DPM++ 2M SDE", {"dpmpp2msdegpu", "dpmsolvermultistepsde"}},
    [SCHED_DPMPP_2M_SDE_HEUN] = {"DPM++ 2M SDE Heun", {"dpmpp2msdeheungpu"}},
    [SCHED_DPMPP_SDE] = {"DPM++ SDE", {"dpmppsdegpu", "dpmsolversde", "dpmsolversinglestep"}},
    [SCHED_DPMPP_2S_A] = {"DPM++ 2S a", {"dpmpp2sancestral"}},
    [SCHED_DPMPP_3M_SDE] = {"DPM++ 3M SDE", {"dpmpp3msdegpu"}},
    [SCHED_EULER] = {"Euler", {"eulerdiscrete"}},
    [SCHED_EULER_A] = {"Euler a", {"eulerancestral", "eulerancestraldiscrete"}},
    [SCHED_HEUN] = {"Heun", {"heundiscrete"}},
    [SCHED_DPM2] = {"DPM2", {"kdpm2discrete"}},
    [SCHED_DPM2_A] = {"DPM2 a", {"dpm2ancestral", "kdpm2ancestraldiscrete"}},
    [SCHED_LMS] = {"LMS", {"lmsdiscrete"}},
    [SCHED_DDIM] = {"DDIM", {"ddimtrailing"}},
    [SCHED_DDPM] = {"DDPM", {NULL}},
    [SCHED_PLMS] = {"PLMS", {"pndm"}},
    [SCHED_UNIPC] = {"UniPC", {"unipcmultistep", "unipcbh2"}},
    [SCHED_LCM] = {"LCM", {NULL}},
    [SCHED_TCD] = {"TCD", {NULL}},
    [SCHED_RESTART] = {"Restart", {NULL}},
    [SCHED_IPNDM] = {"iPNDM", {NULL}},
};

static const struct name SCHEDULES[SCHED_N_SCHEDULES] = {
    [SCHEDULE_AUTOMATIC] = {"Automatic", {"auto", "default"}},
    [SCHEDULE_MODEL] = {"Model", {"modelsown", "config"}},
    [SCHEDULE_UNIFORM] = {"Uniform", {"discrete"}},
    [SCHEDULE_KARRAS] = {"Karras", {"ka"}},
    [SCHEDULE_EXPONENTIAL] = {"Exponential", {"exp"}},
    [SCHEDULE_POLYEXPONENTIAL] = {"Polyexponential", {NULL}},
    [SCHEDULE_SGM_UNIFORM] = {"SGM Uniform", {NULL}},
    [SCHEDULE_KL_OPTIMAL] = {"KL Optimal", {NULL}},
    [SCHEDULE_ALIGN_YOUR_STEPS] = {"Align Your Steps", {"ays"}},
    [SCHEDULE_SIMPLE] = {"Simple", {NULL}},
    [SCHEDULE_NORMAL] = {"Normal", {NULL}},
    [SCHEDULE_DDIM_UNIFORM] = {"DDIM", {"ddimuniform"}},
    [SCHEDULE_BETA] = {"Beta", {NULL}},
    [SCHEDULE_TURBO] = {"Turbo", {NULL}},
    [SCHEDULE_LEADING] = {"Leading", {NULL}},
    [SCHEDULE_LINSPACE] = {"Linspace", {NULL}},
    [SCHEDULE_TRAILING] = {"Trailing", {NULL}},
    [SCHEDULE_DISTILLED] = {"Distilled", {"lcm"}},
};

const char *sched_sampler_name(enum sched_sampler sampler)
{
    g_return_val_if_fail((unsigned)sampler < SCHED_N_SAMPLERS, NULL);
    return SAMPLERS[sampler].label;
}

const char *sched_schedule_name(enum sched_schedule schedule)
{
    g_return_val_if_fail((unsigned)schedule < SCHED_N_SCHEDULES, NULL);
    return SCHEDULES[schedule].label;
}

static void fold(const char *text, char folded[FOLDED_MAX])
{
    size_t n = 0;
    for (; *text && n < FOLDED_MAX - 1; text++) {
        if (g_ascii_isalnum(*text))
            folded[n++] = g_ascii_tolower(*text);
        else if (*text == '+')
            folded[n++] = 'p';
    }
    folded[n] = '\0';
}

/* A name's folded forms in turn; NULL after the last. */
static const char *folded_form(const struct name *name, int form, char label[FOLDED_MAX])
{
    if (form == 0) {
        fold(name->label, label);
        return label;
    }
    return form <= ALIASES_MAX ? name->aliases[form - 1] : NULL;
}

static int find(const struct name *names, int n, const char *folded)
{
    char label[FOLDED_MAX];
    for (int i = 0; i < n; i++) {
        const char *form;
        for (int k = 0; (form = folded_form(&names[i], k, label)); k++) {
            if (strcmp(form, folded) == 0)
                return i;
        }
    }
    return -1;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b. */
static int distance(const char *a, const char *b)
{
    int row[3][FOLDED_MAX + 1];
    int na = (int)strlen(a), nb = (int)strlen(b);
    for (int j = 0; j <= nb; j++)
        row[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            now[j] = MIN(MIN(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = MIN(now[j], before[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

/* The label that the user may have meant, NULL when none is near. */
static const char *nearest(const struct name *names, int n, const char *folded)
{
    const char *best = NULL;
    int best_distance = MAX(1, (int)strlen(folded) / 2);
    char label[FOLDED_MAX];
    for (int i = 0; i < n; i++) {
        const char *form;
        for (int k = 0; (form = folded_form(&names[i], k, label)); k++) {
            int d = distance(folded, form);
            if (d < best_distance) {
                best_distance = d;
                best = names[i].label;
            }
        }
    }
    return best;
}

/* A name of any bytes and length, for a message. */
static char *shorten(const char *name)
{
    g_autofree char *start = g_strndup(name, 60);
    return g_utf8_make_valid(start, -1);
}

/* `like` has the wrong name and the nearest one, `list` the wrong name and all there are. */
static bool unknown(const char *like, const char *list, const char *name, const struct name *names,
                    int n, GError **error)
{
    char folded[FOLDED_MAX];
    fold(name, folded);
    const char *near = nearest(names, n, folded);
    g_autofree char *shown = shorten(name);
    if (near) {
        g_set_error(error, SCHED_ERROR, SCHED_ERROR_NAME, like, shown, near);
    } else {
        g_autoptr(GString) all = g_string_new(NULL);
        for (int i = 0; i < n; i++)
            g_string_append_printf(all, "%s%s", i ? ", " : "", names[i].label);
        g_set_error(error, SCHED_ERROR, SCHED_ERROR_NAME, list, shown, all->str);
    }
    return false;
}

/*
 * Drops what surrounds the name in k-diffusion ("k_euler", "sample_euler") and diffusers
 * ("EulerDiscreteScheduler").
 */
static const char *core_of(char *folded)
{
    if (g_str_has_suffix(folded, "scheduler"))
        folded[strlen(folded) - strlen("scheduler")] = '\0';
    if (g_str_has_prefix(folded, "sample"))
        return folded + strlen("sample");
    return folded;
}

/* "dpmpp2mkarras": a sampler, then a schedule. */
static bool split(char *folded, int *sampler, int *schedule)
{
    char label[FOLDED_MAX];
    size_t length = strlen(folded);
    for (int i = 0; i < SCHED_N_SCHEDULES; i++) {
        const char *form;
        for (int k = 0; (form = folded_form(&SCHEDULES[i], k, label)); k++) {
            size_t tail = strlen(form);
            if (tail >= length || strcmp(folded + length - tail, form) != 0)
                continue;
            char saved = folded[length - tail];
            folded[length - tail] = '\0';
            *sampler = find(SAMPLERS, SCHED_N_SAMPLERS, folded);
            folded[length - tail] = saved;
            *schedule = i;
            if (*sampler >= 0)
                return true;
        }
    }
    return false;
}

bool sched_sampler_parse(const char *name, enum sched_sampler *sampler,
                         enum sched_schedule *schedule, GError **error)
{
    char buffer[FOLDED_MAX];
    fold(name, buffer);
    char *folded = (char *)core_of(buffer);
    int found = -1, suffix = -1;
    for (int try = 0; try < 2; try++) {
        found = find(SAMPLERS, SCHED_N_SAMPLERS, folded);
        if (found >= 0 || split(folded, &found, &suffix))
            break;
        if (*folded != 'k')
            break;
        folded++; /* "k_dpmpp_2m_ka" */
    }
    if (found < 0) {
        g_autofree char *shown = shorten(name);
        if (strstr(buffer, "dpmadaptive") || strstr(buffer, "dpmfast"))
            g_set_error(error, SCHED_ERROR, SCHED_ERROR_NAME,
                        _("the sampler '%s' is not available; 'DPM++ 2M' is its successor"), shown);
        else
            unknown(_("there is no sampler '%s'; did you mean '%s'?"),
                    _("there is no sampler '%s'; there are %s"), name, SAMPLERS, SCHED_N_SAMPLERS,
                    error);
        return false;
    }
    if (sampler)
        *sampler = (enum sched_sampler)found;
    if (schedule && suffix >= 0)
        *schedule = (enum sched_schedule)suffix;
    return true;
}

bool sched_schedule_parse(const char *name, enum sched_schedule *schedule, GError **error)
{
    char folded[FOLDED_MAX];
    fold(name, folded);
    int found = find(SCHEDULES, SCHED_N_SCHEDULES, folded);
    if (found < 0)
        return unknown(_("there is no schedule '%s'; did you mean '%s'?"),
                       _("there is no schedule '%s'; there are %s"), name, SCHEDULES,
                       SCHED_N_SCHEDULES, error);
    if (schedule)
        *schedule = (enum sched_schedule)found;
    return true;
}
