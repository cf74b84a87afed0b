// SPDX-License-Identifier: Apache-2.0
// Which engines, with which settings, cuDNN proposes for a convolution (graph.h), and their text
// for the cache. Any thread. What surprises: cuDNN hands an attribute's descriptors out into
// descriptors that the caller has made before.
#include "graph.h"

#ifndef LS_CUDA_NO_CUDNN

#include <stdio.h>
#include <string.h>

#include "graph_make.h"

enum { CONFIGS_MAX = 32 }; // that are asked for in each of the heuristics' modes

bool ls_cuda_config_is_same(const struct ls_cuda_config *a, const struct ls_cuda_config *b)
{
    return a->engine == b->engine && a->knob_count == b->knob_count &&
           !memcmp(a->knob, b->knob, (size_t)a->knob_count * sizeof a->knob[0]);
}

void ls_cuda_config_write(char text[LS_CUDA_CONFIG_TEXT_MAX], const struct ls_cuda_config *config)
{
    int at = snprintf(text, LS_CUDA_CONFIG_TEXT_MAX, "%lld", (long long)config->engine);

    // At most 21 characters of a number, 24 knobs of small ones: what does not fit is no config.
    for (int i = 0; i < config->knob_count && at < LS_CUDA_CONFIG_TEXT_MAX; i++)
        at += snprintf(text + at, (size_t)(LS_CUDA_CONFIG_TEXT_MAX - at), " %lld=%lld",
                       (long long)config->knob[i].type, (long long)config->knob[i].value);
}

bool ls_cuda_config_read(struct ls_cuda_config *out, const char *text)
{
    struct ls_cuda_config c = {0};
    long long type, value;
    int end = 0;

    if (sscanf(text, "%18lld%n", &value, &end) != 1)
        return false;
    c.engine = value;
    for (text += end; *text; text += end) {
        if (c.knob_count == LS_CUDA_KNOBS_MAX ||
            sscanf(text, " %18lld=%18lld%n", &type, &value, &end) != 2)
            return false;
        c.knob[c.knob_count].type = type;
        c.knob[c.knob_count++].value = value;
    }
    *out = c;
    return true;
}

// The elements that the attribute really has, at most count_max; 0 if it cannot be read, as an
// engine without notes answers.
static int get(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
               cudnnBackendAttributeType_t type, int count_max, void *out)
{
    int64_t count = 0;

    if (cudnnBackendGetAttribute(d, name, type, count_max, &count, out) != CUDNN_STATUS_SUCCESS)
        return 0;
    return count < count_max ? (int)count : count_max;
}

static bool read_knobs(struct ls_cuda_config *c, cudnnBackendDescriptor_t from)
{
    cudnnBackendDescriptor_t choice[LS_CUDA_KNOBS_MAX] = {NULL};
    bool ok = true;
    int count = 0;

    for (int i = 0; i < LS_CUDA_KNOBS_MAX && ok; i++)
        ok = cudnnBackendCreateDescriptor(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &choice[i]) ==
             CUDNN_STATUS_SUCCESS;
    if (ok)
        count = get(from, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    LS_CUDA_KNOBS_MAX, choice);
    for (int i = 0; i < count && ok; i++) {
        cudnnBackendKnobType_t type;
        int64_t value;

        ok = get(choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type) &&
             get(choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
        if (ok) {
            c->knob[i].type = type;
            c->knob[i].value = value;
        }
    }
    c->knob_count = count;
    for (int i = 0; i < LS_CUDA_KNOBS_MAX; i++)
        if (choice[i])
            (void)cudnnBackendDestroyDescriptor(choice[i]);
    return ok;
}

// Split sums are not forbidden here: those with a workspace are refused when the plan is made.
static bool is_repeatable(cudnnBackendDescriptor_t engine)
{
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int count = get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                    CUDNN_NUMERICAL_NOTE_TYPE_COUNT, note);

    for (int i = 0; i < count; i++)
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC ||
            note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
            note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)
            return false;
    return true;
}

static bool read_config(struct ls_cuda_config *out, cudnnBackendDescriptor_t from)
{
    cudnnBackendDescriptor_t engine = NULL;
    struct ls_cuda_config c = {0};
    bool ok;

    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
        CUDNN_STATUS_SUCCESS)
        return false;
    ok = get(from, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine) &&
         get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c.engine) &&
         is_repeatable(engine) && read_knobs(&c, from);
    (void)cudnnBackendDestroyDescriptor(engine);
    if (ok)
        *out = c;
    return ok;
}

// Appends what one mode of the heuristics proposes. A mode that knows nothing is no failure.
static void propose(struct ls_cuda_config *out, int *count, int count_max,
                    cudnnBackendDescriptor_t heuristics)
{
    cudnnBackendDescriptor_t result[CONFIGS_MAX] = {NULL};
    int made = 0, found;

    while (made < CONFIGS_MAX &&
           cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &result[made]) ==
               CUDNN_STATUS_SUCCESS)
        made++;
    found = made == 0 ? 0
                      : get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                            CUDNN_TYPE_BACKEND_DESCRIPTOR, made, result);
    for (int i = 0; i < found && *count < count_max; i++) {
        bool known = false;

        if (!read_config(&out[*count], result[i]))
            continue;
        for (int j = 0; j < *count && !known; j++)
            known = ls_cuda_config_is_same(&out[j], &out[*count]);
        *count += !known;
    }
    while (made > 0)
        (void)cudnnBackendDestroyDescriptor(result[--made]);
}

int ls_cuda_graph_configs(struct ls_cuda_config *out, int *count, int count_max,
                          const struct ls_cuda_conv_shape *shape,
                          cudnnBackendDescriptor_t description, struct ls_err *err)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    struct ls_cuda_maker m = ls_cuda_maker_new(err);
    cudnnBackendDescriptor_t graph = ls_cuda_make_graph(&m, shape);
    int found = 0;

    for (int i = 0; i < 2 && m.r == 0; i++) {
        cudnnBackendDescriptor_t d = ls_cuda_make(&m, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);

        ls_cuda_make_link(&m, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
        ls_cuda_make_set(&m, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &modes[i]);
        ls_cuda_make_link(&m, d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, description);
        if (m.r == 0 && cudnnBackendFinalize(d) == CUDNN_STATUS_SUCCESS)
            propose(out, &found, count_max, d);
    }
    ls_cuda_plan_free(&m.plan);
    if (m.r == 0)
        *count = found;
    return m.r;
}

#endif
