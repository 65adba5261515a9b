#version 450
#pragma use_vulkan_memory_model
/*
 * conv2d and linear on matrices of a whole workgroup (VK_NV_cooperative_matrix2): the device lays
 * tiles out, moves them and keeps them busy, the shader only says where they are. F16 only. Needs
 * glslang 15: the compiled form is in matrix/. There is no invocation in this shader, so that
 * tests/vulkan/interpreter.c can run it on any machine.
 *
 * A workgroup computes TILE output pixels x TILE channels. The pixels are a box of a picture, so
 * that what a tap of the kernel reads is a box of the input: lines and columns outside are zeros by
 * the layout's clamping, with no test anywhere. A linear layer is a picture of one line. Channels
 * are multiples of 32 (encode_product.c gives other layers to another kernel).
 *
 * A dispatch computes whole lines of output, p.rows pixels from p.first on; bound are pixels
 * [p.in_first, p.in_first + p.in_count) of the input. A box that crosses the end of either is
 * clipped: what is not bound is neither read nor written.
 *
 * With FLAG_GEGLU each 32 packed columns are 16 values and their 16 gates (PACK_MATRIX_HALVES), and
 * two products are summed side by side.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#include "push.h"

layout(local_size_x_id = 0) in;
/* 1, ALIGNED in other shaders, has no meaning here. */
layout(constant_id = 2) const uint FLAGS = 0;
layout(constant_id = 3) const uint ACTIVATION = 0;
layout(constant_id = 4) const uint TILE = 64;
layout(constant_id = 5) const uint BOX_WIDTH = 8; /* of output pixels; divides TILE */
layout(constant_id = 6) const uint DEPTH = 32;    /* channels at a time; divides p.inputs */

const uint BOX_HEIGHT = TILE / BOX_WIDTH;
const bool GEGLU = (FLAGS & FLAG_GEGLU) != 0;
/* Channels of the output are this many packed columns. */
const uint PACKED = GEGLU ? 2 : 1;
const int CLAMP = gl_CooperativeMatrixClampModeConstantNV; /* to 0 */

layout(push_constant) uniform push { push_conv2d p; };
layout(binding = 0, std430) readonly buffer x_scalars { float16_t x1[]; };
layout(binding = 1, std430) readonly buffer w_scalars { float16_t w1[]; };
layout(binding = 2, std430) readonly buffer bias_scalars { float bias1[]; };
layout(binding = 3, std430) readonly buffer residual_scalars { float16_t residual1[]; };
layout(binding = 4, std430) readonly buffer broadcast_scalars { float16_t broadcast1[]; };
layout(binding = 5, std430) buffer y_scalars { float16_t y1[]; };
layout(binding = 5, std430) buffer y_f32_scalars { float y_f32_1[]; };
layout(binding = 6, std430) buffer part_scalars { float parts1[]; };

#define SUM coopmat<float, gl_ScopeWorkgroup, TILE, TILE, gl_MatrixUseAccumulator>
#define SUM_F16 coopmat<float16_t, gl_ScopeWorkgroup, TILE, TILE, gl_MatrixUseAccumulator>
#define MATRIX_A coopmat<float16_t, gl_ScopeWorkgroup, TILE, DEPTH, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeWorkgroup, DEPTH, TILE, gl_MatrixUseB>
#define LAYOUT tensorLayoutNV<3, CLAMP> /* lines, pixels, channels */

/* ---- element by element ---- */

