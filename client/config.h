// SPDX-License-Identifier: Apache-2.0
// The SyncConfig message in one place: all sub-messages inline, linked to each other by
// ls_config_init and by the setters. What is not set stays unset, so that the server's documented
// defaults hold; ranges are the server's to check, for it reports every violation at once. It
// points into itself: never copied.
#ifndef LS_CLIENT_CONFIG_H
#define LS_CLIENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include <lipstream/v1/lip_sync.pb-c.h>

#include "client/text.h"

struct ls_config {
    Lipstream__V1__SyncConfig root;
    Lipstream__V1__AudioInput audio;
    Lipstream__V1__VideoInput video;
    Lipstream__V1__Container audio_container, video_container;
    Lipstream__V1__Pcm pcm;
    Lipstream__V1__Still still;
    Lipstream__V1__RawFrames frames;
    Lipstream__V1__Rational still_rate, frames_rate;
    Lipstream__V1__Output output;
    Lipstream__V1__Fit fit;
    Lipstream__V1__Face face;
    Lipstream__V1__Point nearest;
    Lipstream__V1__Pads pads;
    Lipstream__V1__Box fixed_box;
    Lipstream__V1__Paste paste;
    Google__Protobuf__FloatValue feather, colour_match, strength, sharpness, threshold;
    Google__Protobuf__Int32Value hold, fade;
    Lipstream__V1__Silence silence;
    Lipstream__V1__Timing timing;
    Lipstream__V1__Report report;
    Google__Protobuf__Duration progress_interval;
};

void ls_config_init(struct ls_config *c);
// Says what the picture is, once its first bytes are known: frames (set before) stay frames.
void ls_config_video(struct ls_config *c, bool still);
// Bytes a second of raw samples; 0 if the voice is a container.
double ls_config_pcm_bytes_per_s(const struct ls_config *c);

// Setters: text from the command line. 0, or -1 if it does not parse.
int ls_config_set_pcm(struct ls_config *c, const char *text);        // rate[:channels[:format]]
int ls_config_set_frames(struct ls_config *c, const char *text);     // WxH@num[/den][:format]
int ls_config_set_still_rate(struct ls_config *c, const char *text); // num[/den]
int ls_config_set_face(struct ls_config *c, const char *text);       // choice or nearest:x,y
int ls_config_set_pads(struct ls_config *c, const char *text);       // t,b,l,r
int ls_config_set_fixed_box(struct ls_config *c, const char *text);  // l,t,r,b
int ls_config_set_crf(struct ls_config *c, const char *text);
int ls_config_set_bit_rate(struct ls_config *c, const char *text);
int ls_config_set_progress_interval(struct ls_config *c, const char *text); // seconds

// A value of an enum by its own part of the name ("superfast"), or by a unique start or end of it
// ("ts" for MPEG_TS), in any case, with - for _. -1: none or more than one.
int ls_enum_value(const ProtobufCEnumDescriptor *of, const char *text);
// The name for people: "superfast"; "default" for the unspecified one, "?" for an unknown one.
const char *ls_enum_name(const ProtobufCEnumDescriptor *of, int value, char *out, size_t size);

#endif
