// SPDX-License-Identifier: Apache-2.0
// `lipstream sync`: one poll loop over the inputs, the output, the call's events and the signals.
// It reads an input only when its last piece is gone, sends only when the last message was taken,
// and asks for a message only when the last one is written; so memory is one chunk an input and one
// message, whatever is slow. The config leaves first, and only once the face's first bytes told a
// picture from a video.
#include "client/sync.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "client/frames.h"
#include "client/input.h"
#include "client/json.h"
#include "client/link.h"
#include "client/output.h"
#include "client/regions.h"
#include "client/report.h"
#include "client/retry.h"
#include "client/secure.h"
#include "client/view.h"

enum { VOICE, FACE, INPUTS };
enum { RETRY_S_MAX = 86400 };

struct sync {
    struct ls_client_options *opt;
    struct ls_secure secure;
    struct ls_link *link;
    struct ls_input in[INPUTS];
    struct ls_output out;
    struct ls_regions *regions; // NULL when all are sent
    FILE *frames;               // of --frame-info
    struct ls_view view;
    struct ls_fault fault;
    int signals; // signalfd
    double started_s;
    double ends_s; // of --timeout; 0: never
    int tries;
    int last; // input that was sent last

    // Of one try.
    bool accepted;
    bool config_sent, still, stop_sent, half_closed;
    bool sending, receiving;
    bool ended; // no more messages will come
    bool over;  // the status is here
    bool cancelled;
    Lipstream__V1__SyncResponse *summary; // the message that holds it
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void cancel(struct sync *s)
{
    if (!s->cancelled)
        ls_link_cancel(s->link);
    s->cancelled = true;
}

static int send_request(struct sync *s, const Lipstream__V1__SyncRequest *request)
{
    size_t size = lipstream__v1__sync_request__get_packed_size(request);
    uint8_t *data = malloc(size);

    if (!data)
        return ls_fault_set(&s->fault, LS_EXIT_LOCAL, "out of memory");
    lipstream__v1__sync_request__pack(request, data);
    ls_link_send(s->link, data, size, NULL, 0);
    free(data);
    s->sending = true;
    return 0;
}

// How fast each input goes. Sizes and headers are known when the first bytes are.
static int set_pace(struct sync *s)
{
    struct ls_input *voice = &s->in[VOICE], *face = &s->in[FACE];
    double pcm = ls_config_pcm_bytes_per_s(&s->opt->config), seconds = s->opt->pace_s;

    if (seconds < 0) { // LS_PACE_REAL
        voice->bytes_per_s = pcm;
        seconds =
            pcm > 0 && voice->size > 0 ? (double)voice->size / pcm : ls_input_wav_seconds(voice);
        if (seconds <= 0 && pcm <= 0)
            return ls_fault_set(&s->fault, LS_EXIT_USAGE,
                                "--pace real needs --pcm or a WAV file; give seconds instead");
    }
    if (seconds <= 0)
        return 0;
    if (voice->size > 0)
        voice->bytes_per_s = (double)voice->size / seconds;
    if (face->size > 0 && !s->still)
        face->bytes_per_s = (double)face->size / seconds;
    return 0;
}

static int send_config(struct sync *s)
{
    Lipstream__V1__SyncRequest request = LIPSTREAM__V1__SYNC_REQUEST__INIT;

    s->still = s->opt->config.video.source_case != LIPSTREAM__V1__VIDEO_INPUT__SOURCE_FRAMES &&
               ls_input_is_still(&s->in[FACE]);
    ls_config_video(&s->opt->config, s->still);
    if (s->opt->pace_s != 0 && set_pace(s) < 0)
        return -1;
    s->config_sent = true;
    s->started_s = now_s();
    request.request_case = LIPSTREAM__V1__SYNC_REQUEST__REQUEST_CONFIG;
    request.config = &s->opt->config.root;
    return send_request(s, &request);
}

static int send_stop(struct sync *s)
{
    Lipstream__V1__SyncRequest request = LIPSTREAM__V1__SYNC_REQUEST__INIT;
    Lipstream__V1__Control control = LIPSTREAM__V1__CONTROL__INIT;

    control.action = LIPSTREAM__V1__CONTROL_ACTION__CONTROL_ACTION_STOP_NOW;
    request.request_case = LIPSTREAM__V1__SYNC_REQUEST__REQUEST_CONTROL;
    request.control = &control;
    s->stop_sent = true;
    s->in[VOICE].ended = s->in[FACE].ended = true;
    return send_request(s, &request);
}

static size_t put_varint(uint8_t *to, size_t value)
{
    size_t at = 0;

    for (; value >= 0x80; value >>= 7)
        to[at++] = (uint8_t)(value | 0x80);
    to[at++] = (uint8_t)value;
    return at;
}

// One piece of an input. Framed by hand, so that the bytes are copied once: InputChunk {end = 2,
// data = 1} inside SyncRequest {audio = 2, video = 3}; a parser takes fields in any order.
static void send_piece(struct sync *s, int which)
{
    struct ls_input *in = &s->in[which];
    size_t size = ls_input_piece(in, now_s() - s->started_s), inner = 0, at = 0;
    uint8_t chunk[16], head[32];

    if (ls_input_last(in, size)) {
        in->ended = true;
        chunk[inner++] = 2 << 3;
        chunk[inner++] = 1;
    }
    chunk[inner++] = 1 << 3 | 2;
    inner += put_varint(chunk + inner, size);
    head[at++] = (uint8_t)((which == VOICE ? 2 : 3) << 3 | 2);
    at += put_varint(head + at, inner + size);
    memcpy(head + at, chunk, inner);
    ls_link_send(s->link, head, at + inner, in->data, size);
    ls_input_take(in, size);
    s->sending = true;
    s->last = which;
}

// Which input is behind. Files go in proportion, so that both end together; a picture goes first,
// and of two that cannot be compared the one that was not sent last.
static int choose_input(const struct sync *s)
{
    double elapsed = now_s() - s->started_s;
    const struct ls_input *v = &s->in[VOICE], *f = &s->in[FACE];
    bool voice = ls_input_ready(v, elapsed), face = ls_input_ready(f, elapsed);

    if (!voice || !face)
        return voice ? VOICE : face ? FACE : -1;
    if (s->still)
        return FACE;
    if (v->size > 0 && f->size > 0)
        return (double)v->sent / (double)v->size <= (double)f->sent / (double)f->size ? VOICE
                                                                                      : FACE;
    return s->last == VOICE ? FACE : VOICE;
}

static bool stop_due(const struct sync *s)
{
    return s->opt->stop_after_s > 0 && !s->stop_sent &&
           now_s() - s->started_s >= s->opt->stop_after_s;
}

static int send_regions(struct sync *s)
{
    uint8_t *data;
    size_t size;

    if (ls_regions_next(s->regions, &data, &size, &s->fault) < 0)
        return -1;
    if (!data) {
        ls_regions_close(&s->regions);
        return 0;
    }
    ls_link_send(s->link, data, size, NULL, 0);
    free(data);
    s->sending = true;
    return 0;
}

// The face's first bytes tell what it is; a pace in real time needs the voice's header as well.
static bool config_due(const struct sync *s)
{
    return ls_input_sniffable(&s->in[FACE]) &&
           (s->opt->pace_s >= 0 || ls_input_sniffable(&s->in[VOICE]));
}

static int send_next(struct sync *s)
{
    int which;

    if (s->sending || s->half_closed || s->over || s->cancelled)
        return 0;
    if (!s->config_sent)
        return config_due(s) ? send_config(s) : 0;
    if (s->regions && (send_regions(s) < 0 || s->sending))
        return s->fault.exit_code ? -1 : 0;
    if (stop_due(s))
        return send_stop(s);
    which = choose_input(s);
    if (which >= 0) {
        send_piece(s, which);
    } else if (s->in[VOICE].ended && s->in[FACE].ended) {
        ls_link_half_close(s->link);
        s->sending = s->half_closed = true;
    }
    return 0;
}

static void show_accepted(struct sync *s, const Lipstream__V1__Accepted *a)
{
    s->accepted = true;
    if (s->view.mode == LS_PROGRESS_PLAIN || s->view.mode == LS_PROGRESS_BAR)
        ls_view_line(&s->view, "session %s on %s, model %s", a->session_id, a->device, a->model);
}

static int handle_message(struct sync *s, const struct ls_link_event *event)
{
    Lipstream__V1__SyncResponse *m =
        lipstream__v1__sync_response__unpack(NULL, event->size, event->data);

    if (!m)
        return ls_fault_set(&s->fault, LS_EXIT_LOCAL, "a reply of the server cannot be read");
    if (m->response_case == LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_MEDIA) {
        ls_output_put(&s->out, &m->media->data.data, m->media->data.len);
        m->media->data.len = 0;
    }
    if (s->view.mode == LS_PROGRESS_JSON) {
        ls_json_print(s->view.to, &m->base);
        fputc('\n', s->view.to);
        fflush(s->view.to);
    }
    switch (m->response_case) {
    case LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_ACCEPTED:
        show_accepted(s, m->accepted);
        break;
    case LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_PROGRESS:
        ls_view_progress(&s->view, m->progress, now_s());
        break;
    case LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_FRAMES:
        if (s->frames)
            ls_frames_write(s->frames, m->frames);
        break;
    case LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_WARNING:
        if (s->view.mode != LS_PROGRESS_JSON && s->view.mode != LS_PROGRESS_NONE)
            ls_report_warning(&s->view, m->warning);
        break;
    case LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_SUMMARY:
        if (!s->summary) {
            s->summary = m;
            return 0;
        }
        break;
    default: // media, and what a newer server may say
        break;
    }
    lipstream__v1__sync_response__free_unpacked(m, NULL);
    return 0;
}

static int handle_events(struct sync *s)
{
    struct ls_link_event event;
    int r = 0;

    while (r == 0 && ls_link_take(s->link, &event)) {
        switch (event.kind) {
        case LS_LINK_SENT:
            s->sending = false;
            break;
        case LS_LINK_MESSAGE:
            s->receiving = false;
            if (!event.data)
                s->ended = true;
            else
                r = handle_message(s, &event);
            free(event.data);
            break;
        case LS_LINK_STATUS:
            s->over = true;
            break;
        }
    }
    return r;
}

// True when nothing is left to wait for.
static bool finished(const struct sync *s)
{
    if (!s->over)
        return false;
    if (s->cancelled || ls_link_status(s->link)->code != 0)
        return true;
    return s->ended && !ls_output_pending(&s->out);
}

static int wait_ms(const struct sync *s)
{
    bool paced = s->in[VOICE].bytes_per_s > 0 || s->in[FACE].bytes_per_s > 0;

    if (paced && !s->half_closed)
        return 20; // fine enough that a live source's pieces stay small
    if (ls_view_moves(&s->view) || (s->opt->stop_after_s > 0 && !s->stop_sent))
        return 100;
    return -1;
}

static int poll_once(struct sync *s)
{
    struct pollfd p[5] = {{.fd = ls_link_fd(s->link), .events = POLLIN},
                          {.fd = s->signals, .events = POLLIN},
                          {.fd = -1, .events = POLLIN},
                          {.fd = -1, .events = POLLIN},
                          {.fd = -1, .events = POLLOUT}};

    for (int i = 0; i < INPUTS; i++)
        if (ls_input_wants(&s->in[i]) && !s->in[i].ended && !s->cancelled)
            p[2 + i].fd = s->in[i].fd;
    if (ls_output_pending(&s->out) && !s->cancelled)
        p[4].fd = s->out.fd;
    if (poll(p, 5, wait_ms(s)) < 0 && errno != EINTR)
        return ls_fault_set(&s->fault, LS_EXIT_LOCAL, "poll: %s", strerror(errno));
    if (p[1].revents) {
        struct signalfd_siginfo info;
        ssize_t got = read(s->signals, &info, sizeof(info));

        (void)got;
        cancel(s);
    }
    for (int i = 0; i < INPUTS; i++)
        if (p[2 + i].fd >= 0 && p[2 + i].revents && ls_input_read(&s->in[i], &s->fault) < 0)
            return -1;
    if (p[4].revents && ls_output_write(&s->out, &s->fault) < 0)
        return -1;
    return handle_events(s);
}

static void run(struct sync *s)
{
    double drawn_s = 0;

    while (!finished(s)) {
        bool failed = s->fault.exit_code != 0;

        if (!failed && send_next(s) < 0)
            failed = true;
        if (!failed && !s->receiving && !s->ended && !ls_output_pending(&s->out)) {
            ls_link_receive(s->link);
            s->receiving = true;
        }
        if (failed)
            cancel(s);
        if (poll_once(s) < 0)
            cancel(s);
        if (ls_view_moves(&s->view) && now_s() - drawn_s >= 0.1) {
            drawn_s = now_s();
            ls_view_tick(&s->view, drawn_s);
        }
    }
}

static int open_all(struct sync *s)
{
    struct ls_client_options *opt = s->opt;

    if (ls_input_open(&s->in[VOICE], opt->voice, (size_t)opt->chunk_bytes, &s->fault) < 0 ||
        ls_input_open(&s->in[FACE], opt->face, (size_t)opt->chunk_bytes, &s->fault) < 0)
        return -1;
    if (opt->regions && ls_regions_open(&s->regions, opt->regions, &s->fault) < 0)
        return -1;
    if (opt->frames_to) {
        s->frames = fopen(opt->frames_to, "we");
        if (!s->frames)
            return ls_fault_set(&s->fault, LS_EXIT_LOCAL, "%s: %s", opt->frames_to,
                                strerror(errno));
        ls_frames_head(s->frames);
    }
    return ls_output_open(&s->out, opt->out, &s->fault);
}

static int begin_call(struct sync *s)
{
    struct ls_link_params params = {.server = s->opt->server,
                                    .method = "/lipstream.v1.LipSync/Sync",
                                    .secure = &s->secure,
                                    .priority = s->opt->priority};

    if (s->ends_s > 0)
        params.timeout_s = s->ends_s - now_s() > 0.001 ? s->ends_s - now_s() : 0.001;
    s->tries++;
    return ls_link_open(&s->link, &params, &s->fault);
}

static int start(struct sync *s)
{
    sigset_t set;

    if (ls_secure_load(&s->secure, s->opt, &s->fault) < 0)
        return -1;
    // Opening a named pipe may wait for its other end: signals must still end us there.
    if (open_all(s) < 0)
        return -1;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return ls_fault_set(&s->fault, LS_EXIT_LOCAL, "signalfd: %s", strerror(errno));
    if (ls_view_moves(&s->view) && !s->opt->config.report.progress_interval)
        (void)ls_config_set_progress_interval(&s->opt->config, "0.2");
    if (s->opt->timeout_s > 0)
        s->ends_s = now_s() + s->opt->timeout_s;
    return begin_call(s);
}

// The server took nothing of this call, and all inputs can be read once more.
static bool may_retry(const struct sync *s)
{
    return s->tries <= s->opt->retries && s->over && !s->cancelled && !s->accepted &&
           !s->fault.exit_code && s->in[VOICE].size >= 0 && s->in[FACE].size >= 0 &&
           ls_retry_fits(ls_link_status(s->link));
}

// Says what happened and waits; false when the time or a signal ends it.
static bool wait_for_retry(struct sync *s)
{
    double delay_s = ls_retry_delay_s(ls_link_status(s->link), s->tries);
    struct pollfd p = {.fd = s->signals, .events = POLLIN};
    struct ls_view errors;

    // What the server says may be anything; nobody waits for a day, and poll cannot for a month.
    if (delay_s > RETRY_S_MAX || (s->ends_s > 0 && now_s() + delay_s >= s->ends_s))
        return false;
    ls_view_clear(&s->view);
    ls_view_open(&errors, stderr, LS_PROGRESS_NONE);
    ls_report_status(&errors, ls_link_status(s->link));
    ls_view_line(&errors, "trying again in %.1f s (%d of %d)", delay_s, s->tries, s->opt->retries);
    if (poll(&p, 1, (int)(delay_s * 1000) + 1) == 0)
        return true;
    ls_fault_set(&s->fault, LS_EXIT_STATUS + 1, "cancelled");
    return false;
}

static int call_again(struct sync *s)
{
    ls_link_close(&s->link);
    ls_regions_close(&s->regions);
    if (s->opt->regions && ls_regions_open(&s->regions, s->opt->regions, &s->fault) < 0)
        return -1;
    for (int i = 0; i < INPUTS; i++)
        if (ls_input_rewind(&s->in[i], &s->fault) < 0)
            return -1;
    s->config_sent = s->stop_sent = s->half_closed = s->sending = s->receiving = false;
    s->ended = s->over = false;
    s->last = FACE;
    return begin_call(s);
}

// The exit code, after the call. An error is printed on stderr, whatever the rest is printed on.
static int conclude(struct sync *s)
{
    const struct ls_link_status *status = s->over ? ls_link_status(s->link) : NULL;
    Lipstream__V1__Summary *summary = s->summary ? s->summary->summary : NULL;
    struct ls_view errors;
    bool ok = !s->fault.exit_code && status && status->code == 0;

    ls_view_clear(&s->view);
    if (ok && (!summary || summary->bytes_out != s->out.total)) {
        ls_fault_set(&s->fault, LS_EXIT_LOCAL, "the server ended without %s",
                     summary ? "all of the output" : "a summary");
        ok = false;
    }
    if (ls_output_close(&s->out, ok, &s->fault) < 0)
        ok = false;
    if (s->frames && fclose(s->frames) != 0 && ok) {
        ls_fault_set(&s->fault, LS_EXIT_LOCAL, "%s: %s", s->opt->frames_to, strerror(errno));
        ok = false;
    }
    if (ok) {
        if (s->view.mode == LS_PROGRESS_BAR || s->view.mode == LS_PROGRESS_PLAIN)
            ls_report_summary(&s->view, summary, strcmp(s->opt->out, "-") ? s->opt->out : "");
        return LS_EXIT_OK;
    }
    fflush(s->view.to);
    ls_view_open(&errors, stderr, LS_PROGRESS_NONE);
    if (s->fault.exit_code) {
        ls_view_line(&errors, "lipstream: %s", s->fault.text);
        return s->fault.exit_code;
    }
    ls_report_status(&errors, status);
    return LS_EXIT_STATUS + status->code;
}

int ls_sync_run(struct ls_client_options *opt)
{
    struct sync s = {.opt = opt, .signals = -1, .out = {.fd = -1}, .last = FACE};
    int exit_code;

    ls_view_open(&s.view, strcmp(opt->out, "-") == 0 ? stderr : stdout, opt->progress);
    if (start(&s) == 0)
        run(&s);
    while (may_retry(&s) && wait_for_retry(&s) && call_again(&s) == 0)
        run(&s);
    exit_code = conclude(&s);
    if (s.summary)
        lipstream__v1__sync_response__free_unpacked(s.summary, NULL);
    ls_link_close(&s.link);
    ls_secure_free(&s.secure);
    ls_regions_close(&s.regions);
    for (int i = 0; i < INPUTS; i++)
        ls_input_close(&s.in[i]);
    if (s.signals >= 0)
        close(s.signals);
    return exit_code;
}
