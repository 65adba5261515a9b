#include "clip/prompt.h"

#include "clip/prompt_text.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

#define WEIGHT_LIMIT 1e6
/* ComfyUI reads nested brackets by recursion, which Python ends at about this depth. */
#define COMFY_DEPTH 900

bool prompt_check(const char *text, GError **error)
{
    size_t length = strlen(text);
    if (length <= PROMPT_LIMIT)
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                _("The prompt has %zu characters; the limit is %u. Shorten it."), length,
                PROMPT_LIMIT);
    return false;
}

/* One of A1111's two passes: comments that are a whole line go with the line break before them. */
static char *strip_comments(const char *text, bool whole_lines)
{
    GString *out = g_string_new(NULL);
    for (const char *at = text; *at;) {
        bool hit = *at == '#' && (!whole_lines || at == text);
        if (whole_lines && *at == '\n' && at[1] == '#')
            hit = true, at++;
        if (!hit) {
            g_string_append_c(out, *at++);
            continue;
        }
        while (*at && *at != '\n')
            at++;
        g_string_append_c(out, '\n');
        at += *at == '\n';
    }
    return g_string_free(out, FALSE);
}

char *prompt_strip_comments(const char *text)
{
    g_autofree char *lines = strip_comments(text, true);
    return strip_comments(lines, false);
}

/* ---- networks ---- */

void prompt_network_free(struct prompt_network *network)
{
    g_free(network->kind);
    g_free(network->name);
    g_free(network);
}

static void read_weight(const char *text, double *value)
{
    const char *end = text + strlen(text);
    const char *start = prompt_skip_spaces(text, end);
    prompt_number(start, prompt_trim_spaces(start, end), true, value);
}

static void read_rank(const char *text, int *rank)
{
    double value = 0;
    read_weight(text, &value);
    if (value >= 1 && value <= 65536)
        *rank = (int)value;
}

static struct prompt_network *network_create(const char *kind, size_t kind_length,
                                             const char *arguments, size_t length)
{
    struct prompt_network *n = g_new0(struct prompt_network, 1);
    g_autofree char *all = g_strndup(arguments, length);
    g_auto(GStrv) items = g_strsplit(all, ":", -1);
    const char *positional[4] = {0}, *te = NULL, *unet = NULL, *dyn = NULL;
    int count = 0;
    for (int i = 0; items[i]; i++) {
        const char *equals = strchr(items[i], '=');
        if (!equals || strchr(equals + 1, '=')) {
            if (count < 4)
                positional[count++] = items[i];
        } else if (g_str_has_prefix(items[i], "te=")) {
            te = equals + 1;
        } else if (g_str_has_prefix(items[i], "unet=")) {
            unet = equals + 1;
        } else if (g_str_has_prefix(items[i], "dyn=")) {
            dyn = equals + 1;
        }
    }
    n->kind = g_strndup(kind, kind_length);
    n->name = g_strdup(positional[0] ? positional[0] : "");
    n->text_weight = 1;
    for (int i = 0; i < 2; i++) {
        const char *said = i ? te : positional[1];
        if (said)
            read_weight(said, &n->text_weight);
    }
    n->unet_weight = n->text_weight;
    for (int i = 0; i < 2; i++) {
        const char *said = i ? unet : positional[2];
        if (said)
            read_weight(said, &n->unet_weight);
    }
    for (int i = 0; i < 2; i++) {
        const char *said = i ? dyn : positional[3];
        if (said)
            read_rank(said, &n->rank);
    }
    return n;
}

char *prompt_take_networks(const char *text, GPtrArray *networks)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);
    /* Where the next '>' is; looked for once, so that many '<' do not search the text many times.
     */
    const char *close = strchr(valid, '>');
    for (const char *at = valid; *at;) {
        if (close && close < at)
            close = strchr(at, '>');
        const char *word = at + 1;
        const char *end = word;
        while (*at == '<' && close && prompt_is_word(g_utf8_get_char(end)))
            end = g_utf8_next_char(end);
        if (*at == '<' && close && end > word && *end == ':' && end + 1 < close) {
            g_ptr_array_add(networks, network_create(word, (size_t)(end - word), end + 1,
                                                     (size_t)(close - end - 1)));
            at = close + 1;
        } else {
            g_string_append_c(out, *at++);
        }
    }
    return g_string_free(out, FALSE);
}

/* ---- AND ---- */

static void part_free(gpointer data)
{
    struct prompt_part *part = data;
    g_ptr_array_unref(part->schedule);
    g_free(part);
}

