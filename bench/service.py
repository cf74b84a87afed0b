#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the whole service as a caller sees it: real server, real clients, one machine.

Usage: bench/service.py [--build DIR] [--model FILE] [--detector FILE] [--seconds 10,60] [--streams 1,4]

Prints rows "service,case,value,unit". The clip is 1280x720 at 30 frames/s: the presenter of ../shared/media,
looped, or, where that is missing, a slow zoom over the demo's portrait; the case says which. Memory is the sum
of the proportional set sizes (PSS) of the server and its decode processes, sampled twice a second, because
they share the memory of the frames; VmHWM is the server's own high-water mark. Needs only the standard library
and ffmpeg. Server and clients share the processors, so the figures hold for one machine that does both.
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

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.environ.get("LS_SHARED", os.path.join(ROOT, "..", "shared"))
WORK = os.path.join(ROOT, "build", "bench")


def ffmpeg(out, *arguments):
    if not os.path.exists(out):
        part = os.path.join(WORK, "part-" + os.path.basename(out))
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments, part], check=True)
        os.rename(part, out)
    return out


def make_clip(seconds):
    source = os.path.join(SHARED, "media", "talking", "presenter_720p_faststart.mp4")
    if os.path.exists(source):
        out = os.path.join(WORK, f"presenter-{seconds}.mp4")
        return "presenter", ffmpeg(out, "-stream_loop", "-1", "-i", source, "-t", str(seconds), "-an", "-c:v",
                                   "libx264", "-preset", "superfast", "-crf", "20", "-movflags", "+faststart")
    portrait = os.path.join(ROOT, "build", "demo", "portrait.jpg")
    zoom = f"scale=2560:-1,zoompan=z='1.2+0.1*sin(on/40)':d={seconds * 30}:s=1280x720:fps=30,format=yuv420p"
    return "portrait", ffmpeg(os.path.join(WORK, f"portrait-{seconds}.mp4"), "-i", portrait, "-vf", zoom, "-t",
                              str(seconds), "-c:v", "libx264", "-preset", "superfast", "-movflags", "+faststart")


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

    def family(self):
        pid = self.process.pid
        children = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                children += f.read().split()
        return [str(pid), *children]

    def pss_kb(self):
        total = 0
        for pid in self.family():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    total += int(re.search(r"^Pss: +(\d+)", f.read(), re.M).group(1))
            except (OSError, AttributeError):
                pass  # it ended while we looked
        return total

    def high_water_kb(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))

    def sample(self):
        while not self.done.wait(0.5):
            try:
                self.peak_kb = max(self.peak_kb, self.pss_kb())
            except OSError:
                return

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


def measure(args, seconds, count):
    name, clip = make_clip(seconds)
    voice = make_voice(seconds)
    with Server(args.build, args.options) as server:
        idle_kb = server.pss_kb()
        summaries, wall = run_streams(args.build, server, clip, voice, count)
        peak_kb, high_kb = server.peak_kb, server.high_water_kb()

    frames = sum(int(s["framesOut"]) for s in summaries)
    case = f"{args.label} {name} 720p30 {seconds} s x{count}"
    rows = [
        ("wall", wall, "s"),
        ("seconds of work a second", wall / (seconds * count), "s/s"),
        ("frames out", frames / wall, "frames/s"),
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--model", default="", help="checkpoint; default: the server's own")
    parser.add_argument("--detector", default="", help="detector; default: the server's own")
    parser.add_argument("--label", default="demo", help="the model's name in the rows")
    parser.add_argument("--seconds", type=numbers, default=[10, 60])
    parser.add_argument("--streams", type=numbers, default=[1, 4])
    args = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is stopped
    args.options = [o for flag in ("model", "detector") if getattr(args, flag)
                    for o in (f"--{flag}", getattr(args, flag))]
    peak_kb = {}
    for seconds in args.seconds:
        for count in args.streams:
            peak_kb[seconds, count] = measure(args, seconds, count)
        first, last = args.streams[0], args.streams[-1]
        if last > first:
            each = (peak_kb[seconds, last] - peak_kb[seconds, first]) / (last - first) / 1024
            print(f"service,{args.label} 720p30 {seconds} s: memory of each further session,{each:.4g},MiB")


if __name__ == "__main__":
    main()
