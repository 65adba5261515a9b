/* Any bytes as a safetensors file: refused with one sentence, or its tensors lie inside it and can
 * be read. */
#include "tests/weights/files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The first byte says whether the length is to be made right: a fuzzer rarely finds one. */
    bool right = size > 9 && data[0] & 1;
    g_autofree uint8_t *bytes = g_malloc(size);
    memcpy(bytes, data + (size > 0), size - (size > 0));
    size -= size > 0;
    if (right) {
        guint64 header = size - 8 - MIN(size - 8, data[0] >> 1);
        memcpy(bytes, &header, 8);
    }
    g_autoptr(GError) error = NULL;
    struct safetensors *st = safetensors_open_fd(file_memory(bytes, size), "x.safetensors", &error);
    if (!st) {
        if (!error || strchr(error->message, '\n') || !g_utf8_validate(error->message, -1, NULL))
            abort();
        return 0;
    }
    uint64_t at = safetensors_header_size(st);
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        g_autofree char *values = g_malloc(t->size + 1);
        if (t->offset != at || safetensors_find(st, t->name) != t ||
            !safetensors_read(st, t->offset, values, t->size, NULL))
            abort();
        at += t->size;
    }
    if (at != safetensors_file_size(st))
        abort();
    safetensors_close(st);
    return 0;
}
