// SPDX-License-Identifier: Apache-2.0
// Warnings, summary and errors as text (see report.h). The details of an error are
// google.rpc.Status in the trailer grpc-status-details-bin; if they do not parse, what grpc-status
// and grpc-message say is printed alone.
#include "client/report.h"

#include <string.h>

#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>

static double seconds_of(const Google__Protobuf__Duration *d)
{
    return d ? (double)d->seconds + d->nanos * 1e-9 : 0;
}

void ls_report_warning(struct ls_view *view, const Lipstream__V1__Warning *w)
{
    if (w->count > 1)
        ls_view_line(view, "warning: %s: %s (frame %lld, %lld times)", w->reason, w->message,
                     (long long)w->first_frame, (long long)w->count);
    else
        ls_view_line(view, "warning: %s: %s", w->reason, w->message);
}

static void report_frames(struct ls_view *view, const Lipstream__V1__Summary *s)
{
    char size[80] = "";

    if (s->width > 0 && s->frame_rate && s->frame_rate->den > 0)
        snprintf(size, sizeof(size), ", %dx%d at %.5g frames/s", s->width, s->height,
                 (double)s->frame_rate->num / s->frame_rate->den);
    ls_view_line(view, "  frames   %lld in, %lld out%s", (long long)s->frames_in,
                 (long long)s->frames_out, size);
    ls_view_line(view, "           %lld synced, %lld held, %lld silent, %lld passed through",
                 (long long)s->frames_synced, (long long)s->frames_held,
                 (long long)s->frames_silent, (long long)s->frames_passed_through);
}

void ls_report_summary(struct ls_view *view, const Lipstream__V1__Summary *s, const char *name)
{
    char bytes[32], digest[65] = "";
    double length = seconds_of(s->video_duration);

    ls_text_bytes(bytes, sizeof(bytes), s->bytes_out);
    for (size_t i = 0; i < s->sha256.len && i < 32; i++)
        snprintf(digest + 2 * i, 3, "%02x", s->sha256.data[i]);
    ls_view_line(view, "done       %s%s%s", name, name[0] ? ", " : "", bytes);
    report_frames(view, s);
    ls_view_line(view, "  time     %.2f s of voice, %.2f s of output in %.2f s (%.2f x real time)",
                 seconds_of(s->audio_duration), length, (double)s->real_time_factor * length,
                 s->real_time_factor > 0 ? 1 / (double)s->real_time_factor : 0);
    ls_view_line(view, "  first    media %.3f s after the call, %.3f s after the first voice byte",
                 seconds_of(s->time_to_first_media), seconds_of(s->first_audio_to_first_media));
    if (s->parts)
        ls_view_line(
            view,
            "  work     decode %.0f, detect %.0f, mel %.0f, generate %.0f, composite %.0f, "
            "encode %.0f ms",
            s->parts->decode_ms, s->parts->detect_ms, s->parts->mel_ms, s->parts->generate_ms,
            s->parts->composite_ms, s->parts->encode_ms);
    if (digest[0])
        ls_view_line(view, "  sha256   %s", digest);
}

static bool is_type(const Google__Protobuf__Any *any, const char *name)
{
    const char *slash = any->type_url ? strrchr(any->type_url, '/') : NULL;

    return slash && strcmp(slash + 1, name) == 0;
}

static void report_fields(struct ls_view *view, const Google__Protobuf__Any *any)
{
    Google__Rpc__BadRequest *bad =
        google__rpc__bad_request__unpack(NULL, any->value.len, any->value.data);

    for (size_t i = 0; bad && i < bad->n_field_violations; i++) {
        const Google__Rpc__BadRequest__FieldViolation *v = bad->field_violations[i];

        ls_view_line(view, "  %s: %s%s%s%s", v->field, v->description, v->reason[0] ? " [" : "",
                     v->reason, v->reason[0] ? "]" : "");
    }
    if (bad)
        google__rpc__bad_request__free_unpacked(bad, NULL);
}

// The reason of the ErrorInfo among the details, "" if there is none.
static void find_reason(const Google__Rpc__Status *details, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < details->n_details; i++) {
        const Google__Protobuf__Any *any = details->details[i];
        Google__Rpc__ErrorInfo *info;

        if (!is_type(any, "google.rpc.ErrorInfo"))
            continue;
        info = google__rpc__error_info__unpack(NULL, any->value.len, any->value.data);
        if (info)
            snprintf(out, size, "%s", info->reason);
        if (info)
            google__rpc__error_info__free_unpacked(info, NULL);
    }
}

static Google__Rpc__Status *details_of(const struct ls_link_status *status)
{
    return status->details
               ? google__rpc__status__unpack(NULL, status->details_size, status->details)
               : NULL;
}

double ls_report_retry_s(const struct ls_link_status *status)
{
    Google__Rpc__Status *details = details_of(status);
    double seconds = -1;

    for (size_t i = 0; details && i < details->n_details; i++) {
        const Google__Protobuf__Any *any = details->details[i];
        Google__Rpc__RetryInfo *retry;

        if (!is_type(any, "google.rpc.RetryInfo"))
            continue;
        retry = google__rpc__retry_info__unpack(NULL, any->value.len, any->value.data);
        if (retry && retry->retry_delay)
            seconds = seconds_of(retry->retry_delay);
        if (retry)
            google__rpc__retry_info__free_unpacked(retry, NULL);
    }
    if (details)
        google__rpc__status__free_unpacked(details, NULL);
    return seconds;
}

void ls_report_status(struct ls_view *view, const struct ls_link_status *status)
{
    Google__Rpc__Status *details = details_of(status);
    double retry_s = ls_report_retry_s(status);
    char reason[64] = "";

    if (details)
        find_reason(details, reason, sizeof(reason));
    ls_view_line(view, "lipstream: %s%s%s%s: %s", ls_text_status(status->code),
                 reason[0] ? " (" : "", reason, reason[0] ? ")" : "", status->message);
    for (size_t i = 0; details && i < details->n_details; i++)
        if (is_type(details->details[i], "google.rpc.BadRequest"))
            report_fields(view, details->details[i]);
    if (retry_s >= 0)
        ls_view_line(view, "  try again in %.1f s", retry_s);
    if (status->session_id)
        ls_view_line(view, "  session %s", status->session_id);
    if (details)
        google__rpc__status__free_unpacked(details, NULL);
}
