#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the picture bench: see bench/picture.sh, which sets up what this needs and calls it.

Prints rows "picture,case,value,unit" and writes the page. Ends with status 0 whatever the figures are, for they are
judged by who reads them, and with 1 when a part could not be measured, after all others were.
"""
import argparse
import os
import shutil
import subprocess
import sys
import time

import picture_cases as cases
import picture_judge as judge
import picture_measure as measure
import picture_page as page
import picture_voices as voices

PARTS = ["rests", "known_voices", "grid_people", "stillness", "pastes", "moving", "jitter", "mouth_error", "robust",
         "exact", "checkpoints"]


def run(bench, parts, args):
    """Number of parts that failed."""
    failed = 0
    for part in parts:
        started = time.monotonic()
        act = getattr(measure, part)
        try:
            if part == "mouth_error":
                act(bench, os.path.join(args.programs, "bench_picture_faces"), args.weights)
            elif part == "checkpoints":
                act(bench, args.programs, args.build)
            else:
                act(bench)
        except voices.Missing as fault:
            cases.skip("%s: %s" % (part, fault))
        except (RuntimeError, OSError, LookupError, ValueError, subprocess.CalledProcessError) as fault:
            failed += 1
            print("FAIL %s: %s" % (part, fault), file=sys.stderr, flush=True)
        print("# %s: %.0f s" % (part, time.monotonic() - started), flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="folder of lipstreamd and lipstream")
    parser.add_argument("--programs", required=True, help="folder of bench_picture_faces and the tests")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--mesh", required=True, help="face_landmark.tflite")
    parser.add_argument("--out", required=True, help="folder of the page")
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas: " + ", ".join(PARTS))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    cases.WORK = os.path.join(args.out, "work-%d" % os.getpid())
    started = time.monotonic()
    parts = args.only.split(",")
    if not set(parts) <= set(PARTS):
        parser.error("no such part: " + ", ".join(sorted(set(parts) - set(PARTS))))
    if "known_voices" in parts and "rests" not in parts:
        parts = ["rests", *parts]
    try:
        with cases.Service(args.build, args.weights) as service:
            bench = measure.Bench(service, judge.Mesh(args.mesh), args.quick)
            failed = run(bench, parts, args)
            looks = [] if args.quick else measure.look(bench, args.out)
            bench.close()
            facts = [("weights", os.path.basename(args.weights)), ("commit", args.commit),
                     ("date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
                     ("run", "quick" if args.quick else "whole"),
                     ("took", "%.0f s" % (time.monotonic() - started))]
            page.write(bench, os.path.join(args.out, "index.html"), facts, looks)
    finally:
        shutil.rmtree(cases.WORK, ignore_errors=True)
    for what, value, _, aim, met in page.verdicts(bench):
        print("%-9s %s: %.3g (%s)" % (page.VERDICTS[met][1], what, value, aim), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
