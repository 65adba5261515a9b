/*
 * The path for GPUs with cooperative matrices (KHR): a workgroup of 4 subgroups computes TILE x TILE
 * outputs, a subgroup a quarter of them, in fragments of the device's own shape. Tiles go through
 * shared memory as 16-bit floats, the next one is fetched into registers while this one is
 * multiplied; sums are 32-bit. F16 only.
 */
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

layout(constant_id = 4) const uint TILE = 64;
layout(constant_id = 5) const uint FRAGMENT_M = 16;
layout(constant_id = 6) const uint FRAGMENT_N = 16;
layout(constant_id = 7) const uint FRAGMENT_K = 16;

const uint DEPTH = 32;
/* In quads, padded by two so that rows start in different banks. */
const uint A_STRIDE = DEPTH / 4 + 2, B_STRIDE = TILE / 4 + 2, OUT_STRIDE = FRAGMENT_N / 4;
const uint QUADS = TILE * DEPTH / 4; /* of each tile */
const uint LOADS = QUADS / LOCAL;    /* by an invocation; LOCAL divides QUADS */
const uint HALF = TILE / 2;
const uint FRAGMENTS_M = HALF / FRAGMENT_M, FRAGMENTS_N = HALF / FRAGMENT_N;

shared f16vec4 a_tile[TILE * A_STRIDE];
shared f16vec4 b_tile[DEPTH * B_STRIDE];
shared vec4 out_tile[4 * FRAGMENT_M * OUT_STRIDE];
shared pixel pixels[TILE];

f16vec4 load_a(uint i, uint step, uint tap_steps)
{
    uint row = i / (DEPTH / 4), tap = step / tap_steps;
    uint c = (step % tap_steps) * DEPTH + (i % (DEPTH / 4)) * 4, at;
    if (!tap_pixel(pixels[row], tap / p.kernel_width, tap % p.kernel_width, at) || c >= p.inputs)
        return f16vec4(0);
    if (ALIGNED)
        return x4[(at * p.inputs + c) >> 2];
    return f16vec4(read_x(at, c, p.inputs));
}

/* Packed in runs of 32 columns: [columns / 32][k][32]. */
f16vec4 load_b(uint i, uint step, uint depth)
{
    uint k = i / (TILE / 4), column = gl_WorkGroupID.y * TILE + (i % (TILE / 4)) * 4;
    if (column >= p.columns)
        return f16vec4(0);
    return w4[((column / 32) * depth + step * DEPTH + k) * 8 + (column % 32) / 4];
}

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint first_row = gl_WorkGroupID.x * TILE;
    uint sub_row = (gl_SubgroupID / 2) * HALF, sub_column = (gl_SubgroupID % 2) * HALF;
    uint depth = p.kernel_height * p.kernel_width * p.inputs_padded;
    uint tap_steps = p.inputs_padded / DEPTH;
    for (uint i = t; i < TILE; i += LOCAL)
        pixels[i] = locate(first_row + i);
    barrier();

    coopmat<float, gl_ScopeSubgroup, FRAGMENT_M, FRAGMENT_N, gl_MatrixUseAccumulator>
        sums[FRAGMENTS_M * FRAGMENTS_N];
    [[unroll]] for (uint i = 0; i < FRAGMENTS_M * FRAGMENTS_N; i++)
        sums[i] =
            coopmat<float, gl_ScopeSubgroup, FRAGMENT_M, FRAGMENT_N, gl_MatrixUseAccumulator>(0.0);
    f16vec4 a_next[LOADS], b_next[LOADS];
    uint step = gl_WorkGroupID.z * p.split_steps;
    uint last = min(step + p.split_steps, depth / DEPTH);
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        a_next[i] = load_a(t + i * LOCAL, step, tap_steps);
        b_next[i] = load_b(t + i * LOCAL, step, depth);
    }
    for (; step < last; step++) {
        [[unroll]] for (uint i = 0; i < LOADS; i++) {
            uint q = t + i * LOCAL;
            a_tile[q / (DEPTH / 4) * A_STRIDE + q % (DEPTH / 4)] = a_next[i];
            b_tile[q / (TILE / 4) * B_STRIDE + q % (TILE / 4)] = b_next[i];
        }
        barrier();
        if (step + 1 < last) {
            [[unroll]] for (uint i = 0; i < LOADS; i++) {
                a_next[i] = load_a(t + i * LOCAL, step + 1, tap_steps);
                b_next[i] = load_b(t + i * LOCAL, step + 1, depth);
            }
        }
        [[unroll]] for (uint k = 0; k < DEPTH; k += FRAGMENT_K) {
            coopmat<float16_t, gl_ScopeSubgroup, FRAGMENT_K, FRAGMENT_N, gl_MatrixUseB>
                b[FRAGMENTS_N];
            [[unroll]] for (uint n = 0; n < FRAGMENTS_N; n++)
                coopMatLoad(b[n], b_tile, k * B_STRIDE + (sub_column + n * FRAGMENT_N) / 4,
                            B_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint m = 0; m < FRAGMENTS_M; m++) {
                coopmat<float16_t, gl_ScopeSubgroup, FRAGMENT_M, FRAGMENT_K, gl_MatrixUseA> a;
                coopMatLoad(a, a_tile, (sub_row + m * FRAGMENT_M) * A_STRIDE + k / 4, A_STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint n = 0; n < FRAGMENTS_N; n++)
                    sums[m * FRAGMENTS_N + n] = coopMatMulAdd(a, b[n], sums[m * FRAGMENTS_N + n]);
            }
        }
        barrier();
    }

    /* A fragment's elements are the lanes' secret: through shared memory, one fragment at a time. */
    uint out_at = gl_SubgroupID * FRAGMENT_M * OUT_STRIDE;
    [[unroll]] for (uint m = 0; m < FRAGMENTS_M; m++)
        [[unroll]] for (uint n = 0; n < FRAGMENTS_N; n++) {
            coopMatStore(sums[m * FRAGMENTS_N + n], out_tile, out_at, OUT_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
            controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                           gl_SemanticsAcquireRelease);
            for (uint q = gl_SubgroupInvocationID; q < FRAGMENT_M * OUT_STRIDE;
                 q += gl_SubgroupSize) {
                uint row = first_row + sub_row + m * FRAGMENT_M + q / OUT_STRIDE;
                uint column = gl_WorkGroupID.y * TILE + sub_column + n * FRAGMENT_N +
                              (q % OUT_STRIDE) * 4;
                if (row >= p.rows || column >= p.columns)
                    continue;
                if (p.split > 1)
                    parts4[(gl_WorkGroupID.z * p.rows + row) * (p.columns / 4) + column / 4] =
                        out_tile[out_at + q];
                else
                    finish(row, p.column + column, out_tile[out_at + q]);
            }
            controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                           gl_SemanticsAcquireRelease);
        }
}
