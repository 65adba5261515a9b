/* PNG and JPEG files: Pillow's read back, ours read by the same rules, damaged ones refused. */
#include "tests/check.h"
#include "tests/engine/chunks.h"

#include <unistd.h>

#include "engine/engine.h"

static char *golden(const char *name, const char *ending)
{
    return g_strdup_printf("tests/golden/png/%s%s", name, ending);
}

static void test_golden(const char *name)
{
    char *path = golden(name, ".png"), *rgb_path = golden(name, ".rgb");
    char *text_path = golden(name, ".txt"), *rgb = NULL, *text = NULL;
    struct picture picture = {0};
    GHashTable *texts = NULL;
    GError *error = NULL;
    gsize size = 0;

    g_file_get_contents(rgb_path, &rgb, &size, NULL);
    g_file_get_contents(text_path, &text, NULL, NULL);
    CHECK(picture_read_png(path, &picture, &texts, &error), "%s: %s", name,
          error ? error->message : "");
    CHECK(picture.width == 7 && picture.height == 5, "%s: %dx%d", name, picture.width,
          picture.height);
    CHECK(picture.rgb && size == 105 && memcmp(g_bytes_get_data(picture.rgb, NULL), rgb, size) == 0,
          "%s: pixels differ", name);
    if (text)
        CHECK_STR(texts ? g_hash_table_lookup(texts, "parameters") : NULL, text);
    if (texts)
        g_hash_table_unref(texts);
    picture_clear(&picture);
    g_clear_error(&error);
    g_free(path);
    g_free(rgb_path);
    g_free(text_path);
    g_free(rgb);
    g_free(text);
}

static struct picture noise_picture(int width, int height)
{
    size_t n = (size_t)width * height * 3;
    guint8 *rgb = g_malloc(n);
    guint32 state = 1;

    for (size_t i = 0; i < n; i++)
        rgb[i] = (guint8)((state = state * 1664525u + 1013904223u) >> 24);
    return (struct picture){width, height, g_bytes_new_take(rgb, n)};
}

/* The chunk type that holds the settings, after Pillow's rule. */
static void test_chunk(const char *text, const char *chunk)
{
    struct picture picture = noise_picture(3, 2), back = {0};
    GBytes *png = picture_encode_png(&picture, text, NULL);
    GHashTable *texts = NULL;
    gsize size;
    const char *data = g_bytes_get_data(png, &size);
    char *expected = g_strdup_printf("%sparameters", chunk);

    CHECK(memmem(data, size, expected, strlen(expected)) != NULL, "no %s in the file", chunk);
    CHECK(picture_decode_png(png, "x", &back, &texts, NULL), "not read back");
    CHECK_STR(texts ? g_hash_table_lookup(texts, "parameters") : NULL, text);
    CHECK(back.rgb && g_bytes_equal(back.rgb, picture.rgb), "pixels differ");
    g_free(expected);
    g_hash_table_unref(texts);
    g_bytes_unref(png);
    picture_clear(&picture);
    picture_clear(&back);
}

static bool refused(const guint8 *data, gsize size, GHashTable **texts)
{
    GBytes *bytes = g_bytes_new(data, size);
    struct picture picture = {0};
    GError *error = NULL;
    bool ok = picture_decode_png(bytes, "x.png", &picture, texts, &error);

    CHECK(ok == !error && (!error || strstr(error->message, "x.png")), "a sentence");
    g_clear_error(&error);
    picture_clear(&picture);
    g_bytes_unref(bytes);
    return !ok;
}

/* Cut anywhere: refused. Any bit flipped: refused, or a picture whose CRCs agree. */
static void test_damaged(void)
{
    struct picture picture = noise_picture(5, 4);
    GBytes *png = picture_encode_png(&picture, NULL, NULL);
    gsize size;
    const guint8 *data = g_bytes_get_data(png, &size);
    guint8 *copy = g_memdup2(data, size);
    gsize accepted = 0;

    for (gsize cut = 0; cut < size - 12; cut++) /* the last 12 bytes are IEND */
        CHECK(refused(data, cut, NULL), "cut at %zu of %zu", cut, size);
    for (gsize bit = 0; bit < size * 8; bit++) {
        copy[bit / 8] ^= (guint8)(1 << bit % 8);
        accepted += !refused(copy, size, NULL);
        copy[bit / 8] ^= (guint8)(1 << bit % 8);
    }
    /* Only in IEND, which adds nothing to the picture, may libpng overlook one. */
    CHECK(accepted <= 12 * 8, "%zu of %zu flipped bits went unnoticed", accepted, size * 8);
    g_free(copy);
    g_bytes_unref(png);
    picture_clear(&picture);
}

