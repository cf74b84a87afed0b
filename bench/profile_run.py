#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the processor time of a session goes, by stage and by function; bench/profile.sh builds and calls it.

Usage: bench/profile_run.py [--model FILE] [--out CSV] [--build DIR] [--detector FILE] [--label NAME] [--seconds 60]
           [--size 1080p,720p] [--rate 25] [--arithmetic fp32,bf16] [--functions 25]

One stream of service.py's clip through the real server, while perf samples server and decode processes HZ times a
second of their processor time. Writes rows "profile,case,value,unit" and prints a table to stderr.

How a sample finds its stage: decode processes decode. In the server a library of the encoder's encodes, one of
gRPC's is rpc, and functions of ours go by their source file (FILES). oneDNN and the code that it generated are the
networks: generator and detector share them, and are told apart by the session's own times of these stages. The
kernel and libc belong to what the thread they ran on does most. Names of generated code come from oneDNN's map for
perf (ONEDNN_JIT_PROFILE), those of our own code from nm. Libraries of decoder and encoder are one line each: they
come without the names of their own functions, and perf would take the nearest one that it knows. The table says of
how much of the processor time there are samples: far from 100 %, threads were missed.

Without perf (or where it is forbidden) the stages alone are told: decoding by its processes' processor time, the
server's in proportion to the session's stage times, which are by the clock on the wall; and that is said.
"""
import argparse
import bisect
import collections
import contextlib
import csv
import os
import re
import select
import shutil
import signal
import subprocess
import sys

import load_watch
import service

HZ = 499  # no multiple of what a service does by the clock
SAMPLE = re.compile(r"\s*(.+?)\s+(\d+)/(\d+)\s+([0-9a-f]+)\s+(.*?)\s+\(([^()]*(?:\([^()]*\))?[^()]*)\)$")

# Stages in the order of the flow.
STAGES = ["decode", "follow", "detect", "mel", "generate", "composite", "encode", "rpc", "session", "other"]
NETWORK = "networks"  # generate and detect, until they are told apart
LIBRARIES = [
    (r"/tmp/perf-\d+\.map|libdnnl|\[JIT\]|//anon|anon_inode", NETWORK),
    (r"libx264|libav(codec|format|util)|libsw(scale|resample)", "encode"),
    (r"libgrpc|libgpr|libabsl|libaddress_sorting|libssl|libcrypto|libprotobuf|libz\.|libcares|libre2|libupb", "rpc"),
]
FILES = [
    (r"kernels/(cpu/)?(detect|yunet|blazeface|reduce)", "detect"),
    (r"kernels/cells", "detect"),
    (r"kernels/(cpu/|ref/)?mel", "mel"),
    (r"kernels/(cpu/)?(dnn|loops|pack|plan|cut|memory|net|net_shape|wav2lip|generate|levels|weights)\w*\.", "generate"),
    (r"kernels/", "composite"),
    (r"server/(encode|mux|video_|outlet)", "encode"),
    (r"server/(motion|track|smooth|roll|spots|features)", "follow"),
    (r"server/decode", "decode"),
    (r"server/(rpc|front|tls|auth|guard|listen|admin)|proto|\.pb-c\.", "rpc"),
    (r"server/", "session"),
]


class Symbols:
    """Addresses of a program with its functions' names and source files, for a process of it."""

    def __init__(self, program, pid):
        self.at, self.names = [], []
        out = subprocess.run(["nm", "--defined-only", "-n", "-l", program], capture_output=True, text=True).stdout
        for line in out.splitlines():
            address, kind, rest = line.split(None, 2)
            if kind in "tTwW":
                name, _, place = rest.partition("\t")
                file = re.search(r"((kernels|server|client|proto)/[\w/.-]+|[\w.-]+\.pb-c\.c)", place)
                self.at.append(int(address, 16))
                self.names.append((name, file[1].split(":")[0] if file else ""))
        self.bases = []  # (first, last, what to take off)
        with open(f"/proc/{pid}/maps") as maps:
            for line in maps:
                fields = line.split()
                if len(fields) > 5 and os.path.basename(fields[5]) == os.path.basename(program):
                    first, last = (int(part, 16) for part in fields[0].split("-"))
                    self.bases.append((first, last, first - int(fields[2], 16)))

    def find(self, address):
        """Name and file, or None. Text lies in the file where it lies in memory, as linkers of today place it."""
        for first, last, base in self.bases:
            if first <= address < last:
                i = bisect.bisect_right(self.at, address - base) - 1
                return self.names[i] if i >= 0 else None
        return None


