/*
 * What the interpreter of SPIR-V (tests/vulkan/interpreter/) must end the program for: faults of a
 * kernel, one for each number of kernels/faults.comp and for what it is given, and damaged modules.
 * Each in a process of its own.
 */
#include "tests/check.h"
#include "tests/vulkan/interpreter/interpreter.h"
#include "tests/vulkan/interpreter/opcodes.h"
#include "tests/vulkan/kernels/matrix/kernel_faults.spv.inc"

#include <glib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOURCE = 16 * 40, RESULT = 16 * 16 + 4, PUSH_BYTES = 20 };

struct fault {
    uint32_t number, groups; /* FAULT of kernels/faults.comp, workgroups */
    uint32_t rows, columns, base, stride;
    int32_t y;
    const char *told; /* NULL = nothing is wrong */
};

/* The module has another instruction or none in place of some. */
struct damage {
    uint32_t opcode, becomes; /* 0 = its operands A and B change places */
    const char *told;
};

static void child(const struct fault *f, const struct damage *damage, size_t cut, size_t push_bytes)
{
    uint32_t words[sizeof spv_kernel_faults / 4];
    size_t count = sizeof words / sizeof *words;
    memcpy(words, spv_kernel_faults, sizeof words);
    for (size_t at = 5; damage && at < count; at += words[at] >> 16) {
        if ((words[at] & 0xffff) != damage->opcode)
            continue;
        uint32_t a = words[at + 3];
        if (damage->becomes)
            words[at] = (words[at] & 0xffff0000u) | damage->becomes;
        else
            words[at + 3] = words[at + 4];
        words[at + 4] = damage->becomes ? words[at + 4] : a;
    }
    struct interpreter_constant constants[] = {{0, 32}, {1, f->number}};
    struct interpreter *m = interpreter_create(words, count - cut, "main", constants, 2);
    g_autofree uint8_t *source = g_new0(uint8_t, SOURCE * 2), *result = g_new0(uint8_t, RESULT * 4);
    struct interpreter_dispatch d = {
        .buffers = {{source, (f->stride * (f->rows - 1) + f->columns) * 2u}, {result, RESULT * 4}},
        .push = &f->rows,
        .push_bytes = push_bytes,
        .groups = {f->groups, 1, 1}};
    interpreter_run(m, &d);
    interpreter_destroy(m);
}

/* In a process of its own: it ends by the signal of g_error(), with a sentence. */
static void expect(const struct fault *f, const struct damage *damage, size_t cut,
                   size_t push_bytes, const char *told)
{
    int ends[2], status;
    char text[2048];
    size_t length = 0;
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        child(f, damage, cut, push_bytes);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n = 1; n > 0; length += n > 0 ? (size_t)n : 0)
        n = read(ends[0], text + length, sizeof text - 1 - length);
    text[length] = 0;
    close(ends[0]);
    waitpid(pid, &status, 0);
    if (told)
        CHECK(WIFSIGNALED(status) && strstr(text, told), "“%s” was not told: %s", told, text);
    else
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && !*text, "it fails: %s", text);
}

int main(void)
{
    static const struct fault faults[] = {
        {0, 1, 16, 16, 0, 16, 0, NULL},
        {0, 1, 16, 16, 0, 16, -9, NULL},
        {0, 1, 16, 16, 0, 16, 9, NULL},
        {0, 1, 16, 16, 4, 16, 0, "begins at byte 8, which is no multiple of 16"},
        {0, 1, 16, 16, 8, 16, 0, "bytes 512 to 514 of binding 0, which has 512"},
        {0, 1, 16, 16, 0, 15, 0, "stride 0 is 15, less than 1 times 16"},
        {1, 1, 16, 16, 0, 16, 0, "a matrix of 16 x 16 elements, a view of 128 and a span of 128"},
        {2, 1, 16, 16, 0, 16, 0, "coordinate 0 is 16 of 16, and nothing clamps it"},
        {3, 1, 16, 16, 0, 16, 0, "reads a matrix that was not written"},
        {4, 1, 16, 16, 0, 16, 0, "a store of blocks"},
        {5, 1, 16, 16, 0, 16, 0, "a view of 128 and a span of 256"},
        {6, 1, 16, 16, 0, 16, 0, "a tensor layout that was not created"},
        {7, 1, 16, 16, 0, 16, 0, "index 16 of 3"},
        {8, 1, 16, 16, 0, 16, 0, "a division by 0"},
        {9, 1, 16, 16, 0, 16, 0, "bytes 1040 to 1044 of binding 1, which has 1040"},
        {10, 1, 16, 16, 0, 40, 0, "a shift by 40"},
        {11, 1, 16, 16, 0, 16, 0, "3e+09 is no such integer"},
        {12, 1, 16, 16, 0, 16, 0, "reads a matrix that was not written"},
        {0, 2, 16, 16, 0, 16, 0, "writes byte 0 in a race with workgroup "},
        {13, 2, 16, 16, 0, 16, 0, "byte 0 in a race with workgroup "},
        {14, 2, 16, 16, 0, 16, 0, NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++)
        expect(&faults[i], NULL, 0, PUSH_BYTES, faults[i].told);
    expect(&faults[0], NULL, 0, 16, "bytes 16 to 20 of push constants 0, which has 16");
    expect(&faults[0], NULL, 3, PUSH_BYTES, "it is cut off");

    static const struct damage damages[] = {
        {OpCooperativeMatrixMulAddKHR, 0, "a product of matrices that do not fit"},
        {OpCooperativeMatrixMulAddKHR, 4461, "instruction 4461 is not known"},
        {OpTypeTensorViewNV, 5391, "declaration 5391 is not known"},
        {OpCapability, OpSource, "without its capabilities"},
        {OpEntryPoint, OpSource, "it has no such entry point"},
        {OpExecutionModeId, OpSource, "the size of its workgroup"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++)
        expect(&faults[0], &damages[i], 0, PUSH_BYTES, damages[i].told);
    return check_result();
}
