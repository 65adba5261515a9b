#version 450
/*
 * attention on lavapipe, in the way of gemm_register.glsl: one subgroup of 8 lanes computes 16
 * queries; a lane holds the scores of 4 keys of a tile of 32, and BLOCKS * 4 columns of the output.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
#include "attention.glsl"

/* 32 output columns each, 1 to 3 */
layout(constant_id = 2) const uint BLOCKS = 1;

#define EACH8(M, a)                                                                                \
    M(0, a) M(1, a) M(2, a) M(3, a) M(4, a) M(5, a) M(6, a) M(7, a)
#define EACH16(M, a)                                                                               \
    EACH8(M, a) M(8, a) M(9, a) M(10, a) M(11, a) M(12, a) M(13, a) M(14, a) M(15, a)

#define LOW(r, a) s##r += subgroupShuffle(a, r) * keys4;
#define DEPTH(c)                                                                                   \
    {                                                                                              \
        vec4 keys4 = vec4(k0.c, k1.c, k2.c, k3.c);                                                 \
        EACH8(LOW, low.c)                                                                          \
        s8 += subgroupShuffle(high.c, 0) * keys4;                                                  \
        s9 += subgroupShuffle(high.c, 1) * keys4;                                                  \
        s10 += subgroupShuffle(high.c, 2) * keys4;                                                 \
        s11 += subgroupShuffle(high.c, 3) * keys4;                                                 \
        s12 += subgroupShuffle(high.c, 4) * keys4;                                                 \
        s13 += subgroupShuffle(high.c, 5) * keys4;                                                 \
        s14 += subgroupShuffle(high.c, 6) * keys4;                                                 \
        s15 += subgroupShuffle(high.c, 7) * keys4;                                                 \
    }
/* d beyond the head reads zeros */
#define DEPTH_QUAD(d)                                                                              \
    {                                                                                              \
        vec4 low = head_q(low_row, head, d), high = head_q(high_row, head, d);                     \
        vec4 k0 = head_k(key_rows.x, head, d), k1 = head_k(key_rows.y, head, d);                   \
        vec4 k2 = head_k(key_rows.z, head, d), k3 = head_k(key_rows.w, head, d);                   \
        DEPTH(x) DEPTH(y) DEPTH(z) DEPTH(w)                                                        \
    }
#define DECLARE(r, unused)                                                                              \
    vec4 o##r = vec4(0), m##r = vec4(0), n##r = vec4(0);                                           \
    float best##r = NEVER, sum##r = 0.0;
#define SCORES(r, unused) vec4 s##r = vec4(0);
#define SOFTMAX(r, unused)                                                                              \
    {                                                                                              \
        uvec4 at = key + lane + uvec4(0, 8, 16, 24);                                               \
        bvec4 hidden = greaterThanEqual(at, uvec4(min(p.keys, limit + r * causal)));               \
        s##r = mix(s##r * p.scale, vec4(NEVER), hidden);                                           \
        float top = max(max(s##r.x, s##r.y), max(s##r.z, s##r.w));                                 \
        top = max(top, subgroupShuffleXor(top, 1));                                                \
        top = max(top, subgroupShuffleXor(top, 2));                                                \
        top = max(max(top, subgroupShuffleXor(top, 4)), best##r);                                  \
        float factor = exp(best##r - top);                                                         \
        best##r = top;                                                                             \
        s##r = exp(s##r - top);                                                                    \
        sum##r = sum##r * factor + (s##r.x + s##r.y) + (s##r.z + s##r.w);                          \
        o##r *= factor;                                                                            \
        if (BLOCKS > 1)                                                                            \
            m##r *= factor;                                                                        \
        if (BLOCKS > 2)                                                                            \
            n##r *= factor;                                                                        \
    }
#define VALUE(r, l)                                                                                \
    {                                                                                              \
        float weight = subgroupShuffle(s##r.x, l);                                                 \
        o##r += weight * v0;                                                                       \
        if (BLOCKS > 1)                                                                            \
            m##r += weight * v1;                                                                   \
        if (BLOCKS > 2)                                                                            \
            n##r += weight * v2;                                                                   \
    }
#define VALUES(l)                                                                                  \
    {                                                                                              \
        uint row = min(k_row + key + j * 8 + l, last_row);                                         \
        vec4 v0 = head_v(row, head, column), v1 = vec4(0), v2 = vec4(0);                           \
        if (BLOCKS > 1)                                                                            \
            v1 = head_v(row, head, column + 32);                                                   \
        if (BLOCKS > 2)                                                                            \
            v2 = head_v(row, head, column + 64);                                                   \
        EACH16(VALUE, l)                                                                           \
    }
#define ROTATE(r, unused) s##r = s##r.yzwx;
#define FINISH(r, unused)                                                                               \
    {                                                                                              \
        float total = sum##r;                                                                      \
        total += subgroupShuffleXor(total, 1);                                                     \
        total += subgroupShuffleXor(total, 2);                                                     \
        total += subgroupShuffleXor(total, 4);                                                     \
        if (query + r < p.queries) {                                                               \
            write_head(q_row + query + r, head, column, o##r / total);                             \
            if (BLOCKS > 1)                                                                        \
                write_head(q_row + query + r, head, column + 32, m##r / total);                    \
            if (BLOCKS > 2)                                                                        \
                write_head(q_row + query + r, head, column + 64, n##r / total);                    \
        }                                                                                          \
    }

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint b = gl_WorkGroupID.z / p.heads, head = gl_WorkGroupID.z % p.heads;
    uint query = gl_WorkGroupID.x * 16, column = gl_WorkGroupID.y * BLOCKS * 32 + lane * 4;
    uint q_row = b * p.queries, k_row = b * p.keys;
    /* Keys behind the last have no weight; but no weight times a NaN of somebody else is a NaN. */
    uint last_row = k_row + p.keys - 1;
    uint low_row = q_row + min(query + lane, p.queries - 1);
    uint high_row = q_row + min(query + 8 + lane, p.queries - 1);
    /* row r sees keys below limit + r * causal */
    uint causal = p.causal != 0 ? 1 : 0;
    uint limit = p.causal != 0 ? query + 1 : p.keys;
    uint keys = p.causal != 0 ? min(p.keys, query + 16) : p.keys;
    EACH16(DECLARE, 0)
    for (uint key = 0; key < keys; key += 32) {
        EACH16(SCORES, 0)
        uvec4 key_rows = min(uvec4(k_row + key + lane) + uvec4(0, 8, 16, 24), uvec4(last_row));
        for (uint d = 0; d < p.head_size; d += 8) {
            DEPTH_QUAD(d)
            DEPTH_QUAD(d + 4)
        }
        EACH16(SOFTMAX, 0)
        for (uint j = 0; j < 4; j++) {
            VALUES(0) VALUES(1) VALUES(2) VALUES(3) VALUES(4) VALUES(5) VALUES(6) VALUES(7)
            EACH16(ROTATE, 0)
        }
    }
    EACH16(FINISH, 0)
}
