/* What the window's files share. */
#pragma once

#include "ui/canvas.h"
#include "ui/gallery.h"
#include "ui/messages.h"
#include "ui/panel.h"
#include "ui/queue.h"
#include "ui/window.h"

struct _FigWindow {
    AdwApplicationWindow parent_instance;

    /* Template Widgets */
    AdwToastOverlay *toasts;
    AdwFlap *flap;
    FigPanel *panel;
    GtkStack *pages;
    FigCanvas *canvas;
    FigGallery *gallery;
    FigQueue *queue;
    GtkMenuButton *queue_button, *menu_button;
    GtkLabel *title, *subtitle, *strip_label;
    GtkProgressBar *progress;
    GtkListView *strip;
    GtkWidget *toolbar, *strip_box;
    GtkToggleButton *compare, *history_button;
    GtkImage *star;
    GtkFlowBox *examples;

    /* Owned References */
    FigSettings *settings;
    FigRequest *request;
    FigBridge *bridge;
    GListStore *recent; /* FigPicture, newest first: the strip */
    GtkSingleSelection *selection;
    FigPicture *shown;  /* on the canvas, NULL = a preview or nothing */
    FigPicture *before; /* shown before that: what Compare compares with */
    GtkFileChooserNative *chooser;
    GtkWindow *shortcuts;
    FigMessages *messages;

    gboolean may_lose; /* the user said so: close, though a picture is not saved */
    gboolean was_paused;
    gboolean following; /* the canvas shows what is being made */
    int remedy;         /* of the last failure (FigRemedy) */
};

void fig_window_class_install_actions(GtkWidgetClass *class);
/* Each action's enabled state is derived here and nowhere else. */
void fig_window_update_actions(FigWindow *self);
void fig_window_accept_drops(FigWindow *self);

void fig_window_show_picture(FigWindow *self, FigPicture *picture);
gboolean fig_window_in_gallery(FigWindow *self);
void fig_window_step(FigWindow *self, int by);
void fig_window_refresh_history(FigWindow *self);
/* Pictures that are in memory only, because they could not be saved; the caller owns the list. */
GListModel *fig_window_unsaved(FigWindow *self);
