#include "ui/canvas.h"

#include <glib/gi18n.h>
#include <math.h>

#define ZOOM_MIN 0.05
#define ZOOM_MAX 32.0
#define MARGIN 24.0

struct _FigCanvas {
    GtkWidget parent_instance;

    /* Owned */
    GdkPaintable *paintable, *compare;
    GdkContentProvider *content;
    GMenuModel *menu_model;
    GtkWidget *menu; /* a child; made when it is first asked for */

    double zoom;         /* 0 = fit */
    double pan_x, pan_y; /* of the picture's centre from the widget's, in screen pixels */
    double drag_x, drag_y;
    double pinch_from;
    double divider; /* 0 to 1 of the picture's width: left of it is the picture before */
    gboolean drags_divider;
    double pointer_x, pointer_y;
};

enum { PROP_PAINTABLE = 1, PROP_COMPARE, PROP_ZOOM, PROP_MENU_MODEL, N_PROPS };
static GParamSpec *props[N_PROPS];
static guint signal_step;

G_DEFINE_FINAL_TYPE(FigCanvas, fig_canvas, GTK_TYPE_WIDGET)

/* Where the picture lies in the widget. The picture after decides the size: the preview fills the
 * same place. */
static gboolean place(FigCanvas *self, graphene_rect_t *rect, double *scale)
{
    if (!self->paintable)
        return FALSE;
    double width = gdk_paintable_get_intrinsic_width(self->paintable);
    double height = gdk_paintable_get_intrinsic_height(self->paintable);
    double w = gtk_widget_get_width(GTK_WIDGET(self)), h = gtk_widget_get_height(GTK_WIDGET(self));
    if (width < 1 || height < 1 || w < 1 || h < 1)
        return FALSE;
    double fit = MIN((w - 2 * MARGIN) / width, (h - 2 * MARGIN) / height);
    double s = self->zoom > 0 ? self->zoom : MAX(fit, ZOOM_MIN);
    *scale = s;
    *rect = GRAPHENE_RECT_INIT((float)((w - width * s) / 2 + self->pan_x),
                               (float)((h - height * s) / 2 + self->pan_y), (float)(width * s),
                               (float)(height * s));
    return TRUE;
}

static void append_picture(GtkSnapshot *snapshot, GdkPaintable *paintable,
                           const graphene_rect_t *rect, double scale)
{
    gtk_snapshot_save(snapshot);
    gtk_snapshot_translate(snapshot, &rect->origin);
    if (GDK_IS_TEXTURE(paintable) && scale >= 3) { /* enlarged: whole pixels, no blur */
        graphene_rect_t bounds = GRAPHENE_RECT_INIT(0, 0, rect->size.width, rect->size.height);
        int tw = gdk_texture_get_width(GDK_TEXTURE(paintable));
        int th = gdk_texture_get_height(GDK_TEXTURE(paintable));
        gtk_snapshot_push_clip(snapshot, &bounds);
        gtk_snapshot_scale(snapshot, rect->size.width / (float)tw, rect->size.height / (float)th);
        gdk_paintable_snapshot(paintable, snapshot, tw, th);
        gtk_snapshot_pop(snapshot);
    } else {
        gdk_paintable_snapshot(paintable, snapshot, rect->size.width, rect->size.height);
    }
    gtk_snapshot_restore(snapshot);
}

static void append_divider(FigCanvas *self, GtkSnapshot *snapshot, const graphene_rect_t *rect)
{
    float x = rect->origin.x + rect->size.width * (float)self->divider;
    const GdkRGBA white = {1, 1, 1, 1}, shade = {0, 0, 0, 0.45f};
    gtk_snapshot_append_color(snapshot, &shade,
                              &GRAPHENE_RECT_INIT(x - 2, rect->origin.y, 4, rect->size.height));
    gtk_snapshot_append_color(snapshot, &white,
                              &GRAPHENE_RECT_INIT(x - 1, rect->origin.y, 2, rect->size.height));
    float middle = rect->origin.y + rect->size.height / 2;
    GskRoundedRect knob;
    gsk_rounded_rect_init_from_rect(&knob, &GRAPHENE_RECT_INIT(x - 12, middle - 12, 24, 24), 12);
    gtk_snapshot_append_outset_shadow(snapshot, &knob, &shade, 0, 1, 1, 4);
    gtk_snapshot_push_rounded_clip(snapshot, &knob);
    gtk_snapshot_append_color(snapshot, &white, &knob.bounds);
    gtk_snapshot_pop(snapshot);
}

