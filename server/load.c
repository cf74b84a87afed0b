// SPDX-License-Identifier: Apache-2.0
// The arithmetic of promises to live streams. Costs are learned from the sessions' own work, not
// calibrated at the start: a warm-up knows neither the callers' pictures (decoding and encoding are
// half of the work on a CPU) nor the batch sizes of a device (a face alone costs ten times its
// share of a full batch). The price is a start without knowledge: the first live stream is let in
// alone, for there is nobody whom it could disturb, and until frames were measured the next ones
// come one by one. What surprises: a stream that would be alone is judged by the best cost ever
// seen, the others by the latest. Costs are wall time on a CPU, so they grow in an overload; judged
// by them, nobody would be let in when it is over, and nothing would ever be learned again.
#include "load.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BLOCK_FRAMES = 16,    // of a stream at 25 frames/s: 0.6 s
    BLOCKS_COLD = 1,      // the first: caches are cold, buffers are made, plans are compiled
    BLOCKS_KNOWN = 3,     // with the cold one; 2 s of a stream
    OUTLIER = 4,          // a block counts for at most so many times the mean
    UNKNOWN_US = 2000000, // gap between two streams before costs are known
    DOOR_US = 5000000,    // the door is closed after a late frame
    HOPE_RATE = 25,       // of a stream whose picture is not known yet, if none less ran
    HOPE_PIXELS = 640 * 360,
    FRAME_PIXELS = 1 << 16, // what a frame costs beside its pixels, in pixels
};
static const double WEIGHT = 0.25; // of a new block: half is forgotten in 1.5 s of a stream
static const double SAME = 0.01;   // 30000/1001 and 30 frames/s, 1088 and 1080 rows

static void learn(struct ls_load_cost *c, int64_t us, int frames, double units)
{
    double cost;

    if (us < 0 || frames < 0)
        return;
    c->block_us += (double)us;
    c->block_units += units;
    c->block_frames += frames;
    if (c->block_frames < BLOCK_FRAMES)
        return;
    cost = c->block_us / c->block_units;
    c->block_us = c->block_units = 0;
    c->block_frames = 0;
    if (++c->blocks <= BLOCKS_COLD)
        return;
    if (c->mean_us <= 0) {
        c->mean_us = c->best_us = cost;
        return;
    }
    if (cost > OUTLIER * c->mean_us)
        cost = OUTLIER * c->mean_us;
    c->mean_us += (cost - c->mean_us) * WEIGHT;
    if (cost < c->best_us)
        c->best_us = cost;
}

void ls_load_learn_lane(struct ls_load *l, int64_t lane_us, int frames)
{
    learn(&l->lane, lane_us, frames, frames);
}

void ls_load_learn_core(struct ls_load *l, int64_t core_us, int frames, int64_t pixels)
{
    learn(&l->core, core_us, frames, (double)frames * ((double)pixels + FRAME_PIXELS));
}

void ls_load_late(struct ls_load *l, int64_t now_us)
{
    l->late_us = now_us;
}

struct ls_load_demand ls_load_demand(double frames_per_second, int64_t pixels)
{
    return (struct ls_load_demand){frames_per_second,
                                   frames_per_second * ((double)pixels + FRAME_PIXELS)};
}

// What a demand takes of all lanes and cores at these costs.
static void shares(const struct ls_load *l, double frames, double pixels, bool best, double *lanes,
                   double *cores)
{
    double lane_us = frames * (best ? l->lane.best_us : l->lane.mean_us),
           core_us = pixels * (best ? l->core.best_us : l->core.mean_us);

    *lanes = lane_us / 1e6 / l->lanes;
    *cores = (core_us + (l->lanes_on_cores ? lane_us : 0)) / 1e6 / l->cores;
}

void ls_load_shares(const struct ls_load *l, double *lanes, double *cores)
{
    shares(l, l->sum.frames, l->sum.pixels, false, lanes, cores);
}

static bool known(const struct ls_load *l)
{
    return l->lane.blocks >= BLOCKS_KNOWN && l->core.blocks >= BLOCKS_KNOWN;
}

static int check(const struct ls_load *l, const struct ls_load_demand *demand, int64_t now_us,
                 struct ls_err *err)
{
    bool alone = l->streams == 0;
    double lanes, cores, of_lanes, of_cores;

