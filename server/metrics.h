// SPDX-License-Identifier: Apache-2.0
// What an operator sees: counters and histograms in one table, each with a bounded set of label
// values, and gauges that are read when somebody asks. Names follow Prometheus's rules (base units,
// _total). Counting is one relaxed atomic addition: any thread. A row here is a metric, a line of
// /metrics and of the README (a test compares).
#ifndef LS_METRICS_H
#define LS_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/err.h"

struct ls_metrics;
struct ls_engine;
struct ls_rpc;

// The methods there are; their order is the label's.
#define LS_METHODS(X)                                                                              \
    X(sync, "/lipstream.v1.LipSync/Sync")                                                          \
    X(info, "/lipstream.v1.LipSync/GetServerInfo")                                                 \
    X(health_check, "/grpc.health.v1.Health/Check")                                                \
    X(health_watch, "/grpc.health.v1.Health/Watch")                                                \
    X(reflect_v1, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")                     \
    X(reflect_v1alpha, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
#define LS_METHOD_ENUM(id, path) LS_METHOD_##id,
enum ls_method_idx { LS_METHODS(LS_METHOD_ENUM) LS_METHOD_OTHER, LS_METHOD_COUNT };
#undef LS_METHOD_ENUM

// Sets of label values; the index into a set is what callers give. Their texts are in metrics.c.
// NONE: no label.  REASON: enum ls_err_position (0 is "OK").  CLASS: enum ls_class.
// ACTION: enum ls_action.  STAGE: enum ls_part.  METHOD: enum ls_method_idx.  CODE: gRPC's 0..16.
#define LS_LABEL_SETS(X)                                                                           \
    X(NONE, "")                                                                                    \
    X(REASON, "reason")                                                                            \
    X(CLASS, "class")                                                                              \
    X(ACTION, "action")                                                                            \
    X(STAGE, "stage")                                                                              \
    X(METHOD, "method") X(CODE, "code") X(RESULT, "result") X(INPUT, "input") X(CLOSE, "cause")
#define LS_LABEL_ENUM(set, key) LS_LABEL_##set,
enum ls_label_set { LS_LABEL_SETS(LS_LABEL_ENUM) LS_LABEL_SET_COUNT };
#undef LS_LABEL_ENUM

enum { LS_RESULT_FOUND, LS_RESULT_MISSED, LS_RESULTS };
enum { LS_INPUT_AUDIO, LS_INPUT_VIDEO, LS_INPUTS };
// Why the front closed a connection. From LS_CLOSE_GUARD on: plus enum ls_guard_verdict - 1.
enum {
    LS_CLOSE_PEER,      // it went away
    LS_CLOSE_SERVER,    // gRPC ended it (age, keepalive, drain)
    LS_CLOSE_FULL,      // --connections-max: idle, closed for a new one, or refused
    LS_CLOSE_FILES,     // no descriptor left
    LS_CLOSE_HANDSHAKE, // TLS failed
    LS_CLOSE_SLOW,      // TLS or preface not in time
    LS_CLOSE_GUARD,
    LS_CLOSES = LS_CLOSE_GUARD + 7,
};

// C(id, "name", set, set of a second label, "help")    H(id, "name", set, buckets, "help")
// Histograms in seconds unless the name says otherwise; buckets: a list in metrics.c.
// Who counts what: rpc_line.c everything that stands in a call's note (CALLS to BYTES_OUT,
// OUTPUT_US, STAGE_US, FIRST_MEDIA, CALL, REAL_TIME), while the call runs and at its end; admit.c
// ADMISSION and LIVE_*; spots.c DETECTIONS; batch.c BATCH*; front.c CONNECTIONS and CLOSED; main.c
// RELOADS.
#define LS_METRICS(C, H)                                                                           \
    C(CALLS, "lipstream_calls_total", METHOD, CODE, "calls that ended")                            \
    C(REFUSED, "lipstream_refused_total", REASON, CLASS, "sessions refused before they began")     \
    C(SESSIONS, "lipstream_sessions_total", REASON, CLASS, "sessions that ended, by their reason") \
    C(FRAMES, "lipstream_frames_total", ACTION, NONE, "frames of output, by what was done")        \
    C(DETECTIONS, "lipstream_detections_total", RESULT, NONE, "frames looked at for faces")        \
    C(BYTES_IN, "lipstream_input_bytes_total", INPUT, NONE, "bytes of inputs taken from callers")  \
    C(BYTES_OUT, "lipstream_output_bytes_total", NONE, NONE, "bytes of media given to callers")    \
    C(OUTPUT_US, "lipstream_output_seconds_total", NONE, NONE, "length of the media made")         \
    C(STAGE_US, "lipstream_stage_seconds_total", STAGE, NONE,                                      \
      "time of one thread each stage took")                                                        \
    C(LIVE_LATE, "lipstream_live_late_frames_total", NONE, NONE,                                   \
      "frames of live sessions that left later than --live-lag-max after their inputs")            \
    C(CONNECTIONS, "lipstream_connections_total", NONE, NONE, "connections accepted")              \
    C(CLOSED, "lipstream_connections_closed_total", CLOSE, NONE, "connections closed, by cause")   \
    C(RELOADS, "lipstream_reloads_total", CODE, NONE, "reloads of certificates and tokens")        \
    H(FIRST_MEDIA, "lipstream_first_media_seconds", CLASS, TIMES,                                  \
      "from a session's start to its first media")                                                 \
    H(CALL, "lipstream_session_seconds", CLASS, LONG_TIMES, "length of sessions")                  \
    H(REAL_TIME, "lipstream_real_time_factor_ratio", CLASS, RATIOS,                                \
      "seconds of work a second of output")                                                        \
    H(ADMISSION, "lipstream_admission_wait_seconds", CLASS, TIMES, "time in the line for a place") \
    H(LIVE_LAG, "lipstream_live_lag_seconds", NONE, TIMES,                                         \
      "from a live frame's inputs to its output")                                                  \
    H(BATCH, "lipstream_batch_faces", NONE, SIZES, "faces of one device batch")                    \
    H(BATCH_WAIT, "lipstream_batch_wait_seconds", CLASS, SHORT_TIMES,                              \
      "from a face's arrival in the device queue to its batch")

#define LS_METRIC_C(id, name, a, b, help) LS_COUNT_##id,
#define LS_METRIC_H(id, name, a, buckets, help)
enum ls_count { LS_METRICS(LS_METRIC_C, LS_METRIC_H) LS_COUNTS };
#undef LS_METRIC_C
#undef LS_METRIC_H
#define LS_METRIC_C(id, name, a, b, help)
#define LS_METRIC_H(id, name, a, buckets, help) LS_HISTOGRAM_##id,
enum ls_histogram { LS_METRICS(LS_METRIC_C, LS_METRIC_H) LS_HISTOGRAMS };
#undef LS_METRIC_C
#undef LS_METRIC_H

// G(id, type, "name", "labels", "help"): read when somebody asks, in gauges.c, from what the engine
// knows already. Those named process_ are called as in Prometheus's own client libraries.
#define LS_GAUGES(G)                                                                               \
    G(INFO, gauge, "lipstream_info", "version, backend, device, arithmetic, generator, detector",  \
      "always 1: what this server is")                                                             \
    G(READY, gauge, "lipstream_ready", "", "1 while new calls are taken, as /readyz says")         \
    G(DRAINING, gauge, "lipstream_draining", "", "1 from SIGTERM on")                              \
    G(DEVICE_LOST, gauge, "lipstream_device_lost", "", "1 when the device failed for good")        \
    G(SESSIONS, gauge, "lipstream_sessions_open", "state, class",                                  \
      "sessions by state; waiting: in the line for a place, too")                                  \
    G(SESSIONS_MAX, gauge, "lipstream_sessions_limit", "class",                                    \
      "sessions at once, and of class batch among them")                                           \
    G(QUEUE_MAX, gauge, "lipstream_queue_limit", "", "calls that may wait for a place")            \
    G(LIVE, gauge, "lipstream_live_sessions_open", "", "sessions that were promised their rate")   \
    G(LIVE_LOAD, gauge, "lipstream_live_load_ratio", "resource",                                   \
      "promised to live sessions, of what --live-load-max allows")                                 \
    G(PIXELS, gauge, "lipstream_frame_pixels", "", "pixels reserved for frames in memory")         \
    G(PIXELS_MAX, gauge, "lipstream_frame_pixels_limit", "", "pixels that may be reserved")        \
    G(SPOOL, gauge, "lipstream_spool_bytes", "", "disk held by inputs")                            \
    G(SPOOL_MAX, gauge, "lipstream_spool_limit_bytes", "", "disk that inputs may hold")            \
    G(CONNECTIONS, gauge, "lipstream_connections_open", "", "connections to the gRPC port")        \
    G(CONNECTIONS_MAX, gauge, "lipstream_connections_limit", "", "connections at once")            \
    G(DEVICE_QUEUE, gauge, "lipstream_device_queue_items", "class, kind",                          \
      "work that waits for the device: faces, or small (detection, mel)")                          \
    G(ENCODE_QUEUE, gauge, "lipstream_encode_queue_jobs", "", "encode jobs that wait")             \
    G(LANES, gauge, "lipstream_device_lanes", "", "threads that feed the device")                  \
    G(BATCH_MAX, gauge, "lipstream_batch_faces_limit", "", "faces that fit one device batch")      \
    G(DECODERS, gauge, "lipstream_decode_processes", "state", "decode processes, warm or busy")    \
    G(DECODERS_RSS, gauge, "lipstream_decode_memory_bytes", "",                                    \
      "resident memory of all decode processes; measured at most once in ten seconds")             \
    G(CERTIFICATE, gauge, "lipstream_certificate_left_seconds", "",                                \
      "until the port's certificate ends, in whole days; only with TLS")                           \
    G(THREADS, gauge, "process_threads", "", "threads")                                            \
    G(CPU, counter, "process_cpu_seconds_total", "", "processor time, decode processes excluded")  \
    G(RSS, gauge, "process_resident_memory_bytes", "", "resident memory")                          \
    G(VIRTUAL, gauge, "process_virtual_memory_bytes", "", "virtual memory")                        \
    G(FDS, gauge, "process_open_fds", "", "open descriptors")                                      \
    G(FDS_MAX, gauge, "process_max_fds", "", "descriptors that may be open")                       \
    G(START, gauge, "process_start_time_seconds", "", "when the server started, since 1970")
#define LS_GAUGE_ENUM(id, type, name, labels, help) LS_GAUGE_##id,
enum ls_gauge { LS_GAUGES(LS_GAUGE_ENUM) LS_GAUGE_COUNT };
#undef LS_GAUGE_ENUM

struct ls_metrics *ls_metrics_new(void); // NULL: no memory
void ls_metrics_free(struct ls_metrics **m);

// m may be NULL: nothing is counted. a, b: indexes into the row's label sets; 0 for NONE. Rows
// whose id ends in _US take microseconds and show seconds.
void ls_metrics_add(struct ls_metrics *m, enum ls_count id, int a, int b, int64_t n);
void ls_metrics_observe(struct ls_metrics *m, enum ls_histogram id, int a, double value);
int64_t ls_metrics_get(const struct ls_metrics *m, enum ls_count id, int a, int b);
int64_t ls_metrics_observed(const struct ls_metrics *m, enum ls_histogram id, int a); // how often

// The whole text of /metrics (format 0.0.4), gauges of the engine included (engine, its parts and
// rpc may be NULL: their gauges are left out). malloc'ed, zero-terminated; NULL: no memory. Loop
// thread.
char *ls_metrics_text(const struct ls_metrics *m, struct ls_engine *engine, struct ls_rpc *rpc,
                      size_t *size);

#endif
