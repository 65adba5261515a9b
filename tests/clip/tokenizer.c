/*
 * The tokenizer against transformers' (tests/golden/make_clip_tokens.py), built in and from a
 * folder; folders that are wrong; bytes that are no text.
 */
#include "clip/tokenizer.h"

#include "clip/bpe.h"
#include "tests/check.h"

#include <glib/gstdio.h>
#include <jansson.h>

#define MERGES "assets/clip/merges.txt"

static GArray *encode(const struct tokenizer *t, const char *text, gssize length)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(int32_t));
    tokenizer_encode(t, text, length, ids);
    return ids;
}

static guint64 hash_ids(const GArray *ids)
{
    guint64 h = 0xcbf29ce484222325u;
    for (guint i = 0; i < ids->len * 4; i++) {
        uint32_t id = (uint32_t)g_array_index(ids, int32_t, i / 4);
        h = (h ^ (id >> (8 * (i % 4)) & 255)) * 0x100000001b3u;
    }
    return h;
}

/* How many lines of the golden file agree. */
static int compare_golden(const struct tokenizer *t, const char *golden)
{
    g_auto(GStrv) lines = g_strsplit(golden, "\n", -1);
    int good = 0;
    for (int i = 0; lines[i] && *lines[i]; i++) {
        g_auto(GStrv) field = g_strsplit(lines[i], "\t", 5);
        json_t *json = json_loads(field[4], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        g_autoptr(GString) text = g_string_new(NULL);
        for (int n = atoi(field[0]); n > 0; n--)
            g_string_append_len(text, json_string_value(json), (gssize)json_string_length(json));
        g_autoptr(GArray) ids = encode(t, text->str, (gssize)text->len);
        bool same = (int)ids->len == atoi(field[1]) &&
                    hash_ids(ids) == g_ascii_strtoull(field[2], NULL, 16);
        CHECK(same, "line %d: %u ids, first %d; expected %s, first %s: %s", i + 1, ids->len,
              ids->len ? g_array_index(ids, int32_t, 0) : -1, field[1], field[3], field[4]);
        good += same;
        json_decref(json);
    }
    return good;
}

/* Writes the built-in vocabulary as a diffusers folder. */
static void write_folder(const char *folder)
{
    g_autofree char *merges = NULL;
    CHECK(g_file_get_contents(MERGES, &merges, NULL, NULL));
    struct bpe_bytes bytes;
    bpe_bytes_init(&bytes);
    json_t *vocabulary = json_object();
    int id = 0;
    for (int i = 0; i < 512; i++) {
        g_autofree char *token =
            g_strconcat(bytes.name[bytes.order[i % 256]], i < 256 ? "" : "</w>", NULL);
        json_object_set_new(vocabulary, token, json_integer(id++));
    }
    g_auto(GStrv) lines = g_strsplit(merges, "\n", -1);
    for (int i = 1; lines[i] && *lines[i]; i++) {
        g_auto(GStrv) parts = g_strsplit(lines[i], " ", 2);
        g_autofree char *token = g_strconcat(parts[0], parts[1], NULL);
        json_object_set_new(vocabulary, token, json_integer(id++));
    }
    json_object_set_new(vocabulary, "<|startoftext|>", json_integer(id++));
    json_object_set_new(vocabulary, "<|endoftext|>", json_integer(id++));
    g_autofree char *path = g_build_filename(folder, "vocab.json", NULL);
    CHECK(json_dump_file(vocabulary, path, 0) == 0);
    json_decref(vocabulary);
    g_autofree char *other = g_build_filename(folder, "merges.txt", NULL);
    CHECK(g_file_set_contents(other, merges, -1, NULL));
}

static void put(const char *folder, const char *file, const char *text)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    CHECK(g_file_set_contents(path, text, -1, NULL));
}

static void refused(const char *folder, int rows, const char *sentence)
{
    g_autoptr(GError) error = NULL;
    struct tokenizer *t = tokenizer_open(folder, rows, &error);
    CHECK(!t && error && strstr(error->message, sentence), "“%s”, expected “%s”",
          error ? error->message : "no error", sentence);
    tokenizer_destroy(t);
}

static void check_folder(const char *folder, const char *golden)
{
    g_autoptr(GError) error = NULL;
    write_folder(folder);
    struct tokenizer *t = tokenizer_open(folder, 49408, &error);
    CHECK(t, "%s", error ? error->message : "");
    if (t)
        compare_golden(t, golden);
    tokenizer_destroy(t);
    refused(folder, 49407, "must have a number from 0 to 49406");

    /* OpenCLIP's folders: "!" pads and, as in transformers, is a token of its own in text. */
    put(folder, "tokenizer_config.json", "{\"pad_token\": \"<|endoftext|>\"}");
    put(folder, "special_tokens_map.json", "{\"pad_token\": {\"content\": \"!\"}}");
    t = tokenizer_open(folder, 49408, NULL);
    CHECK(t && tokenizer_ids(t).pad == 0);
    g_autoptr(GArray) ids = encode(t, "hello!", -1);
    CHECK(ids->len == 2 && g_array_index(ids, int32_t, 1) == 0);
    tokenizer_destroy(t);
    put(folder, "special_tokens_map.json", "{\"pad_token\": \"pad of nobody\"}");
    refused(folder, 49408, "no pad token “pad of nobody”");
}

