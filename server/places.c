// SPDX-License-Identifier: Apache-2.0
// The places of places.h, in the order of the search. Before any thread exists.
#include "server/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

// %s is the program's folder.
static const char *const model_places[] = {"%s/../share/lipstream/lipstream_demo_fp16.safetensors",
                                           LS_SOURCE_DIR
                                           "/kernels/demo/lipstream_demo_fp16.safetensors"};
static const char *const detector_places[] = {"%s/detector.safetensors", "%s/blazeface.safetensors",
                                              "%s/../blazeface.safetensors",
                                              "%s/../share/lipstream/blazeface.safetensors"};
static const char *const decoder_places[] = {"%s/lipstream-decode"};
static const char *const module_places[] = {"%s/liblipstream_cuda.so",
                                            "%s/../lib/lipstream/liblipstream_cuda.so"};

static void find(const char **option, char path[PATH_SIZE], const char *folder,
                 const char *const *places, size_t count)
{
    if (**option)
        return;
    for (size_t i = 0; i < count; i++) {
        const char *mark = strstr(places[i], "%s");

        if (mark)
            snprintf(path, PATH_SIZE, "%s%s", folder, mark + 2);
        else
            snprintf(path, PATH_SIZE, "%s", places[i]);
        if (!access(path, R_OK)) {
            *option = path;
            return;
        }
    }
}

// Plans are kept where this user may write: the cache that the environment names, a packager's
// folder, the user's own. Nowhere else; then a start takes longer.
static void find_plan_cache(const char **option, char path[PATH_SIZE])
{
    static const struct {
        const char *variable, *folder;
    } places[] = {{"XDG_CACHE_HOME", ""}, {NULL, "/var/cache/lipstream"}, {"HOME", "/.cache"}};

    for (size_t i = 0; !**option && i < sizeof places / sizeof places[0]; i++) {
        const char *base = places[i].variable ? getenv(places[i].variable) : "";
        int size = snprintf(path, PATH_SIZE, "%s%s", base ? base : "", places[i].folder);

        if (path[0] != '/' || size > PATH_SIZE - 32 || access(path, W_OK | X_OK) < 0)
            continue;
        snprintf(path + size, (size_t)(PATH_SIZE - size), "/lipstream-plans.bin");
        *option = path;
    }
}

void ls_places_find(struct ls_options *opt)
{
    static char model[PATH_SIZE], detector[PATH_SIZE], decoder[PATH_SIZE], module[PATH_SIZE],
        plans[PATH_SIZE];
    char folder[PATH_SIZE] = ".";
    ssize_t size = readlink("/proc/self/exe", folder, sizeof folder - 1);
    char *slash;

    folder[size > 0 ? size : 1] = '\0';
    slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    find(&opt->model, model, folder, model_places, sizeof model_places / sizeof model_places[0]);
    find(&opt->detector, detector, folder, detector_places,
         sizeof detector_places / sizeof detector_places[0]);
    find(&opt->decoder, decoder, folder, decoder_places,
         sizeof decoder_places / sizeof decoder_places[0]);
    find(&opt->cuda_module, module, folder, module_places,
         sizeof module_places / sizeof module_places[0]);
    find_plan_cache(&opt->plan_cache, plans);
}
