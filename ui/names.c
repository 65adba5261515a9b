#include "ui/names.h"

#include <adwaita.h>
#include <string.h>

/* Said once: a label inside, or the row's that it is the switch of, would say it again. */
static void set_name(GtkWidget *widget, const char *name)
{
    gtk_accessible_reset_relation(GTK_ACCESSIBLE(widget), GTK_ACCESSIBLE_RELATION_LABELLED_BY);
    gtk_accessible_update_property(GTK_ACCESSIBLE(widget), GTK_ACCESSIBLE_PROPERTY_LABEL, name, -1);
}

/* "Main menu (F10)" is called "Main menu". */
static char *without_shortcut(const char *tooltip)
{
    const char *bracket = strrchr(tooltip, '(');
    if (!bracket || bracket == tooltip || !g_str_has_suffix(tooltip, ")"))
        return g_strdup(tooltip);
    return g_strchomp(g_strndup(tooltip, (gsize)(bracket - tooltip)));
}

static char *without_underline(const char *label)
{
    GString *text = g_string_new(NULL);
    for (const char *c = label; *c; c++)
        if (*c != '_' || c[1] == '_')
            g_string_append_c(text, *c);
    return g_string_free(text, FALSE);
}

static const char *words_of(GtkWidget *widget)
{
    if (GTK_IS_BUTTON(widget))
        return gtk_button_get_label(GTK_BUTTON(widget));
    if (GTK_IS_MENU_BUTTON(widget))
        return gtk_menu_button_get_label(GTK_MENU_BUTTON(widget));
    return NULL;
}

static gboolean is_control(GtkWidget *widget)
{
    return GTK_IS_BUTTON(widget) || GTK_IS_MENU_BUTTON(widget) || GTK_IS_DROP_DOWN(widget);
}

/* A field without words of its own is called as the row it stands in. */
static void name_field(GtkWidget *widget)
{
    GtkWidget *row = gtk_widget_get_ancestor(widget, ADW_TYPE_PREFERENCES_ROW);
    const char *title = row ? adw_preferences_row_get_title(ADW_PREFERENCES_ROW(row)) : NULL;
    if (title && *title)
        set_name(widget, title);
}

static void name(GtkWidget *widget)
{
    const char *words = words_of(widget), *tooltip = gtk_widget_get_tooltip_text(widget);
    g_autofree char *text = NULL;
    if (words && strchr(words, '_'))
        text = without_underline(words);
    else if (!words && tooltip)
        text = without_shortcut(tooltip);
    if (!text)
        return;
    set_name(widget, text);
    /* What has the focus is the button inside; that of a menu button is labelled by it. */
    GtkWidget *inside = gtk_widget_get_first_child(widget);
    if (GTK_IS_DROP_DOWN(widget) && inside)
        set_name(inside, text);
}

void fig_names_set(GtkWidget *root)
{
    if (GTK_IS_SPIN_BUTTON(root) || GTK_IS_SCALE(root) || GTK_IS_SWITCH(root))
        name_field(root);
    else if (is_control(root))
        name(root);
    for (GtkWidget *child = gtk_widget_get_first_child(root); child;
         child = gtk_widget_get_next_sibling(child))
        fig_names_set(child);
}
