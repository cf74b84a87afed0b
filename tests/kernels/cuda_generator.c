// SPDX-License-Identifier: Apache-2.0
// The CUDA generator on the host (tests/shim) against ref: seeded networks with odd widths and with
// the demo's, the demo model itself in half precision; each cut against the whole, byte for byte;
// and that the count, the bucket, the neighbours, the record and whether a CUDA graph is used do
// not change a byte. Then every CUDA call fails once.
#include "kernels/cuda/generator.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/region.h"
#include "kernels/model.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum {
    ITEMS = 3,
    BATCH = 3, // a bucket of 4: one item more is computed than asked for
    RECORDS = 9,
    SIDE = LS_FACE_SIZE,
    AREA = SIDE * SIDE,
    MEL = LS_MEL_WINDOW * LS_MEL_BANDS,
    RUNS = 3, // launched one by one, captured, replayed
};

static const struct ls_int_box whole = {0, 0, SIDE, SIDE};

static uint8_t face[ITEMS][AREA][3]; // BGR
static float mel[ITEMS][MEL];
static float want[ITEMS][AREA][3], made[ITEMS][AREA][3]; // by ref; by the generator, whole

// A generator on a stream of its own.
struct rig {
    const char *name;
    struct ls_net *net;
    enum ls_cuda_type type;
    int batch_max; // 0: BATCH
    struct ls_cuda_device device;
    struct ls_cuda_convs *convs;
    struct ls_cuda_generator *generator;
    cudaStream_t stream;
};

// Something like a portrait, and like the mel of a voice: smooth, with edges, all in range.
static void draw(uint64_t seed)
{
    static const float skin[3] = {120, 150, 205};

    for (int i = 0; i < ITEMS; i++) {
        float shift = random_float(&seed, -4, 4), open = random_float(&seed, 2, 9);

        for (int k = 0; k < AREA; k++) {
            float x = (float)(k % SIDE) - 48 - shift, y = (float)(k / SIDE) - 48;
            float eye = hypotf(fabsf(x) - 20, y + 12), lip = hypotf(x / 18, (y - 25) / open);
            float light = (hypotf(x / 42, y / 52) < 1 ? 1 - x / 200 : 0.4f + y / 300) -
                          0.6f * expf(-eye * eye / 30) - (lip < 1 ? 0.5f : 0) +
                          random_float(&seed, -0.02f, 0.02f);

            for (int c = 0; c < 3; c++)
                face[i][k][c] = (uint8_t)fminf(fmaxf(skin[c] * light, 0), 255);
        }
        for (int k = 0; k < MEL; k++) {
            float band = (float)(k % LS_MEL_BANDS), column = (float)(k / LS_MEL_BANDS);

            mel[i][k] = 1.5f * sinf(band * 0.35f + (float)i) * cosf(column * 0.3f) - band / 40 +
                        random_float(&seed, -0.5f, 0.5f);
        }
    }
}

static void reference(const struct ls_net *net)
{
    float *input = calloc((size_t)ITEMS * 6 * AREA, sizeof *input);
    float *output = calloc((size_t)ITEMS * 3 * AREA, sizeof *output);
    float *voice = calloc((size_t)ITEMS * MEL, sizeof *voice);
    struct ls_err err;

    if (!input || !output || !voice)
        abort();
    for (int i = 0; i < ITEMS; i++) {
        for (int k = 0; k < AREA; k++)
            for (int c = 0; c < 3; c++) {
                input[(i * 6 + c) * AREA + k] = k < AREA / 2 ? (float)face[i][k][c] / 255 : 0;
                input[(i * 6 + 3 + c) * AREA + k] = (float)face[i][k][c] / 255;
            }
        for (int k = 0; k < MEL; k++)
            voice[i * MEL + k % LS_MEL_BANDS * LS_MEL_WINDOW + k / LS_MEL_BANDS] = mel[i][k];
    }
    CHECK(ls_ref_net_run(net, (const float *[]){input, voice}, &output, ITEMS, &err) == 0, "ref");
    for (int i = 0; i < ITEMS; i++)
        for (int k = 0; k < AREA; k++)
            for (int c = 0; c < 3; c++)
                want[i][k][c] = output[(i * 3 + c) * AREA + k];
    free(input);
    free(output);
    free(voice);
}

