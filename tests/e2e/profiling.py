# SPDX-License-Identifier: Apache-2.0
# bench/profile_run.py on samples that were made up: which stage a function, a library, a process and a thread are
# counted to, how generator and detector are told apart, and that nothing is lost. perf itself is not needed.
import os
import sys

from _stubs import BUILD, ROOT, check, finish

sys.path.insert(0, os.path.join(ROOT, "bench"))
import profile_run as run  # noqa: E402

SERVER, DECODER = 10, 20
LANE, POOL, LOOP = 11, 12, 10


class Program:
    """Functions of ours at 1, 2, ..."""

    functions = [("run_conv", "kernels/cpu/dnn.c"), ("look", "kernels/cpu/composite.c"),
                 ("reduce", "kernels/cpu/reduce.c"), ("columns", "kernels/cpu/mel.c"),
                 ("encode", "server/encode_video.c"), ("act", "server/act.c"),
                 ("patch", "server/motion.c"), ("reply", "server/rpc_reply.c"), ("_start", "")]

    def find(self, address):
        return self.functions[address - 1] if 1 <= address <= len(self.functions) else None


def line(count, pid, thread, address, name="[unknown]", library="/x/lipstreamd"):
    return ["  lipstreamd %7d/%-7d %16x %s (%s)" % (pid, thread, address, name, library)] * count


def stages_of(lines, **times):
    return run.place(run.read_samples(lines, SERVER, Program()), times)


for index, want in enumerate(("generate", "composite", "detect", "mel", "encode", "session", "follow", "rpc"), 1):
    stages, functions = stages_of(line(3, SERVER, LANE, index))
    check("stage of %s" % Program.functions[index - 1][1], stages == {want: 3}, stages)
    check("its name", [key[2] for key in functions] == [Program.functions[index - 1][0]], functions)
for library, want in (("/usr/lib/x86_64-linux-gnu/libx264.so.164", "encode"), ("/lib/libavcodec.so.59", "encode"),
                      ("/lib/libgrpc.so.29", "rpc"), ("/lib/libdnnl.so.2.6", "generate"),
                      ("/tmp/perf-10.map", "generate")):
    stages, _ = stages_of(line(5, SERVER, LANE, 999, "f", library), generate=1)
    check("stage of %s" % library, stages == {want: 5}, stages)
stages, _ = stages_of(line(4, DECODER, DECODER, 1, "f", "/lib/libavcodec.so.59")
                      + line(2, DECODER, 21, 2, "f", "[kernel.kallsyms]"))
check("a decode process decodes, whatever it runs", stages == {"decode": 6}, stages)
mixed = (line(90, SERVER, LANE, 999, "jit", "/tmp/perf-10.map") + line(5, SERVER, LANE, 999, "copy", "/lib/libc.so.6")
         + line(40, SERVER, POOL, 999, "x", "/lib/libx264.so.164")
         + line(7, SERVER, POOL, 999, "copy", "/lib/libc.so.6")
         + line(3, SERVER, LOOP, 6) + line(2, SERVER, LOOP, 999, "fault", "[kernel.kallsyms]")
         + line(1, SERVER, 99, 999, "wait", "/lib/libc.so.6"))
stages, functions = stages_of(mixed, generate=9, detect=0)
check("libc goes with its thread", stages == {"generate": 95, "encode": 47, "session": 5, "other": 1}, stages)
check("nothing is lost", sum(stages.values()) == len(mixed) == sum(functions.values()), (stages, functions))
networks = line(100, SERVER, LANE, 999, "jit", "/tmp/perf-10.map")
stages, _ = stages_of(networks, generate=75, detect=25)
check("generator and detector by their times", stages == {"generate": 75, "detect": 25}, stages)
stages, _ = stages_of(networks + line(10, SERVER, LANE, 3), generate=75, detect=25)
check("the detector's own functions are its share, too", (stages["generate"], stages["detect"]) == (85, 25), stages)
stages, _ = stages_of(networks + line(60, SERVER, LANE, 3), generate=75, detect=25)
check("and may be more than it", (stages["generate"], stages["detect"]) == (100, 60), stages)
_, functions = stages_of(line(1, SERVER, POOL, 9, "x264_nearest", "/lib/libx264.so.164")
                         + line(1, SERVER, LANE, 999, "operator()(int) const", "/tmp/perf-10.map"))
names = {(key[1], key[2]) for key in functions}
check("generated code has its name", ("generated code", "operator()(int) const") in names, names)
check("a name that perf guessed is not told", not any(name == "x264_nearest" for _, name in names), names)
check("lines that are no samples", not run.read_samples(["", "WARNING: lost", "x 1/2"], SERVER, Program()))
stages = run.without_perf({"decode": 900, "generate": 600, "encode": 200}, 8.0, 10.0)
check("without perf", stages == {"decode": 2.0, "generate": 6.0, "encode": 2.0}, stages)
program = os.path.join(BUILD, "lipstreamd")
if os.path.exists(program):
    symbols = run.Symbols(program, os.getpid())
    files = {name: file for name, file in symbols.names}
    check("nm knows our functions and files", files.get("ls_dnn_new") == "kernels/cpu/dnn.c", files.get("ls_dnn_new"))
    check("an address of nobody's", symbols.find(4096) is None)
else:
    print("SKIP: lipstreamd is not built")
finish()
