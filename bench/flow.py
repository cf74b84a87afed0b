#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the time of a stream goes, a frame: processor time by thread, switches of threads, stages, variants by turns.

Usage: bench/flow.py [--build DIR] [--model FILE] [--detector FILE] [--seconds 12] [--streams 1,4] [--height 720]
                     [--clip FILE] [--rounds 3] [--variant NAME[@BUILD]=FLAGS]...

A variant is a server with these flags (and programs from another build). All variants run once a round, by turns,
so that what else the machine does hits them alike; medians of the rounds are printed as "flow,case,value,unit".
Processor time is what counts: of the server's threads by name, of its decode processes, of the clients. "others" is
what the rest of the machine took meanwhile, in processors: wall times mean something where it is near 0.
The film is made from the presenter of ../shared/media: 25 frames/s, as long as the voice; --clip takes another one,
which is looped, or a still. Needs only the standard library and ffmpeg.
"""
import argparse
import collections
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time

import service

TICK = os.sysconf("SC_CLK_TCK")


def make_clip(seconds, height, rate):
    source = os.path.join(service.SHARED, "media", "talking", "presenter_720p_faststart.mp4")
    return service.ffmpeg(os.path.join(service.WORK, f"flow-{seconds}-{height}p{rate}.mp4"), "-stream_loop", "-1",
                          "-i", source, "-t", str(seconds), "-an", "-vf", f"scale=-2:{height},fps={rate}", "-c:v",
                          "libx264", "-preset", "veryfast", "-crf", "20", "-movflags", "+faststart")


def stat_fields(path):
    with open(path) as f:
        return f.read().rsplit(")", 1)[1].split()  # [0] is field 3


def threads_of(pid):
    """Of each thread: name, seconds on a processor, seconds that it waited for one, switches by itself, forced ones."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        base = f"/proc/{pid}/task/{task}"
        try:
            with open(f"{base}/status") as f:
                text = f.read()
            with open(f"{base}/schedstat") as f:
                on_ns, wait_ns = (int(n) for n in f.read().split()[:2])
        except OSError:
            continue  # it ended while we looked
        name = re.search(r"^Name:\s+(\S+)", text, re.M).group(1)
        switches = [int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", text)]
        found[task] = ("loop" if task == str(pid) else name.rstrip("0123456789-"), on_ns / 1e9, wait_ns / 1e9, *switches)
    return found


def machine_busy():
    with open("/proc/stat") as f:
        n = [int(x) for x in f.readline().split()[1:9]]
    return (sum(n) - n[3] - n[4]) / TICK


def children_seconds(pid):
    fields = stat_fields(f"/proc/{pid}/stat")
    return (int(fields[13]) + int(fields[14])) / TICK


def run_clients(build, server, clip, voice, count, extra):
    command = [os.path.join(build, "lipstream"), "sync", "--server", server.address, "--progress", "json",
               "--progress-interval", "10", *extra, clip, voice]
    clients = [subprocess.Popen([*command, os.path.join(service.WORK, f"flow-out-{i}.mp4")], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for i in range(count)]
    summaries, seconds = [], 0
    try:
        for client in clients:
            text = client.stdout.read()
            _, status, usage = os.wait4(client.pid, 0)
            client.returncode = os.waitstatus_to_exitcode(status)
            summary = service.summary_of(text)
            if client.returncode or not summary:
                sys.exit(f"flow.py: a stream failed with {client.returncode}:\n{text[-2000:]}\n{server.text()[-2000:]}")
            summaries.append(summary)
            seconds += usage.ru_utime + usage.ru_stime
    finally:
        for client in clients:
            if client.returncode is None:
                client.kill()
    return summaries, seconds


def measure(args, variant, count):
    """One run: a dictionary of figures."""
    _, build, flags = variant
    with service.Server(build, [*args.options, *flags]) as server:
        pid = server.process.pid
        before, children, busy, started = threads_of(pid), children_seconds(pid), machine_busy(), time.monotonic()
        summaries, client_s = run_clients(build, server, args.clip, args.voice, count, args.client)
        wall = time.monotonic() - started
        busy = machine_busy() - busy
        time.sleep(0.3)  # decode processes are waited for
        after, children = threads_of(pid), children_seconds(pid) - children
        high_kb = server.high_water_kb()
    frames = sum(int(s["framesOut"]) for s in summaries)
    out = collections.OrderedDict()
    names, idle, by_itself, forced = collections.Counter(), collections.defaultdict(list), 0, 0
    for task, (name, seconds, waited, own, other) in after.items():
        old = before.get(task, (name, 0, 0, 0, 0))
        names[name] += seconds - old[1]
        idle[name].append(1 - (seconds - old[1] + waited - old[2]) / wall)
        by_itself += own - old[3]
        forced += other - old[4]
    server_s = sum(names.values())
    total = server_s + children + client_s
    out["wall", "s"] = wall
    out["frames out", "frames/s"] = frames / wall
    out["first media (worst)", "s"] = max(service.seconds_of(s["timeToFirstMedia"]) for s in summaries)
    out["processor time", "ms/frame"] = 1e3 * total / frames
    for name, seconds in sorted(names.items()):
        out[f"thread {name}", "ms/frame"] = 1e3 * seconds / frames
    out["decode processes", "ms/frame"] = 1e3 * children / frames
    out["clients", "ms/frame"] = 1e3 * client_s / frames
    for part in summaries[0].get("parts", {}):
        ms = sum(float(s["parts"].get(part, 0)) for s in summaries)
        out[f"stage {part[:-2].lower()}, wall", "ms/frame"] = ms / frames
    # Of a lane's time, what it had nothing to do: neither at work nor in line for a processor.
    out["lanes idle", "%"] = 100 * statistics.mean(idle.get("lane", [0]))
    out["processors in use", ""] = total / wall
    out["others", ""] = (busy - total) / wall
    out["switches by themselves", "/frame"] = by_itself / frames
    out["switches forced", "/frame"] = forced / frames
    out["server VmHWM", "MiB"] = high_kb / 1024
    return out


def variant_of(text, args):
    name, _, flags = text.partition("=")
    name, _, build = name.partition("@")
    return name, build or args.build, shlex.split(flags)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(service.ROOT, "build", "release"))
    parser.add_argument("--model", default="", help="checkpoint; default: the server's own")
    parser.add_argument("--detector", default="", help="detector; default: the server's own")
    parser.add_argument("--label", default="demo", help="the model's name in the rows")
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--streams", type=service.numbers, default=[1, 4])
    parser.add_argument("--clip", default="")
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", type=shlex.split, default=[], help="flags for `lipstream sync`")
    parser.add_argument("--variant", action="append", default=[])
    args = parser.parse_args()
    os.makedirs(service.WORK, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is stopped
    args.options = [o for flag in ("model", "detector") if getattr(args, flag)
                    for o in (f"--{flag}", getattr(args, flag))]
    args.clip = args.clip or make_clip(args.seconds, args.height, args.rate)
    args.voice = service.make_voice(args.seconds)
    variants = [variant_of(v, args) for v in args.variant or ["as it is="]]
    for count in args.streams:
        runs = {v[0]: [] for v in variants}
        for turn in range(args.rounds):
            for variant in variants[turn % len(variants):] + variants[:turn % len(variants)]:
                runs[variant[0]].append(measure(args, variant, count))
        for name, _, _ in variants:
            case = f"{args.label} {args.height}p{args.rate} {args.seconds} s x{count}, {name}"
            for what, unit in runs[name][0]:
                value = statistics.median(r.get((what, unit), 0) for r in runs[name])
                print(f"flow,{case}: {what},{value:.4g},{unit}", flush=True)


if __name__ == "__main__":
    main()
