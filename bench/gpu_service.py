#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole service on one machine, as tests/gpu.sh and bench/gpu.sh run it: server and callers on loopback.

  gpu_service.py same      the same bytes come out with 1, 16 and 64 streams at once, each stream compared with
                           its kind alone: raw frames in and out, then H.264 in and out, then H.264 in decoded
                           on the device. Callers are the C client: nothing but Python itself is needed.
  gpu_service.py cache     starts: without plans, with them, with a damaged file; what comes out each time
  gpu_service.py starts    starts with --model: without plans, then with them (--plans)
  gpu_service.py live      streams held at 25 frames/s, with their latency, and device memory. Needs grpcio.

Environment, set by tests/gpu.sh: LS_GPU_PROGRAMS (folder), LS_GPU_LIBRARIES (for their LD_LIBRARY_PATH),
LS_GPU_MODULE, LS_GPU_WORK (folder), LS_GPU_TINY (few small frames, for a stand-in). Rows "bench,case,value,unit"
go to standard output, everything else to standard error. Frames and voices are made here. Frames have a
given box, so nothing is detected.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import gpu_media

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TINY = bool(os.environ.get("LS_GPU_TINY"))
PROGRAMS = os.environ["LS_GPU_PROGRAMS"]
WORK = os.environ["LS_GPU_WORK"]
MODEL = os.path.join(ROOT, "kernels", "demo", "lipstream_demo_fp16.safetensors")
KINDS = 4  # different faces and voices among the streams
failures = []


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def check(name, ok, detail=""):
    say("%s %s %s" % ("ok  " if ok else "FAIL", name, detail))
    if not ok:
        failures.append(name)
    return ok


def row(case, value, unit):
    print("service,%s,%.5g,%s" % (case, value, unit), flush=True)


def environment():
    """The programs' own libraries; they are not Python's."""
    return {**os.environ, "LD_LIBRARY_PATH": os.environ.get("LS_GPU_LIBRARIES", "")}


class Server:
    def __init__(self, *options, model=MODEL, plans="none", sessions=80):
        self.log = os.path.join(WORK, "server.log")
        command = [os.path.join(PROGRAMS, "lipstreamd"), "--listen", "127.0.0.1:0", "--admin-listen", "none",
                   "--backend", "cuda", "--cuda-module", os.environ["LS_GPU_MODULE"], "--model", model, "--plan-cache", plans,
                   "--sessions-max", str(sessions), "--warm-decoders", "8", "--spool-dir", WORK, *options]
        if TINY and "--batch-max" not in options:  # a stand-in would be at it for hours
            command += ["--batch-max", "2"]
        self.memory_before = device_memory()
        started = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=environment())
        self.address = None
        try:
            while not self.address:
                found = re.search(r"listening on ([^ ,]+:\d+)", self.text())
                self.address = found and found.group(1)
                if self.process.poll() is not None or time.monotonic() - started > 400:
                    sys.exit("gpu_service: the server did not start:\n" + self.text())
                time.sleep(0.01)
        except BaseException:  # our own end too: while it starts, it takes no other signal
            self.process.kill()
            raise
        self.start_seconds = time.monotonic() - started

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def field(self, name):
        found = re.search(name + r'=("[^"]*"|\S+)', self.text())
        return found.group(1).strip('"') if found else ""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        try:
            code = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = "nothing after 40 s"
        if not kind:
            check("server ends well", code == 0, "" if code == 0 else "%s\n%s" % (code, self.text()[-2000:]))


