// SPDX-License-Identifier: Apache-2.0
// Metrics: what was counted stands in the text, under the right name and labels; the text is well
// formed (each family once, each series once, histograms whose buckets, sum and count agree), also
// while other threads count; gauges of an engine without parts; labels with foreign text; the cost.
#include "server/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "kernels/model.h"
#include "server/admit.h"
#include "server/engine.h"
#include "server/session.h"
#include "tests/unit/_check.h"

static char *text_of(const struct ls_metrics *m, struct ls_engine *engine)
{
    size_t size = 0;
    char *text = ls_metrics_text(m, engine, NULL, &size);

    if (!CHECK(text && strlen(text) == size && size > 0, "text"))
        exit(1);
    return text;
}

// A whole line of the text.
static bool has_line(const char *text, const char *line)
{
    const char *at = text;
    size_t size = strlen(line);

    while ((at = strstr(at, line)) != NULL) {
        if ((at == text || at[-1] == '\n') && at[size] == '\n')
            return true;
        at++;
    }
    return false;
}

// The value of a series; -1: it is not there.
static double value_of(const char *text, const char *series)
{
    const char *at = text;
    size_t size = strlen(series);

    while ((at = strstr(at, series)) != NULL) {
        if ((at == text || at[-1] == '\n') && at[size] == ' ')
            return atof(at + size);
        at++;
    }
    return -1;
}

static const struct {
    const char *name;
    enum ls_count id;
    int a, b;
    int64_t n;
    const char *line;
} counts[] = {
    {"two labels", LS_COUNT_REFUSED, LS_EBUSY_POSITION, LS_CLASS_BATCH, 3,
     "lipstream_refused_total{reason=\"SESSIONS_FULL\",class=\"batch\"} 3"},
    {"no reason", LS_COUNT_SESSIONS, LS_OK_POSITION, LS_CLASS_INTERACTIVE, 2,
     "lipstream_sessions_total{reason=\"OK\",class=\"interactive\"} 2"},
    {"last reason", LS_COUNT_SESSIONS, LS_ERR_COUNT - 1, LS_CLASS_BATCH, 1,
     "lipstream_sessions_total{reason=\"INTERNAL\",class=\"batch\"} 1"},
    {"one label", LS_COUNT_FRAMES, LS_ACTION_SILENT, 0, 7,
     "lipstream_frames_total{action=\"silent\"} 7"},
    {"no label", LS_COUNT_BYTES_OUT, 0, 0, 1LL << 40, "lipstream_output_bytes_total 1099511627776"},
    {"microseconds", LS_COUNT_STAGE_US, LS_PART_ENCODE, 0, 1500001,
     "lipstream_stage_seconds_total{stage=\"encode\"} 1.500001"},
    {"method and code", LS_COUNT_CALLS, LS_METHOD_sync, 16, 4,
     "lipstream_calls_total{method=\"lipstream.v1.LipSync/Sync\",code=\"UNAUTHENTICATED\"} 4"},
    {"another method", LS_COUNT_CALLS, LS_METHOD_OTHER, 12, 1,
     "lipstream_calls_total{method=\"other\",code=\"UNIMPLEMENTED\"} 1"},
    {"first cause", LS_COUNT_CLOSED, LS_CLOSE_PEER, 0, 5,
     "lipstream_connections_closed_total{cause=\"peer\"} 5"},
    {"a verdict", LS_COUNT_CLOSED, LS_CLOSE_GUARD + 2, 0, 1,
     "lipstream_connections_closed_total{cause=\"resets\"} 1"},
    {"last cause", LS_COUNT_CLOSED, LS_CLOSES - 1, 0, 6,
     "lipstream_connections_closed_total{cause=\"frame\"} 6"},
    {"input", LS_COUNT_BYTES_IN, LS_INPUT_VIDEO, 0, 9,
     "lipstream_input_bytes_total{input=\"video\"} 9"},
};

static void counted(void)
{
    struct ls_metrics *m = ls_metrics_new();
    char *text;

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        ls_metrics_add(m, counts[i].id, counts[i].a, counts[i].b, counts[i].n - 1);
        ls_metrics_add(m, counts[i].id, counts[i].a, counts[i].b, 1);
    }
    text = text_of(m, NULL);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        CHECK(ls_metrics_get(m, counts[i].id, counts[i].a, counts[i].b) == counts[i].n,
              counts[i].name);
        CHECK(has_line(text, counts[i].line), counts[i].name);
    }
    CHECK(value_of(text, "lipstream_refused_total{reason=\"SESSIONS_FULL\",class="
                         "\"interactive\"}") == 0,
          "its neighbour is 0");
    free(text);
    ls_metrics_free(&m);
    CHECK(!m, "freed");
    ls_metrics_add(NULL, LS_COUNT_CALLS, 0, 0, 1);
    ls_metrics_observe(NULL, LS_HISTOGRAM_CALL, 0, 1);
    CHECK(ls_metrics_get(NULL, LS_COUNT_CALLS, 0, 0) == 0, "nothing to count in");
    ls_metrics_free(&m);
}

