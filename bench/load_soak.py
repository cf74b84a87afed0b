#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Half an hour of mixed callers: good, bad, slow, cancelled, late, deaf and broken ones, by turns and side by side.

Usage: bench/load_soak.py [--seconds 1800] [--callers 6]

After a warm-up with every kind the callers pause, and what the idle server holds is noted: descriptors, threads,
decode processes, memory, the gauges of /metrics. At the end it must hold the same again, every call must
have come to the end that its kind must come to, and the server's own counts must be the callers'. Prints rows
"load,case,value,unit" and writes samples to build/bench/soak.csv (--out); bench/load_plot.py draws it. Ends with
status 1 when something is amiss.
"""
import argparse
import asyncio
import csv
import os
import random
import signal
import socket
import struct
import sys
import time

import grpc

import load_calls
from load_calls import Outcome, _stubs, pb, request
from load_watch import Watch, look, settled, total

IDLE_S = 2  # of the server: silence of a caller, output that nobody reads
# An idle server's own ups and downs: gRPC keeps a thread or two, malloc what it may need again (each thread has a
# store of its own, and after two minutes of this they are all as large as they get), and a decode process that is
# started ahead may just be one more.
ROOM = {"fds": 4, "threads": 2, "children": 1, "server_mib": 32, "decoders_mib": 12}
# Gauges and counts of /metrics (server/metrics.h).
GAUGES = {"lipstream_sessions_open", "lipstream_live_sessions_open", "lipstream_live_load_ratio",
          "lipstream_frame_pixels", "lipstream_spool_bytes", "lipstream_connections_open",
          "lipstream_device_queue_items", "lipstream_encode_queue_jobs"}
SESSIONS = "lipstream_sessions_total"
PRIORITY_BATCH = (("lipstream-priority", "batch"),)
Code = grpc.StatusCode


class Soak:
    def __init__(self, server, seed=1):
        self.server, self.rng = server, random.Random(seed)
        self.long, self.short = load_calls.Clip(4), load_calls.Clip(0.6)
        self.shared = load_calls.channel(server.address)
        self.counts, self.wrong, self.marks = {}, [], []
        self.running = self.done = self.ok_count = 0

    def note(self, kind, right, detail):
        self.done += 1
        self.ok_count += isinstance(detail, Outcome) and detail.code == Code.OK
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if not right:
            self.wrong.append("%s: %s" % (kind, detail))

    async def send(self, kind, messages, on=None, timeout=30):
        """A call with these messages at once; its outcome."""
        outcome = Outcome(kind)
        call = load_calls.open_call(on or self.shared, timeout=timeout)
        await self.take(call, outcome, self.push(call, messages))
        return outcome

    async def take(self, call, outcome, sending):
        """Reads all replies while the messages are sent."""
        sender = asyncio.ensure_future(sending)
        await load_calls.read(call, outcome, asyncio.Event())
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)

    @staticmethod
    async def push(call, messages):
        if await load_calls.write(call, messages):
            await call.done_writing()

    def invalid(self, outcome, *reasons):
        self.note(outcome.kind, outcome.code == Code.INVALID_ARGUMENT and (not reasons or outcome.reason in reasons),
                  outcome)

    # --- the kinds ---------------------------------------------------------------------------------------
    async def good(self):
        clip = self.rng.choice((self.long, self.short, self.short))
        container = self.rng.choice((pb.OUTPUT_CONTAINER_FMP4, pb.OUTPUT_CONTAINER_MPEG_TS, pb.OUTPUT_CONTAINER_NONE))
        config = clip.config(output=pb.Output(container=container))
        outcome = await load_calls.run(self.shared, clip, "good", config, False,
                                       self.rng.choice(((), PRIORITY_BATCH)))
        self.note("good", outcome.ok and outcome.frames == clip.count, outcome)

    async def live(self):
        on = load_calls.channel(self.server.address)
        outcome = await load_calls.run(on, self.long, "live", self.long.config(live=True), True)
        await on.close()
        self.note("refused" if outcome.refused else "live", outcome.refused or outcome.ok, outcome)

    async def garbage(self):
        noise = self.rng.randbytes(self.rng.randrange(1, 50000))
        config = _stubs.container_config()
        voice, face = self.rng.choice(((noise, _stubs.media("face_tiny.mp4")), (_stubs.media("voice.wav"), noise)))
        self.invalid(await self.send("garbage", serialised(config, voice, face)))

    async def truncated(self):
        face = _stubs.media("face_tiny.mp4")
        self.invalid(await self.send("truncated", serialised(_stubs.container_config(), _stubs.media("voice_short.wav"),
                                                             face[:len(face) // 3])))

    async def order(self):
        config, voice = self.short.config(), self.short.voice[0]
        messages = self.rng.choice(([voice, config], [config, config], [config, voice, b""], []))
        self.invalid(await self.send("order", messages), "MESSAGE_ORDER")

    async def slow(self):
        call, outcome = load_calls.open_call(self.shared, timeout=60), Outcome("slow")

        async def trickle():
            for message in [self.short.config(), *self.short.mixed()]:
                await load_calls.write(call, [message])
                await asyncio.sleep(0.1)
            await call.done_writing()

        await self.take(call, outcome, trickle())
        self.note("slow", outcome.ok and outcome.frames == self.short.count, outcome)

    async def cancelled(self):
        outcome = Outcome("cancelled")
        call = load_calls.open_call(self.shared, timeout=60)
        asyncio.get_running_loop().call_later(self.rng.uniform(0, 1.5), call.cancel)
        await self.take(call, outcome, self.push(call, [self.long.config(), *self.long.mixed()]))
        self.note("cancelled", outcome.code == Code.CANCELLED or outcome.ok, outcome)

    async def deadline(self):
        outcome = await load_calls.run(self.shared, self.long, "deadline", self.long.config(), True,
                                       timeout=self.rng.uniform(0.02, 2))
        self.note("deadline", outcome.code == Code.DEADLINE_EXCEEDED, outcome)

    async def silent(self):
        outcome = await self.hold("silent", [self.short.config(), *self.short.voice])
        self.note("silent", outcome.code == Code.DEADLINE_EXCEEDED and outcome.reason == "INPUT_IDLE", outcome)

    async def hold(self, kind, messages):
        """Sends these, then neither anything more nor the end."""
        outcome, call = Outcome(kind), load_calls.open_call(self.shared, timeout=60)
        await load_calls.write(call, messages)
        await load_calls.read(call, outcome, asyncio.Event())
        return outcome

    async def unread(self):
        """Raw frames out, 11 MB, and nobody takes them until the server has given up."""
        on, outcome = load_calls.channel(self.server.address), Outcome("unread")
        config = self.long.config(output=pb.Output(container=pb.OUTPUT_CONTAINER_NONE))
        call = load_calls.open_call(on, timeout=60)
        sender = asyncio.ensure_future(self.push(call, [config, *self.long.mixed()]))
        await asyncio.sleep(IDLE_S + 8)
        await load_calls.read(call, outcome, asyncio.Event())
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        await on.close()
        self.note("unread", outcome.code == Code.DEADLINE_EXCEEDED and outcome.reason == "OUTPUT_STALLED", outcome)

    async def reset(self):
        """A whole connection that ends with a RST in the middle of a call, or of nothing."""
        host, _, port = self.server.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        data = self.short.config()
        parts = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0), frame(1, 4, 1, call_headers()),
                 frame(0, 0, 1, b"\0" + struct.pack(">I", len(data)) + data)]
        writer.write(b"".join(parts[:self.rng.randrange(1, 5)]))
        await writer.drain()
        await asyncio.sleep(self.rng.uniform(0, 0.3))
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        self.note("reset", True, "")

    async def noise(self):
        """Bytes that are no HTTP/2: the server must close."""
        host, _, port = self.server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(self.rng.choice((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", self.rng.randbytes(2000))))
            await asyncio.wait_for(reader.read(-1), 20)
            self.note("noise", True, "")
        except ConnectionError:
            self.note("noise", True, "")
        except asyncio.TimeoutError:
            self.note("noise", False, "still open after 20 s")
        writer.transport.abort()

    async def plain(self):
        on = load_calls.channel(self.server.address)
        try:
            info = await on.unary_unary("/lipstream.v1.LipSync/GetServerInfo")(b"", timeout=20)
            health = await on.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            self.note("plain", len(info) > 100 and health == b"\x08\x01", (len(info), health))
        except grpc.aio.AioRpcError as error:
            self.note("plain", False, error)
        await on.close()

    # --- all of them -------------------------------------------------------------------------------------
    def kinds(self):
        weights = {"good": 6, "live": 2, "garbage": 2, "truncated": 2, "order": 2, "slow": 2, "cancelled": 4,
                   "deadline": 2, "silent": 1, "unread": 1, "reset": 3, "noise": 1, "plain": 3}
        return [kind for kind, weight in weights.items() for _ in range(weight)]

    async def caller(self, kinds, end):
        """By turns through all kinds in an order of its own."""
        while time.monotonic() < end and kinds:
            order = kinds[:]
            self.rng.shuffle(order)
            for kind in order:
                if time.monotonic() >= end:
                    return
                self.running += 1
                await getattr(self, kind)()
                self.running -= 1

    async def mark(self, every_s):
        while True:
            self.marks.append((time.monotonic(), self.running, self.done))
            await asyncio.sleep(every_s)

    async def phase(self, callers, seconds):
        end = time.monotonic() + seconds
        await asyncio.gather(*(self.caller(self.kinds(), end) for _ in range(callers)))


def serialised(config, voice, face):
    return [m.SerializeToString() for m in (pb.SyncRequest(config=config), *_stubs.pieces(voice, face, 4096))]


def frame(kind, flags, stream, body=b""):
    """An HTTP/2 frame."""
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def call_headers():
    """Of a Sync call, as HPACK literals without an index and without Huffman's code."""
    rows = ((":method", "POST"), (":scheme", "http"), (":path", load_calls.SYNC), (":authority", "soak"),
            ("content-type", "application/grpc"), ("te", "trailers"))
    return b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
                    for name, value in rows)


