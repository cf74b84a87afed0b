// SPDX-License-Identifier: Apache-2.0
// Counters and histograms: one block of memory, laid out when it is made, counted in by any thread.
// A counter is one relaxed atomic. A histogram has a lock: its buckets, sum and count must agree,
// and an observation (a batch, a session) is rare beside what it measures.
#include "server/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/admit.h"
#include "server/gauges.h"
#include "server/guard.h"
#include "server/rpc.h"
#include "server/rpc_status.h"
#include "server/session.h"
#include "server/text.h"

enum { BUCKETS_MAX = 16, CODES = 17, LABEL_TEXT = 96 };

// Seconds, but for sizes (faces) and ratios. To first media: a good server needs tenths of one.
static const double TIMES[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 0};
// Sessions may last hours.
static const double LONG_TIMES[] = {0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 0};
// A batch waits 2 ms by default.
static const double SHORT_TIMES[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05,
                                     0.1,    0.25,  0.5,   1,     2.5,  0};
static const double RATIOS[] = {0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4, 8, 0};
static const double SIZES[] = {1, 2, 4, 8, 16, 32, 48, 64, 0};

static const struct {
    const char *id, *name, *help;
    enum ls_label_set a, b;
} counters[LS_COUNTS] = {
#define C(id, name, a, b, help) {#id, name, help, LS_LABEL_##a, LS_LABEL_##b},
#define H(id, name, a, buckets, help)
    LS_METRICS(C, H)
#undef C
#undef H
};

static const struct {
    const char *name, *help;
    enum ls_label_set a;
    const double *bounds; // ends with 0
} histograms[LS_HISTOGRAMS] = {
#define C(id, name, a, b, help)
#define H(id, name, a, buckets, help) {name, help, LS_LABEL_##a, buckets},
    LS_METRICS(C, H)
#undef C
#undef H
};

struct series {
    int64_t bucket[BUCKETS_MAX]; // not cumulative; the last one is what exceeds all bounds
    double sum;
};

struct ls_metrics {
    size_t first_count[LS_COUNTS], first_series[LS_HISTOGRAMS];
    _Atomic int64_t *count;
    struct series *series;
    pthread_mutex_t lock[LS_HISTOGRAMS];
};

static int set_size(enum ls_label_set set)
{
    static const int sizes[LS_LABEL_SET_COUNT] = {
        [LS_LABEL_NONE] = 1,           [LS_LABEL_REASON] = LS_ERR_COUNT,
        [LS_LABEL_CLASS] = LS_CLASSES, [LS_LABEL_ACTION] = LS_ACTIONS,
        [LS_LABEL_STAGE] = LS_PARTS,   [LS_LABEL_METHOD] = LS_METHOD_COUNT,
        [LS_LABEL_CODE] = CODES,       [LS_LABEL_RESULT] = LS_RESULTS,
        [LS_LABEL_INPUT] = LS_INPUTS,  [LS_LABEL_CLOSE] = LS_CLOSES,
    };

    return sizes[set];
}

static const char *label_text(enum ls_label_set set, int i)
{
#define PATH(id, path) path + 1, // without its slash
    static const char *const methods[] = {LS_METHODS(PATH) "other"};
#undef PATH
    static const char *const actions[] = {"synced", "passed_through", "held", "silent"};
    static const char *const parts[] = {"decode",   "detect",    "mel",
                                        "generate", "composite", "encode"};
    static const char *const results[] = {"found", "missed"};
    static const char *const inputs[] = {"audio", "video"};
    static const char *const closes[] = {"peer",    "server",    "full",  "files",  "handshake",
                                         "slow",    "not_http2", "http1", "resets", "control",
                                         "headers", "streams",   "frame"};

    _Static_assert(sizeof actions / sizeof *actions == LS_ACTIONS, "actions");
    _Static_assert(sizeof parts / sizeof *parts == LS_PARTS, "parts");
    _Static_assert(sizeof closes / sizeof *closes == LS_CLOSES, "causes");
    _Static_assert(LS_CLOSES - LS_CLOSE_GUARD == LS_GUARD_VERDICTS - 1, "verdicts");
    switch (set) {
    case LS_LABEL_REASON:
        return ls_err_reason(-i);
    case LS_LABEL_CLASS:
        return ls_class_name((enum ls_class)i);
    case LS_LABEL_ACTION:
        return actions[i];
    case LS_LABEL_STAGE:
        return parts[i];
    case LS_LABEL_METHOD:
        return methods[i];
    case LS_LABEL_CODE:
        return ls_status_name(i);
    case LS_LABEL_RESULT:
        return results[i];
    case LS_LABEL_INPUT:
        return inputs[i];
    case LS_LABEL_CLOSE:
        return closes[i];
    default:
        return "";
    }
}

