// SPDX-License-Identifier: Apache-2.0
// Faces in a frame: reduces the frame into the detector's input, runs the network, decodes. The
// input's pixels are means over the frame's pixels that they cover, per plane, converted to BGR
// afterwards. A lane keeps the plans of the sizes that it used last, so one thread at a time.
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../colour.h"
#include "../detect.h"
#include "../plane.h"

enum { SIZES_MAX = 4 }; // sessions of more sizes than these replan, 1 ms each

// A planned input size with its buffers; input is one block with all outputs behind it.
struct size {
    struct ls_net *net;
    int width, height;
    float *input;
    float *output[LS_DETECT_OUTPUTS_MAX];
};

struct ls_ref_detect {
    struct size size[SIZES_MAX];
    int next; // to be replaced
};

static void size_done(struct size *s)
{
    ls_net_free(&s->net);
    free(s->input);
    memset(s, 0, sizeof *s);
}

static int size_init(struct size *out, const struct ls_model *model, int width, int height,
                     struct ls_err *err)
{
    struct size s = {.width = width, .height = height};
    size_t total = 3 * (size_t)width * (size_t)height;
    int outputs = 0, r = ls_detect_plan(&s.net, model, width, height, err);

    if (r < 0)
        return r;
    for (int i = 0; i < s.net->node_count; i++) {
        const struct ls_net_node *n = &s.net->node[i];

        if (n->layer->output)
            total += (size_t)n->c_out * (size_t)n->h_out * (size_t)n->w_out;
    }
    s.input = malloc(total * sizeof *s.input);
    if (!s.input) {
        size_done(&s);
        return ls_fail(err, LS_ENOMEM, "no memory for a detector of %dx%d", width, height);
    }
    total = 3 * (size_t)width * (size_t)height;
    for (int i = 0; i < s.net->node_count; i++) {
        const struct ls_net_node *n = &s.net->node[i];

        if (!n->layer->output)
            continue;
        s.output[outputs++] = s.input + total;
        total += (size_t)n->c_out * (size_t)n->h_out * (size_t)n->w_out;
    }
    *out = s;
    return LS_OK;
}

static int size_find(struct size **out, struct ls_ref_lane *lane, int width, int height,
                     struct ls_err *err)
{
    struct ls_ref_detect *d = lane->detect;
    struct size made;
    int r;

    if (!d)
        d = lane->detect = calloc(1, sizeof *d);
    if (!d)
        return ls_fail(err, LS_ENOMEM, "no memory for a detector");
    for (int i = 0; i < SIZES_MAX; i++) {
        if (d->size[i].net && d->size[i].width == width && d->size[i].height == height) {
            *out = &d->size[i];
            return LS_OK;
        }
    }
    r = size_init(&made, lane->model, width, height, err);
    if (r < 0)
        return r;
    *out = &d->size[d->next];
    d->next = (d->next + 1) % SIZES_MAX;
    size_done(*out);
    **out = made;
    return LS_OK;
}

// The stretch of a source row or column that a target sample stands for.
struct cover {
    double from, to; // in source samples, sample j covering [j, j + 1)
    int first, end;  // the samples touched
};

static struct cover cover_of(int i, double scale, int source) // scale: source samples a target one
{
    struct cover c;

    if (scale > 1) {
        c.from = i * scale;
        c.to = fmin((i + 1) * scale, source);
    } else { // a stretch of one sample covers its two neighbours as bilinear weights would
        c.from = (i + 0.5) * scale - 0.5;
        c.to = c.from + 1;
    }
    c.first = (int)fmax(floor(c.from), 0);
    c.first = c.first < source ? c.first : source - 1;
    c.end = (int)fmin(ceil(c.to), source);
    c.end = c.end > c.first ? c.end : c.first + 1;
    return c;
}

static double weight(const struct cover *c, int j)
{
    return fmin(j + 1, c->to) - fmax(j, c->from);
}