static void fig_canvas_snapshot(GtkWidget *widget, GtkSnapshot *snapshot)
{
    FigCanvas *self = FIG_CANVAS(widget);
    graphene_rect_t rect;
    double scale;
    if (!place(self, &rect, &scale))
        return;
    graphene_rect_t bounds = GRAPHENE_RECT_INIT(0, 0, (float)gtk_widget_get_width(widget),
                                                (float)gtk_widget_get_height(widget));
    gtk_snapshot_push_clip(snapshot, &bounds);
    GskRoundedRect frame;
    gsk_rounded_rect_init_from_rect(&frame, &rect, self->zoom > 0 ? 0 : 8);
    const GdkRGBA shadow = {0, 0, 0, 0.25f};
    gtk_snapshot_append_outset_shadow(snapshot, &frame, &shadow, 0, 1, 0, 6);
    gtk_snapshot_push_rounded_clip(snapshot, &frame);
    append_picture(snapshot, self->paintable, &rect, scale);
    if (self->compare) {
        graphene_rect_t before = rect;
        before.size.width *= (float)self->divider;
        gtk_snapshot_push_clip(snapshot, &before);
        append_picture(snapshot, self->compare, &rect, scale);
        gtk_snapshot_pop(snapshot);
    }
    gtk_snapshot_pop(snapshot);
    if (self->compare)
        append_divider(self, snapshot, &rect);
    gtk_snapshot_pop(snapshot);
}

void fig_canvas_set_paintable(FigCanvas *self, GdkPaintable *paintable)
{
    if (!g_set_object(&self->paintable, paintable))
        return;
    gtk_widget_queue_draw(GTK_WIDGET(self));
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_PAINTABLE]);
}

void fig_canvas_set_compare(FigCanvas *self, GdkPaintable *before)
{
    if (!g_set_object(&self->compare, before))
        return;
    self->divider = 0.5;
    gtk_widget_queue_draw(GTK_WIDGET(self));
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_COMPARE]);
}

/* A picture cannot be lost out of sight: some of it stays. */
static void limit_pan(FigCanvas *self)
{
    graphene_rect_t rect;
    double scale;
    if (!place(self, &rect, &scale))
        return;
    double w = gtk_widget_get_width(GTK_WIDGET(self)), h = gtk_widget_get_height(GTK_WIDGET(self));
    double room_x = MAX(0, (rect.size.width + w) / 2 - 48);
    double room_y = MAX(0, (rect.size.height + h) / 2 - 48);
    self->pan_x = CLAMP(self->pan_x, -room_x, room_x);
    self->pan_y = CLAMP(self->pan_y, -room_y, room_y);
}

static double current_scale(FigCanvas *self)
{
    graphene_rect_t rect;
    double scale = 1;
    place(self, &rect, &scale);
    return scale;
}

/* Zooms so that the point (x, y) of the widget stays where it is. */
static void zoom_at(FigCanvas *self, double zoom, double x, double y)
{
    double from = current_scale(self);
    double to = CLAMP(zoom, ZOOM_MIN, ZOOM_MAX);
    double w = gtk_widget_get_width(GTK_WIDGET(self)), h = gtk_widget_get_height(GTK_WIDGET(self));
    double cx = x - w / 2, cy = y - h / 2;
    self->pan_x = cx - (cx - self->pan_x) * to / from;
    self->pan_y = cy - (cy - self->pan_y) * to / from;
    self->zoom = to;
    limit_pan(self);
    gtk_widget_queue_draw(GTK_WIDGET(self));
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_ZOOM]);
}

void fig_canvas_set_zoom(FigCanvas *self, double zoom)
{
    if (zoom > 0) {
        zoom_at(self, zoom, gtk_widget_get_width(GTK_WIDGET(self)) / 2.0,
                gtk_widget_get_height(GTK_WIDGET(self)) / 2.0);
        return;
    }
    self->zoom = self->pan_x = self->pan_y = 0;
    gtk_widget_queue_draw(GTK_WIDGET(self));
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_ZOOM]);
}

