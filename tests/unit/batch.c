// SPDX-License-Identifier: Apache-2.0
// The device queue's order, without clocks: the back ends here compute nothing, and each of their
// steps waits for a semaphore that the test holds. So a test knows what runs and what waits, and
// reads afterwards which runs there were. The names of works tell what they are: a digit is live
// (0 and 1 are due first, 2 and 3 next, and so on); upper case is interactive; lower case is of
// class batch. "ref" computes on the lane's thread, face by face; "cpu" stands in for a device that
// takes two batches.
#include "server/batch.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>

#include <uv.h>

#include "_batch.h"
#include "_check.h"

enum { WORKS = 32, SIDE = 16 };

struct piece {
    struct ls_work work;
    char name;
    struct ls_frame frame;
    uint8_t luma[SIDE * SIDE], chroma[2][SIDE / 2 * (SIDE / 2)];
    float pcm[1024], column[LS_MEL_BANDS];
};

static uv_loop_t loop;
static struct ls_batch *batch;
static struct ls_backend *backend;
static struct piece piece[WORKS];
static int pieces;
static char done[WORKS + 1];      // names in the order of on_done
static char cancelled[WORKS + 1]; // those of them that have LS_ECANCEL
static int users[2];

// --- works
// ----------------------------------------------------------------------------------------

static void add(char *list, char name)
{
    size_t n = strlen(list);

    list[n] = name;
    list[n + 1] = '\0';
}

static void on_done(struct ls_work *w)
{
    struct piece *p = (struct piece *)w;

    add(done, p->name);
    if (w->err.code == LS_ECANCEL)
        add(cancelled, p->name);
}

static struct piece *make(char name, enum ls_work_kind kind, int user)
{
    struct piece *p = &piece[pieces++];

    memset(p, 0, sizeof *p);
    p->name = name;
    p->luma[0] = (uint8_t)name;
    p->frame = (struct ls_frame){.plane = {p->luma, p->chroma[0], p->chroma[1]},
                                 .stride = {SIDE, SIDE / 2, SIDE / 2},
                                 .width_px = SIDE,
                                 .height_px = SIDE,
                                 .format = LS_PIX_I420};
    p->work.kind = kind;
    p->work.class = name >= 'a' ? LS_CLASS_BATCH : LS_CLASS_INTERACTIVE;
    p->work.live = name >= '0' && name <= '9';
    p->work.due_us = name / 2;
    p->work.on_done = on_done;
    p->work.user = &users[user];
    if (kind == LS_WORK_DETECT) {
        p->work.detect.frame = &p->frame;
        p->work.detect.side_px = 64;
    } else if (kind == LS_WORK_MEL) {
        p->pcm[0] = (float)name;
        p->work.mel.job = (struct ls_mel_job){.pcm = p->pcm, .pcm_count = 1024, .total = 1024};
        p->work.mel.job.count = 1;
        p->work.mel.column = p->column;
    } else {
        p->work.face.frame = &p->frame;
        p->work.face.source_key = (uint64_t)name;
        p->work.face.box = (struct ls_box){0, 0, SIDE, SIDE};
    }
    return p;
}

static void push(struct piece *p)
{
    ls_batch_push(batch, &p->work);
}

// Faces; small work is in brackets: "[A]" a detection, "(A)" mel.
static void push_all(const char *names, int user)
{
    for (; *names; names++) {
        if (*names == '[' || *names == '(') {
            push(make(names[1], *names == '[' ? LS_WORK_DETECT : LS_WORK_MEL, user));
            names += 2;
        } else {
            push(make(*names, LS_WORK_FACE, user));
        }
    }
}

static void wait_begun(int count)
{
    while (count-- > 0)
        sem_wait(&begun);
}

static void release(int steps)
{
    while (steps-- > 0)
        sem_post(&go);
}

// One step ends, and so many runs begin.
static void next(int runs_begun)
{
    release(1);
    wait_begun(runs_begun);
}

static void wait_done(size_t count)
{
    while (strlen(done) < count)
        uv_run(&loop, UV_RUN_ONCE);
}

static bool begin(const char *name, int lanes, int wait_us, const char *row)
{
    static struct ls_net *const net = (struct ls_net *)&loop; // nobody looks into it
    static struct ls_model model;
    struct ls_backend_params params = {.name = name, .model = &model, .batch_max = BATCH_MAX};
    struct ls_err err = {0};

    model.generator = net;
    model.detector = LS_DETECTOR_YUNET;
    pieces = 0;
    runs[0] = done[0] = cancelled[0] = refused = '\0';
    stop_items = false;
    sem_init(&begun, 0, 0);
    sem_init(&go, 0, 0);
    return CHECK(ls_backend_open(&backend, &params, &err) == 0, row) &&
           CHECK(ls_batch_open(&batch, &loop, backend, lanes, BATCH_MAX, wait_us, NULL, &err) == 0,
                 row);
}

