/* Opens the Vulkan back end and closes it: what a start does before anything else. open PRECISION;
 * the answer and the exit status are those of the program. */
#include "compute/vulkan/vulkan.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    GError *error = NULL;
    setlocale(LC_ALL, "");
    struct backend *b = vulkan_backend_create(
        NULL, argc > 1 && strcmp(argv[1], "f16") == 0 ? DTYPE_F16 : DTYPE_F32, &error);
    if (!b)
        fprintf(stderr, "figment: %s\n", error->message);
    backend_destroy(b);
    g_clear_error(&error);
    return b ? 0 : 3;
}
