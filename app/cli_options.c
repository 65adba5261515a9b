#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "engine/engine.h"
#include "engine/suggest.h"

bool cli_int(const char *name, const char *value, double low, double high, int *number,
             GError **error)
{
    char *end;
    gint64 parsed;

    errno = 0;
    parsed = g_ascii_strtoll(value, &end, 10);
    if (end == value || *end || errno || (double)parsed < low || (double)parsed > high)
        return engine_input_error(error, "%s must be a whole number from %.0f to %.0f, not “%s”.",
                                  name, low, high, value);
    *number = (int)parsed;
    return true;
}

bool cli_number(const char *name, const char *value, double low, double high, double *number,
                GError **error)
{
    char *end;
    double parsed = g_ascii_strtod(value, &end);

    if (end == value || *end || !isfinite(parsed) || parsed < low || parsed > high)
        return engine_input_error(error, "%s must be a number from %g to %g, not “%s”.", name, low,
                                  high, value);
    *number = parsed;
    return true;
}

static bool set(const struct cli_option *o, const char *value, GError **error)
{
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->target = true;
        return true;
    case CLI_STRING:
        if (!g_utf8_validate(value, -1, NULL))
            return engine_input_error(error, "The value of %s is not UTF-8 text.", o->name);
        g_free(*(char **)o->target);
        *(char **)o->target = g_strdup(value);
        return true;
    case CLI_INT:
        return cli_int(o->name, value, o->low, o->high, o->target, error);
    case CLI_NUMBER:
        return cli_number(o->name, value, o->low, o->high, o->target, error);
    case CLI_CALL:
        break;
    }
    return o->call(value, o->target, error);
}

static void print_help(const struct cli_command *c)
{
    printf("Usage: figment %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->n_options)
        printf("\n");
    for (gsize i = 0; i < c->n_options; i++) {
        g_autofree char *left = g_strdup_printf(
            "%s %s", c->options[i].name, c->options[i].argument ? c->options[i].argument : "");

        printf("  %-28s %s\n", left, c->options[i].help);
    }
}

static const struct cli_option *find(const struct cli_command *c, const char *text, size_t length,
                                     GError **error)
{
    g_autofree char *name = g_strndup(text, length), *meant = NULL;
    g_autofree const char **names = g_new(const char *, c->n_options + 1);

    for (gsize i = 0; i < c->n_options; i++) {
        if (strcmp(c->options[i].name, name) == 0)
            return &c->options[i];
        names[i] = c->options[i].name;
    }
    meant = suggest(name, names, c->n_options);
    if (meant)
        engine_input_error(error, "There is no option %s; did you mean %s?", name, meant);
    else
        engine_input_error(error, "There is no option %s; “figment %s --help” lists them.", name,
                           c->name);
    return NULL;
}

/* One option at argv[*i]; moves on over its value. */
static bool take_option(const struct cli_command *c, int argc, char **argv, int *i, GError **error)
{
    const char *equals = strchr(argv[*i], '='), *value = NULL;
    size_t length = equals ? (size_t)(equals - argv[*i]) : strlen(argv[*i]);
    const struct cli_option *option = find(c, argv[*i], length, error);

    if (!option)
        return false;
    if (!option->argument) {
        if (equals)
            return engine_input_error(error, "%s takes no value.", option->name);
    } else if (equals) {
        value = equals + 1;
    } else if (++*i < argc) {
        value = argv[*i];
    } else {
        return engine_input_error(error, "%s needs a value: %s %s.", option->name, option->name,
                                  option->argument);
    }
    return set(option, value, error);
}

bool cli_parse(const struct cli_command *c, int argc, char **argv, int *status)
{
    GError *error = NULL;
    bool options = true;
    int rest = 0;

    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(c);
            *status = CLI_DONE;
            return false;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            if (!take_option(c, argc, argv, &i, &error)) {
                *status = cli_fail_error(error);
                return false;
            }
        } else if (rest < c->rest_most) {
            c->rest[rest++] = argv[i];
        } else {
            *status = cli_fail(CLI_INPUT, "“%s” is one argument too many for “figment %s”.",
                               argv[i], c->name);
            return false;
        }
    }
    if (rest < c->rest_least) {
        *status = cli_fail(CLI_INPUT, "Something is missing: figment %s %s", c->name, c->usage);
        return false;
    }
    return true;
}
