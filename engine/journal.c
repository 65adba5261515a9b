#include "engine/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <jansson.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

struct journal {
    char *path;
    GPtrArray *jobs; /* struct journal_job *, in order */
    unsigned next_key;
    bool crashed;
};

/* How each field of a request is written; a request that grows a field grows a line here. */
enum kind { TEXT, INT, UINT64, REAL, BOOL };
static const struct field {
    const char *name;
    enum kind kind;
    size_t at;
} fields[] = {
#define FIELD(kind, name)                                                                          \
    {                                                                                              \
#name, kind, offsetof(struct request, name)                                                \
    }
    FIELD(TEXT, prompt),
    FIELD(TEXT, negative),
    FIELD(TEXT, styles),
    FIELD(INT, emphasis),
    FIELD(TEXT, model),
    FIELD(TEXT, vae),
    FIELD(BOOL, taesd),
    FIELD(BOOL, low_memory),
    FIELD(INT, width),
    FIELD(INT, height),
    FIELD(INT, steps),
    FIELD(REAL, cfg),
    FIELD(TEXT, sampler),
    FIELD(TEXT, schedule),
    FIELD(BOOL, fixed_seed),
    FIELD(UINT64, seed),
    FIELD(INT, batch),
    FIELD(INT, clip_skip),
    FIELD(INT, rng),
    FIELD(BOOL, fixed_eta),
    FIELD(REAL, eta),
    FIELD(UINT64, variation_seed),
    FIELD(REAL, variation_strength),
    FIELD(TEXT, init_path),
    FIELD(TEXT, mask_path),
    FIELD(REAL, strength),
    FIELD(TEXT, device),
    FIELD(TEXT, precision),
    FIELD(TEXT, folder),
    FIELD(TEXT, pattern),
    FIELD(TEXT, output),
    FIELD(INT, format),
    FIELD(INT, quality),
    FIELD(BOOL, no_metadata),
    FIELD(INT, preview_every),
#undef FIELD
};

static json_t *request_to_json(const struct request *request)
{
    json_t *object = json_object();
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        const char *at = (const char *)request + fields[i].at;
        json_t *value = NULL;
        switch (fields[i].kind) {
        case TEXT:
            if (*(char *const *)at)
                value = json_string(*(char *const *)at);
            break;
        case INT:
            value = json_integer(*(const int *)at);
            break;
        case UINT64: { /* JSON's integers end at 2^63 in jansson */
            g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, *(const uint64_t *)at);
            value = json_string(digits);
            break;
        }
        case REAL:
            value = json_real(*(const double *)at);
            break;
        case BOOL:
            value = json_boolean(*(const bool *)at);
            break;
        }
        if (value)
            json_object_set_new(object, fields[i].name, value);
    }
    return object;
}

static void request_from_json(struct request *request, json_t *object)
{
    memset(request, 0, sizeof *request);
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        json_t *value = json_object_get(object, fields[i].name);
        char *at = (char *)request + fields[i].at;
        switch (fields[i].kind) {
        case TEXT:
            *(char **)at = g_strdup(json_string_value(value));
            break;
        case INT:
            *(int *)at = (int)CLAMP(json_integer_value(value), G_MININT, G_MAXINT);
            break;
        case UINT64:
            *(uint64_t *)at =
                json_is_string(value) ? g_ascii_strtoull(json_string_value(value), NULL, 10) : 0;
            break;
        case REAL:
            *(double *)at = json_number_value(value);
            break;
        case BOOL:
            *(bool *)at = json_is_true(value);
            break;
        }
    }
}

static void job_free(void *data)
{
    struct journal_job *job = data;
    request_clear(&job->request);
    g_free(job);
}

