// SPDX-License-Identifier: Apache-2.0
// The generator on a processor: which arithmetic it computes with, its networks cut to parts of the
// face, the records of known faces, and the lanes that run items through them. Networks and records
// are shared by all threads; a lane belongs to one at a time.
#ifndef LS_CPU_GENERATOR_H
#define LS_CPU_GENERATOR_H

#include "../backend.h"

// Items that a lane holds at once, at most: the weights come from memory once for so many. Two
// lanes with 4 are 3.5 % (fp32) and 2 % (bf16) faster than with 2, and take 7 and 6 MB more; 8 are
// 5 % and 4 % faster, and take 23 and 20 MB more. With bytes 4 are 8 % faster than 1, for 8 MB.
enum { LS_CPU_LANE_ITEMS = 4 };

struct ls_cpu_generator;
struct ls_cpu_generator_lane;

LS_MUST int ls_cpu_generator_open(struct ls_cpu_generator **out,
                                  const struct ls_backend_params *backend, struct ls_err *err);
void ls_cpu_generator_close(struct ls_cpu_generator **generator); // after its lanes
const struct ls_model *ls_cpu_generator_model(const struct ls_cpu_generator *generator);
const char *ls_cpu_generator_arithmetic(const struct ls_cpu_generator *generator);

LS_MUST int ls_cpu_generator_lane_open(struct ls_cpu_generator_lane **out,
                                       struct ls_cpu_generator *generator, struct ls_err *err);
void ls_cpu_generator_lane_close(struct ls_cpu_generator_lane **lane);
LS_MUST int ls_cpu_generate(struct ls_cpu_generator_lane *lane, const struct ls_generate_job *job,
                            struct ls_err *err);

#endif