static const char *label_key(enum ls_label_set set)
{
#define KEY(set, key) key,
    static const char *const keys[] = {LS_LABEL_SETS(KEY)};
#undef KEY

    return keys[set];
}

struct ls_metrics *ls_metrics_new(void)
{
    struct ls_metrics *m = calloc(1, sizeof *m);
    size_t count = 0, series = 0;

    if (!m)
        return NULL;
    for (int i = 0; i < LS_COUNTS; i++) {
        m->first_count[i] = count;
        count += (size_t)set_size(counters[i].a) * (size_t)set_size(counters[i].b);
    }
    for (int i = 0; i < LS_HISTOGRAMS; i++) {
        m->first_series[i] = series;
        series += (size_t)set_size(histograms[i].a);
        pthread_mutex_init(&m->lock[i], NULL);
    }
    m->count = calloc(count, sizeof *m->count);
    m->series = calloc(series, sizeof *m->series);
    if (!m->count || !m->series)
        ls_metrics_free(&m);
    return m;
}

void ls_metrics_free(struct ls_metrics **m)
{
    if (!m || !*m)
        return;
    for (int i = 0; i < LS_HISTOGRAMS; i++)
        pthread_mutex_destroy(&(*m)->lock[i]);
    free((*m)->count);
    free((*m)->series);
    free(*m);
    *m = NULL;
}

static size_t place_of(const struct ls_metrics *m, enum ls_count id, int a, int b)
{
    assert(a >= 0 && a < set_size(counters[id].a) && b >= 0 && b < set_size(counters[id].b));
    return m->first_count[id] + (size_t)a * (size_t)set_size(counters[id].b) + (size_t)b;
}

void ls_metrics_add(struct ls_metrics *m, enum ls_count id, int a, int b, int64_t n)
{
    if (m)
        atomic_fetch_add_explicit(&m->count[place_of(m, id, a, b)], n, memory_order_relaxed);
}

int64_t ls_metrics_get(const struct ls_metrics *m, enum ls_count id, int a, int b)
{
    return m ? atomic_load_explicit(&m->count[place_of(m, id, a, b)], memory_order_relaxed) : 0;
}

void ls_metrics_observe(struct ls_metrics *m, enum ls_histogram id, int a, double value)
{
    struct series *s;
    int i = 0;

    if (!m)
        return;
    assert(a >= 0 && a < set_size(histograms[id].a));
    s = &m->series[m->first_series[id] + (size_t)a];
    while (histograms[id].bounds[i] != 0 && value > histograms[id].bounds[i])
        i++;
    pthread_mutex_lock(&m->lock[id]);
    s->bucket[i]++;
    s->sum += value;
    pthread_mutex_unlock(&m->lock[id]);
}

static struct series read_series(const struct ls_metrics *m, enum ls_histogram id, int a)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&m->lock[id];
    struct series s;

    pthread_mutex_lock(lock);
    s = m->series[m->first_series[id] + (size_t)a];
    pthread_mutex_unlock(lock);
    return s;
}

