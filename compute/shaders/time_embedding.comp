#version 450
/* t [N] F32 -> [N, C]: cosines and sines of t * 10000^(-i / (C/2 - shift)). One invocation a value:
 * rows are few. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_time_embedding p; };
layout(binding = 0, std430) readonly buffer step_buffer { float steps[]; };
OUTPUT(1, y)

/* Drivers' exp is off by 1e-6, which at 1000 steps is 1e-3 of a turn. For x in [-20, 0]. */
float exact_exp(float x)
{
    precise float n = floor(x * 1.4426950408889634 + 0.5);
    precise float r = x - n * 0.693359375; /* both products exact */
    r = r + n * 2.12194440e-4;
    precise float y = 1.9875691500e-4;
    y = y * r + 1.3981999507e-3;
    y = y * r + 8.3334519073e-3;
    y = y * r + 4.1665795894e-2;
    y = y * r + 1.6666665459e-1;
    y = y * r + 5.0000001201e-1;
    y = y * r * r + r + 1.0;
    return y * uintBitsToFloat(uint(127 + int(n)) << 23);
}

/* sin(x + quarters * pi / 2). Drivers' own lose digits at angles up to 1000 (lavapipe: 1e-5). */
float exact_sine(float x, uint quarters)
{
    precise float n = floor(x * 0.6366197723675814 + 0.5);
    precise float r = x - n * 1.5703125; /* exact: few bits */
    r = r - n * 4.837512969970703e-4;
    r = r - n * 7.549789954891882e-8;
    precise float z = r * r;
    precise float sine = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    precise float cosine =
        ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z -
        0.5 * z + 1.0;
    quarters += uint(int(n));
    float value = (quarters & 1) != 0 ? cosine : sine;
    return (quarters & 2) != 0 ? -value : value;
}

void main()
{
    uint i = flat_index();
    uint row = i / p.channels, c = i % p.channels;
    if (row >= p.rows)
        return;
    uint half_channels = p.channels / 2;
    uint j = c < half_channels ? c : c - half_channels;
    float angle = steps[row] * exact_exp(-9.210340371976184 * float(j) / (float(half_channels) - p.shift));
    bool cosine = (c < half_channels) == (p.cos_first != 0);
    y1[i] = STORE(exact_sine(angle, cosine ? 1 : 0));
}
