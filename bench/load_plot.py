#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what happened over time: bench/load_plot.py SERIES.csv... [-o FOLDER]

The series are those of bench/load_overload.py and bench/load_soak.py, told apart by their columns; a picture each,
panels above one another on one axis of time. Run it with build/venv/bin/python (docker/deps.sh --bench).
"""
import argparse
import csv
import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the back end is chosen first)

# Panels: title, [(column, label, style)]. A style of "." is points, "area" is stacked.
OVERLOAD = [
    ("streams", [("offered", "if none were refused", "-"), ("accepted", "accepted and running", "-")]),
    ("frames/s", [("due", "due of accepted", "-"), ("frames", "arrived", "-"),
                  ("batch_frames", "of batch calls", "-")]),
    ("lag of live frames, ms", [("lag_p50_ms", "median of the second", "-"), ("lag_max_ms", "worst", "-")]),
    ("slowest refusal, ms", [("refusal_max_ms", "worst of the second", ".")]),
    ("memory, MiB (PSS)", [("server_mib", "server", "area"), ("decoders_mib", "decode processes", "area")]),
]
SOAK = [
    ("calls/s", [("calls", "that ended", "-")]),
    ("descriptors", [("fds", "of the server", "-")]),
    ("threads, processes", [("threads", "threads", "-"), ("children", "decode processes", "-")]),
    ("memory, MiB (PSS)", [("server_mib", "server", "area"), ("decoders_mib", "decode processes", "area")]),
]
# Streams of the first seconds and the like swing from second to second: a mean over so many is drawn.
SMOOTH = {"due": 5, "frames": 5, "batch_frames": 5, "calls": 5}


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else ())}


def smooth(values, width):
    return [sum(values[max(0, i - width + 1):i + 1]) / min(width, i + 1) for i in range(len(values))]


def draw_panel(ax, title, columns, data):
    seconds, below = data["second"], None
    for column, label, style in columns:
        values = smooth(data[column], SMOOTH.get(column, 1))
        if not any(values):
            continue
        if style == "area":
            top = [v + b for v, b in zip(values, below or [0] * len(values))]
            ax.fill_between(seconds, below or 0, top, alpha=0.6, label=label, linewidth=0)
            below = top
        elif style == ".":
            points = [(s, v) for s, v in zip(seconds, values) if v]
            ax.plot(*zip(*points), ".", markersize=3, label=label)
        else:
            ax.plot(seconds, values, linewidth=1, label=label)
    ax.set_ylabel(title, fontsize=8)
    ax.set_ylim(bottom=0)
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7, loc="upper right", framealpha=0.5)


def draw(data, path, title):
    panels = OVERLOAD if "lag_max_ms" in data else SOAK
    fig, axes = plt.subplots(len(panels), 1, figsize=(11, 2.1 * len(panels)), sharex=True)
    for ax, (name, columns) in zip(axes, panels):
        draw_panel(ax, name, columns, data)
    if "lag_max_ms" in data:
        axes[3].axhline(50, color="tab:red", linewidth=0.8, linestyle="--")  # what the service promises
    axes[0].set_title(title, fontsize=9)
    axes[-1].set_xlabel("s")
    fig.tight_layout()
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("-o", "--out", default=os.path.join("build", "bench", "plots"))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    for path in args.files:
        name = os.path.basename(path).removesuffix(".csv")
        picture = os.path.join(args.out, name + ".png")
        draw(read(path), picture, name)
        print(picture)


if __name__ == "__main__":
    main()
