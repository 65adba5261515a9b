#include "ui/record.h"

#include <string.h>

typedef struct {
    GValue *values; /* owned, one for each field */
} FigRecordPrivate;

G_DEFINE_ABSTRACT_TYPE_WITH_PRIVATE(FigRecord, fig_record, G_TYPE_OBJECT)

static GValue *values_of(gpointer record)
{
    FigRecordPrivate *private = fig_record_get_instance_private(FIG_RECORD(record));
    return private->values;
}

static void set_number(GValue *value, double number)
{
    switch (G_VALUE_TYPE(value)) {
    case G_TYPE_INT:
        g_value_set_int(value, (int)number);
        break;
    case G_TYPE_UINT64:
        g_value_set_uint64(value, (guint64)number);
        break;
    case G_TYPE_BOOLEAN:
        g_value_set_boolean(value, number != 0);
        break;
    default:
        g_value_set_double(value, number);
    }
}

static void fig_record_init(FigRecord *self)
{
    (void)self; /* values need the subclass's table: constructed() */
}

/* Values exist before construct properties are set. */
static GObject *fig_record_constructor(GType type, guint n, GObjectConstructParam *params)
{
    GObject *object = G_OBJECT_CLASS(fig_record_parent_class)->constructor(type, n, params);
    FigRecordClass *class = FIG_RECORD_GET_CLASS(object);
    FigRecordPrivate *private = fig_record_get_instance_private(FIG_RECORD(object));
    private->values = g_new0(GValue, class->n_fields);
    for (unsigned i = 0; i < class->n_fields; i++) {
        const struct fig_field *field = &class->fields[i];
        g_value_init(&private->values[i], field->type);
        if (field->type == G_TYPE_STRING)
            g_value_set_string(&private->values[i], field->text ? field->text : "");
        else
            set_number(&private->values[i], field->value);
    }
    return object;
}

static void fig_record_finalize(GObject *object)
{
    FigRecordPrivate *private = fig_record_get_instance_private(FIG_RECORD(object));
    for (unsigned i = 0; i < FIG_RECORD_GET_CLASS(object)->n_fields; i++)
        g_value_unset(&private->values[i]);
    g_free(private->values);
    G_OBJECT_CLASS(fig_record_parent_class)->finalize(object);
}

static void fig_record_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    (void)spec;
    g_value_copy(&values_of(object)[id - 1], value);
}

static gboolean equal(const GValue *a, const GValue *b)
{
    switch (G_VALUE_TYPE(a)) {
    case G_TYPE_STRING:
        return g_strcmp0(g_value_get_string(a), g_value_get_string(b)) == 0;
    case G_TYPE_INT:
        return g_value_get_int(a) == g_value_get_int(b);
    case G_TYPE_UINT64:
        return g_value_get_uint64(a) == g_value_get_uint64(b);
    case G_TYPE_BOOLEAN:
        return g_value_get_boolean(a) == g_value_get_boolean(b);
    default:
        return g_value_get_double(a) == g_value_get_double(b);
    }
}

static void fig_record_set_property(GObject *object, guint id, const GValue *value,
                                    GParamSpec *spec)
{
    GValue *mine = &values_of(object)[id - 1];
    if (equal(mine, value))
        return;
    if (G_VALUE_HOLDS_STRING(mine) && !g_value_get_string(value))
        g_value_set_string(mine, "");
    else
        g_value_copy(value, mine);
    g_object_notify_by_pspec(object, spec);
}

static void fig_record_class_init(FigRecordClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    object_class->constructor = fig_record_constructor;
    object_class->finalize = fig_record_finalize;
}

static GParamSpec *spec_of(const struct fig_field *f)
{
    GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;
    switch (f->type) {
    case G_TYPE_STRING:
        return g_param_spec_string(f->name, NULL, NULL, f->text ? f->text : "", flags);
    case G_TYPE_INT:
        return g_param_spec_int(f->name, NULL, NULL, (int)f->min, (int)f->max, (int)f->value,
                                flags);
    case G_TYPE_UINT64:
        return g_param_spec_uint64(f->name, NULL, NULL, 0, G_MAXUINT64, (guint64)f->value, flags);
    case G_TYPE_BOOLEAN:
        return g_param_spec_boolean(f->name, NULL, NULL, f->value != 0, flags);
    default:
        return g_param_spec_double(f->name, NULL, NULL, f->min, f->max, f->value, flags);
    }
}

