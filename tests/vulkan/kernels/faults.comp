#version 450
/* Each FAULT is one that a device would not tell of; 0 is none. */
#extension GL_GOOGLE_include_directive : require
#include "kernel.glsl"

layout(constant_id = 1) const uint FAULT = 0;
const uint DEPTH = 16;

layout(binding = 0, std430) readonly buffer source_buffer { float16_t source[]; };
layout(binding = 1, std430) buffer result_buffer { float result[]; };
layout(push_constant) uniform push { uint rows, columns, base, stride; int y; } p;

void main()
{
    const int CLAMP = gl_CooperativeMatrixClampModeConstantNV;
    MATRIX_A(float16_t, 16, DEPTH) a, never;
    MATRIX_B(float16_t, 16, 16) b = MATRIX_B(float16_t, 16, 16)(float16_t(1.0));
    SUM(float16_t, 16, 16) unwritten;
    SUM(float, 16, 16) sum = SUM(float, 16, 16)(0.0);
    tensorLayoutNV<2, CLAMP> t = createTensorLayoutNV(2, CLAMP);
    t = setTensorLayoutDimensionNV(t, p.rows, p.columns);
    t = setTensorLayoutStrideNV(t, p.stride, 1);
    t = sliceTensorLayoutNV(t, p.y, FAULT == 1 ? 8 : 16, 0, DEPTH);
    coopMatLoadTensorNV(a, source, p.base, t);
    if (FAULT == 2) {
        tensorLayoutNV<2> open = createTensorLayoutNV(2);
        open = setTensorLayoutDimensionNV(open, p.rows, p.columns);
        coopMatLoadTensorNV(a, source, 0, sliceTensorLayoutNV(open, 1, 16, 0, DEPTH));
    }
    if (FAULT == 13 && gl_WorkGroupID.x == 1) {
        result[256] = result[0];
        return;
    }
    if (FAULT == 14 && gl_WorkGroupID.x < 2) {
        result[256 + gl_WorkGroupID.x] = result[0];
        return;
    }
    if (FAULT == 3)
        a = never;
    sum = coopMatMulAdd(a, b, sum);
    tensorLayoutNV<2, CLAMP> to = createTensorLayoutNV(2, CLAMP);
    if (FAULT == 4)
        to = setTensorLayoutBlockSizeNV(to, 1, 4);
    to = setTensorLayoutDimensionNV(to, 16, 16);
    if (FAULT == 5) {
        tensorViewNV<2, true> v = setTensorViewDimensionsNV(createTensorViewNV(2, true), 16, 8);
        coopMatStoreTensorNV(sum, result, 0, to, v);
    }
    if (FAULT == 6) {
        tensorLayoutNV<2, CLAMP> none;
        to = none;
    }
    coopMatStoreTensorNV(sum, result, 0, to);
    if (FAULT == 12)
        sum = sum + SUM(float, 16, 16)(unwritten);
    float local[3] = float[](1.0, 2.0, 3.0);
    if (FAULT == 7)
        result[0] = local[p.rows];
    if (FAULT == 8)
        result[0] = float(p.rows / (p.stride - 16));
    if (FAULT == 9)
        result[result.length()] = 1.0;
    if (FAULT == 10)
        result[0] = float(1u << p.stride);
    if (FAULT == 11)
        result[0] = float(int(3e9 + float(p.rows)));
}
