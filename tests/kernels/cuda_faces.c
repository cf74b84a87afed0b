// SPDX-License-Identifier: Apache-2.0
// Batches of faces through the whole device back end, on the host's shim: as the operations alone
// make them (which check.c compares with ref), and the same bytes whatever the order of streams,
// the company in the batch, what was known of a face before, and the place of the frame; then with
// a model that wants levels.
#include "kernels/levels.h"
#include "kernels/paste.h"
#include "tests/kernels/_batches.h"

// --- against the operations alone ---------------------------------------------------------------

// The operations know nothing of levels: backend.h's border does that for them.
static int generate(struct rig *rig, float *out, const uint8_t *face, const struct ls_face_job *job,
                    struct ls_err *err)
{
    static uint8_t seen[FACE];
    struct ls_int_box part;
    const struct ls_generate_job alone = {
        .out = out, .face = seen, .mel = job->mel, .part = &part, .count = 1};
    bool levels = model->input_levels && !job->paste.exact;
    struct ls_levels l;
    int r;

    ls_paste_reads(&part, &job->paste);
    memcpy(seen, face, FACE);
    ls_levels_find(&l, face);
    if (levels)
        ls_levels_apply(seen, face, &l);
    r = rig->ops->generate_part(rig->lane, &alone, err);
    if (r == 0 && levels)
        ls_levels_undo(out, &part, &l);
    return r;
}

static void by_operations(struct rig *rig, const struct ls_face_job *job)
{
    static uint8_t source[FACE];
    static float made[FACE];
    struct ls_paste paste = job->paste;
    struct ls_err err = {0};

    paste.face = made;
    paste.source = source;
    if (!CHECK(rig->ops->crop(rig->lane, source, job->frame, &paste.box, paste.roll_rad,
                              paste.exact, &err) == 0 &&
                   generate(rig, made, source, job, &err) == 0 &&
                   rig->ops->composite(rig->lane, job->frame, &paste, &err) == 0,
               name_of(job)))
        printf("  %s\n", err.text);
}

static void check_operations(void)
{
    struct rig rig = rig_open("fp32", 1, 0);

    for (int i = 0; i < SCENES; i++) {
        static struct batch alone;
        int steps = scenes[i].shape.format == LS_PIX_P010 ? 4 : 1; // another cut may round

        batch_fill(&alone, &i, 1, false);
        by_operations(&rig, &alone.job[0]);
        CHECK(differ_picture(scenes[i].name, &alone.picture[0], &want[i], steps) <= steps,
              "batches and operations");
        // A test that cannot fail is none: all but the scene outside must have changed.
        CHECK((memcmp(want[i].memory, original[i].memory, want[i].size) == 0) ==
                  !strncmp(scenes[i].name, "outside", 7),
              scenes[i].name);
        batch_free(&alone);
    }
    rig_close(&rig);
}

// --- batches ------------------------------------------------------------------------------------

static const struct {
    int scene[BATCH], count;
} batches[] = {
    {{0, 1, 2, 3, 4}, 5}, {{7, 2, 5}, 3}, {{2}, 1}, {{7, 0, 7, 2, 2}, 5}, {{6, 4}, 2},
};
enum { BATCHES = sizeof batches / sizeof batches[0] };

// Two in flight at any time. Other operations of the lane come between, as in the service.
static void check_pipeline(const char *order, bool keys, int64_t cache_bytes)
{
    static struct batch batch[BATCHES];
    struct rig rig;
    float pcm[1000] = {0.5f, -0.5f, 0.25f}, column[LS_MEL_BANDS], again[LS_MEL_BANDS];
    const struct ls_mel_job mel = {
        .pcm = pcm, .pcm_count = 1000, .total = 1000, .first = 0, .count = 1};

    setenv("LS_SHIM_ORDER", order, 1);
    rig = rig_open("fp32", BATCH, cache_bytes);
    for (int i = 0; i < BATCHES; i++) {
        batch_fill(&batch[i], batches[i].scene, batches[i].count, keys);
        start(&rig, &batch[i], order);
        CHECK(rig.ops->mel(rig.lane, i ? again : column, &mel, NULL) == 0, order);
        if (i > 0)
            finish(&rig, order);
    }
    finish(&rig, order);
    CHECK(memcmp(column, again, sizeof column) == 0, "mel while faces are made");
    for (int i = 0; i < BATCHES; i++) {
        check_batch(order, &batch[i], batches[i].scene);
        batch_free(&batch[i]);
    }
    rig_close(&rig);
    setenv("LS_SHIM_ORDER", "now", 1);
}

