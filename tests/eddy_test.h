/* The harness of the C tests: a test is a function that says which lines of the specification it shows.
 *
 *     TEST(a_line_is_handed_out_with_its_newline, "R60 R65") { ... CHECK(...); ... }
 *
 * A program of tests runs them all, or those whose names contain its first argument; each under an alarm, and each
 * must leave as many descriptors open as it found. */
#ifndef EDDY_TEST_H
#define EDDY_TEST_H

#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct eddy_test {
    const char *name, *shows;
    void (*run)(void);
    struct eddy_test *next;
};

void eddy_test_register(struct eddy_test *test);

#define TEST(test_name, test_shows)                                                                \
    static void test_name(void);                                                                   \
    __attribute__((constructor)) static void register_##test_name(void)                            \
    {                                                                                              \
        static struct eddy_test test = { #test_name, test_shows, test_name, NULL };                \
        eddy_test_register(&test);                                                                 \
    }                                                                                              \
    static void test_name(void)

void eddy_test_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

#define FAIL(...) eddy_test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) ((condition) ? (void)0 : FAIL("not true: %s", #condition))

#define CHECK_INT(actual, expected)                                                                \
    do {                                                                                           \
        long long check_a = (long long)(actual), check_e = (long long)(expected);                  \
        if (check_a != check_e) FAIL("%s is %lld, not %s, %lld", #actual, check_a, #expected, check_e); \
    } while (0)

#define CHECK_STR(actual, expected)                                                                \
    do {                                                                                           \
        const char *check_a = (actual), *check_e = (expected);                                     \
        if (check_a == NULL || strcmp(check_a, check_e) != 0)                                      \
            FAIL("%s is \"%s\", not \"%s\"", #actual, check_a ? check_a : "(null)", check_e);      \
    } while (0)

#define CHECK_BYTES(actual, len, literal)                                                          \
    do {                                                                                           \
        if ((len) != sizeof(literal) - 1 || memcmp((actual), (literal), sizeof(literal) - 1) != 0) \
            FAIL("%s is \"%.*s\" (%zu bytes), not \"%s\"", #actual, (int)(len), (const char *)(actual), \
                 (size_t)(len), literal);                                                          \
    } while (0)

/* Times that a test waits for are longer where everything is: under valgrind, say (EDDY_TEST_SLOW=10). */
int eddy_test_slow(void);

#endif
