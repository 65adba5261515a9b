/* The rules of the safetensors reader, each with its sentence; files that are odd but valid; damage
 * of every kind. */
#include "weights/safetensors.h"

#include "tests/check.h"
#include "tests/weights/files.h"

#include <sys/socket.h>
#include <sys/un.h>

#define OPEN "Can't open “x.safetensors”: "
#define NOT_TEXT OPEN "its header is not valid text."
#define ZEROS OPEN "its header is padded with zero bytes, which the format forbids."
#define NUMBER OPEN "its header holds a number that is not a plain whole number."
#define TAMPERED "; the file may have been tampered with."
#define BLOCK OPEN "its description block is malformed."
#define NAME OPEN "it contains an invalid tensor name."
#define ENTRY(t) OPEN "the entry for “" t "” is incomplete."
#define SIZE(t) OPEN "the size of “" t "” does not match its shape."
#define PICKLE                                                                                     \
    OPEN "this is a PyTorch pickle file, which can run programs on your computer. Use a "          \
         ".safetensors version of the model."
#define PAGE                                                                                       \
    OPEN "this is a download page or Git-LFS placeholder, not the model. Download the real file"

static int bad_files, good_files;

static void expect_bytes(const char *what, const GByteArray *b, const char *sentence)
{
    g_autoptr(GError) error = NULL;
    struct safetensors *st = file_open_bytes(b, "x.safetensors", &error);
    if (sentence) {
        bad_files++;
        CHECK(!st, "%s was accepted", what);
        CHECK(error && !strcmp(error->message, sentence), "%s:\n got      %s\n expected %s", what,
              error ? error->message : "(none)", sentence);
    } else {
        good_files++;
        CHECK(st, "%s was refused: %s", what, error ? error->message : "");
    }
    safetensors_close(st);
}

static void expect_raw(const char *what, const void *bytes, size_t size, const char *sentence)
{
    g_autoptr(GByteArray) b = g_byte_array_new();
    g_byte_array_append(b, bytes, (guint)size);
    expect_bytes(what, b, sentence);
}

static void expect_len(const char *what, const char *header, size_t len, size_t data,
                       const char *sentence)
{
    g_autoptr(GByteArray) b = file_bytes(header, (gssize)len, data);
    expect_bytes(what, b, sentence);
}

static void expect(const char *header, size_t data, const char *sentence)
{
    expect_len(header, header, strlen(header), data, sentence);
}

static void test_kind_of_file(void) /* ST01 */
{
    char *dir = temp_folder();
    g_autofree char *fifo = g_build_filename(dir, "x.safetensors", NULL);
    g_autofree char *none = g_build_filename(dir, "none.safetensors", NULL);
    g_autofree char *link = g_build_filename(dir, "link.safetensors", NULL);
    g_autofree char *sock = g_build_filename(dir, "s.safetensors", NULL);
    const char *paths[] = {dir, fifo, "/dev/zero", sock};
    CHECK(mkfifo(fifo, 0600) == 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, sock, sizeof address.sun_path);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(s, (struct sockaddr *)&address, sizeof address) == 0);
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *base = g_path_get_basename(paths[i]);
        g_autofree char *sentence =
            g_strdup_printf("Can't open “%s”: it is not an ordinary file.", base);
        bad_files++;
        CHECK(!safetensors_open(paths[i], &error));
        CHECK_STR(error ? error->message : NULL, sentence);
    }
    close(s);
    g_autoptr(GError) error = NULL;
    CHECK(!safetensors_open(none, &error));
    CHECK_STR(error ? error->message : NULL,
              "Can't open “none.safetensors”: there is no such file.");
    CHECK(g_error_matches(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND));
    /* A link to a regular file is fine, as in a Hugging Face cache. */
    write_bytes(dir, "blob", file_bytes("{}", -1, 0));
    CHECK(symlink("blob", link) == 0);
    struct safetensors *st = safetensors_open(link, NULL);
    CHECK(st);
    safetensors_close(st);
    CHECK(unlink(link) == 0 && symlink("/dev/zero", link) == 0);
    CHECK(!safetensors_open(link, NULL));
    remove_folder(dir);
}

