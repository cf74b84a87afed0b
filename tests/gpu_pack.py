#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gathers what a machine with a GPU needs, if it has no gRPC, no FFmpeg and no network: gpu_pack.py BUILD OUT

OUT/programs.tar.xz   the programs, the module and the tests of BUILD, without debugging information
OUT/libraries.tar.xz  the shared libraries that they need, of this machine, but for glibc's and CUDA's; made again
                      only when they have changed, for compressing them takes a minute

What surprises: FFmpeg of a distribution links every codec there is, 216 MB with all they need in turn (55 MB
compressed). Those that the service never calls (encoders of other formats, pictures in SVG, playlists in
XML) are replaced by libraries of the same names whose functions all return 0: FFmpeg asks some of them what
they can do when it starts, and believes that they can do nothing.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAMS = ["lipstreamd", "lipstream-decode", "lipstream", "bench_device", "bench_wide", "liblipstream_cuda.so",
            "tests/test_kernels_check", "tests/test_golden_net", "tests/test_kernels_formats",
            "tests/liblipstream_cuda_shim.so", "bench_device_shim"]
NOT_CALLED = r"lib(codec2|rsvg-2|x265|SvtAv1Enc|rav1e|aom|jxl|jxl_threads|xml2|openmpt|cairo|gme)\.so"
GLIBC = r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|mvec))\.so"
CUDA = r"lib(cuda|cudart|cudnn\w*|nvrtc|nvrtc-builtins|nvidia.*)\.so"
CXX = r"lib(stdc\+\+|gcc_s)\.so"  # used where the machine's own are older


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(path):
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", run("readelf", "-dW", path))


def where(paths):
    """{soname: path} of all that the dynamic linker would load for them."""
    found = {}
    for path in paths:
        for name, file in re.findall(r"^\s*(\S+) => (/\S+)", run("ldd", path), re.M):
            found[name] = file
    return found


def walk(programs, found):
    """Sonames that are loaded, and those to be replaced."""
    todo, real, empty = list(programs), set(), set()
    while todo:
        for name in needed(todo.pop()):
            if re.match(GLIBC, name) or re.match(CUDA, name) or name in real or name in empty:
                continue
            if re.match(NOT_CALLED, name):
                empty.add(name)
            else:
                real.add(name)
                todo.append(found[name])
    return real, empty


def symbols(path, undefined):
    """(name, version) of dynamic symbols."""
    what = "--undefined-only" if undefined else "--defined-only"
    out = []
    for line in run("nm", "-D", what, path).splitlines():
        name, _, version = line.split()[-1].partition("@")
        out.append((name, version.lstrip("@"), line.split()[-2]))
    return out


def make_empty(name, path, wanted, folder):
    """A library of this name with what is wanted of it."""
    versions, lines = {}, []
    for symbol, version, kind in symbols(path, False):
        if symbol in wanted and kind != "A":
            versions.setdefault(version, []).append(symbol)
            lines.append("char %s[64];" % symbol if kind in "BDRVGS" else "long %s(void) { return 0; }" % symbol)
    script = "".join("%s { global: %s; };\n" % (v, "; ".join(s)) for v, s in versions.items() if v)
    with tempfile.TemporaryDirectory() as work:
        with open(work + "/x.c", "w") as f:
            f.write("\n".join(lines) + "\n")
        with open(work + "/x.map", "w") as f:
            f.write(script)
        run("gcc", "-w", "-fno-builtin", "-shared", "-fPIC", "-O1", "-s", "-Wl,-soname," + name, "-o",
            folder + "/" + name, work + "/x.c", *(["-Wl,--version-script=" + work + "/x.map"] if script else []))


def pack(folder, archive):
    part = archive + ".part"
    with open(part, "wb") as out:
        tar = subprocess.Popen(["tar", "-C", folder, "--sort=name", "--owner=0", "--group=0", "-cf", "-", "."],
                               stdout=subprocess.PIPE)
        subprocess.run(["xz", "-T0", "--x86", "--lzma2=preset=6,dict=64MiB"], stdin=tar.stdout, stdout=out,
                       check=True)
        if tar.wait():
            sys.exit("gpu_pack: tar failed")
    os.rename(part, archive)


def size(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(path) for f in names)


def pack_programs(programs, out, work):
    folder = os.path.join(work, "programs")
    os.mkdir(folder)
    for path in programs:
        to = os.path.join(folder, os.path.basename(path))
        run("strip", "--strip-debug", "-o", to, path)
        os.chmod(to, 0o755)
    for extra in ("build/blazeface.safetensors",):
        if os.path.exists(extra):
            shutil.copy(extra, folder)
    pack(folder, os.path.join(out, "programs.tar.xz"))
    return size(folder)


def pack_libraries(programs, out, work):
    found = where(programs)
    real, empty = walk(programs, found)
    archive = os.path.join(out, "libraries.tar.xz")
    stamp = hashlib.sha256(open(__file__, "rb").read())
    for name in sorted(real | empty):
        stat = os.stat(found[name])
        stamp.update(("%s %d %d\n" % (name, stat.st_size, stat.st_mtime_ns)).encode())
    stamp_file = os.path.join(os.path.dirname(out), "gpu-libraries.stamp")
    if os.path.exists(archive) and os.path.exists(stamp_file) and open(stamp_file).read() == stamp.hexdigest():
        return None
    folder = os.path.join(work, "libraries")
    os.makedirs(folder + "/cxx")
    for name in real:
        shutil.copy(found[name], os.path.join(folder, "cxx" if re.match(CXX, name) else "", name))
    wanted = {symbol for user in [*programs, *(found[name] for name in real)] for symbol, _, _ in symbols(user, True)}
    for name in empty:
        make_empty(name, found[name], wanted, folder)
    pack(folder, archive)
    with open(stamp_file, "w") as f:
        f.write(stamp.hexdigest())
    print("gpu: %d libraries as they are, %d empty: %s" % (len(real), len(empty), " ".join(sorted(empty))))
    return size(folder)


def main():
    build, out = sys.argv[1:]
    programs = [os.path.join(build, p) for p in PROGRAMS if os.path.exists(os.path.join(build, p))]
    missing = [p for p in PROGRAMS if os.path.join(build, p) not in programs]
    if missing:
        print("gpu: not built and left out:", *missing)
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        before = {"programs": pack_programs(programs, out, work), "libraries": pack_libraries(programs, out, work)}
    commit = run("git", "rev-parse", "--short", "HEAD").strip()
    if subprocess.run(["git", "diff", "--quiet", "HEAD"]).returncode:
        commit += " with changes"
    with open(os.path.join(out, "commit"), "w") as f:
        f.write(commit + "\n")
    for name, raw in before.items():
        compressed = size(os.path.join(out, name + ".tar.xz")) / 1e6
        note = ", %.1f MB unpacked" % (raw / 1e6) if raw else ", as it was"
        print("gpu: %s.tar.xz %.1f MB%s" % (name, compressed, note))
    tracked = sum(os.path.getsize(f) for f in run("git", "ls-files", "-z").split("\0") if f and os.path.isfile(f))
    whole = tracked + size(out)
    print("gpu: %.1f MB in all with the sources (%.1f MB)" % (whole / 1e6, tracked / 1e6))
    if whole > 64e6:
        sys.exit("gpu: more than 64 MB")


if __name__ == "__main__":
    main()
