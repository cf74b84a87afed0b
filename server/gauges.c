// SPDX-License-Identifier: Apache-2.0
// Reads the gauges when somebody asks: the engine's parts, the options beside them, and what the
// kernel tells of this process in /proc (proc(5)). Loop thread, so nothing here may take long: a
// scrape reads three small files. The decode processes take one file each and are read rarely.
#include "server/gauges.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/admit.h"
#include "server/batch.h"
#include "server/clock.h"
#include "server/decode.h"
#include "server/metrics.h"
#include "server/pool.h"
#include "server/rpc.h"
#include "server/session.h"

_Static_assert(sizeof((struct ls_engine *)0)->stage_count ==
                   sizeof(int) * LS_CLASSES * LS_STAGE_DONE,
               "stage_count");

enum { DECODERS_US = 10000000, DAY_S = 86400 };

static const struct {
    const char *name, *type, *help;
} gauges[LS_GAUGE_COUNT] = {
#define G(id, type, name, labels, help) {name, #type, help},
    LS_GAUGES(G)
#undef G
};

static void head(struct ls_text *t, enum ls_gauge id)
{
    ls_text_put(t, "# HELP %s %s\n# TYPE %s %s\n", gauges[id].name, gauges[id].help,
                gauges[id].name, gauges[id].type);
}

static void put(struct ls_text *t, enum ls_gauge id, double value)
{
    head(t, id);
    ls_text_put(t, "%s %.15g\n", gauges[id].name, value);
}

// A value of an info metric: only backslash, quote and line feed are escaped (format 0.0.4).
static void put_label(struct ls_text *t, const char *key, const char *value)
{
    char clean[256];

    ls_utf8_copy(clean, sizeof clean, value);
    ls_text_put(t, "%s=\"", key);
    for (const char *p = clean; *p; p++) {
        if (*p == '\n')
            ls_text_put(t, "\\n");
        else
            ls_text_put(t, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    ls_text_put(t, "\"");
}

static void put_info(struct ls_text *t, const struct ls_engine *e)
{
    head(t, LS_GAUGE_INFO);
    ls_text_put(t, "%s{", gauges[LS_GAUGE_INFO].name);
    put_label(t, "version", LS_VERSION);
    if (e->backend) {
        ls_text_put(t, ",");
        put_label(t, "backend", ls_backend_name(e->backend));
        ls_text_put(t, ",");
        put_label(t, "device", ls_backend_device(e->backend));
        ls_text_put(t, ",");
        put_label(t, "arithmetic", ls_backend_arithmetic(e->backend));
    }
    if (e->model) {
        ls_text_put(t, ",");
        put_label(t, "generator", e->model->generator_name);
        ls_text_put(t, ",");
        put_label(t, "detector",
                  e->model->detector == LS_DETECTOR_NONE ? "none" : e->model->detector_name);
    }
    ls_text_put(t, "} 1\n");
}

bool ls_gauges_ready(const struct ls_engine *e, const char **why)
{
    bool lost = e->backend && ls_backend_lost(e->backend);

    *why = lost ? "the device is lost" : e->draining ? "the server is draining" : "";
    return !**why;
}

static void put_state(struct ls_text *t, const struct ls_engine *e)
{
    const char *why;

    put(t, LS_GAUGE_READY, ls_gauges_ready(e, &why));
    put(t, LS_GAUGE_DRAINING, e->draining);
    put(t, LS_GAUGE_DEVICE_LOST, e->backend && ls_backend_lost(e->backend));
}

static void put_sessions(struct ls_text *t, const struct ls_engine *e,
                         const struct ls_admit_state *state)
{
    static const char *const stages[LS_STAGE_DONE] = {"waiting", "probing", "running", "finishing"};

    head(t, LS_GAUGE_SESSIONS);
    for (int stage = 0; stage < LS_STAGE_DONE; stage++)
        for (int class = 0; class < LS_CLASSES; class ++)
            ls_text_put(t, "%s{state=\"%s\",class=\"%s\"} %d\n", gauges[LS_GAUGE_SESSIONS].name,
                        stages[stage], ls_class_name((enum ls_class) class),
                        e->stage_count[class][stage] + (stage ? 0 : state->waiting[class]));
}

static void put_admission(struct ls_text *t, const struct ls_engine *e)
{
    const char *name = gauges[LS_GAUGE_SESSIONS_MAX].name;
    struct ls_admit_state state = {.live = 0};

    if (e->admit)
        ls_admit_state(e->admit, &state);
    put_sessions(t, e, &state);
    if (!e->admit)
        return;
    head(t, LS_GAUGE_SESSIONS_MAX);
    ls_text_put(t, "%s{class=\"interactive\"} %d\n%s{class=\"batch\"} %d\n", name, state.places_max,
                name, state.batch_places_max);
    put(t, LS_GAUGE_QUEUE_MAX, state.queue_max);
    put(t, LS_GAUGE_LIVE, state.live);
    head(t, LS_GAUGE_LIVE_LOAD);
    ls_text_put(t, "%s{resource=\"lanes\"} %.6g\n%s{resource=\"cores\"} %.6g\n",
                gauges[LS_GAUGE_LIVE_LOAD].name, state.lane_load, gauges[LS_GAUGE_LIVE_LOAD].name,
                state.core_load);
    put(t, LS_GAUGE_PIXELS, (double)state.pixels);
    put(t, LS_GAUGE_PIXELS_MAX, (double)state.pixels_max);
}

static void put_work(struct ls_text *t, const struct ls_engine *e)
{
    if (e->batch) {
        head(t, LS_GAUGE_DEVICE_QUEUE);
        for (int class = 0; class < LS_CLASSES; class ++)
            for (int faces = 0; faces < 2; faces++)
                ls_text_put(t, "%s{class=\"%s\",kind=\"%s\"} %d\n",
                            gauges[LS_GAUGE_DEVICE_QUEUE].name,
                            ls_class_name((enum ls_class) class), faces ? "faces" : "small",
                            ls_batch_waiting(e->batch, (enum ls_class) class, faces));
        put(t, LS_GAUGE_LANES, (double)e->opt.threads);
        put(t, LS_GAUGE_BATCH_MAX, (double)e->opt.batch_max);
    }
    if (e->pool)
        put(t, LS_GAUGE_ENCODE_QUEUE, ls_pool_waiting(e->pool));
}

// Resident bytes of this process's children: all of them are decode processes.
static int64_t children_bytes(void)
{
    char path[64];
    int64_t pages = 0;
    FILE *list;
    long pid;

    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)gettid());
    list = fopen(path, "re");
    while (list && fscanf(list, "%ld", &pid) == 1) {
        long long size, resident;
        FILE *file;

        snprintf(path, sizeof path, "/proc/%ld/statm", pid);
        file = fopen(path, "re");
        if (file && fscanf(file, "%lld %lld", &size, &resident) == 2)
            pages += resident;
        if (file)
            fclose(file);
    }
    if (list)
        fclose(list);
    return pages * sysconf(_SC_PAGESIZE);
}

