#version 450
#pragma use_vulkan_memory_model
/*
 * Attention on matrices of a whole workgroup (VK_NV_cooperative_matrix2), see conv2d_matrix2.comp:
 * ROWS queries of a head against KEYS keys at a time, with the running maximum and sum of each row
 * (online softmax). What belongs to a row is kept as a matrix whose row holds it in every column, so
 * that an element meets its own. F16 only; scores, sums and outputs are 32-bit, and what a key
 * weighs, which is at most 1, is rounded to 16 bits for the product with the values.
 *
 * Heads are padded to CHUNK columns by the layout, which gives zeros behind a head's last one and
 * behind the last key. A head of more columns is multiplied in CHUNKS pieces, and workgroups y
 * compute a piece of the output each.
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
layout(constant_id = 2) const uint CHUNK = 64;
layout(constant_id = 3) const uint CHUNKS = 1;
layout(constant_id = 4) const uint ROWS = 64;

layout(push_constant) uniform push { push_attention p; };
layout(binding = 0, std430) readonly buffer q_scalars { float16_t q1[]; };
layout(binding = 1, std430) readonly buffer k_scalars { float16_t k1[]; };
layout(binding = 2, std430) readonly buffer v_scalars { float16_t v1[]; };
layout(binding = 3, std430) buffer y_scalars { float16_t y1[]; };

const uint KEYS = 64;
const float LOWEST = -1e30; /* of a key that is not seen: its difference to another is a number */
const int CLAMP = gl_CooperativeMatrixClampModeConstantNV; /* to 0 */

#define LAYOUT tensorLayoutNV<3, CLAMP> /* rows, heads, columns of a head */
#define SCORES coopmat<float, gl_ScopeWorkgroup, ROWS, KEYS, gl_MatrixUseAccumulator>
#define OUTPUTS coopmat<float, gl_ScopeWorkgroup, ROWS, CHUNK, gl_MatrixUseAccumulator>
#define OUTPUTS_F16 coopmat<float16_t, gl_ScopeWorkgroup, ROWS, CHUNK, gl_MatrixUseAccumulator>
#define QUERIES coopmat<float16_t, gl_ScopeWorkgroup, ROWS, CHUNK, gl_MatrixUseA>
#define KEYS_ACROSS coopmat<float16_t, gl_ScopeWorkgroup, CHUNK, KEYS, gl_MatrixUseB>
#define WEIGHTS coopmat<float16_t, gl_ScopeWorkgroup, ROWS, KEYS, gl_MatrixUseA>
#define VALUES coopmat<float16_t, gl_ScopeWorkgroup, KEYS, CHUNK, gl_MatrixUseB>

float seen(const in uint row, const in uint column, const in float score, const in uint query,
           const in uint key)
{
    bool outside = key + column >= p.keys;
    bool later = p.causal != 0 && key + column > query + row;
    return outside || later ? LOWEST : score * p.scale;
}

float larger(const in float a, const in float b)
{
    return max(a, b);
}

float plus(const in float a, const in float b)
{
    return a + b;
}

float larger_of(const in uint row, const in uint column, const in float a, const in float b)
{
    return max(a, b);
}

float weigh(const in uint row, const in uint column, const in float score, const in float top)
{
    return exp(score - top);
}

float carry(const in uint row, const in uint column, const in float sum, const in float shrink,
            const in float more)
{
    return sum * shrink + more;
}

float times(const in uint row, const in uint column, const in float a, const in float b)
{
    return a * b;
}

float over(const in uint row, const in uint column, const in float a, const in float b)
{
    return a / b;
}

LAYOUT rows_of(uint rows, uint row, uint count, uint head, uint column)
{
    LAYOUT t = createTensorLayoutNV(3, CLAMP);
    t = setTensorLayoutDimensionNV(t, rows, p.heads, p.head_size);
    return sliceTensorLayoutNV(t, int(row), count, int(head), 1, int(column), CHUNK);
}

void main()
{
    uint picture = gl_WorkGroupID.z / p.heads, head = gl_WorkGroupID.z % p.heads;
    uint query = gl_WorkGroupID.x * ROWS, column = gl_WorkGroupID.y * CHUNK;
    uint q_base = picture * p.queries * p.width, k_base = picture * p.keys * p.width;
    uint last = p.causal != 0 ? min(p.keys, query + ROWS) : p.keys;

    QUERIES q[CHUNKS];
    [[unroll]] for (uint i = 0; i < CHUNKS; i++)
        coopMatLoadTensorNV(q[i], q1, q_base, rows_of(p.queries, query, ROWS, head, i * CHUNK));
    OUTPUTS y = OUTPUTS(0.0);
    SCORES top = SCORES(LOWEST), sum = SCORES(0.0);
    for (uint key = 0; key < last; key += KEYS) {
        SCORES s = SCORES(0.0);
        [[unroll]] for (uint i = 0; i < CHUNKS; i++) {
            KEYS_ACROSS k;
            coopMatLoadTensorNV(k, k1, k_base, rows_of(p.keys, key, KEYS, head, i * CHUNK),
                                createTensorViewNV(3, false, 2, 1, 0));
            s = coopMatMulAdd(q[i], k, s);
        }
        coopMatPerElementNV(s, s, seen, query, key);
        SCORES shrink, most, more;
        coopMatReduceNV(most, s, gl_CooperativeMatrixReduceRowNV, larger);
        coopMatPerElementNV(most, most, larger_of, top);
        coopMatPerElementNV(shrink, top, weigh, most);
        coopMatPerElementNV(s, s, weigh, most);
        top = most;
        coopMatReduceNV(more, s, gl_CooperativeMatrixReduceRowNV, plus);
        coopMatPerElementNV(sum, sum, carry, shrink, more);

        OUTPUTS wide;
        VALUES v;
        coopMatReduceNV(wide, shrink, gl_CooperativeMatrixReduceRowNV, larger);
        coopMatPerElementNV(y, y, times, wide);
        coopMatLoadTensorNV(v, v1, k_base, rows_of(p.keys, key, KEYS, head, column));
        y = coopMatMulAdd(WEIGHTS(s), v, y);
    }
    OUTPUTS wide;
    coopMatReduceNV(wide, sum, gl_CooperativeMatrixReduceRowNV, larger);
    coopMatPerElementNV(y, y, over, wide);
    coopMatStoreTensorNV(OUTPUTS_F16(y), y1, q_base,
                         rows_of(p.queries, query, ROWS, head, column));
}
