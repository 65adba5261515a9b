#include "ui/request.h"

struct _FigRequest {
    FigRecord parent_instance;
};

G_DEFINE_FINAL_TYPE(FigRequest, fig_request, FIG_TYPE_RECORD)

static const struct fig_field fields[] = {
    {"prompt", G_TYPE_STRING, "", 0, 0, 0},
    {"negative", G_TYPE_STRING, "", 0, 0, 0},
    {"model", G_TYPE_STRING, "", 0, 0, 0},   /* "" = the bundled one */
    {"sampler", G_TYPE_STRING, "", 0, 0, 0}, /* "" = the model's own */
    {"schedule", G_TYPE_STRING, "", 0, 0, 0},
    {"steps", G_TYPE_INT, NULL, 20, 1, 150},
    {"guidance", G_TYPE_DOUBLE, NULL, 7, 1, 30},
    {"width", G_TYPE_INT, NULL, 512, 64, 2048},
    {"height", G_TYPE_INT, NULL, 512, 64, 2048},
    {"random-seed", G_TYPE_BOOLEAN, NULL, TRUE, 0, 0},
    {"seed", G_TYPE_UINT64, NULL, 1, 0, 0},
    {"pictures", G_TYPE_INT, NULL, 1, 1, 100},
    {"clip-skip", G_TYPE_INT, NULL, 1, 1, 12},
    {"styles", G_TYPE_STRING, "", 0, 0, 0},  /* names, one a line */
    {"vae", G_TYPE_STRING, "", 0, 0, 0},     /* path; "" = the model's own or the one beside it */
    {"emphasis", G_TYPE_INT, NULL, 0, 0, 4}, /* enum emphasis */
    /* enum rng: whose noise; taken over from pictures, there is no control for it */
    {"rng", G_TYPE_INT, NULL, 0, 0, 1},
};

static void fig_request_class_init(FigRequestClass *class)
{
    fig_record_class_set_fields(FIG_RECORD_CLASS(class), fields, G_N_ELEMENTS(fields));
}

static void fig_request_init(FigRequest *self)
{
    (void)self;
}

FigRequest *fig_request_new(void)
{
    return g_object_new(FIG_TYPE_REQUEST, NULL);
}
