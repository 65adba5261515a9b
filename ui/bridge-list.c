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
    GArray *ids; /* int64_t */
    GQueue kept; /* FigPicture, referenced, the last that were asked for in front */
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
    int64_t id = g_array_index(self->ids, int64_t, position);
    FigPicture *picture = bridge_known_picture(self->bridge, id);
    if (picture)
        return picture;
    struct history *history = fig_bridge_open_history(self->bridge);
    struct history_entry *entry = history ? history_get(history, id) : NULL;
    if (!entry) /* gone meanwhile; the list is read again soon */
        entry = g_new0(struct history_entry, 1);
    picture = bridge_picture_of(self->bridge, entry, 0, NULL);
    history_entry_free(entry);
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
    g_queue_init(&self->kept);
}

GListModel *fig_history_list_new(FigBridge *bridge, GArray *ids)
{
    FigHistoryList *self = g_object_new(FIG_TYPE_HISTORY_LIST, NULL);
    self->bridge = g_object_ref(bridge);
    self->ids = ids;
    return G_LIST_MODEL(self);
}

GArray *fig_history_list_ids(GListModel *list)
{
    return g_array_ref(FIG_HISTORY_LIST(list)->ids);
}

GListModel *fig_bridge_history_part(GListModel *list, GtkBitset *places)
{
    FigHistoryList *self = FIG_HISTORY_LIST(list);
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(int64_t));
    GtkBitsetIter iter;
    guint place;
    for (gboolean more = gtk_bitset_iter_init_first(&iter, places, &place); more;
         more = gtk_bitset_iter_next(&iter, &place))
        if (place < self->ids->len)
            g_array_append_val(ids, g_array_index(self->ids, int64_t, place));
    return fig_history_list_new(self->bridge, ids);
}

void fig_history_list_update(GListModel *list, GArray *ids)
{
    FigHistoryList *self = FIG_HISTORY_LIST(list);
    const int64_t *old = (const int64_t *)(void *)self->ids->data;
    const int64_t *new = (const int64_t *)(void *)ids->data;
    guint front = 0, back = 0, least = MIN(self->ids->len, ids->len);
    while (front < least && old[front] == new[front])
        front++;
    while (back < least - front && old[self->ids->len - 1 - back] == new[ids->len - 1 - back])
        back++;
    guint removed = self->ids->len - front - back, added = ids->len - front - back;
    g_array_unref(self->ids);
    self->ids = ids;
    if (removed || added)
        g_list_model_items_changed(list, front, removed, added);
}