static void test_magic(void) /* ST02 */
{
#define RAW(what, bytes, sentence) expect_raw(what, bytes, sizeof(bytes) - 1, sentence)
    RAW("zip", "PK\x03\x04\0\0\x08\x08\0\0data.pkl", PICKLE);
    RAW("pickle", "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M", PICKLE);
    RAW("pickle 5", "\x80\x05\x95\x10\0\0\0\0\0\0\0", PICKLE);
    RAW("short pickle", "\x80\x02.", PICKLE);
    RAW("gguf", "GGUF\x03\0\0\0\0\0\0\0\0\0\0\0",
        OPEN "this is a GGUF file, which this version can't read. Use a .safetensors version of "
             "the model.");
    RAW("html", "<!DOCTYPE html><html><head>", PAGE ".");
    RAW("html 2", "\n\n <HTML lang=en>", PAGE ".");
    RAW("404", "Entry not found", PAGE ".");
    RAW("lfs",
        "version https://git-lfs.github.com/spec/v1\noid "
        "sha256:6ce0161689b3853acaa03779ec93eafe75a0\n"
        "size 4265146304\n",
        PAGE " (4.2 GB).");
    RAW("lfs, short", "version https://git-lfs.github.com/spec/v1\n", PAGE ".");
    RAW("empty", "",
        OPEN "the file is damaged or incomplete (it has only 0 bytes). Download it again.");
    RAW("7 bytes", "\2\0\0\0\0\0\0",
        OPEN "the file is damaged or incomplete (it has only 7 bytes). Download it again.");
    /* A header of 640 bytes starts as a pickle does. */
    g_autofree char *spaces = g_strnfill(640, ' ');
    memcpy(spaces, "{}", 2);
    expect(spaces, 0, NULL);
}

static void test_length(void) /* ST03 */
{
#define CLAIM(n, m)                                                                                \
    OPEN "the file is damaged or incomplete (its header claims " n " bytes, the file has " m       \
         "). Download it again."
    RAW("0", "\0\0\0\0\0\0\0\0{}", CLAIM("0", "10"));
    RAW("1", "\1\0\0\0\0\0\0\0{}", CLAIM("1", "10"));
    RAW("3 of 2", "\3\0\0\0\0\0\0\0{}", CLAIM("3", "10"));
    RAW("8 bytes", "\2\0\0\0\0\0\0\0", CLAIM("2", "8"));
    RAW("9 bytes", "\2\0\0\0\0\0\0\0{", CLAIM("2", "9"));
    RAW("max", "\xff\xff\xff\xff\xff\xff\xff\xff{}", CLAIM("18446744073709551615", "10"));
    RAW("2^63", "\0\0\0\0\0\0\0\x80{}", CLAIM("9223372036854775808", "10"));
    RAW("wraps", "\xf8\xff\xff\xff\xff\xff\xff\xff{}", CLAIM("18446744073709551608", "10"));
    /* 100,000,001: too many even when the (sparse) file has them. */
    int fd = file_memory("\1\xe1\xf5\5\0\0\0\0{}", 10);
    g_autoptr(GError) error = NULL;
    CHECK(ftruncate(fd, 200000000) == 0);
    CHECK(!safetensors_open_fd(fd, "x.safetensors", &error));
    CHECK_STR(error ? error->message : NULL, CLAIM("100000001", "200000000"));
    bad_files++;
}

