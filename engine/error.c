#include "engine/engine.h"

#include <string.h>

G_DEFINE_QUARK(figment - engine - error, engine_error)

int engine_error_exit(const GError *error)
{
    if (!error || error->domain != ENGINE_ERROR)
        return 3;
    switch ((enum engine_error)error->code) {
    case ENGINE_ERROR_INPUT:
    case ENGINE_ERROR_MODEL:
        return 2;
    case ENGINE_ERROR_DEVICE:
    case ENGINE_ERROR_MEMORY:
    case ENGINE_ERROR_DISK:
    case ENGINE_ERROR_NUMBERS:
    case ENGINE_ERROR_CANCELLED:
        break;
    }
    return 3;
}

bool engine_input_error(GError **error, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, text);
    return false;
}

/* A quote ends there, in whatever language. */
static bool is_behind_quote(const char *text, const char *place)
{
    GUnicodeType type = place > text ? g_unichar_type(g_utf8_get_char(g_utf8_prev_char(place)))
                                     : G_UNICODE_UNASSIGNED;

    return type == G_UNICODE_INITIAL_PUNCTUATION || type == G_UNICODE_FINAL_PUNCTUATION;
}

/* "Can't open “x”: ", which several parts of one model begin with. */
static size_t common_start(const char *a, const char *b)
{
    const char *colon = strstr(a, ": ");

    while (colon && !is_behind_quote(a, colon))
        colon = strstr(colon + 1, ": ");
    size_t n = colon ? (size_t)(colon - a) + strlen(": ") : 0;

    return n && strncmp(a, b, n) == 0 ? n : 0;
}

void engine_join_errors(GError **error, GError **other)
{
    if (!*other)
        return;
    if (*error) {
        const char *more = (*other)->message + common_start((*error)->message, (*other)->message);
        char *both = g_strdup_printf("%s %s", (*error)->message, more);

        g_free((*error)->message);
        (*error)->message = both;
        g_clear_error(other);
    } else {
        *error = g_steal_pointer(other);
    }
}
