// SPDX-License-Identifier: Apache-2.0
// Every readable clip and voice of the shared media through a decode process: counts, sizes, rates
// and lengths against what ffprobe -count_frames and ffmpeg say (5.1, once, written down here),
// pixels against the ffmpeg command, and the same frames and samples whatever the size of the
// chunks.
#include "tests/unit/_decode.h"

static struct drive t, u;
static int rows_run;

#define TALKING(name)                                                                              \
    {                                                                                              \
        "talking/" name ".mpg", 75, 360, 288, 25, 1, 0, 270000, ""                                 \
    }
#define GRID(name, rot, warnings)                                                                  \
    {                                                                                              \
        "hard/" name, 75, 360, 288, 25, 1, rot, 270000, warnings                                   \
    }
#define LAST "MOOV_LAST"
static const struct {
    const char *name;
    int frames, width, height, rate_num, rate_den, rotation;
    int64_t end; // ticks
    const char *warnings;
} videos[] = {
    TALKING("bbaf2n"),
    TALKING("brbk7n"),
    TALKING("id2_vcd_swwp2s"),
    TALKING("lbax4n"),
    TALKING("lbbc2a"),
    TALKING("lrwp9a"),
    TALKING("lwbsza"),
    TALKING("pwij3p"),
    TALKING("sbia1a"),
    TALKING("sbwe5n"),
    TALKING("swiz3n"),
    {"talking/presenter_720p_faststart.mp4", 240, 1280, 720, 30, 1, 0, 720000, ""},
    {"talking/presenter_720p_moov_last.mp4", 240, 1280, 720, 30, 1, 0, 720000, LAST},
    {"hard/1080p_h264.mp4", 60, 1920, 1080, 30, 1, 0, 180000, LAST},
    GRID("av1_opus.mp4", 0, LAST),
    GRID("dark.mp4", 0, LAST),
    GRID("face_absent_middle_then_other_person.mp4", 0, LAST),
    {"hard/first_second_black.mp4", 100, 360, 288, 25, 1, 0, 360000, LAST},
    {"hard/fps_12.mp4", 38, 360, 288, 12, 1, 0, 285000, LAST},
    {"hard/fps_30.mp4", 90, 360, 288, 30, 1, 0, 270000, LAST},
    {"hard/fps_30000_1001.mp4", 90, 360, 288, 30000, 1001, 0, 270270, LAST},
    {"hard/fps_50.mp4", 150, 360, 288, 50, 1, 0, 270000, LAST},
    GRID("fragmented.mp4", 0, ""),
    GRID("h264_fullrange.mp4", 0, LAST),
    GRID("h264_gray.mp4", 0, LAST),
    GRID("h264_high10.mp4", 0, LAST),
    GRID("h264_interlaced_tff.mp4", 0, LAST ",INTERLACED"),
    GRID("h264_yuv444.mp4", 0, LAST),
    GRID("hevc_8bit.mp4", 0, LAST),
    GRID("mpeg2.ts", 0, ""),
    GRID("noaudio.mp4", 0, LAST),
    {"hard/odd_359x287_yuv444.mp4", 75, 359, 287, 25, 1, 0, 270000, LAST},
    {"hard/one_frame.mp4", 1, 360, 288, 25, 1, 0, 3600, LAST},
    {"hard/portrait_rot90_720x406_stored.mp4", 90, 406, 720, 30, 1, 90, 270000, LAST},
    GRID("rot180_h264.mp4", 180, LAST),
    GRID("rot90_h264.mp4", 90, LAST),
    GRID("sar_16_15.mp4", 0, LAST),
    {"hard/tiny_face_40px_1080p.mp4", 75, 1920, 1080, 25, 1, 0, 270000, LAST},
    {"hard/two_faces_hstack.mp4", 75, 720, 288, 25, 1, 0, 270000, LAST},
    {"hard/vfr_dropframes.mp4", 45, 360, 288, 1125, 73, 0, 262800, LAST},
    GRID("vp8_vorbis.webm", 0, ""),
    GRID("vp9_opus.webm", 0, ""),
    {"scenes/clip_01_tears_of_steel.mp4", 240, 640, 360, 24, 1, 0, 900000, LAST},
    {"scenes/clip_02_caminandes.mp4", 240, 640, 360, 24, 1, 0, 900000, LAST},
    {"scenes/clip_03_sintel.mp4", 240, 640, 360, 24, 1, 0, 900000, ""},
};

