#version 450
/* [..., 2C] -> [..., C]: first half * gelu(second half). One invocation a quad of the output. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_geglu p; };
INPUT(0, x)
OUTPUT(1, y)

void main()
{
    uint quads = (p.channels + 3) / 4;
    uint i = flat_index();
    uint row = i / quads, c = (i % quads) * 4;
    if (row >= p.rows)
        return;
    vec4 value, gate;
    if (ALIGNED) {
        value = read_x(row, c, 2 * p.channels);
        gate = read_x(row, p.channels + c, 2 * p.channels);
    } else {
        /* halves are rows of their own, so that the end of the first is not read from the second */
        value = read_x(2 * row, c, p.channels);
        gate = read_x(2 * row + 1, c, p.channels);
    }
    write_y(row, c, p.channels, value * gelu(gate));
}
