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
