#version 450
/*
 * First of three steps of group_norm: mean and sum of squared deviations of every channel over a
 * chunk of rows. One invocation a quad of channels and chunk. Squares are of the difference to the
 * chunk's first row, so that a large mean costs no digits.
 */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_group_norm p; };
INPUT(0, x)
layout(binding = 1, std430) writeonly buffer partial_buffer { vec4 partials[]; };

void main()
{
    uint quads = (p.channels + 3) / 4;
    uint i = flat_index();
    uint chunk = i / quads, quad = i % quads;
    if (chunk >= p.count)
        return;
    uint picture = chunk / p.chunks;
    uint start = picture * p.rows + (chunk % p.chunks) * p.chunk;
    uint end = min(start + p.chunk, (picture + 1) * p.rows);
    vec4 origin = read_x(start, quad * 4, p.channels);
    vec4 sum = vec4(0.0), squares = vec4(0.0);
    for (uint row = start + 1; row < end; row++) {
        vec4 d = read_x(row, quad * 4, p.channels) - origin;
        sum += d;
        squares += d * d;
    }
    vec4 mean = sum / float(end - start);
    partials[p.first + i * 2] = origin + mean;
    partials[p.first + i * 2 + 1] = max(squares - sum * mean, vec4(0.0));
}