void fig_canvas_zoom_by(FigCanvas *self, double factor)
{
    fig_canvas_set_zoom(self, current_scale(self) * factor);
}

void fig_canvas_set_content(FigCanvas *self, GdkContentProvider *content)
{
    g_set_object(&self->content, content);
}

void fig_canvas_set_description(FigCanvas *self, const char *text)
{
    gtk_accessible_update_property(GTK_ACCESSIBLE(self), GTK_ACCESSIBLE_PROPERTY_LABEL, text, -1);
}

/* ---- input ---- */

static gboolean scrolled(FigCanvas *self, double dx, double dy, GtkEventControllerScroll *scroll)
{
    (void)dx;
    (void)scroll;
    if (!self->paintable || dy == 0)
        return FALSE;
    zoom_at(self, current_scale(self) * pow(1.15, -dy), self->pointer_x, self->pointer_y);
    return TRUE;
}

static void moved(FigCanvas *self, double x, double y)
{
    self->pointer_x = x;
    self->pointer_y = y;
}

static void drag_begun(FigCanvas *self, double x, double y)
{
    (void)y;
    graphene_rect_t rect;
    double scale;
    self->drags_divider = FALSE;
    if (self->compare && place(self, &rect, &scale))
        self->drags_divider =
            fabs(x - (rect.origin.x + rect.size.width * self->divider)) < 16 || self->zoom <= 0;
    self->drag_x = self->drags_divider ? x : self->pan_x;
    self->drag_y = self->pan_y;
    gtk_widget_grab_focus(GTK_WIDGET(self));
}

static void drag_updated(FigCanvas *self, double x, double y)
{
    graphene_rect_t rect;
    double scale;
    if (self->drags_divider && place(self, &rect, &scale)) {
        self->divider = CLAMP((self->drag_x + x - rect.origin.x) / rect.size.width, 0, 1);
    } else if (self->zoom > 0) {
        self->pan_x = self->drag_x + x;
        self->pan_y = self->drag_y + y;
        limit_pan(self);
    }
    gtk_widget_queue_draw(GTK_WIDGET(self));
}

/* When it is larger than the widget, dragging moves it, and beside another one the divider. */
static GdkContentProvider *drag_prepare(FigCanvas *self)
{
    return self->content && self->zoom <= 0 && !self->compare ? g_object_ref(self->content) : NULL;
}

static void pinch_begun(FigCanvas *self)
{
    self->pinch_from = current_scale(self);
}

static void pinched(FigCanvas *self, double factor)
{
    zoom_at(self, self->pinch_from * factor, self->pointer_x, self->pointer_y);
}

/* Twice: from the whole picture to its pixels, and back. */
static void clicked(FigCanvas *self, int presses, double x, double y)
{
    if (presses != 2 || !self->paintable || self->compare)
        return;
    if (self->zoom > 0)
        fig_canvas_set_zoom(self, 0);
    else
        zoom_at(self, 1.0 / gtk_widget_get_scale_factor(GTK_WIDGET(self)), x, y);
}

static void show_menu(FigCanvas *self, double x, double y)
{
    if (!self->menu_model || !self->paintable)
        return;
    if (!self->menu) {
        self->menu = gtk_popover_menu_new_from_model(self->menu_model);
        gtk_popover_set_has_arrow(GTK_POPOVER(self->menu), FALSE);
        gtk_widget_set_halign(self->menu, GTK_ALIGN_START);
        gtk_widget_set_parent(self->menu, GTK_WIDGET(self));
    }
    gtk_popover_set_pointing_to(GTK_POPOVER(self->menu), &(GdkRectangle){(int)x, (int)y, 1, 1});
    gtk_popover_popup(GTK_POPOVER(self->menu));
}

static void menu_clicked(FigCanvas *self, int presses, double x, double y)
{
    (void)presses;
    show_menu(self, x, y);
}

static gboolean menu_asked(GtkWidget *widget, GVariant *arguments, gpointer user)
{
    (void)arguments;
    (void)user;
    show_menu(FIG_CANVAS(widget), gtk_widget_get_width(widget) / 2.0,
              gtk_widget_get_height(widget) / 2.0);
    return TRUE;
}