/* Abramowitz and Stegun 7.1.26, as in common.glsl */
float erf_approximation(float x)
{
    float a = abs(x);
    float t = 1.0 / (1.0 + 0.3275911 * a);
    float poly =
        t * (0.254829592 +
             t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(x) * (1.0 - poly * exp(-a * a));
}

float gelu(float x)
{
    return 0.5 * x * (1.0 + erf_approximation(x * 0.7071067811865476));
}

float activate(float v)
{
    if (ACTIVATION == ACTIVATION_SILU)
        return v / (1.0 + exp(-v));
    if (ACTIVATION == ACTIVATION_GELU)
        return gelu(v);
    if (ACTIVATION == ACTIVATION_QUICK_GELU)
        return v / (1.0 + exp(-1.702 * v));
    if (ACTIVATION == ACTIVATION_RELU)
        return v < 0.0 ? 0.0 : v; /* a NaN stays one */
    return v;
}

/* `column` is the first channel of the tile, `picture` the one that it is a part of. */
float finish(const in uint row, const in uint n, const in float sum, const in float residual,
             const in uint column, const in uint picture)
{
    uint c = column + n;
    if (c >= p.outputs)
        return 0.0;
    float v = sum;
    if ((FLAGS & FLAG_BIAS) != 0)
        v += bias1[c];
    if ((FLAGS & FLAG_BROADCAST) != 0)
        v += float(broadcast1[picture * p.outputs + c]);
    return activate(v + residual);
}

float finish_geglu(const in uint row, const in uint n, const in float sum, const in float gate,
                   const in uint column)
{
    uint c = column + n, at = c / 16 * 32 + c % 16;
    if (c >= p.outputs)
        return 0.0;
    bool bias = (FLAGS & FLAG_BIAS) != 0;
    return (bias ? sum + bias1[at] : sum) * gelu(bias ? gate + bias1[at + 16] : gate);
}

/* ---- where things are ---- */

/* Of the output: the picture, and the box's first line and pixel in it. */
struct box {
    uint picture;
    int y, x;
};

box find_box()
{
    uint across = (p.out_width + BOX_WIDTH - 1) / BOX_WIDTH;
    uint down = (p.out_height + BOX_HEIGHT - 1) / BOX_HEIGHT;
    uint first_line = p.first / p.out_width;
    uint first = first_line / p.out_height * down + first_line % p.out_height / BOX_HEIGHT;
    uint i = first + gl_WorkGroupID.x / across;
    return box(i / down, int(i % down * BOX_HEIGHT), int(gl_WorkGroupID.x % across * BOX_WIDTH));
}

/* Lines [first, end) of a picture whose pixels [from, from + count) over all pictures are there. */
struct lines {
    int first, end;
};

lines lines_of(uint picture, uint height, uint width, uint from, uint count)
{
    int start = int(picture * height * width), w = int(width);
    int missing = int(from) - start;
    int first = missing > 0 ? (missing + w - 1) / w : 0;
    return lines(first, min(int(height), (int(from + count) - start) / w));
}

/* What a tap reads with stride 2 are the lines and pixels 2 * i + remainder: a picture of its own,
 * twice as coarse. floor(a / s) and the remainder, for an s of 1 or 2. */
struct place {
    int quotient, remainder;
};

place divide(int a, int s)
{
    return place(a >> (s - 1), a & (s - 1));
}

/* The pixels under a tap for all of a box, from channel c on; `base` is where the layout begins. */
LAYOUT input_box(box o, lines bound, uint tap, uint c, out uint base)
{
    int s = int(p.stride), width = int(p.in_width), channels = int(p.inputs);
    place y = divide(int(tap / p.kernel_width) - int(p.padding), s);
    place x = divide(int(tap % p.kernel_width) - int(p.padding), s);
    int first = divide(bound.first - y.remainder + s - 1, s).quotient;
    int end = divide(bound.end - y.remainder + s - 1, s).quotient;
    int columns = divide(width - x.remainder + s - 1, s).quotient;
    bool any = end > first && columns > 0;
    int start = int(o.picture * p.in_height) * width - int(p.in_first);
    base = any ? uint((start + (s * first + y.remainder) * width + x.remainder) * channels) : 0;
    LAYOUT t = createTensorLayoutNV(3, CLAMP);
    t = setTensorLayoutDimensionNV(t, any ? uint(end - first) : 0, uint(max(columns, 0)), p.inputs);
    t = setTensorLayoutStrideNV(t, uint(s * width * channels), uint(s * channels), 1);
    return sliceTensorLayoutNV(t, o.y + y.quotient - first, BOX_HEIGHT, o.x + x.quotient, BOX_WIDTH,
                               int(c), DEPTH);
}

/* The box in a tensor of the output's lines and pixels that is bound from p.first on. */
LAYOUT output_box(box o, lines bound, uint channels, uint column, out uint base)
{
    int first_pixel = int((o.picture * p.out_height) * p.out_width) - int(p.first);
    bool any = bound.end > bound.first;
    base = any ? uint(first_pixel + bound.first * int(p.out_width)) * channels : 0;
    LAYOUT t = createTensorLayoutNV(3, CLAMP);
    t = setTensorLayoutDimensionNV(t, any ? uint(bound.end - bound.first) : 0, p.out_width,
                                   channels);
    return sliceTensorLayoutNV(t, o.y - bound.first, BOX_HEIGHT, o.x, BOX_WIDTH, int(column), TILE);
}

/* DEPTH x TILE of the packed weight [columns / 32][taps * inputs][32], from channels `column` of
 * the output and c of the input on. */
void load_weights(inout MATRIX_B b, uint column, uint tap, uint c)
{
    uint taps = p.kernel_height * p.kernel_width;
    tensorLayoutNV<3, CLAMP> t = createTensorLayoutNV(3, CLAMP);
    t = setTensorLayoutDimensionNV(t, p.columns / 32, p.inputs, 32);
    t = setTensorLayoutStrideNV(t, taps * p.inputs * 32, 32, 1);
    t = sliceTensorLayoutNV(t, int(column / 32), TILE / 32, int(c), DEPTH, 0, 32);
    coopMatLoadTensorNV(b, w1, tap * p.inputs * 32, t, createTensorViewNV(3, false, 1, 0, 2));
}

/* The same of [columns / 32][inputs][2][16]: half 0 are values, half 1 gates. */
void load_half(inout MATRIX_B b, uint column, uint c, uint part)
{
    tensorLayoutNV<4, CLAMP> t = createTensorLayoutNV(4, CLAMP);
    t = setTensorLayoutDimensionNV(t, p.columns / 32, p.inputs, 2, 16);
    t = sliceTensorLayoutNV(t, int(column / 16), TILE / 16, int(c), DEPTH, int(part), 1, 0, 16);
    coopMatLoadTensorNV(b, w1, 0, t, createTensorViewNV(4, false, 1, 0, 2, 3));
}

void store(SUM sum, LAYOUT t, uint base)
{
    if ((FLAGS & FLAG_F32_OUTPUT) != 0)
        coopMatStoreTensorNV(sum, y_f32_1, base, t);
    else
        coopMatStoreTensorNV(SUM_F16(sum), y1, base, t);
}

void main()
{
    box o = find_box();
    uint column = gl_WorkGroupID.y * TILE; /* of the bound weight's, in channels of the output */
    uint channel = p.column / PACKED + column;
    lines in_lines = lines_of(o.picture, p.in_height, p.in_width, p.in_first, p.in_count);
    lines out_lines = lines_of(o.picture, p.out_height, p.out_width, p.first, p.rows);
    uint tap_steps = p.inputs / DEPTH;
    uint step = gl_WorkGroupID.z * p.split_steps;
    uint last = min(step + p.split_steps, p.kernel_height * p.kernel_width * tap_steps);

    SUM sum = SUM(0.0), gates = SUM(0.0);
    for (; step < last; step++) {
        uint tap = step / tap_steps, c = step % tap_steps * DEPTH, base;
        MATRIX_A a;
        MATRIX_B b;
        LAYOUT t = input_box(o, in_lines, tap, c, base);
        coopMatLoadTensorNV(a, x1, base, t);
        if (GEGLU) {
            load_half(b, column, c, 0);
            sum = coopMatMulAdd(a, b, sum);
            load_half(b, column, c, 1);
            gates = coopMatMulAdd(a, b, gates);
        } else {
            load_weights(b, column, tap, c);
            sum = coopMatMulAdd(a, b, sum);
        }
    }

    uint base;
    if (p.split > 1) {
        LAYOUT t = output_box(o, out_lines, p.columns, column, base);
        coopMatStoreTensorNV(sum, parts1, gl_WorkGroupID.z * p.rows * p.columns + base, t);
        return;
    }
    LAYOUT t = output_box(o, out_lines, p.outputs, channel, base);
    if (GEGLU) {
        coopMatPerElementNV(sum, sum, finish_geglu, gates, channel);
    } else {
        SUM residual = SUM(0.0);
        if ((FLAGS & FLAG_RESIDUAL) != 0) {
            SUM_F16 r;
            coopMatLoadTensorNV(r, residual1, base, t);
            residual = SUM(r);
        }
        coopMatPerElementNV(sum, sum, finish, residual, channel, o.picture);
    }
    store(sum, t, base);
}