static int rig_open(struct rig *rig, struct ls_err *err)
{
    int batch_max = rig->batch_max ? rig->batch_max : BATCH;
    struct ls_cuda_convs_params convs = {.type = rig->type, .batch_max = batch_max};
    struct ls_cuda_generator_params params = {
        .net = rig->net, .type = rig->type, .batch_max = batch_max, .record_count = RECORDS};
    int r = ls_cuda_device_open(&rig->device, 0, err);

    if (r == 0)
        r = ls_cuda_check(err, (int)cudaStreamCreateWithFlags(&rig->stream, cudaStreamNonBlocking),
                          "stream");
    if (r == 0)
        r = ls_cuda_convs_new(&rig->convs, &rig->device, &convs, err);
    params.convs = rig->convs;
    if (r == 0)
        r = ls_cuda_generator_new(&rig->generator, &params, rig->stream, err);
    return r;
}

static void rig_close(struct rig *rig)
{
    ls_cuda_generator_free(&rig->generator);
    ls_cuda_convs_free(&rig->convs);
    if (rig->stream)
        (void)cudaStreamDestroy(rig->stream);
    rig->stream = NULL;
}

static int put(struct rig *rig, void *to, const void *from, size_t size, struct ls_err *err)
{
    int r = ls_cuda_check(
        err, (int)cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, rig->stream), "put");

    return r ? r : ls_cuda_check(err, (int)cudaStreamSynchronize(rig->stream), "put");
}

// Encodes faces item[i] into records slot[i].
static int encode(struct rig *rig, const int *item, const int *slot, int count, struct ls_err *err)
{
    size_t number = ls_cuda_size(rig->type), size = (size_t)count * AREA * 8;
    unsigned char *input = calloc(size, number);
    int r;

    if (!input)
        abort();
    for (size_t k = 0; k < size; k++) {
        int c = (int)(k % 8), pixel = (int)(k / 8 % AREA), i = item[k / 8 / AREA];
        float v = c < 3 && pixel >= AREA / 2 ? 0 : c < 6 ? (float)face[i][pixel][c % 3] / 255 : 0;

        if (rig->type == LS_CUDA_FP16)
            ((uint16_t *)(void *)input)[k] = ls_cuda_half(v);
        else
            ((float *)(void *)input)[k] = v;
    }
    r = put(rig, ls_cuda_generator_input(rig->generator), input, size * number, err);
    free(input);
    if (r == 0)
        r = put(rig, ls_cuda_generator_encode_slot(rig->generator), slot,
                (size_t)count * sizeof *slot, err);
    return r ? r : ls_cuda_generator_encode(rig->generator, count, rig->stream, err);
}

// out[i]: from record slot[i] and sound item[i].
static int decode(struct rig *rig, float (*out)[AREA][3], const int *item, const int *slot,
                  int count, const struct ls_int_box *reads, struct ls_err *err)
{
    float voice[BATCH][MEL], *result = NULL;
    int r;

    for (int i = 0; i < count; i++)
        memcpy(voice[i], mel[item[i]], sizeof voice[i]);
    r = put(rig, ls_cuda_generator_mel(rig->generator), voice, (size_t)count * sizeof voice[0],
            err);
    if (r == 0)
        r = put(rig, ls_cuda_generator_decode_slot(rig->generator), slot,
                (size_t)count * sizeof *slot, err);
    if (r == 0)
        r = ls_cuda_generator_decode(rig->generator, &result, count, reads, rig->stream, err);
    if (r == 0)
        r = ls_cuda_check(err,
                          (int)cudaMemcpyAsync(out, result, (size_t)count * sizeof *out,
                                               cudaMemcpyDeviceToHost, rig->stream),
                          "get");
    return r ? r : ls_cuda_check(err, (int)cudaStreamSynchronize(rig->stream), "get");
}

static bool is_ok(int r, const struct ls_err *err, const struct rig *rig)
{
    if (!CHECK(r == 0, rig->name))
        printf("  %s\n", err->text);
    return r == 0;
}

// Pixels of `box` that differ in a byte.
static int count_different(float (*a)[3], float (*b)[3], const struct ls_int_box *box)
{
    int count = 0;

    for (int y = box->y0; y < box->y1; y++)
        for (int x = box->x0; x < box->x1; x++)
            count += memcmp(a[y * SIDE + x], b[y * SIDE + x], sizeof a[0]) != 0;
    return count;
}

