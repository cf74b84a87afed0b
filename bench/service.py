#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the whole service as a caller sees it: real server, real clients, one machine.

Usage: bench/service.py [--build DIR] [--model FILE] [--detector FILE] [--label NAME] [--seconds 10,60]
           [--streams 1,4] [--size 720p,1080p] [--rate 25] [--arithmetic fp32,bf16,int8] [--loop SECONDS]

Prints rows "service,case,value,unit", for each size and arithmetic (which then is part of the model's name: memory
differs, too). The clip is the presenter of ../shared/media, looped and scaled, or, where that is missing, a slow
zoom over the demo's portrait; the case says which, its size and its frames a second. Memory is the sum of the
proportional set sizes (PSS) of the server and its decode processes, sampled twice a second, because they share the
memory of the frames; VmHWM is the server's own high-water mark. Processor time is the server's and its decode
processes', without the start: it hardly depends on what else runs. For int8 the clip calibrates first. With --loop
the clip has so many seconds and the server repeats it for the voice: its faces are known from the second round on.
Needs only the standard library and ffmpeg.
Server and clients share the processors, so the figures hold for one machine that does both.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import load_watch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.environ.get("LS_SHARED", os.path.join(ROOT, "..", "shared"))
WORK = os.path.join(ROOT, "build", "bench")
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}


def ffmpeg(out, *arguments):
    if not os.path.exists(out):
        part = os.path.join(WORK, "part-" + os.path.basename(out))
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments, part], check=True)
        os.rename(part, out)
    return out


def make_clip(size, rate, seconds):
    width, height = SIZES[size]
    name = f"{size}{rate}-{seconds}.mp4"
    encoded = ["-r", str(rate), "-t", str(seconds), "-an", "-c:v", "libx264", "-preset", "superfast", "-crf", "20",
               "-movflags", "+faststart"]
    source = os.path.join(SHARED, "media", "talking", "presenter_720p_faststart.mp4")
    if os.path.exists(source):
        scale = f"fps={rate},scale={width}:{height}:flags=lanczos"
        return "presenter", ffmpeg(os.path.join(WORK, "presenter-" + name), "-stream_loop", "-1", "-i", source, "-vf",
                                   scale, *encoded)
    portrait = os.path.join(ROOT, "build", "demo", "portrait.jpg")
    zoom = (f"scale=2560:-1,zoompan=z='1.2+0.1*sin(on/40)':d={seconds * rate}:s={width}x{height}:fps={rate},"
            "format=yuv420p")
    return "portrait", ffmpeg(os.path.join(WORK, "portrait-" + name), "-i", portrait, "-vf", zoom, *encoded)


def make_voice(seconds):
    source = os.path.join(SHARED, "media", "audio", "speech_en_28s_48k.wav")
    if not os.path.exists(source):
        source = os.path.join(WORK, "flite.wav")
        if not os.path.exists(source):
            text = "This is a longer text for a measurement. It is read aloud again and again."
            subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", source], check=True)
    return ffmpeg(os.path.join(WORK, f"voice-{seconds}.wav"), "-stream_loop", "-1", "-i", source, "-t", str(seconds))


class Server:
    """lipstreamd on a free port, with a thread that looks at its memory until the end."""

    def __init__(self, build, options):
        self.log = open(os.path.join(WORK, "server.log"), "w+")
        self.process = subprocess.Popen([os.path.join(build, "lipstreamd"), "--listen", "127.0.0.1:0",
                                         "--admin-listen", "none", *options],
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        started = time.monotonic()
        self.address = None
        while not self.address:
            found = re.search(r"listening on ([^ ,]+:\d+)", self.text())
            self.address = found and found.group(1)
            if self.process.poll() is not None or time.monotonic() - started > 60:
                self.process.kill()
                sys.exit("service.py: the server did not start:\n" + self.text())
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - started
        self.peak_kb = 0
        self.done = threading.Event()
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()

    def text(self):
        with open(self.log.name) as f:
            return f.read()

    def pss_kb(self):
        return sum(load_watch.pss_kb(pid) for pid in load_watch.family(self.process.pid))

    def settled_kb(self):
        """Once it stays: decode processes are started ahead, and what loading took is given back."""
        last, steady = 0, 0
        for _ in range(100):
            now = self.pss_kb()
            steady = steady + 1 if abs(now - last) <= now / 100 else 0
            last = now
            if steady == 3:
                break
            time.sleep(0.1)
        return last

    def cpu_seconds(self):
        return sum(load_watch.cpu_seconds(pid) for pid in load_watch.family(self.process.pid))

    def high_water_kb(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))

    def sample(self):
        while not self.done.wait(0.5):
            self.peak_kb = max(self.peak_kb, self.pss_kb())

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.done.set()
        self.sampler.join()
        self.process.terminate()
        if self.process.wait(60) and not kind:
            sys.exit("service.py: the server ended badly:\n" + self.text())


def seconds_of(duration):
    return float(duration.rstrip("s"))


def summary_of(text):
    for line in text.splitlines():
        if line.startswith("{"):
            message = json.loads(line)
            if "summary" in message:
                return message["summary"]
    return None


