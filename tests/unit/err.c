// SPDX-License-Identifier: Apache-2.0
// Error records: every code has its words, records are filled, prefixed and cut without harm.
#include <string.h>

#include "kernels/err.h"
#include "tests/unit/_check.h"

#define ROW(code, status, reason, text) {code, #code, reason, text},
static const struct {
    int code;
    const char *name, *reason, *text;
} rows[] = {{LS_OK, "LS_OK", "OK", "no error"}, LS_ERRORS(ROW)};

static void words(void)
{
    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++) {
        CHECK(rows[i].code == -i, rows[i].name);
        CHECK(!strcmp(ls_err_reason(rows[i].code), rows[i].reason), rows[i].name);
        CHECK(!strcmp(ls_err_text(rows[i].code), rows[i].text), rows[i].name);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(rows[i].reason, rows[k].reason) != 0, "reasons differ");
    }
    CHECK(!strcmp(ls_err_reason(5), "INTERNAL"), "a positive code is a bug of ours");
    CHECK(!strcmp(ls_err_reason(-LS_ERR_COUNT), "INTERNAL"), "an unknown code is a bug of ours");
}

static void records(void)
{
    struct ls_err e = {0};
    char big[1000];

    CHECK(ls_fail(NULL, LS_EIO, "x") == LS_EIO, "no record");
    CHECK(ls_fail(&e, LS_EMEDIA, "packet %d", 7) == LS_EMEDIA, "code comes back");
    CHECK(e.code == LS_EMEDIA && !strcmp(e.text, "packet 7") && !e.field[0], "record filled");
    CHECK(ls_fail_field(&e, LS_EFIELD, "config.fps", "%d", 3) == LS_EFIELD, "field's code");
    CHECK(!strcmp(e.field, "config.fps") && !strcmp(e.text, "3"), "field filled");
    CHECK(ls_fail_prefix(&e, "file %s", "a.mp4") == LS_EFIELD, "prefix's code");
    CHECK(!strcmp(e.text, "file a.mp4: 3") && !strcmp(e.field, "config.fps"), "prefix put");
    CHECK(ls_fail(&e, LS_EIO, "again: %s", e.text) == LS_EIO, "own text as argument");
    CHECK(!strcmp(e.text, "again: file a.mp4: 3") && !e.field[0], "own text survived");

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    CHECK(ls_fail_field(&e, LS_EIO, big, "%s", big) == LS_EIO, "long text");
    CHECK(strlen(e.text) == sizeof e.text - 1 && strlen(e.field) == sizeof e.field - 1, "cut");
    CHECK(ls_fail_prefix(&e, "%s", big) == LS_EIO && strlen(e.text) == sizeof e.text - 1,
          "cut prefix");
}

int main(void)
{
    words();
    records();
    return check_done();
}