static void check_whole(struct rig *rig, const int *all, const int *slot, float within)
{
    const float *got = (const float *)made, *right = (const float *)want;
    float worst = 0;
    double sum = 0;
    struct ls_err err;

    if (!is_ok(encode(rig, all, slot, ITEMS, &err), &err, rig) ||
        !is_ok(decode(rig, made, all, slot, ITEMS, &whole, &err), &err, rig))
        return;
    for (int i = 0; i < ITEMS * AREA * 3; i++) {
        float gap = fabsf(got[i] - right[i]);

        worst = gap <= worst ? worst : gap; // a NaN stays
        sum += (double)gap * (double)gap;
    }
    printf("%s: largest difference %.2g, PSNR %.1f dB\n", rig->name, (double)worst,
           -10 * log10(sum / (ITEMS * AREA * 3)));
    CHECK(worst <= within, rig->name);
}

// Every cut has the whole's bytes wherever it is made, launched in any way (the last one's turn).
static void check_cuts(struct rig *rig, const int *all, const int *slot)
{
    static float out[ITEMS][AREA][3];
    struct ls_err err;

    for (int cut = 0; cut < LS_CUDA_CUTS; cut++)
        for (int run = 0; run < (cut == LS_CUDA_CUT_MOUTH ? RUNS : 1); run++) {
            memset(out, 0xff, sizeof out);
            if (!is_ok(decode(rig, out, all, slot, ITEMS, &ls_cuda_cut_box[cut], &err), &err, rig))
                return;
            for (int i = 0; i < ITEMS; i++)
                if (!CHECK(count_different(out[i], made[i], &ls_cuda_cut_box[cut]) == 0, rig->name))
                    printf("  cut %d, run %d, item %d\n", cut, run, i);
        }
    CHECK(!*ls_cuda_generator_note(rig->generator), rig->name);
}

// The same bytes in other records, other counts, other places of the batch.
static void check_company(struct rig *rig)
{
    static const struct {
        int count, item[BATCH], record[BATCH];
    } rows[] = {
        {1, {1}, {8}},
        {2, {2, 0}, {3, 8}},
        {3, {2, 1, 1}, {4, 0, 7}},
        {1, {2}, {1}},
    };
    static float out[BATCH][AREA][3];
    struct ls_err err;

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        if (!is_ok(encode(rig, rows[k].item, rows[k].record, rows[k].count, &err), &err, rig) ||
            !is_ok(decode(rig, out, rows[k].item, rows[k].record, rows[k].count, &whole, &err),
                   &err, rig))
            return;
        for (int i = 0; i < rows[k].count; i++)
            if (!CHECK(count_different(out[i], made[rows[k].item[i]], &whole) == 0, rig->name))
                printf("  company %zu, item %d\n", k, i);
    }
}

// A batch of one face leaves the records alone that the one before it named.
static void check_records(struct rig *rig)
{
    static const int all[ITEMS] = {0, 1, 2}, record[ITEMS] = {5, 6, 7}, other[1] = {0};
    static float out[ITEMS][AREA][3];
    struct ls_err err;

    if (!is_ok(encode(rig, all, record, ITEMS, &err), &err, rig) ||
        !is_ok(encode(rig, (const int[]){2, 2}, (const int[]){0, 1}, 2, &err), &err, rig) ||
        !is_ok(encode(rig, (const int[]){1}, other, 1, &err), &err, rig) ||
        !is_ok(decode(rig, out, all, record, ITEMS, &whole, &err), &err, rig))
        return;
    for (int i = 0; i < ITEMS; i++)
        CHECK(count_different(out[i], made[i], &whole) == 0, rig->name);
}

// Planned and captured beforehand: the very first batch is a replay.
static void check_warm(struct rig *rig)
{
    static const int item[1] = {1}, slot[1] = {2};
    static float out[1][AREA][3];
    struct ls_err err = {0};

    rig->batch_max = 1;
    if (is_ok(rig_open(rig, &err), &err, rig) &&
        is_ok(ls_cuda_generator_warm(rig->generator, rig->stream, &err), &err, rig) &&
        is_ok(encode(rig, item, slot, 1, &err), &err, rig) &&
        is_ok(decode(rig, out, item, slot, 1, &whole, &err), &err, rig))
        CHECK(count_different(out[0], made[1], &whole) == 0, rig->name);
    rig_close(rig);
}

enum depth { VALUES, CUTS, ALL };

