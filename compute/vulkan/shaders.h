/* The shaders' SPIR-V, embedded at build time (compute/shaders/CMakeLists.txt writes shaders.c). */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct shader {
    const char *name; /* "<op>[_<path>]_<f32|f16>[_t]": _t reads through texel buffers */
    const uint32_t *words;
    size_t bytes;
};

extern const struct shader shaders[];
extern const size_t shader_count;
