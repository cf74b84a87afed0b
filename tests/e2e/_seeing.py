# SPDX-License-Identifier: Apache-2.0
# What the tests of what an operator sees share: promtool, the log's lines, a session that stays open.
import json
import os
import shutil
import subprocess
import threading
import time

import grpc

import _stubs
from _stubs import ROOT, check, pb, pb_grpc


def media(kind):
    with open(_stubs.make_media(kind), "rb") as file:
        return file.read()


def promtool(row, *args, given=None):
    tool = os.path.join(ROOT, "build", "tools", "promtool")
    tool = tool if os.path.exists(tool) else shutil.which("promtool")
    if not tool:
        print("SKIP: %s needs promtool (docker/deps.sh --test brings it)" % row)
        return
    done = subprocess.run([tool, *args], input=given, capture_output=True, text=True)
    check(row, done.returncode == 0 and (not given or not done.stderr), done.stdout + done.stderr)


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def lines_of(server, **want):
    """The log's JSON lines with these values."""
    rows = [json.loads(row) for row in server.stderr().splitlines() if row.startswith("{")]
    return [row for row in rows if all(row.get(key) == value for key, value in want.items())]


class Hold:
    """A session that stays open until it is let go."""

    def __init__(self, channel, *metadata):
        self.event = threading.Event()
        self.call = pb_grpc.LipSyncStub(channel).Sync(self.requests(), metadata=metadata)
        check("a session that is held", next(self.call).HasField("accepted"))

    def requests(self):
        yield pb.SyncRequest(config=_stubs.container_config())
        self.event.wait(60)

    def cancel(self):
        self.call.cancel()
        self.event.set()


def take_all(call):
    try:
        yield from call
    except grpc.RpcError:
        pass
