/*
 * The interpreter of SPIR-V (tests/vulkan/interpreter/) against plain loops: the kernels of
 * tests/vulkan/kernels.
 */
#include "compute/vulkan/internal.h"
#include "tests/check.h"
#include "tests/vulkan/interpreter/interpreter.h"
#include "tests/vulkan/interpreter/opcodes.h"
#include "tests/vulkan/kernels/matrix/kernel_patch.spv.inc"
#include "tests/vulkan/kernels/matrix/kernel_scalars.spv.inc"
#include "tests/vulkan/kernels/matrix/kernel_tensors.spv.inc"

#define MAX_CONSTANT_COUNT 8

/* Specialisation constants 0, 1, ... */
static struct interpreter *create(const uint32_t *words, size_t bytes, const uint32_t *constants,
                                  uint32_t count)
{
    struct interpreter_constant list[MAX_CONSTANT_COUNT];
    for (uint32_t i = 0; i < count; i++)
        list[i] = (struct interpreter_constant){i, constants[i]};
    return interpreter_create(words, bytes / sizeof *words, "main", list, count);
}

#define CREATE(module, ...)                                                                        \
    create(module, sizeof module, (const uint32_t[]){__VA_ARGS__},                                 \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static uint32_t noise_state = 1;

static float noise(void)
{
    noise_state = noise_state * 1664525 + 1013904223;
    return (float)(noise_state >> 8) * 0x1p-23f - 1.0f;
}

static uint16_t *halves(size_t n)
{
    uint16_t *list = g_new(uint16_t, n + 1);
    for (size_t i = 0; i < n; i++)
        list[i] = half_from_float(noise());
    return list;
}

static float *floats(size_t n)
{
    float *list = g_new(float, n + 1);
    for (size_t i = 0; i < n; i++)
        list[i] = noise();
    return list;
}

static struct interpreter_buffer bind(void *data, size_t bytes)
{
    return (struct interpreter_buffer){(uint8_t *)data, bytes};
}

/* ---- a convolution ---- */

struct patch_push {
    uint32_t height, width, inputs, inputs_padded, columns;
    float gain;
};

struct patch {
    struct patch_push p;
    uint16_t *picture, *weights, *residual, *result;
    float *bias;
    size_t pixels, weight_count;
};

static struct patch patch_create(uint32_t height, uint32_t width, uint32_t inputs, uint32_t columns)
{
    struct patch t = {.p = {height, width, inputs, (inputs + 31) / 32 * 32, columns, 0.75f}};
    t.pixels = (size_t)height * width;
    t.weight_count = (size_t)(columns + 31) / 32 * 9 * t.p.inputs_padded * 32;
    t.picture = halves(t.pixels * inputs);
    t.weights = halves(t.weight_count);
    t.residual = halves(t.pixels * columns);
    t.result = halves(t.pixels * columns);
    t.bias = floats(columns);
    for (size_t i = 0; i < t.weight_count; i++)
        if (i / 32 % t.p.inputs_padded >= inputs)
            t.weights[i] = 0;
    return t;
}

static void patch_destroy(struct patch *t)
{
    g_free(t->picture);
    g_free(t->weights);
    g_free(t->residual);
    g_free(t->result);
    g_free(t->bias);
}

static float patch_sum(const struct patch *t, int y, int x, uint32_t column)
{
    const struct patch_push *p = &t->p;
    float sum = 0;
    for (int tap = 0; tap < 9; tap++) {
        int from_y = y + tap / 3 - 1, from_x = x + tap % 3 - 1;
        if (from_y < 0 || from_y >= (int)p->height || from_x < 0 || from_x >= (int)p->width)
            continue;
        size_t pixel = (size_t)from_y * p->width + (size_t)from_x;
        for (uint32_t c = 0; c < p->inputs; c++) {
            size_t w = ((column / 32 * 9 + (uint32_t)tap) * p->inputs_padded + c) * 32;
            sum += half_to_float(t->picture[pixel * p->inputs + c]) *
                   half_to_float(t->weights[w + column % 32]);
        }
    }
    return sum;
}

static void patch_check(const struct patch *t, bool residual)
{
    const struct patch_push *p = &t->p;
    g_autofree float *got = g_new(float, t->pixels * p->columns);
    g_autofree float *expected = g_new(float, t->pixels * p->columns);
    for (size_t i = 0; i < t->pixels * p->columns; i++) {
        uint32_t column = (uint32_t)(i % p->columns), pixel = (uint32_t)(i / p->columns);
        float value = patch_sum(t, (int)(pixel / p->width), (int)(pixel % p->width), column);
        value += t->bias[column];
        value += residual ? half_to_float(t->residual[i]) * p->gain : 0;
        expected[i] = value / (1.0f + expf(-value));
        got[i] = half_to_float(t->result[i]);
    }
    double error = check_relative_error(got, expected, t->pixels * p->columns);
    CHECK(error < 4e-4, "%ux%u of %u to %u: %g", p->height, p->width, p->inputs, p->columns, error);
}

static void test_patch(uint32_t height, uint32_t width, uint32_t inputs, uint32_t columns,
                       uint32_t tile_height, uint32_t tile_width, uint32_t tile_columns,
                       uint32_t residual)
{
    struct patch t = patch_create(height, width, inputs, columns);
    struct interpreter *m =
        CREATE(spv_kernel_patch, 128, tile_height, tile_width, tile_columns, 32, residual);
    struct interpreter_dispatch d = {
        .buffers = {bind(t.picture, t.pixels * inputs * 2), bind(t.weights, t.weight_count * 2),
                    bind(t.bias, columns * 4), bind(t.residual, t.pixels * columns * 2),
                    bind(t.result, t.pixels * columns * 2)},
        .push = &t.p,
        .push_bytes = sizeof t.p};
    size_t products;
    const struct interpreter_product *product = interpreter_products(m, &products);
    CHECK(products == 1 && product->m == tile_height * tile_width && product->n == tile_columns &&
          product->k == 32);
    CHECK(interpreter_invocations(m) == 128);
    CHECK(interpreter_wants(spv_kernel_patch, sizeof spv_kernel_patch / 4));
    CHECK(interpreter_declares(m, CapabilityCooperativeMatrixTensorAddressingNV));
    d.groups[0] =
        (height + tile_height - 1) / tile_height * ((width + tile_width - 1) / tile_width);
    d.groups[1] = (columns + tile_columns - 1) / tile_columns;
    d.groups[2] = 1;
    interpreter_run(m, &d);
    patch_check(&t, residual);
    interpreter_destroy(m);
    patch_destroy(&t);
}

/* ---- ways through memory ---- */

enum { ROWS = 16, COLUMNS = 32 };

struct tensor_push {
    uint32_t height, width;
    int32_t y, x;
};

static int modulo(int a, int b)
{
    return (a % b + b) % b;
}

static int clamped(uint32_t mode, int c, int size)
{
    int mirrored = modulo(c, 2 * size - 2);
    if (mode == 4)
        return CLAMP(c, 0, size - 1);
    return mode == 5 ? modulo(c, size) : mirrored >= size ? 2 * size - 2 - mirrored : mirrored;
}

static float row_value(uint32_t mode, const float *row, int column)
{
    float most = -INFINITY, sum = -row[column];
    for (int k = 0; k < COLUMNS; k++) {
        most = MAX(most, row[k]);
        sum += 2.0f * half_to_float(half_from_float(row[k]));
    }
    return mode == 8 ? most : sum;
}

static float tensor_value(uint32_t mode, const struct tensor_push *p, const float *source, int row,
                          int column)
{
    int y = row + p->y, x = column + p->x, width = (int)p->width, height = (int)p->height;
    int i = row / 8, j = row % 8, dy = column / 16, dx = column / 8 % 2;
    switch (mode) {
    case 0:
        return source[column / 8 * ROWS * 8 + row * 8 + column % 8];
    case 1:
        if (row < 1 || row >= ROWS - 1 || column < 3)
            return 7.0f;
        y -= 1;
        x -= 3;
        return y < 0 || y >= height || x < 0 || x >= width ? -2.5f : source[y * (width + 3) + x];
    case 2:
        return y < 0 || y >= height || x < 0 || x >= width
                   ? 0.0f
                   : source[y / 2 * ((width + 3) / 4) + x / 4];
    case 3:
        return source[((2 * i + dy) * ROWS + 2 * j + dx) * 8 + column % 8];
    case 8:
    case 9:
        return row_value(mode, source + row * COLUMNS, column);
    default:
        return source[clamped(mode, y, height) * width + clamped(mode, x, width)];
    }
}

/* `held`: numbers of the source, none more. */
static void test_tensor(uint32_t mode, uint32_t held, struct tensor_push p)
{
    struct interpreter *m = CREATE(spv_kernel_tensors, 64, mode, ROWS, COLUMNS);
    g_autofree float *source = floats(held);
    float result[ROWS * COLUMNS] __attribute__((aligned(16)));
    struct interpreter_dispatch d = {
        .buffers = {bind(source, held * sizeof *source), bind(result, sizeof result)},
        .push = &p,
        .push_bytes = sizeof p,
        .groups = {1, 1, 1}};
    interpreter_run(m, &d);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        float expected = tensor_value(mode, &p, source, i / COLUMNS, i % COLUMNS);
        CHECK(result[i] == expected, "mode %u, element %d: %g, not %g", mode, i, (double)result[i],
              (double)expected);
    }
    interpreter_destroy(m);
}

