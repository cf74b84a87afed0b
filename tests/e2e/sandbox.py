# SPDX-License-Identifier: Apache-2.0
# Decode processes are locked in, as the kernel tells: system calls are filtered, no new privileges, no core.
# --sandbox none leaves the filter out, for kernels and containers that have none.
import re
import sys
import time

import _stubs
from _stubs import check, container_config, media


def status(server, count):
    """What /proc says of the decode processes, once they wait for work."""
    end, found = time.monotonic() + 10, []
    while time.monotonic() < end:
        with open("/proc/%d/task/%d/children" % (server.pid, server.pid)) as file:
            pids = file.read().split()
        found = []
        for pid in pids:
            with open("/proc/%s/status" % pid) as file:
                found.append(dict(re.findall(r"^(Seccomp|NoNewPrivs):\s+(\d+)", file.read(), re.M)))
        if len(found) == count and all(f.get("NoNewPrivs") == "1" for f in found):
            time.sleep(0.3)  # the filter comes next
            with open("/proc/%s/limits" % pids[0]) as file:
                limits = file.read()
            with open("/proc/%s/status" % pids[0]) as file:
                return int(re.search(r"^Seccomp:\s+(\d)", file.read(), re.M)[1]), limits
        time.sleep(0.05)
    return found, ""


def one(server):
    with server.channel() as channel:
        return _stubs.sync(channel, container_config(), media("voice_short.wav"), media("face_tiny.mp4"))


def main():
    if _stubs.SANITIZED:
        _stubs.skip("a sanitizer needs more system calls than the sandbox allows")
    with _stubs.start_server("--warm-decoders", "2", "--sandbox", "none") as server:
        free = one(server)
        filtered, limits = status(server, 2)
        check("none: no filter", free.ok() and filtered == 0, (free, filtered))
    with _stubs.start_server("--warm-decoders", "2") as server:
        if "decode processes may make any system call" in server.stderr():
            _stubs.skip("this kernel or container has no seccomp filters")
    with _stubs.start_server("--warm-decoders", "2", "--sandbox", "required") as server:
        filtered, limits = status(server, 2)
        check("required: a filter", filtered == 2, filtered)
        check("no core file", re.search(r"Max core file size\s+0\s+0", limits), limits)
        check("no processes", re.search(r"Max processes\s+0\s+0", limits), limits)
        check("no new descriptors", re.search(r"Max open files\s+5\s+5", limits), limits)
        locked = one(server)
        check("the same bytes come out", locked.ok() and locked.sha256() == free.sha256(), locked)
    _stubs.finish()


if __name__ == "__main__":
    sys.exit(main())
