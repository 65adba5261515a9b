#version 450
/*
 * attention on GPUs: 32 queries and 32 keys a tile through shared memory, 128 invocations. Scores:
 * an invocation 2 queries x 4 keys; output: 4 queries x BLOCKS x 4 columns.
 */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention.glsl"

/* 64 output columns each */
layout(constant_id = 2) const uint BLOCKS = 1;

const uint DEPTH = 16;
shared vec4 q_tile[DEPTH / 4][32];
shared vec4 k_tile[DEPTH / 4][32];
shared float scores[32][33];
shared vec4 v_tile[32][16];
shared float row_factor[32], row_sum[32];

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint b = gl_WorkGroupID.z / p.heads, head = gl_WorkGroupID.z % p.heads;
    uint query = gl_WorkGroupID.x * 32, slice = gl_WorkGroupID.y * BLOCKS * 64;
    uint q_row = b * p.queries, k_row = b * p.keys;
    uint load_row = t / 4, load_quad = t % 4;
    uint s_query = (t / 8) * 2, s_key = (t % 8) * 4;
    uint o_query = (t / 16) * 4, o_column = t % 16;
    vec4 o[BLOCKS * 4];
    [[unroll]] for (uint i = 0; i < BLOCKS * 4; i++)
        o[i] = vec4(0);
    float best = NEVER, sum = 0.0; /* of row t, in the first 32 invocations */
    uint keys = p.causal != 0 ? min(p.keys, query + 32) : p.keys;
    for (uint key = 0; key < keys; key += 32) {
        vec4 s[2] = vec4[2](vec4(0), vec4(0));
        for (uint d = 0; d < p.head_size; d += DEPTH) {
            barrier();
            uint row = query + load_row;
            q_tile[load_quad][load_row] =
                row < p.queries ? head_q(q_row + row, head, d + load_quad * 4) : vec4(0);
            row = key + load_row;
            k_tile[load_quad][load_row] =
                row < p.keys ? head_k(k_row + row, head, d + load_quad * 4) : vec4(0);
            barrier();
            [[unroll]] for (uint i = 0; i < DEPTH / 4; i++) {
                vec4 q0 = q_tile[i][s_query], q1 = q_tile[i][s_query + 1];
                [[unroll]] for (uint j = 0; j < 4; j++) {
                    vec4 kq = k_tile[i][s_key + j];
                    s[0][j] += dot(q0, kq);
                    s[1][j] += dot(q1, kq);
                }
            }
        }
        [[unroll]] for (uint r = 0; r < 2; r++)
            [[unroll]] for (uint j = 0; j < 4; j++) {
                uint at = key + s_key + j;
                bool seen = at < p.keys && (p.causal == 0 || at <= query + s_query + r);
                scores[s_query + r][s_key + j] = seen ? s[r][j] * p.scale : NEVER;
            }
        barrier();
        if (t < 32) {
            float top = best;
            for (uint j = 0; j < 32; j++)
                top = max(top, scores[t][j]);
            float factor = exp(best - top);
            sum *= factor;
            for (uint j = 0; j < 32; j++) {
                float e = exp(scores[t][j] - top);
                scores[t][j] = e;
                sum += e;
            }
            best = top;
            row_factor[t] = factor;
        }
        [[unroll]] for (uint block = 0; block < BLOCKS; block++) {
            barrier();
            [[unroll]] for (uint i = 0; i < 4; i++) {
                uint row = key + i * 8 + t / 16;
                v_tile[i * 8 + t / 16][o_column] =
                    row < p.keys ? head_v(k_row + row, head, slice + block * 64 + o_column * 4)
                                 : vec4(0);
            }
            barrier();
            [[unroll]] for (uint r = 0; r < 4; r++)
                o[block * 4 + r] *= row_factor[o_query + r];
            for (uint j = 0; j < 32; j++) {
                vec4 value = v_tile[j][o_column];
                [[unroll]] for (uint r = 0; r < 4; r++)
                    o[block * 4 + r] += scores[o_query + r][j] * value;
            }
        }
    }
    if (t < 32)
        row_sum[t] = sum;
    barrier();
    [[unroll]] for (uint r = 0; r < 4; r++) {
        uint row = query + o_query + r;
        if (row < p.queries)
            [[unroll]] for (uint block = 0; block < BLOCKS; block++)
                write_head(q_row + row, head, slice + block * 64 + o_column * 4,
                           o[block * 4 + r] / row_sum[o_query + r]);
    }
}
