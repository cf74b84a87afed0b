#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three replicas behind Envoy, as docker/envoy has it: many sessions at once, and how many small calls a second.

Usage: bench/load_fleet.py many [--sessions 64] [--length 2]     all bytes must be those of the lone run
       bench/load_fleet.py ghz [--seconds 10] [--callers 16]     GetServerInfo by ghz, direct and through Envoy

Prints rows "load,case,value,unit". Replicas, Envoy and callers share the processors. Envoy speaks mutual TLS to
the replicas (tests/e2e/_envoy.py starts them); "direct, TLS" is ghz with Envoy's certificate.
"""
import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import load_calls
from load_calls import _stubs
from load_overload import part

import _envoy

CONNECTIONS = 8


def row(case, what, value, unit):
    print("load,%s: %s,%.4g,%s" % (case, what, value, unit), flush=True)


# --- many sessions -------------------------------------------------------------------------------------------
async def at_once(address, clip, config, sessions):
    """The lone run, then all at once; the outcomes and the seconds that it took."""
    channels = [load_calls.channel(address) for _ in range(CONNECTIONS)]
    alone = await load_calls.run(channels[0], clip, "alone", config, False)
    began = time.monotonic()
    outcomes = await asyncio.gather(*(load_calls.run(channels[i % CONNECTIONS], clip, "of many", config, False)
                                      for i in range(sessions)))
    seconds = time.monotonic() - began
    for channel in channels:
        await channel.close()
    return alone, outcomes, seconds


def many(args):
    clip = load_calls.Clip(args.length)
    with _envoy.start_fleet("--sessions-max", str(args.sessions)) as fleet:
        alone, outcomes, seconds = asyncio.run(at_once(fleet.address, clip, clip.config(), args.sessions))
        shares = sorted(sum(int(c["value"]) for c in h["stats"] if c["name"] == "rq_success")
                        for h in fleet.hosts().values())
    case = "%d sessions of %g s through Envoy, 3 replicas" % (args.sessions, args.length)
    whole = [o for o in outcomes if o.ok and o.frames == clip.count]
    same = sum(o.digest.digest() == alone.digest.digest() for o in whole)
    row(case, "whole", len(whole), "sessions")
    row(case, "bytes as alone", same, "sessions")
    row(case, "wall", seconds, "s")
    row(case, "frames", sum(o.frames for o in outcomes) / seconds, "frames/s")
    firsts = [o.first_at - o.begun for o in whole]
    row(case, "first media p50", part(firsts, 0.5), "s")
    row(case, "first media worst", max(firsts, default=0), "s")
    row(case, "alone", alone.ended - alone.begun, "s")
    print("# calls that each replica took:", shares, file=sys.stderr)
    _stubs.check("the lone run is whole", alone.ok and alone.frames == clip.count, alone)
    _stubs.check("none lost", len(whole) == args.sessions, [str(o) for o in outcomes if o not in whole][:3])
    _stubs.check("all bytes are those of the lone run", same == args.sessions, same)
    _stubs.check("each replica had some", len(shares) == 3 and shares[0] > 0, shares)


# --- ghz -----------------------------------------------------------------------------------------------------
def ghz(address, args, *flags):
    """Its report of GetServerInfo."""
    command = [_envoy.program("ghz"), "--proto", "lipstream/v1/lip_sync.proto", "-i",
               os.path.join(load_calls.ROOT, "proto"), "--call", "lipstream.v1.LipSync.GetServerInfo", "-d", "{}",
               "-c", str(args.callers), "--connections", "4", "-z", "%gs" % args.seconds, "--duration-stop", "wait",
               "-O", "json", *flags, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=args.seconds + 60,
                          env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")})
    if done.returncode:
        sys.exit("ghz failed:\n" + done.stdout + done.stderr)
    return json.loads(done.stdout)


def rows_of(way, report, args):
    case = "GetServerInfo %s, %d callers" % (way, args.callers)
    latency = {d["percentage"]: d["latency"] / 1e6 for d in report.get("latencyDistribution") or []}
    row(case, "calls", report["rps"], "calls/s")
    row(case, "p50", latency.get(50, 0), "ms")
    row(case, "p99", latency.get(99, 0), "ms")
    codes = report["statusCodeDistribution"]
    _stubs.check(way + ": every call is answered", set(codes) == {"OK"}, codes)


def measure_ghz(args):
    with _stubs.start_server() as server:
        rows_of("direct, plain", ghz(server.address, args, "--insecure"), args)
    with _envoy.start_fleet() as fleet:
        tls = [flag for name, file in (("cacert", "ca.pem"), ("cert", "envoy.pem"), ("key", "envoy.key"))
               for flag in ("--" + name, fleet.path("tls", file))]
        rows_of("direct, TLS", ghz(fleet.replicas[0].address, args, "--cname", "lipstream", *tls), args)
        rows_of("through Envoy, plain to it", ghz(fleet.address, args, "--insecure"), args)
        rows_of("through Envoy, TLS to it", ghz(fleet.tls_address, args, *tls[:2]), args)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["many", "ghz"])
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--length", type=float, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--callers", type=int, default=16)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that all is stopped
    {"many": many, "ghz": measure_ghz}[args.what](args)
    _stubs.finish()


if __name__ == "__main__":
    main()