static void load_job(struct journal *journal, json_t *object)
{
    if (!json_is_object(object) || !json_is_object(json_object_get(object, "request")))
        return;
    struct journal_job *job = g_new0(struct journal_job, 1);
    request_from_json(&job->request, json_object_get(object, "request"));
    job->key = journal->next_key++;
    job->request.batch = CLAMP(job->request.batch, 1, 999);
    job->done =
        (int)CLAMP(json_integer_value(json_object_get(object, "done")), 0, job->request.batch);
    job->begun = (int)CLAMP(json_integer_value(json_object_get(object, "begun")), 0, 100);
    job->running = json_is_true(json_object_get(object, "running"));
    job->set_aside = json_is_true(json_object_get(object, "set_aside"));
    job->submitted = json_integer_value(json_object_get(object, "submitted"));
    if (journal->crashed && job->running)
        job->begun++;
    if (job->begun >= 2)
        job->set_aside = true;
    g_ptr_array_add(journal->jobs, job);
}

struct journal *journal_open(const char *path)
{
    struct journal *journal = g_new0(struct journal, 1);
    journal->path = path ? g_strdup(path)
                         : g_build_filename(g_get_user_data_dir(), "figment", "queue.json", NULL);
    journal->jobs = g_ptr_array_new_with_free_func(job_free);
    journal->next_key = 1;

    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents(journal->path, &text, &length, NULL))
        return journal;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(root) && json_is_array(json_object_get(root, "jobs"))) {
        journal->crashed = json_is_true(json_object_get(root, "open"));
        size_t i;
        json_t *object;
        json_array_foreach(json_object_get(root, "jobs"), i, object) load_job(journal, object);
    } else {
        g_autofree char *aside = g_strconcat(journal->path, ".damaged", NULL);
        if (g_rename(journal->path, aside) == 0)
            g_warning("the saved queue was damaged; it was set aside as “%s”", aside);
    }
    json_decref(root);
    return journal;
}

static bool save(struct journal *journal, bool open, GError **error)
{
    json_t *jobs = json_array();
    for (unsigned i = 0; i < journal->jobs->len; i++) {
        const struct journal_job *job = journal->jobs->pdata[i];
        json_array_append_new(jobs,
                              json_pack("{s:o, s:i, s:i, s:b, s:b, s:I}", "request",
                                        request_to_json(&job->request), "done", job->done, "begun",
                                        job->begun, "running", job->running, "set_aside",
                                        job->set_aside, "submitted", (json_int_t)job->submitted));
    }
    json_t *root = json_pack("{s:i, s:b, s:o}", "version", 1, "open", open, "jobs", jobs);
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);

    g_autofree char *folder = g_path_get_dirname(journal->path);
    g_mkdir_with_parents(folder, 0700);
    GError *cause = NULL;
    bool ok = g_file_set_contents_full(journal->path, text, -1,
                                       G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                       0600, &cause);
    free(text);
    if (!ok) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    _("The queue could not be saved (%s). It is kept in memory only."),
                    cause->message);
        g_clear_error(&cause);
    }
    return ok;
}

bool journal_save(struct journal *journal, GError **error)
{
    return save(journal, true, error);
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    for (unsigned i = 0; i < journal->jobs->len; i++)
        ((struct journal_job *)journal->jobs->pdata[i])->running = false;
    save(journal, false, NULL);
    g_ptr_array_unref(journal->jobs);
    g_free(journal->path);
    g_free(journal);
}

bool journal_crashed(const struct journal *journal)
{
    return journal->crashed;
}

unsigned journal_count(const struct journal *journal)
{
    return journal->jobs->len;
}

struct journal_job *journal_at(struct journal *journal, unsigned position)
{
    return journal->jobs->pdata[position];
}

static int index_of(struct journal *journal, unsigned key)
{
    for (unsigned i = 0; i < journal->jobs->len; i++)
        if (journal_at(journal, i)->key == key)
            return (int)i;
    return -1;
}

struct journal_job *journal_find(struct journal *journal, unsigned key)
{
    int i = index_of(journal, key);
    return i < 0 ? NULL : journal_at(journal, (unsigned)i);
}

