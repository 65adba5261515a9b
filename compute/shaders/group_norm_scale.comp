#version 450
/*
 * Second of three steps of group_norm: from the partial sums to a scale and a shift for every
 * channel. One workgroup a group of one picture.
 */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"

/* The group's mean and variance: 0 = from partial sums, 1 = from there, and they are the output,
 * 2 = given in place of partial sums. */
layout(constant_id = 2) const uint MODE = 0u;
layout(push_constant) uniform push { push_group_norm p; };
layout(binding = 0, std430) readonly buffer partial_buffer { float partials[]; };
layout(binding = 1, std430) readonly buffer weight_buffer { float weights[]; };
layout(binding = 2, std430) readonly buffer bias_buffer { float biases[]; };
layout(binding = 3, std430) writeonly buffer scale_buffer { float scales[]; };

void main()
{
    uint group = gl_WorkGroupID.x, b = gl_WorkGroupID.y;
    uint size = p.channels / p.groups, quads = (p.channels + 3) / 4;
    uint parts = MODE == 2u ? 0u : size * p.chunks, moments = (b * p.groups + group) * 2;
    float total = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < parts; i += LOCAL) {
        uint chunk = i / size, c = group * size + i % size;
        uint at = ((b * p.chunks + chunk) * quads + c / 4) * 8 + c % 4;
        float n = float(min(p.chunk, p.rows - chunk * p.chunk));
        total += n * partials[at];
    }
    float mean = reduce_sum(total) / (float(size) * float(p.rows));
    total = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < parts; i += LOCAL) {
        uint chunk = i / size, c = group * size + i % size;
        uint at = ((b * p.chunks + chunk) * quads + c / 4) * 8 + c % 4;
        float n = float(min(p.chunk, p.rows - chunk * p.chunk));
        float d = partials[at] - mean;
        total += partials[at + 4] + n * d * d;
    }
    float variance = reduce_sum(total) / (float(size) * float(p.rows));
    if (MODE == 1u) {
        if (gl_LocalInvocationID.x == 0) {
            scales[moments] = mean;
            scales[moments + 1] = variance;
        }
        return;
    }
    if (MODE == 2u) {
        mean = partials[moments];
        variance = partials[moments + 1];
    }
    float inverse = inversesqrt(variance + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < size; i += LOCAL) {
        uint c = group * size + i;
        float scale = weights[c] * inverse;
        scales[b * quads * 8 + c] = scale;
        scales[b * quads * 8 + quads * 4 + c] = biases[c] - mean * scale;
    }
}
