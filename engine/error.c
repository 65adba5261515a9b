#include "engine/engine.h"

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
