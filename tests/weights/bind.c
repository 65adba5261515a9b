/* Sets of parameters: reading with conversion, NaN reports, binding and its messages, unused names.
 */
#include "tests/check.h"
#include "tests/weights/files.h"
#include "weights/convert.h"
#include "weights/weights_private.h"

/* A set over a file in memory, as weights_open() makes one. */
static struct weights *set_of(const char *header, const void *data, size_t size, int *fd)
{
    g_autoptr(GByteArray) b = file_bytes(header, -1, 0);
    g_autoptr(GError) error = NULL;
    g_byte_array_append(b, data, (guint)size);
    int f = file_memory(b->data, b->len);
    if (fd)
        *fd = f;
    struct safetensors *st = safetensors_open_fd(f, "m.safetensors", &error);
    if (!st)
        fprintf(stderr, "%s\n", error->message), abort();
    struct weights *w = weights_new("m.safetensors");
    weights_take_file(w, st);
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        weights_add(w, t->name, st, t, 0, 0, false);
    }
    return w; /* not sealed: a test may add views */
}

static const char matrix_header[] =
    "{\"m\":{\"dtype\":\"F32\",\"shape\":[6,4],\"data_offsets\":[0,96]}}";

static void test_views(void)
{
    float data[24], got[24];
    for (int i = 0; i < 24; i++)
        data[i] = (float)i;
    struct weights *w = set_of(matrix_header, data, sizeof data, NULL);
    struct safetensors *st = g_ptr_array_index(w->files, 0);
    const struct st_tensor *t = safetensors_tensor(st, 0);
    weights_add(w, "q", st, t, 0, 2, false);
    weights_add(w, "v", st, t, 4, 2, false);
    weights_add(w, "t", st, t, 0, 0, true);
    weights_add(w, "m", st, t, 2, 2, false); /* a second of the name: the first stays */
    weights_seal(w);
    const struct weight *m = weights_find(w, "m"), *v = weights_find(w, "v"),
                        *x = weights_find(w, "t");
    CHECK(weights_count(w) == 4 && m->rank == 2 && m->dims[0] == 6 && m->dims[1] == 4);
    CHECK(m->read(m, DTYPE_F32, 5, 7, got, NULL) && got[0] == 5 && got[6] == 11);
    CHECK(v->dims[0] == 2 && v->read(v, DTYPE_F32, 1, 7, got, NULL) && got[0] == 17 &&
          got[6] == 23);
    CHECK(x->dims[0] == 4 && x->dims[1] == 6);
    for (int i = 0; i < 24; i++) {
        uint16_t h;
        CHECK(x->read(x, DTYPE_BF16, (size_t)i, 1, &h, NULL));
        CHECK(convert_bf16_to_f32(h) == (float)(i % 6 * 4 + i / 6));
    }
    CHECK(x->read(x, DTYPE_F32, 3, 10, got, NULL) && got[0] == 12 && got[9] == 2);
    g_autoptr(GPtrArray) unused = weights_unused(w);
    CHECK(unused->len == 1 && !strcmp(unused->pdata[0], "q"));
    CHECK(weights_parameters(w) == 24 + 8 + 8 + 24 && weights_main_dtype(w) == DTYPE_F32);
    weights_destroy(w);
}

/* More than one staging buffer, in each target format and in odd pieces. */
static void test_long_reads(void)
{
    enum { N = 300001 };
    g_autofree uint16_t *data = g_new(uint16_t, N), *half = g_new(uint16_t, N);
    g_autofree float *got = g_new(float, N);
    for (int i = 0; i < N; i++)
        data[i] = (uint16_t)(i * 7 % 0x7c00);
    g_autofree char *header = g_strdup_printf(
        "{\"m\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", N, N * 2);
    struct weights *w = set_of(header, data, N * 2, NULL);
    weights_seal(w);
    const struct weight *m = weights_find(w, "m");
    static const size_t pieces[] = {N, 131072, 4099};
    for (size_t p = 0; p < G_N_ELEMENTS(pieces); p++) {
        int wrong = 0;
        memset(got, 0xff, N * sizeof *got);
        for (size_t at = 0; at < N; at += pieces[p]) {
            size_t n = MIN(pieces[p], N - at);
            CHECK(m->read(m, DTYPE_F32, at, n, got + at, NULL));
            CHECK(m->read(m, DTYPE_F16, at, n, half + at, NULL));
        }
        for (int i = 0; i < N; i++)
            wrong += got[i] != convert_f16_to_f32(data[i]) || half[i] != data[i];
        CHECK(!wrong, "%d", wrong);
    }
    weights_destroy(w);
}

static const char three_header[] =
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},"
    "\"c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}";

static void check_invalid(const float data[6], const char *sentence) /* ST15 */
{
    struct weights *w = set_of(three_header, data, 24, NULL);
    g_autoptr(GError) error = NULL;
    float got[2];
    weights_seal(w);
    const struct weight *a = weights_find(w, "a");
    CHECK(weights_find(w, "b")); /* c is not in use: it does not count */
    CHECK(!a->read(a, DTYPE_F32, 0, 2, got, &error));
    CHECK_STR(error ? error->message : NULL, sentence);
    weights_destroy(w);
}