/* A transposed matrix, of which a part is stored. */
static void test_store(struct tensor_push p)
{
    struct interpreter *m = CREATE(spv_kernel_tensors, 64, 7, ROWS, COLUMNS);
    g_autofree float *source = floats(ROWS * COLUMNS);
    g_autofree float *result = floats(p.height * p.width);
    g_autofree float *before = (float *)g_memdup2(result, p.height * p.width * sizeof *result);
    struct interpreter_dispatch d = {.buffers = {bind(source, ROWS * COLUMNS * sizeof *source),
                                                 bind(result, p.height * p.width * sizeof *result)},
                                     .push = &p,
                                     .push_bytes = sizeof p,
                                     .groups = {1, 1, 1}};
    interpreter_run(m, &d);
    for (int i = 0; i < (int)(p.height * p.width); i++) {
        int row = i / (int)p.width - p.y, column = i % (int)p.width - p.x;
        bool in = row >= 0 && row < ROWS && column >= 0 && column < COLUMNS;
        float expected = in ? source[column * ROWS + row] : before[i];
        CHECK(result[i] == expected, "stored %d: %g, not %g", i, (double)result[i],
              (double)expected);
    }
    interpreter_destroy(m);
}

/* ---- scalars: kernels/scalars.comp line by line ---- */