// Frames whose planes are in the device's memory.
static void check_on_device(void)
{
    static struct batch b;
    static const int scene[] = {0, 1, 3, 4, 5, 6, 7};
    struct rig rig = rig_open("fp32", BATCH, 0);
    struct ls_frame frame[7];
    struct ls_err err = {0};
    void *memory[7];

    batch_fill(&b, scene, 7, false);
    for (int i = 0; i < b.count; i++) {
        struct picture *p = &b.picture[i];
        struct ls_copy copy = {.from = p->memory,
                               .to_stride = p->size,
                               .from_stride = p->size,
                               .row_size = p->size,
                               .row_count = 1,
                               .to_device = true};

        CHECK(rig.ops->memory_alloc(rig.be, &memory[i], p->size, &err) == 0, err.text);
        copy.to = memory[i];
        CHECK(rig.ops->copy(rig.be, &copy, &err) == 0, err.text);
        frame[i] = p->frame;
        frame[i].on_device = true;
        for (int k = 0; k < 3; k++)
            if (p->frame.plane[k])
                frame[i].plane[k] = (uint8_t *)memory[i] + (p->frame.plane[k] - p->memory);
        b.job[i].frame = &frame[i];
    }
    start(&rig, &b, "frames on the device");
    finish(&rig, "frames on the device");
    for (int i = 0; i < b.count; i++) {
        struct picture *p = &b.picture[i];
        struct ls_copy copy = {.to = p->memory,
                               .from = memory[i],
                               .to_stride = p->size,
                               .from_stride = p->size,
                               .row_size = p->size,
                               .row_count = 1,
                               .from_device = true};

        CHECK(rig.ops->copy(rig.be, &copy, &err) == 0, err.text);
        rig.ops->memory_free(rig.be, &memory[i]);
    }
    check_batch("frames on the device", &b, scene);
    batch_free(&b);
    rig_close(&rig);
}

// --- what is known of a face ---------------------------------------------------------------------

// The scene's frame with other pixels, under the scene's key: if the face is taken as known, its
// features are those of the old pixels.
static bool is_taken_as_known(struct rig *rig, int scene)
{
    static struct batch by_key, fresh;
    bool same;

    batch_fill(&by_key, &scene, 1, true);
    batch_fill(&fresh, &scene, 1, false);
    for (size_t i = 0; i < by_key.picture[0].size; i++)
        by_key.picture[0].memory[i] = fresh.picture[0].memory[i] = (uint8_t)(i * 37 >> 3);
    start(rig, &by_key, "by key");
    start(rig, &fresh, "fresh");
    finish(rig, "by key");
    finish(rig, "fresh");
    same = !memcmp(by_key.picture[0].memory, fresh.picture[0].memory, fresh.picture[0].size);
    batch_free(&by_key);
    batch_free(&fresh);
    return !same;
}

static void run_once(struct rig *rig, int scene, uint64_t key)
{
    static struct batch b;

    batch_fill(&b, &scene, 1, false);
    b.job[0].source_key = key;
    start(rig, &b, "once");
    finish(rig, "once");
    check_batch("once", &b, &scene);
    batch_free(&b);
}

// The same pixels in the same box, under the same key, but of a head that leans the other way.
static void check_roll_of_known(struct rig *rig)
{
    static struct batch by_key, fresh;
    static const int scene = 1;

    run_once(rig, scene, (uint64_t)scene + 1);
    batch_fill(&by_key, &scene, 1, true);
    batch_fill(&fresh, &scene, 1, false);
    by_key.job[0].paste.roll_rad = fresh.job[0].paste.roll_rad = -0.3f;
    start(rig, &by_key, "another roll");
    start(rig, &fresh, "another roll");
    finish(rig, "another roll");
    finish(rig, "another roll");
    CHECK(!memcmp(by_key.picture[0].memory, fresh.picture[0].memory, fresh.picture[0].size),
          "a face is known with its roll");
    batch_free(&by_key);
    batch_free(&fresh);
}

