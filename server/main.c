// SPDX-License-Identifier: Apache-2.0
// lipstreamd: options, certificates and tokens, then the engine, then the ports, then the loop
// until a signal ends it. The one file that may exit. SIGTERM and SIGINT drain; a second one ends
// what is left at once. SIGHUP reads certificates, tokens and keys anew. What is not named by a
// flag (model, detector, decoder) is looked for beside the program.
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#include "kernels/backend.h"
#include "kernels/model.h"
#include "server/admin.h"
#include "server/auth.h"
#include "server/engine.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/notify.h"
#include "server/options.h"
#include "server/places.h"
#include "server/rpc.h"
#include "server/rpc_status.h"
#include "server/tls.h"
#include "server/video_device.h"

enum { EXIT_USAGE = 2, LOOK_MS = 500, LOADING_LOOK_MS = 20 };

struct server {
    uv_loop_t loop;
    struct ls_engine *engine;
    struct ls_tls *tls;
    struct ls_auth *auth;
    struct ls_rpc *rpc;
    struct ls_admin *admin;
    struct ls_notify *notify;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t look; // after the device
    int signal_count;
    bool device_lost;
};

// What must be so before the first thread starts.
static void prepare_process(const struct ls_options *opt)
{
    struct rlimit files;
    char text[24];

    signal(SIGPIPE, SIG_IGN);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    // One more than encode jobs: short file operations share this pool.
    snprintf(text, sizeof text, "%" PRId64, opt->pool_threads + 1);
    setenv("UV_THREADPOOL_SIZE", text, 1);
}

// Signals reach the loop's thread alone: all others start with them blocked.
static void block_signals(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(how, &set, NULL);
}

// While the model loads (on a new device that plans its kernels, for minutes) the loop does not
// turn yet: a thread waits for the signals instead and ends the process, which has nothing to lose.
struct loading {
    pthread_t thread;
    atomic_bool over;
    bool started;
};

static void *await_signal(void *arg)
{
    struct loading *l = arg;
    const struct timespec a_while = {.tv_nsec = LOADING_LOOK_MS * 1000000L};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    while (!atomic_load(&l->over)) {
        if (sigtimedwait(&set, NULL, &a_while) < 0)
            continue;
        ls_log(LS_LOG_INFO, "stop", NULL, 0, "a signal came while the model was loading");
        _exit(EXIT_SUCCESS);
    }
    return NULL;
}

static void loading_begins(struct loading *l)
{
    l->started = pthread_create(&l->thread, NULL, await_signal, l) == 0;
}

static void loading_ends(struct loading *l)
{
    atomic_store(&l->over, true);
    if (l->started)
        pthread_join(l->thread, NULL);
}

static void log_error(const char *event, const struct ls_err *err)
{
    struct ls_log_field reason = {"reason", ls_err_reason(err->code), 0};

    ls_log(LS_LOG_ERROR, event, &reason, 1, "%s%s%s", err->field, err->field[0] ? ": " : "",
           err->text);
}

static void warn_about_models(const struct ls_engine *engine)
{
    if (engine->model->seeded)
        ls_log(LS_LOG_WARN, "model", NULL, 0,
               "NO GENERATOR MODEL: random weights are in use and the pictures mean nothing; "
               "--model names a checkpoint");
    if (engine->model->detector == LS_DETECTOR_NONE)
        ls_log(LS_LOG_WARN, "model", NULL, 0,
               "no face detector: only fixed_box and GIVEN boxes work; --detector names one");
}

