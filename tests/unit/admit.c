// SPDX-License-Identifier: Apache-2.0
// Who is let in, who waits and who is refused, as scripts of letters; what sessions hold together;
// what live streams are promised, with given times; and what is planned for a number of cores.
#include <ctype.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "_check.h"
#include "server/admit.h"
#include "server/clock.h"
#include "server/engine.h"

enum { LETTERS = 128, WAIT_MS = 40 };

// One caller, named by a letter: small ones are interactive, capitals of class batch.
struct caller {
    struct ls_place place;
    char refused; // at the door: the reason's letter
    char thrown;  // while it waited
    bool gone;
    int told;
    char leave; // the caller who leaves when this one is told
    struct caller *all;
};

static uv_loop_t loop;
static bool entering; // nobody may be told now

static char letter_of(int code)
{
    switch (code) {
    case LS_EBUSY:
        return 'B';
    case LS_EQUEUE:
        return 'Q';
    case LS_EDRAIN:
        return 'D';
    case LS_EFULL:
        return 'F';
    default:
        return '?';
    }
}

static void on_turn(struct ls_place *p)
{
    struct caller *c = p->user;

    CHECK(!entering, "on_turn inside enter");
    c->told++;
    if (p->err.code < 0)
        c->thrown = letter_of(p->err.code);
    if (c->thrown == 'Q')
        CHECK(p->waited_us >= WAIT_MS * 1000, "how long it waited in vain");
    if (c->leave) {
        ls_admit_leave(&c->all[(int)c->leave].place);
        c->all[(int)c->leave].gone = true;
    }
}

static void enter(struct ls_admit *a, struct caller *all, char name)
{
    struct caller *c = &all[(int)name];
    struct ls_err err = {0};
    int r;

    c->place.on_turn = on_turn;
    c->place.user = c;
    c->all = all;
    entering = true;
    r = ls_admit_enter(a, &c->place, isupper((unsigned char)name) ? LS_CLASS_BATCH : 0, &err);
    entering = false;
    if (r < 0) {
        c->refused = letter_of(r);
        CHECK(err.text[0], "a refusal says why");
    }
}