static void check_wrong_folders(const char *folder)
{
    put(folder, "special_tokens_map.json", "{}");
    put(folder, "merges.txt", "#version: 0.2\na b c\n");
    refused(folder, 49408, "“a b c” is not two parts");
    put(folder, "merges.txt", "#version: 0.2\nqqq zzz\n");
    refused(folder, 49408, "uses a token that vocab.json does not have");
    put(folder, "merges.txt", "\xff\xfe");
    refused(folder, 49408, "not valid text");
    put(folder, "merges.txt", "#version: 0.2\n");
    put(folder, "vocab.json", "{\"a\": 0, \"a\": 1}");
    refused(folder, 49408, "not valid JSON");
    put(folder, "vocab.json", "[]");
    refused(folder, 49408, "not a list of tokens");
    put(folder, "vocab.json", "{\"a\": -1}");
    refused(folder, 49408, "token “a” must have a number");
    put(folder, "vocab.json", "{\"a\": 0.5}");
    refused(folder, 49408, "token “a” must have a number");
    put(folder, "vocab.json", "{\"a\": 0}");
    refused(folder, 49408, "it has no “<|startoftext|>”");
    g_autofree char *path = g_build_filename(folder, "vocab.json", NULL);
    GString *large = g_string_new(NULL);
    g_string_set_size(large, (4 << 20) + 1);
    memset(large->str, ' ', large->len);
    CHECK(g_file_set_contents(path, large->str, (gssize)large->len, NULL));
    g_string_free(large, TRUE);
    refused(folder, 49408, "larger than 4.1 MB");
    g_unlink(path);
    refused(folder, 49408, "No such file");
    CHECK(g_mkdir(path, 0700) == 0);
    refused(folder, 49408, "not an ordinary file");
    g_rmdir(path);
}

/* A vocabulary that lacks bytes: they become the unknown token, one each. */
static void check_small_vocabulary(const char *folder)
{
    put(folder, "vocab.json",
        "{\"a\": 5, \"b</w>\": 6, \"ab</w>\": 7, \"<|startoftext|>\": 1, \"<|endoftext|>\": 2}");
    put(folder, "merges.txt", "#version: 0.2\r\na b</w>\r\n");
    g_autoptr(GError) error = NULL;
    struct tokenizer *t = tokenizer_open(folder, 8, &error);
    CHECK(t, "%s", error ? error->message : "");
    g_autoptr(GArray) ids = encode(t, "ab aab xb", -1);
    const int32_t expected[] = {7, 5, 7, 2, 6};
    CHECK(ids->len == 5 && memcmp(ids->data, expected, sizeof expected) == 0);
    CHECK(tokenizer_ids(t).comma == -1 && tokenizer_ids(t).pad == 2);
    tokenizer_destroy(t);
}

static void check_bad_bytes(const struct tokenizer *t)
{
    static const struct {
        const char *bytes, *same_as;
    } cases[] = {
        {"\xff", "\xef\xbf\xbd"},
        {"a\xc3", "a\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\x80z", "\xef\xbf\xbd\xef\xbf\xbdz"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GArray) got = encode(t, cases[i].bytes, -1);
        g_autoptr(GArray) expected = encode(t, cases[i].same_as, -1);
        CHECK(got->len == expected->len && hash_ids(got) == hash_ids(expected), "case %zu", i);
    }
    GRand *random = g_rand_new_with_seed(5);
    for (int i = 0; i < 2000; i++) {
        char bytes[64];
        int n = g_rand_int_range(random, 0, 64);
        for (int j = 0; j < n; j++)
            bytes[j] = (char)g_rand_int(random);
        g_autoptr(GArray) ids = encode(t, bytes, n);
        bool in_range = true;
        for (guint j = 0; j < ids->len; j++)
            in_range = in_range && g_array_index(ids, int32_t, j) >= 0 &&
                       g_array_index(ids, int32_t, j) < 49408;
        CHECK(in_range && (int)ids->len <= 3 * n);
    }
    g_rand_free(random);
}

int main(void)
{
    g_autofree char *golden = NULL;
    g_autofree char *folder = g_dir_make_tmp("figment-tokenizer-XXXXXX", NULL);
    CHECK(g_file_get_contents("tests/golden/clip_tokens.txt", &golden, NULL, NULL));
    struct tokenizer *t = tokenizer_create();
    struct tokenizer_ids ids = tokenizer_ids(t);
    CHECK(ids.bos == 49406 && ids.eos == 49407 && ids.pad == 49407 && ids.comma == 267);
    int good = compare_golden(t, golden);
    CHECK(good >= 2000, "%d texts", good);
    check_bad_bytes(t);
    tokenizer_destroy(t);
    check_folder(folder, golden);
    check_wrong_folders(folder);
    check_small_vocabulary(folder);
    static const char *const files[] = {"vocab.json", "merges.txt", "special_tokens_map.json",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(folder, files[i], NULL);
        g_unlink(path);
    }
    g_rmdir(folder);
    return check_result();
}
