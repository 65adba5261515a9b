/* Wildcards, LoRA and textual inversion by name in the prompt, on a model of 110 KB: they change
 * the picture, they go without a trace, and what is not there is said. What a LoRA computes is
 * tested in tests/weights/lora.c. */
#include "tests/check.h"

#include "tests/engine/run.h"
#include "tests/weights/files.h"

static struct engine *engine;
static struct run run;
static char *folder;

static void put_file(const char *place, const char *name, const void *bytes, size_t size)
{
    g_autofree char *in = g_build_filename(folder, place, NULL);
    g_autofree char *path = g_build_filename(in, name, NULL);

    g_mkdir_with_parents(in, 0700);
    CHECK(g_file_set_contents(path, bytes, (gssize)size, NULL));
}

/* All values 0.25. */
static void write_floats(const char *place, const char *name, const char *header, size_t values)
{
    g_autoptr(GByteArray) bytes = file_bytes(header, -1, 0);

    for (size_t i = 0; i < values; i++) {
        float value = 0.25f;

        g_byte_array_append(bytes, (const guint8 *)&value, sizeof value);
    }
    put_file(place, name, bytes->data, bytes->len);
}

/* Rank 1 on a query of the middle block, 32 wide; an embedding of two vectors, 32 wide. */
static void write_add_ons(void)
{
#define QUERY "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    write_floats("Lora", "bold.safetensors",
                 "{\"" QUERY ".lora_down.weight\":{\"dtype\":\"F32\",\"shape\":[1,32],"
                 "\"data_offsets\":[0,128]},\"" QUERY ".lora_up.weight\":{\"dtype\":\"F32\","
                 "\"shape\":[32,1],\"data_offsets\":[128,256]}}",
                 64);
    write_floats("embeddings", "swirl.safetensors",
                 "{\"emb_params\":{\"dtype\":\"F32\",\"shape\":[2,32],\"data_offsets\":[0,256]}}",
                 64);
    put_file("wildcards", "colour.txt", "red\nblue\ngreen\nyellow\n", 22);
}

static GBytes *picture_of(const char *prompt)
{
    struct request r = {TINY_REQUEST};

    r.prompt = (char *)prompt;
    CHECK(run_request(engine, &run, &r) == EVENT_DONE && run.pictures->len == 1, "%s: %s", prompt,
          run.message ? run.message : run.order->str);
    return run.pictures->len ? g_bytes_ref(run.pictures->pdata[0]) : g_bytes_new_static("", 0);
}

static void test_lora(void)
{
    g_autoptr(GBytes) plain = picture_of("a red apple");
    g_autoptr(GBytes) bold = picture_of("a red apple <lora:bold:0.8>");
    g_autoptr(GBytes) again = picture_of("a red apple <lora:BOLD:0.8>");
    g_autoptr(GBytes) more = picture_of("a red apple <lora:bold:1.6>");
    g_autoptr(GBytes) without = picture_of("a red apple");
    g_autoptr(GBytes) missing = NULL;

    CHECK(!g_bytes_equal(plain, bold), "a LoRA changes the picture");
    CHECK(g_bytes_equal(bold, again), "any case");
    CHECK(!g_bytes_equal(bold, more), "its weight counts");
    CHECK(g_bytes_equal(plain, without), "it goes without a trace");
    CHECK(run.notices->len == 0);

    missing = picture_of("a red apple <lora:bald:1>");
    CHECK(g_bytes_equal(plain, missing), "what is not there changes nothing");
    CHECK(run.notices->len == 1, "%u notices", run.notices->len);
    CHECK_STR(run.notices->len ? run.notices->pdata[0] : NULL,
              "There is no LoRA “bald” in your folders; did you mean “bold”? The picture is made "
              "without it.");
    CHECK(strstr(run.parameters->pdata[0], "<lora:bald:1>"), "the prompt is kept as it was");
    g_bytes_unref(g_steal_pointer(&missing));

    missing = picture_of("a red apple <hypernet:bold:1>");
    CHECK(g_bytes_equal(plain, missing) && run.notices->len == 1);

    CHECK(run_request(engine, &run,
                      &(struct request){TINY_REQUEST, .negative = (char *)"<lora:bold:11>"}) ==
              EVENT_DONE,
          "A1111 reads the negative prompt as words");
}

static void test_too_strong(void)
{
    struct request r = {TINY_REQUEST};

    r.prompt = (char *)"a red apple <lora:bold:11>";
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED && run.message, "%s", run.order->str);
    r.prompt = (char *)"a red apple";
    CHECK(run_request(engine, &run, &r) == EVENT_DONE, "and the next picture works");
}

static void test_inversion(void)
{
    g_autoptr(GBytes) plain = picture_of("a red apple");
    g_autoptr(GBytes) swirl = picture_of("a red apple, swirl");
    g_autoptr(GBytes) word = picture_of("a red apple, swarl");

    CHECK(!g_bytes_equal(plain, swirl));
    CHECK(!g_bytes_equal(word, swirl), "its vectors, not its letters");
}

static void test_wildcards(void)
{
    struct request r = {TINY_REQUEST, .batch = 8};
    g_autoptr(GHashTable) prompts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    r.prompt = (char *)"a __colour__ {apple|pear}";
    CHECK(run_request(engine, &run, &r) == EVENT_DONE && run.pictures->len == 8, "%s",
          run.order->str);
    for (guint i = 0; i < run.parameters->len; i++) {
        const char *text = run.parameters->pdata[i];

        CHECK(!strstr(text, "__") && !strchr(text, '{'), "%s", text);
        g_hash_table_add(prompts, g_strndup(text, strcspn(text, "\n")));
    }
    CHECK(g_hash_table_size(prompts) >= 3, "8 seeds, %u prompts", g_hash_table_size(prompts));

    /* The sixth picture alone is the sixth of the batch. */
    g_autoptr(GBytes) sixth = g_bytes_ref(run.pictures->pdata[5]);
    r.seed += 5;
    r.batch = 1;
    CHECK(run_request(engine, &run, &r) == EVENT_DONE &&
          g_bytes_equal(run.pictures->pdata[0], sixth));
}

int main(void)
{
    char *folders[] = {NULL, NULL};

    folder = folders[0] = temp_folder();
    g_setenv("XDG_DATA_HOME", folder, TRUE);
    write_add_ons();
    run_init(&run);
    engine = engine_create(&(struct engine_options){.folders = folders}, run_event, &run);
    test_lora();
    test_too_strong();
    test_inversion();
    test_wildcards();
    engine_destroy(engine);
    run_finish(&run);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return check_result();
}