static void turn(int count)
{
    while (count-- > 0)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void on_time(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void pass(int ms)
{
    uv_timer_t timer;
    bool over = false;

    uv_timer_init(&loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_time, (uint64_t)ms, 0);
    while (!over)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    turn(1);
}

// Letters enter; "-x" leaves; "#" drains; "@" lets the longest wait pass; "." is a turn of the
// loop.
static void play(struct ls_admit *a, struct caller *all, const char *script)
{
    for (; *script; script++) {
        if (*script == '-') {
            script++;
            ls_admit_leave(&all[(int)*script].place);
            all[(int)*script].gone = true;
        } else if (*script == '#') {
            ls_admit_drain(a);
        } else if (*script == '@') {
            pass(2 * WAIT_MS);
        } else if (*script == '.') {
            turn(2);
        } else {
            enter(a, all, *script);
        }
    }
    turn(2);
}

// "a" inside, "b2" second in the line, "c!B" refused at the door, "d?Q" while it waited.
static void describe(char *text, size_t size, const struct caller *all, const char *names)
{
    size_t n = 0;

    text[0] = '\0';
    for (; *names; names++) {
        const struct caller *c = &all[(int)*names];

        if (c->gone)
            continue;
        n += (size_t)snprintf(text + n, size - n, "%s%c", n ? " " : "", *names);
        if (c->refused)
            n += (size_t)snprintf(text + n, size - n, "!%c", c->refused);
        else if (c->thrown)
            n += (size_t)snprintf(text + n, size - n, "?%c", c->thrown);
        else if (c->place.position)
            n += (size_t)snprintf(text + n, size - n, "%d", c->place.position);
        else
            CHECK(c->place.inside, "inside");
    }
}

static const struct {
    const char *name;
    int places, batch, queue;
    bool waits;
    const char *script, *names, *want;
} lines[] = {
    {"no line: the third is refused", 2, 0, 9, false, "abc", "abc", "a b c!B"},
    {"no line: a free place is taken", 2, 0, 9, false, "ab-ac", "bc", "b c"},
    {"half are batch", 4, 0, 9, false, "ABCd", "ABCd", "A B C!B d"},
    {"at least one is batch", 1, 0, 9, false, "A", "A", "A"},
    {"so many are batch", 4, 3, 9, false, "ABCDe", "ABCDe", "A B C D!B e"},
    {"no more batch than places", 2, 9, 9, false, "ABC", "ABC", "A B C!B"},
    {"the third waits", 2, 0, 9, true, "abc", "abc", "a b c1"},
    {"in order", 1, 0, 9, true, "abcd", "abcd", "a b1 c2 d3"},
    {"a place passes on", 2, 0, 9, true, "abcd-a", "bcd", "b c d1"},
    {"two places pass on", 2, 0, 9, true, "abcd-a-b", "cd", "c d"},
    {"who waits may leave", 1, 0, 9, true, "abcd-b", "acd", "a c1 d2"},
    {"all that wait leave", 1, 0, 9, true, "abcd-c-b-d", "a", "a"},
    {"leaving twice", 1, 0, 9, true, "ab-a-a-a", "b", "b"},
    {"batch waits behind", 2, 2, 9, true, "abCd", "abCd", "a b C2 d1"},
    {"interactive first", 2, 2, 9, true, "abCd-a", "bCd", "b C1 d"},
    {"a batch place goes to interactive", 2, 2, 9, true, "ABCd-A", "BCd", "B C1 d"},
    {"batch waits, interactive does not", 3, 1, 9, true, "ABcd", "ABcd", "A B1 c d"},
    {"batch waits for batch", 3, 1, 9, true, "ABc-c", "AB", "A B1"},
    {"batch follows batch", 3, 1, 9, true, "ABCc-A", "BCc", "B C1 c"},
    {"the line is full", 1, 0, 2, true, "abcd", "abcd", "a b1 c2 d!B"},
    {"no line at all", 1, 0, 0, true, "ab", "ab", "a b!B"},
    {"a full line throws batch out", 1, 1, 2, true, "aBCd", "aBCd", "a B2 C?B d1"},
    {"but for interactive only", 1, 1, 2, true, "abCD", "abCD", "a b1 C2 D!B"},
    {"nobody is thrown out for nothing", 1, 1, 1, true, "abc", "abc", "a b1 c!B"},
    {"too long", 1, 0, 9, true, "abc@", "abc", "a b?Q c?Q"},
    {"too long, then a place", 1, 0, 9, true, "ab@-ac", "bc", "b?Q c"},
    {"in time", 1, 0, 9, true, "ab-a@", "b", "b"},
    {"drain", 1, 0, 9, true, "abC#d", "abCd", "a b?D C?D d!D"},
    {"drain before the turn", 1, 0, 9, true, "ab.-a#", "b", "b"},
    {"thrown out and gone", 1, 0, 9, true, "abc#-b", "ac", "a c?D"},
    {"admitted and gone before its turn", 1, 0, 9, true, "abc.-a-b", "c", "c"},
};

static struct ls_admit *open_admit(struct ls_options *opt, int places, int batch, int queue,
                                   bool waits)
{
    struct ls_admit *a = NULL;
    struct ls_err err = {0};

    ls_options_init(opt);
    opt->sessions_max = places;
    opt->batch_sessions_max = batch;
    opt->queue_max = queue;
    opt->admission_wait_ms_max = waits ? WAIT_MS : 0;
    opt->threads = 2;
    CHECK(ls_admit_open(&a, &loop, opt, NULL, &err) == 0, "open");
    return a;
}

static void close_admit(struct ls_admit *a, struct caller *all)
{
    struct ls_admit_state state;

    for (int i = 0; all && i < LETTERS; i++)
        ls_admit_leave(&all[i].place);
    turn(2);
    ls_admit_state(a, &state);
    CHECK(state.inside[0] + state.inside[1] + state.waiting[0] + state.waiting[1] == 0, "all left");
    CHECK(state.pixels == 0 && state.live == 0 && state.lane_load == 0, "all given back");
    ls_admit_close(&a);
    CHECK(!a, "close");
    turn(2);
}

static void check_lines(void)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct caller *all = calloc(LETTERS, sizeof *all);
        struct ls_options opt;
        struct ls_admit *a =
            open_admit(&opt, lines[i].places, lines[i].batch, lines[i].queue, lines[i].waits);
        char got[200];

        play(a, all, lines[i].script);
        describe(got, sizeof got, all, lines[i].names);
        if (!CHECK(!strcmp(got, lines[i].want), lines[i].name))
            printf("    %s, not %s\n", got, lines[i].want);
        close_admit(a, all);
        free(all);
    }
}