struct pair {
    int32_t x, y;
    uint16_t half_value, unused;
    float value;
};

struct scalars_push {
    uint32_t sizes[3];
    float factors[3];
};

static float choose(int kind, float x)
{
    if (kind == -1)
        return x * 2.0f;
    if (kind == 0 || kind == 1)
        return tanhf(x + 1.0f);
    if (kind == 2)
        return tanhf(x);
    return (x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f) * sqrtf(fabsf(x));
}

static float integers(int a, uint32_t b)
{
    int s = a / 3 + modulo(a, 5) - (a >> 1) + (int)((uint32_t)a << 2);
    uint32_t u = ((b / 7u) ^ (b % 11u)) | ((b & 0xf0u) + (~b >> 28));
    s += CLAMP(a, -4, 9) + MIN(a, 2) - MAX(a, -7) + abs(a);
    u += MIN(b, 77u) + MAX(b, 5u) + CLAMP(b, 3u, 9u);
    bool odd = (a & 1) != 0 && (b > 3u || a <= 0) != (a >= 7);
    return (float)s + (float)u + (odd ? 0.25f : 0.5f) + (float)(int)((float)a * 1.5f) + (float)b;
}

static float some_floats(float x, float y)
{
    float v[3] = {(x * 0.75f + y * 0.25f) * y, y * y, (0.75f + y * 0.25f) * y};
    float w[4] = {v[2], v[0], CLAMP(v[1], -1.0f, 2.0f), CLAMP(v[2], -1.0f, 2.0f)};
    float s = w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + w[3] * w[3];
    bool all = w[0] >= -2 && w[1] >= -2 && w[2] >= -2 && w[3] >= -2;
    s += expf(-fabsf(x)) + floorf(y) + (x - floorf(x)) + MIN(x, y) * MAX(x, -y);
    s += 1.0f;
    s += v[0] < 0 || v[1] < 0 || v[2] < 0 ? 4.0f : 8.0f;
    s += all ? 16.0f : 32.0f;
    s += (x - 0.75f * floorf(x / 0.75f)) + (y < 0 ? 0.0f : 1.0f) + 1.0f / sqrtf(1.0f + y * y);
    s += logf(1.0f + fabsf(y)) + powf(2.0f, x);
    float half = half_to_float(half_from_float(x)) * half_to_float(half_from_float(3.1f));
    return s + half_to_float(half_from_float(half));
}