static void fig_canvas_size_allocate(GtkWidget *widget, int width, int height, int baseline)
{
    (void)width;
    (void)height;
    (void)baseline;
    if (FIG_CANVAS(widget)->menu)
        gtk_popover_present(GTK_POPOVER(FIG_CANVAS(widget)->menu));
}

static void pan_by(FigCanvas *self, double x, double y)
{
    if (self->compare && x != 0 && self->zoom <= 0)
        self->divider = CLAMP(self->divider - x / 800, 0, 1);
    self->pan_x += x;
    self->pan_y += y;
    if (self->zoom <= 0)
        self->pan_x = self->pan_y = 0;
    limit_pan(self);
    gtk_widget_queue_draw(GTK_WIDGET(self));
}

/* With the whole picture in sight there is nothing to move: the arrows go through the pictures. */
static gboolean stepped(FigCanvas *self, guint key)
{
    if (self->zoom > 0 || self->compare || (key != GDK_KEY_Left && key != GDK_KEY_Right))
        return FALSE;
    g_signal_emit(self, signal_step, 0, key == GDK_KEY_Left ? -1 : 1);
    return TRUE;
}

static gboolean key_pressed(FigCanvas *self, guint key, guint code, GdkModifierType state)
{
    (void)code;
    if (state & gtk_accelerator_get_default_mod_mask() & ~GDK_SHIFT_MASK)
        return FALSE;
    if (stepped(self, key))
        return TRUE;
    switch (key) {
    case GDK_KEY_plus:
    case GDK_KEY_KP_Add:
    case GDK_KEY_equal:
        fig_canvas_zoom_by(self, 1.25);
        return TRUE;
    case GDK_KEY_minus:
    case GDK_KEY_KP_Subtract:
        fig_canvas_zoom_by(self, 0.8);
        return TRUE;
    case GDK_KEY_0:
    case GDK_KEY_KP_0:
        fig_canvas_set_zoom(self, 0);
        return TRUE;
    case GDK_KEY_1:
    case GDK_KEY_KP_1:
        fig_canvas_set_zoom(self, 1);
        return TRUE;
    case GDK_KEY_Left:
        pan_by(self, 40, 0);
        return TRUE;
    case GDK_KEY_Right:
        pan_by(self, -40, 0);
        return TRUE;
    case GDK_KEY_Up:
        pan_by(self, 0, 40);
        return TRUE;
    case GDK_KEY_Down:
        pan_by(self, 0, -40);
        return TRUE;
    default:
        return FALSE;
    }
}

static void add_controllers(FigCanvas *self)
{
    GtkWidget *widget = GTK_WIDGET(self);
    GtkEventController *scroll =
        gtk_event_controller_scroll_new(GTK_EVENT_CONTROLLER_SCROLL_VERTICAL);
    g_signal_connect_swapped(scroll, "scroll", G_CALLBACK(scrolled), self);
    gtk_widget_add_controller(widget, scroll);
    GtkEventController *motion = gtk_event_controller_motion_new();
    g_signal_connect_swapped(motion, "motion", G_CALLBACK(moved), self);
    gtk_widget_add_controller(widget, motion);
    GtkGesture *drag = gtk_gesture_drag_new();
    g_signal_connect_swapped(drag, "drag-begin", G_CALLBACK(drag_begun), self);
    g_signal_connect_swapped(drag, "drag-update", G_CALLBACK(drag_updated), self);
    gtk_widget_add_controller(widget, GTK_EVENT_CONTROLLER(drag));
    GtkDragSource *out = gtk_drag_source_new();
    g_signal_connect_swapped(out, "prepare", G_CALLBACK(drag_prepare), self);
    gtk_widget_add_controller(widget, GTK_EVENT_CONTROLLER(out));
    GtkGesture *pinch = gtk_gesture_zoom_new();
    g_signal_connect_swapped(pinch, "begin", G_CALLBACK(pinch_begun), self);
    g_signal_connect_swapped(pinch, "scale-changed", G_CALLBACK(pinched), self);
    gtk_widget_add_controller(widget, GTK_EVENT_CONTROLLER(pinch));
    GtkGesture *click = gtk_gesture_click_new();
    g_signal_connect_swapped(click, "pressed", G_CALLBACK(clicked), self);
    gtk_widget_add_controller(widget, GTK_EVENT_CONTROLLER(click));
    GtkGesture *menu = gtk_gesture_click_new();
    gtk_gesture_single_set_button(GTK_GESTURE_SINGLE(menu), GDK_BUTTON_SECONDARY);
    g_signal_connect_swapped(menu, "pressed", G_CALLBACK(menu_clicked), self);
    gtk_widget_add_controller(widget, GTK_EVENT_CONTROLLER(menu));
    GtkEventController *keys = gtk_event_controller_key_new();
    g_signal_connect_swapped(keys, "key-pressed", G_CALLBACK(key_pressed), self);
    gtk_widget_add_controller(widget, keys);
}

