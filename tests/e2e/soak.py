# SPDX-License-Identifier: Apache-2.0
# Mixed callers for a while (bench/load_soak.py; long_soak.py: half an hour): every call comes to the end that
# its kind must come to, the server's own counts are the callers', and afterwards an idle server holds what it held
# before: descriptors, threads, decode processes, memory.
import os
import sys

import _stubs

sys.path.insert(0, os.path.join(_stubs.ROOT, "bench"))

import load_soak  # noqa: E402 (bench/)


def run(seconds, warm_up):
    args = load_soak.parser().parse_args(["--seconds", seconds, "--warm-up", warm_up,
                                          "--out", os.path.join(_stubs.BUILD, "soak.csv")])
    soak, before, after, amiss = load_soak.measure(args)
    _stubs.check("soak", not amiss, amiss[:8])
    print("soak:", ", ".join("%d %s" % (n, k) for k, n in sorted(soak.counts.items())))
    print("soak:", ", ".join("%s %.4g, then %.4g" % (k, before[k], after[k]) for k in load_soak.ROOM))
    _stubs.finish()


if __name__ == "__main__":
    run("25", "15")