// Lets everything run to its end and looks at the runs there were.
static void end(const char *row, const char *want, size_t want_done)
{
    release(64);
    wait_done(want_done);
    ls_batch_close(&batch);
    uv_run(&loop, UV_RUN_DEFAULT);
    ls_backend_close(&backend);
    CHECK(strlen(done) == want_done, row);
    if (!CHECK(!strcmp(runs, want), row))
        printf("  ran %s\n  not %s\n", runs, want);
    sem_destroy(&begun);
    sem_destroy(&go);
}

// --- rows
// ----------------------------------------------------------------------------------------

// What one lane makes of all that came while it was busy with X.
static void order(void)
{
    static const struct {
        const char *name, *pushed, *want;
    } rows[] = {
        {"in order of arrival", "ABCDEF", "X ABCD EF"},
        {"interactive overtakes batch", "abAcB", "X AB abc"},
        {"a run is of one class", "Aa", "X A a"},
        {"live in order of due_us", "7251", "X 1257"},
        {"live of one time in order of arrival", "3210", "X 1032"},
        {"live overtakes, in a run of its own", "aAB21b", "X 12 AB ab"},
        {"small work first", "A[B]C(D)", "X [B] (D) AC"},
        {"small work of class batch last but for its faces", "a[b]A(c)[B]", "X [B] A [b] (c) a"},
        {"live faces before others' small work", "[A]1(B)A", "X 1 [A] (B) A"},
        {"live small work before all", "1[A]A[2]a", "X [2] 1 [A] A a"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!begin("ref", 1, 0, rows[i].name))
            return;
        push_all("X", 0);
        wait_begun(1);
        push_all(rows[i].pushed, 0);
        end(rows[i].name, rows[i].want, (size_t)pieces);
    }
}

// Whatever waits of class batch, interactive work waits for one run of it, the one under way.
static void one_run_between(void)
{
    const char *row = "one run of class batch";

    if (!begin("ref", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    push_all("abcdefghijkl[m](n)", 0);
    next(1); // [m]: nothing else waits
    push_all("A", 0);
    next(1); // A
    next(1); // (n)
    push_all("B[C]", 0);
    next(1); // [C]
    next(1); // B
    next(1); // abcd
    push_all("DE", 0);
    next(1); // DE
    push_all("F", 0);
    next(1); // F: class batch has no turn of its own
    end(row, "X [m] A (n) [C] B abcd DE F efgh ijkl", (size_t)pieces);
}

static void waiting_to_fill(void)
{
    const char *row = "waiting to fill";

    if (!begin("ref", 1, 1000000000, row))
        return;
    push_all("ABC", 0);
    push_all("abcd", 0); // full, and yet it does not go before what waits
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, true) == 3, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, true) == 4, row);
    push_all("D", 0);
    wait_begun(1);
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, true) == 0, row);
    end(row, "ABCD abcd", 8);
}

static void two_lanes(void)
{
    const char *row = "two lanes";

    if (!begin("ref", 2, 0, row))
        return;
    push_all("a", 0);
    wait_begun(1);
    push_all("b", 0);
    wait_begun(1); // both are taken
    push_all("cdefABC", 0);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, true) == 4, row);
    next(1); // whichever it was, it takes its share of the interactive ones
    next(1);
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, true) == 0, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, true) == 4, row);
    next(1);
    next(1);
    next(1);
    end(row, "a b AB C cd e f", (size_t)pieces);
}

// Two users' work in every line, and one of them goes.
static void revoking(void)
{
    const char *row = "revoke";

    if (!begin("ref", 1, 0, row))
        return;
    push_all("X", 1);
    wait_begun(1);
    push_all("1[2]A[B](C)a[b](c)", 0);
    push_all("3[4]D[E](F)d[e](f)", 1);
    push_all("5G[H]g[h]", 0);
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, true) == 6, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, false) == 7, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, true) == 3, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, false) == 5, row);
    CHECK(ls_batch_revoke(batch, &users[0]) == 13, row);
    CHECK(ls_batch_revoke(batch, &users[0]) == 0, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, true) == 2, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_INTERACTIVE, false) == 3, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, true) == 1, row);
    CHECK(ls_batch_waiting(batch, LS_CLASS_BATCH, false) == 2, row);
    push_all("I", 1); // the lines' ends are where they should be
    end(row, "X [4] 3 [E] (F) DI [e] (f) d", 10);
    CHECK(!strcmp(cancelled, ""), row);
}

