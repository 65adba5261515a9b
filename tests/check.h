/*
 * The test harness: a test is a program; CHECK() tells where and what and counts; end main() with
 * `return check_result();`.
 */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_passed, check_failed;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (condition) {                                                                           \
            check_passed++;                                                                        \
        } else {                                                                                   \
            check_failed++;                                                                        \
            fprintf(stderr, "%s:%d: %s:", __FILE__, __LINE__, #condition);                         \
            fprintf(stderr, " " __VA_ARGS__);                                                      \
            fputc('\n', stderr);                                                                   \
        }                                                                                          \
    } while (0)

#define CHECK_STR(got, expected)                                                                   \
    do {                                                                                           \
        const char *check_got = (got), *check_expected = (expected);                               \
        CHECK(check_got &&check_expected &&strcmp(check_got, check_expected) == 0,                 \
              "got \"%s\", expected \"%s\"", check_got ? check_got : "(null)",                     \
              check_expected ? check_expected : "(null)");                                         \
    } while (0)

/* Norm of the difference over the norm of the expected values; a NaN anywhere gives NaN, which
 * fails any bound. */
static inline double check_relative_error(const float *got, const float *expected, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - expected[i];
        difference += d * d;
        norm += (double)expected[i] * expected[i];
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

static inline int check_result(void)
{
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed || !check_passed ? EXIT_FAILURE : EXIT_SUCCESS;
}