// The plane's mean over the rectangle of target sample (x, y).
static float mean(const struct ls_plane *p, const struct cover *cx, const struct cover *cy)
{
    double sum = 0, weight_sum = 0;

    for (int y = cy->first; y < cy->end; y++) {
        double row_sum = 0, row_weight = 0, wy = weight(cy, y);

        for (int x = cx->first; x < cx->end; x++) {
            double w = weight(cx, x);

            row_sum += w * ls_plane_get(p, x, y);
            row_weight += w;
        }
        sum += wy * row_sum;
        weight_sum += wy * row_weight;
    }
    return (float)(sum / weight_sum);
}

// One plane into one channel of the input's image, unconverted.
static void reduce(float *out, const struct ls_plane *p, const struct ls_letterbox *l)
{
    double x_scale = (double)p->width / l->image_width;
    double y_scale = (double)p->height / l->image_height;

    for (int y = 0; y < l->image_height; y++) {
        struct cover cy = cover_of(y, y_scale, p->height);

        for (int x = 0; x < l->image_width; x++) {
            struct cover cx = cover_of(x, x_scale, p->width);

            out[(size_t)y * (size_t)l->net_width + (size_t)x] = mean(p, &cx, &cy);
        }
    }
}

// Reduced planes to what the network wants, in place.
static void convert(float *input, const struct ls_frame *frame, const struct ls_letterbox *l)
{
    size_t area = (size_t)l->net_width * (size_t)l->net_height;
    struct ls_colour colour;

    ls_colour_init(&colour, frame);
    for (int y = 0; y < l->image_height; y++) {
        for (int x = 0; x < l->image_width; x++) {
            float *at = input + (size_t)y * (size_t)l->net_width + (size_t)x;
            float got[3] = {at[0], at[area], at[2 * area]};
            float bgr[3] = {got[0], got[1], got[2]};

            if (frame->format != LS_PIX_RGB24)
                ls_colour_bgr(bgr, &colour, got);
            for (int c = 0; c < 3; c++) {
                float v = fminf(fmaxf(bgr[l->bgr ? c : 2 - c], 0), 255);

                at[(size_t)c * area] = v * l->gain + l->offset;
            }
        }
    }
}

void ls_ref_letterbox(float *input, const struct ls_frame *frame, const struct ls_letterbox *l)
{
    size_t area = (size_t)l->net_width * (size_t)l->net_height;

    for (size_t i = 0; i < 3 * area; i++)
        input[i] = l->empty;
    for (int i = 0; i < 3; i++) {
        struct ls_plane plane;

        ls_plane_init(&plane, frame, i);
        reduce(input + (size_t)i * area, &plane, l);
    }
    convert(input, frame, l);
}

int ls_ref_detect(struct ls_ref_lane *lane, struct ls_face *out, int *count,
                  const struct ls_frame *frame, const struct ls_detect_params *params,
                  struct ls_err *err)
{
    const float *inputs[1], *outputs[LS_DETECT_OUTPUTS_MAX];
    struct ls_letterbox letterbox;
    struct size *size = NULL;
    int r;

    ls_detect_letterbox(&letterbox, lane->model->detector, frame, params);
    r = size_find(&size, lane, letterbox.net_width, letterbox.net_height, err);
    if (r < 0)
        return r;
    ls_ref_letterbox(size->input, frame, &letterbox);
    inputs[0] = size->input;
    r = ls_ref_net_run(size->net, inputs, size->output, 1, err);
    if (r < 0)
        return r;
    for (int i = 0; i < LS_DETECT_OUTPUTS_MAX; i++)
        outputs[i] = size->output[i];
    ls_detect_faces(out, count, lane->model->detector, outputs, &letterbox, params);
    return LS_OK;
}

void ls_ref_detect_done(struct ls_ref_lane *lane)
{
    if (!lane->detect)
        return;
    for (int i = 0; i < SIZES_MAX; i++)
        size_done(&lane->detect->size[i]);
    free(lane->detect);
    lane->detect = NULL;
}
