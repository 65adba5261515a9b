#version 450
/*
 * attention on lavapipe: one subgroup of 8 lanes computes 32 queries, lane l those of l, l + 8,
 * l + 16 and l + 24 (x to w), so that nothing of softmax crosses lanes. Keys and values lie across
 * the lanes and are spread from constant ones, as in gemm_register.glsl.
 *
 * Lavapipe compiles a shader when it first runs, in a time that grows faster than the code. So
 * this one is short: a loop over keys or columns works on the first of a row of variables and then
 * moves the others up.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
#include "attention.glsl"
#include "four.glsl"

layout(constant_id = 2) const uint COLUMNS = 32; /* of the output: a multiple of 4, at most 80 */
layout(constant_id = 3) const bool CAUSAL = false;
layout(constant_id = 4) const bool DEEP = false; /* 16 channels of a head a trip, not 4 */

#define KEYS 16 /* a step: h0 to h7, i0 to i7 */
#define EACH4(M, a) M(a, 0) M(a, 1) M(a, 2) M(a, 3)
#define EACH8(M, a) EACH4(M, a) M(a, 4) M(a, 5) M(a, 6) M(a, 7)

/* Where d is behind the head, what is read is not used, but it is in the head. */
#define READ(name, at, d)                                                                          \
    (ALIGNED ? QUAD(name, (at) + min(d, p.head_size - 4) >> 2)                                     \
             : head_##name((at) / p.width, head, d))
#define START(row) ((row) * p.width + head * p.head_size)

#define SCORE(h, l) ZERO(h##l)
#define PRODUCT(h, l)                                                                              \
    ADD(h##l, subgroupShuffle(k_##h.x, l), q_x)                                                    \
    ADD(h##l, subgroupShuffle(k_##h.y, l), q_y)                                                    \
    ADD(h##l, subgroupShuffle(k_##h.z, l), q_z)                                                    \
    ADD(h##l, subgroupShuffle(k_##h.w, l), q_w)
#define PRODUCTS(d)                                                                                \
    {                                                                                              \
        vec4 a = READ(q, q_at.x, d), b = READ(q, q_at.y, d);                                       \
        vec4 c = READ(q, q_at.z, d), e = READ(q, q_at.w, d);                                       \
        vec4 q_x = vec4(a.x, b.x, c.x, e.x), q_y = vec4(a.y, b.y, c.y, e.y);                       \
        vec4 q_z = vec4(a.z, b.z, c.z, e.z), q_w = vec4(a.w, b.w, c.w, e.w);                       \
        bool within = !DEEP || d < p.head_size;                                                    \
        vec4 k_h = within ? READ(k, k_at.x, d) : vec4(0);                                          \
        vec4 k_i = within ? READ(k, k_at.y, d) : vec4(0);                                          \
        EACH8(PRODUCT, h)                                                                          \
        EACH8(PRODUCT, i)                                                                          \
    }
#define HIDDEN(at) greaterThanEqual(uvec4(at), visible)
#define TOP(h, l)                                                                                  \
    top = max(top, CAUSAL ? mix(TOGETHER(h##l), vec4(NEVER), HIDDEN(key_##h + l)) : TOGETHER(h##l));

/* Sums of output columns: o, block of 32, lane and component of the values. */
#define EACH20(M) EACH8(M, 0) EACH8(M, 1) EACH4(M, 2)
#define HAVE(b, l) (COLUMNS > b * 32 + l * 4)
#define SUM(b, l) ZERO(o##b##l##x) ZERO(o##b##l##y) ZERO(o##b##l##z) ZERO(o##b##l##w)
#define RESCALE(b, l)                                                                              \
    if (HAVE(b, l)) {                                                                              \
        MULTIPLY(o##b##l##x, factor)                                                               \
        MULTIPLY(o##b##l##y, factor)                                                               \
        MULTIPLY(o##b##l##z, factor)                                                               \
        MULTIPLY(o##b##l##w, factor)                                                               \
    }
/* key j + n: its values and its weight */
#define VALUES(to, weight, h, n)                                                                   \
    vec4 to##0, to##1, to##2, weight;                                                              \
    {                                                                                              \
        uint at = START(min(k_row + key + j + n, last_row)), d = column + lane * 4;                \
        to##0 = READ(v, at, d);                                                                    \
        if (COLUMNS > 32)                                                                          \
            to##1 = READ(v, at, d + 32);                                                           \
        if (COLUMNS > 64)                                                                          \
            to##2 = READ(v, at, d + 64);                                                           \
        weight = exp((TOGETHER(h) - top) * p.scale);                                               \
        weight = mix(weight, vec4(0), HIDDEN(key + j + n));                                        \
        sum += weight;                                                                             \
    }
#define COLUMN(b, l, c)                                                                            \
    ADD(o##b##l##c, subgroupShuffle(v##b.c, l), even)                                              \
    ADD(o##b##l##c, subgroupShuffle(w##b.c, l), odd)
#define COLUMNS4(b, l)                                                                             \
    if (HAVE(b, l)) {                                                                              \
        COLUMN(b, l, x)                                                                            \
        COLUMN(b, l, y)                                                                            \
        COLUMN(b, l, z)                                                                            \
        COLUMN(b, l, w)                                                                            \
    }
#define MOVE4(to, from)                                                                            \
    MOVE(to##x, from##x)                                                                           \
    MOVE(to##y, from##y)                                                                           \
    MOVE(to##z, from##z)                                                                           \
    MOVE(to##w, from##w)
#define MOVE12(b)                                                                                  \
    MOVE4(o##b##0, o##b##1)                                                                        \
    MOVE4(o##b##1, o##b##2)                                                                        \
    MOVE4(o##b##2, o##b##3)
#define MOVE28(b)                                                                                  \
    MOVE12(b)                                                                                      \
    MOVE4(o##b##3, o##b##4)                                                                        \
    MOVE4(o##b##4, o##b##5)                                                                        \
    MOVE4(o##b##5, o##b##6)                                                                        \
    MOVE4(o##b##6, o##b##7)

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint picture = gl_WorkGroupID.z / p.heads, head = gl_WorkGroupID.z % p.heads;
    uint query = gl_WorkGroupID.x * 32, column = gl_WorkGroupID.y * COLUMNS;
    uint q_row = picture * p.queries, k_row = picture * p.keys;
    /* Keys behind the last have no weight; but no weight times a NaN of somebody else is a NaN. */
    uint last_row = k_row + p.keys - 1;
    uvec4 queries = query + lane + uvec4(0, 8, 16, 24);
    uvec4 q_at = START(q_row + min(queries, uvec4(p.queries - 1)));
    uvec4 visible = CAUSAL ? min(queries + 1, uvec4(p.keys)) : uvec4(p.keys);
    uint keys = CAUSAL ? min(p.keys, query + 32) : p.keys;
    vec4 best = vec4(NEVER), sum = vec4(0);
    EACH20(SUM)
    for (uint key = 0; key < keys; key += KEYS) {
        uint key_h = key, key_i = key + 8;
        uvec2 k_at = START(min(k_row + key + lane + uvec2(0, 8), uvec2(last_row)));
        EACH8(SCORE, h)
        EACH8(SCORE, i)
        for (uint d = 0; d < p.head_size; d += DEEP ? 16 : 4) {
            PRODUCTS(d)
            if (DEEP) {
                PRODUCTS(d + 4)
                PRODUCTS(d + 8)
                PRODUCTS(d + 12)
            }
        }
        vec4 top = best;
        EACH8(TOP, h)
        EACH8(TOP, i)
        vec4 factor = exp((best - top) * p.scale);
        best = top;
        sum *= factor;
        EACH20(RESCALE)
        for (uint j = 0; j < KEYS; j += 2) {
            VALUES(v, even, h0, 0)
            VALUES(w, odd, h1, 1)
            EACH20(COLUMNS4)
            MOVE(h0, h2)
            MOVE(h1, h3)
            MOVE(h2, h4)
            MOVE(h3, h5)
            MOVE(h4, h6)
            MOVE(h5, h7)
            MOVE(h6, i0)
            MOVE(h7, i1)
            MOVE(i0, i2)
            MOVE(i1, i3)
            MOVE(i2, i4)
            MOVE(i3, i5)
            MOVE(i4, i6)
            MOVE(i5, i7)
        }
    }
    for (uint c = 0; c < COLUMNS; c += 4) {
        vec4 total = sum;
        for (uint row = query + lane; row < query + 32; row += 8) {
            if (row < p.queries)
                write_head(q_row + row, head, column + c,
                           vec4(o00x_x, o00y_x, o00z_x, o00w_x) / total.x);
            TURN(o00x)
            TURN(o00y)
            TURN(o00z)
            TURN(o00w)
            total = total.yzwx;
        }
        MOVE28(0)
        if (COLUMNS > 32) {
            MOVE4(o07, o10)
            MOVE28(1)
        }
        if (COLUMNS > 64) {
            MOVE4(o17, o20)
            MOVE12(2)
        }
    }
}
