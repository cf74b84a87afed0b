// SPDX-License-Identifier: Apache-2.0
// `lipstream info`: GetServerInfo as a table for people or as JSON.
#include "client/info.h"

#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/unary.h"
#include "client/view.h"

static void print_model(struct ls_view *v, const char *label, const Lipstream__V1__Model *m)
{
    char mask[32];

    if (!m)
        return;
    ls_view_line(
        v, "%-14s%s, %.2f M parameters%s%s%s", label, m->name, (double)m->parameter_count / 1e6,
        m->mask ? ", mask " : "",
        m->mask ? ls_enum_name(&lipstream__v1__mask__descriptor, (int)m->mask, mask, sizeof(mask))
                : "",
        m->seeded ? ", RANDOM WEIGHTS" : "");
}

static void print_enums(struct ls_view *v, const char *label, const ProtobufCEnumDescriptor *of,
                        size_t count, const int *values)
{
    char text[512] = "", name[32];
    size_t at = 0;

    for (size_t i = 0; i < count && at < sizeof(text); i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? ", " : "",
                               ls_enum_name(of, values[i], name, sizeof(name)));
    ls_view_line(v, "%-14s%s", label, text);
}

// Words, broken into lines of at most 72 columns.
static void print_words(struct ls_view *v, const char *label, size_t count, char **words)
{
    char text[128] = "";
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        if (at > 0 && at + strlen(words[i]) + 2 > 72) {
            ls_view_line(v, "%-14s%s", label, text);
            label = "";
            at = 0;
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? " " : "", words[i]);
        if (at >= sizeof(text))
            at = sizeof(text) - 1;
    }
    if (at > 0)
        ls_view_line(v, "%-14s%s", label, text);
}

static void print_table(struct ls_view *v, const Lipstream__V1__GetServerInfoResponse *r)
{
    ls_view_line(v, "%-14slipstreamd %s", "server", r->version);
    ls_view_line(v, "%-14s%s, %s, %s", "runs on", r->backend, r->device, r->arithmetic);
    print_model(v, "generator", r->generator);
    print_model(v, "detector", r->detector);
    ls_view_line(v, "%-14s%d running, %d free", "sessions", (int)r->sessions_running,
                 (int)r->sessions_free);
    // protobuf-c forces its enums to the size of an int.
    print_enums(v, "containers", &lipstream__v1__output_container__descriptor, r->n_containers,
                (const int *)r->containers);
    print_enums(v, "video out", &lipstream__v1__video_codec__descriptor, r->n_video_codecs,
                (const int *)r->video_codecs);
    print_enums(v, "audio out", &lipstream__v1__audio_codec__descriptor, r->n_audio_codecs,
                (const int *)r->audio_codecs);
    print_words(v, "decoded by", r->n_video_decoders, r->video_decoders);
    print_words(v, "encoded by", r->n_video_encoders, r->video_encoders);
    print_words(v, "formats in", r->n_input_formats, r->input_formats);
    print_words(v, "codecs in", r->n_input_codecs, r->input_codecs);
    for (size_t i = 0; i < r->n_limits; i++)
        ls_view_line(v, "%-14s%-22s%14lld  %-9s %s", i ? "" : "limits", r->limits[i]->name,
                     (long long)r->limits[i]->value, r->limits[i]->unit, r->limits[i]->description);
}

static int print_reply(const struct ls_client_options *opt, const uint8_t *data, size_t size)
{
    Lipstream__V1__GetServerInfoResponse *reply =
        lipstream__v1__get_server_info_response__unpack(NULL, size, data);
    struct ls_view view;

    if (!reply) {
        fputs("lipstream: the server's reply cannot be read\n", stderr);
        return LS_EXIT_LOCAL;
    }
    ls_view_open(&view, stdout, LS_PROGRESS_NONE);
    if (opt->json) {
        ls_json_print(stdout, &reply->base);
        putchar('\n');
    } else {
        print_table(&view, reply);
    }
    lipstream__v1__get_server_info_response__free_unpacked(reply, NULL);
    return fflush(stdout) == 0 ? LS_EXIT_OK : LS_EXIT_LOCAL;
}

int ls_info_run(const struct ls_client_options *opt)
{
    uint8_t *data = NULL;
    size_t size = 0;
    int exit_code = ls_unary_call(opt, "/lipstream.v1.LipSync/GetServerInfo", &data, &size);

    if (exit_code == LS_EXIT_OK)
        exit_code = print_reply(opt, data, size);
    free(data);
    return exit_code;
}
