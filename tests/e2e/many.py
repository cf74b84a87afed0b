# SPDX-License-Identifier: Apache-2.0
# 64 sessions at once through Envoy over three replicas (bench/load_fleet.py): none is lost, and all bytes are
# those of the lone run.
import argparse
import os
import sys

import _stubs

sys.path.insert(0, os.path.join(_stubs.ROOT, "bench"))

import load_fleet  # noqa: E402 (bench/)

load_fleet.many(argparse.Namespace(sessions=64, length=0.6))
_stubs.finish()