static void test_text(void) /* ST04 */
{
#define HEADER(bytes, sentence) expect_len(#bytes, bytes, sizeof(bytes) - 1, 0, sentence)
    HEADER("{}\0\0\0", ZEROS);
    HEADER("\0{}", ZEROS);
    HEADER("{} \0 ", ZEROS);
    HEADER("{\0}", NOT_TEXT);
    HEADER("[]", NOT_TEXT);
    HEADER("{}{}", NOT_TEXT);
    HEADER("{}x", NOT_TEXT);
    HEADER("{ ", NOT_TEXT);
    HEADER("\xef\xbb\xbf{}", NOT_TEXT);
    HEADER("\v{}", NOT_TEXT);
    HEADER("{}\f", NOT_TEXT);
    HEADER("{\"\xc0\xaf\":1}", NOT_TEXT);     /* overlong */
    HEADER("{\"\xed\xa0\x80\":1}", NOT_TEXT); /* surrogate */
    HEADER("{\"\xf4\x90\x80\x80\":1}", NOT_TEXT);
    HEADER("{\"\xff\":1}", NOT_TEXT);
    HEADER("{\"\\ud800\":1}", NOT_TEXT);
    HEADER("{\"a\n\":1}", NOT_TEXT);
    HEADER("{\"a\":}", NOT_TEXT);
    HEADER("{\"a\":1,}", NOT_TEXT);
    HEADER("{'a':1}", NOT_TEXT);
    HEADER("{\"a\":NaN}", NOT_TEXT);
    HEADER("{\"a\":/**/1}", NOT_TEXT);
    HEADER("null", NOT_TEXT);
}

#define ONE "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"

static void test_strict_json(void) /* ST05 */
{
    expect("{\"a\":" ONE ",\"a\":" ONE "}", 1, OPEN "“a” is defined twice in its header.");
    expect("{\"a\":" ONE ",\"\\u0061\":" ONE "}", 1, OPEN "“a” is defined twice in its header.");
    expect("{\"a\\\"b\":" ONE ", \"a\\u0022b\" :" ONE "}", 1,
           OPEN "“a\"b” is defined twice in its header.");
    expect("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
           OPEN "“dtype” is defined twice in its header.");
    expect("{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}", 0,
           OPEN "“k” is defined twice in its header.");
    expect("{\"__metadata__\":{},\"__metadata__\":{}}", 0,
           OPEN "“__metadata__” is defined twice in its header.");
    expect("{\"a\":{\"x\":{\"y\":{\"z\":{}}}}}", 0, OPEN "its header is nested too deeply.");
    expect("{\"a\":[[[[]]]]}", 0, OPEN "its header is nested too deeply.");
#define OFFSETS(o) "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":" o "}}"
#define SHAPE(s) "{\"a\":{\"dtype\":\"U8\",\"shape\":" s ",\"data_offsets\":[0,1]}}"
    expect(OFFSETS("[0,1.0]"), 1, NUMBER);
    expect(OFFSETS("[0,1e0]"), 1, NUMBER);
    expect(OFFSETS("[-0,1]"), 1, NUMBER);
    expect(OFFSETS("[0,-1]"), 1, NUMBER);
    expect(OFFSETS("[0,01]"), 1, NUMBER);
    expect(OFFSETS("[00,1]"), 1, NUMBER);
    expect(OFFSETS("[0,9223372036854775808]"), 1, NUMBER);
    expect(OFFSETS("[0,18446744073709551617]"), 1, NUMBER);
    expect(SHAPE("[1E1]"), 1, NUMBER);
    expect("{\"__metadata__\":{\"a\":1.5}}", 0, NUMBER);
    g_autoptr(GString) many = g_string_new("{\"a\":[");
    for (int i = 0; i < 3100000; i++)
        g_string_append(many, "1,");
    g_string_append(many, "1]}");
    expect_len("3,100,000 values", many->str, many->len, 0,
               OPEN "its header holds too many values.");
}

static void test_metadata(void) /* ST06 */
{
    expect("{\"__metadata__\":[]}", 0, BLOCK);
    expect("{\"__metadata__\":\"x\"}", 0, BLOCK);
    expect("{\"__metadata__\":{\"a\":1}}", 0, BLOCK);
    expect("{\"__metadata__\":{\"a\":null}}", 0, BLOCK);
    expect("{\"__metadata__\":{\"a\":{}}}", 0, BLOCK);
    g_autoptr(GByteArray) b =
        file_bytes("{\"__metadata__\":{\"format\":\"pt\",\"n\":\"a\\u0000b\",\"\":\"e\"}}", -1, 0);
    struct safetensors *st = file_open_bytes(b, "x", NULL);
    CHECK(st && safetensors_metadata_count(st) == 3 && safetensors_count(st) == 0);
    CHECK_STR(safetensors_metadata(st, "format"), "pt");
    CHECK_STR(safetensors_metadata(st, "n"), "a\xef\xbf\xbd"
                                             "b");
    CHECK(!safetensors_metadata(st, "absent"));
    safetensors_close(st);
}

