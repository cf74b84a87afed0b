# SPDX-License-Identifier: Apache-2.0
# Runs a program under the system calls that a systemd unit allows, without systemd: the unit's lists are expanded
# by `systemd-analyze syscall-filter` and loaded with libseccomp. What the unit answers with EPERM kills here, so
# that no fallback hides it.
#
#   _unit_run.py UNIT PROGRAM ARGUMENT...
import ctypes
import os
import subprocess
import sys

KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000


def groups():
    """Name of a set -> its members (calls and other sets)."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True,
                          check=True).stdout
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif name and line.startswith("    ") and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def expand(word, known):
    if not word.startswith("@"):
        return {word}
    return set().union(*(expand(w, known) for w in known[word]))


def allowed(unit):
    """What the lines of SystemCallFilter leave, taken in their order."""
    known, calls = groups(), set()
    with open(unit) as file:
        for line in file:
            key, _, value = line.strip().partition("=")
            if key == "SystemCallFilter":
                words = set().union(*(expand(w, known) for w in value.lstrip("~").split()))
                calls = calls - words if value.startswith("~") else calls | words
    # systemd adds these to every list of what is allowed.
    return calls | expand("@default", known) | {"execve"}


def main():
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(KILL_PROCESS)))
    for name in sorted(allowed(sys.argv[1])):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0)
    if seccomp.seccomp_load(context) != 0:
        sys.exit("the filter could not be loaded")
    os.execv(sys.argv[2], sys.argv[2:])


main()
