# SPDX-License-Identifier: Apache-2.0
# Three replicas behind Envoy (docker/envoy as it is) under 32 running streams and a stream of new ones. Each
# replica in turn gets SIGTERM, ends and is started again: no call fails that was not refused cleanly, with
# RetryInfo and before anything was consumed, and what comes out is whole. Then one is killed: only its streams
# end, and Envoy sends nothing more there within the time of its health checks. They end with UNAVAILABLE where the
# caller is connected to the replica, or Envoy has sent nothing yet; a response that has begun Envoy can only
# reset (RST_STREAM, INTERNAL_ERROR: there is no way to make it send trailers), which gRPC calls INTERNAL.
import asyncio
import collections
import os
import sys
import time

import _envoy
import _stubs
from _stubs import ROOT, check

sys.path.insert(0, os.path.join(ROOT, "bench"))

import grpc  # noqa: E402

import load_calls  # noqa: E402 (bench/)

STREAMS = 32
LENGTH_S = 12         # of a running stream
RATE = 1              # frames a second, of 32 streams: most of the work is their beginning and end
NEW_EVERY_S = 0.7
# envoy.yaml: a check every 2 s (0.2 s of jitter, 3 s for its answer), and the second refused connection ejects.
HEALTH_S = 2.2 + 3
FLAGS = ["--sessions-max", "64", "--drain-delay", "3000", "--drain-timeout", "60000", "--input-idle-max", "30000"]


class Traffic:
    """Callers that go on until they are told to stop."""

    def __init__(self, fleet):
        self.fleet, self.outcomes, self.going, self.count = fleet, [], True, 0
        self.long = load_calls.Clip(LENGTH_S, "raw", RATE, box=True)
        self.short = load_calls.Clip(2, "raw", RATE, box=True)
        self.channels = [load_calls.channel(fleet.address) for _ in range(8)]
        self.want = {}

    async def call(self, clip, kind, paced):
        self.count += 1
        name = "rolling-%d" % self.count
        outcome = await load_calls.run(self.channels[self.count % len(self.channels)], clip, kind, clip.config(), paced,
                                       (("x-request-id", name),), timeout=60)
        outcome.name = name
        self.outcomes.append(outcome)
        return outcome

    async def alone(self):
        for clip in (self.long, self.short):
            outcome = await self.call(clip, "alone", False)
            check("the lone run is whole", outcome.ok and outcome.frames == clip.count, outcome)
            self.want[clip.count] = outcome.digest.digest()

    async def stream(self, i):
        """One stream after the other, begun a little apart from the rest."""
        await asyncio.sleep(i * LENGTH_S / STREAMS)
        while self.going:
            outcome = await self.call(self.long, "stream", True)
            if not outcome.ok:
                await asyncio.sleep(outcome.retry_s or 0.5)

    async def direct(self, replica):
        """A stream past Envoy."""
        files = [_envoy.read(self.fleet.path("tls", name)).encode() for name in ("ca.pem", "envoy.key", "envoy.pem")]
        on = load_calls.channel(replica.address, grpc.ssl_channel_credentials(*files), "lipstream")
        outcome = await load_calls.run(on, self.long, "direct", self.long.config(), True, timeout=60)
        await on.close()
        return outcome

    async def new_ones(self):
        calls = []
        while self.going:
            calls.append(asyncio.ensure_future(self.call(self.short, "new", False)))
            await asyncio.sleep(NEW_EVERY_S)
        await asyncio.gather(*calls)

    def whole(self, outcome):
        return outcome.ok and outcome.digest.digest() == self.want[self.long.count if outcome.kind == "stream"
                                                                   else self.short.count]


def judge(name, traffic, outcomes):
    """Every one is whole or was refused cleanly; how many of each."""
    bad = [o for o in outcomes if not traffic.whole(o) and not o.refused_cleanly]
    check("%s: no call fails" % name, not bad, "%d: %s" % (len(bad), [str(o) for o in bad[:4]]))
    counts = collections.Counter("%s %s" % (o.kind, "refused" if o.refused_cleanly else "whole") for o in outcomes)
    print("rolling: %s: %s" % (name, ", ".join("%d %s" % (n, k) for k, n in sorted(counts.items()))), flush=True)