def figures(sample):
    """What must come back, of a sample."""
    values = {key: sample[key] for key in ROOM}
    gauges = {key: value for key, value in sample["metrics"].items() if key.partition("{")[0] in GAUGES}
    return {**values, **gauges}


async def soak(args, server, watch):
    """The Soak, the idle server's figures after the warm-up, and what was above them at the end."""
    s = Soak(server)
    marker = asyncio.ensure_future(s.mark(watch.every_s))
    await s.phase(args.callers, args.warm_up)
    before = await asyncio.to_thread(quiet, server)
    began = time.monotonic()
    await s.phase(args.callers, args.seconds)
    marker.cancel()
    await s.shared.close()
    room = {**dict.fromkeys(before, 0), **ROOM}
    after, over = await asyncio.to_thread(settled, server.pid, server.admin, before, room, 30, figures)
    return s, began, before, after, over


def quiet(server):
    """An idle server's figures: when three looks in a row agree, or after half a minute."""
    last, agreed = None, 0
    for _ in range(60):
        now = figures(look(server.pid, server.admin))
        same = last and all(abs(now[key] - last[key]) <= (1 if key.endswith("mib") else 0) for key in ROOM)
        agreed = agreed + 1 if same else 0
        if agreed == 2:
            break
        last = now
        time.sleep(0.5)
    return now