// Each change is told once, however many leave at once; and inside on_turn others may leave.
static void check_telling(void)
{
    struct caller *all = calloc(LETTERS, sizeof *all);
    struct ls_options opt;
    struct ls_admit *a = open_admit(&opt, 1, 1, 99, true);
    struct ls_admit_state state;

    opt.admission_wait_ms_max = 60000;
    play(a, all, "abcdefgH");
    CHECK(all['b'].told == 0 && all['g'].told == 0, "position at the entry needs no turn");
    play(a, all, "-b-c-d");
    CHECK(all['e'].told == 1 && all['g'].told == 1 && all['H'].told == 1, "told once");
    CHECK(all['e'].place.position == 1 && all['H'].place.position == 4, "new position");
    ls_admit_state(a, &state);
    CHECK(state.waiting[0] == 3 && state.waiting[1] == 1 && state.inside[0] == 1, "state");
    CHECK(state.queue_max == 99 && state.places_max == 1 && state.batch_places_max == 1, "limits");

    all['e'].leave = 'f'; // the next one of the round
    play(a, all, "-a");
    CHECK(all['e'].place.inside && all['e'].place.position == 0, "admitted");
    CHECK(all['f'].gone && all['f'].told == 1, "who left in the round is not told");
    CHECK(all['g'].place.position == 1 && all['H'].place.position == 2, "behind who left");
    all['g'].leave = 'g'; // itself
    all['e'].leave = 0;
    play(a, all, "-e");
    CHECK(all['g'].gone && all['H'].place.inside, "leaving in one's own turn passes the place on");
    close_admit(a, all);
    free(all);
}

static void check_each_second(void)
{
    struct caller *all = calloc(LETTERS, sizeof *all);
    struct ls_options opt;
    struct ls_admit *a = open_admit(&opt, 1, 1, 99, true);

    opt.admission_wait_ms_max = 60000;
    play(a, all, "ab");
    pass(1200);
    CHECK(all['b'].told == 1 && all['b'].place.position == 1, "told that it still waits");
    play(a, all, "-a");
    CHECK(all['b'].place.waited_us >= 1100000 && all['b'].place.waited_us < 30000000, "waited");
    close_admit(a, all);
    free(all);
}

static void check_pixels(void)
{
    struct caller *all = calloc(LETTERS, sizeof *all);
    struct ls_options opt;
    struct ls_admit *a = open_admit(&opt, 9, 0, 9, false);
    struct ls_admit_state state;
    struct ls_err err = {0};

    opt.pixels_total_max = 1000;
    play(a, all, "ab");
    CHECK(ls_admit_pixels(&all['a'].place, 600, &err) == 0, "600 of 1000");
    CHECK(ls_admit_pixels(&all['b'].place, 401, &err) == LS_EFULL, "401 of 400");
    CHECK(ls_admit_pixels(&all['b'].place, INT64_MAX, &err) == LS_EFULL, "no overflow");
    CHECK(ls_admit_pixels(&all['b'].place, 400, &err) == 0, "400 of 400");
    ls_admit_state(a, &state);
    CHECK(state.pixels == 1000 && state.pixels_max == 1000, "all taken");
    play(a, all, "c-ad");
    CHECK(all['c'].refused == 'F', "no pixel left");
    CHECK(!all['d'].refused, "pixels come back");
    ls_admit_state(a, &state);
    CHECK(state.pixels == 400, "what is left is taken");
    close_admit(a, all);
    free(all);
}

// --- promises
// --------------------------------------------------------------------------------------

enum { HD = 1280 * 720, FRAME_PIXELS = 65536, S = 1000000 };

