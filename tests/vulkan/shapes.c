/*
 * Which cooperative matrices of a device the back end takes: those that its kernel is written for,
 * with f16 inputs, f32 sums, one subgroup. A layer makes the software device claim them
 * (tests/vulkan/shapes_layer.c); nothing is run on them. With "matrix2" which matrices of a whole
 * workgroup (tests/vulkan/matrix2_layer.c).
 */
#include "compute/vulkan/internal.h"
#include "tests/check.h"

/* The list of kernels in the sentence that refuses an unknown one. */
static char *kernels(const char *variable, const char *claimed, enum dtype precision)
{
    GError *error = NULL;
    g_setenv(variable, claimed, true);
    g_setenv("FIGMENT_VULKAN_PATH", "none", true);
    struct backend *b = vulkan_backend_create(NULL, precision, &error);
    CHECK(!b && error && strstr(error->message, "It can be: "), "%s",
          error ? error->message : "no error");
    char *list = error ? g_strdup(strstr(error->message, "It can be: ")) : NULL;
    g_clear_error(&error);
    if (b)
        backend_destroy(b);
    return list;
}

static void expect(const char *claimed, enum dtype precision, const char *expected)
{
    g_autofree char *list = kernels("FIGMENT_TEST_MATRICES", claimed, precision);
    CHECK_STR(list, expected);
}

static void expect_matrix2(const char *claimed, enum dtype precision, bool taken)
{
    g_autofree char *list = kernels("FIGMENT_TEST_MATRIX2", claimed, precision);
    CHECK(list && (strstr(list, "matrix2") != NULL) == taken, "%s: %s", claimed, list);
}

static int matrix2(void)
{
    static const char all[] = "32x32x16 128, 32x32x16 256";
    expect_matrix2(all, DTYPE_F16, true);
    expect_matrix2(all, DTYPE_F32, false);
    expect_matrix2("64x64x32 256", DTYPE_F16, true);
    /* What is stored in 16 bits is a matrix as well. */
    expect_matrix2("32x32x16 128 f32, 32x32x16 256 f32", DTYPE_F16, false);
    expect_matrix2("32x32x16 128 f32, 16x16x32 128", DTYPE_F16, true);
    /* Too deep, too large for the smaller tile, too many invocations */
    expect_matrix2("32x32x64 128", DTYPE_F16, false);
    expect_matrix2("128x64x16 256", DTYPE_F16, false);
    expect_matrix2("32x32x16 2048", DTYPE_F16, false);
    return check_result();
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "matrix2") == 0)
        return matrix2();
    static const char all[] =
        "16x16x16 hhff, 16x8x16 hhff, 8x16x16 hhff, 8x8x8 hhff, 16x16x8 hhff, 32x32x32 hhff";
    expect(all, DTYPE_F16,
           "It can be: register, shared, matrix:16x16x16, matrix:16x8x16, matrix:8x16x16, "
           "matrix:8x8x8, matrix:16x16x8, matrix:32x32x32.");
    /* Sums of 16 bits, other types, clamped sums, a whole workgroup's matrix */
    expect("16x16x16 hhhh, 16x16x16 ffff, 16x8x16 hfff, 16x8x16 hhhf, 8x16x16 hhff saturating, "
           "16x16x32 hhff workgroup",
           DTYPE_F16, "It can be: register, shared.");
    /* Sizes that do not divide the tile, or are too small for it */
    expect("64x64x16 hhff, 16x16x4 hhff, 4x16x16 hhff, 12x16x16 hhff, 16x24x16 hhff, 16x16x64 hhff",
           DTYPE_F16, "It can be: register, shared.");
    expect("16x16x16 hhhh, 16x8x16 hhff", DTYPE_F16,
           "It can be: register, shared, matrix:16x8x16.");
    /* The kernel stores 16-bit floats. */
    expect(all, DTYPE_F32, "It can be: register, shared.");
    /* No more than there is room for: a device that lists many */
    expect("8x8x8 hhff, 8x8x16 hhff, 8x8x32 hhff, 8x16x8 hhff, 8x16x16 hhff, 8x16x32 hhff, "
           "8x32x8 hhff, 8x32x16 hhff, 8x32x32 hhff",
           DTYPE_F16,
           "It can be: register, shared, matrix:8x8x8, matrix:8x8x16, matrix:8x8x32, "
           "matrix:8x16x8, matrix:8x16x16, matrix:8x16x32, matrix:8x32x8, matrix:8x32x16.");
    return check_result();
}
