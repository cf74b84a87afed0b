#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/exact.bin and exact.txt, which tests/unit/exact.c compares whole sessions with: the
original's flow from voice and frames to pasted frames, its faces given, the demo weights its network.

Run once, by hand, in three steps, because torch and librosa come from different places; what one hands
to the next lies in build/. With librosa and OpenCV (requirements-golden.txt): golden_exact.py prepare;
with torch: golden_exact.py network; with the first again: golden_exact.py write.

Voice and frames are made by integer formulas, the same as in exact.c. exact.bin, little endian: count of
cases; for each: name [32], rate's numerator and denominator, source frames, samples, CRC-32 of the
samples, CRC-32 of the frames, output frames (int32), a box for each source frame (4 int32: left, top,
right, bottom), and the boxes' RGB pixels for each output frame.
"""
import os
import platform
import struct
import sys
import zlib

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
BUILD = os.path.join(ROOT, "build")
MODEL = os.path.join(ROOT, "kernels/demo/lipstream_demo_fp16.safetensors")
WIDTH, HEIGHT, SOURCES = 121, 101, 20

# Odd and even sizes, all four edges and two corners touched, the smallest box that is allowed (4 pixels).
SMALL = [(41, 30, 74, 67), (41, 30, 74, 67), (42, 31, 75, 68), (42, 31, 75, 68), (0, 0, 31, 33), (1, 1, 30, 34),
         (90, 69, 121, 101), (92, 62, 120, 100), (50, 0, 80, 41), (50, 68, 81, 101), (0, 40, 29, 75), (37, 28, 70, 70),
         (37, 28, 70, 70), (60, 10, 64, 15), (36, 27, 69, 59), (37, 27, 70, 62), (38, 28, 68, 66), (10, 50, 101, 61),
         (58, 7, 69, 96), (39, 29, 71, 64)]
LARGE, SAME, HALF = (12, 3, 110, 100), (20, 3, 116, 99), (30, 22, 78, 70)  # 98 by 97, 96 and 48 pixels
CASES = [("25 fps, looped", 25, 1, 20800, {15: LARGE, 17: HALF}), ("30000/1001 fps, looped", 30000, 1001, 20850, {18: SAME}),
         ("25 fps, frames left over", 25, 1, 8123, {})]


def voice(count):
    """Four tones whose pitches and loudness jump every 50 ms, and noise; 16 bits."""
    i = np.arange(count, dtype=np.int64)
    part = i // 800
    out = np.zeros(count, np.int64)
    for k, (low, step, gain) in enumerate([(110, 17, 5), (420, 130, 4), (1130, 290, 3), (2450, 370, 2)]):
        hz = low + step * (part * (3 + 2 * k) % 7)
        out += gain * np.abs(i * hz % 16000 * 2 - 16000)  # 0..16000, a triangle
    state, noise = 20240611, np.empty(count, np.int64)
    for n in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        noise[n] = state // 65536 % 256
    level = 2**(part * 5 % 9)  # 1..256
    return ((out - 112000) * level // 1024 + (noise - 128) * (part * 3 % 8)).astype(np.int16)


def blob(x, y, cx, cy, rx, ry, height):
    t = 1024 - 1024 * (x - cx) * (x - cx) // (rx * rx) - 1024 * (y - cy) * (y - cy) // (ry * ry)
    return np.maximum(t, 0) * height // 1024


def frame(n):
    """RGB: a slope, and what could be a head with eyes and a mouth, moving slowly."""
    x, y = np.arange(WIDTH)[None, :], np.arange(HEIGHT)[:, None]
    cx, cy = 52 + n % 5, 46 + n % 3
    skin = blob(x, y, cx, cy, 18, 23, 110)
    dark = (blob(x, y, cx - 7, cy - 6, 4, 3, 70) + blob(x, y, cx + 7, cy - 6, 4, 3, 70) +
            blob(x, y, cx, cy + 10, 7, 2 + n % 3, 80))
    out = np.empty((HEIGHT, WIDTH, 3), np.int64)
    for c, (across, down, share) in enumerate([(60, 30, 4), (30, 70, 3), (80, 40, 2)]):
        out[:, :, c] = 20 + 5 * c + x * across // WIDTH + y * down // HEIGHT + skin * share // 4 - dark * (c + 2) // 8 + n
    return np.clip(out, 0, 255).astype(np.uint8)


def boxes(changed):
    return [changed.get(i, box) for i, box in enumerate(SMALL)]


def windows(columns, fps):
    """inference.py's chunks: [count][80][16]; the last one is the voice's last 16 columns."""
    out, i = [], 0
    while True:
        start = int(i * (80.0 / fps))
        if start + 16 > columns.shape[1]:
            out.append(columns[:, columns.shape[1] - 16:])
            return np.stack(out)
        out.append(columns[:, start:start + 16])
        i += 1


def prepare():
    import cv2
    from golden_audio import mel
    parts = {}
    for k, (_, num, den, samples, changed) in enumerate(CASES):
        chunk = windows(mel(voice(samples).astype(np.float32) / 32768), num / den)
        frames = [frame(n)[:, :, ::-1] for n in range(SOURCES)][:len(chunk)]  # BGR, as OpenCV reads
        faces = []
        for i in range(len(chunk)):
            x0, y0, x1, y1 = boxes(changed)[i % len(frames)]
            faces.append(cv2.resize(np.ascontiguousarray(frames[i % len(frames)][y0:y1, x0:x1]), (96, 96)))
        parts["mel%d" % k], parts["face%d" % k] = chunk, np.stack(faces)
    np.savez(os.path.join(BUILD, "exact_in.npz"), **parts)


def generate(net, mel, face):
    import torch
    masked = face.copy()
    masked[:, 48:] = 0
    x = (np.concatenate((masked, face), axis=3) / 255.0).astype(np.float32).transpose(0, 3, 1, 2)
    m = mel.astype(np.float32)[:, None]
    with torch.no_grad():  # double, so that no library's order of sums shows; the result is float
        y = net(torch.from_numpy(m).double(), torch.from_numpy(x).double()).float()
    return y.numpy().transpose(0, 2, 3, 1) * np.float32(255)


def network():
    import torch
    from golden_net import DEMO, Net, load_safetensors
    net = Net(**DEMO)
    load_safetensors(net, MODEL)
    net = net.double().eval()
    given, parts = np.load(os.path.join(BUILD, "exact_in.npz")), {"torch": torch.__version__}
    for k, case in enumerate(CASES):
        mel, face = given["mel%d" % k], given["face%d" % k]
        parts["made%d" % k] = made = generate(net, mel, face)
        # What a wrong window would change, or no mask: the test must be able to tell.
        late = np.abs(generate(net, np.roll(mel, 1, 2), face) - made).max((1, 2, 3))
        other = np.abs(generate(net, np.roll(mel, 1, 0), face) - made).max((1, 2, 3))
        print("%s: mel %.2f..%.2f, made %.1f..%.1f; of %d frames, %d change by over 2 with windows one column "
              "late, %d with the neighbour's" % (case[0], mel.min(), mel.max(), made.min(), made.max(), len(made),
                                                 (late > 2).sum(), (other > 2).sum()))
    np.savez(os.path.join(BUILD, "exact_made.npz"), **parts)


def write():
    import cv2
    import librosa
    made, out = np.load(os.path.join(BUILD, "exact_made.npz")), struct.pack("<i", len(CASES))
    for k, (name, num, den, samples, changed) in enumerate(CASES):
        pictures, rows = made["made%d" % k].astype(np.uint8), boxes(changed)
        film = b"".join(frame(n).tobytes() for n in range(SOURCES))
        out += struct.pack("<32s4i2Ii", name.encode(), num, den, SOURCES, samples,
                           zlib.crc32(voice(samples).astype("<i2").tobytes()), zlib.crc32(film), len(pictures))
        out += np.array(rows, "<i4").tobytes()
        for i, picture in enumerate(pictures):
            x0, y0, x1, y1 = rows[i % min(SOURCES, len(pictures))]
            out += cv2.resize(picture, (x1 - x0, y1 - y0))[:, :, ::-1].tobytes()
    with open(os.path.join(HERE, "exact.bin"), "wb") as f:
        f.write(out)
    with open(os.path.join(HERE, "exact.txt"), "w") as f:
        f.write(f"exact.bin: python {platform.python_version()}, numpy {np.__version__}, librosa {librosa.__version__}, "
                f"opencv {cv2.__version__}; network: torch {made['torch']}\n")
    print(len(out), "bytes")


if __name__ == "__main__":
    {"prepare": prepare, "network": network, "write": write}[sys.argv[1]]()
