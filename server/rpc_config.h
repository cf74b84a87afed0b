// SPDX-License-Identifier: Apache-2.0
// Between the API's SyncConfig and our ls_job, both ways. Loop thread. Include in rpc files only.
#ifndef LS_RPC_CONFIG_H
#define LS_RPC_CONFIG_H

#include <lipstream/v1/lip_sync.pb-c.h>

#include "server/engine.h"
#include "server/job.h"

// Fills job from config, checks it, and collects everything that is wrong. 0 or LS_EFIELD. The
// class is not of the config: it stands in the job already.
LS_MUST int ls_config_read(struct ls_job *job, const Lipstream__V1__SyncConfig *config,
                           const struct ls_engine *engine, struct ls_violations *all);

// The effective config: all messages of a SyncConfig, linked; config is the root. Not to be copied.
struct ls_config_echo {
    Lipstream__V1__SyncConfig config;
    Lipstream__V1__AudioInput audio;
    Lipstream__V1__Container audio_container, video_container;
    Lipstream__V1__Pcm pcm;
    Lipstream__V1__VideoInput video;
    Lipstream__V1__Still still;
    Lipstream__V1__RawFrames frames;
    Lipstream__V1__Rational rate;
    Lipstream__V1__Output output;
    Lipstream__V1__Fit fit;
    Lipstream__V1__Face face;
    Lipstream__V1__Point nearest;
    Lipstream__V1__Pads pads;
    Lipstream__V1__Box box;
    Lipstream__V1__Paste paste;
    Google__Protobuf__FloatValue feather, colour, strength, sharpness, threshold;
    Lipstream__V1__Silence silence;
    Google__Protobuf__Int32Value hold, fade;
    Lipstream__V1__Timing timing;
    Lipstream__V1__Report report;
    Google__Protobuf__Duration interval;
};
void ls_config_write(struct ls_config_echo *echo, const struct ls_job *job);

int ls_config_mask(enum ls_mask mask); // the API's number

#endif
