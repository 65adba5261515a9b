#version 450
/* The end of a conv2d or linear whose K was split: sums the parts in order, then the epilogue. One
 * invocation a quad of packed columns. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "gemm.glsl"
layout(binding = 7, std430) readonly buffer sum_quads { vec4 sums4[]; };

void main()
{
    uint quads = p.columns / 4;
    uint i = flat_index();
    uint row = i / quads, quad = i % quads;
    if (row >= p.rows)
        return;
    vec4 v = vec4(0);
    for (uint part = 0; part < p.split; part++)
        v += sums4[(part * p.rows + row) * quads + quad];
    finish(row, p.column + quad * 4, v);
}
