#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole job, a talking video of 25 frames/s and a voice in, a video out: our service (a real server and client) and
the original program's flow (original.py).  whole.py [--quick] [--seconds 60]

Both generate every frame and look for the face with YuNet at 320 pixels; ours with its default paste and H.264 by x264
while the inputs arrive, the original's with its own, after all frames are read. Rows "service,case,value,unit": wall
seconds, stages in milliseconds of a processor a frame, peak of memory (ours: server and its decoders, PSS, sampled; the
original's: its largest process). Of the original's S3FD the detection of a few frames is measured and scaled; its wall
seconds are those of the run with YuNet with detection exchanged, and its case says so.
"""
import argparse
import os
import re
import subprocess
import sys
import time

import prepare
import load_watch
import service

# Stages of ours as the summary has them, and of the original's that do the same.
STAGES = {"decode": ["read"], "detect": ["detect"], "mel": ["mel"], "generate": ["generate"],
          "composite": ["crop", "paste"], "encode": ["write", "mux"]}
SIZES = {"720p25": (1280, 720), "1080p25": (1920, 1080)}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def row(case, value, unit):
    print("service,%s,%.5g,%s" % (case, value, unit), flush=True)


def make_clip(size, seconds):
    wide, high = SIZES[size]
    out = os.path.join(prepare.WORK, "clip-%s-%d.mp4" % (size, seconds))
    if os.path.exists(prepare.PRESENTER):
        source = ["-stream_loop", "-1", "-i", prepare.PRESENTER]
        view = "fps=25,scale=%d:%d" % (wide, high)
    else:
        source = ["-i", prepare.PORTRAIT]
        view = "scale=2560:-1,zoompan=z='1.2+0.1*sin(on/40)':d=%d:s=%dx%d:fps=25,format=yuv420p" % (seconds * 25, wide, high)
    return service.ffmpeg(out, *source, "-vf", view, "-t", str(seconds), "-an", "-c:v", "libx264", "-preset", "superfast",
                          "-crf", "20", "-movflags", "+faststart")


# --- ours ------------------------------------------------------------------------------------------------------
def run_client(build, server, clip, voice):
    command = [os.path.join(build, "lipstream"), "sync", "--server", server.address, "--progress", "json",
               "--progress-interval", "10", "--silence", "generate", "--missing", "hold-box", clip, voice,
               os.path.join(prepare.WORK, "ours.mp4")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    summary = service.summary_of(done.stdout)
    if done.returncode or not summary:
        sys.exit("whole.py: the client ended with %d:\n%s\n%s" % (done.returncode, done.stdout[-2000:], server.text()[-2000:]))
    return summary


def measure_ours(args, weights, arithmetic, size, clip, voice):
    options = ["--arithmetic", arithmetic, "--model", prepare.weights_file(weights)]
    if os.path.exists(prepare.YUNET):
        options += ["--detector", prepare.YUNET]
    if arithmetic == "int8" and prepare.calibration_file(weights):
        options += ["--calibration", prepare.calibration_file(weights)]
    try:
        server = service.Server(args.build, options)
    except SystemExit as error:
        say("SKIP: ours %s %s: %s" % (weights, arithmetic, str(error).strip().splitlines()[-1]))
        return
    with server:
        pid = server.process.pid
        started, used = time.monotonic(), load_watch.cpu_seconds(pid)
        summary = run_client(args.build, server, clip, voice)
        wall, processor, peak_kb = time.monotonic() - started, load_watch.cpu_seconds(pid) - used, server.peak_kb
    frames = int(summary["framesOut"])
    case = "ours %s %s %s %d s: " % (weights, arithmetic, size, args.seconds)
    row(case + "wall", wall, "s")
    row(case + "frames out", frames / wall, "frames/s")
    row(case + "first media", service.seconds_of(summary["timeToFirstMedia"]), "s")
    row(case + "frames synced", 100 * int(summary.get("framesSynced", 0)) / frames, "%")
    row(case + "memory peak", peak_kb / 1024, "MiB")
    row(case + "processors", 1e3 * processor / frames, "ms/frame")
    for part, ms in summary.get("parts", {}).items():
        row(case + "part " + part[:-2].lower(), ms / frames, "ms/frame")


# --- the original's --------------------------------------------------------------------------------------------
def memory_free_mib():
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable: +(\d+)", f.read())[1]) / 1024


def print_original(case, got, detect):
    """detect: the stage that looks for faces; "detect", or "s3fd" in its place."""
    frames = got["frames"]
    wall = got["wall"] + (got["wall-" + detect] - got["wall-detect"]) * frames / 1e3
    row(case + "wall", wall, "s")
    row(case + "frames out", frames / wall, "frames/s")
    row(case + "first media", wall, "s")
    row(case + "memory peak", got["memory"], "MiB")
    total = 0
    for stage, names in STAGES.items():
        names = [detect] if stage == "detect" else names
        value = sum(got["processor-" + name] for name in names)
        total += value
        row(case + "part " + stage, value, "ms/frame")
        row(case + "wall of " + stage, sum(got["wall-" + name] for name in names), "ms/frame")
    row(case + "processors", total, "ms/frame")


def measure_original(args, weights, size, clip, voice):
    wide, high = SIZES[size]
    needed = args.seconds * 25 * wide * high * 3 / 1048576 + 4000
    if not os.path.exists(prepare.YUNET):
        say("SKIP: the original's flow: no YuNet at " + prepare.YUNET)
        return
    if memory_free_mib() < needed:
        say("SKIP: the original's flow %s: it needs %.0f MiB and %.0f are free" % (size, needed, memory_free_mib()))
        return
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "original.py")
    out = os.path.join(prepare.WORK, "original.mp4")
    done = subprocess.run([sys.executable, script, weights, clip, voice, out, "--sample", str(args.sample)], text=True,
                          stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("whole.py: original.py ended with %d" % done.returncode)
    got = {words[0]: float(words[1]) for words in map(str.split, done.stdout.splitlines()) if len(words) == 3}
    end = "%s %d s" % (size, args.seconds)
    print_original("original %s fp32 YuNet %s: " % (weights, end), got, "detect")
    if args.sample > 0:
        print_original("original %s fp32 S3FD (from %d frames) %s: " % (weights, args.sample, end), got, "s3fd")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(prepare.ROOT, "build", "release"))
    parser.add_argument("--quick", action="store_true", help="4 seconds of input")
    parser.add_argument("--seconds", type=int, help="of input; 60, or 4 with --quick")
    parser.add_argument("--sample", type=int, help="frames for S3FD; 3, or 1 with --quick")
    args = parser.parse_args()
    args.seconds = args.seconds or (4 if args.quick else 60)
    args.sample = args.sample if args.sample is not None else (1 if args.quick else 3)
    os.makedirs(prepare.WORK, exist_ok=True)
    os.makedirs(service.WORK, exist_ok=True)
    voice = service.make_voice(args.seconds)
    for size in SIZES:
        clip = make_clip(size, args.seconds)
        for weights in ("wide", "demo"):
            for arithmetic in ("fp32", "bf16", "int8"):
                measure_ours(args, weights, arithmetic, size, clip, voice)
        measure_original(args, "wide", size, clip, voice)


if __name__ == "__main__":
    main()
