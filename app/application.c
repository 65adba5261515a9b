#include "app/application.h"

#include "app/watchdog.h"
#include "engine/places.h"
#include "ui/preferences.h"
#include "ui/window.h"

#include <adwaita.h>
#include <glib-unix.h>
#include <glib/gi18n.h>
#include <malloc.h>

#define FIG_TYPE_APPLICATION (fig_application_get_type())
G_DECLARE_FINAL_TYPE(FigApplication, fig_application, FIG, APPLICATION, AdwApplication)

struct _FigApplication {
    AdwApplication parent_instance;

    /* Owned References, from start-up on */
    FigSettings *settings;
    FigRequest *request;
    FigBridge *bridge;
};

G_DEFINE_FINAL_TYPE(FigApplication, fig_application, ADW_TYPE_APPLICATION)

static void about(GSimpleAction *action, GVariant *parameter, gpointer user)
{
    (void)action;
    (void)parameter;
    GtkWindow *window = gtk_application_get_active_window(GTK_APPLICATION(user));
    adw_show_about_window(window, "application-name", "Figment", "application-icon",
                          "io.github.figment_app.Figment", "version", FIGMENT_VERSION,
                          "developer-name", _("The Figment authors"), "license-type",
                          GTK_LICENSE_MIT_X11, "comments",
                          _("A sentence becomes a picture, on your own computer. Pictures can be "
                            "wrong, and they can be "
                            "mistaken for real: say how they were made."),
                          "copyright", "© 2026 The Figment authors", NULL);
}

/* Out of a notification. */
static void show(GSimpleAction *action, GVariant *parameter, gpointer user)
{
    (void)action;
    (void)parameter;
    g_application_activate(G_APPLICATION(user));
}

static void quit(GSimpleAction *action, GVariant *parameter, gpointer user)
{
    (void)action;
    (void)parameter;
    GtkWindow *window = gtk_application_get_active_window(GTK_APPLICATION(user));
    if (window)
        gtk_window_close(window);
    else
        g_application_quit(G_APPLICATION(user));
}

/* A logout or Ctrl+C in the terminal ends it as the close button does: settings and queue are
 * written. */
static gboolean asked_to_end(gpointer user)
{
    quit(NULL, NULL, user);
    return G_SOURCE_REMOVE;
}

static const GActionEntry actions[] = {
    {.name = "about", .activate = about},
    {.name = "quit", .activate = quit},
    {.name = "show", .activate = show},
};

static void fig_application_startup(GApplication *application)
{
    FigApplication *self = FIG_APPLICATION(application);
    G_APPLICATION_CLASS(fig_application_parent_class)->startup(application);
    g_action_map_add_action_entries(G_ACTION_MAP(self), actions, G_N_ELEMENTS(actions), self);
    gtk_application_set_accels_for_action(GTK_APPLICATION(self), "app.quit",
                                          (const char *[]){"<Control>q", NULL});
    gtk_application_set_accels_for_action(
        GTK_APPLICATION(self), "win.generate",
        (const char *[]){"<Control>Return", "<Control>KP_Enter", NULL});
    gtk_window_set_default_icon_name("io.github.figment_app.Figment");
    g_unix_signal_add(SIGTERM, asked_to_end, self);
    g_unix_signal_add(SIGINT, asked_to_end, self);
    self->request = fig_request_new();
    self->settings = fig_settings_new(self->request);
    fig_preferences_apply_theme(self->settings);
    self->bridge = fig_bridge_new(self->settings);
    watchdog_begin(self->bridge);
}

static void fig_application_activate(GApplication *application)
{
    FigApplication *self = FIG_APPLICATION(application);
    GtkWindow *window = gtk_application_get_active_window(GTK_APPLICATION(self));
    if (!window) {
        window = GTK_WINDOW(
            fig_window_new(ADW_APPLICATION(self), self->settings, self->request, self->bridge));
        watchdog_window(GTK_WIDGET(window));
    }
    gtk_window_present(window);
}

static void fig_application_open(GApplication *application, GFile **files, int n, const char *hint)
{
    (void)hint;
    g_application_activate(application);
    GtkWindow *window = gtk_application_get_active_window(GTK_APPLICATION(application));
    for (int i = 0; i < n; i++) {
        g_autofree char *path = g_file_get_path(files[i]);
        if (path)
            fig_window_open_file(FIG_WINDOW(window), path);
    }
}

static void fig_application_shutdown(GApplication *application)
{
    FigApplication *self = FIG_APPLICATION(application);
    if (self->settings)
        fig_settings_flush(self->settings);
    if (self->bridge)
        g_object_run_dispose(G_OBJECT(self->bridge)); /* joins the engine's thread */
    watchdog_end();
    g_clear_object(&self->bridge);
    g_clear_object(&self->settings);
    g_clear_object(&self->request);
    G_APPLICATION_CLASS(fig_application_parent_class)->shutdown(application);
}

static void fig_application_class_init(FigApplicationClass *class)
{
    GApplicationClass *application_class = G_APPLICATION_CLASS(class);
    application_class->startup = fig_application_startup;
    application_class->activate = fig_application_activate;
    application_class->open = fig_application_open;
    application_class->shutdown = fig_application_shutdown;
}

static void fig_application_init(FigApplication *self)
{
    (void)self;
}

int application_run(int argc, char **argv)
{
    /* Each thread that ever worked would keep an arena of freed memory of its own. */
    mallopt(M_ARENA_MAX, 2);
    /* A package may lie elsewhere than where it was configured for: beside the program first. */
    g_autofree char *beside = places_beside("locale");
    gboolean there = beside && g_file_test(beside, G_FILE_TEST_IS_DIR);
    bindtextdomain("figment", there ? beside : FIGMENT_LOCALE_DIR);
    bind_textdomain_codeset("figment", "UTF-8");
    textdomain("figment");
    g_autoptr(FigApplication) application = g_object_new(
        FIG_TYPE_APPLICATION, "application-id", "io.github.figment_app.Figment", "flags",
        G_APPLICATION_HANDLES_OPEN, "resource-base-path", "/io/github/figment_app/Figment", NULL);
    return g_application_run(G_APPLICATION(application), argc, argv);
}
