/*
 * Networks of the published shapes bind as many tensors and parameters as the published files hold,
 * record without an error, and cost what is known of them.
 */
#include "compute/tape.h"
#include "engine/random_model.h"
#include "tests/check.h"
#include "unet/unet.h"
#include "vae/vae.h"

static struct tensor *input(struct tape *t, const char *name, enum dtype dtype, int rank,
                            const int64_t *dims)
{
    return tape_input(t, name, dtype, rank, dims);
}

/* One call of the U-Net for a batch of 1, prompt part included; GFLOP of the call itself. */
static double record_unet(const struct unet *u, int side)
{
    const struct unet_config *c = &u->config;
    struct tape *t = tape_create("unet");
    struct unet_prompt prompt = {
        .steps = input(t, "steps", DTYPE_F32, 1, (int64_t[]){20}),
        .text = input(t, "text", DTYPE_F32, 3, (int64_t[]){1, 77, c->text_channels}),
    };
    if (c->added_channels) {
        prompt.pooled = input(t, "pooled", DTYPE_F32, 2, (int64_t[]){1, 1280});
        prompt.sizes = input(t, "sizes", DTYPE_F32, 1, (int64_t[]){unet_sizes(u, 1280)});
    }
    struct unet_memo memo;
    unet_prepare(t, u, &prompt, &memo);
    double before = tape_flops(t);
    struct tensor *x = input(t, "x", DTYPE_F32, 4, (int64_t[]){1, side, side, c->in_channels});
    struct tensor *rows = input(t, "rows", DTYPE_I32, 1, (int64_t[]){1});
    struct tensor *out = unet_forward(t, u, x, rows, &memo);
    double flops = tape_flops(t) - before;

    tape_output(t, "out", out);
    GString *dump = g_string_new(NULL);
    tape_dump(t, dump);
    CHECK(!strstr(dump->str, "differ"), "%s", dump->str);
    CHECK(out->rank == 4 && out->dims[1] == side && out->dims[2] == side && out->dims[3] == 4);
    g_string_free(dump, TRUE);
    unet_memo_finish(&memo);
    tape_destroy(t);
    return flops / 1e9;
}

static void test_unet(const char *name, int side, size_t tensors, uint64_t parameters, double low,
                      double high)
{
    GError *error = NULL;
    struct model *m = random_model_create(name, 1, &error);
    struct unet u;
    CHECK(m && unet_init(&u, m->weights[MODEL_UNET], m->config[MODEL_UNET], &error), "%s",
          error ? error->message : "");
    size_t count = weights_count(m->weights[MODEL_UNET]);
    uint64_t elements = weights_parameters(m->weights[MODEL_UNET]);
    CHECK(count == tensors, "%s has %zu tensors, expected %zu", name, count, tensors);
    CHECK(elements == parameters, "%s has %llu parameters, expected %llu", name,
          (unsigned long long)elements, (unsigned long long)parameters);
    double gflop = record_unet(&u, side);
    CHECK(gflop > low && gflop < high, "%s takes %.1f GFLOP", name, gflop);
    printf("%s: %zu tensors, %llu parameters, %.1f GFLOP at %d x %d\n", name, count,
           (unsigned long long)elements, gflop, side, side);
    record_unet(&u, 9); /* sides that are no multiple of anything */
    unet_finish(&u);
    model_close(m);
}

static void test_vae(void)
{
    GError *error = NULL;
    struct model *m = random_model_create("sd15", 1, &error);
    struct vae v;
    CHECK(m && vae_init(&v, m->weights[MODEL_VAE], m->config[MODEL_VAE], &error), "%s",
          error ? error->message : "");
    CHECK(weights_count(m->weights[MODEL_VAE]) == 248, "%zu tensors",
          weights_count(m->weights[MODEL_VAE]));
    CHECK(weights_parameters(m->weights[MODEL_VAE]) == 83653863, "%llu parameters",
          (unsigned long long)weights_parameters(m->weights[MODEL_VAE]));
    CHECK(vae_factor(&v) == 8);

    struct tape *t = tape_create("vae");
    struct tensor *z = input(t, "z", DTYPE_F32, 4, (int64_t[]){1, 64, 64, 4});
    struct tensor *picture = vae_decode(t, &v, z);
    CHECK(picture->dims[1] == 512 && picture->dims[2] == 512 && picture->dims[3] == 3);
    double decode = tape_flops(t) / 1e9;
    CHECK(decode > 2400 && decode < 2600, "%.1f GFLOP", decode);
    struct tensor *latent = vae_encode(t, &v, picture);
    CHECK(latent->dims[1] == 64 && latent->dims[2] == 64 && latent->dims[3] == 8);
    printf("vae: decoding 512 x 512 takes %.1f GFLOP, encoding %.1f\n", decode,
           tape_flops(t) / 1e9 - decode);
    tape_destroy(t);
    vae_finish(&v);
    model_close(m);
}

int main(void)
{
    /* Counts as published (SD 1.5, 2.1, SDXL) or computed from the hyperparameters. */
    test_unet("sd15", 64, 686, 859520964, 750, 850); /* 803 GFLOP: two a multiply-add */
    test_unet("sd15-inpaint", 64, 686, 859535364, 750, 850);
    test_unet("sd21", 64, 686, 865910724, 750, 850);
    /* 5,980 GFLOP in convolutions and linear layers, as published, and 750 between the tokens. */
    test_unet("sdxl", 128, 1680, 2567463684, 6600, 6800);
    test_unet("sdxl-refiner", 128, 1220, 2259526660, 0, 1e6); /* its cost is published nowhere */
    test_vae();
    return check_result();
}
