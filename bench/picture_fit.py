#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the numbers of picture_voices.TABLE on the lips of GRID's people, and prints them with how well they hold on
people that were not fitted: bench/picture_fit.py (in build/picture-venv; two minutes).

A GRID clip's name is its sentence. espeak-ng says the same sentence; dynamic time warping between the two spectra
brings its phoneme times to the clip (picture_voices.align). Then targets, dominances, reach, lead and smoothing are
searched so that the known opening correlates best with what the mesh sees, over all clips of the people FITTED, one
number after the other in shrinking steps. GRID has 51 words, in which some vowels stand between the same neighbours
always; PRIOR, a phonetician's guess, holds those in place that the clips say little about. Run again only if the
definition changes: the judge must not move.
"""
import glob
import os
import subprocess
import sys

import numpy as np

import picture_judge as judge
import picture_voices as voices

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.environ.get("LS_SHARED", os.path.join(ROOT, "..", "shared"))
MESH = os.path.join(ROOT, "build", "picture", "face_landmark.tflite")
FITTED, CHECKED, EACH = ("s1", "s3", "s4", "s5", "s30", "s31", "s33"), ("s26", "s32"), 10

PRIOR = {"rest": 0, "bilabial": 0, "labiodental": 0.05, "sibilant": 0.3, "alveolar": 0.35, "velar": 0.45, "round": 0.3,
         "close": 0.5, "mid": 0.65, "low-mid": 0.75, "back": 0.65, "open": 1}
PRIOR_WEIGHT = 0.03


def media(path, *arguments):
    return subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", path, *arguments, "-"], check=True,
                          stdout=subprocess.PIPE).stdout


def observe(mesh, path):
    """Times and openings of the person's own lips, and the phones."""
    frames = np.frombuffer(media(path, "-f", "rawvideo", "-pix_fmt", "rgb24"), np.uint8).reshape(-1, 288, 360, 3)
    wav = np.frombuffer(media(path, "-af", "aresample=async=1:first_pts=0", "-f", "f32le", "-ac", "1", "-ar", "16000"),
                        np.float32)
    region = mesh.region(frames[0], (120, 70, 250, 230))
    points, scores = mesh.look(frames, [region] * len(frames))
    if scores.min() < 0:
        return None
    phones = voices.align(wav, voices.grid_sentence(os.path.basename(path)))
    return np.arange(len(frames)) / 25, judge.opening(points), phones


def look(people):
    mesh = judge.Mesh(MESH)
    clips = {}
    for person in people:
        for path in sorted(glob.glob(os.path.join(SHARED, "media", "grid", person, "*.mp4")))[:EACH]:
            seen = observe(mesh, path)
            if seen:
                clips[path] = seen
    return list(clips.values())


def score(clips, numbers):
    table, reach, lead, smooth = numbers
    rs = []
    for t, o, phones in clips:
        rs.append(judge.pearson(o, voices.opening(phones, t, table, reach, lead, smooth)))
    return float(np.mean(rs)) - PRIOR_WEIGHT * sum((table[kind][0] - PRIOR[kind]) ** 2 for kind in table)


def search(clips):
    table = {kind: list(pair) for kind, pair in voices.TABLE.items()}
    times = [voices.REACH_S, voices.LEAD_S, voices.SMOOTH_S]
    bounds = [(0.02, 0.1), (-0.06, 0.1), (0.015, 0.06)]
    best = score(clips, (table, *times))
    print("before: r %.3f" % best, flush=True)
    for step in (0.3, 0.15, 0.08):
        for kind in table:
            for which in (0, 1):
                if (kind, which) in (("rest", 0), ("bilabial", 0), ("open", 0), ("open", 1)):
                    continue  # zeros, one, and the unit of dominance
                for sign in (1, -1):
                    old = table[kind][which]
                    new = old + sign * step if which == 0 else old * (1 + sign * 1.5 * step)
                    low, high = (0, 1) if which == 0 else (0.2, 8)
                    table[kind][which] = float(np.clip(new, low, high))
                    now = score(clips, (table, *times))
                    if now > best + 1e-5:
                        best = now
                        break
                    table[kind][which] = old
        for i, (low, high) in enumerate(bounds):
            for sign in (1, -1):
                old = times[i]
                times[i] = float(np.clip(old + sign * step * 0.06, low, high))
                now = score(clips, (table, *times))
                if now > best + 1e-5:
                    best = now
                    break
                times[i] = old
        print("step %.2f: r %.3f" % (step, best), flush=True)
    return table, times


def main():
    fitted, checked = look(FITTED), look(CHECKED)
    if not fitted:
        sys.exit("picture_fit: no clips of GRID")
    table, times = search(fitted)
    for kind, (target, dominance) in table.items():
        print('    "%s": (%.2f, %.1f),' % (kind, target, dominance))
    print("REACH_S, LEAD_S, SMOOTH_S = %.3f, %.3f, %.3f" % tuple(times))
    for name, clips in (("fitted", fitted), ("checked", checked)):
        if clips:
            known = [(t, o, lambda x, p=p: voices.opening(p, x, table, *times)) for t, o, p in clips]
            print("%s: %d clips, r %.3f, r_best %.3f, lag %.0f ms" %
                  (name, len(clips), *judge.correlation(known)[:2], 1e3 * judge.correlation(known)[2]))


if __name__ == "__main__":
    main()
