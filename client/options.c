// SPDX-License-Identifier: Apache-2.0
// The command line's table (see options.h). A row that names an enum takes its choices, for parsing
// and for --help, from the .proto; a row with an offset writes there; the others have a setter.
#include "client/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind {
    FLAG,
    TEXT,
    COUNT,
    SECONDS,
    ENUM,
    INT32,
    FLOAT_VALUE,
    INT32_VALUE,
    WORDS,
    PROGRESS,
    PACE,
    PRIORITY
};

struct row {
    const char *name, *value, *help;
    enum kind kind;
    size_t at;                         // offset in struct ls_client_options
    size_t link;                       // of the pointer that a wrapper value is hung on
    const ProtobufCEnumDescriptor *of; // ENUM
    int (*set)(struct ls_config *c, const char *text); // WORDS
};

#define AT(field)   offsetof(struct ls_client_options, field)
#define CONF(field) offsetof(struct ls_client_options, config.field)
#define NAMES(type) &lipstream__v1__##type##__descriptor

static const struct row server_rows[] = {
    {"server", "HOST:PORT", "default 127.0.0.1:50051, or $LIPSTREAM_SERVER", TEXT, AT(server), 0,
     NULL, NULL},
    {"timeout", "SECONDS", "give up after so long; default never, health 5", SECONDS, AT(timeout_s),
     0, NULL, NULL},
    {"tls", NULL, "encrypt, and check the server's certificate by the system's authorities", FLAG,
     AT(tls), 0, NULL, NULL},
    {"ca", "FILE", "authorities (PEM) in place of the system's; implies --tls", TEXT, AT(ca), 0,
     NULL, NULL},
    {"cert", "FILE", "certificate chain (PEM) of this side; implies --tls", TEXT, AT(cert), 0, NULL,
     NULL},
    {"key", "FILE", "its private key (PEM)", TEXT, AT(key), 0, NULL, NULL},
    {"server-name", "NAME", "that its certificate must have, if not HOST; implies --tls", TEXT,
     AT(server_name), 0, NULL, NULL},
    {"token-file", "FILE", "token or JWT to show; default $LIPSTREAM_TOKEN", TEXT, AT(token_file),
     0, NULL, NULL},
};

