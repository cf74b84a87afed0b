// SPDX-License-Identifier: Apache-2.0
// The book of records of faces against a plain list that remembers everything, under random use.
#include <string.h>

#include "kernels/cuda/records.h"
#include "kernels/splitmix.h"
#include "tests/unit/_check.h"

enum { COUNT = 9, KEYS = 20 };

// What each record should be.
static struct {
    uint64_t key;
    int use_count;
    int64_t used_at;
} model[COUNT];

static int model_find(uint64_t key)
{
    for (int i = 0; i < COUNT; i++)
        if (key && model[i].key == key)
            return i;
    return -1;
}

static bool model_is_oldest(int idx)
{
    for (int i = 0; i < COUNT; i++)
        if (model[i].use_count == 0 && model[i].used_at < model[idx].used_at)
            return false;
    return true;
}

static int in_use(void)
{
    int n = 0;

    for (int i = 0; i < COUNT; i++)
        n += model[i].use_count > 0;
    return n;
}

static void take(struct ls_cuda_records *records, uint64_t key)
{
    int want = model_find(key), got;
    bool known = false;

    got = ls_cuda_records_take(records, &known, key);
    if (!CHECK(got >= 0 && got < COUNT && known == (want >= 0), "take"))
        exit(1);
    if (known) {
        CHECK(got == want, "a known face's record");
    } else {
        CHECK(model[got].use_count == 0, "a record in use is given to nobody");
        CHECK(model_is_oldest(got), "the least recently used one goes first");
    }
    model[got].key = key;
    model[got].use_count++;
}

static void give(struct ls_cuda_records *records, int idx, int64_t now)
{
    ls_cuda_records_give(records, idx);
    if (--model[idx].use_count == 0)
        model[idx].used_at = model[idx].key ? now : -now; // nobody asks for it: first to go
}

int main(void)
{
    struct ls_cuda_records *records = NULL;
    uint64_t state = 4;

    if (!CHECK(ls_cuda_records_new(&records, COUNT, NULL) == 0, "new"))
        return check_done();
    for (int64_t now = 1; now < 200000; now++) {
        uint64_t random = ls_splitmix_next(&state);
        int idx = (int)(random >> 8) % COUNT;

        idx = idx < 0 ? -idx : idx;
        if (random % 2 && in_use() < COUNT)
            take(records, (random >> 40) % KEYS * 0x100000001u); // 0 among them
        else if (model[idx].use_count > 0 && random % 16 == 4) {
            ls_cuda_records_forget(records, idx);
            model[idx].key = 0;
        } else if (model[idx].use_count > 0) {
            give(records, idx, now);
        }
    }
    ls_cuda_records_free(&records);
    CHECK(!records, "free");
    ls_cuda_records_free(&records);
    return check_done();
}
