#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what tests/golden/net.c and kernels/model_check.c compare with: outputs of Wav2Lip-96 in torch,
built here from its description (layers, sizes, joins) and seeded weights, in double precision; and one
mel column in numpy. Shares no code with the kernels. Needs torch and numpy; run once, outputs are
committed. Usage: golden_net.py [path of the repository]"""
import json
import math
import os
import struct
import sys
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
DEMO = dict(audio=[16, 32, 48, 64, 128], face=[16, 16, 32, 32, 64, 128, 128],
            decoder=[128, 128, 128, 96, 64, 32, 16], output=16)
WIDE = dict(audio=[32, 64, 128, 256, 512], face=[16, 32, 64, 128, 256, 512, 512],
            decoder=[512, 512, 512, 384, 256, 128, 64], output=32)
SAMPLES, STEP = 1100, 25  # value k of item i is at index 25 k + i of [96][96][3]


class Stream:
    """splitmix64, many values at a time."""

    def __init__(self, seed):
        self.state = np.uint64(seed)

    def bits(self, count):
        with np.errstate(over="ignore"):
            gamma = np.uint64(0x9E3779B97F4A7C15)
            z = self.state + gamma * np.arange(1, count + 1, dtype=np.uint64)
            self.state = z[-1]
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def uniform(self, *shape):
        bits = self.bits(int(np.prod(shape))) >> np.uint64(40)
        return (bits.astype(np.float64) / 2**23 - 1).reshape(shape)


class Unit(nn.Module):
    """(Transposed) convolution, batch norm, perhaps the input added, ReLU."""

    def __init__(self, cin, cout, kernel, stride=1, pad=0, add=False, up=None):
        super().__init__()
        layer = (nn.Conv2d(cin, cout, kernel, stride, pad) if up is None
                 else nn.ConvTranspose2d(cin, cout, kernel, stride, pad, output_padding=up))
        self.conv_block = nn.Sequential(layer, nn.BatchNorm2d(cout))
        self.add, self.stride, self.up = add, stride, up

    def forward(self, x):
        y = self.conv_block(x)
        return torch.relu(y + x if self.add else y)


def same(c):
    return Unit(c, c, 3, pad=1, add=True)


class Net(nn.Module):
    def __init__(self, audio, face, decoder, output):
        super().__init__()
        a, f, d = audio, face, decoder
        self.audio_encoder = nn.Sequential(
            Unit(1, a[0], 3, pad=1), same(a[0]), same(a[0]),
            Unit(a[0], a[1], 3, (3, 1), 1), same(a[1]), same(a[1]),
            Unit(a[1], a[2], 3, 3, 1), same(a[2]), same(a[2]),
            Unit(a[2], a[3], 3, (3, 2), 1), same(a[3]),
            Unit(a[3], a[4], 3), Unit(a[4], a[4], 1))
        extra = [None, 2, 3, 2, 2, 1]
        down = [nn.Sequential(Unit(6, f[0], 7, pad=3))]
        down += [nn.Sequential(Unit(f[i - 1], f[i], 3, 2, 1), *[same(f[i]) for _ in range(extra[i])])
                 for i in range(1, 6)]
        down += [nn.Sequential(Unit(f[5], f[6], 3), Unit(f[6], f[6], 1))]
        self.face_encoder_blocks = nn.ModuleList(down)
        up = [nn.Sequential(Unit(a[4], d[0], 1)),
              nn.Sequential(Unit(d[0] + f[6], d[1], 3, up=0), same(d[1]))]
        up += [nn.Sequential(Unit(d[i - 1] + f[7 - i], d[i], 3, 2, 1, up=1), same(d[i]), same(d[i]))
               for i in range(2, 7)]
        self.face_decoder_blocks = nn.ModuleList(up)
        self.output_block = nn.Sequential(Unit(d[6] + f[0], output, 3, pad=1), nn.Conv2d(output, 3, 1))

    def forward(self, mel, face):
        kept = []
        for block in self.face_encoder_blocks:
            face = block(face)
            kept.append(face)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), kept.pop()], 1)
        return torch.sigmoid(self.output_block(x))


def seed_weights(net, seed):
    stream = Stream(seed)

    def put(parameter, middle, spread):
        values = middle + spread * stream.uniform(*parameter.shape)
        parameter.data.copy_(torch.from_numpy(values.astype(np.float32)))

    def conv(layer, divide=1.0):
        cin, k = layer.in_channels, layer.kernel_size
        fan = cin * k[0] * k[1]
        if isinstance(layer, nn.ConvTranspose2d):
            fan /= layer.stride[0] * layer.stride[1]
        put(layer.weight, 0, math.sqrt(6 / fan) / divide)
        put(layer.bias, 0, 0.1)

    units = list(net.audio_encoder)
    for blocks in (net.face_encoder_blocks, net.face_decoder_blocks):
        units += [u for block in blocks for u in block]
    for u in units + [net.output_block[0]]:
        conv(u.conv_block[0])
        norm = u.conv_block[1]
        gain = 0.3 if u.add else 1.0
        put(norm.weight, gain, 0.1 * gain)
        put(norm.bias, 0, 0.1)
        put(norm.running_mean, 0, 0.1)
        put(norm.running_var, 1, 0.2)
    conv(net.output_block[1], 4.0)


def load_safetensors(net, path):
    """The file's values as they are; every tensor must be used."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        values = f.read()
    header.pop("__metadata__", None)
    state = OrderedDict()
    for name, t in header.items():
        raw = values[t["data_offsets"][0]:t["data_offsets"][1]]
        kind = {"F16": np.float16, "I64": np.int64}[t["dtype"]]
        state[name] = torch.from_numpy(np.frombuffer(raw, kind).reshape(t["shape"]).astype(np.float64))
    net.load_state_dict(state, strict=True)