def match(table, text):
    return next((stage for pattern, stage in table if re.search(pattern, text)), None)


def read_samples(lines, server_pid, symbols):
    """perf script's lines as {(stage or None, library, function, thread): count}."""
    samples = collections.Counter()
    for line in lines:
        found = SAMPLE.match(line)
        if not found:
            continue
        pid, thread, address, name, library = int(found[2]), int(found[3]), int(found[4], 16), found[5], found[6]
        library = os.path.basename(library) if library.startswith("/") and "/perf-" not in library else library
        stage = None
        if pid != server_pid:
            stage = "decode"
        elif ours := symbols.find(address):
            name, library = ours[0], ours[1] or library
            stage = match(FILES, ours[1]) if ours[1] else None
        else:
            stage = match(LIBRARIES, library)
        if "/perf-" in library:
            library = "generated code"
        if name == "[unknown]" or match(LIBRARIES, library) == "encode":
            name = "(no names)"
        samples[stage, library, name[:80], thread] += 1
    return samples


def place(samples, times):
    """Counts by stage, and by (stage, library, function): what has no stage goes where its thread works most."""
    threads = collections.defaultdict(collections.Counter)
    for (stage, _, _, thread), count in samples.items():
        if stage:
            threads[thread][stage] += count
    stages, functions = collections.Counter(), collections.Counter()
    for (stage, library, name, thread), count in samples.items():
        if not stage:
            most = threads[thread].most_common(1)
            stage = most[0][0] if most else "other"
        functions[stage, library, name] += count
        stages[stage] += count
    networks = stages.pop(NETWORK, 0)
    both = times.get("generate", 0) + times.get("detect", 0)
    detect = networks * times.get("detect", 0) / both if both else 0
    # The detector's own functions are counted already; only the rest of its time was in the network.
    detect = max(0, detect - stages["detect"])
    stages["detect"] += detect
    stages["generate"] += networks - detect
    return +stages, functions


class Perf:
    """perf over the server and its decode processes while it is open; lines() afterwards, or None."""

    def __init__(self, pid):
        self.data, self.process, self.pid, self.pipes = os.path.join(service.WORK, "profile.data"), None, pid, ()
        self.why = "perf is not installed (Debian's package linux-perf)"

    def __enter__(self):
        if not shutil.which("perf"):
            return self
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.data)
        # Threads that begin between perf's look at the list and its attaching would be missed: it says when it is.
        # The pipes stay open to the end: perf takes a closed one for an error.
        orders, order = os.pipe()
        answer, answers = os.pipe()
        self.pipes = (orders, order, answer, answers)
        pids = ",".join(str(pid) for pid in load_watch.family(self.pid))
        self.process = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HZ), "-o", self.data,
                                         "-p", pids, "--delay", "-1", "--control", f"fd:{orders},{answers}"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, pass_fds=(orders, answers))
        os.write(order, b"enable\n")
        while not select.select([answer], [], [], 0.1)[0]:
            if self.process.poll() is not None:
                self.why, self.process = "perf failed: " + self.process.stderr.read().strip()[-300:], None
                break
        return self

    def __exit__(self, kind, value, trace):
        if self.process:
            self.process.send_signal(signal.SIGINT)
            _, text = self.process.communicate(timeout=60)
            if not os.path.exists(self.data):
                self.why, self.process = "perf recorded nothing: " + text.strip()[-300:], None
        for end in self.pipes:
            os.close(end)

    def lines(self):
        if not self.process:
            return None
        script = subprocess.run(["perf", "script", "-i", self.data, "-F", "comm,pid,tid,ip,sym,dso"],
                                capture_output=True, text=True)
        if script.returncode:
            self.why = "perf script failed: " + script.stderr.strip()[-300:]
            return None
        return script.stdout.splitlines()


def own_seconds(pid):
    """Processor time of the process without its children."""
    with open(f"/proc/{pid}/stat") as file:
        return sum(int(part) for part in file.read().rpartition(")")[2].split()[11:13]) / load_watch.TICKS


def without_perf(times, own_s, cpu_s):
    """Seconds by stage."""
    ours = {stage: ms for stage, ms in times.items() if stage != "decode"}
    whole = sum(ours.values()) or 1
    return collections.Counter({"decode": cpu_s - own_s, **{stage: own_s * ms / whole for stage, ms in ours.items()}})