// How many equal streams are let in, once what a frame costs is known.
static const struct {
    const char *name;
    double lanes, cores;
    bool on_cores;
    double share, rate;
    int lane_us, core_us; // of a frame
    int want;
} capacities[] = {
    {"a device: its lane decides", 1, 64, false, 0.8, 25, 2000, 1000, 16},
    {"a device: the cores decide", 1, 4, false, 0.8, 25, 1000, 8000, 16},
    {"two lanes", 2, 64, false, 0.8, 25, 2000, 1000, 32},
    {"lanes on the cores", 2, 2, true, 0.8, 25, 10000, 6000, 4},
    {"lanes of a device beside them", 2, 2, false, 0.8, 25, 10000, 6000, 6},
    {"twice the rate, half the streams", 2, 2, true, 0.8, 50, 10000, 6000, 2},
    {"half of the share", 2, 2, true, 0.4, 25, 10000, 6000, 2},
    {"none fits", 2, 2, true, 0.8, 25, 60000, 20000, 0},
    {"a quota of half a core", 2, 0.5, true, 0.8, 25, 10000, 6000, 1},
    {"nothing to do", 2, 2, true, 0.8, 25, 0, 0, 99},
};

static void learn(struct ls_load *l, int frames, int lane_us, int core_us)
{
    for (int i = 0; i < frames; i++) {
        ls_load_learn_lane(l, lane_us / 2, 0); // some is not a face's
        ls_load_learn_lane(l, lane_us - lane_us / 2, 1);
        ls_load_learn_core(l, core_us / 2, 0, HD);
        ls_load_learn_core(l, core_us - core_us / 2, 1, HD);
    }
}

static void check_capacities(void)
{
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        struct ls_load l = {.lanes = capacities[i].lanes,
                            .cores = capacities[i].cores,
                            .lanes_on_cores = capacities[i].on_cores,
                            .share_max = capacities[i].share + 1e-9};
        struct ls_load_demand d = ls_load_demand(capacities[i].rate, HD);
        struct ls_err err = {0};
        double lanes, cores;
        int n = 0;

        learn(&l, 200, capacities[i].lane_us, capacities[i].core_us);
        while (n < 99 && ls_load_promise(&l, &d, S, &err) == 0)
            n++;
        if (!CHECK(n == capacities[i].want, capacities[i].name))
            printf("    %d streams: %s\n", n, err.text);
        ls_load_shares(&l, &lanes, &cores);
        CHECK(lanes <= capacities[i].share + 1e-6 && cores <= capacities[i].share + 1e-6,
              capacities[i].name);
        for (; n > 0; n--)
            ls_load_release(&l, &d);
        ls_load_shares(&l, &lanes, &cores);
        CHECK(lanes == 0 && cores == 0 && l.streams == 0, capacities[i].name);
    }
}

static struct ls_load two_cores(void)
{
    return (struct ls_load){.lanes = 2, .cores = 2, .lanes_on_cores = true, .share_max = 0.8};
}

static void check_start(void)
{
    struct ls_load l = two_cores();
    struct ls_load_demand d = ls_load_demand(25, HD);
    struct ls_err err = {0};
    int64_t t = 100 * (int64_t)S;

    CHECK(ls_load_promise(&l, &d, t, &err) == 0, "the first is let in unknown");
    CHECK(ls_load_promise(&l, &d, t + S, &err) == LS_ELIVE, "the second not at once");
    CHECK(strstr(err.text, "not known"), "why");
    CHECK(ls_load_promise(&l, &d, t + 2 * S, &err) == 0, "but after two seconds");
    CHECK(ls_load_promise(&l, &d, t + 3 * S, &err) == LS_ELIVE, "then again not");
    learn(&l, 16, 90000, 90000);
    CHECK(l.lane.mean_us == 0, "the cold block does not count");
    learn(&l, 32, 2000, 2000);
    CHECK(ls_load_promise(&l, &d, t + 3 * S, &err) == 0, "known: at once");
}

