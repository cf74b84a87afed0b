// SPDX-License-Identifier: Apache-2.0
// Filling the SyncConfig message from words (see config.h). The names of enum values are read from
// the descriptors, so that a value that is added to the .proto is known here without a change.
#include "client/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void ls_config_init(struct ls_config *c)
{
    lipstream__v1__sync_config__init(&c->root);
    lipstream__v1__audio_input__init(&c->audio);
    lipstream__v1__video_input__init(&c->video);
    lipstream__v1__container__init(&c->audio_container);
    lipstream__v1__container__init(&c->video_container);
    lipstream__v1__pcm__init(&c->pcm);
    lipstream__v1__still__init(&c->still);
    lipstream__v1__raw_frames__init(&c->frames);
    lipstream__v1__rational__init(&c->still_rate);
    lipstream__v1__rational__init(&c->frames_rate);
    lipstream__v1__output__init(&c->output);
    lipstream__v1__fit__init(&c->fit);
    lipstream__v1__face__init(&c->face);
    lipstream__v1__point__init(&c->nearest);
    lipstream__v1__pads__init(&c->pads);
    lipstream__v1__box__init(&c->fixed_box);
    lipstream__v1__paste__init(&c->paste);
    google__protobuf__float_value__init(&c->feather);
    google__protobuf__float_value__init(&c->colour_match);
    google__protobuf__float_value__init(&c->strength);
    google__protobuf__float_value__init(&c->sharpness);
    google__protobuf__float_value__init(&c->threshold);
    google__protobuf__int32_value__init(&c->hold);
    google__protobuf__int32_value__init(&c->fade);
    lipstream__v1__silence__init(&c->silence);
    lipstream__v1__timing__init(&c->timing);
    lipstream__v1__report__init(&c->report);
    google__protobuf__duration__init(&c->progress_interval);
    c->root.audio = &c->audio;
    c->root.video = &c->video;
    c->root.output = &c->output;
    c->root.fit = &c->fit;
    c->root.face = &c->face;
    c->root.paste = &c->paste;
    c->root.silence = &c->silence;
    c->root.timing = &c->timing;
    c->root.report = &c->report;
    c->audio.source_case = LIPSTREAM__V1__AUDIO_INPUT__SOURCE_CONTAINER;
    c->audio.container = &c->audio_container;
    c->frames.frame_rate = &c->frames_rate;
}

void ls_config_video(struct ls_config *c, bool still)
{
    if (c->video.source_case == LIPSTREAM__V1__VIDEO_INPUT__SOURCE_FRAMES)
        return;
    if (still) {
        c->video.source_case = LIPSTREAM__V1__VIDEO_INPUT__SOURCE_STILL;
        c->video.still = &c->still;
    } else {
        c->video.source_case = LIPSTREAM__V1__VIDEO_INPUT__SOURCE_CONTAINER;
        c->video.container = &c->video_container;
    }
}

double ls_config_pcm_bytes_per_s(const struct ls_config *c)
{
    int sample = c->pcm.format == LIPSTREAM__V1__SAMPLE_FORMAT__SAMPLE_FORMAT_F32LE ? 4 : 2;

    if (c->audio.source_case != LIPSTREAM__V1__AUDIO_INPUT__SOURCE_PCM)
        return 0;
    return (double)c->pcm.sample_rate_hz * (c->pcm.channels > 0 ? c->pcm.channels : 1) * sample;
}

// Takes an integer from *text, and then the mark (0: none is looked for). Moves on behind both.
static bool take_int(int *out, const char **text, char mark)
{
    char *end;
    long value = strtol(*text, &end, 10);

    if (end == *text || value < INT32_MIN || value > INT32_MAX)
        return false;
    if (mark && *end != mark)
        return false;
    *out = (int)value;
    *text = end + (mark != 0);
    return true;
}

static bool take_floats(float *out, int count, const char *text)
{
    for (int i = 0; i < count; i++) {
        char *end;

        out[i] = strtof(text, &end);
        if (end == text || *end != (i + 1 < count ? ',' : '\0'))
            return false;
        text = end + 1;
    }
    return true;
}

// num[/den], up to a ':' or the end.
static bool take_rate(Lipstream__V1__Rational *rate, const char **text)
{
    int num, den = 1;

    if (!take_int(&num, text, 0))
        return false;
    if (**text == '/') {
        ++*text;
        if (!take_int(&den, text, 0))
            return false;
    }
    if (**text != '\0' && **text != ':')
        return false;
    rate->num = num;
    rate->den = den;
    return true;
}

int ls_config_set_pcm(struct ls_config *c, const char *text)
{
    int rate, channels = 1, format = 0;

    if (!take_int(&rate, &text, 0))
        return -1;
    if (*text == ':') {
        text++;
        if (!take_int(&channels, &text, 0))
            return -1;
    }
    if (*text == ':') {
        format = ls_enum_value(&lipstream__v1__sample_format__descriptor, text + 1);
        text = "";
    }
    if (*text != '\0' || format < 0)
        return -1;
    c->pcm.sample_rate_hz = rate;
    c->pcm.channels = channels;
    c->pcm.format = (Lipstream__V1__SampleFormat)format;
    c->audio.source_case = LIPSTREAM__V1__AUDIO_INPUT__SOURCE_PCM;
    c->audio.pcm = &c->pcm;
    return 0;
}

