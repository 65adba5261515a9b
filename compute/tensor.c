#include "compute/tensor.h"

size_t dtype_size(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32:
    case DTYPE_I32:
        return 4;
    case DTYPE_F16:
    case DTYPE_BF16:
        return 2;
    case DTYPE_F64:
        return 8;
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
        return 1;
    }
    g_return_val_if_reached(0);
}

const char *dtype_name(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32:
        return "f32";
    case DTYPE_F16:
        return "f16";
    case DTYPE_BF16:
        return "bf16";
    case DTYPE_I32:
        return "i32";
    case DTYPE_F64:
        return "f64";
    case DTYPE_F8_E4M3:
        return "f8_e4m3";
    case DTYPE_F8_E5M2:
        return "f8_e5m2";
    }
    g_return_val_if_reached("?");
}
