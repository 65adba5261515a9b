/* Expected values: tests/golden/scheduler_noise.py (PyTorch 2.13, AVX2). */
#include "scheduler/noise.h"
#include "tests/check.h"

#include <glib.h>

/* {seed, sizes of successive draws, bits of the first two values, SHA-256 of all values}. */
struct torch_case {
    uint64_t seed;
    size_t sizes[3];
    uint32_t first[2];
    const char *sha256;
};
static const struct torch_case TORCH[] = {
    {UINT64_C(0),
     {3, 4, 9},
     {0x3fc53f5c, 0xbe963c50},
     "fc79a96f56428d9c6756b058cdc6f63f18371f504f53e3b20b54aeff31882135"},
    {UINT64_C(0),
     {16},
     {0xbf901b85, 0xbf93808a},
     "7648137a31024642604465428f1598d06f595259ac993612918498d7cde9b70c"},
    {UINT64_C(0),
     {17, 15, 31},
     {0xbf901b85, 0xbfd91446},
     "a6355eadca8d9186f20a00b4e4da87c39bc8ffa92fa342a6e3686ab78367c051"},
    {UINT64_C(0),
     {16384},
     {0xbf901b85, 0xbf93808a},
     "24efac55b39e95b2d74d8fb5b3a8e8a8e808bd04129f260c4cdbb225bb952a4d"},
    {UINT64_C(42),
     {3, 4, 9},
     {0x3eac62ae, 0x3e03e69d},
     "09dca4b1b10bab8bb46912f4a7207d6f871a975737711a185de36149c6e76942"},
    {UINT64_C(42),
     {16},
     {0x3ff6a529, 0x3fbe5f53},
     "fc34b516db1204ac5504e9a714274f1068e6342fdddd0b2cde67221932271d34"},
    {UINT64_C(42),
     {17, 15, 31},
     {0x3ff6a529, 0xbe236d85},
     "79db4ca5518632d29c34fe91df744dc02d4a1337f1ac76062c45d80955fba12a"},
    {UINT64_C(42),
     {16384},
     {0x3ff6a529, 0x3fbe5f53},
     "e97f3de04c7c6ba86354db4402b91d4402ede9c72aabed29a96dd7d635a798ba"},
    {UINT64_C(4294967301),
     {3, 4, 9},
     {0xbef93b54, 0xbf1a940d},
     "4b03292d3ff112d2299d555334cfad95120c12445fa940d5838d6ba1b2baacc4"},
    {UINT64_C(4294967301),
     {16},
     {0x3febd177, 0x3f04d5ca},
     "f7a0c6f8193b0c2e81ca38d76d75bfcd3efd9e504e49779b994efb555252d0b0"},
    {UINT64_C(4294967301),
     {17, 15, 31},
     {0x3febd177, 0x3f9c6b53},
     "ab96f7bdcd6766a655dffaa3879688baa9a30f0ef003095b0e9cd5e091d32f8b"},
    {UINT64_C(4294967301),
     {16384},
     {0x3febd177, 0x3f04d5ca},
     "5703ceb9b4c010a8da470be3862360c2edaa719ca5380e6521b4058a1902174b"},
    {UINT64_C(9223372036854775807),
     {3, 4, 9},
     {0x3f9c2132, 0xbec9349b},
     "67480821c5586c17c6a1a2c78a7788f1caea95732e545a82fe8377bde33b7adc"},
    {UINT64_C(9223372036854775807),
     {16},
     {0xc02a83da, 0xbf8ba77b},
     "5082bfb7c3d4a4633d3a8d2a5a09405c112d498a25764aaee452d6d7b4ca8695"},
    {UINT64_C(9223372036854775807),
     {17, 15, 31},
     {0xc02a83da, 0xbf6067e3},
     "0aa906dba8bab21a298ccbb064442156e7fc13ed50898454c08501e5459b0081"},
    {UINT64_C(9223372036854775807),
     {16384},
     {0xc02a83da, 0xbf8ba77b},
     "9cd9e22a6fa43e2b77ccdaca07858b02451d0474e0b37ed5ea74c80ec1ac44bc"},
};