/* A part may end in ":weight". */
static struct prompt_part *part_create(const char *start, const char *end,
                                       struct prompt_timeline timeline)
{
    struct prompt_part *part = g_new(struct prompt_part, 1);
    end = prompt_trim_spaces(start, end);
    part->weight = 1;
    const char *colon = memrchr(start, ':', (size_t)(end - start));
    if (colon && prompt_number(prompt_skip_spaces(colon + 1, end), end, false, &part->weight))
        end = prompt_trim_spaces(start, colon);
    g_autofree char *text = g_strndup(start, (size_t)(end - start));
    part->schedule = prompt_schedule(text, timeline);
    return part;
}

GPtrArray *prompt_parts(const char *text, struct prompt_timeline timeline)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GPtrArray *parts = g_ptr_array_new_with_free_func(part_free);
    const char *end = valid + strlen(valid), *start = valid;
    for (const char *at = valid; at; start = at) {
        const char *and = prompt_find_word(valid, at, end, "AND");
        g_ptr_array_add(parts, part_create(start, and? and : end, timeline));
        at = and? and+strlen("AND") : NULL;
    }
    return parts;
}

/* ---- emphasis ---- */

struct pieces {
    GPtrArray *list;
    GArray *weights; /* double, one a piece: kept apart so that ranges multiply fast */
};

static void piece_free(gpointer data)
{
    struct prompt_piece *piece = data;
    g_free(piece->text);
    g_free(piece);
}

static void add_piece(struct pieces *p, const char *start, const char *end, double weight)
{
    struct prompt_piece *piece = g_new(struct prompt_piece, 1);
    *piece = (struct prompt_piece){g_strndup(start, (size_t)(end - start)), weight, false};
    g_ptr_array_add(p->list, piece);
    g_array_append_val(p->weights, weight);
}

/* Words, divided at BREAK. A BREAK has weight -1, as in A1111: in brackets that becomes another
 * number, and then it is a word like others. */
static void add_words(struct pieces *p, const char *start, const char *end)
{
    const char *at = start, *found;
    while ((found = prompt_find_word(start, at, end, "BREAK"))) {
        add_piece(p, at, prompt_trim_spaces(at, found), 1);
        at = found + strlen("BREAK");
        add_piece(p, found, at, -1);
        at = prompt_skip_spaces(at, end);
    }
    add_piece(p, at, end, 1);
}

/* ":1.2)" at `at`: where it ends, or NULL. */
static const char *match_weight(const char *at, const char *end, double *weight)
{
    const char *start = prompt_skip_spaces(at + 1, end), *number = start;
    if (number < end && (*number == '+' || *number == '-'))
        number++;
    while (number < end && (*number == '.' || g_unichar_isdigit(g_utf8_get_char(number))))
        number = g_utf8_next_char(number);
    const char *close = prompt_skip_spaces(number, end);
    if (close == end || *close != ')' || !prompt_number(start, number, false, weight))
        return NULL;
    return close + 1;
}

/* Closes the innermost of `open`. */
static void multiply(struct pieces *p, GArray *open, double by)
{
    double *w = (double *)p->weights->data;
    for (guint i = g_array_index(open, guint, open->len - 1); i < p->weights->len; i++)
        w[i] *= by;
    g_array_set_size(open, open->len - 1);
}

/* One token of A1111's emphasis grammar at `at`; returns where the next starts. */
static const char *read_emphasis(struct pieces *p, GArray *round, GArray *square, const char *at,
                                 const char *end)
{
    guint here = p->weights->len;
    double weight;
    const char *after;
    switch (*at) {
    case '\\':
        after = at + 1 < end && strchr("()[]\\", at[1]) ? at + 2 : at + 1;
        add_piece(p, at + 1, after, 1);
        return after;
    case '(':
        g_array_append_val(round, here);
        return at + 1;
    case '[':
        g_array_append_val(square, here);
        return at + 1;
    case ')':
        if (round->len)
            multiply(p, round, 1.1);
        else
            add_piece(p, at, at + 1, 1);
        return at + 1;
    case ']':
        if (square->len)
            multiply(p, square, 1 / 1.1);
        else
            add_piece(p, at, at + 1, 1);
        return at + 1;
    case ':':
        after = match_weight(at, end, &weight);
        if (after && round->len)
            multiply(p, round, weight);
        else
            add_piece(p, at, after ? after : at + 1, 1);
        return after ? after : at + 1;
    default:
        after = at;
        while (after < end && !strchr("\\()[]:", *after))
            after++;
        add_words(p, at, after);
        return after;
    }
}

static void read_a1111(struct pieces *p, const char *text, const char *end)
{
    g_autoptr(GArray) round = g_array_new(FALSE, FALSE, sizeof(guint));
    g_autoptr(GArray) square = g_array_new(FALSE, FALSE, sizeof(guint));
    for (const char *at = text; at < end;)
        at = read_emphasis(p, round, square, at, end);
    /* What was not closed holds to the end: outer brackets first, as A1111 multiplies. */
    for (int kind = 0; kind < 2; kind++) {
        const GArray *open = kind ? square : round;
        for (guint i = 0; i < open->len; i++)
            for (guint j = g_array_index(open, guint, i); j < p->weights->len; j++)
                g_array_index(p->weights, double, j) *= kind ? 1 / 1.1 : 1.1;
    }
}