static const struct {
    const char *name, *series;
    double want;
} buckets[] = {
    {"on a border", "lipstream_batch_faces_bucket{le=\"1\"}", 1},
    {"between", "lipstream_batch_faces_bucket{le=\"2\"}", 2},
    {"cumulative", "lipstream_batch_faces_bucket{le=\"64\"}", 3},
    {"beyond all", "lipstream_batch_faces_bucket{le=\"+Inf\"}", 4},
    {"sum", "lipstream_batch_faces_sum", 1 + 1.5 + 64 + 1000},
    {"count", "lipstream_batch_faces_count", 4},
    {"with a label", "lipstream_first_media_seconds_bucket{class=\"batch\",le=\"0.25\"}", 1},
    {"below", "lipstream_first_media_seconds_bucket{class=\"batch\",le=\"0.1\"}", 0},
    {"label: sum", "lipstream_first_media_seconds_sum{class=\"batch\"}", 0.2},
    {"label: count", "lipstream_first_media_seconds_count{class=\"batch\"}", 1},
    {"the other label", "lipstream_first_media_seconds_count{class=\"interactive\"}", 0},
};

static void observed(void)
{
    struct ls_metrics *m = ls_metrics_new();
    char *text;

    ls_metrics_observe(m, LS_HISTOGRAM_BATCH, 0, 1);
    ls_metrics_observe(m, LS_HISTOGRAM_BATCH, 0, 1.5);
    ls_metrics_observe(m, LS_HISTOGRAM_BATCH, 0, 64);
    ls_metrics_observe(m, LS_HISTOGRAM_BATCH, 0, 1000);
    ls_metrics_observe(m, LS_HISTOGRAM_FIRST_MEDIA, LS_CLASS_BATCH, 0.2);
    text = text_of(m, NULL);
    for (size_t i = 0; i < sizeof buckets / sizeof buckets[0]; i++)
        CHECK(value_of(text, buckets[i].series) == buckets[i].want, buckets[i].name);
    CHECK(ls_metrics_observed(m, LS_HISTOGRAM_BATCH, 0) == 4, "observed");
    free(text);
    ls_metrics_free(&m);
}

enum { NAMES_MAX = 128, SERIES_MAX = 4096 };

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_unique(char **list, int count, const char *row)
{
    qsort(list, (size_t)count, sizeof *list, by_text);
    for (int i = 1; i < count; i++)
        if (!CHECK(strcmp(list[i], list[i - 1]) != 0, row))
            printf("    %s\n", list[i]);
}

// Each family once with HELP and TYPE before its samples; each series once; lines end with \n.
static void well_formed(void)
{
    static char *series[SERIES_MAX], *families[NAMES_MAX];
    struct ls_engine engine = {.draining = false};
    struct ls_metrics *m = ls_metrics_new();
    char *text, *line, *rest, family[128] = "";
    int series_count = 0, family_count = 0;

    ls_options_init(&engine.opt);
    text = text_of(m, &engine);
    CHECK(text[strlen(text) - 1] == '\n', "last line");
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (!strncmp(line, "# HELP ", 7)) {
            snprintf(family, sizeof family, "%.*s", (int)strcspn(line + 7, " "), line + 7);
            CHECK(line[7 + strlen(family) + 1] != '\0', family);
            families[family_count++] = line;
        } else if (!strncmp(line, "# TYPE ", 7)) {
            CHECK(!strncmp(line + 7, family, strlen(family)), family);
        } else {
            char *value = strrchr(line, ' ');

            CHECK(!strncmp(line, family, strlen(family)), line);
            if (CHECK(value && strspn(value + 1, "0123456789.e+-") == strlen(value + 1), line))
                *value = '\0';
            series[series_count++] = line;
        }
        if (!CHECK(series_count < SERIES_MAX && family_count < NAMES_MAX, "bounded"))
            break;
    }
    CHECK(family_count >= LS_COUNTS + LS_HISTOGRAMS + 10, "families");
    check_unique(series, series_count, "series are unique");
    check_unique(families, family_count, "families are unique");
    free(text);
    ls_metrics_free(&m);
}

