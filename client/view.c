// SPDX-License-Identifier: Apache-2.0
// The progress bar and its plain brothers (see view.h). The line is composed for the width that the
// terminal has now: what does not fit is left out in the order frames/s, word "frames", time left,
// bar.
#include "client/view.h"

#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LABEL_COLUMNS = 10, BAR_LEAST = 8, BAR_MOST = 60 };

static const char *stage_name(int stage)
{
    static char name[32];

    return ls_enum_name(&lipstream__v1__stage__descriptor, stage, name, sizeof(name));
}

void ls_view_open(struct ls_view *view, FILE *to, enum ls_progress_mode mode)
{
    const char *term = getenv("TERM");
    bool moves = isatty(fileno(to)) && term && strcmp(term, "dumb") != 0;

    memset(view, 0, sizeof(*view));
    view->to = to;
    view->mode = mode;
    if (mode == LS_PROGRESS_AUTO)
        view->mode = moves ? LS_PROGRESS_BAR : LS_PROGRESS_PLAIN;
    view->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    view->eta_s = -1;
}

bool ls_view_moves(const struct ls_view *view)
{
    return view->mode == LS_PROGRESS_BAR;
}

static int columns_of(FILE *to)
{
    struct winsize size;

    if (ioctl(fileno(to), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

// The bar of a known end, in eighths of a column where the locale has the blocks for it
// (U+2588..258F).
static void put_bar(char *out, size_t size, int columns, double part, bool utf8)
{
    int eighths = (int)(part * columns * 8 + 0.5), at = 0;

    out[0] = '\0';
    for (int i = 0; i < columns && (size_t)at + 4 < size; i++) {
        int fill = eighths - i * 8;

        fill = fill > 8 ? 8 : fill < 0 ? 0 : fill;
        if (!utf8)
            at += snprintf(out + at, size - (size_t)at, "%c", fill >= 4 ? '#' : '-');
        else if (fill == 0)
            at += snprintf(out + at, size - (size_t)at, "\xe2\x96\x91"); // light shade
        else
            at += snprintf(out + at, size - (size_t)at, "\xe2\x96%c", 0x90 - fill);
    }
}

// The bar of an unknown end: a block that walks.
static void put_walk(char *out, size_t size, int columns, int turn, bool utf8)
{
    int at = 0, span = columns - 3, place = turn % (2 * span);

    if (place > span)
        place = 2 * span - place;
    out[0] = '\0';
    for (int i = 0; i < columns && (size_t)at + 4 < size; i++) {
        bool on = i >= place && i < place + 3;

        at += snprintf(out + at, size - (size_t)at, "%s",
                       utf8 ? (on ? "\xe2\x96\x88" : "\xe2\x96\x91") : (on ? "#" : "-"));
    }
}

// The numbers, as much of them as `detail` (0..3) says.
static void put_numbers(const struct ls_view *v, char *out, size_t size, int detail, double eta_s)
{
    char clock[32], total[24] = "", percent[16] = "", rate[32] = "", left[40] = "";

    if (v->stage == LIPSTREAM__V1__STAGE__STAGE_WAITING) {
        snprintf(out, size, "%d before you", v->queue);
        return;
    }
    if (v->frames_total > 0) {
        snprintf(total, sizeof(total), "/%lld", (long long)v->frames_total);
        snprintf(percent, sizeof(percent), "%3.0f%%  ",
                 100.0 * (double)v->frames_out / (double)v->frames_total);
    }
    if (detail >= 3 && v->frames_per_s > 0)
        snprintf(rate, sizeof(rate), "  %.1f frames/s", v->frames_per_s);
    if (detail >= 1 && eta_s >= 0) {
        ls_text_clock(clock, sizeof(clock), eta_s);
        snprintf(left, sizeof(left), "  %s left", clock);
    }
    snprintf(out, size, "%s%lld%s%s%s%s", percent, (long long)v->frames_out, total,
             detail >= 2 ? " frames" : "", rate, left);
}

static void draw(struct ls_view *v, double now_s)
{
    int columns = columns_of(v->to) - 1, room = 0, detail = 3;
    double eta = v->eta_s < 0 ? -1 : v->eta_s - (now_s - v->eta_at_s);
    double part = v->frames_total > 0 ? (double)v->frames_out / (double)v->frames_total : 0;
    char numbers[160], bar[BAR_MOST * 3 + 8] = "";

    if (v->eta_s >= 0 && eta < 0)
        eta = 0;
    for (; detail >= 0; detail--) {
        put_numbers(v, numbers, sizeof(numbers), detail, eta);
        room = columns - LABEL_COLUMNS - (int)strlen(numbers) - 2;
        if (room >= BAR_LEAST)
            break;
    }
    room = room > BAR_MOST ? BAR_MOST : room;
    if (room >= BAR_LEAST && v->frames_total > 0)
        put_bar(bar, sizeof(bar), room, part > 1 ? 1 : part, v->utf8);
    else if (room >= BAR_LEAST)
        put_walk(bar, sizeof(bar), room, v->turn, v->utf8);
    if (bar[0])
        fprintf(v->to, "\r%-*s%s  %s\033[K", LABEL_COLUMNS, stage_name(v->stage), bar, numbers);
    else // too narrow for a bar: the numbers, cut
        fprintf(v->to, "\r%.*s\033[K", columns > 0 ? columns : 0, numbers);
    fflush(v->to);
    v->shown = true;
}

static void print_plain(const struct ls_view *v)
{
    char numbers[160];

    put_numbers(v, numbers, sizeof(numbers), 3, v->eta_s);
    fprintf(v->to, "%-*s%s\n", LABEL_COLUMNS, stage_name(v->stage), numbers + strspn(numbers, " "));
    fflush(v->to);
}

void ls_view_progress(struct ls_view *v, const Lipstream__V1__Progress *p, double now_s)
{
    v->stage = (int)p->stage;
    v->queue = p->queue_position;
    v->frames_out = p->frames_out;
    v->frames_total = p->frames_total;
    v->frames_per_s = (double)p->frames_per_second;
    v->eta_s = p->eta ? (double)p->eta->seconds + p->eta->nanos * 1e-9 : -1;
    v->eta_at_s = now_s;
    if (v->mode == LS_PROGRESS_BAR)
        draw(v, now_s);
    else if (v->mode == LS_PROGRESS_PLAIN)
        print_plain(v);
}

void ls_view_tick(struct ls_view *v, double now_s)
{
    if (v->mode != LS_PROGRESS_BAR || v->stage == 0)
        return;
    v->turn++;
    draw(v, now_s);
}

void ls_view_clear(struct ls_view *v)
{
    if (v->shown)
        fputs("\r\033[K", v->to);
    v->shown = false;
    fflush(v->to);
}

void ls_view_line(struct ls_view *v, const char *fmt, ...)
{
    char raw[1024], clean[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);
    ls_text_clean(clean, sizeof(clean), raw);
    ls_view_clear(v);
    fprintf(v->to, "%s\n", clean);
    fflush(v->to);
}