/* A stretch of text that ComfyUI's reader still has to divide at its outer brackets. */
struct stretch {
    const char *at, *end;
    double weight;
};

/* "(text)" or "(text:1.2)" as the stretch inside. */
static struct stretch enter(const char *start, const char *end, double weight)
{
    struct stretch s = {start + 1, end - 1, weight * 1.1};
    const char *colon = memrchr(s.at, ':', (size_t)(s.end - s.at));
    if (!colon || colon == s.at)
        return s;
    const char *number = prompt_skip_spaces(colon + 1, s.end);
    if (prompt_number(number, prompt_trim_spaces(number, s.end), true, &s.weight))
        s.end = colon;
    return s;
}

/* The end of the item at s->at: plain text up to a bracket, or a bracket with its partner. A ')'
 * too many is text and lets the next '(' be text as well. */
static const char *comfy_item(const struct stretch *s)
{
    int depth = 0;
    const char *at = s->at;
    for (; at < s->end; at++) {
        if (*at == '(') {
            if (depth == 0 && at > s->at)
                return at;
            depth++;
        } else if (*at == ')' && --depth == 0) {
            return at + 1;
        }
    }
    return at;
}

static void read_comfy(struct pieces *p, const char *text, const char *end)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(struct stretch));
    struct stretch whole = {text, end, 1};
    g_array_append_val(stack, whole);
    while (stack->len) {
        struct stretch *s = &g_array_index(stack, struct stretch, stack->len - 1);
        if (s->at == s->end) {
            g_array_set_size(stack, stack->len - 1);
            continue;
        }
        const char *start = s->at, *stop = comfy_item(s);
        s->at = stop;
        if (stop - start >= 2 && *start == '(' && stop[-1] == ')' && stack->len < COMFY_DEPTH) {
            struct stretch inner = enter(start, stop, s->weight);
            g_array_append_val(stack, inner);
        } else {
            add_piece(p, start, stop, s->weight);
        }
    }
}

static char *replace(const char *text, const char *from, const char *to)
{
    g_auto(GStrv) parts = g_strsplit(text, from, -1);
    return g_strjoinv(to, parts);
}

/* Escaped brackets stand as \x01 and \x02 while ComfyUI's brackets are read. */
static char *hide_escapes(const char *text)
{
    g_autofree char *once = replace(text, "\\)", "\x01");
    return replace(once, "\\(", "\x02");
}

static void show_escapes(char *text)
{
    for (; *text; text++)
        if (*text == '\x01' || *text == '\x02')
            *text = *text == '\x01' ? ')' : '(';
}

/* A1111 joins neighbours of one weight, and only then looks for BREAK. */
static GPtrArray *merge(struct pieces *p, bool a1111)
{
    GPtrArray *merged = g_ptr_array_new_with_free_func(piece_free);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < p->list->len;) {
        double weight = g_array_index(p->weights, double, i);
        g_string_truncate(text, 0);
        do
            g_string_append(text, ((struct prompt_piece *)p->list->pdata[i++])->text);
        while (a1111 && i < p->list->len && g_array_index(p->weights, double, i) == weight);
        struct prompt_piece *out = g_new(struct prompt_piece, 1);
        *out = (struct prompt_piece){g_strdup(text->str), 1, false};
        out->ends_chunk = a1111 && weight == -1 && strcmp(text->str, "BREAK") == 0;
        if (!isnan(weight))
            out->weight = CLAMP(weight, -WEIGHT_LIMIT, WEIGHT_LIMIT);
        g_ptr_array_add(merged, out);
    }
    return merged;
}

GPtrArray *prompt_pieces(const char *text, enum prompt_grammar grammar)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    struct pieces p = {g_ptr_array_new_with_free_func(piece_free),
                       g_array_new(FALSE, FALSE, sizeof(double))};
    if (grammar == PROMPT_A1111) {
        read_a1111(&p, valid, valid + strlen(valid));
    } else if (grammar == PROMPT_COMFY) {
        g_autofree char *hidden = hide_escapes(valid);
        read_comfy(&p, hidden, hidden + strlen(hidden));
        for (guint i = 0; i < p.list->len; i++)
            show_escapes(((struct prompt_piece *)p.list->pdata[i])->text);
    } else {
        add_piece(&p, valid, valid + strlen(valid), 1);
    }
    if (p.list->len == 0)
        add_piece(&p, "", "", 1);
    GPtrArray *merged = merge(&p, grammar == PROMPT_A1111);
    g_ptr_array_unref(p.list);
    g_array_free(p.weights, TRUE);
    return merged;
}
