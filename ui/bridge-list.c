/*
 * The history as a list that may be long: ids for all, rows when somebody looks. Some hundred
 * pictures stay when they have scrolled away, with their thumbnails; the others go and come again.
 */
#include "ui/bridge-private.h"

#define KEPT 400

#define FIG_TYPE_HISTORY_LIST (fig_history_list_get_type())
G_DECLARE_FINAL_TYPE(FigHistoryList, fig_history_list, FIG, HISTORY_LIST, GObject)

struct _FigHistoryList {
    GObject parent_instance;

    /* Owned */
    FigBridge *bridge;
    GArray *ids;          /* int64_t */
    GHashTable *pictures; /* position -> FigPicture, no reference: all that live */
    GQueue kept;          /* FigPicture, referenced, the last that were asked for in front */
};

static void list_model_init(GListModelInterface *interface);
G_DEFINE_FINAL_TYPE_WITH_CODE(FigHistoryList, fig_history_list, G_TYPE_OBJECT,
                              G_IMPLEMENT_INTERFACE(G_TYPE_LIST_MODEL, list_model_init))

static GType item_type(GListModel *model)
{
    (void)model;
    return FIG_TYPE_PICTURE;
}

static guint n_items(GListModel *model)
{
    return FIG_HISTORY_LIST(model)->ids->len;
}

/* What a weak reference needs to know. */
struct place {
    GHashTable *pictures;
    guint position;
};

static void went(gpointer data, GObject *picture)
{
    struct place *place = data;
    (void)picture;
    g_hash_table_remove(place->pictures, GUINT_TO_POINTER(place->position));
    g_hash_table_unref(place->pictures);
    g_free(place);
}

static void keep(FigHistoryList *self, FigPicture *picture)
{
    g_queue_push_head(&self->kept, g_object_ref(picture));
    if (self->kept.length > KEPT)
        g_object_unref(g_queue_pop_tail(&self->kept));
}

static gpointer item(GListModel *model, guint position)
{
    FigHistoryList *self = FIG_HISTORY_LIST(model);
    if (position >= self->ids->len)
        return NULL;
    FigPicture *picture = g_hash_table_lookup(self->pictures, GUINT_TO_POINTER(position));
    if (picture)
        return g_object_ref(picture);
    struct history *history = fig_bridge_open_history(self->bridge);
    struct history_entry *entry =
        history ? history_get(history, g_array_index(self->ids, int64_t, position)) : NULL;
    if (!entry) /* gone meanwhile; the list is read again soon */
        entry = g_new0(struct history_entry, 1);
    picture = fig_picture_from_entry(entry, 0);
    history_entry_free(entry);
    struct place *place = g_new(struct place, 1);
    *place = (struct place){g_hash_table_ref(self->pictures), position};
    g_hash_table_insert(self->pictures, GUINT_TO_POINTER(position), picture);
    g_object_weak_ref(G_OBJECT(picture), went, place);
    keep(self, picture);
    return picture;
}

static void list_model_init(GListModelInterface *interface)
{
    interface->get_item_type = item_type;
    interface->get_n_items = n_items;
    interface->get_item = item;
}

static void fig_history_list_finalize(GObject *object)
{
    FigHistoryList *self = FIG_HISTORY_LIST(object);
    g_queue_clear_full(&self->kept, g_object_unref);
    g_hash_table_unref(self->pictures);
    g_array_unref(self->ids);
    g_object_unref(self->bridge);
    G_OBJECT_CLASS(fig_history_list_parent_class)->finalize(object);
}

static void fig_history_list_class_init(FigHistoryListClass *class)
{
    G_OBJECT_CLASS(class)->finalize = fig_history_list_finalize;
}

static void fig_history_list_init(FigHistoryList *self)
{
    self->pictures = g_hash_table_new(NULL, NULL);
    g_queue_init(&self->kept);
}

GListModel *fig_history_list_new(FigBridge *bridge, GArray *ids)
{
    FigHistoryList *self = g_object_new(FIG_TYPE_HISTORY_LIST, NULL);
    self->bridge = g_object_ref(bridge);
    self->ids = ids;
    return G_LIST_MODEL(self);
}
