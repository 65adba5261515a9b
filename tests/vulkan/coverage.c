/*
 * Which ops and variants of the Vulkan back end no test runs: none may be left. What there is comes
 * from compute/op.def, the embedded shaders (shaders.h) and the table that the back end's pipelines
 * are checked against (variants.h); what was run from the files that op tests leave (record.h).
 *
 *     test_vulkan_coverage --coverage FOLDER NAME...   FOLDER/NAME was written by the test NAME
 *     test_vulkan_coverage --all FOLDER NAME...        every combination, not every pair: for
 * people
 *
 * A shader build is covered when every two values of its constants that can occur together did.
 */
#include "compute/op.h"
#include "compute/vulkan/internal.h"
#include "compute/vulkan/shaders.h"
#include "compute/vulkan/variants.h"
#include "tests/check.h"

struct build {
    const struct variant_shader *variants;
    const char *name; /* with the suffix */
    bool f16;
    GPtrArray *seen; /* uint32_t[MAX_CONSTANTS] */
};

struct coverage {
    GPtrArray *builds; /* struct build */
    bool all;
    int goals, missing, elsewhere;
    bool quiet;
};

static const char *const suffixes[] = {"_f16_t", "_f32_t", "_f16", "_f32"};

static void build_free(gpointer data)
{
    struct build *b = (struct build *)data;
    g_ptr_array_free(b->seen, true);
    g_free(b);
}

static void read_builds(struct coverage *c)
{
    for (size_t i = 0; i < shader_count; i++) {
        struct build *b = g_new0(struct build, 1);
        b->name = shaders[i].name;
        b->seen = g_ptr_array_new_with_free_func(g_free);
        for (size_t k = 0; k < G_N_ELEMENTS(suffixes) && !b->variants; k++) {
            if (!g_str_has_suffix(b->name, suffixes[k]))
                continue;
            g_autofree char *base = g_strndup(b->name, strlen(b->name) - strlen(suffixes[k]));
            b->variants = variant_find(base);
            b->f16 = g_str_has_prefix(suffixes[k], "_f16");
        }
        CHECK(b->variants != NULL, "%s is not in compute/vulkan/variants.c", b->name);
        if (b->variants)
            g_ptr_array_add(c->builds, b);
        else
            build_free(b);
    }
}

/* Every op has a shader, but the view. */
static void check_ops(void)
{
    for (int op = 0; op < OP_COUNT; op++) {
        g_autofree char *word = g_strdup_printf(" %s ", op_name((enum op)op));
        bool found = op == OP_reshape;
        for (size_t i = 0; i < variant_shader_count; i++)
            found |= strstr(variant_shaders[i].ops, word) != NULL;
        CHECK(found, "no shader computes %s", op_name((enum op)op));
    }
}

/* A line of pipelines_list(). */
static void add_seen(struct coverage *c, const char *line)
{
    g_auto(GStrv) parts = g_strsplit(line, ",", -1);
    guint count = g_strv_length(parts);
    for (guint i = 0; count > 2 && i < c->builds->len; i++) {
        struct build *b = (struct build *)c->builds->pdata[i];
        if (strcmp(b->name, parts[0]) != 0)
            continue;
        uint32_t *constants = g_new0(uint32_t, MAX_CONSTANTS);
        for (guint k = 2; k < count && k - 2 < MAX_CONSTANTS; k++)
            constants[k - 2] = (uint32_t)g_ascii_strtoull(parts[k], NULL, 10);
        g_ptr_array_add(b->seen, constants);
        return;
    }
    CHECK(false, "“%s” is no build of this program", line);
}

static void read_records(struct coverage *c, const char *folder, char **names)
{
    for (; *names; names++) {
        g_autofree char *path = g_build_filename(folder, *names, NULL), *text = NULL;
        bool read = g_file_get_contents(path, &text, NULL, NULL);
        CHECK(read, "%s: the test did not run", *names);
        g_auto(GStrv) lines = g_strsplit(read ? text : "", "\n", -1);
        for (char **line = lines; *line; line++)
            if (**line)
                add_seen(c, *line);
    }
}

static bool has(const uint32_t *constants, const struct variant_axis *axis, uint32_t value)
{
    return (constants[axis->constant] & axis->mask) == value;
}

