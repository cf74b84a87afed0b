#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Twice what the machine can take, for minutes: what becomes of accepted streams, of refused callers, of memory.

Usage: bench/load_overload.py [--seconds 300] [--factor 2] [--length 10] [--source ts] [--batch 0]

First it measures what server and callers together can take: frames a second of calls as fast as they can be.
Then live callers (config.timing.live, 320x240 at 25 frames/s, each --length seconds, sent frame by frame) arrive at
random at --factor times that; whoever is refused goes away. With --batch N, N callers of priority batch keep
beside them a call each that is as fast as it can be. Prints rows "load,case,value,unit" and writes what happened
in every second to build/bench/overload.csv (--out); bench/load_plot.py draws it. Server and callers share the
processors; the rows say what the callers cost and how late they were themselves.
"""
import argparse
import asyncio
import csv
import json
import os
import signal
import sys
import time

import load_calls
from load_calls import RATE, _stubs
from load_watch import Watch, total

CONNECTIONS = 4
BATCH = (("lipstream-priority", "batch"),)
LATE_S = 0.5  # --live-lag's own border in /metrics


def part(values, share):
    """The value below which that share of them lies; 0 of none."""
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Run:
    """What one overload came to."""

    def __init__(self, args):
        self.args, self.live, self.batch, self.samples, self.own_lags = args, [], [], [], []
        self.capacity = self.caller_cpu = self.server_cpu = self.began = self.ended = 0.0

    @property
    def accepted(self):
        return [o for o in self.live if not o.refused]

    @property
    def refused(self):
        return [o for o in self.live if o.refused]

    def lags(self):
        return [lag for o in self.accepted for _, lag in o.lags]


async def own_lateness(run):
    """How late this process is itself when it wants to act: part of every lag and refusal below."""
    while True:
        due = time.monotonic() + 0.05
        await asyncio.sleep(0.05)
        run.own_lags.append(time.monotonic() - due)


async def keep_batch(run, on, clip, end):
    """One caller of priority batch: the next call follows the last; refused, it waits as it was told."""
    config = clip.config()
    while time.monotonic() < end:
        outcome = await load_calls.run(on, clip, "batch", config, False, BATCH)
        run.batch.append(outcome)
        if not outcome.ok:
            await asyncio.sleep(outcome.retry_s or 1)


async def offer(run, channels, clip):
    args, config, tasks = run.args, clip.config(live=True), []
    run.began = time.monotonic()
    rate = args.factor * run.capacity / clip.count

    async def one(i):
        run.live.append(await load_calls.run(channels[i % CONNECTIONS], clip, "live", config, True))

    batch = [asyncio.ensure_future(keep_batch(run, channels[i % CONNECTIONS], clip, run.began + args.seconds))
             for i in range(args.batch)]
    for i, at in enumerate(load_calls.arrivals(rate, args.seconds)):
        await asyncio.sleep(max(0, run.began + at - time.monotonic()))
        tasks.append(asyncio.ensure_future(one(i)))
    await asyncio.sleep(max(0, run.began + args.seconds - time.monotonic()))
    run.ended = time.monotonic()
    await asyncio.gather(*tasks, *batch)


async def overload(run, server):
    args = run.args
    clip = load_calls.Clip(args.length, args.source)
    channels = [load_calls.channel(server.address) for _ in range(CONNECTIONS)]
    run.capacity = await load_calls.capacity(channels[0], load_calls.Clip(4, args.source), args.calibrate_streams,
                                             args.calibrate)
    watcher = asyncio.ensure_future(own_lateness(run))
    with Watch(server.pid, server.admin, 1.0) as watch:
        mine, wall = time.process_time(), time.monotonic()
        await offer(run, channels, clip)
        wall = time.monotonic() - wall
        run.caller_cpu = (time.process_time() - mine) / wall
    watcher.cancel()
    run.samples = watch.samples
    run.server_cpu = (run.samples[-1]["cpu_s"] - run.samples[0]["cpu_s"]) / (
        run.samples[-1]["at"] - run.samples[0]["at"])
    for channel in channels:
        await channel.close()


# --- what it says --------------------------------------------------------------------------------------------
SERIES = ["second", "offered", "accepted", "due", "frames", "lag_p50_ms", "lag_max_ms", "refused", "refusal_max_ms",
          "batch_frames", "server_mib", "decoders_mib"]


def series(run):
    """A row a second."""
    count, rows = int(run.ended - run.began), []
    samples = {int(s["at"] - run.began): s for s in run.samples}
    frames, lags, refusals, batch = ([[] for _ in range(count)] for _ in range(4))

    def put(table, at, value):
        if 0 <= at - run.began < count:
            table[int(at - run.began)].append(value)

    for o in run.accepted:
        for at, lag in o.lags:
            put(lags, at, lag)
            put(frames, at, 1)
    for o in run.refused:
        put(refusals, o.ended, o.refusal_s)
    for o in run.batch:
        for at, n in o.arrivals:
            put(batch, at, n)
    last = run.samples[0]
    for i in range(count):
        at = run.began + i
        last = samples.get(i, last)
        running = sum(o.begun <= at < o.ended for o in run.accepted)
        due = sum(max(0.0, min(at + 1, o.origin + run.args.length) - max(at, o.origin)) * RATE
                  for o in run.accepted if o.origin)
        offered = sum(o.begun <= at < o.begun + run.args.length for o in run.live)
        rows.append([i, offered, running, due, len(frames[i]), 1e3 * part(lags[i], 0.5), 1e3 * max(lags[i], default=0),
                     len(refusals[i]), 1e3 * max(refusals[i], default=0), sum(batch[i]), last["server_mib"],
                     last["decoders_mib"]])
    return rows


def write_series(path, rows):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(SERIES)
        out.writerows([["%g" % round(value, 1) for value in row] for row in rows])


def memory(run):
    """Mean PSS of server and decode processes in the second and the last third, in MiB."""
    def mean(since, upto):
        values = [s["server_mib"] + s["decoders_mib"] for s in run.samples
                  if since <= (s["at"] - run.began) / (run.ended - run.began) < upto]
        return sum(values) / max(1, len(values))

    return mean(1 / 3, 2 / 3), mean(2 / 3, 1)


def kept_rate(outcome):
    """Frames a second from the first due time to the last arrival, less the lag with which it began."""
    first = [lag for _, lag in outcome.lags[:RATE]]
    if not first:
        return 0.0
    return len(outcome.lags) / max(1e-9, outcome.lags[-1][0] - outcome.origin - min(first))


def facts(run):
    """Rows (name, value, unit)."""
    accepted, refused, lags = run.accepted, run.refused, run.lags()
    wall = run.ended - run.began
    before, after = memory(run)
    rows = [("capacity with these callers", run.capacity, "frames/s"),
            ("offered", len(run.live) * run.args.length * RATE / wall, "frames/s"),
            ("accepted", len(accepted), "calls"), ("refused", len(refused), "calls"),
            ("accepted and whole", sum(o.ok for o in accepted), "calls"),
            ("frames out", sum(o.frames for o in accepted) / wall, "frames/s"),
            ("lowest frame rate of a stream", min(map(kept_rate, accepted), default=0), "frames/s"),
            ("lag p50", 1e3 * part(lags, 0.5), "ms"), ("lag p99", 1e3 * part(lags, 0.99), "ms"),
            ("lag worst", 1e3 * max(lags, default=0), "ms"),
            ("frames later than 0.5 s over the stream's best", late_share(accepted), "%")]
    for reason in sorted({o.reason for o in refused}):
        times = [o.refusal_s for o in refused if o.reason == reason]
        rows += [("refusals %s" % reason, len(times), "calls"),
                 ("refusal %s p50" % reason, 1e3 * part(times, 0.5), "ms"),
                 ("refusal %s p99" % reason, 1e3 * part(times, 0.99), "ms"),
                 ("refusal %s worst" % reason, 1e3 * max(times), "ms")]
    if run.args.batch:
        rows += [("batch frames out", sum(n for o in run.batch for t, n in o.arrivals if t < run.ended) / wall,
                  "frames/s"), ("batch calls whole", sum(o.ok for o in run.batch), "calls")]
    rows += [("memory in the second third", before, "MiB"), ("memory in the last third", after, "MiB"),
             ("server and decoders", run.server_cpu, "cores"), ("callers", run.caller_cpu, "cores"),
             ("callers' own lateness p99", 1e3 * part(run.own_lags, 0.99), "ms")]
    if run.samples[-1]["metrics"]:
        rows.append(("late frames by the server's count",
                     total(run.samples[-1]["metrics"], "lipstream_live_late_frames_total"), "frames"))
    return rows


def judge(run, strict):
    """What must be so, as (name, whether it is, detail). Not strict: on a machine that does other things, too."""
    accepted, lags = run.accepted, run.lags()
    broken = [str(o) for o in accepted if not o.ok]
    refusals = [o.refusal_s for o in run.refused]
    before, after = memory(run)
    wall = run.ended - run.began
    made = sum(o.frames for o in accepted) + sum(n for o in run.batch for _, n in o.arrivals)
    slow = sorted(kept_rate(o) for o in accepted)
    late = late_share(accepted)
    return [
        ("no accepted stream breaks", not broken, "%d: %s" % (len(broken), broken[:3])),
        ("who comes too many is refused", len(refusals) > 0.2 * len(run.live), (len(refusals), len(run.live))),
        ("the machine is used", made / wall > 0.3 * run.capacity,
         "%.1f of %.1f frames/s" % (made / wall, run.capacity)),
        ("accepted streams keep their rate", slow and slow[0] > (0.95 if strict else 0.8) * RATE, slow[:3]),
        ("hardly a frame is late", late < (1 if strict else 20), "%.2f %%" % late),
        ("refusals are quick", part(refusals, 0.99) < (0.05 if strict else 1),
         "p99 %.1f ms" % (1e3 * part(refusals, 0.99))),
        ("memory stays", after < 1.1 * before + 10, "%.1f, then %.1f MiB" % (before, after)),
        ("no lag grows", max(lags, default=99) < (1.5 if strict else 5), "%.2f s" % max(lags, default=99)),
    ]


def late_share(accepted):
    late = count = 0
    for o in accepted:
        best = min((lag for _, lag in o.lags), default=0)
        late += sum(lag > best + LATE_S for _, lag in o.lags)
        count += len(o.lags)
    return 100 * late / max(1, count)


def measure(args):
    """Starts a server, overloads it, stops it."""
    run = Run(args)
    with _stubs.start_server("--sessions-max", str(args.sessions_max), *args.server) as server:
        asyncio.run(overload(run, server))
    write_series(args.out, series(run))
    return run


def parser():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--factor", type=float, default=2)
    p.add_argument("--length", type=float, default=10, help="seconds of one call")
    p.add_argument("--source", choices=["ts", "raw"], default="ts")
    p.add_argument("--batch", type=int, default=0, help="callers of priority batch")
    p.add_argument("--sessions-max", type=int, default=64, help="at least --calibrate-streams")
    p.add_argument("--calibrate", type=float, default=10, help="seconds of the first measurement")
    p.add_argument("--calibrate-streams", type=int, default=6)
    p.add_argument("--label", default="overload")
    p.add_argument("--out", default=os.path.join(load_calls.ROOT, "build", "bench", "overload.csv"))
    p.add_argument("--server", type=json.loads, default=[], help="further flags of the server, a JSON list")
    return p


def main():
    args = parser().parse_args()
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is stopped
    run = measure(args)
    for name, value, unit in facts(run):
        print("load,%s x%g %s: %s,%.4g,%s" % (args.label, args.factor, args.source, name, value, unit), flush=True)
    for name, ok, detail in judge(run, True):
        _stubs.check(name, ok, detail)
    _stubs.finish()


if __name__ == "__main__":
    main()
