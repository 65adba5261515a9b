#version 450
#pragma use_vulkan_memory_model
/*
 * attention on cooperative matrices (KHR), F16 only; its compiled form is in matrix/. The subgroups of
 * a workgroup are GROUPS groups of rows; a group has ROWS fragments of queries and walks over the keys
 * in tiles of KEYS. The products are fragments; between them scores go through shared memory, where
 * rows are rows (a fragment's elements are the lanes' secret), and come back as 16-bit weights.
 *
 *   heads of up to 160: a group is one subgroup. Q stays in fragments, K and V of 32 keys lie in
 *       shared memory, the next ones are fetched into registers meanwhile.
 *   larger heads: a group is four subgroups, a quarter of the 64 keys each, then a quarter of the
 *       output's columns. Q and K go by in 64 channels, V in 16 keys.
 *
 * A row's maximum is replaced only by one that is 2^8 larger: weights are at most 256, far from the
 * end of 16 bits, and the output is hardly ever scaled anew. What a row's neighbours do never changes
 * its bits: they may cause a product with exactly 1.
 *
 * On paper, with fragments of 16 squared and subgroups of 32. Shared memory in KiB (a head of 40 is
 * padded to 48): ROWS 1, GROUPS 4: 48: 22.8, 64: 24.8, 80: 26.8, 160: 36.8; ROWS 2: 28.0, 30.0, 32.0;
 * 512, GROUPS 1 and 2: 25.9, 37.2. Registers of a lane for fragments and what is fetched, ROWS 2: 48:
 * 116, 64: 144, 80: 172. With some 30 more an SM of H100 (64 Ki registers, 228 KiB) has 3, 2 to 3, 2
 * workgroups of 4 subgroups: registers decide, not shared memory.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
#include "attention.glsl"

layout(constant_id = 2) const uint HEAD = 64; /* channels of a head, padded with zeros */
layout(constant_id = 3) const uint ROWS = 1;
layout(constant_id = 4) const uint GROUPS = 4;
layout(constant_id = 5) const uint FRAGMENT_M = 16;
layout(constant_id = 6) const uint FRAGMENT_N = 16;
layout(constant_id = 7) const uint FRAGMENT_K = 16;

const bool LARGE = HEAD > 160;
const uint SPLIT = LARGE ? 4 : 1; /* subgroups of a group */
const uint LANES = LOCAL / (GROUPS * SPLIT), TEAM = LANES * SPLIT;
const uint KEYS = LARGE ? 64 : 32;
const uint WIDTH = KEYS / SPLIT;      /* keys of a subgroup */
const uint DEPTH = LARGE ? 64 : HEAD; /* channels of K at once */
const uint PART = LARGE ? 16 : KEYS;  /* keys of V at once */
const uint COLUMNS = HEAD / SPLIT;    /* of the output, of a subgroup */
const uint QUERIES = GROUPS * ROWS * FRAGMENT_M;
/* In quads, padded by two so that rows start in different banks. */
const uint K_STRIDE = DEPTH / 4 + 2, V_STRIDE = HEAD / 4 + 2, S_STRIDE = KEYS / 4 + 2;
const uint K_TILE = KEYS * K_STRIDE, V_TILE = PART * V_STRIDE, Q_TILE = QUERIES * K_STRIDE;
const uint V_AT = LARGE ? 0 : K_TILE;
const uint LARGER_TILE = K_TILE + Q_TILE > V_TILE ? K_TILE + Q_TILE : V_TILE;
const uint POOL = LARGE ? LARGER_TILE : K_TILE + V_TILE;
const uint DEPTHS = DEPTH / FRAGMENT_K, SCORES = WIDTH / FRAGMENT_N, OUTS = COLUMNS / FRAGMENT_N;
/* Of K, as of V, by an invocation */
const uint QUADS = KEYS * HEAD / 4, LOADS = LARGE ? 1 : (QUADS + LOCAL - 1) / LOCAL;
/* Softmax: lanes of a row, or rows of a lane; quads of a row in a lane */
const uint MOST_LANES = TEAM / FRAGMENT_M > KEYS / 4 ? KEYS / 4 : TEAM / FRAGMENT_M;
const uint ROW_LANES = TEAM < FRAGMENT_M ? 1 : MOST_LANES;
const uint LANE_ROWS = TEAM < FRAGMENT_M ? FRAGMENT_M / TEAM : 1;
const uint ROW_QUADS = KEYS / 4 / ROW_LANES;

