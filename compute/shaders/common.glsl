/*
 * What every shader begins with. Builds differ by macros only where the type of memory does:
 *   F16    activations and weights are stored as 16-bit floats (arithmetic is 32-bit everywhere)
 *   TEXEL  inputs are read through texel buffers, which the software device lavapipe gathers at full
 *          speed inside loops, where it reads storage buffers lane by lane
 * Everything else is a specialisation constant.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#ifdef F16
#extension GL_EXT_shader_16bit_storage : require
#endif
#include "push.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 64;
/* Every channel count is a multiple of 4, so that a quad never crosses a row. */
layout(constant_id = 1) const bool ALIGNED = true;

#ifdef F16
#define STORE float16_t
#define STORE4 f16vec4
#else
#define STORE float
#define STORE4 vec4
#endif

#ifdef TEXEL
#define TEXELS(slot, name) layout(binding = slot + 8) uniform samplerBuffer name##_texels;
#define QUAD(name, i) texelFetch(name##_texels, int(i))
#else
#define TEXELS(slot, name)
#define QUAD(name, i) vec4(name##4[i])
#endif

/* A tensor that is read: QUAD(name, i) is 4 elements, read_name(row, c, C) is channels c..c+3 of a
 * row of C, with zeros after the last. */
#define INPUT(slot, name)                                                                          \
    layout(binding = slot, std430) readonly buffer name##_quads { STORE4 name##4[]; };             \
    layout(binding = slot, std430) readonly buffer name##_scalars { STORE name##1[]; };            \
    TEXELS(slot, name)                                                                             \
    vec4 read_##name(uint row, uint c, uint C)                                                     \
    {                                                                                              \
        if (ALIGNED)                                                                               \
            return QUAD(name, (row * C + c) >> 2);                                                 \
        uint i = row * C + c;                                                                      \
        return vec4(c < C ? float(name##1[i]) : 0.0, c + 1 < C ? float(name##1[i + 1]) : 0.0,      \
                    c + 2 < C ? float(name##1[i + 2]) : 0.0,                                       \
                    c + 3 < C ? float(name##1[i + 3]) : 0.0);                                      \
    }

/* A vector of 32-bit floats (bias, scales), padded to whole quads. */
#ifdef TEXEL
#define VECTOR(slot, name)                                                                         \
    layout(binding = slot + 8) uniform samplerBuffer name##_texels;                                \
    vec4 vector_##name(uint i)                                                                     \
    {                                                                                              \
        return texelFetch(name##_texels, int(i));                                                  \
    }
#else
#define VECTOR(slot, name)                                                                         \
    layout(binding = slot, std430) readonly buffer name##_quads { vec4 name##4[]; };               \
    vec4 vector_##name(uint i)                                                                     \
    {                                                                                              \
        return name##4[i];                                                                         \
    }
#endif

#define OUTPUT(slot, name)                                                                         \
    layout(binding = slot, std430) writeonly buffer name##_quads { STORE4 name##4[]; };            \
    layout(binding = slot, std430) writeonly buffer name##_scalars { STORE name##1[]; };           \
    void write_##name(uint row, uint c, uint C, vec4 v)                                            \
    {                                                                                              \
        uint i = row * C + c;                                                                      \
        if (ALIGNED) {                                                                             \
            name##4[i >> 2] = STORE4(v);                                                           \
            return;                                                                                \
        }                                                                                          \
        if (c < C)                                                                                 \
            name##1[i] = STORE(v.x);                                                               \
        if (c + 1 < C)                                                                             \
            name##1[i + 1] = STORE(v.y);                                                           \
        if (c + 2 < C)                                                                             \
            name##1[i + 2] = STORE(v.z);                                                           \
        if (c + 3 < C)                                                                             \
            name##1[i + 3] = STORE(v.w);                                                           \
    }

/* The index of this invocation over a grid that may be folded into y, because one axis holds at
 * most 65,535 workgroups. */
uint flat_index()
{
    return (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LOCAL +
           gl_LocalInvocationID.x;
}

vec4 silu(vec4 x)
{
    return x / (1.0 + exp(-x));
}

/* Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7 */
vec4 erf_approximation(vec4 x)
{
    vec4 a = abs(x);
    vec4 t = 1.0 / (1.0 + 0.3275911 * a);
    vec4 poly = t * (0.254829592 +
                     t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(x) * (1.0 - poly * exp(-a * a));
}

vec4 gelu(vec4 x)
{
    return 0.5 * x * (1.0 + erf_approximation(x * 0.7071067811865476));
}

vec4 quick_gelu(vec4 x)
{
    return x / (1.0 + exp(-1.702 * x));
}

/* tanh through exp overflows to NaN for large arguments on some devices: clamp first. A NaN of the
 * input stays one (clamp would hide it). */
vec4 soft_clamp(vec4 x)
{
    return mix(tanh(clamp(x / 3.0, -10.0, 10.0)) * 3.0, x, isnan(x));
}

/* max() would turn a NaN into 0. */
vec4 relu(vec4 x)
{
    return mix(x, vec4(0.0), lessThan(x, vec4(0.0)));
}