static void check_overload(void)
{
    struct ls_load l = two_cores();
    struct ls_load_demand d = ls_load_demand(25, HD), huge = ls_load_demand(1000, HD);
    struct ls_err err = {0};
    int64_t t = 100 * (int64_t)S;
    double before;

    learn(&l, 200, 10000, 6000);
    before = l.lane.mean_us;
    ls_load_learn_lane(&l, 60 * (int64_t)S, 16);
    CHECK(l.lane.mean_us < 2 * before, "one slow block says little");
    learn(&l, 400, 100000, 60000);
    CHECK(l.lane.mean_us > 99000, "many say that it is slow");
    CHECK(ls_load_promise(&l, &d, t, &err) == 0, "when nobody is in, the best cost is believed");
    CHECK(ls_load_promise(&l, &d, t, &err) == LS_ELIVE, "beside others the latest");
    learn(&l, 400, 10000, 6000);
    CHECK(ls_load_promise(&l, &d, t, &err) == 0, "fast again");
    ls_load_release(&l, &d);
    ls_load_release(&l, &d);
    CHECK(ls_load_promise(&l, &huge, t, &err) == LS_ELIVE, "impossible even alone");
    CHECK(l.streams == 0 && l.sum.frames == 0, "a refusal leaves nothing");
}

static void check_door(void)
{
    struct ls_load l = two_cores();
    struct ls_load_demand d = ls_load_demand(25, HD);
    struct ls_err err = {0};
    int64_t t = 100 * (int64_t)S;

    learn(&l, 200, 100, 100);
    ls_load_late(&l, t);
    CHECK(ls_load_promise(&l, &d, t, &err) == 0, "alone: nobody to be made later");
    ls_load_late(&l, t + S);
    CHECK(ls_load_promise(&l, &d, t + 5 * S, &err) == LS_ELIVE, "late 4 s ago");
    CHECK(strstr(err.text, "late"), "why");
    CHECK(ls_load_promise(&l, &d, t + 6 * S, &err) == 0, "in time for 5 s");
}

static void check_hope(void)
{
    struct ls_load l = two_cores();
    struct ls_load_demand small = ls_load_demand(10, HD / 16), d = ls_load_demand(25, HD / 4), held,
                          h2, large = ls_load_demand(50, 9 * (int64_t)HD);
    struct ls_err err = {0};
    int64_t t = 100 * (int64_t)S;
    int n = 0;

    CHECK(ls_load_hope(&l, &held, t, &err) == 0 && held.frames == 0, "nothing is known: let it in");
    CHECK(ls_load_settle(&l, &held, &d, t, &err) == 0 && l.streams == 1, "and promise later");
    CHECK(ls_load_hope(&l, &held, t + S, &err) == LS_ELIVE, "the second not at once");
    CHECK(ls_load_hope(&l, &held, t + 3 * S, &err) == 0 && held.frames == 0, "later; not held");
    learn(&l, 200, 10000, 6000);
    t += 10 * (int64_t)S;
    for (n = 1; ls_load_hope(&l, &held, t, &err) == 0; n++) {
        CHECK(held.frames == 25 && l.streams == n + 1, "as much as the least is held");
        if (n % 2)
            CHECK(ls_load_settle(&l, &held, &d, t, &err) == 0, "and becomes a promise");
        CHECK(l.streams == n + 1, "of one stream");
    }
    CHECK(n > 1 && l.streams == n, "one more of these does not fit");
    CHECK(strstr(err.text, "the least") && strstr(err.text, "--live-load-max"), "why");
    ls_load_release(&l, &d);
    CHECK(ls_load_hope(&l, &held, t, &err) == 0, "one may come when one has left");
    learn(&l, 400, 20000, 12000);
    CHECK(ls_load_settle(&l, &held, &d, t, &err) == 0, "what was held is kept at other costs");
    ls_load_release(&l, &d);
    learn(&l, 400, 9000, 5000);
    CHECK(ls_load_hope(&l, &held, t, &err) == 0, "again");
    d.frames *= 20;
    CHECK(ls_load_settle(&l, &held, &d, t, &err) == LS_ELIVE, "more than was held does not fit");
    CHECK(l.streams == n - 1, "nothing is left of it");
    CHECK(ls_load_promise(&l, &small, t, &err) == 0, "a small one came");
    CHECK(ls_load_hope(&l, &held, t, &err) == 0, "so the next may be small, too");
    ls_load_late(&l, t);
    CHECK(ls_load_hope(&l, &h2, t + S, &err) == LS_ELIVE, "nobody while frames are late");

    l = two_cores();
    learn(&l, 200, 2000, 1800);
    CHECK(ls_load_promise(&l, &large, t, &err) == 0, "a large one, alone");
    CHECK(ls_load_hope(&l, &held, t + S, &err) == 0 && held.pixels < large.pixels / 9,
          "a small one may come beside it");
    CHECK(ls_load_settle(&l, &held, &large, t + S, &err) == LS_ELIVE, "a second large one may not");
}

