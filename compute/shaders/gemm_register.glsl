/*
 * The path for lavapipe (and any device with subgroups of 8): one workgroup is one subgroup and
 * computes ROWS rows x 32 columns in registers, a lane 4 columns. ROWS is 16; 8 or 4 where there are no
 * more (the deepest level of a small picture). There is no shared memory and no
 * barrier: lanes hold rows of the input and spread them with subgroupShuffle from a constant lane,
 * which is one permutation of a vector register. Everything that is read in the loop is a texel
 * buffer. K advances by 16 a trip, so that the loop's bookkeeping is small and the trips of the
 * deepest layer (3 x 3 x 2560) stay far below lavapipe's 65,535.
 */
#extension GL_KHR_shader_subgroup_shuffle : require
#include "four.glsl"

layout(constant_id = 4) const uint ROWS = 16;

#define EACH4(M, b) M(0, b) M(1, b) M(2, b) M(3, b)
#define EACH4_MORE(M, b) M(4, b) M(5, b) M(6, b) M(7, b)
#define EACH8(M, b) EACH4(M, b) EACH4_MORE(M, b)
#define SUMS(r, s) ZERO(s##r)
/* A row takes four channels at once, so that its sums are loaded and stored once for them. */
#define ROW(s, r, a)                                                                               \
    ADD(s, subgroupShuffle(a.x, r), w0)                                                            \
    ADD(s, subgroupShuffle(a.y, r), w1)                                                            \
    ADD(s, subgroupShuffle(a.z, r), w2)                                                            \
    ADD(s, subgroupShuffle(a.w, r), w3)
#define LOW(r, a) ROW(s##r, r, a)
#define HIGH(r, a) ROW(t##r, r, a)
#define COLUMNS(q)                                                                                 \
    {                                                                                              \
        /* the packed weight is 0 behind the last channel, but the next pixel may be a NaN */      \
        bool within = c + q * 4 < p.inputs;                                                        \
        vec4 a = low_inside && within ? read_x(low, c + q * 4, p.inputs) : vec4(0.0);              \
        vec4 b = ROWS > 8 && high_inside && within ? read_x(high, c + q * 4, p.inputs)             \
                                                   : vec4(0.0);                                    \
        vec4 w0 = QUAD(w, wi + (q) * 32), w1 = QUAD(w, wi + (q) * 32 + 8);                         \
        vec4 w2 = QUAD(w, wi + (q) * 32 + 16), w3 = QUAD(w, wi + (q) * 32 + 24);                   \
        EACH4(LOW, a)                                                                              \
        if (ROWS > 4) {                                                                            \
            EACH4_MORE(LOW, a)                                                                     \
        }                                                                                          \
        if (ROWS > 8) {                                                                            \
            EACH8(HIGH, b)                                                                         \
        }                                                                                          \
    }

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint row = gl_WorkGroupID.x * ROWS;
    uint n = p.column + gl_WorkGroupID.y * 32 + lane * 4;
    pixel low_pixel = locate(row + lane), high_pixel = locate(row + 8 + lane);
    EACH8(SUMS, s)
    EACH8(SUMS, t)
    uint taps = p.kernel_height * p.kernel_width;
    uint wi = gl_WorkGroupID.y * taps * p.inputs_padded * 8 + lane;
    for (uint tap = 0; tap < taps; tap++) {
        uint low, high;
        uint tap_y = tap / p.kernel_width, tap_x = tap % p.kernel_width;
        bool low_inside = tap_pixel(low_pixel, tap_y, tap_x, low);
        bool high_inside = tap_pixel(high_pixel, tap_y, tap_x, high) && ROWS > 8;
        for (uint c = 0; c < p.inputs; c += 16, wi += 128) {
            COLUMNS(0)
            COLUMNS(1)
            COLUMNS(2)
            COLUMNS(3)
        }
        /* the padding of the packed channels */
        wi += (p.inputs_padded - ((p.inputs + 15) & ~15u)) * 8;
    }
    /* Once in the code, as lavapipe compiles when a shader first runs: the first row is the next. */
    [[dont_unroll]] for (uint r = 0; r < ROWS; r++) {
        finish(row + r, n, TOGETHER(s0));
        MOVE(s0, s1)
        MOVE(s1, s2)
        MOVE(s2, s3)
        if (ROWS > 4) {
            MOVE(s3, s4)
            MOVE(s4, s5)
            MOVE(s5, s6)
            MOVE(s6, s7)
        }
        if (ROWS > 8) {
            MOVE(s7, t0)
            MOVE(t0, t1)
            MOVE(t1, t2)
            MOVE(t2, t3)
            MOVE(t3, t4)
            MOVE(t4, t5)
            MOVE(t5, t6)
            MOVE(t6, t7)
        }
    }
}