static void test_large(guint32 width, guint32 height)
{
    GByteArray *png = chunks_start(width, height);
    GBytes *bytes;
    struct picture picture = {0};
    GError *error = NULL;
    char *expected = g_strdup_printf("“x.png” is too large (%u × %u). The limit is 16384 pixels a "
                                     "side and 64 million in all.",
                                     width, height);

    chunks_put(png, "IDAT", "x", 1);
    bytes = g_byte_array_free_to_bytes(png);
    CHECK(!picture_decode_png(bytes, "x.png", &picture, NULL, &error), "%ux%u", width, height);
    CHECK_STR(error ? error->message : NULL, expected);
    g_clear_error(&error);
    g_bytes_unref(bytes);
    g_free(expected);
}

/* A megabyte of text that unpacks to a gigabyte, and a thousand chunks of text. */
static void test_bombs(void)
{
    GByteArray *png = chunks_start(1, 1);
    uLongf packed_size = compressBound(64 << 20);
    guint8 *zeros = g_malloc0(64 << 20), *packed = g_malloc(packed_size + 12);
    GHashTable *texts = NULL;

    memset(zeros, 'a', 64 << 20);
    memcpy(packed, "parameters\0\0", 12);
    compress2(packed + 12, &packed_size, zeros, 64 << 20, 9);
    chunks_put(png, "zTXt", packed, (guint)packed_size + 12);
    for (int i = 0; i < 2000; i++)
        chunks_put(png, "tEXt", "key\0value", 9);
    chunks_finish(png);
    refused(png->data, png->len, &texts);
    CHECK(!texts || !g_hash_table_lookup(texts, "parameters"), "64 MB of text were unpacked");
    if (texts)
        g_hash_table_unref(texts);
    g_free(zeros);
    g_free(packed);
    g_byte_array_unref(png);
}

static void test_jpeg(void)
{
    struct picture picture = noise_picture(16, 8);
    const char *text = "Äpfel 林檎\nSteps: 1, Sampler: x, Seed: 2";
    GBytes *jpeg = picture_encode_jpeg(&picture, 90, text, NULL);
    char *path = g_strdup_printf("%s/figment-jpeg-%d.jpg", g_get_tmp_dir(), (int)getpid());
    char *comment, *expected = NULL, *mutant;
    GError *error = NULL;
    gsize size;
    const guint8 *data = g_bytes_get_data(jpeg, &size);
    GString *longer = g_string_new(NULL);

    g_file_set_contents(path, (const char *)data, (gssize)size, NULL);
    comment = picture_read_jpeg_comment(path, &error);
    CHECK_STR(comment, text);
    g_free(comment);
    /* No byte of the header may lead outside: run under AddressSanitizer by ./check. */
    mutant = g_memdup2(data, size);
    for (gsize i = 0; i < 160 && i < size; i++) {
        for (int k = 0; k < 3; k++) {
            mutant[i] = (char)(k == 0 ? 0xff : k == 1 ? 0 : (data[i] ^ 0x80));
            g_file_set_contents(path, mutant, (gssize)size, NULL);
            g_free(picture_read_jpeg_comment(path, NULL));
        }
        mutant[i] = (char)data[i];
    }
    remove(path);
    g_free(mutant);
    g_free(path);
    /* Pillow's. */
    g_file_get_contents("tests/golden/png/comment.txt", &expected, NULL, NULL);
    comment = picture_read_jpeg_comment("tests/golden/png/comment.jpg", &error);
    CHECK_STR(comment, expected);
    g_free(comment);
    g_free(expected);
    for (int i = 0; i < 40000; i++)
        g_string_append(longer, "ab");
    CHECK(!picture_encode_jpeg(&picture, 90, longer->str, &error), "80 KB in a JPEG's header");
    CHECK_STR(error ? error->message : NULL,
              "The prompt is too long to be kept in a JPEG file (64 KB); save as PNG.");
    g_clear_error(&error);
    g_string_free(longer, TRUE);
    g_bytes_unref(jpeg);
    picture_clear(&picture);
}

int main(void)
{
    static const char *const names[] = {"latin",    "wide",  "ascii",      "ztxt",
                                        "itxt-zip", "grey",  "grey-alpha", "palette",
                                        "one-bit",  "alpha", "deep"};
    struct picture picture = {0};
    GError *error = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        test_golden(names[i]);
    test_chunk("plain ASCII", "tEXt");
    test_chunk("Köln, über", "tEXt");
    test_chunk("林檎 🍎", "iTXt");
    test_damaged();
    test_large(30000, 30000);
    test_large(16384, 16384);
    test_large(0x7fffffff, 1);
    test_bombs();
    test_jpeg();
    CHECK(!picture_read_png("/dev/zero", &picture, NULL, &error), "a device");
    CHECK_STR(error ? error->message : NULL, "Can't open “zero”: it is not an ordinary file.");
    g_clear_error(&error);
    CHECK(!picture_read_png("README.md", &picture, NULL, &error), "no PNG");
    CHECK_STR(error ? error->message : NULL, "“README.md” is neither a PNG nor a JPEG picture.");
    g_clear_error(&error);
    return check_result();
}