static void check_known(void)
{
    struct rig rig = rig_open("fp32", 1, 0);

    run_once(&rig, 0, 1);
    CHECK(!is_taken_as_known(&rig, 0), "nothing is kept when no memory is given");
    rig_close(&rig);
    rig = rig_open("fp32", 1, 1); // a byte: the records of batches in flight alone, two of them
    run_once(&rig, 0, 1);
    CHECK(is_taken_as_known(&rig, 0), "a face is known");
    check_roll_of_known(&rig);
    run_once(&rig, 0, 1);
    run_once(&rig, 2, 1); // exact: not what the key stands for otherwise
    run_once(&rig, 0, 1);
    run_once(&rig, 2, 1);
    run_once(&rig, 1, 77);
    run_once(&rig, 1, 78);
    CHECK(!is_taken_as_known(&rig, 0), "a face is forgotten after others");
    rig_close(&rig);
}

// --- many pixels ---------------------------------------------------------------------------------

// More than goes in one pass: the first ones are back when the last one is still in flight.
static void check_pieces(void)
{
    enum { COUNT = 3, SIDE = 5000 };
    struct rig rig = rig_open("fp32", COUNT, 1 << 20);
    struct ls_face_job job[COUNT], alone;
    struct picture p[COUNT], single;
    struct ls_paste paste = {.box = {10, 10, SIDE - 10, SIDE - 10},
                             .mask = LS_MASK_MOUTH,
                             .mouth = {0.5f, 0.75f, 0.03f, 0.03f},
                             .feather_px = 2,
                             .colour_match = 1,
                             .strength = 1};
    struct ls_frame shape = {.width_px = SIDE, .height_px = SIDE, .format = LS_PIX_I420};
    float mel[MEL] = {1, 2, 3};
    struct ls_err err = {0};

    for (int i = 0; i < COUNT; i++) {
        p[i] = picture_new(&shape, FILL_BLACK, 5);
        job[i] = (struct ls_face_job){.frame = &p[i].frame, .paste = paste, .mel = mel};
    }
    single = picture_copy(&p[0]);
    alone = job[0];
    alone.frame = &single.frame;
    CHECK(rig.ops->faces_start(rig.lane, job, COUNT, &err) == 0, err.text);
    CHECK(rig.ops->faces_start(rig.lane, &alone, 1, &err) == 0, err.text);
    CHECK(memcmp(p[2].memory, p[0].memory, p[0].size) != 0, "the last one is in flight");
    CHECK(rig.ops->faces_finish(rig.lane, &err) == 0, err.text);
    CHECK(rig.ops->faces_finish(rig.lane, &err) == 0, err.text);
    for (int i = 0; i < COUNT; i++) {
        CHECK(memcmp(p[i].memory, single.memory, single.size) == 0, "large frames");
        picture_free(&p[i]);
    }
    picture_free(&single);
    rig_close(&rig);
}

// With levels each scene has other pixels than without, but for exact ones, and those outside.
static void check_levels(void)
{
    model->input_levels = true;
    for (int i = 0; i < SCENES; i++) {
        bool same = scenes[i].paste.exact || !strncmp(scenes[i].name, "outside", 7);
        struct picture bare = want[i];

        picture_free(&original[i]);
        want_scene(i);
        CHECK((memcmp(bare.memory, want[i].memory, want[i].size) == 0) == same, scenes[i].name);
        picture_free(&bare);
    }
    check_operations();
    check_pipeline("late", true, 1 << 20);
    check_known();
}

int main(void)
{
    static const char *const orders[] = {"now", "late", "random:1", "random:2"};

    setenv("LS_SHIM_PROTECT", "1", 1);
    setenv("LS_SHIM_ORDER", "now", 1);
    make_model();
    for (int i = 0; i < SCENES; i++)
        want_scene(i);
    check_operations();
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        check_pipeline(orders[i], i % 2, 1 << 20);
    check_pipeline("late", true, 1);
    check_on_device();
    check_known();
    check_pieces();
    check_levels();
    wanted_free();
    return check_done();
}
