#version 450
/* Rows of a table by id. A table larger than a bound range is covered by several dispatches. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_embedding p; };
layout(binding = 0, std430) readonly buffer id_buffer { int ids[]; };
INPUT(1, table)
OUTPUT(2, y)

void main()
{
    uint quads = (p.channels + 3) / 4;
    uint i = flat_index();
    uint row = i / quads, c = (i % quads) * 4;
    if (row >= p.rows)
        return;
    uint id = uint(ids[row]) - p.first;
    if (id < p.count)
        write_y(row, c, p.channels, read_table(id, c, p.channels));
}