static void test_names(void) /* ST07 */
{
    expect("{\"\":" ONE "}", 1, NAME);
    expect("{\"a\\u0000b\":" ONE "}", 1, NAME);
    expect("{\"a\\n\":" ONE "}", 1, NAME);
    expect("{\"a\\u007f\":" ONE "}", 1, NAME);
    expect("{\"a\\u0085\":" ONE "}", 1, NAME);
    g_autofree char *name = g_strnfill(1024, 'n');
    g_autofree char *fits = g_strdup_printf("{\"%s\":" ONE "}", name);
    g_autofree char *too_long = g_strdup_printf("{\"%s+\":" ONE "}", name);
    expect_len("a name of 1,024 bytes", fits, strlen(fits), 1, NULL);
    expect_len("a name of 1,025 bytes", too_long, strlen(too_long), 1, NAME);
    for (int n = 100000; n <= 100001; n++) {
        g_autoptr(GString) s = g_string_new("{");
        for (int i = 0; i < n; i++)
            g_string_append_printf(
                s, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                i ? "," : "", i);
        g_string_append_c(s, '}');
        expect_len("100,000 tensors", s->str, s->len, 0,
                   n == 100000 ? NULL : OPEN "it lists more than 100,000 tensors.");
    }
}

static void test_entries(void) /* ST08 */
{
    expect("{\"a\":1}", 0, ENTRY("a"));
    expect("{\"a\":null}", 0, ENTRY("a"));
    expect("{\"a\":\"x\"}", 0, ENTRY("a"));
    expect("{\"a\":[\"U8\",[1],[0,1]]}", 1, ENTRY("a"));
    expect("{\"a\":{}}", 0, ENTRY("a"));
    expect("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ENTRY("a"));
    expect("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, ENTRY("a"));
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, ENTRY("a"));
    expect("{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ENTRY("a"));
    expect(SHAPE("1"), 1, ENTRY("a"));
    expect(SHAPE("[\"1\"]"), 1, ENTRY("a"));
    expect(SHAPE("[[1]]"), 1, ENTRY("a"));
    expect(SHAPE("[null]"), 1, ENTRY("a"));
    expect(SHAPE("{}"), 1, ENTRY("a"));
    expect(OFFSETS("[]"), 1, ENTRY("a"));
    expect(OFFSETS("[0]"), 1, ENTRY("a"));
    expect(OFFSETS("[0,1,2]"), 1, ENTRY("a"));
    expect(OFFSETS("[0,true]"), 1, ENTRY("a"));
    expect(OFFSETS("{\"0\":0,\"1\":1}"), 1, ENTRY("a"));
}

static void test_dtypes(void) /* ST09 */
{
    static const char *const wrong[] = {"", "u8", "F128", "float32", "U8 ", "Q4_0", "F32\\u0000"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *header = g_strdup_printf(
            "{\"a\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[0,1]}}", wrong[i]);
        g_autofree char *sentence =
            g_strdup_printf("“a” uses the number format %s, which this version can't read.",
                            i < 6 ? wrong[i] : "F32");
        expect(header, 1, sentence);
    }
    for (int d = 0; d < ST_DTYPE_COUNT;
         d++) { /* eight elements are as many bytes as one has bits */
        unsigned bits = st_dtype_bits(d);
        g_autofree char *header =
            g_strdup_printf("{\"a\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%u]}}",
                            st_dtype_name(d), bits);
        expect(header, bits, NULL);
    }
}

static void test_shapes(void) /* ST10 */
{
#define TENSOR(dtype, shape, offsets)                                                              \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    expect(TENSOR("F32", "[1]", "[0,3]"), 3, SIZE("a"));
    expect(TENSOR("F32", "[2]", "[0,4]"), 4, SIZE("a"));
    expect(TENSOR("F32", "[]", "[0,0]"), 0, SIZE("a"));
    expect(TENSOR("U8", "[1]", "[1,0]"), 1, SIZE("a"));
    expect(TENSOR("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, SIZE("a"));
    expect(TENSOR("F4", "[1]", "[0,1]"), 1, SIZE("a"));
    expect(TENSOR("F6_E2M3", "[3]", "[0,2]"), 2, SIZE("a"));
    expect(TENSOR("U8", "[4294967296,4294967296]", "[0,0]"), 0, SIZE("a"));
    expect(TENSOR("U8", "[9223372036854775807,3]", "[0,1]"), 1, SIZE("a"));
    expect(TENSOR("F32", "[4611686018427387904]", "[0,0]"), 0, SIZE("a"));
    expect(TENSOR("F64", "[2305843009213693952]", "[0,0]"), 0, SIZE("a"));
    expect(TENSOR("U8", "[0]", "[0,1]"), 1, SIZE("a"));
}

#define PAIR(first, second)                                                                        \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" first                               \
    "},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" second "}}"

static void test_places(void) /* ST11 */
{
    expect(PAIR("[0,2]", "[1,3]"), 3, OPEN "data overlaps" TAMPERED);
    expect(PAIR("[0,2]", "[0,2]"), 2, OPEN "data overlaps" TAMPERED);
    expect(PAIR("[0,2]", "[3,5]"), 5, OPEN "data has a gap" TAMPERED);
    expect(PAIR("[1,3]", "[3,5]"), 5, OPEN "data has a gap" TAMPERED);
    expect(PAIR("[0,2]", "[2,4]"), 9, OPEN "data has 5 extra bytes after the end" TAMPERED);
    expect("{}", 1, OPEN "data has 1 extra bytes after the end" TAMPERED);
    expect(PAIR("[0,2]", "[2,4]"), 3,
           OPEN "the file is incomplete: 1 of 4 bytes are missing. Download it again.");
    expect(TENSOR("U8", "[1152921504606846976]", "[0,1152921504606846976]"), 0,
           OPEN "the file is incomplete: 1152921504606846976 of 1152921504606846976 bytes are "
                "missing. Download it again.");
    expect(TENSOR("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 0, SIZE("a"));
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}", 0,
           OPEN "data has a gap" TAMPERED);
    expect(PAIR("[2,4]", "[0,2]"), 4, NULL);
    expect(PAIR("[0,2]", "[2,4]"), 4, NULL);
}

static void test_changed(void) /* ST12 */
{
    g_autoptr(GByteArray) b = file_bytes(TENSOR("U8", "[4096]", "[0,4096]"), -1, 4096);
    g_autoptr(GError) error = NULL;
    int fd = file_memory(b->data, b->len);
    char data[4096];
    struct safetensors *st = safetensors_open_fd(fd, "x.safetensors", NULL);
    const struct st_tensor *t = safetensors_find(st, "a");
    CHECK(t && t->size == 4096 && t->offset == b->len - 4096);
    CHECK(safetensors_read(st, t->offset + 1, data, 4095, NULL) && data[0] == 1);
    CHECK(ftruncate(fd, b->len - 1) == 0);
    CHECK(safetensors_read(st, t->offset, data, 4095, NULL));
    CHECK(!safetensors_read(st, t->offset, data, 4096, &error));
    CHECK_STR(error ? error->message : NULL, "“x.safetensors” changed while it was being read.");
    CHECK(g_error_matches(error, WEIGHTS_ERROR, WEIGHTS_ERROR_CHANGED));
    safetensors_close(st);
}

static void test_odd_but_valid(void)
{
    expect("{}", 0, NULL);
    expect(" \t\r\n{}", 0, NULL);
    expect("{} \t\r\n", 0, NULL);
    expect("{\"__metadata__\":{}}", 0, NULL);
    expect("{\"a\":" ONE ",\"__metadata__\":{\"x\":\"\"}}", 1, NULL);
    expect(TENSOR("F32", "[]", "[0,4]"), 4, NULL);
    expect(TENSOR("F32", "[0]", "[0,0]"), 0, NULL);
    expect(TENSOR("F32", "[3,0,5]", "[0,0]"), 0, NULL);
    expect(TENSOR("U8", "[0,9223372036854775807,9223372036854775807]", "[0,0]"), 0, NULL);
    expect(TENSOR("U8", "[1,1,1,1,1,1,1,1]", "[0,1]"), 1, NULL);
    expect(TENSOR("F4", "[2]", "[0,1]"), 1, NULL);
    expect(TENSOR("F6_E3M2", "[4]", "[0,3]"), 3, NULL);
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":[1]}}", 1, NULL);
    expect("{\"a\":{\"data_offsets\":[0,1],\"shape\":[1],\"dtype\":\"\\u00558\"}}", 1, NULL);
    expect("{\"\\u0061\":" ONE "}", 1, NULL);
    expect("{\"ключ.重み\":" ONE "}", 1, NULL);
    expect("{\"a b\\\\\\\"{[,]}\":" ONE "}", 1, NULL);
    expect("{\"../../etc/passwd\":" ONE "}", 1, NULL);
    expect("{\"__proto__\":" ONE "}", 1, NULL);
    expect("{\"\\ud83d\\ude00\":" ONE "}", 1, NULL);
    expect("{\"__metadata__\":{\"a\":\"[[[[[{{{{{ -1.5e9 \\\\\"}}", 0, NULL);
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]},\"b\":" ONE "}", 1,
           NULL);
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"b\":" ONE "}", 1,
           NULL);
    expect("{\"A\":" ONE ",\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2,
           NULL);
    g_autofree char *wide = g_strnfill(70000, ' ');
    g_autofree char *padded = g_strconcat("{", wide, "}", NULL);
    expect_len("70,000 spaces inside", padded, strlen(padded), 0, NULL);
    g_autofree char *before = g_strconcat(wide, "{}", NULL);
    expect_len("70,000 spaces before", before, strlen(before), 0, NULL);
}