int ls_config_set_frames(struct ls_config *c, const char *text)
{
    int width, height, format = 0;

    if (!take_int(&width, &text, 'x') || !take_int(&height, &text, '@') ||
        !take_rate(&c->frames_rate, &text))
        return -1;
    if (*text == ':')
        format = ls_enum_value(&lipstream__v1__pixel_format__descriptor, text + 1);
    if (format < 0)
        return -1;
    c->frames.width = width;
    c->frames.height = height;
    c->frames.format = (Lipstream__V1__PixelFormat)format;
    c->video.source_case = LIPSTREAM__V1__VIDEO_INPUT__SOURCE_FRAMES;
    c->video.frames = &c->frames;
    return 0;
}

int ls_config_set_still_rate(struct ls_config *c, const char *text)
{
    if (!take_rate(&c->still_rate, &text) || *text != '\0')
        return -1;
    c->still.frame_rate = &c->still_rate;
    return 0;
}

int ls_config_set_face(struct ls_config *c, const char *text)
{
    float at[2];
    int choice;

    if (strncmp(text, "nearest:", 8) == 0) {
        if (!take_floats(at, 2, text + 8))
            return -1;
        c->nearest.x = at[0];
        c->nearest.y = at[1];
        c->face.nearest = &c->nearest;
        c->face.choose = LIPSTREAM__V1__FACE_CHOICE__FACE_CHOICE_NEAREST;
        return 0;
    }
    choice = ls_enum_value(&lipstream__v1__face_choice__descriptor, text);
    if (choice < 0)
        return -1;
    c->face.choose = (Lipstream__V1__FaceChoice)choice;
    return 0;
}

int ls_config_set_pads(struct ls_config *c, const char *text)
{
    int t, b, l, r;

    if (!take_int(&t, &text, ',') || !take_int(&b, &text, ',') || !take_int(&l, &text, ',') ||
        !take_int(&r, &text, 0) || *text != '\0')
        return -1;
    c->pads.top = t;
    c->pads.bottom = b;
    c->pads.left = l;
    c->pads.right = r;
    c->face.pads = &c->pads;
    return 0;
}

int ls_config_set_fixed_box(struct ls_config *c, const char *text)
{
    float at[4];

    if (!take_floats(at, 4, text))
        return -1;
    c->fixed_box.left = at[0];
    c->fixed_box.top = at[1];
    c->fixed_box.right = at[2];
    c->fixed_box.bottom = at[3];
    c->face.fixed_box = &c->fixed_box;
    return 0;
}

int ls_config_set_crf(struct ls_config *c, const char *text)
{
    int crf;

    if (!take_int(&crf, &text, 0) || *text != '\0')
        return -1;
    c->output.quality_case = LIPSTREAM__V1__OUTPUT__QUALITY_CRF;
    c->output.crf = crf;
    return 0;
}

int ls_config_set_bit_rate(struct ls_config *c, const char *text)
{
    char *end;
    long long bits = strtoll(text, &end, 10);

    if (end == text || *end != '\0')
        return -1;
    c->output.quality_case = LIPSTREAM__V1__OUTPUT__QUALITY_BIT_RATE;
    c->output.bit_rate = bits;
    return 0;
}

int ls_config_set_progress_interval(struct ls_config *c, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0 && seconds < 1e9))
        return -1;
    c->progress_interval.seconds = (int64_t)seconds;
    c->progress_interval.nanos = (int)((seconds - (double)(int64_t)seconds) * 1e9 + 0.5);
    if (c->progress_interval.nanos > 999999999)
        c->progress_interval.nanos = 999999999;
    c->report.progress_interval = &c->progress_interval;
    return 0;
}

// The length of the part that all values share: "SPEED_PRESET_". Its zero ends in UNSPECIFIED.
static size_t prefix_size(const ProtobufCEnumDescriptor *of)
{
    const ProtobufCEnumValue *zero = protobuf_c_enum_descriptor_get_value(of, 0);
    const char *end = zero ? strstr(zero->name, "UNSPECIFIED") : NULL;

    return end ? (size_t)(end - zero->name) : 0;
}

int ls_enum_value(const ProtobufCEnumDescriptor *of, const char *text)
{
    size_t skip = prefix_size(of), size = strlen(text);
    int found = -1;
    char word[64];

    if (size == 0 || size >= sizeof(word))
        return -1;
    for (size_t i = 0; i <= size; i++)
        word[i] = text[i] == '-' ? '_' : text[i];
    for (unsigned i = 0; i < of->n_values; i++) {
        const char *name = of->values[i].name + skip;
        size_t name_size = strlen(name);

        if (of->values[i].value == 0 || name_size < size)
            continue;
        if (strcasecmp(name, word) == 0)
            return of->values[i].value;
        if (strncasecmp(name, word, size) != 0 && strcasecmp(name + name_size - size, word) != 0)
            continue;
        if (found >= 0)
            return -1;
        found = of->values[i].value;
    }
    return found;
}

const char *ls_enum_name(const ProtobufCEnumDescriptor *of, int value, char *out, size_t size)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(of, value);

    snprintf(out, size, "%s", !v ? "?" : value == 0 ? "default" : v->name + prefix_size(of));
    for (char *c = out; *c; c++)
        *c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
    return out;
}
