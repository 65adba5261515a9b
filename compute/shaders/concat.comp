#version 450
/* Along the last axis. One invocation a quad of the output. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_concat p; };
INPUT(0, a)
INPUT(1, b)
OUTPUT(2, y)

void main()
{
    uint channels = p.a_channels + p.b_channels;
    uint a_quads = (p.a_channels + 3) / 4, quads = a_quads + (p.b_channels + 3) / 4;
    uint i = flat_index();
    uint row = i / quads, quad = i % quads;
    if (row >= p.rows)
        return;
    bool first = quad < a_quads;
    uint c = (first ? quad : quad - a_quads) * 4;
    if (ALIGNED) {
        if (first)
            write_y(row, c, channels, read_a(row, c, p.a_channels));
        else
            write_y(row, p.a_channels + c, channels, read_b(row, c, p.b_channels));
        return;
    }
    uint n = first ? p.a_channels : p.b_channels;
    uint to = row * channels + (first ? 0 : p.a_channels);
    for (uint j = c; j < min(c + 4, n); j++)
        y1[to + j] = first ? a1[row * n + j] : b1[row * n + j];
}
