#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The generator alone, ours and its peers, on the same weights, faces and voices:  generator.py [--quick]

Time: the full-size network with seeded weights. All engines are opened first; then they take turns, each with a fraction
of a second, for some rounds, so that what else the machine does hits all alike. Median, lowest and highest of the rounds.
Ours computes a whole face, or the part that a paste of the lower face or of the mouth reads; "known": of faces that it
has seen before. A case is "ENGINE MODE batch B xT": B faces a call on T threads. "shared": one call after the other, each
on all threads; "flow": T calls at a time, each on a thread (engines.py says how). Ours starts from bytes and gives pixels
back in rows; the others start from tensors of numbers and give tensors back.

Exactness: the demo's weights and real faces, each engine against torch's eager fp32 (plain layout): largest difference in
/255 and PSNR, over the whole face and over what a paste of the lower face or of the mouth reads. Of ours that computes
such a part alone, the pixels of the part.

Rows "generator,case,value,unit" and "exactness,..." on standard output. What cannot be done here is said by lines with
SKIP on standard error.
"""
import argparse
import math
import os
import subprocess
import sys
import time

import numpy as np

import prepare

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = [("whole", 0), ("lower", 0), ("mouth", 0), ("lower", 1)]  # of ours: name, whether the face is known


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def row(bench, case, value, unit):
    print("%s,%s,%.5g,%s" % (bench, case, value, unit), flush=True)


def median(values):
    return sorted(values)[len(values) // 2]


class Skip(Exception):
    """The engine cannot do it here; why."""


class Process:
    """A program that answers lines by lines."""

    def __init__(self, command, mark, log):
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": os.path.join(prepare.WORK, "torch-cache")}
        self.mark, self.log = mark, os.path.join(prepare.WORK, log)
        with open(self.log, "w") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                            text=True, bufsize=1, env=environment)

    def put(self, line):
        try:
            self.process.stdin.write(line + "\n")
        except BrokenPipeError:
            pass  # get() says so

    def get(self):
        for line in self.process.stdout:
            if line.startswith(self.mark):
                reply = line[len(self.mark):].strip()
                if reply.startswith("SKIP"):
                    raise Skip(reply[5:])
                if reply.startswith("FAIL"):
                    sys.exit("generator.py: " + reply)
                return reply
        raise Skip("it ended, see " + self.log)

    def ask(self, line):
        self.put(line)
        return self.get()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def numbers(reply):
    wall, processor, faces = reply.split()
    return float(wall), float(processor), int(faces)


class Ours:
    """bench_generate; one process for each arithmetic, its lanes are threads."""

    def __init__(self, build, weights, arithmetic, threads):
        self.arithmetic, self.seen = arithmetic, False
        calibration = [prepare.calibration_file(weights)] if arithmetic == "int8" else []
        self.process = Process([os.path.join(build, "bench_generate"), prepare.weights_file(weights), arithmetic,
                                str(threads), *filter(None, calibration)], "", "ours-%s-%s.log" % (weights, arithmetic))
        self.version = self.process.get()
        faces, mels = prepare.inputs()[2]
        self.process.ask("load %s %s %d" % (faces, mels, prepare.COUNT))

    def engines(self):
        return ["ours %s %s%s" % (self.arithmetic, part, " known" if known else "") for part, known in PARTS]

    def open(self, engine, mode, batch, threads):
        part, known = PARTS[self.engines().index(engine)]

        def run(calls):
            return numbers(self.process.ask("run %s %d %d %s %d %d" % (mode, batch, threads, part, known, calls)))
        if known and not self.seen:  # all faces, so that they are known
            self.process.ask("run shared 1 1 %s 1 %d" % (part, prepare.COUNT))
            self.seen = True
        run(1)
        return run

    def write(self, engine, path):
        part, known = PARTS[self.engines().index(engine)]
        self.process.ask("write %s %d %s" % (part, known, path))

    def part(self, engine):
        return self.process.ask("part " + PARTS[self.engines().index(engine)][0])

    def end(self):
        self.process.end()


class Peer:
    """engines.py with one library; a process with all threads, and for `flow` and one thread as many with one each."""

    def __init__(self, weights, library, threads):
        self.library, self.weights, self.threads = library, weights, threads
        self.processes = {}
        self.version = self.processes_of(threads, 1)[0].version

    def engines(self):
        import engines
        return engines.LIBRARIES[self.library].engines

    def processes_of(self, threads, count):
        wanted = self.processes.setdefault(threads, [])
        while len(wanted) < count:
            command = [sys.executable, os.path.join(HERE, "engines.py"), self.library, self.weights, str(threads)]
            wanted.append(Process(command, "= ", "%s-%s-x%d-%d.log" % (self.library, self.weights, threads, len(wanted))))
            wanted[-1].version = wanted[-1].get()
        return wanted[:count]

    def open(self, engine, mode, batch, threads):
        streams = self.library == "openvino"
        if mode == "flow" and not streams:
            processes, inner = self.processes_of(1, threads), "shared"
        else:
            processes, inner = self.processes_of(threads, 1), mode
        words = "\t".join([engine, inner, str(batch)])
        for process in processes:  # at once: compiling takes long
            process.put("open\t" + words)
        for process in processes:
            process.get()

        def run(calls):
            calls *= threads if mode == "flow" and streams else 1
            for process in processes:
                process.put("run\t%s\t%d" % (words, calls))
            took = [numbers(process.get()) for process in processes]
            return max(t[0] for t in took), sum(t[1] for t in took), sum(t[2] for t in took)
        return run

    def write(self, engine, path):
        process = self.processes_of(self.threads, 1)[0]
        process.ask("open\t%s\tshared\t1" % engine)
        process.ask("write\t%s\t%s" % (engine, path))

    def part(self, engine):
        return "0 0 96 96"

    def end(self):
        for process in sum(self.processes.values(), []):
            process.end()


def start(build, weights, threads):
    """All that can be started."""
    makers = [lambda a=a: Ours(build, weights, a, threads) for a in ("fp32", "bf16", "int8")]
    makers += [lambda name=name: Peer(weights, name, threads) for name in ("openvino", "onnxruntime", "torch")]
    for i, make in enumerate(makers):
        try:
            source = make()
        except Skip as why:
            if i == 0:
                sys.exit("generator.py: ours: %s" % why)
            say("SKIP: %s: %s" % (["", "ours bf16", "ours int8", "openvino", "onnxruntime", "torch"][i], why))
            continue
        yield source


# --- time ------------------------------------------------------------------------------------------------------
class Case:
    def __init__(self, name, run, seconds):
        self.name, self.run = name, run
        took = [run(2) for _ in range(2)][-1][0] / 2
        self.calls = max(2, min(500, math.ceil(seconds / took)))
        self.rates, self.processor_ms = [], []

    def measure(self):
        wall, processor, faces = self.run(self.calls)
        self.rates.append(faces / wall)
        self.processor_ms.append(1e3 * processor / faces)

    def print(self):
        row("generator", self.name + ": frames", median(self.rates), "frames/s")
        row("generator", self.name + ": frames low", min(self.rates), "frames/s")
        row("generator", self.name + ": frames high", max(self.rates), "frames/s")
        row("generator", self.name + ": processors", median(self.processor_ms), "ms/frame")


def open_cases(sources, ways, seconds):
    cases = []
    for source in sources:
        for engine in source.engines():
            started = time.monotonic()
            try:
                for mode, batch, threads in ways:
                    run = source.open(engine, mode, batch, threads)
                    cases.append(Case("wide %s %s batch %d x%d" % (engine, mode, batch, threads), run, seconds))
            except Skip as why:
                say("SKIP: %s: %s" % (engine, why))
                continue
            say("open after %.1f s: %s" % (time.monotonic() - started, engine))
    return cases


def measure_time(args, ways):
    sources = list(start(args.build, "wide", args.threads))
    for source in sources:
        print("# generator: " + source.version, flush=True)
    cases = open_cases(sources, ways, args.seconds)
    say("%d cases, %d rounds" % (len(cases), args.rounds))
    for i in range(args.rounds):
        at = i * len(cases) // args.rounds  # another one begins each round
        for case in cases[at:] + cases[:at]:
            case.measure()
        say("round %d is done" % (i + 1))
    for source in sources:
        source.end()
    for case in cases:
        case.print()


# --- exactness -------------------------------------------------------------------------------------------------
def reference():
    import torch
    faces, mels, _ = prepare.inputs()
    net = prepare.net("demo")
    with torch.no_grad():
        made = [net(torch.from_numpy(m[None]), torch.from_numpy(f[None])) for m, f in zip(*prepare.tensors(faces, mels))]
    return torch.cat(made).numpy().transpose(0, 2, 3, 1)


def compare(engine, made, wanted, boxes, own):
    """boxes: of the parts; own: what the engine computes."""
    for name, (x0, y0, x1, y1) in boxes.items():
        if x0 < own[0] or y0 < own[1] or x1 > own[2] or y1 > own[3]:
            continue
        difference = (made - wanted)[:, y0:y1, x0:x1].astype(np.float64)
        case = "demo %s over %s" % (engine, name)
        row("exactness", case + ": largest difference", 255 * np.abs(difference).max(), "/255")
        row("exactness", case + ": PSNR", min(200, -10 * math.log10(max((difference**2).mean(), 1e-30))), "dB")


def measure_exactness(args):
    wanted, boxes = reference(), {}
    path = os.path.join(prepare.WORK, "made.f32")
    for source in start(args.build, "demo", args.threads):
        if not boxes:  # the first one is ours
            boxes = {name: tuple(map(int, source.process.ask("part " + name).split())) for name, _ in PARTS}
        for engine in source.engines():
            try:
                source.write(engine, path)
            except Skip as why:
                say("SKIP: exactness of %s: %s" % (engine, why))
                continue
            made = np.fromfile(path, np.float32).reshape(wanted.shape)
            compare(engine, made, wanted, boxes, tuple(map(int, source.part(engine).split())))
        source.end()
    os.remove(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(prepare.ROOT, "build", "release"))
    parser.add_argument("--quick", action="store_true", help="batch 4 alone, three short rounds")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--rounds", type=int, help="5, or 3 with --quick")
    parser.add_argument("--seconds", type=float, help="of a case in a round: 0.6, or 0.2")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (0.2 if args.quick else 0.6)
    t = args.threads
    ways = [("shared", 4, t), ("shared", 4, 1), ("flow", 4, t)]
    if not args.quick:
        ways = [("shared", 1, t), *ways, ("shared", 16, t)]
    ways = list(dict.fromkeys(way for way in ways if t > 1 or way[0] == "shared"))
    measure_time(args, ways)
    measure_exactness(args)


if __name__ == "__main__":
    main()
