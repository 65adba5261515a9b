#include "ui/adjustment.h"

struct _FigAdjustment {
    GtkAdjustment parent_instance;

    GtkWidget *list; /* borrowed: a weak pointer */
    /* Owned: from a value that was told to the layout that follows, else NULL */
    GdkFrameClock *clock;

    gboolean told;   /* since the last layout */
    gboolean late;   /* the list has not heard of the last value */
    double wanted;   /* that value */
    gboolean laying; /* whatever it is set to now is the list's own doing */
};

G_DEFINE_FINAL_TYPE(FigAdjustment, fig_adjustment, GTK_TYPE_ADJUSTMENT)

static void set_deaf(FigAdjustment *self, gboolean deaf)
{
    if (!self->list)
        return;
    if (deaf)
        g_signal_handlers_block_matched(self, G_SIGNAL_MATCH_DATA, 0, 0, NULL, NULL, self->list);
    else
        g_signal_handlers_unblock_matched(self, G_SIGNAL_MATCH_DATA, 0, 0, NULL, NULL, self->list);
}

/* The last moment before the layout: whatever scrolls in this frame has done so. */
static void updated(FigAdjustment *self)
{
    self->laying = TRUE;
    if (self->late && !self->told) {
        self->told = TRUE;
        self->late = FALSE;
        set_deaf(self, FALSE);
        g_signal_emit_by_name(self, "value-changed");
        set_deaf(self, TRUE);
    }
    gdk_frame_clock_request_phase(self->clock, GDK_FRAME_CLOCK_PHASE_LAYOUT);
}

static void unwatch(FigAdjustment *self)
{
    if (!self->clock)
        return;
    set_deaf(self, FALSE);
    g_signal_handlers_disconnect_by_data(self->clock, self);
    g_clear_object(&self->clock);
}

static void laid_out(FigAdjustment *self)
{
    self->laying = self->told = FALSE;
    if (!self->late) {
        unwatch(self);
        return;
    }
    gtk_adjustment_set_value(GTK_ADJUSTMENT(self), self->wanted);
    gdk_frame_clock_request_phase(self->clock, GDK_FRAME_CLOCK_PHASE_UPDATE);
}

static void value_changed(FigAdjustment *self)
{
    if (self->laying)
        return;
    if (self->clock) {
        self->late = TRUE;
        self->wanted = gtk_adjustment_get_value(GTK_ADJUSTMENT(self));
        return;
    }
    if (!self->list || !gtk_widget_get_mapped(self->list))
        return;
    self->clock = g_object_ref(gtk_widget_get_frame_clock(self->list));
    g_signal_connect_data(self->clock, "update", G_CALLBACK(updated), self, NULL,
                          G_CONNECT_AFTER | G_CONNECT_SWAPPED);
    g_signal_connect_data(self->clock, "layout", G_CALLBACK(laid_out), self, NULL,
                          G_CONNECT_AFTER | G_CONNECT_SWAPPED);
    gdk_frame_clock_request_phase(self->clock, GDK_FRAME_CLOCK_PHASE_UPDATE);
    self->told = TRUE;
    set_deaf(self, TRUE);
}

static void fig_adjustment_dispose(GObject *object)
{
    FigAdjustment *self = FIG_ADJUSTMENT(object);
    unwatch(self);
    g_clear_weak_pointer(&self->list);
    G_OBJECT_CLASS(fig_adjustment_parent_class)->dispose(object);
}

static void fig_adjustment_class_init(FigAdjustmentClass *class)
{
    G_OBJECT_CLASS(class)->dispose = fig_adjustment_dispose;
}

static void fig_adjustment_init(FigAdjustment *self)
{
    /* After everybody who listens. */
    g_signal_connect_after(self, "value-changed", G_CALLBACK(value_changed), NULL);
}

GtkAdjustment *fig_adjustment_new(GtkWidget *list)
{
    FigAdjustment *self = g_object_new(FIG_TYPE_ADJUSTMENT, NULL);
    g_set_weak_pointer(&self->list, list);
    return GTK_ADJUSTMENT(g_object_ref_sink(self));
}
