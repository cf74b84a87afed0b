#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws a result of bench/peers/run.sh:  plot.py RESULT.csv FOLDER

FOLDER/peers-generator.png: frames/s of the generator at 4 faces a call, ours and its peers, by arithmetic; of an engine
the better of "shared" and "flow", bars of the median, lines from the slowest to the fastest round.
FOLDER/peers-service.png: milliseconds of a processor for a frame of the whole job, by stage. The summary's stages of ours
are of a thread's clock, which also runs while others compute, so they are scaled to the processor time that the
server's processes really had. Colours are told apart by every kind of eye (Okabe and Ito).
"""
import csv
import os
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the back end is chosen first)
from PIL import Image  # noqa: E402

BLUE, SKY, GREY = "#0072B2", "#56B4E9", "#999999"
STAGES = {"decode": "#E69F00", "detect": SKY, "mel": "#F0E442", "generate": BLUE, "composite": "#009E73",
          "encode": "#D55E00"}
BATCH = 4
NAMES = {"openvino": "OpenVINO", "onnxruntime": "onnxruntime", "torch eager": "torch, eager, channels last",
         "torch compile": "torch.compile, frozen", "whole": "ours, whole face", "lower": "ours, lower face",
         "mouth": "ours, mouth", "lower known": "ours, lower face, known face"}


def read(path):
    rows, head = {}, []
    with open(path, newline="") as f:
        for cells in csv.reader(f):
            if cells and cells[0].startswith("#"):
                head.append(",".join(cells)[2:])
            elif len(cells) == 4 and cells[0] != "bench":
                rows[cells[0], cells[1]] = float(cells[2])
    return rows, head


def machine(head):
    """"AMD EPYC, 2 processors, 2026-11-30" """
    name = next((line[9:].rsplit(",", 1)[0] for line in head if line.startswith("machine: ")), "")
    date = next((line[-17:-7] for line in head if " date: " in line), "")
    return "%s, %s" % (name, date)


def save(fig, path):
    fig.savefig(path, dpi=100, facecolor="white")
    plt.close(fig)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print("%s: %d kB" % (path, os.path.getsize(path) // 1000))


# --- the generator ---------------------------------------------------------------------------------------------
def engines(rows):
    """{arithmetic: [(name, is ours, median, low, high)]}, slowest first, of most threads."""
    pattern = r"wide (.+?) (shared|flow) batch %d x(\d+): frames$" % BATCH
    found = [(case, re.match(pattern, case)) for bench, case in rows if bench == "generator"]
    found = [(case, match) for case, match in found if match]
    threads = max((int(match[3]) for _, match in found), default=0)
    best = {}
    for case, match in found:
        if int(match[3]) != threads:
            continue
        words = match[1].split()
        arithmetic = next(word for word in words if word in ("fp32", "bf16", "int8"))
        rest = " ".join(word for word in words if word not in (arithmetic, "ours"))
        values = [rows["generator", case + end] for end in ("", " low", " high")]
        kept = best.setdefault((arithmetic, rest), (words[0] == "ours", values))
        if values[0] > kept[1][0]:
            best[arithmetic, rest] = (kept[0], values)
    groups = {}
    for (arithmetic, rest), (ours, values) in best.items():
        groups.setdefault(arithmetic, []).append((NAMES.get(rest, rest), ours, *values))
    return {a: sorted(groups[a], key=lambda e: e[2]) for a in ("fp32", "bf16", "int8") if a in groups}, threads


def draw_generator(rows, head, path):
    groups, threads = engines(rows)
    if not groups:
        return
    count = sum(map(len, groups.values())) + len(groups)
    fig, ax = plt.subplots(figsize=(8, 1.1 + 0.24 * count), layout="constrained")
    at, ticks, labels = 0, [], []
    for arithmetic, bars in groups.items():
        ax.text(0, at, arithmetic, fontsize=9, fontweight="bold", va="center")
        at += 1
        for name, ours, value, low, high in reversed(bars):
            colour = GREY if not ours else BLUE if "whole" in name else SKY
            ax.barh(at, value, 0.78, color=colour, xerr=[[value - low], [high - value]],
                    error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "black"})
            ax.text(high, at, "  %.0f" % value, fontsize=8, va="center")
            ticks.append(at)
            labels.append(name)
            at += 1
    ax.set_yticks(ticks, labels, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(at - 0.4, -0.7)
    ax.margins(x=0.08)
    ax.set_xlabel("frames/s of the full-size generator, %d faces a call, %d threads" % (BATCH, threads), fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    keys = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (BLUE, SKY, GREY)]
    fig.legend(keys, ["ours, as much as the others", "ours, what a paste needs", "others"], fontsize=8, ncols=3,
               loc="outside upper center", frameon=False, title=machine(head), title_fontsize=9)
    save(fig, path)


# --- the whole job ---------------------------------------------------------------------------------------------
def jobs(rows):
    """{size and seconds: {name: {what: value}}}"""
    out = {}
    for (bench, case), value in rows.items():
        match = bench == "service" and re.match(r"(ours|original) (\w+) (.+?) (\d+p\d+ \d+ s): (.+)$", case)
        if match:
            name = "%s %s %s" % (match[1], match[3], "" if match[2] == "wide" else "(%s weights)" % match[2])
            out.setdefault(match[4], {}).setdefault(name.strip(), {})[match[5]] = value
    return out


def parts_of(job, ours):
    parts = {stage: job.get("part " + stage, 0) for stage in STAGES}
    if ours and sum(parts.values()) > 0:
        scale = job["processors"] / sum(parts.values())
        parts = {stage: value * scale for stage, value in parts.items()}
    return parts


def draw_panel(ax, title, these, reach):
    at, ticks, labels = 0, [], []
    for name, job in these.items():
        parts, left = parts_of(job, name.startswith("ours")), 0
        for stage, colour in STAGES.items():
            ax.barh(at, min(parts[stage], max(0, reach - left)), 0.7, left=left, color=colour)
            left = min(reach, left + parts[stage])
        total = sum(parts.values())
        rate = job["frames out"]
        words = "%.0f ms, %s frames/s, %.0f MiB" % (total, "%.0f" % rate if rate >= 10 else "%.2g" % rate,
                                                    job["memory peak"])
        if total > reach:
            ax.text(reach, at, "longer than drawn: " + words + "  ", fontsize=8, va="center", ha="right", color="black",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        else:
            ax.text(left, at, "  " + words, fontsize=8, va="center")
        ticks.append(at)
        labels.append(name)
        at += 1
    ax.set_yticks(ticks, labels, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)
    ax.set_ylim(at - 0.4, -0.6)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_title(title, fontsize=9, loc="left")


def draw_service(rows, head, path):
    panels = jobs(rows)
    if not panels:
        return
    heights = [len(these) for these in panels.values()]
    fig, axes = plt.subplots(len(panels), 1, figsize=(8.5, 1.4 + 0.27 * sum(heights) + 0.4 * len(heights)), sharex=True,
                             height_ratios=heights, layout="constrained", squeeze=False)
    totals = [sum(parts_of(job, name.startswith("ours")).values()) for these in panels.values()
              for name, job in these.items() if "S3FD" not in name]
    reach = max(totals, default=1)
    for ax, (title, these) in zip(axes[:, 0], panels.items()):
        draw_panel(ax, title, these, reach)
        ax.set_xlim(0, 1.45 * reach)
    axes[-1, 0].set_xlabel("milliseconds of a processor for a frame", fontsize=9)
    keys = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in STAGES.values()]
    fig.legend(keys, list(STAGES), fontsize=8, ncols=len(STAGES), loc="outside upper center", frameon=False,
               title="Full-size network unless said. " + machine(head), title_fontsize=9)
    save(fig, path)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: plot.py RESULT.csv FOLDER")
    rows, head = read(sys.argv[1])
    draw_generator(rows, head, os.path.join(sys.argv[2], "peers-generator.png"))
    draw_service(rows, head, os.path.join(sys.argv[2], "peers-service.png"))


if __name__ == "__main__":
    main()
