// SPDX-License-Identifier: Apache-2.0
// Finds faces: reduces the frame, runs the detector on oneDNN, and lets kernels/detect.c read the
// result. A lane keeps the networks of the picture sizes it met last (1.5 to 10 MB each), so that
// sessions of different sizes do not make each other plan anew. One lane, one thread.
#include "cpu.h"
#include "dnn.h"

#include <stdlib.h>

#include "../detect.h"
#include "reduce.h"

struct entry {
    struct ls_net *net;
    struct ls_dnn *dnn;
    struct ls_dnn_lane *lane;
    struct ls_reduce_room room;
    int output_count;
    float *output[LS_DETECT_OUTPUTS_MAX];
};

struct ls_cpu_detect {
    struct entry entry[LS_DETECT_SIZES_MAX];
    struct ls_detect_sizes sizes;
};

static void entry_done(struct entry *e)
{
    for (int i = 0; i < e->output_count; i++)
        free(e->output[i]);
    ls_cpu_reduce_done(&e->room);
    ls_dnn_lane_free(&e->lane);
    ls_dnn_free(&e->dnn);
    ls_net_free(&e->net);
    *e = (struct entry){0};
}

void ls_cpu_detect_done(struct ls_cpu_detect **detect)
{
    if (!detect || !*detect)
        return;
    for (int i = 0; i < LS_DETECT_SIZES_MAX; i++)
        entry_done(&(*detect)->entry[i]);
    free(*detect);
    *detect = NULL;
}

static int make_outputs(struct entry *e, struct ls_err *err)
{
    for (int i = 0; i < e->net->node_count; i++) {
        const struct ls_net_node *node = &e->net->node[i];
        size_t size = (size_t)node->c_out * (size_t)node->h_out * (size_t)node->w_out;

        if (!node->layer->output)
            continue;
        if (e->output_count == LS_DETECT_OUTPUTS_MAX)
            return ls_fail(err, LS_EINTERNAL, "a detector of too many outputs");
        e->output[e->output_count] = malloc(sizeof(float) * size);
        if (!e->output[e->output_count++])
            return ls_fail(err, LS_ENOMEM, "no memory for a detector");
    }
    return LS_OK;
}

static int entry_init(struct entry *e, const struct ls_model *model, const struct ls_letterbox *box,
                      struct ls_err *err)
{
    int r = ls_detect_plan(&e->net, model, box->net_width, box->net_height, err);

    if (r == LS_OK)
        r = ls_dnn_new(&e->dnn, e->net, &(struct ls_dnn_params){.items_max = 1}, err);
    if (r == LS_OK)
        r = ls_dnn_lane_new(&e->lane, (const struct ls_dnn *[]){e->dnn}, 1, err);
    if (r == LS_OK)
        r = make_outputs(e, err);
    if (r < 0)
        entry_done(e);
    return r;
}

// The network for this input size: one at hand, or a new one in place of the longest unused.
static int find_entry(struct entry **out, struct ls_cpu_detect *d, const struct ls_model *model,
                      const struct ls_letterbox *box, struct ls_err *err)
{
    bool known;
    int idx = ls_detect_sizes_take(&d->sizes, &known, box), r;
    struct entry *e = &d->entry[idx];

    if (!known) {
        entry_done(e);
        r = entry_init(e, model, box, err);
        if (r < 0) {
            ls_detect_sizes_drop(&d->sizes, idx);
            return r;
        }
    }
    *out = e;
    return LS_OK;
}

static bool wanted(void *user, int item)
{
    const struct ls_detect_params *p = user;

    (void)item;
    return p->wanted(p->user);
}

int ls_cpu_detect(struct ls_cpu_lane *lane, struct ls_face *out, int *count,
                  const struct ls_frame *frame, const struct ls_detect_params *params,
                  struct ls_err *err)
{
    struct ls_letterbox box;
    const float *outputs[LS_DETECT_OUTPUTS_MAX] = {NULL};
    struct ls_detect_params asked = *params;
    struct entry *e;
    int r;

    if (!lane->detect)
        lane->detect = calloc(1, sizeof *lane->detect);
    if (!lane->detect)
        return ls_fail(err, LS_ENOMEM, "no memory for a detector");
    ls_detect_letterbox(&box, lane->model->detector, frame, params);
    r = find_entry(&e, lane->detect, lane->model, &box, err);
    if (r == LS_OK)
        r = ls_cpu_reduce(&e->room, ls_dnn_input(e->lane, 0, 0), frame, &box, err);
    if (r == LS_OK)
        r = ls_dnn_run(e->lane,
                       &(struct ls_dnn_job){
                           .count = 1, .wanted = params->wanted ? wanted : NULL, .user = &asked},
                       err);
    if (r < 0)
        return r;
    if (params->wanted && !params->wanted(params->user)) {
        *count = 0; // the outputs are of an earlier picture
        return LS_OK;
    }
    for (int i = 0; i < e->output_count; i++) {
        ls_dnn_output(e->output[i], NULL, e->lane, i, 0);
        outputs[i] = e->output[i];
    }
    ls_detect_faces(out, count, lane->model->detector, outputs, &box, params);
    return LS_OK;
}
