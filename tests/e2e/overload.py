# SPDX-License-Identifier: Apache-2.0
# Twice what the machine can take, for half a minute (bench/load_overload.py; long_overload.py: five minutes, with
# the borders that hold on a machine that does nothing else): accepted live streams keep their frame rate beside a
# batch caller, whoever comes too many is refused at once, and memory stays.
import os
import sys

import _stubs

sys.path.insert(0, os.path.join(_stubs.ROOT, "bench"))

import load_overload  # noqa: E402 (bench/)


def main():
    args = load_overload.parser().parse_args(
        ["--seconds", "30", "--calibrate", "6", "--length", "5", "--batch", "1",
         "--out", os.path.join(_stubs.BUILD, "overload.csv")])
    run = load_overload.measure(args)
    for name, ok, detail in load_overload.judge(run, strict=False):
        _stubs.check(name, ok, detail)
    for name, value, unit in load_overload.facts(run):
        print("overload: %s %.4g %s" % (name, value, unit))
    _stubs.finish()


main()