#define MATRIX_A coopmat<float16_t, gl_ScopeSubgroup, FRAGMENT_M, FRAGMENT_K, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeSubgroup, FRAGMENT_K, FRAGMENT_N, gl_MatrixUseB>
#define SUMS coopmat<float, gl_ScopeSubgroup, FRAGMENT_M, FRAGMENT_N, gl_MatrixUseAccumulator>

shared f16vec4 pool[POOL]; /* K and V, or K and Q, then V */
shared vec4 scores[GROUPS * FRAGMENT_M * S_STRIDE];
shared f16vec4 weights[QUERIES * S_STRIDE];
shared float factors[QUERIES], parts[GROUPS * FRAGMENT_M * ROW_LANES];

/* How much larger (as a power of 2) a new maximum is. */
const float GROWTH = 8.0;

#define HEAD_HALVES(name)                                                                          \
    f16vec4 halves_##name(uint row, uint rows, uint head, uint d)                                  \
    {                                                                                              \
        if (row >= rows || d >= p.head_size)                                                       \
            return f16vec4(0);                                                                     \
        if (ALIGNED)                                                                               \
            return name##4[(row * p.width + head * p.head_size + d) >> 2];                         \
        return f16vec4(head_##name(row, head, d));                                                 \
    }
HEAD_HALVES(q)
HEAD_HALVES(k)
HEAD_HALVES(v)

void sync_subgroup()
{
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                   gl_SemanticsAcquireRelease);
}

/* Those who work on the same rows. */
void sync_group()
{
    if (SPLIT == 1)
        sync_subgroup();
    else
        barrier();
}

