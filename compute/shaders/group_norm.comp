#version 450
/* Last of three steps of group_norm: y = x * scale + shift, then silu when fused. One invocation a
 * quad. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 2) const bool SILU = false;
layout(push_constant) uniform push { push_group_norm p; };
INPUT(0, x)
VECTOR(1, scales)
OUTPUT(2, y)

void main()
{
    uint quads = (p.channels + 3) / 4;
    uint i = flat_index();
    uint row = i / quads, quad = i % quads;
    if (row >= p.count)
        return;
    uint b = (p.first + row) / p.rows;
    vec4 v = read_x(row, quad * 4, p.channels) * vector_scales(b * quads * 2 + quad) +
             vector_scales(b * quads * 2 + quads + quad);
    if (SILU)
        v = silu(v);
    write_y(row, quad * 4, p.channels, v);
}