/* The next combination of values; false after the last. `at` counts along the axes. */
static bool next(const struct variant_shader *v, uint32_t *at, uint32_t *constants)
{
    int i = 0;
    while (v->axes[i] && ++at[i] == v->axes[i]->count)
        at[i++] = 0;
    bool more = v->axes[i] != NULL;
    memset(constants, 0, sizeof *constants * MAX_CONSTANTS);
    for (i = 0; v->axes[i]; i++)
        constants[v->axes[i]->constant] |= v->axes[i]->values[at[i]];
    return more;
}

/* Whether some possible combination has both values. */
static bool possible(const struct build *b, const struct variant_axis *x, uint32_t xv,
                     const struct variant_axis *y, uint32_t yv)
{
    uint32_t at[VARIANT_AXES] = {0}, constants[MAX_CONSTANTS] = {0};
    for (bool more = true; more;) {
        more = next(b->variants, at, constants);
        if (has(constants, x, xv) && has(constants, y, yv) &&
            (!b->variants->together || b->variants->together(constants, b->f16)))
            return true;
    }
    return false;
}

static bool seen(const struct build *b, const struct variant_axis *x, uint32_t xv,
                 const struct variant_axis *y, uint32_t yv)
{
    for (guint i = 0; i < b->seen->len; i++) {
        const uint32_t *constants = (const uint32_t *)b->seen->pdata[i];
        if (has(constants, x, xv) && has(constants, y, yv))
            return true;
    }
    return false;
}

static void check_pairs(struct coverage *c, const struct build *b)
{
    const struct variant_axis *const *axes = b->variants->axes;
    for (int i = 0; axes[i]; i++)
        for (int j = i; axes[j] && (j == i || !c->all); j++)
            for (uint32_t k = 0; k < axes[i]->count * axes[j]->count; k++) {
                uint32_t x = axes[i]->values[k / axes[j]->count];
                uint32_t y = axes[j]->values[k % axes[j]->count];
                if (!possible(b, axes[i], x, axes[j], y))
                    continue;
                c->goals++;
                if (seen(b, axes[i], x, axes[j], y))
                    continue;
                c->missing += !b->variants->matrix;
                c->elsewhere += b->variants->matrix;
                if (!b->variants->matrix && !c->quiet)
                    printf("  %s: %s %u with %s %u\n", b->name, axes[i]->name, x, axes[j]->name, y);
            }
}

static void check_combinations(struct coverage *c, const struct build *b)
{
    uint32_t at[VARIANT_AXES] = {0}, constants[MAX_CONSTANTS] = {0};
    for (bool more = true; more;) {
        more = next(b->variants, at, constants);
        if (b->variants->together && !b->variants->together(constants, b->f16))
            continue;
        bool found = false;
        for (guint i = 0; i < b->seen->len && !found; i++) {
            const uint32_t *s = (const uint32_t *)b->seen->pdata[i];
            found = memcmp(s + 1, constants + 1, sizeof *s * (MAX_CONSTANTS - 1)) == 0;
        }
        c->goals++;
        c->missing += !found && !b->variants->matrix;
        c->elsewhere += !found && b->variants->matrix;
    }
}

static void check_builds(struct coverage *c)
{
    c->goals = c->missing = c->elsewhere = 0;
    for (guint i = 0; i < c->builds->len; i++) {
        if (c->all)
            check_combinations(c, (const struct build *)c->builds->pdata[i]);
        else
            check_pairs(c, (const struct build *)c->builds->pdata[i]);
    }
}

int main(int argc, char **argv)
{
    struct coverage c = {.builds = g_ptr_array_new_with_free_func(build_free), .quiet = true};
    c.all = argc > 1 && strcmp(argv[1], "--all") == 0;
    if (argc < 4 || (!c.all && strcmp(argv[1], "--coverage") != 0)) {
        fprintf(stderr, "usage: %s --coverage|--all FOLDER NAME...\n", argv[0]);
        return EXIT_FAILURE;
    }
    read_builds(&c);
    check_ops();
    check_builds(&c);
    CHECK(c.goals > 500 && c.missing == c.goals - c.elsewhere,
          "%d of %d missing although no test was looked at", c.missing, c.goals);
    read_records(&c, argv[2], argv + 3);
    c.quiet = false;
    printf("Without a test:\n");
    check_builds(&c);
    printf("%s%d of %d variants of %u shader builds without a test\n", c.missing ? "" : "  none\n",
           c.missing, c.goals - c.elsewhere, c.builds->len);
    printf("Needs hardware (cooperative matrices): %d variants\n", c.elsewhere);
    CHECK(c.missing == 0 || c.all);
    g_ptr_array_free(c.builds, true);
    return check_result();
}
