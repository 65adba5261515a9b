/*
 * What conv2d and linear share in every path. out[row][n] = activation(sum_k in[row, k] * w[k][n] +
 * bias[n] + broadcast[b][n] + residual[row][n]), where row is an output pixel and k runs over the
 * taps of the kernel and the channels of the input: an implicit product of matrices, with no copy of
 * patches anywhere. A linear layer is a 1 x 1 convolution over rows.
 *
 * Packed weight (compute/vulkan/pack.c): [columns / 32][taps * inputs_padded][32], so that every
 * path reads 32 columns of one k from consecutive bytes. With FLAG_GEGLU each quad of columns is two
 * values and their two gates.
 */
layout(constant_id = 2) const uint FLAGS = 0;
layout(constant_id = 3) const uint ACTIVATION = 0;

layout(push_constant) uniform push { push_conv2d p; };
INPUT(0, x)
layout(binding = 1, std430) readonly buffer w_quads { STORE4 w4[]; };
TEXELS(1, w)
VECTOR(2, bias)
INPUT(3, residual)
INPUT(4, broadcast)
OUTPUT(5, y)
layout(binding = 5, std430) writeonly buffer y_f32_quads { vec4 y_f32_4[]; };
layout(binding = 5, std430) writeonly buffer y_f32_scalars { float y_f32_1[]; };
/* The sums of a part of K (split) */
layout(binding = 6, std430) writeonly buffer part_quads { vec4 parts4[]; };

vec4 activate(vec4 v)
{
    if (ACTIVATION == ACTIVATION_SILU)
        return silu(v);
    if (ACTIVATION == ACTIVATION_GELU)
        return gelu(v);
    if (ACTIVATION == ACTIVATION_QUICK_GELU)
        return quick_gelu(v);
    if (ACTIVATION == ACTIVATION_RELU)
        return relu(v);
    return v;
}

void write_any(uint row, uint c, vec4 v)
{
    if ((FLAGS & FLAG_F32_OUTPUT) == 0) {
        write_y(row, c, p.outputs, v);
        return;
    }
    uint i = row * p.outputs + c;
    if (ALIGNED) {
        y_f32_4[i >> 2] = v;
        return;
    }
    for (uint j = 0; j < min(4, p.outputs - c); j++)
        y_f32_1[i + j] = v[j];
}

/* Adds what is fused and stores packed columns n .. n+3 of a row of this dispatch. */
void finish(uint row, uint n, vec4 v)
{
    if (row >= p.rows)
        return;
    if ((FLAGS & FLAG_BIAS) != 0)
        v += vector_bias(n / 4);
    if ((FLAGS & FLAG_GEGLU) != 0) {
        uint c = n / 2;
        vec2 out2 = v.xy * gelu(v).zw;
        if (c < p.outputs)
            y1[row * p.outputs + c] = STORE(out2.x);
        if (c + 1 < p.outputs)
            y1[row * p.outputs + c + 1] = STORE(out2.y);
        return;
    }
    if (n >= p.outputs)
        return;
    if ((FLAGS & FLAG_BROADCAST) != 0)
        v += read_broadcast((p.first + row) / (p.out_height * p.out_width), n, p.outputs);
    if ((FLAGS & FLAG_RESIDUAL) != 0)
        v += read_residual(row, n, p.outputs);
    write_any(row, n, activate(v));
}

/* An output pixel: where its kernel starts in the input, and its picture. */
struct pixel {
    int y, x;
    uint picture; /* index of its picture's first input pixel */
    bool inside;
};

pixel locate(uint row)
{
    pixel o;
    o.inside = row < p.rows;
    uint i = p.first + row;
    if ((FLAGS & FLAG_CONV) == 0) {
        o.y = 0;
        o.x = int(i);
        o.picture = 0;
        return o;
    }
    uint size = p.out_height * p.out_width;
    uint b = i / size, rest = i % size;
    o.y = int((rest / p.out_width) * p.stride) - int(p.padding);
    o.x = int((rest % p.out_width) * p.stride) - int(p.padding);
    o.picture = b * p.in_height * p.in_width;
    if ((FLAGS & FLAG_UPSAMPLE) != 0)
        o.picture /= 4;
    return o;
}

/* The bound input pixel under a tap of the kernel; false outside the picture. */
bool tap_pixel(pixel o, uint tap_y, uint tap_x, out uint index)
{
    if ((FLAGS & FLAG_CONV) == 0) {
        index = uint(o.x) - p.in_first;
        return o.inside;
    }
    int iy = o.y + int(tap_y), ix = o.x + int(tap_x);
    bool inside = o.inside && iy >= 0 && ix >= 0 && iy < int(p.in_height) && ix < int(p.in_width);
    if ((FLAGS & FLAG_UPSAMPLE) != 0)
        index = o.picture + uint(iy >> 1) * (p.in_width >> 1) + uint(ix >> 1) - p.in_first;
    else
        index = o.picture + uint(iy) * p.in_width + uint(ix) - p.in_first;
    index = inside ? index : 0;
    return inside;
}
