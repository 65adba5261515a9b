/* Number formats: exhaustive tables against PyTorch's (as digests) and against a plain reference in
 * doubles. */
#include "weights/convert.h"

#include "tests/check.h"
#include "tests/golden/weights_convert.h"

static void check_digest(const char *what, const void *data, size_t size, const char *golden)
{
    g_autofree char *got = g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, size);
    CHECK(!strcmp(got, golden), "%s: %s, expected %s", what, got, golden);
}

static float bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void zero_nans(float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(values[i]))
            values[i] = 0;
}

static void test_tables(void)
{
    enum { ALL = 65536 };
    g_autofree uint16_t *all = g_new(uint16_t, ALL);
    g_autofree float *out = g_new(float, ALL);
    uint8_t bytes[256];
    for (int i = 0; i < ALL; i++)
        all[i] = (uint16_t)i;
    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    CHECK(!convert_elements(DTYPE_F16, all, DTYPE_F32, out, ALL));
    for (int i = 0; i < ALL; i++) { /* the fast form and the plain one agree, NaNs being NaNs */
        float plain = convert_f16_to_f32((uint16_t)i);
        CHECK(!memcmp(&plain, &out[i], sizeof plain) || (isnan(plain) && isnan(out[i])), "%04x", i);
    }
    zero_nans(out, ALL);
    check_digest("f16", out, ALL * sizeof *out, GOLDEN_F16_TO_F32);
    CHECK(!convert_elements(DTYPE_BF16, all, DTYPE_F32, out, ALL));
    zero_nans(out, ALL);
    check_digest("bf16", out, ALL * sizeof *out, GOLDEN_BF16_TO_F32);
    CHECK(!convert_elements(DTYPE_F8_E4M3, bytes, DTYPE_F32, out, 256));
    zero_nans(out, 256);
    check_digest("e4m3", out, 256 * sizeof *out, GOLDEN_F8_E4M3_TO_F32);
    CHECK(!convert_elements(DTYPE_F8_E5M2, bytes, DTYPE_F32, out, 256));
    zero_nans(out, 256);
    check_digest("e5m2", out, 256 * sizeof *out, GOLDEN_F8_E5M2_TO_F32);
}

/* Fast and plain must agree with the golden for the same inputs. */
static void check_rounding(const char *what, enum dtype to, const float *in, size_t n,
                           const char *golden)
{
    g_autofree uint16_t *fast = g_new0(uint16_t, n), *plain = g_new0(uint16_t, n);
    convert_elements(DTYPE_F32, in, to, fast, n);
    for (size_t i = 0; i < n; i++) {
        plain[i] = to == DTYPE_F16 ? convert_f32_to_f16(in[i]) : convert_f32_to_bf16(in[i]);
        if (isnan(in[i]))
            plain[i] = fast[i] = 0;
    }
    check_digest(what, plain, n * sizeof *plain, golden);
    check_digest(what, fast, n * sizeof *fast, golden);
}

static void test_rounding(void)
{
    static const uint32_t edges16[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff};
    static const uint32_t edges_bf[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    g_autofree float *in = g_new(float, 65536 * 6);
    size_t n = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = convert_f16_to_f32((uint16_t)h);
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        for (int e = 0; e < 6 && isfinite(f); e++)
            in[n++] = bits(u + edges16[e]);
    }
    check_rounding("f32 to f16", DTYPE_F16, in, n, GOLDEN_F32_TO_F16);
    n = 0;
    for (uint32_t i = 0; i < 2048; i++) {
        float f = ((float)i + 0.5f) * 0x1p-24f;
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        for (uint32_t e = 0; e < 3; e++)
            in[n++] = bits(u + e - 1);
    }
    check_rounding("subnormal f16", DTYPE_F16, in, n, GOLDEN_F32_TO_F16_SUBNORMAL);
    n = 0;
    for (uint32_t h = 0; h < 65536; h++)
        for (int e = 0; e < 6; e++)
            in[n++] = bits((h << 16) + edges_bf[e]);
    check_rounding("f32 to bf16", DTYPE_BF16, in, n, GOLDEN_F32_TO_BF16);
}

/* Every pair of formats, in lengths around the blocks, equals going through the plain forms one by
 * one. */
