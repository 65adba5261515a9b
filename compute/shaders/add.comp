#version 450
/* a + b, where b has a's shape, or is [B, C] over [B, ..., C], or [1, L, C] over [B, L, C]. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_add p; };
INPUT(0, a)
INPUT(1, b)
OUTPUT(2, y)

void main()
{
    uint i = flat_index();
    if (p.quads > 0) {
        if (i < p.quads)
            y4[i] = STORE4(QUAD(a, i) + QUAD(b, i));
        return;
    }
    uint quads = (p.channels + 3) / 4;
    uint row = i / quads, c = (i % quads) * 4;
    if (row >= p.rows)
        return;
    uint other = p.rows_per_b > 0 ? (p.first + row) / p.rows_per_b : (p.first + row) % p.b_rows;
    write_y(row, c, p.channels, read_a(row, c, p.channels) + read_b(other, c, p.channels));
}