async def restart_all(fleet, traffic):
    for replica in fleet.replicas:
        began = time.monotonic()
        code = await asyncio.to_thread(replica.stop, 90)
        check("%s ends by SIGTERM with status 0" % replica.name, code == 0, code)
        down = time.monotonic()
        replica.start()
        await asyncio.to_thread(replica.wait_port)
        check("%s is taken back" % replica.name, await asyncio.to_thread(fleet.wait_healthy), fleet.hosts())
        print("rolling: %s drained in %.1f s, was back after %.1f s" % (replica.name, down - began,
                                                                        time.monotonic() - down), flush=True)


async def kill_one(fleet, traffic):
    """The moment of the kill; Envoy must stop sending there."""
    victim = fleet.replicas[0]
    direct = asyncio.ensure_future(traffic.direct(victim))
    await asyncio.sleep(3)
    began = time.monotonic()
    victim.kill()
    while victim.port in await asyncio.to_thread(fleet.healthy) and time.monotonic() < began + 30:
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - began
    check("Envoy stops sending to the dead one within %.1f s" % HEALTH_S, seconds < HEALTH_S, "%.1f s" % seconds)
    print("rolling: killed; out of Envoy's list after %.2f s" % seconds, flush=True)
    outcome = await direct
    check("kill: a stream of a caller of its own ends with UNAVAILABLE",
          outcome.accepted_at and outcome.code == grpc.StatusCode.UNAVAILABLE, outcome)
    await asyncio.sleep(2)
    return victim, began


def judge_kill(fleet, traffic, victim, killed_at):
    """Only calls that were at the dead replica may have ended, with UNAVAILABLE."""
    at = {record["request_id"]: record["upstream"] for record in fleet.access()}
    ended = [o for o in traffic.outcomes if o.ended > killed_at]
    lost = [o for o in ended if not traffic.whole(o) and not o.refused_cleanly]
    strangers = [o for o in lost if at.get(o.name) != victim.address]
    check("kill: only its streams end", not strangers, [(str(o), at.get(o.name)) for o in strangers[:4]])
    wrong = [o for o in lost if o.code != grpc.StatusCode.UNAVAILABLE
             and not (o.accepted_at and o.code == grpc.StatusCode.INTERNAL and "RST_STREAM" in o.text)]
    check("kill: they end with UNAVAILABLE or are reset", not wrong, [str(o) for o in wrong[:4]])
    late = [o for o in lost if o.begun > killed_at]
    check("kill: no new call is lost", not late, [str(o) for o in late[:4]])
    check("kill: it had streams", any(o.kind == "stream" for o in lost), len(lost))
    others = [o for o in ended if o not in lost]
    check("kill: others are whole", len(others) > len(lost), len(others))
    print("rolling: kill -9: %d calls of the dead one ended, %d others went on" % (len(lost), len(others)), flush=True)


async def run(fleet):
    traffic = Traffic(fleet)
    await traffic.alone()
    tasks = [asyncio.ensure_future(traffic.stream(i)) for i in range(STREAMS)]
    tasks.append(asyncio.ensure_future(traffic.new_ones()))
    await asyncio.sleep(LENGTH_S + 1)
    await restart_all(fleet, traffic)
    await asyncio.sleep(2)
    judge("rolling restart", traffic, traffic.outcomes[2:])
    print("rolling: health checks that failed %d, hosts ejected %d, retries %d" % tuple(
        fleet.stat("cluster.lipstream." + name)
        for name in ("health_check.failure", "outlier_detection.ejections_total", "upstream_rq_retry")), flush=True)
    victim, killed_at = await kill_one(fleet, traffic)
    traffic.going = False
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.5)  # the access log is written every 0.1 s
    judge_kill(fleet, traffic, victim, killed_at)
    for channel in traffic.channels:
        await channel.close()
    victim.start()  # what is stopped at the end is three
    await asyncio.to_thread(victim.wait_port)


def main():
    began = time.monotonic()
    with _envoy.start_fleet(*FLAGS) as fleet:
        asyncio.run(run(fleet))
    print("rolling: %.0f s" % (time.monotonic() - began))
    _stubs.finish()


main()