/* ---- the object ---- */

static void fig_canvas_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    FigCanvas *self = FIG_CANVAS(object);
    if (id == PROP_PAINTABLE)
        g_value_set_object(value, self->paintable);
    else if (id == PROP_COMPARE)
        g_value_set_object(value, self->compare);
    else if (id == PROP_ZOOM)
        g_value_set_double(value, self->zoom);
    else if (id == PROP_MENU_MODEL)
        g_value_set_object(value, self->menu_model);
    else
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void fig_canvas_set_property(GObject *object, guint id, const GValue *value,
                                    GParamSpec *spec)
{
    FigCanvas *self = FIG_CANVAS(object);
    if (id == PROP_PAINTABLE)
        fig_canvas_set_paintable(self, g_value_get_object(value));
    else if (id == PROP_COMPARE)
        fig_canvas_set_compare(self, g_value_get_object(value));
    else if (id == PROP_ZOOM)
        fig_canvas_set_zoom(self, g_value_get_double(value));
    else if (id == PROP_MENU_MODEL)
        g_set_object(&self->menu_model, g_value_get_object(value));
    else
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void fig_canvas_dispose(GObject *object)
{
    FigCanvas *self = FIG_CANVAS(object);
    g_clear_object(&self->paintable);
    g_clear_object(&self->compare);
    g_clear_object(&self->content);
    g_clear_object(&self->menu_model);
    g_clear_pointer(&self->menu, gtk_widget_unparent);
    G_OBJECT_CLASS(fig_canvas_parent_class)->dispose(object);
}

static void fig_canvas_class_init(FigCanvasClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    object_class->dispose = fig_canvas_dispose;
    object_class->get_property = fig_canvas_get_property;
    object_class->set_property = fig_canvas_set_property;
    widget_class->snapshot = fig_canvas_snapshot;
    widget_class->size_allocate = fig_canvas_size_allocate;
    gtk_widget_class_set_css_name(widget_class, "canvas");
    gtk_widget_class_set_accessible_role(widget_class, GTK_ACCESSIBLE_ROLE_IMG);

    GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;
    props[PROP_PAINTABLE] = g_param_spec_object("paintable", NULL, NULL, GDK_TYPE_PAINTABLE, flags);
    props[PROP_COMPARE] = g_param_spec_object("compare", NULL, NULL, GDK_TYPE_PAINTABLE, flags);
    props[PROP_ZOOM] = g_param_spec_double("zoom", NULL, NULL, 0, ZOOM_MAX, 0, flags);
    props[PROP_MENU_MODEL] =
        g_param_spec_object("menu-model", NULL, NULL, G_TYPE_MENU_MODEL, flags);
    g_object_class_install_properties(object_class, N_PROPS, props);
    signal_step = g_signal_new("step", G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                               NULL, G_TYPE_NONE, 1, G_TYPE_INT);
    gtk_widget_class_add_binding(widget_class, GDK_KEY_F10, GDK_SHIFT_MASK, menu_asked, NULL);
    gtk_widget_class_add_binding(widget_class, GDK_KEY_Menu, 0, menu_asked, NULL);
}

static void fig_canvas_init(FigCanvas *self)
{
    self->divider = 0.5;
    gtk_widget_set_focusable(GTK_WIDGET(self), TRUE);
    gtk_widget_set_overflow(GTK_WIDGET(self), GTK_OVERFLOW_HIDDEN);
    fig_canvas_set_description(self, _("Picture"));
    add_controllers(self);
}