def profile(args, label, options, size):
    """One case: its rows."""
    name, clip = service.make_clip(size, args.rate, args.seconds)
    voice = service.make_voice(args.seconds)
    with service.Server(args.build, options) as server:
        own_s, cpu_s = -own_seconds(server.process.pid), -server.cpu_seconds()
        with Perf(server.process.pid) as perf:
            summaries, wall_s = service.run_streams(args.build, server, clip, voice, 1)
        own_s, cpu_s = own_s + own_seconds(server.process.pid), cpu_s + server.cpu_seconds()
        symbols = Symbols(os.path.join(args.build, "lipstreamd"), server.process.pid)
        lines = perf.lines()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"/tmp/perf-{server.process.pid}.map")
        pid = server.process.pid
    frames = int(summaries[0]["framesOut"])
    times = {part[:-2].lower(): ms for part, ms in summaries[0].get("parts", {}).items()}
    if lines is None:
        print(f"# no functions: {perf.why}")
        stages, functions, how = without_perf(times, own_s, cpu_s), {}, "stages by the clock on the wall"
    else:
        stages, functions = place(read_samples(lines, pid, symbols), times)
        how = f"{HZ} samples a second of {100 * sum(stages.values()) / HZ / cpu_s:.0f} % of it"
    case = f"{label} {name} {size}{args.rate} {args.seconds} s"
    report(case, how, stages, functions, {"cpu": 1e3 * cpu_s / frames, "wall": 1e3 * wall_s / frames}, args)


def report(case, how, stages, functions, ms, args):
    """Rows to the CSV, the table to stderr. ms: a frame's processor time and its time on the wall."""
    out = csv.writer(args.out, lineterminator="\n")
    total = sum(stages.values())
    if not total:
        sys.exit("profile_run.py: nothing was sampled")
    out.writerow(["profile", f"{case}: processor time", f"{ms['cpu']:.4g}", "ms/frame"])
    print(f"\n{case}: {ms['cpu']:.1f} ms of processor time a frame, {ms['wall']:.1f} ms on the wall; {how}",
          file=sys.stderr)
    for stage in sorted(stages, key=STAGES.index):
        share = stages[stage] / total
        out.writerow(["profile", f"{case}: stage {stage}", f"{share * ms['cpu']:.4g}", "ms/frame"])
        out.writerow(["profile", f"{case}: stage {stage}", f"{100 * share:.4g}", "%"])
        print(f"  {stage:<10} {100 * share:5.1f} %  {share * ms['cpu']:7.2f} ms", file=sys.stderr)
    for (stage, library, name), count in collections.Counter(functions).most_common(args.functions):
        share = 100 * count / total
        out.writerow(["profile", f"{case}: {stage} {library}: {name}", f"{share:.3g}", "%"])
        print(f"  {share:5.1f} %  {stage:<9} {library}: {name}", file=sys.stderr)
    args.out.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(service.ROOT, "build", "release"))
    parser.add_argument("--model", default="", help="checkpoint; default: the server's own")
    parser.add_argument("--detector", default="", help="detector; default: the server's own")
    parser.add_argument("--label", default="wide", help="the model's name in the rows")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--size", type=service.sizes, default=["1080p", "720p"])
    parser.add_argument("--rate", type=service.rate_of, default=25)
    parser.add_argument("--arithmetic", default="", help="the generator's, by commas; default: the server's own")
    parser.add_argument("--functions", type=int, default=25, help="how many are told")
    parser.add_argument("--out", type=argparse.FileType("a"), default=sys.stdout, help="CSV that rows are added to")
    args = parser.parse_args()
    os.makedirs(service.WORK, exist_ok=True)
    os.environ["ONEDNN_JIT_PROFILE"] = "2"  # DNNL_JIT_PROFILE_LINUX_PERFMAP: /tmp/perf-PID.map
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is stopped
    options = [o for flag in ("model", "detector") if getattr(args, flag) for o in (f"--{flag}", getattr(args, flag))]
    for arithmetic in args.arithmetic.split(","):
        label = args.label + ("-" + arithmetic if arithmetic else "")
        for size in args.size:
            profile(args, label, options + (["--arithmetic", arithmetic] if arithmetic else []), size)


if __name__ == "__main__":
    main()