static const struct row sync_rows[] = {
    {"pcm", "RATE[:CHANNELS[:FORMAT]]", "VOICE is raw samples, s16le or f32le: 16000:1:s16le",
     WORDS, 0, 0, NULL, ls_config_set_pcm},
    {"raw-frames", "WxH@RATE[:FORMAT]",
     "FACE is raw frames, i420 or rgb24: 640x360@30000/1001:i420", WORDS, 0, 0, NULL,
     ls_config_set_frames},
    {"still-rate", "RATE", "frame rate when FACE is a picture; default 25", WORDS, 0, 0, NULL,
     ls_config_set_still_rate},
    {"regions", "FILE", "CSV lines frame,left,top,right,bottom[,bypass]; an empty box: no face",
     TEXT, AT(regions), 0, NULL, NULL},
    {"container", "C", NULL, ENUM, CONF(output.container), 0, NAMES(output_container), NULL},
    {"video", "C", NULL, ENUM, CONF(output.video), 0, NAMES(video_codec), NULL},
    {"audio", "C", NULL, ENUM, CONF(output.audio), 0, NAMES(audio_codec), NULL},
    {"crf", "1..51", "quality of the picture, 1 is best; default 23", WORDS, 0, 0, NULL,
     ls_config_set_crf},
    {"bit-rate", "BITS", "bits a second of the picture, in place of --crf", WORDS, 0, 0, NULL,
     ls_config_set_bit_rate},
    {"speed", "S", NULL, ENUM, CONF(output.speed), 0, NAMES(speed_preset), NULL},
    {"latency", "L", NULL, ENUM, CONF(output.latency), 0, NAMES(latency_mode), NULL},
    {"media-chunk", "BYTES", "largest piece that the server sends", INT32,
     CONF(output.chunk_bytes_max), 0, NULL, NULL},
    {"fit-audio-longer", "F", NULL, ENUM, CONF(fit.audio_longer), 0, NAMES(audio_longer), NULL},
    {"fit-video-longer", "F", NULL, ENUM, CONF(fit.video_longer), 0, NAMES(video_longer), NULL},
    {"face", "CHOICE", "largest, best-score, nearest:X,Y or given", WORDS, 0, 0, NULL,
     ls_config_set_face},
    {"fixed-box", "L,T,R,B", "one box for all frames, in pixels", WORDS, 0, 0, NULL,
     ls_config_set_fixed_box},
    {"missing", "M", NULL, ENUM, CONF(face.missing), 0, NAMES(face_missing), NULL},
    {"pads", "T,B,L,R", "pixels added to the box; default 0,10,0,0", WORDS, 0, 0, NULL,
     ls_config_set_pads},
    {"smoothing", "FRAMES", "frames over which boxes are averaged; default 5", INT32,
     CONF(face.smoothing_frames), 0, NULL, NULL},
    {"align", "A", NULL, ENUM, CONF(face.align), 0, NAMES(face_align), NULL},
    {"mask", "M", NULL, ENUM, CONF(paste.mask), 0, NAMES(mask), NULL},
    {"feather", "PIXELS", "soft edge, of the 96 px face: 0..24", FLOAT_VALUE, CONF(feather),
     CONF(paste.feather_px), NULL, NULL},
    {"colour-match", "0..1", "how far the colour is matched; default 1", FLOAT_VALUE,
     CONF(colour_match), CONF(paste.colour_match), NULL, NULL},
    {"strength", "0..1", "opacity; default 1", FLOAT_VALUE, CONF(strength), CONF(paste.strength),
     NULL, NULL},
    {"sharpness", "0..2", "detail and grain that the 96 px face lacks; default 1", FLOAT_VALUE,
     CONF(sharpness), CONF(paste.sharpness), NULL, NULL},
    {"fade-frames", "FRAMES", "over which the mouth comes and goes: 0..8; default 3", INT32_VALUE,
     CONF(fade), CONF(paste.fade_frames), NULL, NULL},
    {"silence", "S", NULL, ENUM, CONF(silence.policy), 0, NAMES(silence_policy), NULL},
    {"silence-threshold", "DBFS", "quieter than this is silence; default -50", FLOAT_VALUE,
     CONF(threshold), CONF(silence.threshold_dbfs), NULL, NULL},
    {"silence-hold", "MS", "for so long; default 200", INT32_VALUE, CONF(hold),
     CONF(silence.hold_ms), NULL, NULL},
    {"offset-ms", "MS", "the lips hear the voice so much later: -500..500", INT32,
     CONF(timing.audio_offset_ms), 0, NULL, NULL},
    {"live", NULL, "the inputs come in real time; refuse if they cannot be kept up with", FLAG,
     AT(live), 0, NULL, NULL},
    {"profile", "P", NULL, ENUM, CONF(root.profile), 0, NAMES(profile), NULL},
    {"frame-info", "FILE", "write a CSV line for each frame", TEXT, AT(frames_to), 0, NULL, NULL},
    {"chunk", "BYTES", "largest piece that is sent; default 65536", COUNT, AT(chunk_bytes), 0, NULL,
     NULL},
    {"pace", "SECONDS|real", "send like a live source, in so long or in the voice's own time", PACE,
     AT(pace_s), 0, NULL, NULL},
    {"stop-after", "SECONDS", "then let the server finish what it has", SECONDS, AT(stop_after_s),
     0, NULL, NULL},
    {"priority", "CLASS", "interactive or batch, which yields; default interactive", PRIORITY,
     AT(priority), 0, NULL, NULL},
    {"retry", "TIMES", "try again when the server is full or away, if FACE and VOICE are files",
     COUNT, AT(retries), 0, NULL, NULL},
    {"progress-interval", "SECONDS", "from one progress message to the next; default 1, bar 0.2",
     WORDS, 0, 0, NULL, ls_config_set_progress_interval},
    {"progress", "MODE", "auto, bar, plain, json or none", PROGRESS, AT(progress), 0, NULL, NULL},
};

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

void ls_client_options_init(struct ls_client_options *opt)
{
    const char *server = getenv("LIPSTREAM_SERVER");

    memset(opt, 0, sizeof(*opt));
    opt->server = server && server[0] ? server : "127.0.0.1:50051";
    opt->chunk_bytes = 65536;
    ls_config_init(&opt->config);
}

static bool parse_int(int64_t *out, const char *text, int64_t min, int64_t max)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    if (end == text || *end != '\0' || value < min || value > max)
        return false;
    *out = value;
    return true;
}

static bool parse_double(double *out, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0')
        return false;
    *out = value;
    return true;
}

static bool set_progress(enum ls_progress_mode *mode, const char *text)
{
    static const char *const names[] = {"auto", "bar", "plain", "json", "none"};

    for (size_t i = 0; i < ROWS(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum ls_progress_mode)i;
            return true;
        }
    }
    return false;
}