static void drive_video(struct drive *d, const char *name, const uint8_t *data, size_t size,
                        size_t chunk)
{
    struct ls_options opt = drive_options();

    (void)name;
    drive_clear(d);
    d->params.video = true;
    d->params.source = LS_SOURCE_CONTAINER;
    d->data = data;
    d->size = size;
    d->chunk = chunk;
    drive_run(d, &opt);
}

static void check_times(const struct drive *d, const char *name)
{
    int i;

    for (i = 0; i < d->frame_count; i++) {
        const struct drive_frame *f = &d->frame[i];
        int64_t end = i + 1 < d->frame_count ? f[1].pts : d->end[0].duration;

        if (!CHECK(f->idx == i && f->pts + f->duration == end, name)) {
            printf("  frame %d: idx %lld pts %lld duration %lld, next %lld\n", i, (long long)f->idx,
                   (long long)f->pts, (long long)f->duration, (long long)end);
            return;
        }
    }
}

static void test_videos(void)
{
    size_t i;

    for (i = 0; i < sizeof videos / sizeof *videos; i++) {
        const char *name = videos[i].name;
        size_t size = 0;
        uint8_t *data = drive_media(name, &size);

        if (!data) {
            printf("SKIP: %s is not there\n", name);
            continue;
        }
        rows_run++;
        drive_video(&t, name, data, size, 65536);
        if (!CHECK(t.err.code == 0 && t.pass_count == 1, name))
            printf("  %s %s\n", ls_err_reason(t.err.code), t.err.text);
        CHECK(t.frame_count == videos[i].frames && t.end[0].frame_count == videos[i].frames, name);
        CHECK(t.video.width_px == videos[i].width && t.video.height_px == videos[i].height, name);
        CHECK(t.video.rate_num == videos[i].rate_num && t.video.rate_den == videos[i].rate_den,
              name);
        CHECK(t.video.rotation_deg == videos[i].rotation, name);
        CHECK(t.end[0].duration == videos[i].end, name);
        CHECK(t.video.duration == 0 || // what is declared is near it, where something is
                  llabs(t.video.duration - videos[i].end) <= videos[i].end / 10 + 9000,
              name);
        if (strstr(name, "presenter"))
            CHECK(t.video.duration == videos[i].end, name);
        CHECK(strcmp(t.warnings, videos[i].warnings) == 0, name);
        CHECK(t.video.full_range == (strstr(name, "fullrange") || strstr(name, "gray")), name);
        CHECK(t.video.sar_num == (strstr(name, "sar_16") ? 16 : 1), name);
        check_times(&t, name);
        if (t.video.rate_num == 30000)
            CHECK(t.frame[7].pts == 7 * 3003, name);
        free(data);
    }
}

static const struct {
    const char *name;
    int rate, channels;
    int64_t mono, voice; // samples
} voices[] = {
    {"audio/jfk.wav", 16000, 1, 176000, 176000},
    {"audio/librispeech_116-288045-0000.flac", 16000, 1, 170400, 170400},
    {"audio/speech_en_28s_48k.wav", 48000, 1, 446946, 1340838},
    {"hard/audio_aac.m4a", 16000, 1, 176128, 176128},
    {"hard/audio_clipped.wav", 16000, 1, 176000, 176000},
    {"hard/audio_f32_44k1.wav", 44100, 1, 176000, 485100},
    {"hard/audio_flac_96k.flac", 96000, 1, 176000, 1056000},
    {"hard/audio_mp3_id3.mp3", 16000, 1, 176303, 176303}, // as `ffmpeg -i pipe:`; a file loses 303
    {"hard/audio_opus.ogg", 48000, 1, 176000, 528000},
    {"hard/audio_short_0.15s.wav", 16000, 1, 2400, 2400},
    {"hard/audio_silence_3s.wav", 16000, 1, 48000, 48000},
    {"hard/audio_sine_22k05.wav", 22050, 1, 48000, 66150},
    {"hard/audio_u8_16k.wav", 16000, 1, 176000, 176000},
    {"hard/audio_vorbis.ogg", 16000, 1, 176000, 176000},
    {"hard/av1_opus.mp4", 48000, 2, 47896, 143688},
    {"hard/dark.mp4", 44100, 2, 47927, 132096},
    // One packet of 1024 samples, then a gap up to 3528: 2504 samples of silence.
    {"hard/fragmented.mp4", 44100, 2, 49206, 135624},
    {"hard/mpeg2.ts", 44100, 2, 47648, 131328},
    {"hard/vp8_vorbis.webm", 44100, 2, 47764, 131648},
    {"hard/vp9_opus.webm", 48000, 2, 47648, 142943},
    {"talking/lbbc2a.mpg", 44100, 2, 47648, 131328},
    {"talking/presenter_720p_faststart.mp4", 44100, 2, 128174, 353280},
};