static void put_decoders(struct ls_text *t, const struct ls_engine *e)
{
    static int64_t bytes, measured_us; // one loop thread
    const char *name = gauges[LS_GAUGE_DECODERS].name;
    int64_t now = ls_now_us();
    int warm;

    if (!e->decoders)
        return;
    warm = ls_decode_pool_idle(e->decoders);
    head(t, LS_GAUGE_DECODERS);
    ls_text_put(t, "%s{state=\"warm\"} %d\n%s{state=\"busy\"} %d\n", name, warm, name,
                ls_decode_pool_live(e->decoders) - warm);
    if (!measured_us || now - measured_us > DECODERS_US) {
        bytes = children_bytes();
        measured_us = now;
    }
    put(t, LS_GAUGE_DECODERS_RSS, (double)bytes);
    put(t, LS_GAUGE_SPOOL, (double)ls_decode_pool_spooled(e->decoders));
    put(t, LS_GAUGE_SPOOL_MAX, (double)e->opt.spool_total_bytes_max);
}

static void put_port(struct ls_text *t, const struct ls_engine *e, const struct ls_rpc *rpc)
{
    int days;

    if (!rpc)
        return;
    put(t, LS_GAUGE_CONNECTIONS, ls_rpc_connections(rpc));
    put(t, LS_GAUGE_CONNECTIONS_MAX, (double)e->opt.connections_max);
    if (ls_rpc_certificate(rpc, &days))
        put(t, LS_GAUGE_CERTIFICATE, (double)days * DAY_S);
}

// Since Linux 6.2 the folder's size is the number of its entries; before, they are counted.
static int64_t open_descriptors(void)
{
    struct dirent *entry;
    struct stat st;
    int64_t count = 0;
    DIR *dir;

    if (!stat("/proc/self/fd", &st) && st.st_size > 0)
        return st.st_size;
    dir = opendir("/proc/self/fd");
    while (dir && (entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count - 1; // the folder itself
}

// When the machine started, in seconds since 1970; it does not change (clocks that are set do not
// matter to a graph).
static double boot_seconds(void)
{
    static double since;
    struct timespec now, up;

    if (since == 0 && !clock_gettime(CLOCK_REALTIME, &now) && !clock_gettime(CLOCK_BOOTTIME, &up))
        since = (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) / 1e9;
    return since;
}

static void put_process(struct ls_text *t)
{
    FILE *file = fopen("/proc/self/stat", "re");
    unsigned long long user, system, start, virtual;
    double tick = (double)sysconf(_SC_CLK_TCK);
    long long threads, resident;
    struct rlimit files;
    char line[1024] = "", *end;

    if (file) {
        line[fread(line, 1, sizeof line - 1, file)] = '\0';
        fclose(file);
    }
    end = strrchr(line, ')'); // the name before it may hold anything
    // Fields 14, 15 (times), 20 (threads), 22 (start), 23, 24 (memory).
    if (end && sscanf(end + 1,
                      " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
                      "%lld %*d %llu %llu %lld",
                      &user, &system, &threads, &start, &virtual, &resident) == 6) {
        put(t, LS_GAUGE_THREADS, (double)threads);
        put(t, LS_GAUGE_CPU, (double)(user + system) / tick);
        put(t, LS_GAUGE_RSS, (double)resident * (double)sysconf(_SC_PAGESIZE));
        put(t, LS_GAUGE_VIRTUAL, (double)virtual);
        put(t, LS_GAUGE_START, boot_seconds() + (double)start / tick);
    }
    put(t, LS_GAUGE_FDS, (double)open_descriptors());
    if (!getrlimit(RLIMIT_NOFILE, &files))
        put(t, LS_GAUGE_FDS_MAX, (double)files.rlim_cur);
}

void ls_gauges_text(struct ls_text *t, struct ls_engine *engine, const struct ls_rpc *rpc)
{
    put_info(t, engine);
    put_state(t, engine);
    put_admission(t, engine);
    put_work(t, engine);
    put_decoders(t, engine);
    put_port(t, engine, rpc);
    put_process(t);
}