// Values of the wrapper types: set the value and hang it on its pointer, which makes it present.
static bool set_wrapped(char *base, const struct row *row, const char *text)
{
    void *wrapper = base + row->at;
    double value;
    int64_t whole;

    if (row->kind == FLOAT_VALUE) {
        if (!parse_double(&value, text))
            return false;
        ((Google__Protobuf__FloatValue *)wrapper)->value = (float)value;
    } else {
        if (!parse_int(&whole, text, INT32_MIN, INT32_MAX))
            return false;
        ((Google__Protobuf__Int32Value *)wrapper)->value = (int32_t)whole;
    }
    memcpy(base + row->link, &wrapper, sizeof(wrapper));
    return true;
}

static bool set_number(char *at, const struct row *row, const char *text)
{
    int64_t whole;
    double value;

    switch (row->kind) {
    case COUNT:
        if (!parse_int(&whole, text, 1, 1 << 24))
            return false;
        *(int *)at = (int)whole;
        return true;
    case INT32:
        if (!parse_int(&whole, text, INT32_MIN, INT32_MAX))
            return false;
        *(int32_t *)at = (int32_t)whole;
        return true;
    default: // SECONDS, PACE
        if (row->kind == PACE && strcmp(text, "real") == 0)
            value = LS_PACE_REAL;
        else if (!parse_double(&value, text) || !(value > 0 && value < 1e9))
            return false;
        *(double *)at = value;
        return true;
    }
}

static bool set_row(struct ls_client_options *opt, const struct row *row, const char *text)
{
    char *base = (char *)opt, *at = base + row->at;
    int value;

    switch (row->kind) {
    case FLAG:
        *(bool *)at = true;
        return true;
    case PRIORITY:
        *(const char **)at = text;
        return strcmp(text, "interactive") == 0 || strcmp(text, "batch") == 0;
    case TEXT:
        *(const char **)at = text;
        return text[0] != '\0';
    case WORDS:
        return row->set(&opt->config, text) == 0;
    case PROGRESS:
        return set_progress((enum ls_progress_mode *)at, text);
    case ENUM:
        value = ls_enum_value(row->of, text);
        if (value >= 0)
            *(int *)at = value; // protobuf-c forces its enums to the size of an int
        return value >= 0;
    case FLOAT_VALUE:
    case INT32_VALUE:
        return set_wrapped(base, row, text);
    default:
        return set_number(at, row, text);
    }
}

static const struct row *find_row(const char *name, size_t size, bool sync)
{
    for (size_t i = 0; i < ROWS(server_rows); i++)
        if (strlen(server_rows[i].name) == size && memcmp(server_rows[i].name, name, size) == 0)
            return &server_rows[i];
    for (size_t i = 0; sync && i < ROWS(sync_rows); i++)
        if (strlen(sync_rows[i].name) == size && memcmp(sync_rows[i].name, name, size) == 0)
            return &sync_rows[i];
    return NULL;
}

static void choices_of(const struct row *row, char *out, size_t size)
{
    char name[64];
    size_t at = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < row->of->n_values && at < size; i++) {
        if (row->of->values[i].value == 0)
            continue;
        ls_enum_name(row->of, row->of->values[i].value, name, sizeof(name));
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", name);
    }
}

// "--name value" or "--name=value"; moves *i on to the last argument that was used.
static int parse_option(struct ls_client_options *opt, bool sync, int argc, char **argv, int *i,
                        struct ls_fault *fault)
{
    const char *name = argv[*i] + 2, *value = strchr(name, '=');
    size_t size = value ? (size_t)(value - name) : strlen(name);
    const struct row *row = find_row(name, size, sync);
    char choices[256];

    if (!row)
        return ls_fault_set(fault, LS_EXIT_USAGE, "unknown option %s (see lipstream --help)",
                            argv[*i]);
    if (row->kind == FLAG && value)
        return ls_fault_set(fault, LS_EXIT_USAGE, "--%s takes no value", row->name);
    if (value)
        value++;
    else if (row->kind == FLAG)
        value = "";
    else if (*i + 1 < argc)
        value = argv[++*i];
    else
        return ls_fault_set(fault, LS_EXIT_USAGE, "--%s needs a value: %s", row->name, row->value);
    if (set_row(opt, row, value))
        return 0;
    if (row->kind != ENUM)
        return ls_fault_set(fault, LS_EXIT_USAGE, "--%s %s: must be %s", row->name, value,
                            row->value);
    choices_of(row, choices, sizeof(choices));
    return ls_fault_set(fault, LS_EXIT_USAGE, "--%s %s: must be one of %s", row->name, value,
                        choices);
}

static int check_server(const struct ls_client_options *opt, struct ls_fault *fault)
{
    if (!opt->cert != !opt->key)
        return ls_fault_set(fault, LS_EXIT_USAGE, "--cert and --key belong together");
    return 0;
}