static void drive_voice(struct drive *d, const uint8_t *data, size_t size, size_t chunk)
{
    struct ls_options opt = drive_options();

    drive_clear(d);
    d->params.source = LS_SOURCE_CONTAINER;
    d->data = data;
    d->size = size;
    d->chunk = chunk;
    drive_run(d, &opt);
}

static void test_voices(void)
{
    size_t i;

    for (i = 0; i < sizeof voices / sizeof *voices; i++) {
        const char *name = voices[i].name;
        size_t size = 0;
        uint8_t *data = drive_media(name, &size);

        if (!data) {
            printf("SKIP: %s is not there\n", name);
            continue;
        }
        rows_run++;
        drive_voice(&t, data, size, 65536);
        if (!CHECK(t.err.code == 0 && t.pass_count == 1, name))
            printf("  %s %s\n", ls_err_reason(t.err.code), t.err.text);
        CHECK(t.audio.sample_rate_hz == voices[i].rate && t.audio.channels == voices[i].channels,
              name);
        if (!CHECK(llabs(t.mono_count - voices[i].mono) <= 1 && t.voice_count == voices[i].voice,
                   name))
            printf("  mono %lld voice %lld\n", (long long)t.mono_count, (long long)t.voice_count);
        CHECK(llabs(t.end[0].duration - voices[i].voice * 90000 / voices[i].rate) <= 1, name);
        CHECK((t.mono_energy > 0.01) == !strstr(name, "silence"), name);
        free(data);
    }
}

// What the command makes of the same file, turned the right way up, is the same to the last bit.
static void test_pixels(void)
{
    static const char *const names[] = {
        "hard/noaudio.mp4",     "hard/rot90_h264.mp4",
        "hard/rot180_h264.mp4", "hard/vp9_opus.webm",
        "hard/hevc_8bit.mp4",   "hard/mpeg2.ts",
        "talking/lbbc2a.mpg",   "hard/portrait_rot90_720x406_stored.mp4",
    };
    static uint8_t picture[2048 * 2048];
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        char command[4096];
        size_t size = 0, n;
        uint8_t *data = drive_media(names[i], &size);
        struct ls_frame f = {{picture, NULL, NULL}, {0}, 0, 0, LS_PIX_I420, 0, 0, 0};
        int count = 0;
        FILE *pipe;

        if (!data)
            continue;
        drive_video(&t, names[i], data, size, 0);
        free(data);
        f.width_px = f.stride[0] = t.video.width_px;
        f.height_px = t.video.height_px;
        f.stride[1] = f.stride[2] = (f.width_px + 1) / 2;
        f.plane[1] = picture + f.width_px * f.height_px;
        f.plane[2] = f.plane[1] + f.stride[1] * ((f.height_px + 1) / 2);
        n = (size_t)(f.plane[2] - picture + f.stride[1] * ((f.height_px + 1) / 2));
        snprintf(
            command, sizeof command,
            "ffmpeg -v error -i %s/media/%s -an -vsync passthrough -f rawvideo -pix_fmt yuv420p -",
            check_shared(), names[i]);
        pipe = popen(command, "r");
        while (pipe && n <= sizeof picture && fread(picture, 1, n, pipe) == n) {
            if (count < t.frame_count &&
                !CHECK(drive_frame_digest(&f) == t.frame[count].digest, names[i]))
                printf("  frame %d differs\n", count);
            count++;
        }
        if (pipe)
            pclose(pipe);
        if (count == 0)
            printf("SKIP: pixels of %s: no ffmpeg command\n", names[i]);
        else
            CHECK(count == t.frame_count, names[i]);
    }
}

