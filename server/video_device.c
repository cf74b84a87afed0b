// SPDX-License-Identifier: Apache-2.0
// Finds out what the device's video engines can do, by opening FFmpeg's CUDA device on the back
// end's own context and decoding and encoding one picture, and moves frames between host and
// device. The engine opens it on the loop before there is a session; the copies run on any thread.
#include "video_device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/hwcontext.h>
#include <libavutil/log.h>

#include "encode_parts.h"

// AVCUDADeviceContext of libavutil/hwcontext_cuda.h, which cannot be included without CUDA.
struct cuda_context {
    void *context, *stream, *internal;
};

// The context that CUDA's runtime uses on device 0, so that its pointers are FFmpeg's, too; NULL:
// there is none. Kept until the process ends, as the runtime does. FFmpeg could take it by itself
// (AV_CUDA_USE_PRIMARY_CONTEXT), but does so only where it was the first to, or the context happens
// to have the flags that FFmpeg would have given it.
static void *find_context(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *context = NULL;
    int (*retain)(void **context, int device) = NULL;
    int (*get)(int *device, int idx) = NULL;
    int device;

    if (library) {
        retain = (int (*)(void **, int))dlsym(library, "cuDevicePrimaryCtxRetain");
        get = (int (*)(int *, int))dlsym(library, "cuDeviceGet");
    }
    if (!retain || !get || get(&device, 0) != 0 || retain(&context, device) != 0)
        return NULL;
    return context;
}

static int open_hw(AVBufferRef **out)
{
    AVBufferRef *hw = av_hwdevice_ctx_alloc(AV_HWDEVICE_TYPE_CUDA);
    void *context = find_context();
    int r = !hw ? AVERROR(ENOSYS) : context ? 0 : AVERROR(ENODEV);

    if (r == 0) {
        AVHWDeviceContext *device = (AVHWDeviceContext *)hw->data;

        ((struct cuda_context *)device->hwctx)->context = context;
        r = av_hwdevice_ctx_init(hw);
    }
    if (r < 0)
        av_buffer_unref(&hw);
    else
        *out = hw;
    return r;
}

static void add_note(struct ls_video_device *d, const struct ls_err *err)
{
    size_t size = strlen(d->note);

    if (err->code < 0)
        snprintf(d->note + size, sizeof d->note - size, "%s%.70s", size ? "; " : "", err->text);
}

static void probe(struct ls_video_device *d, const struct ls_options *opt)
{
    struct ls_err err = {0};
    int r = open_hw(&d->hw);

    if (r < 0) {
        snprintf(d->note, sizeof d->note, "FFmpeg has no CUDA device here: %s", av_err2str(r));
        return;
    }
    // H.264; what a stream then needs is found out stream by stream.
    d->decodes = opt->decode_on_device && ls_nvdec_probe(d->hw, &err) == 0;
    add_note(d, &err);
    err = (struct ls_err){0};
    d->encodes = strcmp(opt->encoder, "x264") != 0 && ls_nvenc_probe(d, &err) == 0;
    add_note(d, &err);
}

int ls_video_device_open(struct ls_video_device **out, struct ls_backend *backend,
                         const struct ls_options *opt, struct ls_err *err)
{
    bool must = strcmp(opt->encoder, "nvenc") == 0;
    struct ls_video_device *d;

    if (!must && strcmp(opt->encoder, "x264") != 0 && strcmp(opt->encoder, "auto") != 0)
        return ls_fail_field(err, LS_EFIELD, "encoder", "\"%.32s\" is not x264, nvenc or auto",
                             opt->encoder);
    if (!ls_backend_device_frames(backend)) {
        *out = NULL;
        if (must || opt->decode_on_device)
            return ls_fail_field(err, LS_EDEVICE, must ? "encoder" : "decode-on-device",
                                 "needs --backend cuda and its device");
        return 0;
    }
    d = calloc(1, sizeof *d);
    if (!d)
        return ls_fail(err, LS_ENOMEM, "the device's video engines");
    d->backend = backend;
    av_log_set_level(AV_LOG_QUIET); // what FFmpeg has to say comes back as error codes
    if (must || strcmp(opt->encoder, "auto") == 0 || opt->decode_on_device)
        probe(d, opt);
    if (must && !d->encodes) {
        ls_fail_field(err, LS_EDEVICE, "encoder", "nvenc cannot be had: %s", d->note);
        ls_video_device_close(&d);
        return LS_EDEVICE;
    }
    snprintf(d->text, sizeof d->text, "decoded by %s, encoded by %s%s%s",
             d->decodes              ? "nvdec"
             : opt->decode_on_device ? "software into device memory"
                                     : "software",
             d->encodes ? "nvenc" : "x264", d->note[0] ? "; " : "", d->note);
    *out = d;
    return 0;
}

const char *ls_video_device_text(const struct ls_video_device *device)
{
    return device ? device->text : "decoded by software, encoded by x264";
}

void ls_video_device_close(struct ls_video_device **device)
{
    if (!*device)
        return;
    av_buffer_unref(&(*device)->hw);
    free(*device);
    *device = NULL;
}

static size_t plane_size(const struct ls_frame *f, int plane)
{
    return (size_t)f->stride[plane] * (size_t)ls_frame_row_count(f, plane);
}

int ls_video_place(struct ls_frame *to, void **memory, const struct ls_frame *like,
                   const struct ls_video_device *device, struct ls_err *err)
{
    int planes = ls_frame_planes(like->format), r = 0;
    size_t size = 0;

    for (int i = 0; i < planes; i++)
        size += plane_size(like, i);
    if (!*memory && like->on_device)
        r = ls_backend_memory_alloc(device->backend, memory, size, err);
    else if (!*memory && !(*memory = malloc(size)))
        r = ls_fail(err, LS_ENOMEM, "a frame of %zu bytes", size);
    if (r < 0)
        return r;
    *to = *like;
    size = 0;
    for (int i = 0; i < planes; i++) {
        to->plane[i] = (uint8_t *)*memory + size;
        size += plane_size(like, i);
    }
    return 0;
}

void ls_video_free(void **memory, bool on_device, const struct ls_video_device *device)
{
    if (on_device && *memory)
        ls_backend_memory_free(device->backend, memory);
    else
        free(*memory);
    *memory = NULL;
}

int ls_video_copy(const struct ls_frame *to, const struct ls_frame *from,
                  const struct ls_video_device *device, struct ls_err *err)
{
    int r = 0;

    for (int i = 0; i < ls_frame_planes(from->format) && r == 0; i++) {
        struct ls_copy copy = {.to = to->plane[i],
                               .from = from->plane[i],
                               .to_stride = (size_t)to->stride[i],
                               .from_stride = (size_t)from->stride[i],
                               .row_size = (size_t)ls_frame_row_size(from, i),
                               .row_count = ls_frame_row_count(from, i),
                               .to_device = to->on_device,
                               .from_device = from->on_device};

        if (to->on_device || from->on_device) {
            r = ls_backend_copy(device->backend, &copy, err);
            continue;
        }
        for (int y = 0; y < copy.row_count; y++)
            memcpy(to->plane[i] + (size_t)y * copy.to_stride,
                   from->plane[i] + (size_t)y * copy.from_stride, copy.row_size);
    }
    return r;
}