static void check_live_places(void)
{
    struct caller *all = calloc(LETTERS, sizeof *all);
    struct ls_options opt;
    struct ls_admit *a = open_admit(&opt, 9, 0, 9, false);
    struct ls_admit_state state;
    struct ls_err err = {0};

    ls_admit_lanes(a, 1, false);
    for (int i = 0; i < 200; i++) {
        ls_admit_learn_lane(a, 10000, 1);
        ls_admit_learn_core(a, 1, 1, HD);
    }
    play(a, all, "abcd");
    for (const char *name = "abc"; *name; name++)
        CHECK(ls_admit_live(&all[(int)*name].place, 25, HD, &err) == 0, "three fit");
    CHECK(ls_admit_live(&all['d'].place, 25, HD, &err) == LS_ELIVE, "the fourth does not");
    ls_admit_state(a, &state);
    CHECK(state.live == 3 && state.lane_load > 0.937 && state.lane_load < 0.938, "0.75 of 0.8");
    play(a, all, "-a");
    CHECK(ls_admit_live(&all['d'].place, 25, HD, &err) == 0, "until one leaves");
    ls_admit_live_lag(a, 500000);
    play(a, all, "-b");
    play(a, all, "e");
    CHECK(ls_admit_live(&all['e'].place, 25, HD, &err) == 0, "half a second is in time");
    ls_admit_live_lag(a, 500001);
    play(a, all, "-c");
    play(a, all, "f");
    CHECK(ls_admit_live(&all['f'].place, 25, HD, &err) == LS_ELIVE, "more is late");
    close_admit(a, all);
    free(all);
}

static void check_quotas(void)
{
    static const struct {
        const char *text;
        double want;
    } rows[] = {
        {"max 100000\n", 0}, {"150000 100000\n", 1.5}, {"", 0},        {"50000 100000", 0.5},
        {"0 100000", 0},     {"100000 0", 0},          {"garbage", 0}, {"-5 100", 0},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK(ls_load_quota(rows[i].text) == rows[i].want, rows[i].text);
    CHECK(ls_load_cores() > 0 && ls_load_cores() <= 4096, "some cores");
}

// What follows from a number of cores, given or found.
static void check_plan(void)
{
    static const struct {
        const char *name;
        struct ls_options opt, want;
    } rows[] = {
        {"cores alone", {.cores = 6}, {.cores = 6, .threads = 6, .pool_threads = 6}},
        {"lanes given", {.cores = 6, .threads = 2}, {.cores = 6, .threads = 2, .pool_threads = 6}},
        {"encode jobs given",
         {.cores = 6, .pool_threads = 3},
         {.cores = 6, .threads = 6, .pool_threads = 3}},
        {"one processor allowed", {0}, {.cores = 1, .threads = 1, .pool_threads = 1}},
    };
    cpu_set_t before, one;
    int cpu = 0;

    CHECK(sched_getaffinity(0, sizeof before, &before) == 0, "affinity");
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0, "one processor");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ls_options opt = rows[i].opt;

        for (int k = 0; k < 2; k++) { // a second time it changes nothing
            ls_engine_plan(&opt);
            CHECK(opt.cores == rows[i].want.cores && opt.threads == rows[i].want.threads &&
                      opt.pool_threads == rows[i].want.pool_threads,
                  rows[i].name);
        }
    }
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0, "affinity as before");
}

int main(void)
{
    uv_loop_init(&loop);
    check_lines();
    check_telling();
    check_each_second();
    check_pixels();
    check_capacities();
    check_start();
    check_overload();
    check_door();
    check_hope();
    check_live_places();
    check_quotas();
    check_plan();
    turn(3);
    CHECK(uv_loop_close(&loop) == 0, "no handle is left open");
    return check_done();
}