static void log_start(const struct server *s)
{
    const struct ls_engine *engine = s->engine;
    const struct ls_options *opt = &engine->opt;
    const char *note = ls_backend_note(engine->backend);
    struct ls_log_field field[] = {
        {"version", LS_VERSION, 0},
        {"backend", ls_backend_name(engine->backend), 0},
        {"device", ls_backend_device(engine->backend), 0},
        {"arithmetic", ls_backend_arithmetic(engine->backend), 0},
        {"model", engine->model->generator_name, 0},
        {"detector",
         engine->model->detector == LS_DETECTOR_NONE ? "none" : engine->model->detector_name, 0},
        {"cores", NULL, opt->cores},
        {"threads", NULL, opt->threads},
        {"batch_max", NULL, opt->batch_max},
        {"sessions_max", NULL, opt->sessions_max},
        {"message_bytes_max", NULL, opt->message_bytes_max},
        {"pixels_max", NULL, opt->pixels_max},
        {"video", ls_video_device_text(engine->video), 0},
        {"admin", s->admin ? ls_admin_address(s->admin) : "none", 0},
        {"tls", s->tls ? ls_tls_mutual(s->tls) ? "mutual" : "yes" : "no", 0},
        {"no_device", note, 0},
    };
    int count = sizeof field / sizeof field[0] - (*note ? 0 : 1);

    ls_log(LS_LOG_INFO, "start", field, count, "listening on %s", ls_rpc_address(s->rpc));
}

static void close_signals(struct server *s)
{
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    uv_close((uv_handle_t *)&s->hangup, NULL);
    uv_close((uv_handle_t *)&s->look, NULL);
}

static void on_drained(void *user)
{
    struct server *s = user;

    ls_admin_close(&s->admin);
    ls_rpc_close(&s->rpc);
    ls_notify_close(&s->notify);
    close_signals(s);
    uv_stop(&s->loop); // the engine's handles keep it alive; see serve
}

static void begin_drain(struct server *s)
{
    ls_notify_stopping(s->notify);
    ls_rpc_drain(s->rpc, on_drained, s);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    struct ls_log_field field[] = {{"signal", number == SIGTERM ? "SIGTERM" : "SIGINT", 0},
                                   {"sessions", NULL, s->engine->session_count}};

    if (!s->rpc)
        return;
    if (s->signal_count++ == 0) {
        ls_log(LS_LOG_INFO, "drain", field, 2,
               "no new calls; a second signal ends the running ones");
        begin_drain(s);
    } else {
        ls_log(LS_LOG_WARN, "drain", field, 2, "ending the running calls");
        ls_rpc_drain_now(s->rpc);
    }
}

// All or nothing of each: a file that is not in order leaves the old set in force, and the log says
// so.
static void on_hangup(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    struct ls_err err = {0};
    int r = 0, first = 0;

    (void)number;
    if (!s->rpc)
        return;
    ls_notify_reloading(s->notify);
    if (s->tls)
        first = ls_tls_reload(s->tls, &err);
    if (first < 0)
        log_error("reload", &err);
    r = ls_auth_reload(s->auth, &err);
    if (r < 0)
        log_error("reload", &err);
    r = r < 0 ? r : first;
    ls_metrics_add(s->engine->metrics, LS_COUNT_RELOADS, ls_status_code(r), 0, 1);
    if (r == 0)
        ls_log(LS_LOG_INFO, "reload", NULL, 0, "certificates, tokens and keys were read anew");
    ls_notify_ready(s->notify, r == 0 ? "serving" : "serving; the last reload failed");
}

// A lost device does not come back in this process: calls fail, new ones are to go elsewhere, and
// whoever watches over the process starts it anew.
static void on_look(uv_timer_t *timer)
{
    struct server *s = timer->data;

    if (s->device_lost || !s->rpc || !ls_backend_lost(s->engine->backend))
        return;
    s->device_lost = true;
    ls_log(LS_LOG_ERROR, "device", NULL, 0, "the device is lost; the server stops");
    if (s->signal_count++ == 0)
        begin_drain(s);
}

static void start_signals(struct server *s)
{
    uv_timer_init(&s->loop, &s->look);
    uv_signal_init(&s->loop, &s->term);
    uv_signal_init(&s->loop, &s->interrupt);
    uv_signal_init(&s->loop, &s->hangup);
    s->look.data = s->term.data = s->interrupt.data = s->hangup.data = s;
    uv_timer_start(&s->look, on_look, LOOK_MS, LOOK_MS);
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
    uv_signal_start(&s->hangup, on_hangup, SIGHUP);
    block_signals(SIG_UNBLOCK);
}