void fig_record_class_set_fields(FigRecordClass *class, const struct fig_field *fields,
                                 unsigned n_fields)
{
    class->fields = fields;
    class->n_fields = n_fields;
    /* GObject lets every class answer for its own properties: these two are not inherited. */
    G_OBJECT_CLASS(class)->get_property = fig_record_get_property;
    G_OBJECT_CLASS(class)->set_property = fig_record_set_property;
    for (unsigned i = 0; i < n_fields; i++)
        g_object_class_install_property(G_OBJECT_CLASS(class), i + 1, spec_of(&fields[i]));
}

static const GValue *find(gpointer record, const char *name, GType type)
{
    FigRecordClass *class = FIG_RECORD_GET_CLASS(record);
    for (unsigned i = 0; i < class->n_fields; i++)
        if (strcmp(class->fields[i].name, name) == 0) {
            g_assert(class->fields[i].type == type);
            return &values_of(record)[i];
        }
    g_error("%s has no field %s", G_OBJECT_TYPE_NAME(record), name);
}

const char *fig_record_text(gpointer record, const char *name)
{
    return g_value_get_string(find(record, name, G_TYPE_STRING));
}

int fig_record_int(gpointer record, const char *name)
{
    return g_value_get_int(find(record, name, G_TYPE_INT));
}

double fig_record_double(gpointer record, const char *name)
{
    return g_value_get_double(find(record, name, G_TYPE_DOUBLE));
}

gboolean fig_record_bool(gpointer record, const char *name)
{
    return g_value_get_boolean(find(record, name, G_TYPE_BOOLEAN));
}

guint64 fig_record_uint64(gpointer record, const char *name)
{
    return g_value_get_uint64(find(record, name, G_TYPE_UINT64));
}

void fig_record_assign(gpointer record, gpointer other)
{
    FigRecordClass *class = FIG_RECORD_GET_CLASS(record);
    g_return_if_fail(class == FIG_RECORD_GET_CLASS(other));
    for (unsigned i = 0; i < class->n_fields; i++)
        g_object_set_property(record, class->fields[i].name, &values_of(other)[i]);
}

gpointer fig_record_copy(gpointer record)
{
    gpointer copy = g_object_new(G_OBJECT_TYPE(record), NULL);
    fig_record_assign(copy, record);
    return copy;
}

static gboolean load_field(const struct fig_field *f, GKeyFile *file, const char *group,
                           GValue *value)
{
    GError *error = NULL;
    double number = 0;
    switch (f->type) {
    case G_TYPE_STRING:
        g_value_take_string(value, g_key_file_get_string(file, group, f->name, &error));
        break;
    case G_TYPE_UINT64:
        g_value_set_uint64(value, g_key_file_get_uint64(file, group, f->name, &error));
        break;
    case G_TYPE_BOOLEAN:
        g_value_set_boolean(value, g_key_file_get_boolean(file, group, f->name, &error));
        break;
    default:
        number = g_key_file_get_double(file, group, f->name, &error);
        set_number(value, number >= f->min && number <= f->max ? number : f->value);
    }
    gboolean ok = !error;
    g_clear_error(&error);
    return ok;
}

void fig_record_load(gpointer record, GKeyFile *file, const char *group)
{
    FigRecordClass *class = FIG_RECORD_GET_CLASS(record);
    for (unsigned i = 0; i < class->n_fields; i++) {
        GValue value = G_VALUE_INIT;
        g_value_init(&value, class->fields[i].type);
        if (load_field(&class->fields[i], file, group, &value))
            g_object_set_property(record, class->fields[i].name, &value);
        g_value_unset(&value);
    }
}

void fig_record_save(gpointer record, GKeyFile *file, const char *group)
{
    FigRecordClass *class = FIG_RECORD_GET_CLASS(record);
    for (unsigned i = 0; i < class->n_fields; i++) {
        const struct fig_field *f = &class->fields[i];
        const GValue *value = &values_of(record)[i];
        switch (f->type) {
        case G_TYPE_STRING:
            g_key_file_set_string(file, group, f->name, g_value_get_string(value));
            break;
        case G_TYPE_INT:
            g_key_file_set_integer(file, group, f->name, g_value_get_int(value));
            break;
        case G_TYPE_UINT64:
            g_key_file_set_uint64(file, group, f->name, g_value_get_uint64(value));
            break;
        case G_TYPE_BOOLEAN:
            g_key_file_set_boolean(file, group, f->name, g_value_get_boolean(value));
            break;
        default:
            g_key_file_set_double(file, group, f->name, g_value_get_double(value));
        }
    }
}
