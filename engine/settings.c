#include "engine/settings.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

#include "engine/engine.h"

static void set_string(char **field, const char *value)
{
    char *copy = g_strdup(value);

    g_free(*field);
    *field = copy;
}

static void fill_in(struct request *r, const struct model_defaults *d)
{
    r->width = r->width ? r->width : d->width ? d->width : SETTINGS_SIDE;
    r->height = r->height ? r->height : d->height ? d->height : SETTINGS_SIDE;
    r->steps = r->steps ? r->steps : d->steps ? d->steps : SETTINGS_STEPS;
    r->cfg = r->cfg != 0 ? r->cfg : d->cfg != 0 ? d->cfg : SETTINGS_CFG;
    r->clip_skip = r->clip_skip ? r->clip_skip : d->clip_skip ? d->clip_skip : 1;
    r->batch = r->batch ? r->batch : 1;
    r->strength = r->strength != 0 ? r->strength : SETTINGS_STRENGTH;
    r->quality = r->quality ? r->quality : 90;
    r->preview_every = r->preview_every ? r->preview_every : 1;
    if (!r->prompt)
        r->prompt = g_strdup("");
    if (!r->negative)
        r->negative = g_strdup("");
    if (!r->sampler && d->sampler) {
        r->sampler = g_strdup(d->sampler);
        if (!r->schedule)
            r->schedule = g_strdup(d->schedule);
    }
    if (!r->fixed_seed) { /* 32 bits, as A1111: seeds that people can type */
        r->seed = g_random_int();
        r->fixed_seed = true;
    }
}

static bool is_side(int side)
{
    return side >= SETTINGS_SIDE_MIN && side <= SETTINGS_SIDE_MAX && side % 8 == 0;
}

static bool is_one_of(const char *text, const char *const *choices)
{
    return !text || g_strv_contains((const gchar *const *)choices, text);
}

static bool check_device(const char *device)
{
    char *end;

    if (is_one_of(device, (const char *const[]){"auto", "cpu", "vulkan", NULL}))
        return true;
    if (!g_str_has_prefix(device, "vulkan:") || !g_ascii_isdigit(device[7]))
        return false;
    return g_ascii_strtoull(device + 7, &end, 10) < 64 && !*end;
}

bool settings_device(const char *device, GError **error)
{
    if (!check_device(device))
        return engine_input_error(
            error, _("There is no device “%s”; devices are auto, cpu, vulkan and vulkan:N."),
            device);
    return true;
}

static bool check(const struct request *r, GError **error)
{
    if (!is_side(r->width) || !is_side(r->height))
        return engine_input_error(
            error,
            _("The size %dx%d can't be made: both sides must be multiples of 8 from %d to %d."),
            r->width, r->height, SETTINGS_SIDE_MIN, SETTINGS_SIDE_MAX);
    if (r->steps < 1 || r->steps > SETTINGS_STEPS_MAX)
        return engine_input_error(error, _("Steps must be from 1 to %d, not %d."),
                                  SETTINGS_STEPS_MAX, r->steps);
    if (!isfinite(r->cfg) || r->cfg < 0 || r->cfg > SETTINGS_CFG_MAX)
        return engine_input_error(error, _("Guidance must be from 0 to %g, not %g."),
                                  SETTINGS_CFG_MAX, r->cfg);
    if (r->batch < 1 || r->batch > SETTINGS_BATCH_MAX)
        return engine_input_error(error, _("The number of pictures must be from 1 to %d, not %d."),
                                  SETTINGS_BATCH_MAX, r->batch);
    if (r->clip_skip < 1 || r->clip_skip > 12)
        return engine_input_error(error, _("Clip skip must be from 1 to 12, not %d."),
                                  r->clip_skip);
    if (r->fixed_eta && !(r->eta >= 0 && r->eta <= 1))
        return engine_input_error(error, _("Eta must be from 0 to 1, not %g."), r->eta);
    if (!(r->strength > 0 && r->strength <= 1))
        return engine_input_error(error, _("Strength must be above 0 and at most 1, not %g."),
                                  r->strength);
    if (!(r->variation_strength >= 0 && r->variation_strength <= 1))
        return engine_input_error(error, _("The variation's strength must be from 0 to 1, not %g."),
                                  r->variation_strength);
    if (r->quality < 1 || r->quality > 100)
        return engine_input_error(error, _("JPEG quality must be from 1 to 100, not %d."),
                                  r->quality);
    if (!settings_device(r->device, error))
        return false;
    if (!is_one_of(r->precision, (const char *const[]){"auto", "f32", "f16", "bf16", NULL}))
        return engine_input_error(
            error, _("There is no precision “%s”; it is one of auto, f32, f16 and bf16."),
            r->precision);
    if (strlen(r->prompt) > SETTINGS_PROMPT_BYTES_MAX ||
        strlen(r->negative) > SETTINGS_PROMPT_BYTES_MAX)
        return engine_input_error(error, _("The prompt is longer than %d KiB."),
                                  SETTINGS_PROMPT_BYTES_MAX >> 10);
    return true;
}

/* "there is no ..." becomes a sentence of the engine's. */
static bool take_over(GError *from, GError **error)
{
    gunichar first = g_unichar_toupper(g_utf8_get_char(from->message));
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_append_unichar(text, first);
    g_string_append(text, g_utf8_next_char(from->message));
    if (!strchr(".?!", text->str[text->len - 1]))
        g_string_append_c(text, '.');
    g_set_error_literal(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, text->str);
    g_error_free(from);
    return false;
}

static bool resolve_names(struct settings *s, GError **error)
{
    GError *problem = NULL;

    s->sampler = sched_params_default().sampler;
    s->schedule = SCHEDULE_AUTOMATIC;
    if (s->request.sampler &&
        !sched_sampler_parse(s->request.sampler, &s->sampler, &s->schedule, &problem))
        return take_over(problem, error);
    if (s->request.schedule && !sched_schedule_parse(s->request.schedule, &s->schedule, &problem))
        return take_over(problem, error);
    set_string(&s->request.sampler, sched_sampler_name(s->sampler));
    set_string(&s->request.schedule, sched_schedule_name(s->schedule));
    return true;
}

bool settings_init(struct settings *s, const struct request *request, const struct model_info *info,
                   GError **error)
{
    static const struct model_defaults none;

    memset(s, 0, sizeof *s);
    request_copy(&s->request, request);
    fill_in(&s->request, info ? &info->defaults : &none);
    if (check(&s->request, error) && resolve_names(s, error))
        return true;
    settings_finish(s);
    return false;
}

void settings_finish(struct settings *s)
{
    request_clear(&s->request);
}
