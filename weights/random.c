#include "weights/random.h"

#include "weights/convert.h"
#include "weights/weights_private.h"

#include <math.h>
#include <string.h>

/* SplitMix64 as a function of a position: any part can be drawn alone. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static float uniform(uint64_t key, size_t i) /* in [-1, 1) */
{
    return (float)((int64_t)mix(key + i) >> 40) * 0x1p-23f;
}

/* The last layer of a branch that is added to what goes around it. */
static bool ends_branch(const char *name)
{
    static const char *const ends[] = {".conv2.weight", ".to_out.0.weight", ".ff.net.2.weight",
                                       ".proj_out.weight"};
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++)
        if (g_str_has_suffix(name, ends[i]))
            return true;
    return false;
}

static bool random_read(const struct weight *weight, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    enum { CHUNK = 16384 };
    const struct entry *e = (const struct entry *)weight;
    uint64_t key = mix(e->set->seed ^ g_str_hash(weight->name));
    bool matrix = weight->rank > 1, norm = !matrix && g_str_has_suffix(weight->name, ".weight");
    size_t inputs = matrix ? weight_count(weight) / (size_t)weight->dims[0] : 1;
    float size = matrix ? sqrtf(3 / (float)inputs) : 0.1f, offset = norm ? 1 : 0;
    if (ends_branch(weight->name))
        size *= 0.5f; /* as in trained networks, where the way around carries most */
    float values[CHUNK];

    for (size_t done = 0; done < count; done += CHUNK) {
        size_t some = MIN(count - done, CHUNK);
        for (size_t i = 0; i < some; i++)
            values[i] = offset + size * uniform(key, first + done + i);
        if (as == DTYPE_F32)
            memcpy((float *)dst + done, values, some * sizeof *values);
        else
            convert_elements(DTYPE_F32, values, as, (char *)dst + done * dtype_size(as), some);
    }
    (void)error; /* cannot fail */
    return true;
}

static struct entry *invent(struct weights *w, const char *name, int rank, const int64_t *dims)
{
    struct entry *e = g_new0(struct entry, 1);
    guint at = 0;

    e->weight.name = g_strdup(name);
    e->weight.dtype = w->dtype;
    e->weight.read = random_read;
    e->weight.owner = w;
    e->weight.revision = weights_next_revision();
    e->weight.rank = rank;
    for (int i = 0; i < rank; i++) {
        g_return_val_if_fail(dims[i] > 0, e); /* code that takes any size has none to take here */
        e->weight.dims[i] = dims[i];
    }
    e->set = w;
    while (at < w->entries->len &&
           strcmp(((struct entry *)w->entries->pdata[at])->weight.name, name) < 0)
        at++;
    g_ptr_array_insert(w->entries, (int)at, e);
    return e;
}

struct weights *weights_random(const char *source, enum dtype dtype, uint64_t seed)
{
    struct weights *w = weights_new(source);
    weights_seal(w);
    w->invent = invent;
    w->dtype = dtype;
    w->seed = seed;
    return w;
}

void weights_random_add(struct weights *w, const char *name, int rank, ...)
{
    int64_t dims[TENSOR_MAX_RANK];
    va_list args;
    va_start(args, rank);
    for (int i = 0; i < rank; i++)
        dims[i] = va_arg(args, int);
    va_end(args);
    invent(w, name, rank, dims);
}
