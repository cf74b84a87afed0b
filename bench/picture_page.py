# SPDX-License-Identifier: Apache-2.0
"""The picture bench's page: one HTML file with its pictures in it. Aims first, then contact sheets, curves, all rows
and the definitions."""
import base64
import html
import io
import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the back end is chosen first)
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import picture_judge as judge  # noqa: E402

# What, row, the same with the original's paste, least, most, unit.
AIMS = [
    ("correlation with the known opening (unseen voices and faces)", "known opening, all: r", None, 0.8, None, ""),
    ("  which GRID's people reach with their own lips", "GRID, known opening against their own lips: r", None, None, None,
     ""),
    ("its lag", "known opening, all: lag", None, -40, 40, "ms"),
    ("correlation with GRID's held-out people, on another clip", "GRID, another clip: r", None, 0.6, None, ""),
    ("its lag", "GRID, another clip: lag", None, -40, 40, "ms"),
    ("  which agree by themselves with the picture's own by", "GRID, another clip: r of its own lips", None, None, None,
     ""),
    ("how much it follows the voice's lips there", "GRID, another clip: follows the voice", None, None, None, ""),
    ("  and the picture's own", "GRID, another clip: follows the picture's own mouth", None, None, None, ""),
    ("p, b, m closed", "known opening, all: closures", None, 90, None, "%"),
    ("  by chance", "known opening, all: closures by chance", None, None, None, "%"),
    ("  by GRID's people themselves, in the same way", "GRID, their own lips: closures", None, None, None, "%"),
    ("stillness, digital silence, generated", "digital silence, generate: stillness", None, None, 10, "%"),
    ("stillness, room noise, generated", "room noise, generate: stillness", None, None, 10, "%"),
    ("stillness, room noise, default policy", "room noise, keep-original: stillness", None, None, 10, "%"),
    ("seam", "stills, default: seam", "stills, original's paste: seam", None, 1.1, "x"),
    ("sharpness on stills", "stills, default: sharpness", "stills, original's paste: sharpness", 0.7, 1.2, "x"),
    ("sharpness on moving heads", "moving heads, default: sharpness", "moving heads, original's paste: sharpness", 0.7,
     1.2, "x"),
    ("jitter of what is pasted, still head", "still heads, default: pasted region moves",
     "still heads, original's paste: pasted region moves", None, 0.1, "px"),
    ("mouth error, gain over copying the reference", "mouth error: gain over copying", None, 3, None, "dB"),
]

VERDICTS = {True: ("yes", "met"), False: ("no", "NOT MET"), None: ("none", "")}  # class and text


def verdicts(bench):
    """[(what, value, value of the original's paste or None, aim as text, met or None)] of what was measured."""
    out = []
    for what, row, old, least, most, unit in AIMS:
        if all(case != row for case, _, _ in bench.rows):
            continue
        value = bench.value(row)  # one that is not a number meets no aim
        if least is None and most is None:
            out.append((what, value, bench.value(old) if old else None, "to read the others by", None))
            continue
        if least is None:
            aim = "<= %g %s" % (most, unit)
        elif most is None:
            aim = ">= %g %s" % (least, unit)
        else:
            aim = "%g .. %g %s" % (least, most, unit)
        met = (least is None or value >= least) and (most is None or value <= most)
        out.append((what, value, bench.value(old) if old else None, aim, met))
    return out


def _image(array, kind="JPEG"):
    to = io.BytesIO()
    Image.fromarray(np.asarray(array).round().clip(0, 255).astype(np.uint8)).save(to, kind, quality=84)
    return '<img src="data:image/%s;base64,%s">' % (kind.lower(), base64.b64encode(to.getvalue()).decode())


def _figure(figure):
    to = io.BytesIO()
    figure.savefig(to, format="png", dpi=80)
    plt.close(figure)
    return '<img src="data:image/png;base64,%s">' % base64.b64encode(to.getvalue()).decode()


def _tile(frame, points, side, wide):
    """A square around the lips; its half is `wide` times 0.4 of the distance between the eyes."""
    cx, cy = judge.mouth_ellipse(points)[:2]
    reach = 0.4 * wide * np.linalg.norm(points[[263, 362]].mean(0) - points[[33, 133]].mean(0))
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side * 2 * reach - reach
    soft = judge.soften(frame, 2 * reach / side)
    return judge.sample(soft, x + cx - 0.5, y + cy - 0.5)


def _strip(frames, points, side=118, wide=2.2):
    return _image(np.concatenate([_tile(f, p, side, wide) for f, p in zip(frames, points)], 1))


def _talk(name, shown):
    rows = ["<h3>%s</h3><table class=sheet>" % html.escape(name)]
    for label, frames in shown["frames"].items():
        rows.append("<tr><td>%s<td>%s" % (html.escape(label), _strip(frames, shown["points"])))
    names = "".join("<span>%s</span>" % html.escape(n or "-") for n in shown["names"])
    return "\n".join(rows) + '<tr><td>said<td class=names>%s</table>' % names