    if (!alone && l->late_us && now_us - l->late_us < DOOR_US)
        return ls_fail(err, LS_ELIVE, "live frames are late now: no further stream is promised");
    if (!alone && !known(l) && now_us - l->promised_us < UNKNOWN_US)
        return ls_fail(err, LS_ELIVE,
                       "a live stream has just begun, and what its frames cost is not known yet");
    shares(l, l->sum.frames + demand->frames, l->sum.pixels + demand->pixels, alone, &lanes,
           &cores);
    shares(l, demand->frames, demand->pixels, alone, &of_lanes, &of_cores);
    if (lanes > l->share_max || cores > l->share_max)
        return ls_fail(err, LS_ELIVE,
                       "%.4g frames/s need %.0f %% of the lanes and %.0f %% of the cores; with %d "
                       "live streams that makes %.0f and %.0f %%, and %.0f %% may be promised "
                       "(--live-load-max)",
                       demand->frames, 100 * of_lanes, 100 * of_cores, l->streams, 100 * lanes,
                       100 * cores, 100 * l->share_max);
    return 0;
}

static void add(struct ls_load *l, const struct ls_load_demand *demand)
{
    l->sum.frames += demand->frames;
    l->sum.pixels += demand->pixels;
    l->streams++;
}

int ls_load_promise(struct ls_load *l, const struct ls_load_demand *demand, int64_t now_us,
                    struct ls_err *err)
{
    int r = check(l, demand, now_us, err);

    if (r < 0)
        return r;
    if (l->streams == 0)
        l->least = *demand;
    if (demand->frames < l->least.frames)
        l->least.frames = demand->frames;
    if (demand->pixels < l->least.pixels)
        l->least.pixels = demand->pixels;
    add(l, demand);
    l->promised_us = now_us;
    return 0;
}

int ls_load_hope(struct ls_load *l, struct ls_load_demand *held, int64_t now_us, struct ls_err *err)
{
    // Small streams must not wait outside for hours because only large ones run.
    struct ls_load_demand guess = ls_load_demand(HOPE_RATE, HOPE_PIXELS);

    *held = (struct ls_load_demand){0, 0};
    if (l->least.frames <= 0)
        return 0;
    if (l->least.frames < guess.frames)
        guess.frames = l->least.frames;
    if (l->least.pixels < guess.pixels)
        guess.pixels = l->least.pixels;
    if (check(l, &guess, now_us, err) < 0)
        return ls_fail_prefix(err, "before the picture is known, by the least that it may need");
    if (!known(l)) // the next one is let in when this one has run for a while, not been held
        return 0;
    *held = guess;
    add(l, held);
    return 0;
}

int ls_load_settle(struct ls_load *l, const struct ls_load_demand *held,
                   const struct ls_load_demand *demand, int64_t now_us, struct ls_err *err)
{
    if (held->frames > 0)
        ls_load_release(l, held);
    if (held->frames > 0 && demand->frames <= held->frames * (1 + SAME) &&
        demand->pixels <= held->pixels * (1 + SAME)) {
        add(l, demand);
        l->promised_us = now_us;
        return 0;
    }
    return ls_load_promise(l, demand, now_us, err);
}

void ls_load_release(struct ls_load *l, const struct ls_load_demand *demand)
{
    l->sum.frames -= demand->frames;
    l->sum.pixels -= demand->pixels;
    if (--l->streams == 0) // what rounding left
        l->sum = (struct ls_load_demand){0, 0};
}

// --- processors
// ------------------------------------------------------------------------------------

double ls_load_quota(const char *text)
{
    long long quota, period;

    // "max 100000" or "150000 100000": microseconds of processor time in each period.
    if (sscanf(text, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return 0;
    return (double)quota / (double)period;
}

static double quota_of(const char *folder)
{
    char path[600], text[64];
    FILE *file;
    size_t n;

    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder);
    file = fopen(path, "re");
    if (!file)
        return 0;
    n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    fclose(file);
    return ls_load_quota(text);
}

// The own group of cgroup v2 as "/a/b"; "" in the root, or where there is none.
static void own_group(char *out, size_t size)
{
    char line[512];
    FILE *file = fopen("/proc/self/cgroup", "re");

    out[0] = '\0';
    if (!file)
        return;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, "0::/", 4)) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, size, "%s", line + 3);
        }
    fclose(file);
}

double ls_load_cores(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    double cores = online > 0 ? (double)online : 1, quota;
    char group[512];
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0 &&
        CPU_COUNT(&set) < cores)
        cores = CPU_COUNT(&set);
    own_group(group, sizeof group);
    // Every group up to the root may have a quota; the least one holds.
    for (;;) {
        char *slash = strrchr(group, '/');

        quota = quota_of(group);
        if (quota > 0 && quota < cores)
            cores = quota;
        if (!slash)
            return cores;
        *slash = '\0';
    }
}