def run(net, count, stream):
    """Bytes [count][96][96][3], mel [count][16][80] as they come from the stream; [count][96][96][3]."""
    face = (stream.bits(count * 96 * 96 * 3) >> np.uint64(56)).astype(np.uint8)
    face = face.reshape(count, 96, 96, 3)
    mel = (4 * stream.uniform(count, 16, 80)).astype(np.float32)
    x = (face.astype(np.float64) / 255).astype(np.float32)
    masked = x.copy()
    masked[:, 48:] = 0
    x = torch.from_numpy(np.concatenate([masked, x], 3).transpose(0, 3, 1, 2).copy())
    m = torch.from_numpy(mel.transpose(0, 2, 1)[:, None].copy())
    with torch.no_grad():
        y = net.double().eval()(m.double(), x.double())
    return y.numpy().transpose(0, 2, 3, 1)


def mel_column(voice, column):
    """Pre-emphasis, reflection, Hann, Fourier transform, Slaney bands, decibels, -4..4."""
    x = voice.astype(np.float64)
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    x = np.pad(x, 400, mode="reflect")[200 * column:200 * column + 800]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 800)
    magnitude = np.abs(np.fft.rfft(x * window))

    def to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) / (np.log(6.4) / 27))

    def to_hz(m):
        return np.where(m < 15, m * 200 / 3, 1000 * np.exp((m - 15) * (np.log(6.4) / 27)))

    edge = to_hz(np.linspace(to_mel(np.array(55.0)), to_mel(np.array(7600.0)), 82))
    hz = np.arange(401) * 20.0
    up = (hz - edge[:80, None]) / (edge[1:81] - edge[:80])[:, None]
    down = (edge[2:, None] - hz) / (edge[2:] - edge[1:81])[:, None]
    bank = np.maximum(0, np.minimum(up, down)) * (2 / (edge[2:] - edge[:80]))[:, None]
    db = 20 * np.log10(np.maximum(1e-5, bank @ magnitude)) - 20
    return np.clip(8 * (db + 100) / 100 - 4, -4, 4)


def sample(y):
    index = np.arange(SAMPLES) * STEP
    return np.stack([y[i].reshape(-1)[index + i] for i in range(len(y))]).astype("<f4")


def write_c(path, y, mel):
    index = [(k * 431 + 7) % (96 * 96 * 3) for k in range(64)]
    rows = ["    {%d, %.9gf}," % (i, y.reshape(-1)[i]) for i in index]
    bands = ", ".join("%.9gf" % v if "." in "%.9g" % v else "%.1ff" % v for v in mel)
    with open(path, "w") as f:
        f.write("// SPDX-License-Identifier: Apache-2.0\n// Made by tests/golden/golden_net.py with torch "
                "%s and numpy %s. Not edited by hand.\n" % (torch.__version__, np.__version__))
        f.write('#include "golden.h"\n\n// clang-format off\nconst struct ls_golden_sample '
                "ls_golden_picture[LS_GOLDEN_SAMPLES] = {\n")
        f.write("\n".join(rows) + "\n};\n\nconst float ls_golden_mel[80] = {\n")
        words = bands.split(", ")
        f.write("\n".join("    " + ", ".join(words[i:i + 8]) + "," for i in range(0, 80, 8)))
        f.write("\n};\n// clang-format on\n")


def main():
    here = os.path.join(ROOT, "tests", "golden")
    for name, widths, seed in (("net_demo", DEMO, 11), ("net_wide", WIDE, 12), ("net_model", DEMO, None)):
        net = Net(**widths)
        if seed is None:
            load_safetensors(net, os.path.join(ROOT, "kernels/demo/lipstream_demo_fp16.safetensors"))
        else:
            seed_weights(net, seed)
        y = run(net, 2, Stream(21))
        print(name, "min %.3f max %.3f mean %.3f std %.3f, items differ by %.3f" %
              (y.min(), y.max(), y.mean(), y.std(), np.abs(y[0] - y[1]).mean()))
        sample(y).tofile(os.path.join(here, name + ".bin"))
    net = Net(**DEMO)
    seed_weights(net, 1)
    stream = Stream(2)
    y = run(net, 1, stream)
    voice = (stream.uniform(2000) / 4).astype(np.float32)
    write_c(os.path.join(ROOT, "kernels", "golden.c"), y[0], mel_column(voice, 5))
    with open(os.path.join(here, "net.txt"), "w") as f:
        f.write("net_*.bin: golden_net.py, torch %s, numpy %s, Python %s\n" %
                (torch.__version__, np.__version__, sys.version.split()[0]))


if __name__ == "__main__":
    main()
