#include "ui/job.h"

#include <glib/gi18n.h>

struct _FigJob {
    GObject parent_instance;

    /* Owned */
    char *title, *message;

    guint key;
    FigJobState state;
    int pictures, done;
};

enum { PROP_TITLE = 1, PROP_DETAIL, PROP_ICON, N_PROPS };
static GParamSpec *props[N_PROPS];

G_DEFINE_FINAL_TYPE(FigJob, fig_job, G_TYPE_OBJECT)

static char *detail(FigJob *self)
{
    switch (self->state) {
    case FIG_JOB_RUNNING:
        return self->pictures > 1
                   ? g_strdup_printf(_("Running · picture %d of %d"),
                                     MIN(self->done + 1, self->pictures), self->pictures)
                   : g_strdup(_("Running"));
    case FIG_JOB_FAILED:
        return g_strdup(self->message);
    case FIG_JOB_SET_ASIDE:
        return g_strdup(_("This job was running twice when Figment stopped. It is set aside."));
    default:
        break;
    }
    int left = self->pictures - self->done;
    return g_strdup_printf(
        g_dngettext(NULL, "Waiting · %d picture", "Waiting · %d pictures", (gulong)left), left);
}

static void fig_job_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    static const char *const icons[] = {"content-loading-symbolic", "media-playback-start-symbolic",
                                        "dialog-warning-symbolic", "dialog-warning-symbolic"};
    FigJob *self = FIG_JOB(object);
    switch (id) {
    case PROP_TITLE:
        g_value_set_string(value, self->title);
        break;
    case PROP_DETAIL:
        g_value_take_string(value, detail(self));
        break;
    case PROP_ICON:
        g_value_set_string(value, icons[self->state]);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void fig_job_finalize(GObject *object)
{
    FigJob *self = FIG_JOB(object);
    g_free(self->title);
    g_free(self->message);
    G_OBJECT_CLASS(fig_job_parent_class)->finalize(object);
}

static void fig_job_class_init(FigJobClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    object_class->finalize = fig_job_finalize;
    object_class->get_property = fig_job_get_property;
    GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;
    props[PROP_TITLE] = g_param_spec_string("title", NULL, NULL, NULL, flags);
    props[PROP_DETAIL] = g_param_spec_string("detail", NULL, NULL, NULL, flags);
    props[PROP_ICON] = g_param_spec_string("icon", NULL, NULL, NULL, flags);
    g_object_class_install_properties(object_class, N_PROPS, props);
}

static void fig_job_init(FigJob *self)
{
    (void)self;
}

FigJob *fig_job_new(guint key, const char *title, int pictures)
{
    FigJob *self = g_object_new(FIG_TYPE_JOB, NULL);
    self->key = key;
    self->title = g_strdup(title && *title ? title : _("No prompt"));
    self->pictures = pictures;
    return self;
}

guint fig_job_key(FigJob *self)
{
    return self->key;
}

const char *fig_job_title(FigJob *self)
{
    return self->title;
}

FigJobState fig_job_state(FigJob *self)
{
    return self->state;
}

void fig_job_update(FigJob *self, FigJobState state, int done, const char *message)
{
    self->state = state;
    self->done = done;
    g_free(self->message);
    self->message = g_strdup(message);
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_DETAIL]);
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_ICON]);
}
