#version 450
/* What is not of matrices: a number of each kind for every workgroup, computed again in C. */
#extension GL_GOOGLE_include_directive : require
#include "kernel.glsl"

layout(constant_id = 1) const uint COUNT = 5;
layout(constant_id = 2) const bool NEGATE = false;
const uint TWICE = NEGATE ? 2 * COUNT : COUNT << 1;

struct pair {
    ivec2 at;
    float16_t half_value;
    float value;
};

layout(binding = 0, std430) readonly buffer source_buffer { pair pairs[]; };
layout(binding = 1, std430) buffer result_buffer { float result[]; };
layout(push_constant) uniform push
{
    uvec3 sizes;
    float factors[3];
} p;

float global_sum = 0.5;

void add(inout pair a, const in vec3 v, out float last)
{
    a.at.yx += ivec2(v.xy);
    a.value = fma(v.z, a.value, 1.0);
    last = v[a.at.x & 1];
    global_sum += last;
}

float choose(int kind, float x)
{
    switch (kind) {
    case -1:
        return x * 2.0;
    case 0:
    case 1:
        x += 1.0;
    case 2:
        return tanh(x);
    default:
        return sign(x) * sqrt(abs(x));
    }
}

/* A number of every instruction that kernels may have. */
float integers(int a, uint b)
{
    int s = a / 3 + a % 5 - (a >> 1) + (a << 2);
    uint u = (b / 7u) ^ (b % 11u) | (b & 0xf0u) + (~b >> 28);
    s += clamp(a, -4, 9) + min(a, 2) - max(a, -7) + abs(a);
    u += min(b, 77u) + max(b, 5u) + clamp(b, 3u, 9u);
    bool odd = (a & 1) != 0 && (b > 3u || a <= 0) != (a >= 7);
    return float(s) + float(u) + (odd ? 0.25 : 0.5) + float(int(float(a) * 1.5)) + float(uint(b));
}

float floats(float x, float y)
{
    vec3 v = mix(vec3(x, y, 1.0), vec3(y), vec3(0.25)) * y;
    vec4 w = vec4(v.zx, clamp(v, -1.0, 2.0).yz);
    float s = dot(w, w) + exp(-abs(x)) + floor(y) + fract(x) + min(x, y) * max(x, -y);
    s += isnan(x / 0.0 * 0.0) ? 1.0 : 2.0;
    s += any(lessThan(v, vec3(0.0))) ? 4.0 : 8.0;
    s += all(greaterThanEqual(w, vec4(-2.0))) ? 16.0 : 32.0;
    s += mod(x, 0.75) + step(0.0, y) + inversesqrt(1.0 + y * y) + log(1.0 + abs(y)) + pow(2.0, x);
    return s + float(float16_t(x) * float16_t(3.1));
}

void main()
{
    uint i = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    pair a = pairs[i % uint(pairs.length())];
    float table[4] = float[](1.0, 2.0, 4.0, 8.0), last = 0.0, sum = 0.0;
    for (uint k = 0; k < TWICE; k++) {
        if (k == 2)
            continue;
        if (k > p.sizes.y)
            break;
        add(a, vec3(k, i, p.factors[k % 3]), last);
        table[k & 3] += last;
    }
    int k = 0;
    do {
        sum += choose(k - 1, table[k]) * (NEGATE ? -1.0 : 1.0);
    } while (++k < 4);
    uint to = i * 8;
    result[to] = sum;
    result[to + 1] = float(a.at.x) + float(a.half_value);
    result[to + 2] = a.value;
    result[to + 3] = last + global_sum;
    result[to + 4] = integers(a.at.y - 7, i * 13 + 2);
    result[to + 5] = floats(a.value * 0.125, float(a.half_value) - 1.0);
    result[to + 6] = uintBitsToFloat(floatBitsToUint(a.value) & 0xffff0000u);
    result[to + 7] = float(pairs.length());
}
