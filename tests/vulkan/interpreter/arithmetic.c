/*
 * Arithmetic of scalars, vectors and the elements of matrices, component by component. What the
 * specification leaves undefined (a division by 0, a shift too far, a float that no integer holds)
 * ends the program. 16-bit results are rounded after every instruction.
 */
#include "tests/vulkan/interpreter/private.h"

#include "tests/vulkan/interpreter/opcodes.h"

#include <math.h>

float interpreter_half(float value)
{
    return half_to_float(half_from_float(value));
}

static void round_halves(const struct instruction *i, union cell *r)
{
    for (uint32_t k = 0; i->half && k < i->count; k++)
        r[k].f = interpreter_half(r[k].f);
}

static uint32_t divisor(const struct thread *t, const struct instruction *i, uint32_t value)
{
    if (value == 0)
        interpreter_fault(t, i, "a division by 0");
    return value;
}

static int32_t signed_divisor(const struct thread *t, const struct instruction *i, int32_t dividend,
                              int32_t value)
{
    if (dividend == INT32_MIN && value == -1)
        interpreter_fault(t, i, "a quotient too large");
    return (int32_t)divisor(t, i, (uint32_t)value);
}

static int32_t modulo(int32_t a, int32_t b)
{
    int32_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static uint32_t shift(const struct thread *t, const struct instruction *i, uint32_t by)
{
    if (by >= 32)
        interpreter_fault(t, i, "a shift by %u", by);
    return by;
}

static float within(const struct thread *t, const struct instruction *i, float value, float least,
                    float end)
{
    if (!(value > least && value < end))
        interpreter_fault(t, i, "%g is no such integer", (double)value);
    return value;
}

static float sign(float x)
{
    return x > 0 ? 1.0f : x < 0 ? -1.0f : x;
}

#define A a[k]
#define B b[k]
#define C c[k]

/* Operation, member of the result's cells, value: of A, B, C, the operands' cells. */
#define UNARY(X)                                                                                   \
    X(OpConvertFToU, u, (uint32_t)within(t, i, A.f, -1.0f, 4294967296.0f))                         \
    X(OpConvertFToS, i, (int32_t)within(t, i, A.f, -2147483904.0f, 2147483648.0f))                 \
    X(OpConvertSToF, f, (float)A.i)                                                                \
    X(OpConvertUToF, f, (float)A.u)                                                                \
    X(OpFConvert, f, A.f)                                                                          \
    X(OpQuantizeToF16, f, interpreter_half(A.f))                                                   \
    X(OpBitcast, u, A.u)                                                                           \
    X(OpSNegate, u, 0 - A.u)                                                                       \
    X(OpFNegate, f, -A.f)                                                                          \
    X(OpIsNan, u, isnan(A.f))                                                                      \
    X(OpIsInf, u, isinf(A.f) != 0)                                                                 \
    X(OpLogicalNot, u, !A.u)                                                                       \
    X(OpNot, u, ~A.u)

#define BINARY(X)                                                                                  \
    X(OpIAdd, u, A.u + B.u)                                                                        \
    X(OpFAdd, f, A.f + B.f)                                                                        \
    X(OpISub, u, A.u - B.u)                                                                        \
    X(OpFSub, f, A.f - B.f)                                                                        \
    X(OpIMul, u, A.u *B.u)                                                                         \
    X(OpFMul, f, A.f *B.f)                                                                         \
    X(OpUDiv, u, A.u / divisor(t, i, B.u))                                                         \
    X(OpSDiv, i, A.i / signed_divisor(t, i, A.i, B.i))                                             \
    X(OpFDiv, f, A.f / B.f)                                                                        \
    X(OpUMod, u, A.u % divisor(t, i, B.u))                                                         \
    X(OpSRem, i, A.i % signed_divisor(t, i, A.i, B.i))                                             \
    X(OpSMod, i, modulo(A.i, signed_divisor(t, i, A.i, B.i)))                                      \
    X(OpFRem, f, fmodf(A.f, B.f))                                                                  \
    X(OpFMod, f, A.f - B.f * floorf(A.f / B.f))                                                    \
    X(OpLogicalEqual, u, A.u == B.u)                                                               \
    X(OpLogicalNotEqual, u, A.u != B.u)                                                            \
    X(OpLogicalOr, u, A.u || B.u)                                                                  \
    X(OpLogicalAnd, u, A.u &&B.u)                                                                  \
    X(OpIEqual, u, A.u == B.u)                                                                     \
    X(OpINotEqual, u, A.u != B.u)                                                                  \
    X(OpUGreaterThan, u, A.u > B.u)                                                                \
    X(OpSGreaterThan, u, A.i > B.i)                                                                \
    X(OpUGreaterThanEqual, u, A.u >= B.u)                                                          \
    X(OpSGreaterThanEqual, u, A.i >= B.i)                                                          \
    X(OpULessThan, u, A.u < B.u)                                                                   \
    X(OpSLessThan, u, A.i < B.i)                                                                   \
    X(OpULessThanEqual, u, A.u <= B.u)                                                             \
    X(OpSLessThanEqual, u, A.i <= B.i)                                                             \
    X(OpFOrdEqual, u, A.f == B.f)                                                                  \
    X(OpFUnordEqual, u, !(A.f < B.f || A.f > B.f))                                                 \
    X(OpFOrdNotEqual, u, A.f<B.f || A.f> B.f)                                                      \
    X(OpFUnordNotEqual, u, A.f != B.f)                                                             \
    X(OpFOrdLessThan, u, A.f < B.f)                                                                \
    X(OpFUnordLessThan, u, !(A.f >= B.f))                                                          \
    X(OpFOrdGreaterThan, u, A.f > B.f)                                                             \
    X(OpFUnordGreaterThan, u, !(A.f <= B.f))                                                       \
    X(OpFOrdLessThanEqual, u, A.f <= B.f)                                                          \
    X(OpFUnordLessThanEqual, u, !(A.f > B.f))                                                      \
    X(OpFOrdGreaterThanEqual, u, A.f >= B.f)                                                       \
    X(OpFUnordGreaterThanEqual, u, !(A.f < B.f))                                                   \
    X(OpShiftRightLogical, u, A.u >> shift(t, i, B.u))                                             \
    X(OpShiftRightArithmetic, i, A.i >> shift(t, i, B.u))                                          \
    X(OpShiftLeftLogical, u, A.u << shift(t, i, B.u))                                              \
    X(OpBitwiseOr, u, A.u | B.u)                                                                   \
    X(OpBitwiseXor, u, A.u ^ B.u)                                                                  \
    X(OpBitwiseAnd, u, A.u &B.u)

/* Of GLSL.std.450 */
enum extended {
    ExtendedRoundEven = 2,
    ExtendedTrunc = 3,
    ExtendedFAbs = 4,
    ExtendedSAbs = 5,
    ExtendedFSign = 6,
    ExtendedFloor = 8,
    ExtendedCeil = 9,
    ExtendedFract = 10,
    ExtendedTanh = 21,
    ExtendedPow = 26,
    ExtendedExp = 27,
    ExtendedLog = 28,
    ExtendedExp2 = 29,
    ExtendedLog2 = 30,
    ExtendedSqrt = 31,
    ExtendedInverseSqrt = 32,
    ExtendedFMin = 37,
    ExtendedUMin = 38,
    ExtendedSMin = 39,
    ExtendedFMax = 40,
    ExtendedUMax = 41,
    ExtendedSMax = 42,
    ExtendedFClamp = 43,
    ExtendedUClamp = 44,
    ExtendedSClamp = 45,
    ExtendedFMix = 46,
    ExtendedStep = 48,
    ExtendedFma = 50,
};

#define EXTENDED_UNARY(X)                                                                          \
    X(ExtendedRoundEven, f, nearbyintf(A.f))                                                       \
    X(ExtendedTrunc, f, truncf(A.f))                                                               \
    X(ExtendedFAbs, f, fabsf(A.f))                                                                 \
    X(ExtendedSAbs, u, A.i < 0 ? 0 - A.u : A.u)                                                    \
    X(ExtendedFSign, f, sign(A.f))                                                                 \
    X(ExtendedFloor, f, floorf(A.f))                                                               \
    X(ExtendedCeil, f, ceilf(A.f))                                                                 \
    X(ExtendedFract, f, A.f - floorf(A.f))                                                         \
    X(ExtendedTanh, f, tanhf(A.f))                                                                 \
    X(ExtendedExp, f, expf(A.f))                                                                   \
    X(ExtendedLog, f, logf(A.f))                                                                   \
    X(ExtendedExp2, f, exp2f(A.f))                                                                 \
    X(ExtendedLog2, f, log2f(A.f))                                                                 \
    X(ExtendedSqrt, f, sqrtf(A.f))                                                                 \
    X(ExtendedInverseSqrt, f, 1.0f / sqrtf(A.f))

#define EXTENDED_BINARY(X)                                                                         \
    X(ExtendedPow, f, powf(A.f, B.f))                                                              \
    X(ExtendedFMin, f, B.f < A.f ? B.f : A.f)                                                      \
    X(ExtendedUMin, u, MIN(A.u, B.u))                                                              \
    X(ExtendedSMin, i, MIN(A.i, B.i))                                                              \
    X(ExtendedFMax, f, A.f < B.f ? B.f : A.f)                                                      \
    X(ExtendedUMax, u, MAX(A.u, B.u))                                                              \
    X(ExtendedSMax, i, MAX(A.i, B.i))                                                              \
    X(ExtendedStep, f, B.f < A.f ? 0.0f : 1.0f)

#define TERNARY(X) X(OpSelect, u, A.u ? B.u : C.u)

#define EXTENDED_TERNARY(X)                                                                        \
    X(ExtendedFClamp, f, A.f < B.f ? B.f : C.f < A.f ? C.f : A.f)                                  \
    X(ExtendedUClamp, u, MIN(MAX(A.u, B.u), C.u))                                                  \
    X(ExtendedSClamp, i, MIN(MAX(A.i, B.i), C.i))                                                  \
    X(ExtendedFMix, f, A.f *(1.0f - C.f) + B.f * C.f)                                              \
    X(ExtendedFma, f, fmaf(A.f, B.f, C.f))

#define EACH(name, to, value, operands)                                                            \
    static void run_##name(struct thread *t, const struct instruction *i)                          \
    {                                                                                              \
        union cell *r = result_of(t, i);                                                           \
        operands;                                                                                  \
        for (uint32_t k = 0; k < i->count; k++)                                                    \
            r[k].to = (value);                                                                     \
        round_halves(i, r);                                                                        \
    }
#define OPERANDS1 const union cell *a = cells_of(t, i, 0)
#define OPERANDS2 const union cell *a = cells_of(t, i, 0), *b = cells_of(t, i, 1)
#define OPERANDS3 OPERANDS2, *c = cells_of(t, i, 2)
#define EACH1(name, to, value) EACH(name, to, value, OPERANDS1)
#define EACH2(name, to, value) EACH(name, to, value, OPERANDS2)
#define EACH3(name, to, value) EACH(name, to, value, OPERANDS3)

UNARY(EACH1)
EXTENDED_UNARY(EACH1)
BINARY(EACH2)
EXTENDED_BINARY(EACH2)
TERNARY(EACH3)
EXTENDED_TERNARY(EACH3)

/* ---- what is not component by component ---- */

static void run_times_scalar(struct thread *t, const struct instruction *i)
{
    float factor = cells_of(t, i, 1)->f;
    const union cell *a = cells_of(t, i, 0);
    union cell *r = result_of(t, i);
    for (uint32_t k = 0; k < i->count; k++)
        r[k].f = a[k].f * factor;
    round_halves(i, r);
}

static void run_dot(struct thread *t, const struct instruction *i)
{
    OPERANDS2;
    union cell *r = result_of(t, i);
    r->f = 0;
    for (uint32_t k = 0; k < i->operands[0].type->count; k++)
        r->f += A.f * B.f;
    round_halves(i, r);
}

static void run_any(struct thread *t, const struct instruction *i)
{
    OPERANDS1;
    bool all = true, any = false;
    for (uint32_t k = 0; k < i->operands[0].type->cells; k++) {
        all = all && A.u;
        any = any || A.u;
    }
    result_of(t, i)->u = i->operation->number == OpAll ? all : any;
}

/* A condition that is one bool may choose between vectors or more. */
static void run_choice(struct thread *t, const struct instruction *i)
{
    const union cell *from = cells_of(t, i, cells_of(t, i, 0)->u ? 1 : 2);
    for (uint32_t k = 0; k < i->type->cells; k++)
        result_of(t, i)[k] = from[k];
}

static void run_select(struct thread *t, const struct instruction *i)
{
    if (i->operands[0].type->kind == KIND_BOOL)
        run_choice(t, i);
    else
        run_OpSelect(t, i);
}

static void check_select(const struct interpreter *m, const struct instruction *i)
{
    const struct type *condition = i->operands[0].type;
    if (i->operands[1].type != i->type || i->operands[2].type != i->type ||
        (condition->kind != KIND_BOOL && condition->cells != i->type->cells))
        interpreter_refuse(m, "%%%u selects between types that do not fit", i->id);
}

#define ROW1(name, to, value) OPERATION(name, "trv", run_##name, .each = true),
#define ROW2(name, to, value) OPERATION(name, "trvv", run_##name, .each = true),
#define ROW3(name, to, value) OPERATION(name, "trvvv", run_##name, .each = true),

const struct operation arithmetic_operations[] = {
    UNARY(ROW1) BINARY(ROW2) OPERATION(OpSelect, "trvvv", run_select, .check = check_select),
    OPERATION(OpVectorTimesScalar, "trvv", run_times_scalar),
    OPERATION(OpDot, "trvv", run_dot),
    OPERATION(OpAny, "trv", run_any),
    OPERATION(OpAll, "trv", run_any),
    {.name = NULL},
};

/* The set and the number stand before the operands. */
#define EXTENDED1(name, to, value) OPERATION(name, "trssv", run_##name, .each = true),
#define EXTENDED2(name, to, value) OPERATION(name, "trssvv", run_##name, .each = true),
#define EXTENDED3(name, to, value) OPERATION(name, "trssvvv", run_##name, .each = true),

const struct operation *interpreter_extended(uint32_t number)
{
    static const struct operation operations[] = {
        EXTENDED_UNARY(EXTENDED1) EXTENDED_BINARY(EXTENDED2) EXTENDED_TERNARY(EXTENDED3)};
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++)
        if (operations[i].number == number)
            return &operations[i];
    return NULL;
}
