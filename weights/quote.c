#include "weights/quote.h"

#include <glib/gi18n-lib.h>
#include <string.h>

enum { QUOTE_MAX = 80 };

G_DEFINE_QUARK(weights - error - quark, weights_error)

/* Format characters (bidirectional overrides, zero-width ones) can make a name read as another one.
 */
static bool is_plain(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_UNASSIGNED:
    case G_UNICODE_PRIVATE_USE:
    case G_UNICODE_SURROGATE:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return false;
    default:
        return true;
    }
}

char *weights_escape(const char *text, gssize len)
{
    GString *s = g_string_new(NULL);
    const char *p = text, *end = text + (len < 0 ? strlen(text) : (size_t)len);
    unsigned shown = 0; /* characters after escaping */
    while (p < end) {
        gunichar c = g_utf8_get_char_validated(p, end - p);
        const char *next = p + 1;
        char piece[16];
        if (c == 0 || (gint32)c < 0)
            g_snprintf(piece, sizeof piece, "\\x%02x", (guint8)*p);
        else if (!is_plain(c))
            g_snprintf(piece, sizeof piece, c < 0x80 ? "\\x%02x" : "\\u{%04x}", c);
        else
            piece[g_unichar_to_utf8(c, piece)] = 0;
        if (c != 0 && (gint32)c >= 0)
            next = g_utf8_next_char(p);
        unsigned width = (unsigned)g_utf8_strlen(piece, -1);
        if (shown + width > QUOTE_MAX - (next < end ? 1u : 0u)) {
            g_string_append(s, "…");
            break;
        }
        g_string_append(s, piece);
        shown += width;
        p = next;
    }
    return g_string_free(s, FALSE);
}

char *weights_quote(const char *text, gssize len)
{
    g_autofree char *plain = weights_escape(text, len);
    return g_strdup_printf(_("“%s”"), plain);
}

char *weights_quote_path(const char *path)
{
    g_autofree char *base = g_path_get_basename(path);
    return weights_quote(base, -1);
}

char *weights_size_text(guint64 bytes)
{
    if (bytes < 1000)
        return g_strdup_printf(g_dngettext(GETTEXT_PACKAGE, "%u byte", "%u bytes", (gulong)bytes),
                               (unsigned)bytes);
    const char *unit = bytes < 1000000 ? "kB" : bytes < 1000000000 ? "MB" : "GB";
    guint64 one = bytes < 1000000 ? 1000 : bytes < 1000000000 ? 1000000 : 1000000000;
    guint64 tenths = bytes / one * 10 + bytes % one * 10 / one; /* no float, no locale */
    if (tenths >= 100)
        return g_strdup_printf("%" G_GUINT64_FORMAT " %s", tenths / 10, unit);
    /* Translators: "4.3 GB", with your decimal mark. */
    return g_strdup_printf(_("%llu.%u %s"), (unsigned long long)(tenths / 10),
                           (unsigned)(tenths % 10), unit);
}
