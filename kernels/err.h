// SPDX-License-Identifier: Apache-2.0
// Errors: the one list of codes, and a record that says what went wrong, where and with which
// values. Every layer shares it; it knows nothing of gRPC, but each code carries the name of the
// status that server/rpc.c answers with, and a REASON: a public, stable word for machines. A reason
// never changes its meaning. Plain data; any thread.
#ifndef LS_ERR_H
#define LS_ERR_H

#define LS_MUST           __attribute__((warn_unused_result))
#define LS_PRINTF(fmt, i) __attribute__((format(printf, fmt, i)))

// For loops over rows of numbers: compiled for processors with AVX2 and for all, of which the one
// at hand takes its own when the program is loaded. As no compiler of ours fuses multiplications
// and additions, both give the same numbers. Not under ThreadSanitizer: the choice is made before
// that is set up.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define LS_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define LS_CLONES
#endif

// X(code, gRPC status, reason, default text)
#define LS_ERRORS(X)                                                                               \
    X(LS_EFIELD, INVALID_ARGUMENT, "FIELD_INVALID", "a field is outside its range")                \
    X(LS_EORDER, INVALID_ARGUMENT, "MESSAGE_ORDER", "a message came out of order")                 \
    X(LS_EMISSING, INVALID_ARGUMENT, "INPUT_MISSING", "an input never came")                       \
    X(LS_EMEDIA, INVALID_ARGUMENT, "MEDIA_INVALID", "the input cannot be decoded")                 \
    X(LS_ECODEC, INVALID_ARGUMENT, "MEDIA_UNSUPPORTED", "container, codec or stream not accepted") \
    X(LS_ESHORT, INVALID_ARGUMENT, "AUDIO_TOO_SHORT", "the voice is shorter than half a frame")    \
    X(LS_ELIMIT, RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", "a documented limit was exceeded")          \
    X(LS_ENOFACE, FAILED_PRECONDITION, "FACE_NOT_FOUND", "a frame has no face")                    \
    X(LS_EBUSY, RESOURCE_EXHAUSTED, "SESSIONS_FULL", "all sessions are taken")                     \
    X(LS_EQUEUE, RESOURCE_EXHAUSTED, "QUEUE_TIMEOUT", "no place became free in time")              \
    X(LS_EFULL, RESOURCE_EXHAUSTED, "CAPACITY_FULL", "the server's frames or disk are taken")      \
    X(LS_ELIVE, RESOURCE_EXHAUSTED, "LIVE_CAPACITY", "a live stream could not be kept in time")    \
    X(LS_EAUTH, UNAUTHENTICATED, "UNAUTHENTICATED", "no valid credentials")                        \
    X(LS_ESCOPE, PERMISSION_DENIED, "SCOPE_MISSING", "the credentials do not allow this")          \
    X(LS_ENOMEM, RESOURCE_EXHAUSTED, "MEMORY_EXHAUSTED", "out of memory")                          \
    X(LS_EIDLE, DEADLINE_EXCEEDED, "INPUT_IDLE", "no input came within the time limit")            \
    X(LS_ESTALL, DEADLINE_EXCEEDED, "OUTPUT_STALLED", "the output was not read in time")           \
    X(LS_EDEADLINE, DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "the call's deadline passed")          \
    X(LS_ECANCEL, CANCELLED, "CANCELLED", "the caller cancelled")                                  \
    X(LS_EDRAIN, UNAVAILABLE, "SHUTTING_DOWN", "the server is shutting down")                      \
    X(LS_EDECODER, INTERNAL, "DECODER_FAILED", "the decode process died or hung")                  \
    X(LS_EDEVICE, INTERNAL, "DEVICE_FAILED", "the compute device failed")                          \
    X(LS_EMODEL, FAILED_PRECONDITION, "MODEL_INVALID", "a model file is not usable")               \
    X(LS_EENCODE, INTERNAL, "ENCODER_FAILED", "the encoder or muxer failed")                       \
    X(LS_EIO, INTERNAL, "IO_FAILED", "a system call failed")                                       \
    X(LS_EINTERNAL, INTERNAL, "INTERNAL", "a bug of ours")

#define LS_ERR_ENUM(code, status, reason, text) code##_POSITION,
enum ls_err_position { LS_OK_POSITION, LS_ERRORS(LS_ERR_ENUM) LS_ERR_COUNT };
#undef LS_ERR_ENUM
#define LS_ERR_ENUM(code, status, reason, text) code = -(int)code##_POSITION,
enum ls_err_code { LS_OK = 0, LS_ERRORS(LS_ERR_ENUM) };
#undef LS_ERR_ENUM

// What failed. Valid when zeroed (LS_OK). field is a path in the request ("config.video.still"), ""
// if none.
struct ls_err {
    int code;
    char field[64];
    char text[320];
};

// Fills err (which may be NULL) and returns code, so that `return ls_fail(err, LS_E…, …)` reads
// well.
int ls_fail(struct ls_err *err, int code, const char *fmt, ...) LS_PRINTF(3, 4);
// The same with the request field that is to blame.
int ls_fail_field(struct ls_err *err, int code, const char *field, const char *fmt, ...)
    LS_PRINTF(4, 5);
// Puts "prefix: " before err's text; returns err->code.
int ls_fail_prefix(struct ls_err *err, const char *fmt, ...) LS_PRINTF(2, 3);

const char *ls_err_reason(int code); // "FIELD_INVALID"; "OK" for 0; never NULL
const char *ls_err_text(int code);   // the default text

#endif