static void test_invalid_numbers(void)
{
    check_invalid((float[]){0, NAN, 1, 1, NAN, 1},
                  "“m.safetensors” contains invalid numbers in 1 part (a); images would be black.");
    check_invalid(
        (float[]){0, NAN, -INFINITY, 1, NAN, 1},
        "“m.safetensors” contains invalid numbers in 2 parts (one is a); images would be black.");
    struct weights *w = set_of(three_header, (float[]){1e6f, 0, 0, 0, 0, 0}, 24, NULL);
    g_autoptr(GError) error = NULL;
    float got[2];
    weights_seal(w);
    const struct weight *a = weights_find(w, "a");
    CHECK(a->read(a, DTYPE_BF16, 0, 2, got, NULL) && a->read(a, DTYPE_F32, 0, 2, got, NULL));
    CHECK(!a->read(a, DTYPE_F16, 0, 2, got, &error));
    CHECK_STR(error ? error->message : NULL,
              "“m.safetensors”: “a” holds numbers that are too large for "
              "the format f16. Try another precision.");
    weights_destroy(w);
}

static void test_cut_while_loading(void) /* ST12, through a set */
{
    int fd;
    float data[6] = {0}, got[2];
    struct weights *w = set_of(three_header, data, sizeof data, &fd);
    g_autoptr(GError) error = NULL;
    weights_seal(w);
    const struct weight *c = weights_find(w, "c");
    CHECK(ftruncate(fd, lseek(fd, 0, SEEK_END) - 4) == 0);
    CHECK(!c->read(c, DTYPE_F16, 0, 2, got, &error));
    CHECK_STR(error ? error->message : NULL, "“m.safetensors” changed while it was being read.");
    weights_destroy(w);
}

static const char model_header[] =
    "{\"conv_in.weight\":{\"dtype\":\"F32\",\"shape\":[2,9,1,1],\"data_offsets\":[0,72]},"
    "\"mid.0.to_q.weight\":{\"dtype\":\"F32\",\"shape\":[2,2,1,1],\"data_offsets\":[72,88]},"
    "\"mid.0.to_k.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[88,104]},"
    "\"mid.0.scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[104,108]},"
    "\"mid.1.x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[108,112]},"
    "\"mid.1.y\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[112,116]}}";

static void test_bind(void)
{
    static const float data[29];
    struct weights *w = set_of(model_header, data, sizeof data, NULL);
    struct bind b;
    g_autoptr(GError) error = NULL;
    weights_seal(w);
    bind_init(&b, w, "unet");
    CHECK(bind_weight(&b, "conv_in.weight", 4, 2, 9, 1, 1));
    bind_push(&b, "mid.%d.", 0);
    const struct weight *q = bind_weight(&b, "to_q.weight", 2, 2, 2);
    CHECK(q && q->rank == 2);
    const struct weight *k = bind_weight(&b, "to_k.weight", 4, 2, 2, 1, 1);
    CHECK(k && k->rank == 4 && k->dims[2] == 1 && k->dims[3] == 1);
    bind_push(&b, "x.");
    CHECK(!bind_optional(&b, "absent", 1, 3));
    bind_pop(&b);
    CHECK(bind_weight(&b, "scale", 1, 1));
    bind_pop(&b);
    CHECK(bind_finish(&b, &error) && !error);
    g_autoptr(GPtrArray) unused = weights_unused(w);
    CHECK(unused->len == 2 && !strcmp(unused->pdata[0], "mid.1.x"));

    bind_init(&b, w, "unet");
    CHECK(!bind_weight(&b, "conv_in.weight", 4, 2, 4, 1, 1));
    CHECK(!bind_weight(&b, "time.weight", 1, 3));
    CHECK(!bind_weight(&b, "other.weight", 1, 3));
    CHECK(!bind_optional(&b, "mid.0.to_q.weight", 2, 4, 2));
    CHECK(!bind_weight(&b, "mid.1.x", 1, 4));
    CHECK(!bind_weight(&b, "mid.1.y", 1, 1));
    CHECK(!bind_finish(&b, &error));
    const char expected[] =
        "Can't open “m.safetensors”: unet: 2 of 6 parts are missing (first: “time.weight”); "
        "“conv_in.weight” is [2,9,1,1], expected [2,4,1,1] (an inpainting checkpoint?); "
        "“mid.0.to_q.weight” is [2,2], expected [4,2]; “mid.1.x” uses the number format "
        "U8, which this version can't read; “mid.1.y” has 5 dimensions.";
    CHECK_STR(error ? error->message : NULL, expected);
    CHECK(g_error_matches(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH));

    bind_init(&b, w, "vae"); /* the next component's problems join the message */
    for (int i = 0; i < 1129; i++)
        CHECK(!bind_weight(&b, "none", 1, 3));
    CHECK(bind_weight(&b, "mid.0.scale", 0));
    CHECK(!bind_finish(&b, &error));
    g_autofree char *both =
        g_strconcat(expected, " vae: 1,129 of 1,130 parts are missing (first: “none”).", NULL);
    CHECK_STR(error ? error->message : NULL, both);

    g_clear_error(&error);
    bind_init(&b, w, "vae");
    for (int i = 0; i < 6; i++)
        CHECK(!bind_weight(&b, "mid.0.scale", 2, 3, -1));
    CHECK(!bind_finish(&b, &error));
    CHECK(error && g_str_has_suffix(error->message,
                                    "“mid.0.scale” is [], expected [3,any]; and 2 more differ."),
          "%s", error ? error->message : "");
    weights_destroy(w);
}

int main(void)
{
    test_views();
    test_long_reads();
    test_invalid_numbers();
    test_cut_while_loading();
    test_bind();
    return check_result();
}
