/* Embeddings found by name in a prompt, with files made here. */
#include "clip/inversion.h"
#include "tests/check.h"
#include "tests/weights/files.h"

static void put(const char *folder, const char *file, const char *header, const float *values,
                size_t n)
{
    g_autoptr(GByteArray) bytes = file_bytes(header, -1, 0);
    g_byte_array_append(bytes, (const guint8 *)values, (guint)(n * sizeof *values));
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    g_mkdir_with_parents(parent, 0700);
    CHECK(g_file_set_contents(path, (const char *)bytes->data, bytes->len, NULL));
}

static char *make_folder(void)
{
    static const float values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    char *folder = temp_folder();
    put(folder, "foo.safetensors",
        "{\"emb_params\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]}}", values, 8);
    put(folder, "sub/Foo Bar.safetensors",
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", values + 1, 4);
    put(folder, "sub/foo.safetensors", "of the same name, and damaged", NULL, 0);
    put(folder, "wide.safetensors",
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[1,5],\"data_offsets\":[0,20]}}", values, 5);
    put(folder, "two.safetensors",
        "{\"clip_l\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]},"
        "\"clip_g\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[32,56]}}",
        values, 14);
    put(folder, "bad.safetensors", "{", NULL, 0);
    return folder;
}

static struct chunk *only_chunk(GPtrArray *chunks)
{
    CHECK(chunks->len == 1);
    return chunks->pdata[0];
}

static void check_found(struct inversions *set, const struct tokenizer *t)
{
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    struct inversion_finder *f = inversion_finder_create(set, t, 0, 4, notices);
    struct chunk_embeddings hooks = inversion_hooks(f);
    struct clip_vectors v[CHUNK_WORDS];

    g_autoptr(GPtrArray) chunks =
        chunk_prompt(t, "a FOO, (foo bar:1.5)", PROMPT_A1111, &hooks, 49407, NULL);
    const struct chunk *c = only_chunk(chunks);
    size_t n = inversion_vectors(c, 0, 77, v);
    CHECK(n == 2);
    CHECK(v[0].row == 77 + 2 && v[0].count == 2 && v[0].values[0] == 1 && v[0].values[7] == 8);
    /* The longer name wins: "foo bar", not "foo" and a bar. */
    CHECK(v[1].row == 77 + 5 && v[1].count == 1 && v[1].values[0] == 2);
    CHECK(c->weights[5] == 1.5f && c->end == 6);

    /* One that does not fit, one that cannot be read: words, and each said once. */
    g_autoptr(GPtrArray) words =
        chunk_prompt(t, "wide wide bad bad", PROMPT_A1111, &hooks, 49407, NULL);
    CHECK(only_chunk(words)->fixes->len == 0 && only_chunk(words)->end == 5);
    CHECK(notices->len == 2);
    if (notices->len == 2) {
        CHECK_STR(notices->pdata[0],
                  "The embedding “wide” was made for another kind of model (its vectors have 5 "
                  "numbers, this text encoder needs 4); it was read as words.");
        CHECK(strstr(notices->pdata[1], "“bad.safetensors”"));
    }

    g_autoptr(GPtrArray) comfy =
        chunk_prompt(t, "foo embedding:foo, b", PROMPT_COMFY, &hooks, 49407, NULL);
    CHECK(inversion_vectors(only_chunk(comfy), 0, 0, v) == 1 && v[0].row == 2 && v[0].count == 2);
    inversion_finder_destroy(f);
}

/* SDXL: the same places, other vectors. */
static void check_second(struct inversions *set, const struct tokenizer *t)
{
    struct inversion_finder *f = inversion_finder_create(set, t, 1, 3, NULL);
    struct chunk_embeddings hooks = inversion_hooks(f);
    struct clip_vectors v[CHUNK_WORDS];
    g_autoptr(GPtrArray) chunks = chunk_prompt(t, "a two foo", PROMPT_A1111, &hooks, 0, NULL);
    CHECK(inversion_vectors(only_chunk(chunks), 1, 0, v) == 1); /* "foo" is for the first only */
    CHECK(v[0].row == 2 && v[0].count == 2 && v[0].values[0] == 9 && v[0].values[5] == 14);
    inversion_finder_destroy(f);
    inversion_finder_destroy(NULL);
}

int main(void)
{
    char *folder = make_folder();
    struct tokenizer *t = tokenizer_create();
    struct inversions *set = inversions_create();
    inversions_add_folder(set, folder);
    inversions_add_folder(set, "/nonexistent");
    g_autoptr(GPtrArray) names = inversions_names(set);
    CHECK(names->len == 5);
    CHECK_STR(names->pdata[0], "Foo Bar");
    CHECK_STR(names->pdata[4], "wide");
    check_found(set, t);
    check_second(set, t);
    inversions_destroy(set);
    inversions_destroy(NULL);
    tokenizer_destroy(t);
    remove_folder(folder);
    return check_result();
}