void main()
{
    uint t = gl_LocalInvocationID.x, lane = gl_SubgroupInvocationID;
    uint group = gl_SubgroupID / SPLIT, column = gl_SubgroupID % SPLIT;
    uint b = gl_WorkGroupID.z / p.heads, head = gl_WorkGroupID.z % p.heads;
    uint query = gl_WorkGroupID.x * QUERIES, q_row = b * p.queries, k_row = b * p.keys;
    uint q_end = q_row + p.queries, k_end = k_row + p.keys;
    /* A group's scores and, in them, a subgroup's */
    uint scores_at = group * FRAGMENT_M * S_STRIDE, own_at = scores_at + column * WIDTH / 4;
    uint member = column * LANES + lane, segment = member % ROW_LANES;
    bool works = member / ROW_LANES < FRAGMENT_M;
    float scale = p.scale * 1.4426950408889634;

    MATRIX_A q[LARGE ? 1 : ROWS * DEPTHS];
    if (!LARGE) {
        [[unroll]] for (uint m = 0; m < ROWS; m++) {
            barrier();
            for (uint i = t; i < GROUPS * FRAGMENT_M * (DEPTH / 4); i += LOCAL) {
                uint r = i / (DEPTH / 4), d = i % (DEPTH / 4) * 4;
                uint at = query + (r / FRAGMENT_M * ROWS + m) * FRAGMENT_M + r % FRAGMENT_M;
                pool[r * K_STRIDE + d / 4] = halves_q(q_row + at, q_end, head, d);
            }
            barrier();
            [[unroll]] for (uint k = 0; k < DEPTHS; k++)
                coopMatLoad(q[m * DEPTHS + k], pool,
                            group * FRAGMENT_M * K_STRIDE + k * FRAGMENT_K / 4, K_STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
        }
    }
    SUMS o[ROWS * OUTS];
    [[unroll]] for (uint i = 0; i < ROWS * OUTS; i++)
        o[i] = SUMS(0.0);
    float best[ROWS * LANE_ROWS], sum[ROWS * LANE_ROWS];
    [[unroll]] for (uint i = 0; i < ROWS * LANE_ROWS; i++) {
        best[i] = NEVER;
        sum[i] = 0.0;
    }
    f16vec4 k_next[LOADS], v_next[LOADS];
    if (!LARGE) {
        [[unroll]] for (uint i = 0; i < LOADS; i++) {
            uint at = t + i * LOCAL, row = k_row + at / (HEAD / 4), d = at % (HEAD / 4) * 4;
            k_next[i] = halves_k(row, k_end, head, d);
            v_next[i] = halves_v(row, k_end, head, d);
        }
    }

    uint keys = p.causal != 0 ? min(p.keys, query + QUERIES) : p.keys;
    for (uint key = 0; key < keys; key += KEYS) {
        SUMS s[ROWS * SCORES];
        [[unroll]] for (uint i = 0; i < ROWS * SCORES; i++)
            s[i] = SUMS(0.0);
        for (uint depth = 0; depth < HEAD; depth += DEPTH) {
            barrier();
            if (LARGE) {
                for (uint i = t; i < KEYS * (DEPTH / 4); i += LOCAL) {
                    uint r = i / (DEPTH / 4), d = i % (DEPTH / 4);
                    pool[r * K_STRIDE + d] =
                        halves_k(k_row + key + r, k_end, head, depth + d * 4);
                }
                for (uint i = t; i < QUERIES * (DEPTH / 4); i += LOCAL) {
                    uint r = i / (DEPTH / 4), d = i % (DEPTH / 4);
                    pool[K_TILE + r * K_STRIDE + d] =
                        halves_q(q_row + query + r, q_end, head, depth + d * 4);
                }
            } else {
                [[unroll]] for (uint i = 0; i < LOADS; i++) {
                    uint at = t + i * LOCAL, r = at / (HEAD / 4), d = at % (HEAD / 4);
                    if (at < QUADS) {
                        pool[r * K_STRIDE + d] = k_next[i];
                        pool[V_AT + r * V_STRIDE + d] = v_next[i];
                    }
                }
            }
            barrier();
            if (!LARGE && key + KEYS < keys) {
                [[unroll]] for (uint i = 0; i < LOADS; i++) {
                    uint at = t + i * LOCAL, d = at % (HEAD / 4) * 4;
                    uint row = k_row + key + KEYS + at / (HEAD / 4);
                    k_next[i] = halves_k(row, k_end, head, d);
                    v_next[i] = halves_v(row, k_end, head, d);
                }
            }
            [[unroll]] for (uint k = 0; k < DEPTHS; k++) {
                MATRIX_B keys_t[SCORES];
                [[unroll]] for (uint n = 0; n < SCORES; n++)
                    coopMatLoad(keys_t[n], pool,
                                (column * WIDTH + n * FRAGMENT_N) * K_STRIDE + k * FRAGMENT_K / 4,
                                K_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint m = 0; m < ROWS; m++) {
                    MATRIX_A a;
                    if (LARGE)
                        coopMatLoad(a, pool,
                                    K_TILE + (group * ROWS + m) * FRAGMENT_M * K_STRIDE +
                                        k * FRAGMENT_K / 4,
                                    K_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                    else
                        a = q[LARGE ? 0 : m * DEPTHS + k];
                    [[unroll]] for (uint n = 0; n < SCORES; n++)
                        s[m * SCORES + n] = coopMatMulAdd(a, keys_t[n], s[m * SCORES + n]);
                }
            }
        }

        /* Softmax, a fragment of queries at a time */
        bool all_seen = key + KEYS <= p.keys && (p.causal == 0 || key + KEYS <= query + 1);
        [[unroll]] for (uint m = 0; m < ROWS; m++) {
            uint first = (group * ROWS + m) * FRAGMENT_M; /* of these rows in the workgroup */
            [[unroll]] for (uint n = 0; n < SCORES; n++)
                coopMatStore(s[m * SCORES + n], scores, own_at + n * FRAGMENT_N / 4, S_STRIDE,
                             gl_CooperativeMatrixLayoutRowMajor);
            sync_group();
            vec4 e[LANE_ROWS * ROW_QUADS];
            float top[LANE_ROWS];
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                uint row = member / ROW_LANES + r * TEAM;
                top[r] = NEVER;
                if (works) {
                    [[unroll]] for (uint j = 0; j < ROW_QUADS; j++) {
                        uint quad = segment + j * ROW_LANES;
                        vec4 x = scores[scores_at + row * S_STRIDE + quad] * scale;
                        if (!all_seen) {
                            uint last = p.causal != 0 ? query + first + row : 0xffffffff;
                            uvec4 at = uvec4(key + quad * 4) + uvec4(0, 1, 2, 3);
                            x = mix(x, vec4(NEVER),
                                    greaterThanEqual(at, uvec4(min(p.keys - 1, last) + 1)));
                        }
                        e[r * ROW_QUADS + j] = x;
                        top[r] = max(max(max(x.x, x.y), max(x.z, x.w)), top[r]);
                    }
                    if (ROW_LANES > 1)
                        parts[(group * FRAGMENT_M + row) * ROW_LANES + segment] = top[r];
                }
            }
            if (ROW_LANES > 1)
                sync_group();
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                uint row = member / ROW_LANES + r * TEAM;
                if (works) {
                    if (ROW_LANES > 1)
                        [[unroll]] for (uint j = 0; j < ROW_LANES; j++)
                            top[r] =
                                max(top[r], parts[(group * FRAGMENT_M + row) * ROW_LANES + j]);
                    uint i = m * LANE_ROWS + r;
                    float factor = 1.0;
                    if (top[r] > best[i] + GROWTH) {
                        factor = exp2(best[i] - top[r]);
                        best[i] = top[r];
                    }
                    vec4 total = vec4(0);
                    [[unroll]] for (uint j = 0; j < ROW_QUADS; j++) {
                        f16vec4 weight = f16vec4(exp2(e[r * ROW_QUADS + j] - best[i]));
                        weights[(first + row) * S_STRIDE + segment + j * ROW_LANES] = weight;
                        total += vec4(weight);
                    }
                    sum[i] = sum[i] * factor + (total.x + total.y) + (total.z + total.w);
                    if (segment == 0)
                        factors[first + row] = factor;
                }
            }
            sync_group();
        }

        /* The output of rows whose maximum was replaced. No barrier stands in the condition, although
         * a subgroup agrees on it: lavapipe would lose what follows. */
        [[unroll]] for (uint m = 0; m < ROWS; m++) {
            uint first = (group * ROWS + m) * FRAGMENT_M;
            float least = 1.0;
            for (uint r = lane; r < FRAGMENT_M; r += LANES)
                least = min(least, factors[first + r]);
            bool replaced = subgroupMin(least) < 1.0;
            if (replaced)
                for (uint i = lane; i < FRAGMENT_M * (FRAGMENT_N / 4); i += LANES)
                    scores[own_at + i / (FRAGMENT_N / 4) * S_STRIDE + i % (FRAGMENT_N / 4)] =
                        vec4(factors[first + i / (FRAGMENT_N / 4)]);
            sync_subgroup();
            if (replaced) {
                SUMS factor;
                coopMatLoad(factor, scores, own_at, S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint n = 0; n < OUTS; n++)
                    o[m * OUTS + n] = o[m * OUTS + n] * factor;
            }
            sync_subgroup();
        }

        for (uint part = 0; part < KEYS; part += PART) {
            if (LARGE) {
                barrier();
                for (uint i = t; i < PART * (HEAD / 4); i += LOCAL) {
                    uint r = i / (HEAD / 4), d = i % (HEAD / 4);
                    pool[V_AT + r * V_STRIDE + d] =
                        halves_v(k_row + key + part + r, k_end, head, d * 4);
                }
                barrier();
            }
            [[unroll]] for (uint k = 0; k < PART; k += FRAGMENT_K) {
                MATRIX_A a[ROWS];
                [[unroll]] for (uint m = 0; m < ROWS; m++)
                    coopMatLoad(a[m], weights,
                                (group * ROWS + m) * FRAGMENT_M * S_STRIDE + (part + k) / 4,
                                S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint n = 0; n < OUTS; n++) {
                    MATRIX_B values;
                    coopMatLoad(values, pool,
                                V_AT + k * V_STRIDE + (column * COLUMNS + n * FRAGMENT_N) / 4,
                                V_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                    [[unroll]] for (uint m = 0; m < ROWS; m++)
                        o[m * OUTS + n] = coopMatMulAdd(a[m], values, o[m * OUTS + n]);
                }
            }
        }
    }

    /* The sums of rows, then the output, WIDTH columns of a fragment of queries at a time */
    [[unroll]] for (uint m = 0; m < ROWS; m++) {
        uint first = (group * ROWS + m) * FRAGMENT_M;
        sync_group();
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            if (works)
                parts[(group * FRAGMENT_M + member / ROW_LANES + r * TEAM) * ROW_LANES + segment] =
                    sum[m * LANE_ROWS + r];
        sync_group();
        for (uint r = lane; r < FRAGMENT_M; r += LANES) {
            float total = 0.0;
            [[unroll]] for (uint j = 0; j < ROW_LANES; j++)
                total += parts[(group * FRAGMENT_M + r) * ROW_LANES + j];
            if (column == 0)
                factors[first + r] = total;
        }
        sync_group();
        [[unroll]] for (uint c = 0; c < COLUMNS; c += WIDTH) {
            [[unroll]] for (uint n = 0; n < SCORES; n++)
                if (c + n * FRAGMENT_N < COLUMNS)
                    coopMatStore(o[m * OUTS + c / FRAGMENT_N + n], scores,
                                 own_at + n * FRAGMENT_N / 4, S_STRIDE,
                                 gl_CooperativeMatrixLayoutRowMajor);
            sync_subgroup();
            for (uint i = lane; i < FRAGMENT_M * (WIDTH / 4); i += LANES) {
                uint r = i / (WIDTH / 4), quad = i % (WIDTH / 4), at = query + first + r;
                if (at < p.queries && c + quad * 4 < COLUMNS)
                    write_head(q_row + at, head, column * COLUMNS + c + quad * 4,
                               scores[own_at + r * S_STRIDE + quad] / factors[first + r]);
            }
            sync_subgroup();
        }
    }
}
