# SPDX-License-Identifier: Apache-2.0
"""Looks at a running server from outside, once a second or so, for the load benches and tests.

A sample is what /proc says of the server and of its decode processes (descriptors, threads, processor time,
PSS, because they share the frames' memory) and what /metrics says, if there is an admin port. The watch has a
thread of its own, so that a busy caller does not change when it looks; what it costs is in the callers' share.
"""
import os
import re
import threading
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def family(pid):
    """The server's processes, itself first; those that end while we look are left out."""
    found, at = [pid], 0
    while at < len(found):
        try:
            for task in os.listdir("/proc/%d/task" % found[at]):
                with open("/proc/%d/task/%s/children" % (found[at], task)) as file:
                    found += [int(child) for child in file.read().split()]
        except OSError:
            pass
        at += 1
    return found


def pss_kb(pid):
    """But for pages that only a fork shares: between fork and exec the server's own would count half."""
    try:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            kb = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", file.read(), re.M)}
        return kb["Pss"] - kb["Pss_Anon"] + kb["Anonymous"]
    except (OSError, KeyError):
        return 0


def cpu_seconds(pid):
    """Its own, and that of its children that it waited for."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return sum(int(part) for part in file.read().rpartition(")")[2].split()[11:15]) / TICKS
    except OSError:
        return 0.0


def scrape(admin):
    """/metrics as {'name{label="value"}': number}; empty without an admin port."""
    if not admin:
        return {}
    with DIRECT.open("http://%s/metrics" % admin, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    values = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
    return values


def total(metrics, name, **labels):
    """Sum of a metric over all its label values but those given."""
    wanted = ['%s="%s"' % pair for pair in labels.items()]
    return sum(value for key, value in metrics.items()
               if key.partition("{")[0] == name and all(w in key for w in wanted))


def look(pid, admin=None):
    """One sample. Raises OSError when the server is gone."""
    processes = family(pid)
    with open("/proc/%d/status" % pid) as file:
        threads = int(re.search(r"Threads:\s+(\d+)", file.read())[1])
    return {"at": time.monotonic(), "fds": len(os.listdir("/proc/%d/fd" % pid)), "threads": threads,
            "children": len(processes) - 1, "server_mib": pss_kb(pid) / 1024,
            "decoders_mib": sum(pss_kb(p) for p in processes[1:]) / 1024,
            "cpu_s": sum(cpu_seconds(p) for p in processes), "metrics": scrape(admin)}


class Watch:
    """with Watch(pid, admin, seconds) as watch: ...; watch.samples"""

    def __init__(self, pid, admin=None, every_s=1.0):
        self.pid, self.admin, self.every_s, self.samples = pid, admin, every_s, []
        self.error = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        due = time.monotonic()
        while True:
            try:
                self.samples.append(look(self.pid, self.admin))
            except OSError as error:
                self.error = error  # the admin port did not answer, or the server is gone
            due = max(due + self.every_s, time.monotonic())
            if self._done.wait(due - time.monotonic()):
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._done.set()
        self._thread.join()


def settled(pid, admin, before, room, seconds=30, figures=lambda sample: sample):
    """Waits until no figure is above `before` by more than `room` allows; the last sample, and what is above as
    {figure: (before, now)}. room: {figure: how much more}; figures: those of a sample."""
    end = time.monotonic() + seconds
    while True:
        sample = look(pid, admin)
        now = figures(sample)
        over = {key: (before.get(key, 0), now[key]) for key in now if now[key] > before.get(key, 0) + room.get(key, 0)}
        if not over or time.monotonic() > end:
            return sample, over
        time.sleep(0.3)