def device_memory():
    """MiB in use on the device, by everybody; None where there is no nvidia-smi."""
    try:
        text = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True, timeout=20, check=True).stdout
        return float(text.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


# --- the same bytes at any load --------------------------------------------------------------------------
def sync(server, size, face, voice, out, raw_in, raw_out):
    """One call of the C client; the digest of its output, frames and synced frames."""
    width, height = size
    box = "%d,%d,%d,%d" % gpu_media.face_box(width, height)
    command = [os.path.join(PROGRAMS, "lipstream"), "sync", "--server", server.address, "--pcm", "16000",
               "--fixed-box", box, "--silence", "generate", "--progress", "json", "--progress-interval", "30"]
    command += ["--raw-frames", "%dx%d@25:i420" % size] if raw_in else []
    command += ["--container", "none", "--video", "i420"] if raw_out else []
    done = subprocess.run([*command, face, voice, out], capture_output=True, text=True, env=environment())
    summary = {}
    for line in done.stdout.splitlines():
        if line.startswith("{") and '"summary"' in line:
            summary = json.loads(line)["summary"]
    if done.returncode:
        return None, (done.stdout + done.stderr)[-600:], 0
    with open(out, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    os.unlink(out)
    return digest, int(summary.get("framesOut", 0)), int(summary.get("framesSynced", 0))


def many(server, count, size, faces, voices, raw_in, raw_out):
    def one(i):
        out = os.path.join(WORK, "out-%d" % i)
        return sync(server, size, faces[i % KINDS], voices[i % KINDS], out, raw_in, raw_out)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        started = time.monotonic()
        results = list(pool.map(one, range(count)))
        return results, time.monotonic() - started


def compare_loads(server, name, size, faces, voices, raw_in, raw_out, loads):
    alone = [sync(server, size, faces[k], voices[k], os.path.join(WORK, "alone"), raw_in, raw_out)
             for k in range(KINDS)]
    for k, (digest, frames, synced) in enumerate(alone):
        if not check("%s: alone %d" % (name, k), digest and synced == frames > 0,
                     "%s frames, %s synced" % (frames, synced)):
            return alone
    check(name + ": four kinds are four outputs", len({digest for digest, _, _ in alone}) == KINDS)
    for count in loads:
        results, seconds = many(server, count, size, faces, voices, raw_in, raw_out)
        bad = [i for i, r in enumerate(results) if r[0] != alone[i % KINDS][0]]
        check("%s: %d at once" % (name, count), not bad,
              "%d differ or failed: %s" % (len(bad), results[bad[0]]) if bad else
              "%.0f frames/s" % (sum(r[1] for r in results) / seconds))
    return alone


def same(args):
    size, frames = ((96, 96), 3) if TINY else ((640, 360), 50)
    loads = args.streams or ([1, 2] if TINY else [1, 16, 64])
    faces = [gpu_media.make_frames(WORK, size, frames, k) for k in range(KINDS)]
    voices = [gpu_media.make_voice(WORK, frames / 25, k) for k in range(KINDS)]
    known = os.path.exists(args.plans)
    with Server(plans=args.plans) as server:
        say("device:", server.field("device"), "| arithmetic:", server.field("arithmetic"), "| video:",
            server.field("video"))
        if not known:
            row("start demo without plans", server.start_seconds, "s")
        compare_loads(server, "raw in, raw out", size, faces, voices, True, True, loads)
        videos = [os.path.join(WORK, "clip-%d.mp4" % k) for k in range(KINDS)]
        for k in range(KINDS):
            command = [os.path.join(PROGRAMS, "lipstream"), "sync", "--server", server.address, "--raw-frames",
                       "%dx%d@25:i420" % size, "--pcm", "16000", "--fixed-box",
                       "%d,%d,%d,%d" % gpu_media.face_box(*size), "--progress", "none", "--audio", "none",
                       faces[k], voices[k], videos[k]]
            subprocess.run(command, check=True, env=environment())
        compare_loads(server, "H.264 in, H.264 out", size, videos, voices, False, False, loads)
        alone = compare_loads(server, "H.264 in, raw out", size, videos, voices, False, True, loads[:1])
    with Server("--decode-on-device", "1", plans=args.plans) as server:
        say("video:", server.field("video"))
        there = compare_loads(server, "H.264 in, decoded in the server", size, videos, voices, False, True, loads)
        check("decoded in the server: the same bytes", [r[0] for r in there] == [r[0] for r in alone])


# --- starts ----------------------------------------------------------------------------------------------
def start_once(name, plans, size, face, voice, *options):
    with Server(*options, plans=plans) as server:
        result = sync(server, size, face, voice, os.path.join(WORK, "start"), True, True)
        say("%s: %.2f s, %s" % (name, server.start_seconds, server.field("arithmetic")))
        check(name + ": serves", result[0], result[1])
        row("start demo %s" % name, server.start_seconds, "s")
        return server.start_seconds, result[0], server.field("arithmetic")


def cache(args):
    """--plans: those that `same` has left behind; without them there is one start more."""
    size, frames = ((96, 96), 2) if TINY else ((320, 240), 25)
    face, voice = gpu_media.make_frames(WORK, size, frames, 0), gpu_media.make_voice(WORK, frames / 25, 0)
    plans = os.path.join(WORK, "plans-cache-test.bin")
    if os.path.exists(args.plans):
        shutil.copy(args.plans, plans)
    else:
        start_once("without plans", plans, size, face, voice)
    if not os.path.exists(plans):
        say("SKIP: no plans are kept (a stand-in, or no cuDNN)")
        return
    row("file of plans demo", os.path.getsize(plans) / 2**20, "MiB")
    warm, first, _ = start_once("with plans", plans, size, face, voice)
    check("start with plans: under 3 s", warm < 3, "%.2f s" % warm)
    _, second, _ = start_once("with plans once more", plans, size, face, voice)
    check("start with plans: the same bytes", first == second)
    with open(plans, "r+b") as f:
        data = bytearray(f.read())
        for at in range(len(data) // 3, len(data) // 3 + 64):
            data[at] ^= 0x5A
        f.seek(0)
        f.write(data)
        f.truncate(len(data) - len(data) // 10)
    # Plans for one batch size are soon chosen anew.
    _, _, text = start_once("with damaged plans batch 1", plans, size, face, voice, "--batch-max", "1")
    say("what it says of them:", text)


def starts(args):
    if os.path.exists(args.plans):
        os.unlink(args.plans)
    for name in ("without plans", "with plans"):
        with Server(model=args.model or MODEL, plans=args.plans) as server:
            row("start %s %s" % (args.label, name), server.start_seconds, "s")
            say("%s: %.2f s, %s" % (name, server.start_seconds, server.field("arithmetic")))
            memory = device_memory()
            if memory is not None and server.memory_before is not None:
                row("device memory after the start %s" % args.label, memory - server.memory_before, "MiB")


# --- live streams ----------------------------------------------------------------------------------------
def run_callers(server, clip, count, output, seconds):
    """`count` live streams by several processes; their frames' latencies, sorted, and what failed."""
    each = 4
    callers = []
    for first in range(0, count, each):
        command = [sys.executable, os.path.join(ROOT, "bench", "gpu_caller.py"), server.address, clip, output,
                   str(min(each, count - first)), str(seconds)]
        callers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True))
    for caller in callers:
        caller.stdout.readline()  # "ready": Python and gRPC take a while to start
    for caller in callers:
        caller.stdin.write("go\n")
        caller.stdin.flush()
    memory = []
    ended = threading.Event()

    def sample():
        while not ended.wait(1):
            memory.append(device_memory() or 0)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    late, first, failed, frames = [], [], [], 0
    for caller in callers:
        try:
            text = caller.communicate(timeout=seconds * 3 + 30)[0]
        except subprocess.TimeoutExpired:
            caller.kill()
            text = ""
        results = json.loads(text) if text.strip() else [{"error": "no answer"}]
        for result in results:
            if "error" in result:
                failed.append(result["error"])
            else:
                late += result["late"]
                first.append(result["first"])
                frames += result["frames"]
    ended.set()
    sampler.join()
    return sorted(late), first, failed, frames, max(memory, default=0)


def live_case(server, label, clip, count, output, seconds):
    late, first, failed, frames, memory = run_callers(server, clip, count, output, seconds)
    name = "live %s %s out x%d" % (label, output, count)
    if failed or not late:
        say("%s: %d of %d failed: %s" % (name, len(failed), count, failed[:1]))
        return False
    p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
    row(name + ": frame latency p50", 1e3 * p50, "ms")
    row(name + ": frame latency p99", 1e3 * p99, "ms")
    row(name + ": first media (worst)", max(first), "s")
    row(name + ": frames", frames / seconds, "frames/s")
    if memory and server.memory_before is not None:
        row(name + ": device memory", memory - server.memory_before, "MiB")
    held = p99 < 0.5
    say("%s: p50 %.0f ms, p99 %.0f ms: %s" % (name, 1e3 * p50, 1e3 * p99, "held" if held else "not held"))
    return held


def climb(server, label, clip, output, seconds, ladder, stop):
    """The most streams that were held: up the ladder until they are not, then once half-way between."""
    most = 0

    def held(count):
        nonlocal most
        if time.monotonic() + seconds + 4 > stop:
            say("SKIP: live %s %s out x%d: no time is left" % (label, output, count))
            return None
        ok = live_case(server, label, clip, count, output, seconds)
        most = count if ok else most
        return ok

    for count in ladder:
        ok = held(count)
        if ok is False and count - most > 8:
            held((most + count) // 2)
        if not ok:
            break
    return most


def live(args):
    try:
        import grpc  # noqa: F401 (the callers need it)
    except ImportError:
        say("SKIP: live streams: Python has no grpcio")
        return
    import gpu_caller

    seconds = 2 if TINY else args.seconds
    ladder = args.streams or ([1, 2] if TINY else [1, 16, 64, 128, 256])
    sizes = [("tiny", (96, 96))] if TINY else [("720p", (1280, 720)), ("1080p", (1920, 1080))]
    end = time.monotonic() + args.limit
    with Server(model=args.model or MODEL, plans=args.plans, sessions=272) as server:
        row("start %s" % args.label, server.start_seconds, "s")
        say("device:", server.field("device"), "| arithmetic:", server.field("arithmetic"))
        for number, (label, size) in enumerate(sizes):
            frames = gpu_media.make_frames(WORK, size, 4 if TINY else int(25 * seconds), 0)
            clip = gpu_caller.make_clip(server.address, frames, size, os.path.join(WORK, label))
            for output in ("raw", "h264"):
                # What is left of the time is shared out among the cases that are left.
                share = (end - time.monotonic()) / (2 * len(sizes) - 2 * number - (output == "h264"))
                most = climb(server, args.label + " " + label, clip, output, seconds, ladder, time.monotonic() + share)
                row("live %s %s %s out: streams held at 25 frames/s (p99 < 0.5 s)" % (args.label, label, output),
                    most, "streams")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["same", "cache", "starts", "live"])
    parser.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--plans", default="none", help="file of plans for the server")
    parser.add_argument("--model", default="", help="checkpoint for live; default: the demo model")
    parser.add_argument("--label", default="demo", help="the model's name in the rows of live")
    parser.add_argument("--seconds", type=float, default=5, help="of a live stream")
    parser.add_argument("--limit", type=float, default=150, help="seconds for all of live")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that servers are stopped
    os.makedirs(WORK, exist_ok=True)
    {"same": same, "cache": cache, "starts": starts, "live": live}[args.what](args)
    if failures:
        sys.exit("gpu_service: failed: " + ", ".join(failures))


if __name__ == "__main__":
    main()
