// SPDX-License-Identifier: Apache-2.0
// What every test program shares: CHECK with the row's name, the count of failures, and the place
// of media that are not part of the repository. Header only, so any test folder may include it; one
// program, one thread.
#ifndef LS_TEST_CHECK_H
#define LS_TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static int check_failures; // of this program

// Prints the row's name, the place and the condition when cond is false. Yields cond.
#define CHECK(cond, row) check_row(!!(cond), #cond, (row), __FILE__, __LINE__)

static inline int check_row(int ok, const char *cond, const char *row, const char *file, int line)
{
    if (!ok) {
        check_failures++;
        printf("FAIL %s: %s (%s:%d)\n", row, cond, file, line);
    }
    return ok;
}

// What main returns: 0 when every check held.
static inline int check_done(void)
{
    if (check_failures)
        printf("%d checks failed\n", check_failures);
    return check_failures ? 1 : 0;
}

// Ends the test as skipped, saying why.
#define CHECK_SKIP(...) (printf("SKIP: "), printf(__VA_ARGS__), printf("\n"), exit(77))

// The folder of shared clips and models; need not exist.
static inline const char *check_shared(void)
{
    const char *dir = getenv("LS_SHARED");
    return dir && *dir ? dir : "../shared";
}

#endif