struct journal_job *journal_add(struct journal *journal, const struct request *request)
{
    struct journal_job *job = g_new0(struct journal_job, 1);
    request_copy(&job->request, request);
    job->key = journal->next_key++;
    job->request.batch = CLAMP(request->batch, 1, 999);
    if (!job->request.fixed_seed) {
        job->request.seed = g_random_int();
        job->request.fixed_seed = true;
    }
    job->submitted = g_get_real_time() / 1000;
    g_ptr_array_add(journal->jobs, job);
    return job;
}

void journal_remove(struct journal *journal, unsigned key)
{
    int i = index_of(journal, key);
    if (i >= 0)
        g_ptr_array_remove_index(journal->jobs, (unsigned)i);
}

void journal_move(struct journal *journal, unsigned key, unsigned position)
{
    int i = index_of(journal, key);
    if (i < 0)
        return;
    void *job = g_ptr_array_steal_index(journal->jobs, (unsigned)i);
    g_ptr_array_insert(journal->jobs, (int)MIN(position, journal->jobs->len), job);
}

/* Is this the file of picture `index` of the job? By its settings (with wildcards or styles the
 * file tells what they became); by the seed in its name when it carries none. */
static bool is_picture_of(const struct journal_job *job, int index, const char *name,
                          const struct history_entry *entry)
{
    uint64_t seed = job->request.seed + (uint64_t)index;
    if (*entry->parameters) {
        g_autofree char *prompt = g_strstrip(g_strdup(job->request.prompt));
        const char *styles = job->request.styles;
        bool grows = strstr(prompt, "__") || strchr(prompt, '{') || (styles && *styles);
        return entry->seed == seed && (grows || g_strcmp0(entry->prompt, prompt) == 0);
    }
    g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, seed);
    const char *at = strstr(name, digits);
    return at && !g_ascii_isdigit(at[strlen(digits)]) && (at == name || !g_ascii_isdigit(at[-1]));
}

struct settling {
    struct journal_job *job;
    bool *there; /* picture i of the job lies on the disk */
    void (*found)(struct history_entry *entry, void *user);
    void *user;
};

static void settle_file(struct settling *s, const char *path, const char *name)
{
    struct history_entry *entry = history_read_picture(path, NULL);
    bool ours = false;
    for (int i = 0; entry && i < s->job->request.batch; i++)
        if (is_picture_of(s->job, i, name, entry))
            s->there[i] = ours = true;
    if (ours && s->found)
        s->found(entry, s->user);
    history_entry_free(entry);
}

/* A pattern may make folders; links to folders are not followed, so there are no cycles. */
static void settle_folder(struct settling *s, const char *folder, int depth)
{
    GDir *dir = depth < 8 ? g_dir_open(folder, 0, NULL) : NULL;
    if (!dir)
        return;
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        GStatBuf info;
        if (name[0] == '.' || g_lstat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            settle_folder(s, path, depth + 1);
        else if (S_ISREG(info.st_mode) &&
                 (int64_t)info.st_mtim.tv_sec * 1000 + 1999 >= s->job->submitted)
            settle_file(s, path, name);
    }
    g_dir_close(dir);
}

void journal_settle(struct journal *journal, const char *folder,
                    void (*found)(struct history_entry *entry, void *user), void *user)
{
    for (unsigned i = journal->jobs->len; i-- > 0;) {
        struct journal_job *job = journal_at(journal, i);
        if (!job->running)
            continue;
        g_autofree bool *there = g_new0(bool, job->request.batch);
        struct settling s = {job, there, found, user};
        settle_folder(&s, job->request.folder ? job->request.folder : folder, 0);
        while (job->done < job->request.batch && there[job->done])
            job->done++;
        job->running = false;
        if (job->done >= job->request.batch)
            g_ptr_array_remove_index(journal->jobs, i);
    }
}
