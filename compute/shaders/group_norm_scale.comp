#version 450
/*
 * Second of three steps of group_norm: from the partial sums to a scale and a shift for every
 * channel. One workgroup a group of one picture.
 */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"

layout(push_constant) uniform push { push_group_norm p; };
layout(binding = 0, std430) readonly buffer partial_buffer { float partials[]; };
layout(binding = 1, std430) readonly buffer weight_buffer { float weights[]; };
layout(binding = 2, std430) readonly buffer bias_buffer { float biases[]; };
layout(binding = 3, std430) writeonly buffer scale_buffer { float scales[]; };

void main()
{
    uint group = gl_WorkGroupID.x, b = gl_WorkGroupID.y;
    uint size = p.channels / p.groups, quads = (p.channels + 3) / 4;
    uint parts = size * p.chunks;
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
    float inverse = inversesqrt(variance + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < size; i += LOCAL) {
        uint c = group * size + i;
        float scale = weights[c] * inverse;
        scales[b * quads * 8 + c] = scale;
        scales[b * quads * 8 + quads * 4 + c] = biases[c] - mean * scale;
    }
}