// A run's revoked faces come back while its others still run.
static void revoking_a_run(void)
{
    const char *row = "revoke what runs";

    if (!begin("ref", 1, 0, row))
        return;
    push_all("X", 1);
    wait_begun(1);
    push_all("A", 1);
    push_all("B", 0);
    push_all("C", 1);
    push_all("D", 0);
    stop_items = true;
    next(1); // ABCD, held at A
    CHECK(ls_batch_revoke(batch, &users[0]) == 0, row);
    release(1); // A is done, B is dropped, C is held
    wait_done(2);
    CHECK(!strcmp(done, "XB") && !strcmp(cancelled, "B"), row);
    release(1); // C is done, D is dropped
    wait_done(5);
    CHECK(!strcmp(cancelled, "BD"), row);
    CHECK(piece[1].luma[1] == 'c' && piece[3].luma[1] == 'c', row);
    CHECK(piece[2].luma[1] == 0 && piece[4].luma[1] == 0, row);
    push_all("E", 0); // revoked is who was there, not who comes
    end(row, "X ABCD E", 6);
    CHECK(!strcmp(cancelled, "BD"), row);
}

static void revoking_a_search(void)
{
    const char *row = "revoke a detection";
    struct piece *p;

    for (int lane = 0; lane < 2; lane++) {
        if (!begin(lane ? "cpu" : "ref", 1, 0, row))
            return;
        p = make('A', LS_WORK_DETECT, 0);
        p->work.detect.side_px_max = 256;
        push(p);
        wait_begun(1);
        next(1); // at twice the size
        CHECK(ls_batch_revoke(batch, &users[0]) == 0, row);
        end(row, "[A] [A]", 1);
        CHECK(!strcmp(cancelled, "A"), row);
    }
}

// A face that cannot be cropped is its own fault, whatever happens to the others.
static void one_fault(void)
{
    const char *row = "one fault";

    if (!begin("ref", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    push_all("A!B", 0);
    end(row, "X AB", 4);
    CHECK(piece[2].work.err.code == LS_EFIELD, row);
    CHECK(piece[1].work.err.code == 0 && piece[3].work.err.code == 0, row);
}

// --- a device that takes two batches

static void device_order(void)
{
    const char *row = "a device: class batch in halves, then it waits";

    if (!begin("cpu", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    push_all("abcdefgh", 0);
    next(2); // X ends; ab, cd: together one batch
    push_all("A", 0);
    next(1); // ab ends; A, and nobody with it: it has met ab and cd
    next(1); // cd ends; two more
    push_all("BCDEF", 0);
    next(1); // A ends; BCDE
    next(1); // ef ends; F, and gh with it, which make one batch with ef
    end(row, "X ab cd A ef BCDE Fgh", (size_t)pieces);
}

static void device_filling(void)
{
    const char *row = "a device: places that are left over";

    if (!begin("cpu", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    push_all("Aabcdefg1", 0);
    next(2); // X ends; 1 and A with ab, then cd: that is one batch's worth
    push_all("B", 0);
    next(1); // 1Aab ends; B, alone: it has met four
    push_all("C", 0);
    next(1); // cd ends; C, which has met these two, with two others
    end(row, "X 1Aab cd B Cef g", (size_t)pieces);
}

static void device_small(void)
{
    const char *row = "a device: small work";

    if (!begin("cpu", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    push_all("[a]A[b][B]c[C]", 0);
    end(row, "X [B] [C] Ac [a] [b]", (size_t)pieces);

    if (!begin("cpu", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    push_all("[A][B][C][D][E]Fa", 0); // a does not come along while other small work waits
    end(row, "X [A] [B] [C] [D] F [E] a", (size_t)pieces);
}

static void device_refusal(void)
{
    const char *row = "a device: a refused batch";

    if (!begin("cpu", 1, 0, row))
        return;
    push_all("X", 0);
    wait_begun(1);
    refused = 'b';
    push_all("abcd", 0);
    release(64);
    wait_done(5);
    CHECK(piece[2].work.err.code == LS_EDEVICE, row);
    CHECK(piece[1].work.err.code == 0 && piece[3].work.err.code == 0, row);
    refused = '\0';
    push_all("efgh", 0); // there is room for a whole batch again
    wait_done(9);
    for (int i = 5; i < 9; i++)
        CHECK(piece[i].work.err.code == 0, row);
    end(row, runs, 9);
}

static void closing(void)
{
    static const char *const names[] = {"ref", "cpu"};

    for (int i = 0; i < 2; i++) {
        if (!begin(names[i], 2 - i, 1000000000, "close"))
            return;
        push_all("Aa[B](c)1", 0);
        release(64);
        ls_batch_close(&batch); // what waits is done, and told to nobody
        CHECK(!batch, "close");
        uv_run(&loop, UV_RUN_DEFAULT);
        ls_backend_close(&backend);
        for (int k = 0; k < 5; k++)
            CHECK(piece[k].work.kind != LS_WORK_FACE || piece[k].luma[1] == 'c', "close");
        sem_destroy(&begun);
        sem_destroy(&go);
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    uv_loop_init(&loop);
    order();
    one_run_between();
    waiting_to_fill();
    two_lanes();
    revoking();
    revoking_a_run();
    revoking_a_search();
    one_fault();
    device_order();
    device_filling();
    device_small();
    device_refusal();
    closing();
    CHECK(keys_wrong == 0, "each face comes with its own key");
    CHECK(uv_loop_close(&loop) == 0, "no handle is left");
    return check_done();
}
