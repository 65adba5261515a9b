/*
 * [from:to:when], [to:when], [from::when] and [a|b]. Brackets are matched with a stack; a pair
 * whose inside fits none of A1111's forms is text, and so is everything around it that is still
 * open.
 */
#include "clip/prompt.h"

#include "clip/prompt_text.h"

#include <math.h>
#include <string.h>

enum { NONE = -1 };

struct item {
    enum { TEXT, SWITCH, ALTERNATE, SECTION } kind;
    const char *start; /* TEXT: in the prompt; SECTION: the bracket, ':' or '|' before it */
    size_t length;     /* TEXT */
    int next;          /* in its list */
    int first, last;   /* lists: a SECTION's items, an ALTERNATE's SECTIONs */
    int before, after; /* SWITCH: SECTIONs, or NONE */
    int number;        /* SWITCH: the last step of `before`; ALTERNATE: how many SECTIONs */
};

/* An open bracket (or the whole prompt): what was read since, divided at its ':' and '|'. */
struct frame {
    char bracket;
    int first, last; /* SECTIONs */
    int colons, pipes;
};

struct parser {
    struct prompt_timeline timeline;
    GArray *items, *frames;
    bool *ends; /* [steps + 1]: something changes after this step */
    bool alternates, literal;
};

static struct item *item_at(const struct parser *p, int i)
{
    return &g_array_index(p->items, struct item, i);
}

static struct frame *frame_at(const struct parser *p, guint i)
{
    return &g_array_index(p->frames, struct frame, i);
}

static struct frame *top(const struct parser *p)
{
    return frame_at(p, p->frames->len - 1);
}

static int add_item(struct parser *p, struct item item)
{
    item.next = NONE;
    g_array_append_val(p->items, item);
    return (int)p->items->len - 1;
}

static void add_section(struct parser *p, struct frame *f, const char *separator)
{
    int i = add_item(
        p, (struct item){.kind = SECTION, .start = separator, .first = NONE, .last = NONE});
    if (f->last == NONE)
        f->first = i;
    else
        item_at(p, f->last)->next = i;
    f->last = i;
}

/* Appends a list of items to the last section of a frame. */
static void append(const struct parser *p, const struct frame *f, int first, int last)
{
    struct item *section = item_at(p, f->last);
    if (first == NONE)
        return;
    if (section->last == NONE)
        section->first = first;
    else
        item_at(p, section->last)->next = first;
    section->last = last;
}

static void append_item(struct parser *p, const struct frame *f, struct item item)
{
    int i = add_item(p, item);
    append(p, f, i, i);
}

static void append_text(struct parser *p, const struct frame *f, const char *start, size_t length)
{
    append_item(p, f, (struct item){.kind = TEXT, .start = start, .length = length});
}

static void open_frame(struct parser *p, const char *at)
{
    struct frame f = {.bracket = at ? *at : '\0', .first = NONE, .last = NONE};
    add_section(p, &f, at);
    g_array_append_val(p->frames, f);
}

/* All that a frame read, its bracket and separators included, becomes text of another. */
static void flatten(struct parser *p, struct frame from, const struct frame *into)
{
    for (int i = from.first; i != NONE; i = item_at(p, i)->next) {
        append_text(p, into, item_at(p, i)->start, 1);
        append(p, into, item_at(p, i)->first, item_at(p, i)->last);
    }
}

/* What is open will not be closed. A '|' outside of [a|b] is not in A1111's grammar: then nothing
 * of the prompt is. */
static void give_up_open(struct parser *p)
{
    for (guint i = 1; i < p->frames->len; i++) {
        p->literal |= frame_at(p, i)->pipes > 0;
        flatten(p, *frame_at(p, i), frame_at(p, 0));
    }
    g_array_set_size(p->frames, 1);
}

static int step_of(const struct prompt_timeline *t, double v, bool point)
{
    bool hires = t->first_steps > 0 && !t->old;
    if (t->old)
        v = v < 1 ? v * t->steps : v;
    else if (point)
        v = (v - (hires ? 1.0 : 0.0)) * t->steps;
    else
        v -= hires ? t->first_steps : 0;
    return (int)fmax(-1, fmin(v, t->steps));
}

/* The number that ends "[a:b: 3 ]"; false when [start, end) is none. ASCII digits only. */
static bool read_when(const struct prompt_timeline *t, const char *start, const char *end,
                      int *step)
{
    double value;
    start = prompt_skip_spaces(start, end);
    end = prompt_trim_spaces(start, end);
    for (const char *at = start; at < end; at++)
        if (!strchr("0123456789+-.eE", *at))
            return false;
    if (!prompt_number(start, end, true, &value))
        return false;
    *step = step_of(t, value, memchr(start, '.', (size_t)(end - start)) != NULL);
    return true;
}

