#include "engine/device.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "engine/engine.h"
#include "weights/quote.h"
#ifdef FIGMENT_HAVE_VULKAN
#include "compute/vulkan/vulkan.h"
#endif

static bool fail(GError **error, const char *sentence)
{
    g_set_error_literal(error, ENGINE_ERROR, ENGINE_ERROR_DEVICE, sentence);
    return false;
}

/* False when this device can't compute in that precision. `best` is what "auto" means. */
static bool parse_precision(const char *text, bool gpu, enum dtype best, enum dtype *dtype,
                            GError **error)
{
    if (!text || strcmp(text, "auto") == 0)
        *dtype = best;
    else if (strcmp(text, "f32") == 0)
        *dtype = DTYPE_F32;
    else if (strcmp(text, "bf16") == 0 && !gpu)
        *dtype = DTYPE_BF16;
    else if (strcmp(text, "f16") == 0 && gpu)
        *dtype = DTYPE_F16;
    else
        return fail(error, gpu ? _("GPUs compute in f16 or f32, not in bf16.")
                               : _("The CPU computes in bf16 or f32, not in f16."));
    return true;
}

static struct backend *open_cpu(const char *precision, int threads, GError **error)
{
    enum dtype dtype;

    return parse_precision(precision, false, cpu_has_bf16() ? DTYPE_BF16 : DTYPE_F32, &dtype, error)
               ? cpu_backend_create(dtype, threads, error)
               : NULL;
}

#ifdef FIGMENT_HAVE_VULKAN
/* Whether the device (a number, or NULL for the first) computes in f16. */
static bool has_f16(const char *device)
{
    g_autoptr(GArray) devices = vulkan_devices(NULL);
    guint64 i = device ? g_ascii_strtoull(device, NULL, 10) : 0;

    return devices && i < devices->len && g_array_index(devices, struct vulkan_device_info, i).f16;
}

static struct backend *open_vulkan(const char *device, const char *precision, GError **error)
{
    enum dtype dtype;

    return parse_precision(precision, true, has_f16(device) ? DTYPE_F16 : DTYPE_F32, &dtype, error)
               ? vulkan_backend_create(device, dtype, error)
               : NULL;
}

/* The best GPU that is one; NULL when there is none. */
static GArray *gpus(int *best, GError **error)
{
    GArray *devices = vulkan_devices(error);

    *best = -1;
    for (guint i = 0; devices && i < devices->len && *best < 0; i++) {
        const struct vulkan_device_info *info =
            &g_array_index(devices, struct vulkan_device_info, i);

        if (info->usable && info->kind != VULKAN_SOFTWARE)
            *best = (int)i;
    }
    return devices;
}

/* As they were when first asked for, for who only wants to know their kind and size: looking takes
 * a tenth of a second, and the window estimates at every change. Not to be freed. */
static const GArray *known_gpus(int *best)
{
    static gsize asked;
    static GArray *devices;
    static int first;

    if (g_once_init_enter(&asked)) {
        devices = gpus(&first, NULL);
        g_once_init_leave(&asked, 1);
    }
    *best = first;
    return devices;
}

/* Why it is the CPU where no device is good enough. */
static char *why_none(const GArray *devices)
{
    for (guint i = 0; devices && i < devices->len; i++) {
        const struct vulkan_device_info *info =
            &g_array_index(devices, struct vulkan_device_info, i);

        if (info->kind != VULKAN_SOFTWARE)
            return g_strdup_printf(_("“%s” cannot be used: %s. The picture is made on the CPU."),
                                   info->name, info->problem);
    }
    return g_strdup(_("Vulkan finds no graphics card here; the picture is made on the CPU."));
}

/* The best GPU; NULL with a sentence that tells why it is the CPU. */
static struct backend *open_best(const char *precision, char **why)
{
    int best;
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) devices = gpus(&best, &error);
    g_autofree char *number = g_strdup_printf("%d", best);
    struct backend *backend = best >= 0 ? open_vulkan(number, precision, &error) : NULL;

    if (backend)
        *why = NULL;
    else if (best >= 0 || (error && error->domain != G_IO_ERROR))
        *why = g_strdup_printf(_("%s The picture is made on the CPU."), error->message);
    else
        *why = why_none(devices);
    return backend;
}
#endif

struct backend *device_open(const char *device, const char *precision, int threads, char **why,
                            GError **error)
{
    g_autofree char *reason = NULL;
    bool automatic = !device || strcmp(device, "auto") == 0;

    if (why)
        *why = NULL;
    if (!automatic && strcmp(device, "cpu") == 0)
        return open_cpu(precision, threads, error);
#ifdef FIGMENT_HAVE_VULKAN
    if (!automatic)
        return open_vulkan(device[6] == ':' ? device + 7 : NULL, precision, error);
    if (g_strcmp0(precision, "bf16") != 0) {
        struct backend *backend = open_best(precision, &reason);

        if (backend)
            return backend;
    }
#else
    if (!automatic) {
        fail(error, _("Vulkan is not in this build; use --device cpu."));
        return NULL;
    }
    reason = g_strdup(_("This build has no Vulkan; the picture is made on the CPU."));
#endif
    if (why)
        *why = g_steal_pointer(&reason);
    return open_cpu(precision, threads, error);
}