/* Tensors lie inside the file, one after the other, and can all be read. */
static void check_invariants(struct safetensors *st)
{
    uint64_t at = safetensors_header_size(st);
    char data[256];
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        CHECK(t->offset == at && safetensors_find(st, t->name) == t);
        at += t->size;
        CHECK(t->size > sizeof data || safetensors_read(st, t->offset, data, t->size, NULL));
    }
    CHECK(at == safetensors_file_size(st));
}

static const char seed_header[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9 \\\"x\\\"\"},"
    "\"conv_in.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,3],\"data_offsets\":[0,24]},"
    "\"conv_in.bias\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[24,28]},"
    "\"step\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]}}";

static bool open_damaged(const GByteArray *b)
{
    g_autoptr(GError) error = NULL;
    struct safetensors *st = file_open_bytes(b, "x.safetensors", &error);
    if (st) {
        CHECK(!error);
        check_invariants(st);
        safetensors_close(st);
        return true;
    }
    CHECK(error && error->domain == WEIGHTS_ERROR && g_utf8_validate(error->message, -1, NULL) &&
              !strchr(error->message, '\n') && g_str_has_suffix(error->message, "."),
          "%s", error ? error->message : "no error");
    return false;
}

static void test_damage(void)
{
    g_autoptr(GByteArray) seed = file_bytes(seed_header, -1, 36);
    CHECK(open_damaged(seed));
    for (guint n = 0; n < seed->len; n++) { /* every truncation */
        g_autoptr(GByteArray) b = g_byte_array_new();
        g_byte_array_append(b, seed->data, n);
        CHECK(!open_damaged(b), "cut to %u bytes was accepted", n);
    }
    unsigned accepted = 0, total = 0;
    for (guint bit = 0; bit < (seed->len - 36) * 8; bit++, total++) { /* every flip in the header */
        seed->data[bit / 8] ^= (guint8)(1 << bit % 8);
        bool ok = open_damaged(seed);
        CHECK(!ok || bit >= 64, "a flip of bit %u of the length was accepted", bit);
        accepted += ok;
        seed->data[bit / 8] ^= (guint8)(1 << bit % 8);
    }
    /* What is left are other letters in names and texts: they are fewer than half of the bytes. */
    CHECK(accepted < total / 2, "%u of %u bit flips were accepted", accepted, total);
}

static void test_mutants(void)
{
    enum { MUTANTS = 2000 };
    static const char *const tokens[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         "\"",
                                         ",",
                                         ":",
                                         "-1",
                                         "1e9",
                                         "0",
                                         "\\",
                                         "9223372036854775807",
                                         "18446744073709551615",
                                         "\"F32\"",
                                         "null",
                                         "\"shape\"",
                                         "\\u0000",
                                         "\xff"};
    g_autoptr(GRand) rand = g_rand_new_with_seed(20240817);
    unsigned accepted = 0;
    for (int i = 0; i < MUTANTS; i++) {
        g_autoptr(GByteArray) b = file_bytes(seed_header, -1, 36);
        for (int n = g_rand_int_range(rand, 1, 5); n > 0; n--) {
            guint at = (guint)g_rand_int_range(rand, 0, (int)b->len - 1);
            switch (g_rand_int_range(rand, 0, 4)) {
            case 0:
                b->data[at] = (guint8)g_rand_int(rand);
                break;
            case 1:
                g_byte_array_remove_range(
                    b, at, (guint)g_rand_int_range(rand, 1, 1 + MIN(16, (int)(b->len - at))));
                break;
            case 2: { /* a token put over the text */
                const char *t = tokens[g_rand_int_range(rand, 0, G_N_ELEMENTS(tokens))];
                memcpy(b->data + at, t, MIN(strlen(t), b->len - at));
                break;
            }
            default: { /* a piece copied elsewhere */
                guint from = (guint)g_rand_int_range(rand, 0, (int)b->len);
                memmove(b->data + at, b->data + from, MIN(16, b->len - MAX(at, from)));
            }
            }
            if (b->len < 2)
                break;
        }
        if (i % 2 && b->len > 8) { /* half of them get past the length */
            guint64 n = b->len > 44 ? b->len - 44 : 2;
            memcpy(b->data, &n, 8);
        }
        accepted += open_damaged(b);
    }
    CHECK(accepted < MUTANTS / 4, "%u mutants were accepted", accepted);
}

static void test_quotes(void)
{
    g_autofree char *a = weights_quote("a\nb\x80\xe2\x80\xae", -1);
    CHECK_STR(a, "“a\\x0ab\\x80\\u{202e}”");
    g_autofree char *long_name = g_strnfill(81, 'x');
    g_autofree char *cut = weights_quote(long_name, -1), *fits = weights_quote(long_name, 80);
    CHECK(g_utf8_strlen(cut, -1) == 82 && g_str_has_suffix(cut, "x…”"), "%s", cut);
    CHECK(g_utf8_strlen(fits, -1) == 82 && g_str_has_suffix(fits, "xx”"), "%s", fits);
    g_autofree char *zero = weights_quote("a\0b", 3);
    CHECK_STR(zero, "“a\\x00b”");
    const struct {
        guint64 bytes;
        const char *text;
    } sizes[] = {{0, "0 bytes"},
                 {999, "999 bytes"},
                 {1000, "1.0 kB"},
                 {4265146304, "4.2 GB"},
                 {12345678, "12 MB"},
                 {9999999, "9.9 MB"},
                 {18446744073709551615u, "18446744073 GB"}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = weights_size_text(sizes[i].bytes);
        CHECK_STR(text, sizes[i].text);
    }
}

int main(void)
{
    test_kind_of_file();
    test_magic();
    test_length();
    test_text();
    test_strict_json();
    test_metadata();
    test_names();
    test_entries();
    test_dtypes();
    test_shapes();
    test_places();
    test_changed();
    test_odd_but_valid();
    test_damage();
    test_mutants();
    test_quotes();
    CHECK(bad_files >= 80, "%d bad files", bad_files);
    CHECK(good_files >= 30, "%d good files", good_files);
    return check_result();
}
