#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares two results of bench/run.sh or bench/load.sh: bench/compare.py [OLD.csv] NEW.csv

  --ask 10 --fail 20   percent of more cost from which a question is asked, from which it fails
  --no-ask             questions are printed only, on a terminal too
  --merge RUN.csv...   prints one result of several runs: medians, and rows "CASE spread" (run.sh --repeat)

Without OLD it is the newest earlier result of the same machine and bench, beside NEW or in bench/results.
Exit status: 0 nothing to answer for (or only questions, printed), 1 a case costs 20 % more or a question was
answered with no, 2 a file or the command line is wrong.

What is compared, by unit. Cost is what one item takes: a rate of 80 for 100 is 25 % more, as a time of 1.25 for 1.
  rates (frames/s, GB/s ...)         more is better, divided by the run's yardstick
  times (s, ms, us, ms/frame, s/s)   less is better, multiplied by it
  sizes (MiB, MB, kbit/s, frames)    less is better, as they are
Other units (%, times, calls) and the bench "picture" are no cost and not judged. The yardstick of a run is the
geometric mean of its kinds (bench/yardstick.c), each the median of what was measured before, in the middle of and
after the run. Where a file has none, both are compared as they are, and that is said.

Noise: a row "CASE spread" holds the distance of the quartiles in percent. A change that is not greater than the
spread of either side, for rates and times also than the yardstick's in either run, is not reported; those that
would have failed are named as too noisy to tell. What others took of the processors meanwhile (rows "machine,taken
by others") counts as spread of all that is measured by the clock on the wall, that is all but the benches "kernels"
and "encode" and "processor time". Rows without a spread are taken at their word, and marked.
"""
import argparse
import csv
import math
import os
import re
import statistics
import sys

RATES = re.compile(r"(frames?|columns?|faces?|calls|images?|items?|[kMG]?B|[TGM]?flops?|Mbit)/s$", re.I)
TIMES = {"s", "ms", "us", "ms/frame", "us/frame", "s/s", "ms/call", "us/call"}
SIZES = {"MiB", "MB", "KiB", "kB", "bytes", "kbit/s", "frames"}
RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results")
UNJUDGED = {"picture", "yardstick", "machine"}
BY_PROCESSOR = re.compile(r"(kernels|encode|profile)$|\w+,.*processor time$")  # bench, or bench,case
MOMENT = re.compile(r"(\S+) (\S.*)$")
FILE_MAX = 16 << 20
NAME = re.compile(r"(.+?)-(\d{4}-\d\d-\d\d)(?:-[0-9a-f]{4,40})?\.csv$")


class Fault(Exception):
    """A file that is no result; the text says where and why."""


def shown(text):
    """Fit for a terminal, whatever a file has in it."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def number(text, where):
    try:
        value = float(text)
    except ValueError:
        raise Fault(f"{where}: {shown(text)!r} is not a number") from None
    if not math.isfinite(value):
        raise Fault(f"{where}: {shown(text)} is not a finite number")
    return value


class Result:
    """One file: rows {(bench, case, unit): value}, spreads {(bench, case): percent}, comments {name: text}."""

    def __init__(self, path):
        self.path, self.rows, self.spreads, self.comments, self.head = path, {}, {}, {}, []
        try:
            with open(path, "rb") as file:
                raw = file.read(FILE_MAX + 1)
        except OSError as fault:
            raise Fault(f"{path}: {fault.strerror}") from None
        if len(raw) > FILE_MAX:
            raise Fault(f"{path}: more than {FILE_MAX >> 20} MiB")
        try:
            lines = raw.decode().split("\n")
        except UnicodeDecodeError as fault:
            raise Fault(f"{path}: not text (byte {fault.start})") from None
        titled = False
        for count, line in enumerate(lines, 1):
            line = line.rstrip("\r")
            where = f"{path}:{count}"
            if line.startswith("#"):
                name, _, text = line[1:].strip().partition(": ")
                self.comments.setdefault(name, text)
                self.head.append(line)
            elif line == "bench,case,value,unit":
                titled = True
            elif line.strip():
                if not titled:
                    raise Fault(f'{where}: a row before the line "bench,case,value,unit"')
                self.take(line, where)
        if not self.rows:
            raise Fault(f"{path}: no rows")

    def take(self, line, where):
        try:
            fields = next(csv.reader([line], strict=True))
        except csv.Error as fault:
            raise Fault(f"{where}: {fault}") from None
        if len(fields) != 4 or not all(field.strip() for field in fields):
            raise Fault(f"{where}: not bench,case,value,unit: {shown(line)}")
        bench, case, text, unit = fields
        value = number(text, where)
        if case.endswith(" spread") and unit == "percent":
            if value < 0:
                raise Fault(f"{where}: a spread below 0")
            key, rows = (bench, case.removesuffix(" spread")), self.spreads
        else:
            key, rows = (bench, case, unit), self.rows
        if key in rows:
            raise Fault(f"{where}: this case has a value already: {shown(line)}")
        rows[key] = value

    def spread(self, bench, case):
        return self.spreads.get((bench, case), 0.0)

    def taken(self):
        """What others took of the processors, in percent of what they left."""
        most = max((value for (bench, case, _), value in self.rows.items()
                    if bench == "machine" and case.startswith("taken by others")), default=0.0)
        most = min(max(most, 0.0), 99.0)
        return 100 * most / (100 - most)


class Yardstick:
    """kinds {kind: median over the moments}, mean of the kinds and its own spread; None without rows."""

    def __init__(self, result):
        moments = {}
        for (bench, case, _), value in result.rows.items():
            if bench == "yardstick":
                found = MOMENT.match(case)
                if not found:
                    raise Fault(f"{result.path}: a yardstick without its moment: {shown(case)}")
                if value <= 0:
                    raise Fault(f"{result.path}: a yardstick of {value:g}: {shown(case)}")
                moments.setdefault(found[2], {})[found[1]] = value
        kinds = {kind for moment in moments.values() for kind in moment}
        for name, moment in moments.items():
            if set(moment) != kinds:
                lacking = shown(", ".join(sorted(kinds - set(moment))))
                raise Fault(f'{result.path}: the yardstick "{shown(name)}" lacks {lacking}')
        self.kinds = {kind: statistics.median(m[kind] for m in moments.values()) for kind in sorted(kinds)}
        self.mean = statistics.geometric_mean(self.kinds.values()) if kinds else None
        self.spread = quartiles([statistics.geometric_mean(m.values()) for m in moments.values()])


def quartiles(values):
    """The distance of the quartiles in percent of the median."""
    middle = statistics.median(values) if values else 0
    if len(values) < 2 or not middle:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return 100 * abs((high - low) / middle)


def kind_of(bench, unit):
    """rate, time, size, or None where a row is no cost."""
    if bench in UNJUDGED:
        return None
    if unit in SIZES:
        return "size"
    if unit in TIMES:
        return "time"
    return "rate" if RATES.match(unit) else None


class Change:
    """One case in both: more_percent is how much more it costs now (less: below 0)."""

    def __init__(self, key, old, new, scale, drift, taken):
        self.bench, self.case, self.unit = key
        self.old, self.new = old.rows[key], new.rows[key]
        kind = kind_of(self.bench, self.unit)
        costs = self.new / self.old if kind != "rate" else self.old / self.new
        self.more_percent = 100 * (costs * (scale if kind != "size" else 1) - 1)
        pair = (self.bench, self.case)
        self.known = pair in old.spreads or pair in new.spreads
        self.noise = max(old.spread(*pair), new.spread(*pair), drift if kind != "size" else 0)
        if kind != "size" and not BY_PROCESSOR.match(self.bench) and not BY_PROCESSOR.match(",".join(pair)):
            self.noise = max(self.noise, taken)

    def __str__(self):
        known = f"noise {self.noise:.3g} %" + ("" if self.known else ", its own spread not known")
        return (f"{shown(self.bench)}, {shown(self.case)}: {self.old:g} -> {self.new:g} {shown(self.unit)}, "
                f"{abs(self.more_percent):.1f} % {'more' if self.more_percent > 0 else 'less'} cost ({known})")


def changes_of(old, new, scale, drift):
    """Of all that both have and that is a cost; and the rows that have no ratio."""
    changes, no_ratio, taken = [], [], max(old.taken(), new.taken())
    for key in old.rows:
        if key in new.rows and kind_of(key[0], key[2]):
            if old.rows[key] > 0 and new.rows[key] > 0:
                changes.append(Change(key, old, new, scale, drift, taken))
            elif old.rows[key] != new.rows[key]:
                no_ratio.append(key)
    return changes, no_ratio


def scale_of(old, new):
    """Speed of the machine in the new run over that in the old one, and the greater spread of both; says so."""
    a, b = Yardstick(old), Yardstick(new)
    if a.mean is None or b.mean is None:
        lacking = " and ".join(r.path for r, y in ((old, a), (new, b)) if y.mean is None)
        print(f"no yardstick in {shown(lacking)}: times and rates are compared as they are")
        return 1.0, 0.0
    if set(a.kinds) != set(b.kinds):
        raise Fault(f"{old.path} and {new.path} have different kinds of yardstick")
    ratios = {kind: b.kinds[kind] / a.kinds[kind] for kind in a.kinds}
    scale = b.mean / a.mean
    print(f"the machine of the new run is {scale:.3g} times as fast: "
          + ", ".join(f"{shown(kind)} {ratio:.3g}" for kind, ratio in ratios.items())
          + f"; the yardstick's spread {a.spread:.1f} %, then {b.spread:.1f} %")
    apart = 100 * (max(ratios.values()) / min(ratios.values()) - 1)
    if apart >= 10:
        print(f"its kinds differ by {apart:.0f} %: what lives by one of them alone is told wrongly by as much")
    return scale, max(a.spread, b.spread)


def ask(text, may_ask):
    """False if somebody says that it is not meant."""
    if not may_ask:
        print(f"  is this meant? {text}")
        return True
    try:
        return input(f"  is this meant? {text} [y/n] ").strip().lower().startswith("y")
    except EOFError:
        print()
        return False


def listed(title, lines):
    if lines:
        print(title)
        for line in lines:
            print(f"  {line}")


def names(keys):
    """Of a dozen; how many more there are."""
    all_names = [shown(f"{bench}, {case} ({unit})") for bench, case, unit in keys]
    more = len(all_names) - 12
    return all_names[:12] + [f"and {more} more"] * (more > 0)


def compare(old, new, args):
    """0, or 1 where the new one is worse."""
    print(f"old: {shown(old.path)}, commit {shown(old.comments.get('commit', 'unknown'))}")
    print(f"new: {shown(new.path)}, commit {shown(new.comments.get('commit', 'unknown'))}")
    scale, drift = scale_of(old, new)
    changes, no_ratio = changes_of(old, new, scale, drift)
    for result in (old, new):
        if result.taken() >= args.ask:
            print(f"others used the machine of {shown(result.path)}: what the clock on the wall tells is unsure by "
                  f"{result.taken():.0f} %")
    changes.sort(key=lambda change: -change.more_percent)
    told = [change for change in changes if abs(change.more_percent) > change.noise]
    worse = [change for change in told if change.more_percent >= args.fail]
    questions = [change for change in told if args.ask <= change.more_percent < args.fail]
    noisy = [change for change in changes if change.more_percent >= args.fail and change not in worse]
    better = [change for change in reversed(told) if change.more_percent <= -args.ask]
    judged = [key for key in old.rows if kind_of(key[0], key[2])]
    gone = [key for key in judged if key not in new.rows]
    listed(f"{len(better)} better by {args.ask:g} % or more:", better)
    listed("new cases, nothing to compare with:",
           names(key for key in new.rows if key not in old.rows and kind_of(key[0], key[2])))
    listed("no ratio, one side is not above 0:", names(no_ratio))
    listed(f"{len(noisy)} worse by {args.fail:g} % or more, but not by more than the noise; measure again:", noisy)
    listed("cases that are gone:", names(gone))
    asked = [str(change) for change in questions]
    asked += [f"{len(keys)} cases {what}" for keys, what in ((gone, "are gone"), (no_ratio, "have no ratio")) if keys]
    may_ask = not args.no_ask and sys.stdin.isatty() and sys.stdout.isatty()
    meant = all([ask(text, may_ask) for text in asked])
    listed(f"{len(worse)} WORSE by {args.fail:g} % or more:", worse)
    left = sum(1 for key in set(old.rows) | set(new.rows) if not kind_of(key[0], key[2]))
    print(f"{len(changes)} cases compared, {left} rows are no cost: "
          f"{len(worse)} worse, {len(asked)} questions, {len(noisy)} too noisy, {len(better)} better")
    if not changes:
        raise Fault("the two have no case in common")
    return 1 if worse or not meant else 0


def spread_of(runs, bench, case):
    """Over the runs, or within one where that is greater; None if neither is known."""
    within = [run.spreads[bench, case] for run in runs if (bench, case) in run.spreads]
    over = [quartiles(values) for key in {k: 0 for run in runs for k in run.rows if k[:2] == (bench, case)}
            if len(values := [run.rows[key] for run in runs if key in run.rows]) > 1]
    if within:
        over.append(statistics.median(within))
    return max(over, default=None)


def merge(paths):
    """Prints one result of several runs: the median of each case, then its spread."""
    runs = [Result(path) for path in paths]
    out = csv.writer(sys.stdout, lineterminator="\n")
    print("\n".join(runs[0].head + [f"# runs: {len(runs)}, medians", "bench,case,value,unit"]))
    keys = list(dict.fromkeys(key for run in runs for key in run.rows))
    for at, (bench, case, unit) in enumerate(keys):
        values = [run.rows[bench, case, unit] for run in runs if (bench, case, unit) in run.rows]
        out.writerow([bench, case, f"{statistics.median(values):.5g}", unit])
        spread = spread_of(runs, bench, case)
        if spread is not None and all(key[:2] != (bench, case) for key in keys[at + 1:]):
            out.writerow([bench, case + " spread", f"{spread:.4g}", "percent"])
    return 0


def earlier(new):
    """The newest result before this one, of the same machine and bench."""
    folder, name = os.path.split(os.path.abspath(new.path))
    found = NAME.match(name)
    if not found:
        raise Fault(f"{new.path}: not named MACHINE-DATE-COMMIT.csv; name the old result, too")
    dated = []
    beside = {os.path.join(place, other): other for place in (folder, RESULTS) if os.path.isdir(place)
              for other in os.listdir(place)}
    for path, other in beside.items():
        match = NAME.match(other)
        if path != os.path.join(folder, name) and match and match[1] == found[1]:
            result = Result(os.path.relpath(path))
            date = result.comments.get("date", match[2])
            if date <= new.comments.get("date", found[2]):
                dated.append((date, other, result))
    if not dated:
        raise Fault(f"{new.path}: no earlier result of {found[1]}")
    return max(dated, key=lambda entry: entry[:2])[2]


def percent(text):
    value = float(text)
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError("not between 0 and 1000")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="[OLD.csv] NEW.csv; with --merge: runs")
    parser.add_argument("--ask", type=percent, default=10.0, metavar="PERCENT")
    parser.add_argument("--fail", type=percent, default=20.0, metavar="PERCENT")
    parser.add_argument("--no-ask", action="store_true", help="questions are printed only")
    parser.add_argument("--merge", action="store_true", help="print one result of several runs")
    args = parser.parse_args()
    if not args.merge and len(args.files) > 2:
        parser.error("more than two files")
    if args.ask > args.fail:
        parser.error("--ask is above --fail")
    try:
        if args.merge:
            return merge(args.files)
        new = Result(args.files[-1])
        return compare(Result(args.files[0]) if len(args.files) == 2 else earlier(new), new, args)
    except Fault as fault:
        print(f"compare.py: {fault}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