def run_streams(build, server, clip, voice, count):
    """All at once; returns their summaries and the seconds that it took."""
    started = time.monotonic()
    clients = [subprocess.Popen([os.path.join(build, "lipstream"), "sync", "--server", server.address, "--progress",
                                 "json", "--progress-interval", "10", clip, voice,
                                 os.path.join(WORK, f"out-{i}.mp4")],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
               for i in range(count)]
    try:
        texts = [c.communicate()[0] for c in clients]
    finally:
        for client in clients:
            client.kill()
    wall = time.monotonic() - started
    summaries = [summary_of(t) for t in texts]
    for client, text, summary in zip(clients, texts, summaries):
        if client.returncode or not summary:
            sys.exit(f"service.py: a stream failed with {client.returncode}:\n{text[-2000:]}\n{server.text()[-2000:]}")
    return summaries, wall


def calibrate(args, options):
    """A calibration by a few seconds of the clip: speed does not depend on the ranges."""
    clip, voice, out = make_clip("720p", 25, 10)[1], make_voice(10), os.path.join(WORK, "calibration")
    done = subprocess.run([os.path.join(args.build, "lipstream-calibrate"), out, clip, voice, "--", *options],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit("service.py: no calibration:\n" + done.stderr)
    return out


def measure(args, label, options, size, seconds, count):
    """Prints the rows of one case; returns the peak of memory."""
    name, clip = make_clip(size, args.rate, args.loop or seconds)
    if args.loop:
        name = f"{name} looped after {args.loop} s"
    voice = make_voice(seconds)
    with Server(args.build, options) as server:
        idle_kb, cpu_s = server.settled_kb(), -server.cpu_seconds()
        summaries, wall = run_streams(args.build, server, clip, voice, count)
        cpu_s += server.cpu_seconds()
        peak_kb, high_kb = server.peak_kb, server.high_water_kb()

    frames = sum(int(s["framesOut"]) for s in summaries)
    case = f"{label} {name} {size}{args.rate} {seconds} s x{count}"
    rows = [
        ("wall", wall, "s"),
        ("seconds of work a second", wall / (seconds * count), "s/s"),
        ("frames out", frames / wall, "frames/s"),
        ("processor time", 1e3 * cpu_s / frames, "ms/frame"),
        ("first media (worst)", max(seconds_of(s["timeToFirstMedia"]) for s in summaries), "s"),
        ("server start", server.start_seconds, "s"),
        ("memory before", idle_kb / 1024, "MiB"),
        ("memory peak with decoders", peak_kb / 1024, "MiB"),
        ("server VmHWM", high_kb / 1024, "MiB"),
    ]
    synced = sum(int(s.get("framesSynced", 0)) for s in summaries)
    rows.append(("frames synced", 100 * synced / frames, "%"))
    parts = summaries[0].get("parts", {})
    for part, ms in parts.items():
        rows.append((f"part {part[:-2].lower()}", ms * count / frames, "ms/frame"))
    for what, value, unit in rows:
        print(f"service,{case}: {what},{value:.4g},{unit}", flush=True)
    return peak_kb


def numbers(text):
    return [int(part) for part in text.split(",")]


def rate_of(text):
    rate = int(text)
    if not 1 <= rate <= 120:
        raise argparse.ArgumentTypeError("not 1 to 120")
    return rate


def sizes(text):
    for part in text.split(","):
        if part not in SIZES:
            raise argparse.ArgumentTypeError(f"{part} is none of {', '.join(SIZES)}")
    return text.split(",")


def measure_all(args, label, options, size):
    peak_kb = {}
    for seconds in args.seconds:
        for count in args.streams:
            peak_kb[seconds, count] = measure(args, label, options, size, seconds, count)
        first, last = args.streams[0], args.streams[-1]
        if last > first:
            each = (peak_kb[seconds, last] - peak_kb[seconds, first]) / (last - first) / 1024
            print(f"service,{label} {size}{args.rate} {seconds} s: memory of each further session,{each:.4g},MiB",
                  flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--model", default="", help="checkpoint; default: the server's own")
    parser.add_argument("--detector", default="", help="detector; default: the server's own")
    parser.add_argument("--label", default="demo", help="the model's name in the rows")
    parser.add_argument("--seconds", type=numbers, default=[10, 60])
    parser.add_argument("--streams", type=numbers, default=[1, 4])
    parser.add_argument("--size", type=sizes, default=["720p"], help="of " + ", ".join(SIZES) + ", by commas")
    parser.add_argument("--rate", type=rate_of, default=25, help="frames a second of the clip")
    parser.add_argument("--loop", type=int, default=0, help="seconds of the clip, which is repeated; 0: as the voice")
    parser.add_argument("--arithmetic", default="", help="the generator's, by commas; default: the server's own")
    args = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is stopped
    options = [o for flag in ("model", "detector") if getattr(args, flag) for o in (f"--{flag}", getattr(args, flag))]
    for arithmetic in args.arithmetic.split(","):
        label = args.label + ("-" + arithmetic if arithmetic else "")
        more = ["--arithmetic", arithmetic] if arithmetic else []
        if arithmetic == "int8":
            more += ["--calibration", calibrate(args, options)]
        for size in args.size:
            measure_all(args, label, options + more, size)


if __name__ == "__main__":
    main()