static int check_sync(struct ls_client_options *opt, struct ls_fault *fault)
{
    struct ls_config *c = &opt->config;

    if (strcmp(opt->face, "-") == 0 && strcmp(opt->voice, "-") == 0)
        return ls_fault_set(fault, LS_EXIT_USAGE, "FACE and VOICE cannot both be standard input");
    if (strcmp(opt->out, "-") == 0 && isatty(STDOUT_FILENO))
        return ls_fault_set(fault, LS_EXIT_USAGE,
                            "OUT is - but standard output is a terminal; add \"| ffplay -\"");
    if (opt->regions)
        c->face.choose = LIPSTREAM__V1__FACE_CHOICE__FACE_CHOICE_GIVEN;
    c->report.frame_info = opt->frames_to != NULL;
    c->timing.live = opt->live;
    return check_server(opt, fault);
}

int ls_client_options_sync(struct ls_client_options *opt, int argc, char **argv,
                           struct ls_fault *fault)
{
    const char **places[] = {&opt->face, &opt->voice, &opt->out};
    size_t count = 0;

    for (int i = 0; i < argc; i++) {
        bool option = strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0';

        if (option) {
            if (parse_option(opt, true, argc, argv, &i, fault) < 0)
                return -1;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return ls_fault_set(fault, LS_EXIT_USAGE, "unknown option %s", argv[i]);
        } else if (count < ROWS(places)) {
            *places[count++] = argv[i];
        } else {
            return ls_fault_set(fault, LS_EXIT_USAGE, "one argument too many: %s", argv[i]);
        }
    }
    if (count < ROWS(places))
        return ls_fault_set(fault, LS_EXIT_USAGE, "usage: lipstream sync [options] FACE VOICE OUT");
    return check_sync(opt, fault);
}

// json_too: --json is one of them.
static int parse_server(struct ls_client_options *opt, int argc, char **argv, bool json_too,
                        struct ls_fault *fault)
{
    for (int i = 0; i < argc; i++) {
        if (json_too && strcmp(argv[i], "--json") == 0)
            opt->json = true;
        else if (strncmp(argv[i], "--", 2) != 0)
            return ls_fault_set(fault, LS_EXIT_USAGE, "usage: lipstream %s",
                                json_too ? "info [--json]" : "health");
        else if (parse_option(opt, false, argc, argv, &i, fault) < 0)
            return -1;
    }
    return check_server(opt, fault);
}

int ls_client_options_info(struct ls_client_options *opt, int argc, char **argv,
                           struct ls_fault *fault)
{
    return parse_server(opt, argc, argv, true, fault);
}

int ls_client_options_health(struct ls_client_options *opt, int argc, char **argv,
                             struct ls_fault *fault)
{
    opt->timeout_s = 5; // a probe that waits for ever tells nothing
    return parse_server(opt, argc, argv, false, fault);
}

static void print_rows(FILE *to, const struct row *rows, size_t count)
{
    char choices[256], left[64];

    for (size_t i = 0; i < count; i++) {
        snprintf(left, sizeof(left), "--%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        choices[0] = '\0';
        if (rows[i].kind == ENUM)
            choices_of(&rows[i], choices, sizeof(choices));
        fprintf(to, "  %-26s%s%s\n", left,
                strlen(left) > 25 ? "\n                            " : "",
                rows[i].help ? rows[i].help : choices);
    }
}

void ls_client_options_help(FILE *to)
{
    fputs("lipstream: a voice and a face in, a talking video out\n\n"
          "  lipstream sync [options] FACE VOICE OUT\n"
          "  lipstream info [--json]\n"
          "  lipstream health\n"
          "  lipstream --help | --version\n\n"
          "FACE: a video, a picture (JPEG, PNG, WebP), or -. VOICE: any file with sound, or -.\n"
          "OUT: a file (written as OUT.part until it is whole), or - to play while it streams:\n"
          "  lipstream sync face.mp4 voice.wav - | ffplay -\n\nServer\n",
          to);
    print_rows(to, server_rows, ROWS(server_rows));
    fputs("\nSync (what is not given is the server's default; `lipstream info` tells its limits)\n",
          to);
    print_rows(to, sync_rows, ROWS(sync_rows));
    fputs("\nExit: 0 done; 1 a file or pipe on this side, or not SERVING; 2 usage; 10 + the gRPC "
          "status\n"
          "otherwise (11 cancelled, 13 invalid argument, 14 deadline, 17 permission denied, 18 "
          "resource\nexhausted, 24 unavailable, 26 unauthenticated).\n",
          to);
}