def _close(name, source, shown):
    tiles, labels = [], []
    for run, label in (("source", "source"), ("default", "default"), ("old", "original's paste")):
        tiles.append(_tile(shown["frames"][run], source.points[0], 330, 2.8))
        labels.append(label)
    mask = np.repeat(255 * shown["mask"][..., None], 3, 2)
    mask[shown["ring"]] = mask[shown["ring"]] * 0.6 + np.array([255, 60, 0]) * 0.4
    tiles.append(_tile(mask, source.points[0], 330, 2.8))
    labels.append("mask found, and its edge")
    return "<h3>%s</h3><p>%s</p>%s" % (html.escape(name), " | ".join(labels), _image(np.concatenate(tiles, 1)))


def _hard(name, shown):
    return "".join("<h3>%s</h3>%s" % (html.escape(name), _strip(frames, shown["points"], 104, 2.6))
                   for frames in shown["frames"].values())


def _faces(shown):
    rows = [np.concatenate(list(row), 1) for row in shown["rows"] if len(row)]
    return _image(np.concatenate(rows, 0))


def _curves(curves):
    out = []
    for name, times, o, known, spans in curves:
        figure, axes = plt.subplots(figsize=(13, 1.9))
        axes.plot(times, o, label="seen (eye distances)", lw=1.2)
        gain, zero = np.polyfit(known, o, 1) if np.std(known) > 0 else (0, 0)
        axes.plot(times, gain * known + zero, label="known, brought to its scale", lw=1, alpha=0.8)
        for begin, end in spans:
            axes.axvspan(begin, end, color="tab:red", alpha=0.15, lw=0)
        axes.set_title("%s: r %.2f" % (name, judge.pearson(o, known)), fontsize=9, loc="left")
        axes.margins(x=0)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7, loc="upper right")
        figure.tight_layout()
        out.append(_figure(figure))
    return "<br>".join(out)


def _number(value):
    return "%.3g" % value if abs(value) < 1000 else "%.0f" % value


STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:24px;max-width:1900px;color:#222}
td,th{padding:2px 10px 2px 0;text-align:left;vertical-align:top}.no{color:#b00020;font-weight:600}.yes{color:#067d3a}
h3{margin:14px 0 4px}img{max-width:100%;display:block}.sheet td:first-child{width:110px}
.names span{display:inline-block;width:118px;text-align:center}pre{white-space:pre-wrap}details{margin:10px 0}"""


def write(bench, path, facts, looks):
    """facts: [(name, text)] of the run; looks: videos beside the page."""
    out = ["<!doctype html><meta charset=utf-8><title>Lipstream: the picture</title><style>%s</style>" % STYLE,
           "<h1>The picture, measured</h1><table>"]
    out += ["<tr><td>%s<td>%s" % (html.escape(k), html.escape(v)) for k, v in facts]
    out.append("</table><h2>Aims</h2><table><tr><th>figure<th>default<th>original's paste<th>aim<th>")
    for what, value, old, aim, met in verdicts(bench):
        out.append("<tr><td>%s<td>%s<td>%s<td>%s<td class=%s>%s" % (
            what, _number(value), "" if old is None else _number(old), html.escape(aim), *VERDICTS[met]))
    out.append("</table><p>Original's paste: RECTANGLE, feather 0, colour match 0, sharpness 0, not turned upright, on "
               "the same generator. Zero of an opening and the other definitions: at the end.</p>")
    for file in looks:
        out.append('<p><a href="%s">%s</a> (H.264, with sound)</p>' % ((os.path.basename(file),) * 2))
    out.append("<h2>Seams and sharpness, close</h2>")
    out += [_close(n, s, shown) for kind, n, s, shown in bench.sheets if kind == "close"]
    out.append("<h2>Consecutive frames</h2>")
    out += [_talk(n, shown) for kind, n, s, shown in bench.sheets if kind == "talk"]
    out.append("<h2>What callers also send</h2>")
    out += [_hard(n, shown) for kind, n, s, shown in bench.sheets if kind == "hard"]
    out.append("<h2>The generator alone</h2><p>The person's own frame; generated from another frame's lower half; that "
               "frame's lower half copied.</p>")
    out += [_faces(shown) for kind, n, s, shown in bench.sheets if kind == "faces"]
    out.append("<h2>Openings</h2><p>Red: p, b, m.</p>" + _curves(bench.curves))
    out.append("<h2>All rows</h2><details open><table>")
    out += ["<tr><td>%s<td>%s<td>%s" % (html.escape(c), _number(v), u) for c, v, u in bench.rows]
    out.append("</table></details><h2>Definitions</h2><pre>%s</pre>" % html.escape(judge.__doc__))
    with open(path, "w") as f:
        f.write("\n".join(out))
