/*
 * The self-test on the software device: it takes the right kernels and writes down what it found,
 * which is told later, unless it is of other kernels. A damaged pipeline cache changes no picture.
 */
#include "compute/vulkan/internal.h"
#include "tests/vulkan/net.h"

#include <glib/gstdio.h>

#define SIZE 8

static char *folder;

/* The file of the only device there is. */
static char *file_of(const char *suffix)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, suffix))
            return g_build_filename(folder, name, NULL);
    return NULL;
}

static struct backend *create(void)
{
    GError *error = NULL;
    struct backend *b = vulkan_backend_create(NULL, DTYPE_F32, &error);
    if (!b)
        g_error("%s", error->message);
    return b;
}

static char *told(void)
{
    g_autoptr(GArray) devices = vulkan_devices(NULL);
    CHECK(devices && devices->len == 1);
    return g_strdup(g_array_index(devices, struct vulkan_device_info, 0).kernels);
}

static float *picture(void)
{
    GError *error = NULL;
    struct backend *b = create();
    struct net net = net_record(SIZE);
    float *out = g_new0(float, net.out_count);
    CHECK(net_finish(&net, b, &error) && net_run(&net, out, &error), "%s",
          error ? error->message : "");
    net_destroy(&net);
    backend_destroy(b);
    return out;
}

static void test_choice(void)
{
    g_autofree char *before = told();
    CHECK_STR(before, "");
    g_setenv("FIGMENT_VULKAN_SELFTEST", "1", true);
    struct backend *b = create();
    g_unsetenv("FIGMENT_VULKAN_SELFTEST");
    g_autofree char *after = told();
    CHECK(g_str_has_prefix(after, "f32: registers, ") && g_str_has_suffix(after, " TFLOP/s"), "%s",
          after);
    CHECK(((struct vulkan_backend *)b)->path == PATH_REGISTER);
    backend_destroy(b);

    g_autofree char *file = file_of(".kernels"), *text = NULL;
    CHECK(file && g_file_get_contents(file, &text, NULL, NULL) && strstr(text, "version=5\n"), "%s",
          text ? text : "no file");
    if (!text)
        return;
    GString *other = g_string_new(text);
    g_string_replace(other, "version=5\n", "version=0\n", 0);
    CHECK(g_file_set_contents(file, other->str, -1, NULL));
    g_string_free(other, true);
    g_autofree char *stale = told();
    CHECK_STR(stale, "");
}

static void test_pipeline_cache(void)
{
    g_autofree float *expected = picture();
    g_autofree char *file = file_of(".pipelines"), *data = NULL;
    gsize bytes = 0;
    CHECK(file && g_file_get_contents(file, &data, &bytes, NULL) && bytes >= 64);
    if (bytes < 64)
        return;
    data[bytes / 2] ^= 1;
    CHECK(g_file_set_contents(file, data, (gssize)bytes, NULL));
    for (int i = 0; i < 2; i++) { /* a flipped bit, then half of a file */
        g_autofree float *got = picture();
        CHECK(memcmp(got, expected, sizeof *got * 2 * SIZE * SIZE * 3) == 0, "another picture");
        CHECK(g_file_set_contents(file, data, (gssize)bytes / 2, NULL));
    }
}

int main(void)
{
    g_autofree char *home = g_dir_make_tmp("figment-selftest-XXXXXX", NULL);
    g_setenv("XDG_CACHE_HOME", home, true);
    folder = g_build_filename(home, "figment", NULL);
    test_choice();
    test_pipeline_cache();
    static const char *const files[] = {".kernels", ".pipelines"};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *file = file_of(files[i]);
        if (file)
            g_remove(file);
    }
    g_rmdir(folder);
    g_rmdir(home);
    g_free(folder);
    return check_result();
}