static void check_rig(struct rig *rig, float within, enum depth depth)
{
    static const int all[ITEMS] = {0, 1, 2}, slot[ITEMS] = {4, 0, 8};
    struct ls_err err = {0};

    reference(rig->net);
    if (is_ok(rig_open(rig, &err), &err, rig)) {
        check_whole(rig, all, slot, within);
        if (depth >= CUTS)
            check_cuts(rig, all, slot);
        if (depth == ALL) {
            check_company(rig);
            check_records(rig);
        }
    }
    rig_close(rig);
}

// Widths that fill no eight channels; residual rows have their source's.
static int narrow_width(void *user, int row)
{
    static const int widths[] = {5, 8, 11, 16, 4, 9, 3, 13, 17};
    const struct ls_net_layer *l = &ls_wav2lip.layer[row];

    if (l->residual)
        return narrow_width(user, l->from[0]);
    return l->output ? 3 : widths[row % (int)(sizeof widths / sizeof widths[0])];
}

static struct ls_net *seeded(bool narrow, uint64_t seed)
{
    struct ls_net_params params = {.input = {{6, SIDE, SIDE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}}};
    struct ls_weights *w = NULL;
    struct ls_net *net = NULL;
    struct ls_err err = {0};
    int r = ls_weights_new(&w, &err);

    if (r == 0 && narrow)
        r = ls_net_seed(w, &ls_wav2lip, &params, narrow_width, NULL, seed, &err);
    else if (r == 0)
        r = ls_wav2lip_seed(w, 0, seed, &err);
    params.fold_residual = true;
    if (r == 0)
        r = ls_net_plan(&net, &ls_wav2lip, w, &params, &err);
    if (!CHECK(r == 0, "a seeded network"))
        printf("  %s\n", err.text);
    ls_weights_close(&w);
    return net;
}

static void check_demo(void)
{
    struct ls_model_params params = {.generator_path =
                                         "kernels/demo/lipstream_demo_fp16.safetensors"};
    struct ls_model *model = NULL;
    struct ls_err err = {0};

    if (!CHECK(ls_model_open(&model, &params, &err) == 0, "demo"))
        return;
    check_rig(&(struct rig){.name = "demo, fp16", .net = model->generator, .type = LS_CUDA_FP16},
              2 / 255.0f, VALUES);
    ls_model_close(&model);
}

// One try on one face with the `fail`-th CUDA call failing: it works with the same bytes, as when a
// capture fails, or says why not, and leaves nothing behind. True if there was such a call.
static bool try_failing(struct ls_net *net, long fail)
{
    static const int first[1] = {0};
    static float out[1][AREA][3];
    const struct ls_int_box *box = &ls_cuda_cut_box[LS_CUDA_CUT_MOUTH];
    struct rig rig = {.name = "failing", .net = net, .type = LS_CUDA_FP32};
    struct ls_err err = {0};
    long count;
    int r;

    (void)ls_shim_fail(fail);
    r = rig_open(&rig, &err);
    if (r == 0)
        r = encode(&rig, first, first, 1, &err);
    for (int run = 0; run < 2 && r == 0; run++)
        r = decode(&rig, out, first, first, 1, box, &err);
    count = ls_shim_fail(0);
    if (r == 0)
        CHECK(count_different(out[0], made[0], box) == 0, "failing");
    else
        CHECK((r == LS_EDEVICE || r == LS_ENOMEM) && err.code == r && *err.text, "failing");
    rig_close(&rig);
    return count >= fail;
}

static void check_failing(struct ls_net *net)
{
    long fail = 1;

    // Each allocation, then one call in seventeen: uploads, launches, captures.
    while (try_failing(net, fail))
        fail += fail < 30 ? 1 : 17;
    printf("failing: %ld calls\n", fail);
    CHECK(fail > 100, "failing");
}

int main(void)
{
    struct ls_net *narrow = seeded(true, 3), *demo = seeded(false, 4);

    draw(1);
    if (narrow && demo) {
        check_rig(&(struct rig){.name = "narrow, fp16", .net = narrow, .type = LS_CUDA_FP16}, 0.02f,
                  CUTS);
        check_rig(&(struct rig){.name = "narrow, fp32", .net = narrow, .type = LS_CUDA_FP32}, 1e-4f,
                  ALL);
        check_warm(&(struct rig){.name = "warm", .net = narrow, .type = LS_CUDA_FP32});
        check_failing(narrow); // against the bytes of the row above
        check_rig(&(struct rig){.name = "demo's widths, fp32", .net = demo, .type = LS_CUDA_FP32},
                  1e-4f, VALUES);
    }
    check_demo();
    ls_net_free(&narrow);
    ls_net_free(&demo);
    return check_done();
}
