/*
 * The path for GPUs without matrix units, and the reference for those that have them: a workgroup of
 * 128 computes 64 rows x 64 columns through shared memory, 16 of K at a time; an invocation 8 rows x
 * 4 columns. K may be split over workgroups z (few rows, long K): parts are then summed by
 * conv2d_reduce.
 */
const uint ROWS = 64, COLUMNS = 64, DEPTH = 16;
shared vec4 a_tile[DEPTH][ROWS / 4 + 1];
shared vec4 b_tile[DEPTH][COLUMNS / 4];

void store_a(uint row, uint k, vec4 v)
{
    for (uint j = 0; j < 4; j++)
        a_tile[k + j][row / 4][row % 4] = v[j];
}

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint row = gl_WorkGroupID.x * ROWS, column = gl_WorkGroupID.y * COLUMNS;
    uint load_row = t / 4, load_k = (t % 4) * 4;
    pixel first = locate(row + load_row), second = locate(row + load_row + 32);
    uint depth = p.kernel_height * p.kernel_width * p.inputs_padded;
    uint b_k = t / 16, b_column = t % 16;
    /* Columns are computed in tiles of 64, packed in tiles of 32. */
    bool b_inside = column + b_column * 4 < p.columns;
    uint b_at = ((column + b_column * 4) / 32 * depth) * 8 + b_column % 8;
    uint my_row = (t / 16) * 2, my_column = t % 16;

    vec4 sums[8] = vec4[8](vec4(0), vec4(0), vec4(0), vec4(0), vec4(0), vec4(0), vec4(0), vec4(0));
    uint tap_steps = p.inputs_padded / DEPTH;
    uint step = gl_WorkGroupID.z * p.split_steps;
    uint last = min(step + p.split_steps, depth / DEPTH);
    for (; step < last; step++) {
        uint tap = step / tap_steps, c = (step % tap_steps) * DEPTH + load_k;
        uint tap_y = tap / p.kernel_width, tap_x = tap % p.kernel_width;
        uint at;
        bool inside = tap_pixel(first, tap_y, tap_x, at) && c < p.inputs;
        store_a(load_row, load_k, inside ? read_x(at, c, p.inputs) : vec4(0));
        inside = tap_pixel(second, tap_y, tap_x, at) && c < p.inputs;
        store_a(load_row + 32, load_k, inside ? read_x(at, c, p.inputs) : vec4(0));
        uint k = step * DEPTH + b_k;
        b_tile[b_k][b_column] = b_inside ? vec4(w4[b_at + k * 8]) : vec4(0);
        b_tile[b_k + 8][b_column] = b_inside ? vec4(w4[b_at + (k + 8) * 8]) : vec4(0);
        barrier();
        [[unroll]] for (uint i = 0; i < DEPTH; i++) {
            vec4 b = b_tile[i][my_column];
            vec4 low = a_tile[i][my_row], high = a_tile[i][my_row + 1];
            [[unroll]] for (uint j = 0; j < 4; j++) {
                sums[j] += low[j] * b;
                sums[j + 4] += high[j] * b;
            }
        }
        barrier();
    }
    uint n = column + my_column * 4;
    if (n >= p.columns)
        return;
    [[unroll]] for (uint j = 0; j < 8; j++) {
        uint to = row + my_row * 4 + j;
        if (p.split > 1) {
            if (to < p.rows)
                parts4[(gl_WorkGroupID.z * p.rows + to) * (p.columns / 4) + n / 4] = sums[j];
        } else {
            finish(to, p.column + n, sums[j]);
        }
    }
}