static const float SLERP[24] = {
    -1.3858856f,   -0.239689827f, -1.23924875f,  -1.465608f,    -0.938074231f, 0.00118923187f,
    -1.00747132f,  -1.92253494f,  0.0140271187f, 1.02609646f,   1.26462984f,   -0.133035615f,
    0.0592470206f, -1.27484536f,  -0.349969238f, -0.189341068f, -0.847712636f, -0.207932204f,
    0.145039126f,  1.52124798f,   -0.310172707f, 0.90477854f,   -0.976232111f, 2.41167164f};
static const float NEAR[24] = {
    -1.52632451f, -0.749590158f, -0.654893875f, -1.61026156f,  -0.101020321f, -0.608371615f,
    -0.9805125f,  -1.6091795f,   0.438573897f,  1.17167234f,   1.7666409f,    -0.0954262093f,
    0.139279068f, -1.57869363f,  -0.320785344f, -0.299280465f, -0.798957467f, 0.334860802f,
    0.275210857f, 1.71679187f,   -0.056619972f, 0.911206126f,  -1.39224839f,  2.68951678f};
static const float ENLARGED[22] = {
    -1.06739473f,  -0.71724534f, 1.0897193f,    -1.57468367f, 1.51587951f,   -1.52608526f,
    0.0447275378f, 1.91123903f,  -0.231030896f, 0.16024822f,  -0.33539471f,  0.345928162f,
    1.31802821f,   0.369637012f, -1.57053661f,  -1.41533816f, -0.694532633f, -0.353212357f,
    -2.22004271f,  0.968322575f, 0.375456423f,  -0.169974461f};
static const float CROPPED[8] = {0.16024822f, -0.33539471f, -0.231030896f, 0.345928162f,
                                 1.31802821f, 0.369637012f, 0.384111553f,  0.297038257f};

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void draw_all(struct noise *noise, const size_t sizes[3], float *values)
{
    for (int i = 0; i < 3 && sizes[i]; i++) {
        noise_draw(noise, values, sizes[i]);
        values += sizes[i];
    }
}

static void test_torch(void)
{
    static float values[4 * 64 * 64];
    for (size_t i = 0; i < G_N_ELEMENTS(TORCH); i++) {
        const struct torch_case *c = &TORCH[i];
        size_t n = c->sizes[0] + c->sizes[1] + c->sizes[2];
        struct noise noise;
        noise_init(&noise, NOISE_CPU, c->seed);
        draw_all(&noise, c->sizes, values);
        for (int k = 0; k < 2; k++)
            CHECK(bits_of(values[k]) == c->first[k], "case %zu value %d is %.9g", i, k, values[k]);
        g_autofree char *sha = g_compute_checksum_for_data(
            G_CHECKSUM_SHA256, (const guchar *)values, n * sizeof *values);
        CHECK_STR(sha, c->sha256);
    }
}

/*
 * torch without AVX2, seed 42. libm's logf, sinf and cosf may differ by an ulp between C libraries:
 * 4 ulp of a value of up to 4.
 */
static void test_torch_libm(void)
{
    static const float expected[16] = {
        1.9269150495529175f,  1.4872841835021973f,  0.9007171988487244f,    -2.1055214405059814f,
        0.6784184575080872f,  -1.2345449924468994f, -0.043067481368780136f, -1.6046669483184814f,
        -0.7521361708641052f, 1.6487228870391846f,  -0.3924786448478699f,   -1.403606653213501f,
        -0.7278812527656555f, -0.5594298839569092f, -0.7688389420509338f,   0.7624453902244568f};
    float values[16];
    struct noise noise;
    noise_init(&noise, NOISE_CPU_LIBM, 42);
    noise_draw(&noise, values, 16);
    for (int i = 0; i < 16; i++)
        CHECK(fabsf(values[i] - expected[i]) <= 1e-6f, "value %d is %.9g", i, values[i]);
}

/*
 * The vector in the head of A1111's rng_philox.py. Its text was made with an unrounded 2 pi / 2^32,
 * which the module itself rounds to a float: up to 6e-8 of an angle of up to 2 pi.
 */
