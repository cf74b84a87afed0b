// SPDX-License-Identifier: Apache-2.0
// Every flag, limit and default of lipstreamd in one table. A row is a flag "--listen", an
// environment variable LIPSTREAM_LISTEN, a line of --print-config, of --help, of GetServerInfo
// (limits) and of the README (a test compares). There is no limit in the program that is not a row
// here.
#ifndef LS_OPTIONS_H
#define LS_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

#include "kernels/err.h"

// S(name, "flag", default, "help"): text.   N(name, "flag", default, min, max, "unit", "help"):
// number.
#define LS_OPTIONS(S, N)                                                                           \
    S(listen, "listen", "127.0.0.1:50051",                                                         \
      "address of the gRPC port; host:port, port 0 takes a free one")                              \
    S(admin_listen, "admin-listen", "127.0.0.1:50052",                                             \
      "address of the admin port (metrics, health, configuration); none: no such port")            \
    S(model, "model", "", "generator checkpoint (.pth, .safetensors); empty: the demo model")      \
    S(detector, "detector", "",                                                                    \
      "face detector (.onnx YuNet, .safetensors BlazeFace); empty: the one built beside")          \
    S(backend, "backend", "auto",                                                                  \
      "ref, cpu, cuda, or auto: cuda where a device answers, else cpu")                            \
    S(arithmetic, "arithmetic", "auto",                                                            \
      "the generator's: fp32; cpu: bf16, int8; cuda: tf32, fp16; or auto: on a processor what it " \
      "multiplies itself of int8 (with --calibration), bf16, fp32")                                \
    S(calibration, "calibration", "",                                                              \
      "what lipstream-calibrate wrote for this model; empty: no int8")                             \
    S(cuda_module, "cuda-module", "", "path of liblipstream_cuda.so; empty: beside lipstreamd")    \
    S(plan_cache, "plan-cache", "",                                                                \
      "file of a device's plans; none: no file, made when needed; empty: in the user's cache")     \
    S(encoder, "encoder", "auto",                                                                  \
      "H.264 encoder: x264, nvenc (with --backend cuda), or auto: nvenc where the device has it")  \
    S(spool_dir, "spool-dir", "/var/tmp", "folder of the unlinked spool files")                    \
    S(decoder, "decoder", "", "path of lipstream-decode; empty: beside lipstreamd")                \
    S(sandbox, "sandbox", "auto",                                                                  \
      "system calls of decode processes: required (only those that decoding needs, or no start), " \
      "none (any), or auto: filtered where the kernel can")                                        \
    S(log_format, "log-format", "text", "text or json")                                            \
    S(tls_cert, "tls-cert", "", "certificate chain (PEM) of the gRPC port; empty: no TLS")         \
    S(tls_key, "tls-key", "", "its private key (PEM)")                                             \
    S(tls_client_ca, "tls-client-ca", "",                                                          \
      "authorities (PEM) of client certificates, which are then demanded; empty: none asked for")  \
    S(tls_client_names, "tls-client-names", "",                                                    \
      "subject alternative names of which a client certificate must have one, by commas; empty: "  \
      "any")                                                                                       \
    S(tokens, "tokens", "", "file of hashed bearer tokens and their scopes; empty: none")          \
    S(jwks, "jwks", "", "JWK set (JSON) whose keys sign accepted JWTs; empty: no JWTs")            \
    S(jwt_issuer, "jwt-issuer", "", "iss that a JWT must have; needed with --jwks")                \
    S(jwt_audience, "jwt-audience", "", "aud that a JWT must name; needed with --jwks")            \
    S(anonymous, "anonymous", "auto",                                                              \
      "callers without credentials: never, loopback, always, or auto: from loopback, unless "      \
      "credentials are configured")                                                                \
    N(cores, "cores", 0, 0, 256, "processors",                                                     \
      "how many the work is planned for; 0: those that this process may use, by its affinity and " \
      "its cgroup's quota")                                                                        \
    N(threads, "threads", 0, 0, 256, "threads", "compute lanes; 0: one a core")                    \
    N(pool_threads, "pool-threads", 0, 0, 256, "threads", "encode jobs at once; 0: one a core")    \
    N(encode_threads, "encode-threads", 1, 1, 16, "threads", "x264 threads of one session")        \
    N(batch_max, "batch-max", 0, 0, 64, "frames",                                                  \
      "frames in one run of the generator; 0: the back end's choice (cpu 4, cuda 64)")             \
    N(batch_wait_us_max, "batch-wait", 2000, 0, 1000000, "us",                                     \
      "how long a frame may wait for its batch to fill")                                           \
    N(face_cache_bytes, "face-cache-bytes", 268435456, 0, 17179869184, "bytes",                    \
      "memory (the device's; on a processor the host's) for what is known of faces that come "     \
      "again")                                                                                     \
    N(decode_on_device, "decode-on-device", 0, 0, 1, "switch",                                     \
      "1: videos are decoded inside the server, by the device where it can (read the README)")     \
    N(sessions_max, "sessions-max", 16, 1, 4096, "sessions", "streams at once; more are refused")  \
    N(batch_sessions_max, "batch-sessions-max", 0, 0, 4096, "sessions",                            \
      "of them, those of priority batch; 0: half")                                                 \
    N(queue_max, "queue-max", 64, 0, 4096, "calls", "calls that wait for a place")                 \
    N(admission_wait_ms_max, "admission-wait", 0, 0, 3600000, "ms",                                \
      "how long a call may wait for a place; 0: it is refused at once")                            \
    N(retry_ms, "retry-after", 1000, 1, 3600000, "ms", "what RetryInfo tells refused callers")     \
    N(live_load_max, "live-load-max", 80, 1, 1000, "percent",                                      \
      "share of the lanes and cores that is promised to live streams")                             \
    N(live_lag_ms_max, "live-lag-max", 500, 10, 60000, "ms",                                       \
      "a live frame that leaves later than this after its inputs is late: no more live streams")   \
    N(pixels_total_max, "pixels-total-max", 1073741824, 65536, 1099511627776, "pixels",            \
      "decoded frames of all sessions in memory")                                                  \
    N(spool_total_bytes_max, "spool-total-max", 17179869184, 1048576, 1099511627776, "bytes",      \
      "disk held by all inputs")                                                                   \
    N(warm_decoders, "warm-decoders", 2, 0, 64, "processes", "decode processes started ahead")     \
    N(message_bytes_max, "message-bytes-max", 2097152, 65536, 16777216, "bytes",                   \
      "one request message")                                                                       \
    N(spool_bytes_max, "spool-bytes-max", 4294967296, 1048576, 1099511627776, "bytes",             \
      "disk held by one input of a session")                                                       \
    N(feed_bytes_ahead, "feed-bytes-ahead", 1048576, 65536, 67108864, "bytes",                     \
      "input read ahead of the decoder")                                                           \
    N(audio_seconds_max, "audio-seconds-max", 14400, 1, 1000000, "s", "length of a voice")         \
    N(frames_max, "frames-max", 1000000, 1, 100000000, "frames", "length of an output")            \
    N(pixels_max, "pixels-max", 8847360, 256, 67108864, "pixels", "size of a frame (4096x2160)")   \
    N(side_px_max, "side-max", 4096, 16, 8192, "pixels", "longer side of a frame")                 \
    N(rate_max, "rate-max", 120, 1, 1000, "frames/s", "frame rate of an input")                    \
    N(frames_in_flight, "frames-in-flight", 12, 8, 256, "frames",                                  \
      "decoded frames of a session in memory")                                                     \
    N(sound_seconds_ahead, "sound-seconds-ahead", 4, 1, 60, "s",                                   \
      "decoded sound of a session in memory")                                                      \
    N(out_bytes_ahead, "out-bytes-ahead", 4194304, 65536, 268435456, "bytes",                      \
      "output that waits for its reader")                                                          \
    N(chunk_bytes_max, "chunk-bytes-max", 1048576, 4096, 4194304, "bytes",                         \
      "data of one media message")                                                                 \
    N(regions_max, "regions-max", 1000000, 1, 10000000, "boxes", "boxes that a caller may give")   \
    N(input_idle_ms_max, "input-idle-max", 60000, 100, 86400000, "ms",                             \
      "silence of a caller whose input is awaited")                                                \
    N(output_idle_ms_max, "output-idle-max", 60000, 100, 86400000, "ms",                           \
      "output that nobody reads")                                                                  \
    N(session_ms_max, "session-max", 14400000, 1000, 604800000, "ms", "length of one call")        \
    N(decoder_bytes_max, "decoder-bytes-max", 1073741824, 67108864, 17179869184, "bytes",          \
      "memory of one decode process")                                                              \
    N(decoder_stuck_ms_max, "decoder-stuck-max", 20000, 100, 600000, "ms",                         \
      "silence of a decode process that has all it needs")                                         \
    N(detect_interval, "detect-interval", 4, 1, 30, "frames",                                      \
      "frames from one face detection to the next")                                                \
    N(detect_side_px, "detect-side", 320, 64, 1280, "pixels",                                      \
      "longer side of the picture that the detector sees")                                         \
    N(flush_ms_max, "flush-max", 10000, 100, 600000, "ms",                                         \
      "how long a status waits for the message that is under way")                                 \
    N(half_close_ms_max, "half-close-wait", 2000, 0, 60000, "ms",                                  \
      "how long OK waits for a caller that has not ended its side of the stream")                  \
    N(connections_max, "connections-max", 4096, 1, 1000000, "connections",                         \
      "connections at once; beyond, the longest idle one is closed for a new one")                 \
    N(handshake_ms_max, "handshake-max", 10000, 100, 600000, "ms",                                 \
      "TLS handshake, HTTP/2 preface, one block of headers")                                       \
    N(streams_max, "streams-max", 0, 0, 100000, "streams",                                         \
      "HTTP/2 streams of a connection; 0: twice sessions-max, and 100")                            \
    N(metadata_bytes_max, "metadata-bytes-max", 16384, 4096, 65536, "bytes", "metadata of a call") \
    N(awaited_max, "awaited-max", 16, 1, 65536, "calls",                                           \
      "calls but sessions whose request may take more than 200 ms to come, or whose answer to be " \
      "read; more are refused")                                                                    \
    N(watches_max, "watches-max", 1000, 1, 1000000, "calls",                                       \
      "watches of the health at once; anybody may begin one, and it lasts as long as they like")   \
    N(resets_max, "resets-max", 100, 1, 1000000, "a second",                                       \
      "streams of a connection that are reset, by either side; ten seconds' worth at once")        \
    N(control_frames_max, "control-frames-max", 1000, 10, 1000000, "a second",                     \
      "settings, pings, priorities and empty frames of a connection; ten seconds' worth at once")  \
    N(keepalive_ms, "keepalive-interval", 30000, 100, 86400000, "ms",                              \
      "silence of a connection after which it is asked whether it lives")                          \
    N(keepalive_timeout_ms, "keepalive-timeout", 10000, 100, 600000, "ms",                         \
      "how long it may take to answer")                                                            \
    N(ping_interval_ms_min, "ping-interval-min", 10000, 0, 86400000, "ms",                         \
      "gap between two pings of a caller without data; faster ones end the connection")            \
    N(connection_age_ms, "connection-age", 1800000, 0, 604800000, "ms",                            \
      "age at which a connection takes no more calls, so that load spreads anew; 0: never")        \
    N(connection_grace_ms, "connection-grace", 0, 0, 604800000, "ms",                              \
      "how long its running calls may go on then; 0: session-max")                                 \
    N(stream_window_bytes, "stream-window", 524288, 65536, 16777216, "bytes",                      \
      "what gRPC reads ahead of one stream")                                                       \
    N(rpc_bytes_max, "rpc-bytes-max", 0, 0, 1099511627776, "bytes",                                \
      "memory of gRPC; beyond, it ends streams; 0: 64 MiB and 8 MiB a session")                    \
    N(tokens_max, "tokens-max", 1000, 1, 10000, "tokens",                                          \
      "in the file of --tokens; each call is compared with all of them")                           \
    N(jwks_keys_max, "jwks-keys-max", 16, 1, 256, "keys",                                          \
      "in the file of --jwks; a JWT that names none is tried with all of its kind")                \
    N(jwt_leeway_s, "jwt-leeway", 30, 0, 600, "s", "difference of clocks that exp and nbf allow")  \
    N(refusal_lines_max, "log-refusals-max", 100, 0, 1000000, "a second",                          \
      "log lines of calls that failed before they began; the rest is counted")                     \
    N(admin_connections_max, "admin-connections-max", 32, 1, 1000, "connections",                  \
      "connections to the admin port at once")                                                     \
    N(admin_ms_max, "admin-request-max", 10000, 100, 600000, "ms",                                 \
      "length of a connection to the admin port, which takes one request")                         \
    N(drain_delay_ms, "drain-delay", 0, 0, 600000, "ms",                                           \
      "how long the port stays open after SIGTERM, for load balancers to see that it drains")      \
    N(drain_ms_max, "drain-timeout", 30000, 0, 86400000, "ms",                                     \
      "how long SIGTERM lets streams finish")

struct ls_options {
#define S(name, flag, value, help)                 const char *name;
#define N(name, flag, value, min, max, unit, help) int64_t name;
    LS_OPTIONS(S, N)
#undef S
#undef N
};

enum ls_options_action {
    LS_DO_RUN,
    LS_DO_HELP,
    LS_DO_VERSION,
    LS_DO_PRINT,
    LS_DO_CHECK,
    LS_DO_HASH_TOKEN
};

// The defaults. Texts point to constants.
void ls_options_init(struct ls_options *opt);
// Environment, then arguments ("--flag value" or "--flag=value"). err names the flag, the value and
// the range. Texts point into argv or the environment. action: what else was asked for.
LS_MUST int ls_options_parse(struct ls_options *opt, enum ls_options_action *action, int argc,
                             char **argv, struct ls_err *err);
void ls_options_print(const struct ls_options *opt, FILE *to); // a line each: name = value
void ls_options_help(FILE *to);
// Calls back for each numeric row: name, flag, value, unit, help.
void ls_options_each(const struct ls_options *opt,
                     void (*on_row)(void *user, const char *flag, int64_t value, const char *unit,
                                    const char *help),
                     void *user);

#endif