/* Makes the top frame one item of the frame below, if A1111's grammar has a form for it. */
static bool close_frame(struct parser *p, const char *close)
{
    struct frame f = *top(p);
    const struct frame *below = frame_at(p, p->frames->len - 2);
    if (f.bracket != (*close == ')' ? '(' : '['))
        return false;
    if (f.bracket == '(' ? !f.pipes && f.colons <= 1 : !f.pipes && !f.colons) {
        flatten(p, f, below);
        append_text(p, below, close, 1);
    } else if (f.bracket == '[' && f.pipes && !f.colons) {
        append_item(p, below,
                    (struct item){.kind = ALTERNATE, .first = f.first, .number = f.pipes + 1});
        p->alternates = true;
    } else if (f.bracket == '[' && !f.pipes && f.colons <= 2) {
        struct item s = {.kind = SWITCH, .before = NONE, .after = f.first};
        if (!read_when(&p->timeline, item_at(p, f.last)->start + 1, close, &s.number))
            return false;
        if (f.colons == 2) {
            s.before = f.first;
            s.after = item_at(p, f.first)->next;
        }
        if (s.number >= 1)
            p->ends[s.number] = true;
        append_item(p, below, s);
    } else {
        return false;
    }
    g_array_set_size(p->frames, p->frames->len - 1);
    return true;
}

static void read_mark(struct parser *p, const char *at)
{
    struct frame *f = top(p);
    switch (*at) {
    case '[':
    case '(':
        open_frame(p, at);
        break;
    case ':':
    case '|':
        f->colons += *at == ':';
        f->pipes += *at == '|';
        add_section(p, f, at);
        break;
    default:
        if (p->frames->len == 1 || !close_frame(p, at)) {
            give_up_open(p);
            append_text(p, top(p), at, 1);
        }
    }
}

static void parse(struct parser *p, const char *text)
{
    open_frame(p, NULL);
    for (const char *at = text; *at && !p->literal;) {
        const char *run = at;
        while (*at && !strchr("[]():|", *at)) {
            bool escape = *at == '\\';
            at = g_utf8_next_char(at);
            if (!escape)
                continue;
            /* A backslash needs something after it, or A1111's parser gives up. */
            if (*at == '\n' || *at == '\0')
                p->literal = true;
            else
                at = g_utf8_next_char(at);
        }
        if (at > run)
            append_text(p, top(p), run, (size_t)(at - run));
        if (*at)
            read_mark(p, at++);
    }
    give_up_open(p);
    p->literal |= top(p)->pipes > 0;
}

/* The text in force at a step, counted from 1. */
static char *text_at(const struct parser *p, int step)
{
    GString *out = g_string_new(NULL);
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(int)); /* items to come */
    for (int i = frame_at(p, 0)->first; i != NONE || stack->len;) {
        if (i == NONE) {
            i = g_array_index(stack, int, stack->len - 1);
            g_array_set_size(stack, stack->len - 1);
            continue;
        }
        const struct item *it = item_at(p, i);
        int inner = NONE;
        if (it->kind == TEXT) {
            g_string_append_len(out, it->start, (gssize)it->length);
        } else if (it->kind == SECTION) { /* of the whole prompt: its separators are text */
            if (it->start)
                g_string_append_c(out, *it->start);
            inner = it->first;
        } else if (it->kind == SWITCH) {
            int section = step <= it->number ? it->before : it->after;
            inner = section == NONE ? NONE : item_at(p, section)->first;
        } else {
            int section = it->first;
            for (int n = (step - 1) % it->number; n > 0; n--)
                section = item_at(p, section)->next;
            inner = item_at(p, section)->first;
        }
        i = it->next;
        if (inner != NONE) {
            g_array_append_val(stack, i);
            i = inner;
        }
    }
    return g_string_free(out, FALSE);
}

static void text_free(gpointer data)
{
    struct prompt_text *t = data;
    g_free(t->text);
    g_free(t);
}

static void add_text(GPtrArray *schedule, int end_step, char *text)
{
    struct prompt_text *t = g_new(struct prompt_text, 1);
    *t = (struct prompt_text){end_step, text};
    g_ptr_array_add(schedule, t);
}

GPtrArray *prompt_schedule(const char *text, struct prompt_timeline timeline)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    if (timeline.old && timeline.first_steps > 0)
        timeline.steps = timeline.first_steps;
    timeline.steps = MAX(timeline.steps, 1);
    struct parser p = {.timeline = timeline};
    p.items = g_array_new(FALSE, FALSE, sizeof(struct item));
    p.frames = g_array_new(FALSE, FALSE, sizeof(struct frame));
    p.ends = g_new0(bool, timeline.steps + 1);
    GPtrArray *schedule = g_ptr_array_new_with_free_func(text_free);
    parse(&p, valid);
    p.ends[timeline.steps] = true;
    if (p.literal)
        add_text(schedule, timeline.steps, g_strdup(valid));
    for (int step = 1; !p.literal && step <= timeline.steps; step++)
        if (p.alternates || p.ends[step])
            add_text(schedule, step, text_at(&p, step));
    g_array_free(p.items, TRUE);
    g_array_free(p.frames, TRUE);
    g_free(p.ends);
    return schedule;
}

const char *prompt_at_step(const GPtrArray *schedule, int step)
{
    for (guint i = 0; i < schedule->len; i++) {
        const struct prompt_text *t = schedule->pdata[i];
        if (step <= t->end_step)
            return t->text;
    }
    return ((const struct prompt_text *)schedule->pdata[0])->text;
}