static void gauges(void)
{
    struct ls_model model = {.generator_name = "a\"b\\c\nd\xff\xc3\xa9"};
    struct ls_engine engine = {.model = &model, .stage_count = {{0, 1, 2, 3}, {0, 0, 4, 0}}};
    struct ls_metrics *m = ls_metrics_new();
    char *text;

    ls_options_init(&engine.opt);
    text = text_of(m, &engine);
    CHECK(strstr(text, "generator=\"a\\\"b\\\\c\\nd?\xc3\xa9\",detector=\"none\"} 1\n"), "escapes");
    CHECK(has_line(text, "lipstream_ready 1"), "ready");
    CHECK(has_line(text, "lipstream_sessions_open{state=\"running\",class=\"batch\"} 4"),
          "running");
    CHECK(has_line(text, "lipstream_sessions_open{state=\"finishing\",class=\"interactive\"} 3"),
          "finishing");
    CHECK(value_of(text, "process_open_fds") >= 3, "descriptors");
    CHECK(value_of(text, "process_max_fds") >= value_of(text, "process_open_fds"), "their limit");
    CHECK(value_of(text, "process_resident_memory_bytes") > 1 << 20, "memory");
    CHECK(value_of(text, "process_threads") >= 1, "threads");
    CHECK(value_of(text, "process_cpu_seconds_total") >= 0, "processor time");
    CHECK(value_of(text, "process_start_time_seconds") <= (double)time(NULL) + 1 &&
              value_of(text, "process_start_time_seconds") > (double)time(NULL) - 3600,
          "start");
    free(text);
    engine.draining = true;
    text = text_of(m, &engine);
    CHECK(has_line(text, "lipstream_ready 0") && has_line(text, "lipstream_draining 1"), "drain");
    free(text);
    ls_metrics_free(&m);
}

enum { THREADS = 4, ROUNDS = 20000 };
static struct ls_metrics *shared;
static atomic_int running = THREADS;

static void *count_much(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        ls_metrics_add(shared, LS_COUNT_FRAMES, LS_ACTION_SYNCED, 0, 1);
        ls_metrics_observe(shared, LS_HISTOGRAM_BATCH, 0, i % 2 ? 3 : 5);
        ls_metrics_observe(shared, LS_HISTOGRAM_BATCH, 0, i % 2 ? 5 : 3);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

// Each observation is 3 or 5: whatever moment the text shows, its sum follows from its buckets.
static void at_once(void)
{
    pthread_t thread[THREADS];
    double last = 0;
    int texts = 0;

    shared = ls_metrics_new();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, count_much, NULL);
    do {
        char *text = text_of(shared, NULL);
        double small = value_of(text, "lipstream_batch_faces_bucket{le=\"4\"}");
        double all = value_of(text, "lipstream_batch_faces_bucket{le=\"+Inf\"}");

        CHECK(all == value_of(text, "lipstream_batch_faces_count"), "+Inf is count");
        CHECK(value_of(text, "lipstream_batch_faces_sum") == 3 * small + 5 * (all - small), "sum");
        CHECK(all >= last, "never back");
        last = all;
        texts++;
        free(text);
    } while (atomic_load(&running));
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    CHECK(ls_metrics_get(shared, LS_COUNT_FRAMES, LS_ACTION_SYNCED, 0) == THREADS * ROUNDS, "adds");
    CHECK(ls_metrics_observed(shared, LS_HISTOGRAM_BATCH, 0) == 2 * THREADS * ROUNDS,
          "observations");
    CHECK(texts > 0, "texts");
    ls_metrics_free(&shared);
}

// A scrape holds the loop: less than a millisecond of processor time.
static void cost(void)
{
    enum { TIMES = 50 };
    struct ls_engine engine = {.draining = false};
    struct ls_metrics *m = ls_metrics_new();
    struct timespec from, to;
    double ms;

    ls_options_init(&engine.opt);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    for (int i = 0; i < TIMES; i++)
        free(text_of(m, &engine));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    ms = ((double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6) /
         TIMES;
    printf("a scrape takes %.3f ms\n", ms);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(ms < 1, "cost");
#endif
    ls_metrics_free(&m);
}

int main(void)
{
    counted();
    observed();
    well_formed();
    gauges();
    at_once();
    cost();
    return check_done();
}