static void scalars(struct pair a, uint32_t i, const struct scalars_push *p, uint32_t count,
                    bool negate, float *out)
{
    float table[4] = {1, 2, 4, 8}, last = 0, sum = 0, global_sum = 0.5f;
    for (uint32_t k = 0; k < 2 * count && k <= p->sizes[1]; k++) {
        if (k == 2)
            continue;
        a.y += (int)k;
        a.x += (int)i;
        a.value = fmaf(p->factors[k % 3], a.value, 1.0f);
        last = a.x & 1 ? (float)i : (float)k;
        global_sum += last;
        table[k & 3] += last;
    }
    for (int k = 0; k < 4; k++)
        sum += choose(k - 1, table[k]) * (negate ? -1.0f : 1.0f);
    union {
        float f;
        uint32_t u;
    } cut = {a.value};
    cut.u &= 0xffff0000u;
    float half = half_to_float(a.half_value);
    out[0] = sum;
    out[1] = (float)a.x + half;
    out[2] = a.value;
    out[3] = last + global_sum;
    out[4] = integers(a.y - 7, i * 13 + 2);
    out[5] = some_floats(a.value * 0.125f, half - 1.0f);
    out[6] = cut.f;
}

static void test_scalars(uint32_t count, bool negate)
{
    enum { PAIRS = 5, GROUPS = 12, NUMBERS = 8 };
    struct pair pairs[PAIRS];
    struct scalars_push p = {{7, 6, 5}, {0.5f, -1.25f, 0.875f}};
    float result[GROUPS * NUMBERS], expected[NUMBERS];
    struct interpreter *m = CREATE(spv_kernel_scalars, 32, count, negate);
    for (int i = 0; i < PAIRS; i++)
        pairs[i] = (struct pair){i - 2, 3 * i - 9, half_from_float(noise()), 0, 3.0f * noise()};
    struct interpreter_dispatch d = {
        .buffers = {bind(pairs, sizeof pairs), bind(result, sizeof result)},
        .push = &p,
        .push_bytes = sizeof p,
        .groups = {4, 3, 1}};
    interpreter_run(m, &d);
    for (uint32_t i = 0; i < GROUPS * NUMBERS; i++) {
        if (i % NUMBERS == 0)
            scalars(pairs[i / NUMBERS % PAIRS], i / NUMBERS, &p, count, negate, expected);
        expected[NUMBERS - 1] = PAIRS;
        CHECK(fabsf(result[i] - expected[i % NUMBERS]) <= 1e-5f * (1 + fabsf(result[i])),
              "group %u, number %u: %g, not %g", i / NUMBERS, i % NUMBERS, (double)result[i],
              (double)expected[i % NUMBERS]);
    }
    interpreter_destroy(m);
}

int main(void)
{
    test_patch(5, 11, 20, 40, 4, 8, 64, 1);
    test_patch(9, 7, 64, 96, 8, 4, 32, 1);
    test_patch(1, 1, 3, 5, 4, 4, 32, 0);
    test_patch(17, 33, 32, 70, 8, 8, 64, 0);
    test_tensor(0, ROWS * COLUMNS, (struct tensor_push){0, 0, 0, 0});
    test_tensor(1, 11 * 26, (struct tensor_push){11, 23, -2, 5});
    test_tensor(1, 11 * 26, (struct tensor_push){11, 23, 4, -3});
    test_tensor(2, 7 * 8, (struct tensor_push){13, 29, -3, 2});
    test_tensor(3, ROWS * COLUMNS, (struct tensor_push){0, 0, 0, 0});
    for (uint32_t mode = 4; mode <= 6; mode++) {
        test_tensor(mode, 5 * 7, (struct tensor_push){5, 7, -9, -17});
        test_tensor(mode, 40 * 33, (struct tensor_push){40, 33, 30, 1});
    }
    test_tensor(8, ROWS * COLUMNS, (struct tensor_push){0, 0, 0, 0});
    test_tensor(9, ROWS * COLUMNS, (struct tensor_push){0, 0, 0, 0});
    test_store((struct tensor_push){10, 27, -3, 2});
    test_store((struct tensor_push){19, 37, 4, -5});
    test_scalars(5, false);
    test_scalars(2, true);
    return check_result();
}