static void on_abandoned(void *user)
{
    struct server *s = user;

    ls_rpc_close(&s->rpc);
    uv_stop(&s->loop);
}

static int serve(struct server *s, struct ls_err *err)
{
    int r = ls_rpc_open(&s->rpc, s->engine, s->tls, s->auth, err);

    if (r < 0)
        return r;
    r = ls_admin_open(&s->admin, s->engine, s->auth, s->rpc, err);
    if (r < 0) {
        ls_rpc_drain(s->rpc, on_abandoned, s);
        ls_rpc_drain_now(s->rpc);
        uv_run(&s->loop, UV_RUN_DEFAULT); // the engine must outlive it
        return r;
    }
    ls_notify_open(&s->notify, &s->loop);
    start_signals(s);
    warn_about_models(s->engine);
    log_start(s);
    ls_notify_ready(s->notify, "serving");
    uv_run(&s->loop, UV_RUN_DEFAULT);
    ls_log(LS_LOG_INFO, "stop",
           (struct ls_log_field[]){{"sessions", NULL, s->engine->sessions_done}}, 1, NULL);
    return s->device_lost ? ls_fail(err, LS_EDEVICE, "the device was lost") : 0;
}

static int check(const struct ls_engine *engine, struct ls_err *err)
{
    struct ls_backend_params params;
    char device[256];
    int r;

    ls_engine_backend_params(&params, engine);
    params.name = ls_backend_name(engine->backend);
    r = ls_model_check(&params, err);
    if (r < 0)
        return r;
    warn_about_models(engine);
    ls_engine_describe(engine, device, sizeof device);
    printf("ok: %s; generator %s, detector %s\n", device, engine->model->generator_name,
           engine->model->detector == LS_DETECTOR_NONE ? "none" : engine->model->detector_name);
    if (*ls_backend_note(engine->backend))
        printf("no device: %s\n", ls_backend_note(engine->backend));
    return 0;
}

static int run(struct ls_options *opt, enum ls_options_action action)
{
    struct server s = {.signal_count = 0};
    struct loading loading = {.started = false};
    struct ls_err err = {0};
    int r;

    ls_engine_plan(opt);
    prepare_process(opt);
    block_signals(SIG_BLOCK);
    uv_loop_init(&s.loop);
    // Before the model: a wrong certificate is told at once, not after seconds of loading.
    r = ls_tls_open(&s.tls, opt, &err);
    if (r == 0)
        r = ls_auth_open(&s.auth, opt, &err);
    loading_begins(&loading);
    if (r == 0)
        r = ls_engine_open(&s.engine, &s.loop, opt, &err);
    loading_ends(&loading);
    if (r == 0)
        r = action == LS_DO_CHECK ? check(s.engine, &err) : serve(&s, &err);
    if (r < 0)
        log_error(action == LS_DO_CHECK ? "check" : "start", &err);
    ls_engine_close(&s.engine);
    uv_run(&s.loop, UV_RUN_DEFAULT); // until all handles have closed
    uv_loop_close(&s.loop);
    ls_auth_close(&s.auth);
    ls_tls_close(&s.tls);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    enum ls_options_action action;
    struct ls_options opt;
    struct ls_err err = {0};

    ls_options_init(&opt);
    if (ls_options_parse(&opt, &action, argc, argv, &err) < 0) {
        fprintf(stderr, "lipstreamd: %s\n", err.text);
        return EXIT_USAGE;
    }
    ls_places_find(&opt);
    ls_log_init(!strcmp(opt.log_format, "json"));
    switch (action) {
    case LS_DO_HELP:
        ls_options_help(stdout);
        return EXIT_SUCCESS;
    case LS_DO_VERSION:
        printf("lipstreamd %s\n", LS_VERSION);
        return EXIT_SUCCESS;
    case LS_DO_PRINT:
        ls_options_print(&opt, stdout);
        return EXIT_SUCCESS;
    case LS_DO_HASH_TOKEN:
        return ls_auth_hash_token();
    default:
        return run(&opt, action);
    }
}
