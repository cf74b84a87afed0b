# SPDX-License-Identifier: Apache-2.0
# Twice what the machine can take, for five minutes (bench/load_overload.py): accepted live streams keep their
# frame rate, refusals are answered within 50 ms, memory is flat. Nothing else may run beside it. The picture is
# drawn by bench/load_plot.py from overload.csv in the build folder.
import os
import sys

import _stubs

sys.path.insert(0, os.path.join(_stubs.ROOT, "bench"))

import load_overload  # noqa: E402 (bench/)


def main():
    args = load_overload.parser().parse_args(
        ["--seconds", os.environ.get("LS_OVERLOAD_SECONDS", "300"),
         "--out", os.path.join(_stubs.BUILD, "overload.csv")])
    run = load_overload.measure(args)
    for name, ok, detail in load_overload.judge(run, strict=True):
        _stubs.check(name, ok, detail)
    for name, value, unit in load_overload.facts(run):
        print("long_overload: %s %.4g %s" % (name, value, unit))
    _stubs.finish()


main()
