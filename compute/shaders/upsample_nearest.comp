#version 450
/* [B, H, W, C] -> [B, H', W', C]. One invocation a quad of the output. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_upsample_nearest p; };
INPUT(0, x)
OUTPUT(1, y)

void main()
{
    uint quads = (p.channels + 3) / 4;
    uint i = flat_index();
    uint row = i / quads, c = (i % quads) * 4;
    if (row >= p.rows)
        return;
    uint pixel = p.first + row;
    uint column = pixel % p.out_width;
    uint line = (pixel / p.out_width) % p.out_height;
    uint b = pixel / (p.out_width * p.out_height);
    uint from_line = line * p.in_height / p.out_height;
    uint from_column = column * p.in_width / p.out_width;
    uint from = (b * p.in_height + from_line) * p.in_width + from_column - p.in_first;
    write_y(row, c, p.channels, read_x(from, c, p.channels));
}
