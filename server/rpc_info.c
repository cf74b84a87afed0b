// SPDX-License-Identifier: Apache-2.0
// The method GetServerInfo: what this server is, can do and allows. Loop thread. The lists of
// formats are those that the decode process enforces.
#include "server/formats.h"
#include "server/rpc_config.h"
#include "server/rpc_limits.h"
#include "server/rpc_unary.h"
#include "server/video_device.h"

enum { NAMES_MAX = 64 };

// Appends names; they end with NULL.
static void add_names(char **list, size_t *count, const char *const *names)
{
    for (; *names && *count < NAMES_MAX; names++)
        list[(*count)++] = (char *)(uintptr_t)*names;
}

static void describe_models(Lipstream__V1__Model *generator, Lipstream__V1__Model *detector,
                            const struct ls_model *model)
{
    struct ls_job job;

    ls_job_init(&job, model->mask);
    lipstream__v1__model__init(generator);
    generator->name = (char *)(uintptr_t)model->generator_name;
    generator->parameter_count = model->generator->parameter_count;
    generator->mask = (Lipstream__V1__Mask)ls_config_mask(job.paste.mask);
    generator->seeded = model->seeded;
    lipstream__v1__model__init(detector);
    detector->name = (char *)(uintptr_t)model->detector_name;
    for (int i = 0; model->detector_weights && i < ls_weights_count(model->detector_weights); i++)
        detector->parameter_count += ls_tensor_size(ls_weights_at(model->detector_weights, i));
}

// What decodes and encodes videos; the lists live as long as the process.
static void describe_video(Lipstream__V1__GetServerInfoResponse *info,
                           const struct ls_video_device *device)
{
    static char software[] = "software", nvdec[] = "nvdec", x264[] = "x264", nvenc[] = "nvenc";
    static char *decoders[] = {software, nvdec}, *encoders[] = {x264, nvenc};

    info->video_decoders = decoders;
    info->n_video_decoders = device && device->decodes ? 2 : 1;
    info->video_encoders = encoders;
    info->n_video_encoders = device && device->encodes ? 2 : 1;
}

static void on_message(struct ls_call *c, const uint8_t *data, size_t size)
{
    static Lipstream__V1__OutputContainer containers[] = {
        LIPSTREAM__V1__OUTPUT_CONTAINER__OUTPUT_CONTAINER_FMP4,
        LIPSTREAM__V1__OUTPUT_CONTAINER__OUTPUT_CONTAINER_MPEG_TS,
        LIPSTREAM__V1__OUTPUT_CONTAINER__OUTPUT_CONTAINER_NONE};
    static Lipstream__V1__VideoCodec video[] = {LIPSTREAM__V1__VIDEO_CODEC__VIDEO_CODEC_H264,
                                                LIPSTREAM__V1__VIDEO_CODEC__VIDEO_CODEC_I420,
                                                LIPSTREAM__V1__VIDEO_CODEC__VIDEO_CODEC_RGB24};
    static Lipstream__V1__AudioCodec audio[] = {LIPSTREAM__V1__AUDIO_CODEC__AUDIO_CODEC_AAC,
                                                LIPSTREAM__V1__AUDIO_CODEC__AUDIO_CODEC_NONE};
    const struct ls_engine *engine = ls_call_engine(c);
    Lipstream__V1__GetServerInfoResponse info = LIPSTREAM__V1__GET_SERVER_INFO_RESPONSE__INIT;
    Lipstream__V1__Model generator, detector;
    struct ls_admit_state places;
    struct ls_limits limits;
    char *formats[NAMES_MAX], *codecs[NAMES_MAX];

    (void)data; // the request has no fields
    (void)size;
    describe_models(&generator, &detector, engine->model);
    ls_limits_fill(&limits, &engine->opt);
    info.version = (char *)(uintptr_t)LS_VERSION;
    info.backend = (char *)(uintptr_t)ls_backend_name(engine->backend);
    info.device = (char *)(uintptr_t)ls_backend_device(engine->backend);
    info.arithmetic = (char *)(uintptr_t)ls_backend_arithmetic(engine->backend);
    info.generator = &generator;
    info.detector = engine->model->detector == LS_DETECTOR_NONE ? NULL : &detector;
    info.containers = containers;
    info.n_containers = sizeof containers / sizeof containers[0];
    info.video_codecs = video;
    info.n_video_codecs = sizeof video / sizeof video[0];
    info.audio_codecs = audio;
    info.n_audio_codecs = sizeof audio / sizeof audio[0];
    info.input_formats = formats;
    add_names(formats, &info.n_input_formats, ls_format_containers);
    add_names(formats, &info.n_input_formats, ls_format_stills);
    info.input_codecs = codecs;
    add_names(codecs, &info.n_input_codecs, ls_format_video);
    add_names(codecs, &info.n_input_codecs, ls_format_audio);
    describe_video(&info, engine->video);
    info.limits = limits.list;
    info.n_limits = limits.count;
    ls_admit_state(engine->admit, &places);
    info.sessions_running = places.inside[LS_CLASS_INTERACTIVE] + places.inside[LS_CLASS_BATCH];
    info.sessions_free = places.places_max - info.sessions_running;
    ls_unary_answer(c, &info.base);
}

const struct ls_method ls_method_info = {.path = "/lipstream.v1.LipSync/GetServerInfo",
                                         .quiet = true,
                                         .scope = LS_SCOPE_INFO,
                                         .on_start = ls_unary_start,
                                         .on_message = on_message,
                                         .on_half_close = ls_unary_half_close};