int64_t ls_metrics_observed(const struct ls_metrics *m, enum ls_histogram id, int a)
{
    struct series s = {.sum = 0};
    int64_t count = 0;

    if (m)
        s = read_series(m, id, a);
    for (int i = 0; i < BUCKETS_MAX; i++)
        count += s.bucket[i];
    return count;
}

// reason="…",class="…"; our texts need no escapes.
static void put_labels(char out[2 * LABEL_TEXT], enum ls_label_set a, int i, enum ls_label_set b,
                       int j)
{
    int n = 0;

    out[0] = '\0';
    if (a != LS_LABEL_NONE)
        n = snprintf(out, 2 * LABEL_TEXT, "%s=\"%s\"", label_key(a), label_text(a, i));
    if (b != LS_LABEL_NONE)
        snprintf(out + n, 2 * LABEL_TEXT - (size_t)n, ",%s=\"%s\"", label_key(b), label_text(b, j));
}

// Counts microseconds, shows seconds.
static bool is_micro(enum ls_count id)
{
    size_t size = strlen(counters[id].id);

    return size > 3 && !strcmp(counters[id].id + size - 3, "_US");
}

static void put_counter(struct ls_text *t, const struct ls_metrics *m, enum ls_count id)
{
    char labels[2 * LABEL_TEXT];

    ls_text_put(t, "# HELP %s %s\n# TYPE %s counter\n", counters[id].name, counters[id].help,
                counters[id].name);
    for (int i = 0; i < set_size(counters[id].a); i++)
        for (int j = 0; j < set_size(counters[id].b); j++) {
            int64_t n = ls_metrics_get(m, id, i, j);

            put_labels(labels, counters[id].a, i, counters[id].b, j);
            ls_text_put(t, labels[0] ? "%s{%s} " : "%s%s ", counters[id].name, labels);
            if (is_micro(id))
                ls_text_put(t, "%lld.%06lld\n", (long long)n / 1000000, (long long)n % 1000000);
            else
                ls_text_put(t, "%lld\n", (long long)n);
        }
}

static void put_series(struct ls_text *t, const struct ls_metrics *m, enum ls_histogram id, int a)
{
    const char *name = histograms[id].name;
    const double *bound = histograms[id].bounds;
    struct series s = read_series(m, id, a);
    char labels[2 * LABEL_TEXT];
    const char *comma;
    int64_t count = 0;
    int i;

    put_labels(labels, histograms[id].a, a, LS_LABEL_NONE, 0);
    comma = labels[0] ? "," : "";
    for (i = 0; bound[i] != 0; i++) {
        count += s.bucket[i];
        ls_text_put(t, "%s_bucket{%s%sle=\"%g\"} %lld\n", name, labels, comma, bound[i],
                    (long long)count);
    }
    count += s.bucket[i];
    ls_text_put(t, "%s_bucket{%s%sle=\"+Inf\"} %lld\n", name, labels, comma, (long long)count);
    ls_text_put(t, labels[0] ? "%s_sum{%s} " : "%s_sum%s ", name, labels);
    ls_text_put(t, "%.9g\n", s.sum);
    ls_text_put(t, labels[0] ? "%s_count{%s} " : "%s_count%s ", name, labels);
    ls_text_put(t, "%lld\n", (long long)count);
}

char *ls_metrics_text(const struct ls_metrics *m, struct ls_engine *engine, struct ls_rpc *rpc,
                      size_t *size)
{
    struct ls_text t = {.size = 0};

    if (rpc)
        ls_rpc_count(rpc);
    for (int i = 0; i < LS_COUNTS; i++)
        put_counter(&t, m, (enum ls_count)i);
    for (int i = 0; i < LS_HISTOGRAMS; i++) {
        ls_text_put(&t, "# HELP %s %s\n# TYPE %s histogram\n", histograms[i].name,
                    histograms[i].help, histograms[i].name);
        for (int a = 0; a < set_size(histograms[i].a); a++)
            put_series(&t, m, (enum ls_histogram)i, a);
    }
    if (engine)
        ls_gauges_text(&t, engine, rpc);
    return ls_text_take(&t, size);
}
