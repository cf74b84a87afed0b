#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same network in torch on the same device: gpu_torch.py peak | compare [--ours PROGRAM] [--limit SECONDS]

  peak      what the device can do at most, by torch's matrix products of 8192x8192 random numbers
  compare   Wav2Lip-96 of full width (tests/golden/golden_net.py, batch norm folded into the weights), half,
            channels last, three ways: captured as a CUDA graph; torch.compile with reduce-overhead; with
            max-autotune. Each is a process of its own that prepares itself, and is left out if that takes too
            long. Then they and PROGRAM (bench_device and its options) take turns for some rounds; medians of the rounds
            and the ratio of ours to torch's best.

Rows "torch,case,value,unit" on standard output. Exit code 77: no torch, or no device that it sees.
"""
import argparse
import importlib.util
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAYS = ["graph", "reduce-overhead", "max-autotune"]
ROUNDS = 3


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def row(case, value, unit):
    print("torch,%s,%.5g,%s" % (case, value, unit), flush=True)


def find_torch():
    try:
        import torch
    except ImportError:
        say("SKIP: torch: not installed")
        sys.exit(77)
    if not torch.cuda.is_available():
        say("SKIP: torch: it sees no device")
        sys.exit(77)
    return torch


def median(values):
    return sorted(values)[len(values) // 2]


def time_runs(torch, run, seconds=0.5):
    """Milliseconds of one run, back to back: the median of several series."""
    def series(count):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / count

    for _ in range(3):
        series(1)
    count = max(1, min(1000, int(10 / max(series(2), 1e-3))))
    took, until = [], time.monotonic() + seconds
    while len(took) < 5 or time.monotonic() < until and len(took) < 50:
        took.append(series(count))
    return median(took)


def peak():
    torch = find_torch()
    n = 8192
    print("# torch %s, %s" % (torch.__version__, torch.cuda.get_device_name()))
    for name, dtype, tf32 in (("fp16", torch.half, False), ("tf32", torch.float, True), ("fp32", torch.float, False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = torch.randn(n, n, device="cuda", dtype=dtype), torch.randn(n, n, device="cuda", dtype=dtype)
        out = torch.empty_like(a)
        ms = time_runs(torch, lambda a=a, b=b, out=out: torch.mm(a, b, out=out), 1)
        row("matrix product %s 8192" % name, 2 * n**3 / ms * 1e-9, "TFLOP/s")


# --- one way, in a process of its own ------------------------------------------------------------------------
def make_net(torch):
    spec = importlib.util.spec_from_file_location("golden_net", os.path.join(ROOT, "tests", "golden", "golden_net.py"))
    golden = importlib.util.module_from_spec(spec)
    sys.argv = sys.argv[:1]  # it reads a path from there
    spec.loader.exec_module(golden)
    net = golden.Net(**golden.WIDE)
    golden.seed_weights(net, 12)
    net.eval()
    for unit in list(net.modules()):
        if isinstance(unit, golden.Unit):
            layer, norm = unit.conv_block
            unit.conv_block = torch.nn.utils.fusion.fuse_conv_bn_eval(layer, norm, unit.up is not None)
    return net.half().cuda().to(memory_format=torch.channels_last)


def capture(torch, net, mel, face):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            net(mel, face)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(mel, face)
    return graph.replay


def worker(way, batches):
    """Says which batch is ready, then answers each line with a line of milliseconds by batch."""
    torch = find_torch()
    torch.backends.cudnn.benchmark = True
    runs = {}
    with torch.inference_mode():
        net = make_net(torch)
        compiled = None
        if way != "graph":
            torch._dynamo.config.cache_size_limit = 64
            compiled = torch.compile(net, mode=way, dynamic=False)
        for batch in batches:
            face = torch.rand(batch, 6, 96, 96, device="cuda").half().to(memory_format=torch.channels_last)
            mel = torch.rand(batch, 1, 80, 16, device="cuda").half() * 8 - 4
            if way == "graph":
                runs[batch] = capture(torch, net, mel, face)
            else:
                for _ in range(4):  # compiles, warms up, captures
                    compiled(mel, face)
                torch.cuda.synchronize()
                runs[batch] = lambda mel=mel, face=face: compiled(mel, face)
            print("ready", batch, flush=True)
        print("all", flush=True)
        for _ in sys.stdin:
            print(json.dumps({b: time_runs(torch, run) for b, run in runs.items()}), flush=True)


class Way:
    """A worker process; None if it did not become ready in time."""

    def __init__(self, name, batches, seconds):
        self.name = name
        self.log = open(os.path.join(os.environ.get("LS_GPU_WORK", "/tmp"), "torch-%s.log" % name), "w")
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "worker", "--way", name,
                                         "--batches", ",".join(map(str, batches))], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)
        started = time.monotonic()
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.ready = []
        while True:
            line = self.line(started + seconds - time.monotonic())
            if line is None or line == "all":
                break
            self.ready.append(line)
        self.seconds = time.monotonic() - started
        self.usable = line == "all"
        if not self.usable:
            self.end()

    def read(self):
        for line in self.process.stdout:
            if re.match(r"ready|all|\{", line):  # others are some library's
                self.lines.put(line.strip())
        self.lines.put(None)

    def line(self, seconds):
        """The next line; None if there is none in time, or it has ended."""
        try:
            return self.lines.get(timeout=max(seconds, 0.01))
        except queue.Empty:
            return None

    def measure(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.line(60)
        return {int(b): ms for b, ms in json.loads(line).items()} if line else {}

    def end(self):
        self.process.kill()
        self.process.wait()


def measure_ours(command):
    """Milliseconds by batch of the whole face, in half precision."""
    try:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=150,
                              env={**os.environ, "LD_LIBRARY_PATH": os.environ.get("LS_GPU_LIBRARIES", "")})
    except subprocess.TimeoutExpired:
        say("SKIP: ours: not done in 150 s")
        return {}
    if done.returncode:
        say("bench_device failed:", done.stderr[-500:])
    found = re.findall(r"^device,generator fp16 whole batch (\d+): time,([\d.e+-]+),ms", done.stdout, re.M)
    return {int(batch): float(ms) for batch, ms in found}


def compare(args):
    find_torch()
    end = time.monotonic() + args.limit
    if args.ours and not measure_ours(args.ours):  # with plans from now on
        args.ours = ""
    ways = []
    for name in WAYS:
        # Compiling must leave time for the rounds, and for the way after it.
        left = end - 45 - time.monotonic()
        if name != WAYS[-1]:
            left *= 0.6
        batches = args.batches
        if left < 15:
            say("SKIP: torch %s: no time is left" % name)
            continue
        way = Way(name, batches, left)
        if not way.usable and way.ready and end - 45 - time.monotonic() > 30:
            # What is compiled is kept by torch: a second process with these batches alone is soon ready.
            batches = [int(r.split()[1]) for r in way.ready]
            way = Way(name, batches, end - 45 - time.monotonic())
        say("torch %s: %s after %.0f s" % (name, way.ready if way.usable else "not ready, left out", way.seconds))
        if way.usable:
            row("%s ready" % name, way.seconds, "s")
            ways.append(way)
    results = {}
    for _ in range(ROUNDS):
        for way in ways:
            for batch, ms in way.measure().items():
                results.setdefault((way.name, batch), []).append(ms)
        if args.ours:
            for batch, ms in measure_ours(args.ours).items():
                results.setdefault(("ours", batch), []).append(ms)
    for way in ways:
        way.end()
    for (name, batch), ms in sorted(results.items(), key=lambda item: (item[0][1], item[0][0])):
        row("%s batch %d: frames" % (name, batch), 1e3 * batch / median(ms), "frames/s")
        row("%s batch %d: time" % (name, batch), median(ms), "ms")
    for batch in args.batches:
        best = min((median(ms) for (name, b), ms in results.items() if b == batch and name != "ours"), default=None)
        if best and ("ours", batch) in results:
            row("ours over torch's best batch %d" % batch, best / median(results["ours", batch]), "times")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["peak", "compare", "worker"])
    parser.add_argument("--ours", default="", help="command that prints bench_device's rows")
    parser.add_argument("--limit", type=float, default=240, help="seconds for compare")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--batches", type=lambda text: [int(b) for b in text.split(",")], default=[64, 1, 16])
    args = parser.parse_args()
    if args.what == "peak":
        peak()
    elif args.what == "compare":
        compare(args)
    else:
        worker(args.way, args.batches)


if __name__ == "__main__":
    main()
