#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws results of bench/run.sh and bench/gpu.sh: bench/plot.py RESULT.csv... [-o FOLDER]

Bars, one picture per unit; of GPUs also lines: frames by batch, latency and memory by number of streams.
Several files are drawn side by side, so that two machines or two commits can be compared. Run it with
build/venv/bin/python (docker/deps.sh --bench).
"""
import argparse
import csv
import os
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the back end is chosen first)


# Cases that differ in a number alone, as lines: file name, unit, pattern of the case (the line's name is what is
# left of it without the number), axes.
LINES = [
    ("frames_by_batch", "frames/s", r"(?:device: generator |(?=torch: ))(.+?) batch (\d+)(.*): frames$", "batch",
     "frames/s"),
    ("latency_by_streams", "ms", r"service: live (.+?) x(\d+): frame (latency p\d+)$", "live streams", "ms"),
    ("device_memory_by_streams", "MiB", r"service: live (.+?) x(\d+): (device memory)$", "live streams", "MiB"),
]


def read(path):
    """Rows of a result file as {unit: {case: value}}."""
    units = {}
    with open(path, newline="") as f:
        for row in csv.reader(line for line in f if not line.startswith("#")):
            if len(row) == 4 and row[0] != "bench":
                units.setdefault(row[3], {})[f"{row[0]}: {row[1]}"] = float(row[2])
    return units


def draw(unit, names, results, path):
    cases = list(dict.fromkeys(case for result in results for case in result.get(unit, {})))
    height = 0.8 / len(results)
    fig, ax = plt.subplots(figsize=(11, 1.5 + 0.28 * len(cases) * len(results) ** 0.5))
    for i, (name, result) in enumerate(zip(names, results)):
        values = [result.get(unit, {}).get(case, 0) for case in cases]
        bars = ax.barh([y + i * height for y in range(len(cases))], values, height, label=name)
        ax.bar_label(bars, fmt="%.4g", padding=3, fontsize=7)
    ax.set_yticks([y + 0.4 - height / 2 for y in range(len(cases))], cases, fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel(unit)
    ax.margins(x=0.12)
    if len(results) > 1:
        ax.legend()
    fig.tight_layout()
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_lines(names, results, unit, pattern, axes, path):
    """False if there is nothing to draw."""
    lines = {}
    for name, result in zip(names, results):
        for case, value in result.get(unit, {}).items():
            found = re.match(pattern, case)
            if found:
                label = " ".join(part for part in (found[1], (found[3] or "").strip()) if part)
                if len(results) > 1:
                    label += " (%s)" % name
                lines.setdefault(label, []).append((int(found[2]), value))
    lines = {label: sorted(points) for label, points in lines.items() if len(points) > 1}
    if not lines:
        return False
    fig, ax = plt.subplots(figsize=(10, 6))
    for label, points in lines.items():
        ax.plot(*zip(*points), marker="o", markersize=3, label=label)
    ticks = sorted({x for points in lines.values() for x, _ in points})
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [str(x) for x in ticks])
    ax.set_yscale("log")
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)
    fig.tight_layout()
    fig.savefig(path, dpi=110)
    plt.close(fig)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("-o", "--out", default=os.path.join("build", "bench", "plots"))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    results = [read(path) for path in args.files]
    names = [os.path.basename(path).removesuffix(".csv") for path in args.files]
    for unit in dict.fromkeys(unit for result in results for unit in result):
        path = os.path.join(args.out, "".join(c if c.isalnum() else "_" for c in unit) + ".png")
        draw(unit, names, results, path)
        print(path)
    for name, unit, pattern, *axes in LINES:
        path = os.path.join(args.out, name + ".png")
        if draw_lines(names, results, unit, pattern, axes, path):
            print(path)


if __name__ == "__main__":
    main()
