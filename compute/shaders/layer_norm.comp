#version 450
/* Over the last axis. One workgroup a row; mean first, then squared deviations, from the cache. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"

layout(push_constant) uniform push { push_layer_norm p; };
INPUT(0, x)
VECTOR(1, weight)
VECTOR(2, bias)
OUTPUT(3, y)

void main()
{
    uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= p.rows)
        return;
    uint lane = gl_LocalInvocationID.x;
    float total = 0.0;
    for (uint c = lane * 4; c < p.channels; c += LOCAL * 4)
        total += sum4(read_x(row, c, p.channels));
    float mean = reduce_sum(total) / float(p.channels);
    total = 0.0;
    for (uint c = lane * 4; c < p.channels; c += LOCAL * 4) {
        vec4 d = read_x(row, c, p.channels) - mean;
        vec4 inside = vec4(lessThan(uvec4(c, c + 1, c + 2, c + 3), uvec4(p.channels)));
        total += sum4(d * d * inside);
    }
    float inverse = inversesqrt(reduce_sum(total) / float(p.channels) + p.eps);
    for (uint c = lane * 4; c < p.channels; c += LOCAL * 4) {
        vec4 v = (read_x(row, c, p.channels) - mean) * inverse;
        write_y(row, c, p.channels, v * vector_weight(c / 4) + vector_bias(c / 4));
    }
}