static void test_chunks(void)
{
    static const struct {
        const char *name;
        bool video;
        size_t chunk[4];
    } rows[] = {
        {"hard/one_frame.mp4", true, {1, 1000, 65536, 0}},
        {"hard/vp9_opus.webm", true, {1, 1000, 65536, 0}},
        {"hard/fragmented.mp4", true, {7, 1000, 65536, 0}},
        {"hard/mpeg2.ts", true, {1000, 1000, 65536, 0}},
        {"hard/noaudio.mp4", true, {7, 1000, 65536, 0}},
        {"hard/audio_short_0.15s.wav", false, {1, 1000, 65536, 0}},
        {"hard/audio_sine_22k05.wav", false, {3, 1000, 65536, 0}},
        {"hard/audio_vorbis.ogg", false, {1, 1000, 65536, 0}},
        {"hard/audio_mp3_id3.mp3", false, {13, 1000, 65536, 0}},
        {"hard/audio_aac.m4a", false, {13, 1000, 65536, 0}},
    };
    size_t i, k;

    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size = 0;
        uint8_t *data = drive_media(rows[i].name, &size);

        if (!data)
            continue;
        for (k = 0; k < 4; k++) {
            struct drive *d = k ? &u : &t;

            if (rows[i].video)
                drive_video(d, rows[i].name, data, size, rows[i].chunk[k]);
            else
                drive_voice(d, data, size, rows[i].chunk[k]);
            CHECK(d->pass_count == 1, rows[i].name);
            if (k == 0)
                continue;
            CHECK(d->frame_count == t.frame_count &&
                      memcmp(d->frame, t.frame, sizeof *t.frame * (size_t)t.frame_count) == 0,
                  rows[i].name);
            CHECK(d->mono_count == t.mono_count && d->mono_digest == t.mono_digest, rows[i].name);
            CHECK(d->voice_count == t.voice_count && d->voice_digest == t.voice_digest,
                  rows[i].name);
        }
        free(data);
    }
}

static void test_stills(void)
{
    static const struct {
        const char *name;
        int width, height;
        bool full_range;
    } rows[] = {
        {"images/astronaut.png", 512, 512, false},
        {"images/grace_hopper_512x512.jpg", 512, 512, true},
        {"images/no_face_IceBlock_640.jpg", 640, 427, true},
    };
    struct ls_options opt = drive_options();
    size_t i;

    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size = 0;
        uint8_t *data = drive_media(rows[i].name, &size);

        if (!data)
            continue;
        drive_clear(&t);
        t.params.video = true;
        t.params.source = LS_SOURCE_STILL;
        t.params.rate_num = 25;
        t.params.rate_den = 1;
        t.data = data;
        t.size = size;
        t.chunk = 1000;
        drive_run(&t, &opt);
        CHECK(t.err.code == 0 && t.frame_count == 1 && t.end[0].frame_count == 1, rows[i].name);
        CHECK(t.frame[0].pts == 0 && t.frame[0].duration == 3600, rows[i].name);
        CHECK(t.video.width_px == rows[i].width && t.video.height_px == rows[i].height,
              rows[i].name);
        CHECK(t.video.full_range == rows[i].full_range && t.video.rate_num == 25, rows[i].name);
        free(data);
    }
}

// A JPEG with an EXIF orientation put behind its first marker (EXIF 2.3, tag 0x112).
static void test_orientation(void)
{
    static const struct {
        int orientation, rotation;
        bool swapped;
    } rows[] = {{1, 0, false}, {2, 0, false}, {3, 180, false},
                {5, 90, true}, {6, 90, true}, {8, 270, true}};
    uint8_t exif[] = "\xff\xe1\0\x22"
                     "Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0?\0\0\0\0\0\0";
    struct ls_options opt = drive_options();
    uint32_t plain = 0;
    size_t size = 0, i;
    uint8_t *data = drive_media("images/no_face_IceBlock_640.jpg", &size), *turned;

    turned = data ? malloc(size + sizeof exif) : NULL;
    for (i = 0; turned && i < sizeof rows / sizeof *rows; i++) {
        exif[28] = (uint8_t)rows[i].orientation;
        memcpy(turned, data, 2);
        memcpy(turned + 2, exif, 36);
        memcpy(turned + 38, data + 2, size - 2);
        drive_clear(&t);
        t.params.video = true;
        t.params.source = LS_SOURCE_STILL;
        t.params.rate_num = t.params.rate_den = 1;
        t.data = turned;
        t.size = size + 36;
        drive_run(&t, &opt);
        if (!CHECK(t.frame_count == 1 && t.video.rotation_deg == rows[i].rotation, "orientation") ||
            !CHECK(t.video.width_px == (rows[i].swapped ? 427 : 640), "orientation"))
            printf("  %d: %d degrees, %dx%d %s\n", rows[i].orientation, t.video.rotation_deg,
                   t.video.width_px, t.video.height_px, t.err.text);
        if (i == 0)
            plain = t.frame[0].digest;
        else
            CHECK(t.frame[0].digest != plain, "orientation: pixels");
    }
    free(turned);
    free(data);
}

int main(void)
{
    test_videos();
    test_voices();
    test_stills();
    test_orientation();
    test_pixels();
    test_chunks();
    if (rows_run == 0)
        CHECK_SKIP("no media in %s/media", check_shared());
    return check_done();
}
