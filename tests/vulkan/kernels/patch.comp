#version 450
/*
 * A 3x3 convolution with zeros around the picture: patches by a layout of 3 dimensions that clamps
 * to a constant, packed weights [columns / 32][taps][inputs][32] by one of 4 and a permuted view,
 * bias and a residual element by element, a store that the layout's dimensions clip.
 */
#extension GL_GOOGLE_include_directive : require
#include "kernel.glsl"

layout(constant_id = 1) const uint TILE_HEIGHT = 4;
layout(constant_id = 2) const uint TILE_WIDTH = 8;
layout(constant_id = 3) const uint COLUMNS = 64;
layout(constant_id = 4) const uint DEPTH = 32;
layout(constant_id = 5) const bool RESIDUAL = true;

const uint ROWS = TILE_HEIGHT * TILE_WIDTH;
const int CLAMP = gl_CooperativeMatrixClampModeConstantNV;

layout(binding = 0, std430) readonly buffer picture_buffer { float16_t picture[]; };
layout(binding = 1, std430) readonly buffer weight_buffer { float16_t weights[]; };
layout(binding = 2, std430) readonly buffer bias_buffer { float bias[]; };
layout(binding = 3, std430) readonly buffer residual_buffer { float16_t residuals[]; };
layout(binding = 4, std430) writeonly buffer result_buffer { float16_t result[]; };
layout(push_constant) uniform push
{
    uint height, width, inputs, inputs_padded, columns;
    float gain;
} p;

float finish(const in uint row, const in uint column, const in float sum, const in float residual,
             const in uint first)
{
    float value = sum + bias[min(first + column, p.columns - 1)];
    if (RESIDUAL)
        value += residual * p.gain;
    return value / (1.0 + exp(-value));
}

void main()
{
    uint across = (p.width + TILE_WIDTH - 1) / TILE_WIDTH;
    int y = int(gl_WorkGroupID.x / across * TILE_HEIGHT);
    int x = int(gl_WorkGroupID.x % across * TILE_WIDTH);
    uint column = gl_WorkGroupID.y * COLUMNS;

    tensorLayoutNV<3, CLAMP> whole = createTensorLayoutNV(3, CLAMP);
    whole = setTensorLayoutDimensionNV(whole, p.height, p.width, p.inputs);
    tensorLayoutNV<4, CLAMP> packed = createTensorLayoutNV(4, CLAMP);
    packed = setTensorLayoutDimensionNV(packed, (p.columns + 31) / 32, 9, p.inputs_padded, 32);
    tensorViewNV<4, false, 1, 2, 0, 3> by_depth = createTensorViewNV(4, false, 1, 2, 0, 3);

    SUM(float, ROWS, COLUMNS) sum = SUM(float, ROWS, COLUMNS)(0.0);
    for (int tap = 0; tap < 9; tap++)
        for (uint c = 0; c < p.inputs_padded; c += DEPTH) {
            MATRIX_A(float16_t, ROWS, DEPTH) a;
            MATRIX_B(float16_t, DEPTH, COLUMNS) b;
            coopMatLoadTensorNV(a, picture, 0,
                                sliceTensorLayoutNV(whole, y + tap / 3 - 1, TILE_HEIGHT,
                                                    x + tap % 3 - 1, TILE_WIDTH, c, DEPTH));
            coopMatLoadTensorNV(b, weights, 0,
                                sliceTensorLayoutNV(packed, column / 32, COLUMNS / 32, tap, 1, c,
                                                    DEPTH, 0, 32),
                                by_depth);
            sum = coopMatMulAdd(a, b, sum);
        }

    tensorLayoutNV<3, CLAMP> box = createTensorLayoutNV(3, CLAMP);
    box = setTensorLayoutDimensionNV(box, p.height, p.width, p.columns);
    box = sliceTensorLayoutNV(box, y, TILE_HEIGHT, x, TILE_WIDTH, column, COLUMNS);
    SUM(float, ROWS, COLUMNS) residual = SUM(float, ROWS, COLUMNS)(0.0);
    if (RESIDUAL) {
        SUM(float16_t, ROWS, COLUMNS) stored;
        coopMatLoadTensorNV(stored, residuals, 0, box);
        residual = SUM(float, ROWS, COLUMNS)(stored);
    }
    coopMatPerElementNV(sum, sum, finish, residual, column);
    coopMatStoreTensorNV(SUM(float16_t, ROWS, COLUMNS)(sum), result, 0, box);
}