static void test_philox(void)
{
    static const double head[12] = {-0.92466259, -0.42534415, -2.6438457,  0.14518388,
                                    -0.12086647, -0.57972564, -0.62285122, -0.32838709,
                                    -1.07454231, -0.36314407, -1.67105067, 2.26550497};
    static const uint32_t bits[6] = {0x3f453054, 0x3f5fe2f1, 0x3fa3c078,
                                     0x401c6adb, 0x3f9560a1, 0x3fda8d7d};
    static float values[3 * 4096];
    struct noise noise;
    noise_init(&noise, NOISE_GPU, 0);
    noise_draw(&noise, values, 12);
    for (int i = 0; i < 12; i++)
        CHECK(fabs(values[i] - head[i]) <= 5e-7, "value %d is %.9g", i, values[i]);
    noise_init(&noise, NOISE_GPU, (UINT64_C(1) << 40) + 17);
    noise_draw(&noise, values, 3);
    noise_draw(&noise, values + 3, 3);
    for (int i = 0; i < 6; i++)
        CHECK(bits_of(values[i]) == bits[i], "value %d is %.9g", i, values[i]);
}

/*
 * A1111 computes in floats, here the angle is in doubles: 1e-6 of values of about 1, and acos near
 * 1 (the near case takes the other branch) is not involved.
 */
static void check_near(const char *what, const float *got, const float *expected, int n)
{
    for (int i = 0; i < n; i++)
        CHECK(fabsf(got[i] - expected[i]) <= 2e-6f, "%s: value %d is %.9g, not %.9g", what, i,
              got[i], expected[i]);
}

static void test_slerp(void)
{
    float low[24], high[24], into[24];
    struct noise noise;
    noise_init(&noise, NOISE_CPU, 1);
    noise_draw(&noise, low, 24);
    noise_init(&noise, NOISE_CPU, 2);
    noise_draw(&noise, high, 24);
    noise_slerp(into, low, high, 0.3, 2, 4, 3);
    check_near("slerp", into, SLERP, 24);
    for (int i = 0; i < 24; i++)
        high[i] = low[i] + 1e-3f * high[i];
    noise_slerp(into, low, high, 0.3, 2, 4, 3);
    check_near("near", into, NEAR, 24);

    float first[24], same[24];
    struct noise_start start = {.channels = 2, .height = 4, .width = 3, .seed = 1};
    noise_first(&noise, NOISE_CPU, &start, same);
    CHECK(memcmp(same, low, sizeof low) == 0, "plain first noise is not the first draw");
    start.variation = 0.3;
    start.variation_seed = 2;
    noise_first(&noise, NOISE_CPU, &start, first);
    check_near("variation", first, SLERP, 24);
    /* The steps' noise goes on from the picture's own generator. */
    struct noise plain;
    noise_init(&plain, NOISE_CPU, 1);
    noise_draw(&plain, same, 24);
    noise_draw(&plain, same, 24);
    noise_draw(&noise, first, 24);
    CHECK(memcmp(same, first, sizeof same) == 0, "a variation moved the later draws");
}

static void test_resize(void)
{
    struct noise noise;
    float values[22];
    struct noise_start start = {
        .channels = 1, .height = 4, .width = 5, .seed = 9, .from_height = 2, .from_width = 3};
    noise_first(&noise, NOISE_CPU, &start, values);
    float later[20];
    noise_draw(&noise, later, 20);
    memcpy(values + 20, later, 2 * sizeof *values);
    CHECK(memcmp(values, ENLARGED, sizeof ENLARGED) == 0, "enlarged noise differs");
    start = (struct noise_start){
        .channels = 1, .height = 2, .width = 3, .seed = 9, .from_height = 5, .from_width = 4};
    noise_first(&noise, NOISE_CPU, &start, values);
    noise_draw(&noise, later, 6);
    memcpy(values + 6, later, 2 * sizeof *values);
    CHECK(memcmp(values, CROPPED, sizeof CROPPED) == 0, "cropped noise differs");

    start =
        (struct noise_start){.channels = 1, .height = 2, .width = 3, .seed = 9, .eta_delta = 31337};
    noise_first(&noise, NOISE_CPU, &start, values);
    noise_draw(&noise, later, 6);
    noise_init(&noise, NOISE_CPU, 9 + 31337);
    noise_draw(&noise, values, 6);
    CHECK(memcmp(values, later, 6 * sizeof *values) == 0, "ENSD does not reseed");
}

int main(void)
{
    test_torch();
    test_torch_libm();
    test_philox();
    test_slerp();
    test_resize();
    return check_result();
}
