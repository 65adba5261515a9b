#version 450
/* Ways through memory, one for each MODE: ROWS x COLUMNS numbers are loaded by it, or stored. */
#extension GL_GOOGLE_include_directive : require
#include "kernel.glsl"

layout(constant_id = 1) const uint MODE = 0;
layout(constant_id = 2) const uint ROWS = 16;
layout(constant_id = 3) const uint COLUMNS = 32;

layout(binding = 0, std430) readonly buffer source_buffer { float source[]; };
layout(binding = 1, std430) buffer result_buffer { float result[]; };
layout(push_constant) uniform push { uint height, width; int y, x; } p;

#define MATRIX SUM(float, ROWS, COLUMNS)

void store(MATRIX m)
{
    tensorLayoutNV<2> plain = createTensorLayoutNV(2);
    coopMatStoreTensorNV(m, result, 0, setTensorLayoutDimensionNV(plain, ROWS, COLUMNS));
}

/* [columns / 8][rows][8] becomes rows x columns. */
MATRIX packed()
{
    MATRIX m;
    tensorLayoutNV<3> t = createTensorLayoutNV(3);
    t = setTensorLayoutDimensionNV(t, COLUMNS / 8, ROWS, 8);
    coopMatLoadTensorNV(m, source, 0, t, createTensorViewNV(3, false, 1, 0, 2));
    return m;
}

/* Part of the matrix, the rest as it was: lines of `width` that begin every width + 3. */
MATRIX clipped()
{
    MATRIX m = MATRIX(7.0);
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> t =
        createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    t = setTensorLayoutDimensionNV(t, p.height, p.width);
    t = setTensorLayoutStrideNV(t, p.width + 3, 1);
    t = setTensorLayoutClampValueNV(t, floatBitsToUint(-2.5));
    tensorViewNV<2> v = setTensorViewClipNV(createTensorViewNV(2), 1, ROWS - 2, 3, COLUMNS - 3);
    /* The view is as wide as what is clipped to it. */
    t = sliceTensorLayoutNV(t, p.y, ROWS - 2, p.x, COLUMNS - 3);
    coopMatLoadTensorNV(m, source, 0, t, v);
    return m;
}

/* One number for each block of 2 x 4. */
MATRIX blocks()
{
    MATRIX m;
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> t =
        createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    t = setTensorLayoutBlockSizeNV(t, 2, 4);
    t = setTensorLayoutDimensionNV(t, p.height, p.width);
    coopMatLoadTensorNV(m, source, 0, sliceTensorLayoutNV(t, p.y, ROWS, p.x, COLUMNS));
    return m;
}

/* Space to depth: 2 x 2 pixels of COLUMNS / 4 channels become one of COLUMNS. */
MATRIX deeper()
{
    MATRIX m;
    uint channels = COLUMNS / 4, width = ROWS;
    tensorLayoutNV<3> t = createTensorLayoutNV(3);
    t = setTensorLayoutDimensionNV(t, 4, width, channels);
    tensorViewNV<5, true, 0, 2, 1, 3, 4> v = createTensorViewNV(5, true, 0, 2, 1, 3, 4);
    v = setTensorViewDimensionsNV(v, 2, 2, width / 2, 2, channels);
    coopMatLoadTensorNV(m, source, 0, t, v);
    return m;
}

#define CLAMPED(name, mode)                                                                        \
    MATRIX name()                                                                                  \
    {                                                                                              \
        MATRIX m;                                                                                  \
        tensorLayoutNV<2, mode> t = createTensorLayoutNV(2, mode);                                 \
        t = setTensorLayoutDimensionNV(t, p.height, p.width);                                      \
        coopMatLoadTensorNV(m, source, 0, sliceTensorLayoutNV(t, p.y, ROWS, p.x, COLUMNS));        \
        return m;                                                                                  \
    }
CLAMPED(to_edge, gl_CooperativeMatrixClampModeClampToEdgeNV)
CLAMPED(repeated, gl_CooperativeMatrixClampModeRepeatNV)
CLAMPED(mirrored, gl_CooperativeMatrixClampModeMirrorRepeatNV)

/* A transposed view, and a store of which only what is inside is kept, whatever the clamp mode. */
void store_part()
{
    MATRIX m;
    tensorLayoutNV<2> from = createTensorLayoutNV(2);
    from = setTensorLayoutDimensionNV(from, COLUMNS, ROWS);
    coopMatLoadTensorNV(m, source, 0, from, createTensorViewNV(2, false, 1, 0));
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeRepeatNV> t =
        createTensorLayoutNV(2, gl_CooperativeMatrixClampModeRepeatNV);
    t = setTensorLayoutDimensionNV(t, p.height, p.width);
    coopMatStoreTensorNV(m, result, 0, sliceTensorLayoutNV(t, p.y, ROWS, p.x, COLUMNS));
}

float larger(const in float a, const in float b)
{
    return max(a, b);
}

/* The largest of each row. */
MATRIX reduced()
{
    MATRIX m, most;
    tensorLayoutNV<2> t = createTensorLayoutNV(2);
    coopMatLoadTensorNV(m, source, 0, setTensorLayoutDimensionNV(t, ROWS, COLUMNS));
    coopMatReduceNV(most, m, gl_CooperativeMatrixReduceRowNV, larger);
    return most;
}

/* Rounded to 16 bits, what was a sum becomes an A, and each row is summed twice over. */
MATRIX converted()
{
    MATRIX m;
    tensorLayoutNV<2> t = createTensorLayoutNV(2);
    coopMatLoadTensorNV(m, source, 0, setTensorLayoutDimensionNV(t, ROWS, COLUMNS));
    return coopMatMulAdd(MATRIX_A(float16_t, ROWS, COLUMNS)(m),
                         MATRIX_B(float16_t, COLUMNS, COLUMNS)(float16_t(2.0)), -m);
}

void main()
{
    switch (MODE) {
    case 0:
        store(packed());
        break;
    case 1:
        store(clipped());
        break;
    case 2:
        store(blocks());
        break;
    case 3:
        store(deeper());
        break;
    case 4:
        store(to_edge());
        break;
    case 5:
        store(repeated());
        break;
    case 6:
        store(mirrored());
        break;
    case 7:
        store_part();
        break;
    case 8:
        store(reduced());
        break;
    default:
        store(converted());
    }
}