/* Without opening anything: what "auto" will most likely be. */
static bool is_cpu(const char *device)
{
    int best = -1;

    if (device && strcmp(device, "auto") != 0)
        return strcmp(device, "cpu") == 0;
#ifdef FIGMENT_HAVE_VULKAN
    known_gpus(&best);
#endif
    return best < 0;
}

struct backend *device_stand_in(const char *device, const char *precision, GError **error)
{
    bool cpu = is_cpu(device);
    bool f32 = g_strcmp0(precision, "f32") == 0 ||
               (cpu && !cpu_has_bf16() && g_strcmp0(precision, "bf16") != 0);

    return cpu_backend_create(f32 ? DTYPE_F32 : DTYPE_BF16, 0, error);
}

/* "MemAvailable", or 0. */
static uint64_t available_memory(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL) ||
        !(line = strstr(text, "MemAvailable:")))
        return 0;
    return g_ascii_strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024;
}

/* What a GPU has for networks; 0 = not known. */
static uint64_t gpu_memory(const char *device)
{
#ifdef FIGMENT_HAVE_VULKAN
    int best;
    const GArray *devices = known_gpus(&best);
    guint i = device && g_str_has_prefix(device, "vulkan:")
                  ? (guint)g_ascii_strtoull(device + 7, NULL, 10)
                  : (guint)MAX(best, 0);

    if (devices && i < devices->len) {
        const struct vulkan_device_info *info =
            &g_array_index(devices, struct vulkan_device_info, i);

        /* A software device's heap is not enforced; a desktop needs some of a real one's. */
        return info->kind == VULKAN_SOFTWARE ? 0 : info->memory / 10 * 9;
    }
#endif
    (void)device;
    return 0;
}

uint64_t device_budget(const char *device, const struct backend *backend)
{
    bool cpu = backend ? strcmp(backend->class->name, "cpu") == 0 : is_cpu(device);
    size_t limit = cpu_memory_limit();

    if (!cpu)
        return gpu_memory(device);
    return limit ? limit : available_memory() + (backend ? backend->bytes_now : 0);
}

bool device_was_lost(const GError *error)
{
#ifdef FIGMENT_HAVE_VULKAN
    return g_error_matches(error, VULKAN_ERROR, VULKAN_ERROR_LOST);
#else
    (void)error;
    return false;
#endif
}

static enum engine_error code_of(const GError *error)
{
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return ENGINE_ERROR_CANCELLED;
    if (g_error_matches(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NO_MEMORY) ||
        g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE))
        return ENGINE_ERROR_MEMORY;
#ifdef FIGMENT_HAVE_VULKAN
    if (g_error_matches(error, VULKAN_ERROR, VULKAN_ERROR_MEMORY))
        return ENGINE_ERROR_MEMORY;
    if (error->domain == VULKAN_ERROR)
        return ENGINE_ERROR_DEVICE;
#endif
    return error->domain == WEIGHTS_ERROR ? ENGINE_ERROR_MODEL : ENGINE_ERROR_DEVICE;
}

bool device_out_of_memory(const GError *error)
{
    return code_of(error) == ENGINE_ERROR_MEMORY;
}

void device_take_error(GError **error, GError *from)
{
    if (from->domain != ENGINE_ERROR) {
        enum engine_error code = code_of(from);

        from->domain = ENGINE_ERROR;
        from->code = code;
    }
    g_propagate_error(error, from);
}

/* ---- the list ---- */

static void info_free(gpointer data)
{
    struct device_info *info = data;

    g_free(info->name);
    g_free(info->label);
    g_free(info->details);
    g_free(info);
}

/* "AMD EPYC 9B14 (CPU, bf16)" */
static char *cpu_label(void)
{
    g_autofree char *text = NULL, *model = NULL;
    const char *line;

    if (g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) &&
        (line = strstr(text, "model name")) && (line = strchr(line, ':')))
        model = g_strndup(line + 2, strcspn(line + 2, "\n"));
    return g_strdup_printf("%s (%s%s)", model ? g_strstrip(model) : "CPU", model ? "CPU, " : "",
                           cpu_has_bf16() ? "bf16" : "f32");
}

static void add(GPtrArray *list, char *name, char *label, char *details, uint64_t memory,
                bool automatic)
{
    struct device_info *info = g_new0(struct device_info, 1);

    *info = (struct device_info){name, label, details, memory, automatic};
    g_ptr_array_add(list, info);
}

GPtrArray *engine_devices(void)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(info_free);
    int best = -1;

#ifdef FIGMENT_HAVE_VULKAN
    g_autoptr(GArray) devices = gpus(&best, NULL);

    for (guint i = 0; devices && i < devices->len; i++) {
        const struct vulkan_device_info *info =
            &g_array_index(devices, struct vulkan_device_info, i);

        add(list, g_strdup_printf("vulkan:%u", i),
            info->usable ? g_strdup_printf("%s, %s", info->name, vulkan_kind_name(info->kind))
                         : g_strdup_printf(_("%s, %s; not usable: %s"), info->name,
                                           vulkan_kind_name(info->kind), info->problem),
            g_strdup_printf("%s; %s", info->driver,
                            *info->kernels ? info->kernels : _("not tested yet")),
            info->memory, (int)i == best);
    }
#endif
    add(list, g_strdup("cpu"), cpu_label(), g_strdup(""), 0, best < 0);
    return list;
}