def server_counts(s, metrics):
    """Where the server's own count of sessions differs from the callers'; nothing without /metrics."""
    if not metrics:
        return []
    rows = [("OK", s.ok_count), ("OUTPUT_STALLED", s.counts.get("unread", 0)),
            ("INPUT_IDLE", s.counts.get("silent", 0))]
    return ["%s: %g by the server, %d by the callers" % (reason, total(metrics, SESSIONS, reason=reason), count)
            for reason, count in rows if total(metrics, SESSIONS, reason=reason) != count]


# --- what it says --------------------------------------------------------------------------------------------
SERIES = ["second", "callers", "calls", "fds", "threads", "children", "server_mib", "decoders_mib"]


def write_series(path, s, samples, began):
    """A row a sample; calls: those that ended in the seconds before it, a second."""
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(SERIES)
        marks, last = list(s.marks), None
        for sample in samples:
            while len(marks) > 1 and marks[0][0] < sample["at"]:
                marks.pop(0)
            mark = marks[0] if marks else (sample["at"], 0, 0)
            rate = 0
            if last and sample["at"] > last[0]:
                rate = max(0, mark[2] - last[1]) / (sample["at"] - last[0])
            last = (sample["at"], mark[2])
            out.writerow(["%g" % round(v, 2) for v in (sample["at"] - began, mark[1], rate,
                                                      *(sample[key] for key in SERIES[3:]))])


def measure(args):
    """Starts a server and soaks it: (Soak, figures before, figures after, what is amiss as texts)."""
    flags = ["--sessions-max", str(4 * args.callers), "--input-idle-max", str(1000 * IDLE_S),
             "--output-idle-max", str(1000 * IDLE_S)]
    with _stubs.start_server(*flags) as server:
        with Watch(server.pid, server.admin, max(1.0, args.seconds / 600)) as watch:
            s, began, before, after, over = asyncio.run(soak(args, server, watch))
        amiss = s.wrong + ["%s was %g, is %g" % (key, *pair) for key, pair in over.items()]
        amiss += server_counts(s, after["metrics"])
        if watch.error:
            amiss.append("a look at the server failed: %s" % watch.error)
    write_series(args.out, s, watch.samples, began)
    return s, before, figures(after), amiss


def parser():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seconds", type=float, default=1800)
    p.add_argument("--warm-up", type=float, default=150, help="seconds, not in --seconds")
    p.add_argument("--callers", type=int, default=6)
    p.add_argument("--out", default=os.path.join(load_calls.ROOT, "build", "bench", "soak.csv"))
    return p


def main():
    args = parser().parse_args()
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is stopped
    s, before, after, amiss = measure(args)
    case = "load,soak %g s" % args.seconds
    for kind, count in sorted(s.counts.items()):
        print("%s: %s,%d,calls" % (case, kind, count))
    for key in before:
        print("%s: %s before,%.5g,%s" % (case, key, before[key], "MiB" if key.endswith("mib") else "count"))
        print("%s: %s after,%.5g,%s" % (case, key, after.get(key, 0), "MiB" if key.endswith("mib") else "count"))
    print("%s: amiss,%d,count" % (case, len(amiss)), flush=True)
    for text in amiss[:20]:
        print("# amiss:", text, file=sys.stderr)
    _stubs.check("soak", not amiss)
    _stubs.finish()


if __name__ == "__main__":
    main()
