/* The axes of a batch run, as they are typed. */
#include "tests/check.h"
#include "ui/batch.h"

static void seeds(const char *text, int expected)
{
    g_autoptr(GArray) array = g_array_new(FALSE, FALSE, sizeof(guint64));
    g_autoptr(GError) error = NULL;
    gboolean ok = fig_batch_parse_seeds(text, array, &error);
    CHECK(ok == (expected > 0) && (ok || error), "“%s”", text);
    CHECK(expected <= 0 || (int)array->len == expected, "“%s”: %u", text, array->len);
}

static void guidances(const char *text, int expected)
{
    g_autoptr(GArray) array = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(GError) error = NULL;
    gboolean ok = fig_batch_parse_guidances(text, array, &error);
    CHECK(ok == (expected > 0) && (ok || error), "“%s”", text);
    CHECK(expected <= 0 || (int)array->len == expected, "“%s”: %u", text, array->len);
}

int main(void)
{
    seeds("1", 1);
    seeds("1, 2,5-8", 6);
    seeds("0-999", 1000);
    seeds("18446744073709551610-18446744073709551615", 6);
    seeds("0-1000", 0);
    seeds("8-5", 0);
    seeds("", 0);
    seeds("-3", 0);
    seeds("1;2", 0);
    seeds("18446744073709551616", 0);
    guidances("3, 5, 7.5", 3);
    guidances("1", 1);
    guidances("0.5", 0);
    guidances("31", 0);
    guidances("nan", 0);
    guidances("7,5x", 0);
    return check_result();
}