static void test_pairs(void)
{
    static const enum dtype from[] = {DTYPE_F32, DTYPE_F16,     DTYPE_BF16,
                                      DTYPE_F64, DTYPE_F8_E4M3, DTYPE_F8_E5M2};
    static const enum dtype to[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    static const size_t lengths[] = {0, 1, 7, 8, 9, 1023, 1024, 1025, 3000};
    enum { N = 3000 };
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    g_autofree char *src = g_malloc(N * 8), *dst = g_malloc(N * 4 + 4);
    g_autofree float *value = g_new(float, N);
    for (size_t f = 0; f < G_N_ELEMENTS(from); f++) {
        for (int i = 0; i < N; i++) {
            double x = g_rand_double_range(rand, -4, 4);
            switch (from[f]) {
            case DTYPE_F32:
                value[i] = ((float *)(void *)src)[i] = (float)x;
                break;
            case DTYPE_F64:
                value[i] = (float)(((double *)(void *)src)[i] = x);
                break;
            case DTYPE_F16:
                value[i] =
                    convert_f16_to_f32(((uint16_t *)(void *)src)[i] = convert_f32_to_f16((float)x));
                break;
            case DTYPE_BF16:
                value[i] = convert_bf16_to_f32(((uint16_t *)(void *)src)[i] =
                                                   convert_f32_to_bf16((float)x));
                break;
            default:
                ((uint8_t *)src)[i] = (uint8_t)g_rand_int_range(rand, 0, 0x7b);
                value[i] = convert_f8_to_f32(from[f], ((uint8_t *)src)[i]);
            }
        }
        for (size_t t = 0; t < G_N_ELEMENTS(to); t++)
            for (size_t l = 0; l < G_N_ELEMENTS(lengths); l++) {
                size_t size = dtype_size(to[t]), n = lengths[l];
                memset(dst, 0xa5, N * 4 + 4);
                CHECK(convert_elements(from[f], src, to[t], dst, n));
                size_t same = 0;
                for (size_t i = 0; i < n; i++) {
                    uint16_t h = to[t] == DTYPE_F16 ? convert_f32_to_f16(value[i])
                                                    : convert_f32_to_bf16(value[i]);
                    same += !memcmp(dst + i * size,
                                    to[t] == DTYPE_F32 ? (void *)&value[i] : (void *)&h, size);
                }
                CHECK(same == n && (uint8_t)dst[n * size] == 0xa5, "%s to %s: %zu of %zu",
                      dtype_name(from[f]), dtype_name(to[t]), same, n);
            }
    }
}

/* One bad element anywhere is seen; a finite number that overflows f16 counts as one. */
static void test_finite(void)
{
    enum { N = 2050 };
    static const uint16_t bad16[] = {0x7c00, 0xfc00, 0x7c01, 0xffff};
    static const float bad32[] = {INFINITY, -INFINITY, NAN};
    g_autofree uint16_t *h = g_new0(uint16_t, N), *out = g_new(uint16_t, N);
    g_autofree float *f = g_new0(float, N);
    for (int at = 0; at < N; at += 41) {
        for (size_t i = 0; i < G_N_ELEMENTS(bad16); i++) {
            h[at] = bad16[i];
            CHECK(!convert_all_finite(DTYPE_F16, h, N) &&
                  convert_all_finite(DTYPE_F16, h, (size_t)at));
            CHECK(!convert_elements(DTYPE_F16, h, DTYPE_F16, out, N));
            CHECK(!convert_elements(DTYPE_F16, h, DTYPE_BF16, out, N));
            h[at] = 0x7bff;
            CHECK(convert_elements(DTYPE_F16, h, DTYPE_BF16, out, N));
            h[at] = 0;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(bad32); i++) {
            f[at] = bad32[i];
            CHECK(!convert_all_finite(DTYPE_F32, f, N));
            f[at] = 65519.99f;
            CHECK(convert_elements(DTYPE_F32, f, DTYPE_F16, out, N));
            f[at] = 65520;
            CHECK(convert_all_finite(DTYPE_F32, f, N) &&
                  !convert_elements(DTYPE_F32, f, DTYPE_F16, out, N));
            f[at] = 0;
        }
    }
    CHECK(!convert_all_finite(DTYPE_BF16, (uint16_t[]){0, 0x7f80}, 2));
    CHECK(!convert_all_finite(DTYPE_BF16, (uint16_t[]){0xffc0, 0}, 2));
    CHECK(convert_all_finite(DTYPE_BF16, (uint16_t[]){0x7c00, 0x7f7f}, 2));
    CHECK(!convert_all_finite(DTYPE_F64, (double[]){0, (double)INFINITY}, 2));
    CHECK(convert_all_finite(DTYPE_F64, (double[]){0, 1e308}, 2));
    CHECK(!convert_elements(DTYPE_F64, (double[]){0, 1e308}, DTYPE_F32, f, 2));
    CHECK(!convert_all_finite(DTYPE_F8_E4M3, (uint8_t[]){0xff}, 1));
    CHECK(convert_all_finite(DTYPE_F8_E4M3, (uint8_t[]){0x7e, 0x7c}, 2));
    CHECK(!convert_all_finite(DTYPE_F8_E5M2, (uint8_t[]){0x7c}, 1));
    CHECK(convert_all_finite(DTYPE_F8_E5M2, (uint8_t[]){0x7b}, 1));
}

int main(void)
{
    test_tables();
    test_rounding();
    test_pairs();
    test_finite();
    return check_result();
}
