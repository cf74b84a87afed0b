# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/flow.bin and flow.txt: crops and pastes by numpy and OpenCV, for tests/golden/crop.c and paste.c.

Run once, by hand, from the repository's root, in an environment with requirements-golden.txt. Pictures and
network outputs are noise from a seed, made alike in _noise.h. Three parts, little endian int32 and float32:
exact flow (the original's arithmetic: integer box, cv2.resize to 96x96, network output * 255 truncated,
cv2.resize to the box, overwrite), as CRC-32 of crop and of frame; default crops, every 7th pixel; default
pastes, whole frames (_default.py).
"""
import os
import platform
import struct
import zlib

import cv2
import numpy as np

from _default import I420, LOWER_FACE, MOUTH, RECTANGLE, RGB24, default_crop, default_paste



def noise(seed, count):
    out = np.empty(count, np.int64)
    for i in range(count):
        seed = (seed * 1103515245 + 12345) % 2**31
        out[i] = seed
    return out


def noise_bytes(seed, count):
    return (noise(seed, count) // 65536 % 256).astype(np.uint8)


def noise_face(seed):
    return (noise(seed, 96 * 96 * 3) // 128).astype(np.float32).reshape(96, 96, 3) / np.float32(2**24)


# --- the original's flow ---

def exact_case(w, h, seed, box):
    rgb = noise_bytes(seed, w * h * 3).reshape(h, w, 3)
    bgr = rgb[:, :, ::-1].copy()
    x0, y0, x1, y1 = (int(np.float32(v)) for v in box)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, w), min(y1, h)
    crop = cv2.resize(bgr[y0:y1, x0:x1], (96, 96))
    made = (noise_face(seed + 1) * 255.0).astype(np.uint8)
    bgr[y0:y1, x0:x1] = cv2.resize(made, (x1 - x0, y1 - y0))
    return struct.pack("<3i4f2I", w, h, seed, *box, zlib.crc32(crop.tobytes()),
                       zlib.crc32(bgr[:, :, ::-1].tobytes()))


def exact_cases():
    cases = [(200, 160, (10, 20, 106, 116)), (200, 210, (3, 5, 195, 197)), (100, 80, (20, 11, 68, 59)),
             (300, 300, (0, 0, 300, 300)), (60, 40, (7, 9, 8, 10)), (60, 40, (7, 9, 9, 12)), (60, 40, (7.9, 9.9, 19.99, 14.01)),
             (150, 130, (-20.5, -7.5, 80.5, 60.25)), (150, 130, (90.5, 70.25, 190, 200)), (420, 33, (1, 1, 418, 31)),
             (33, 420, (1, 1, 31, 418)), (193, 193, (0, 0, 193, 193)), (193, 192, (1, 0, 193, 192)), (17, 16, (0, 0, 17, 16)),
             (400, 390, (5, 6, 389, 390)), (300, 298, (5, 6, 293, 294))]
    sizes = noise(77, 200) // 65536
    for i in range(40):
        w, h = 16 + int(sizes[4 * i]) % 200, 16 + int(sizes[4 * i + 1]) % 200
        bw, bh = 1 + int(sizes[4 * i + 2]) % w, 1 + int(sizes[4 * i + 3]) % h
        cases.append((w, h, (w - bw, (h - bh) // 2, w, (h - bh) // 2 + bh)))
    return [exact_case(w, h, 1000 + i, box) for i, (w, h, box) in enumerate(cases)]


# --- the default's: _default.py ---

def frame(fmt, w, h, seed):
    cw, ch = (w + 1) // 2, (h + 1) // 2
    if fmt == RGB24:
        return [noise_bytes(seed, w * h * 3).reshape(h, w, 3)]
    raw = noise_bytes(seed, w * h + 2 * cw * ch)
    return [raw[:w * h].reshape(h, w), raw[w * h:w * h + cw * ch].reshape(ch, cw), raw[w * h + cw * ch:].reshape(ch, cw)]


def crop_cases():
    out = []
    rows = [(I420, 0, 0, 120, 90, (20, 10, 80, 75), 0), (I420, 1, 0, 121, 91, (20.3, 10.7, 80.1, 75.9), 0.3),
            (I420, 2, 1, 200, 180, (-15.5, -9.25, 190.5, 188), 0), (I420, 1, 1, 33, 31, (4.4, 5.5, 21.7, 26.1), -1),
            (RGB24, 0, 0, 131, 77, (100.5, 30.5, 160, 99), 0), (RGB24, 0, 0, 64, 64, (8, 8, 56, 56), 0),
            (I420, 1, 0, 640, 480, (100.25, 50.5, 500.75, 460), 0), (RGB24, 0, 0, 300, 280, (20, 20, 270, 255), -0.21)]
    for i, (fmt, m, full, w, h, box, roll) in enumerate(rows):
        crop = default_crop(frame(fmt, w, h, 2000 + i), fmt, m, full, box, roll)
        out.append(struct.pack("<6i5f", fmt, m, full, w, h, 2000 + i, *box, roll) + crop.reshape(-1, 3)[::7].tobytes())
    return out


def noise_source(seed):
    """A crop that has something of a picture: noise, each byte the mean of four of its row."""
    b = noise_bytes(seed, 96 * 96 * 3 + 9).astype(int)
    return ((b[:-9] + b[3:-6] + b[6:-3] + b[9:]) // 4).reshape(96, 96, 3)


def softer(source, seed):
    """A face as a generator makes it: the crop, a little darker, with noise of its own at the mouth."""
    out = (source / 255.0 * 0.96).astype(np.float32)
    out[62:80, 30:66] = noise_face(seed)[62:80, 30:66]
    return out


def paste_cases():
    out = []
    rows = [(I420, 0, 0, 124, 114, (5, 3, 118, 110), 0, LOWER_FACE, 10, 1, 1, 1), (I420, 1, 0, 63, 53, (5.3, 3.8, 58.1, 50.6), 0.25, MOUTH, 14, 0, 1, 0),
            (I420, 2, 1, 49, 47, (-13.5, -8.25, 80.5, 60), 0, RECTANGLE, 6, 0.5, 0.75, 0.5), (I420, 1, 1, 40, 40, (8.2, 8.9, 28.7, 30.1), 0, RECTANGLE, 0, 1, 1, 1),
            (RGB24, 0, 0, 45, 44, (20.5, 17.5, 60, 59), 0, LOWER_FACE, 0, 0.3, 1, 0), (RGB24, 0, 0, 48, 48, (-60, -100, 132, 92), -0.4, MOUTH, 0, 1, 1, 2),
            (I420, 1, 0, 151, 130, (-35.75, -110.5, 184.75, 124), 0, MOUTH, 14, 1, 1, 1), (I420, 0, 0, 150, 131, (-25.75, -80.5, 174.75, 134), 0.35, MOUTH, 14, 1, 0.9, 1)]
    for i, (fmt, m, full, w, h, box, roll, mask, feather, match, strength, sharpness) in enumerate(rows):
        seed, mouth = 3000 + 3 * i, (0.5, 0.72, 0.25, 0.18)
        given = frame(fmt, w, h, seed)
        source = noise_source(seed + 2)
        face = softer(source, seed + 1)
        p = {"feather": feather, "match": match, "strength": strength, "sharpness": sharpness}
        made = default_paste(given, fmt, m, full, box, roll, face.astype(float), source.astype(float), mask, mouth,
                             {k: float(np.float32(v)) for k, v in p.items()})
        out.append(struct.pack("<7i13f", fmt, m, full, w, h, seed, mask, *box, roll, *mouth, feather, match, strength, sharpness) +
                   b"".join(q.tobytes() for q in made))
    return out


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parts = [exact_cases(), crop_cases(), paste_cases()]
    with open(os.path.join(here, "flow.bin"), "wb") as f:
        f.write(b"".join(struct.pack("<i", len(p)) + b"".join(p) for p in parts))
    with open(os.path.join(here, "flow.txt"), "w") as f:
        f.write(f"flow.bin: python {platform.python_version()}, numpy {np.__version__}, opencv {cv2.__version__}; "
                f"{len(parts[0])} exact flows, {len(parts[1])} crops, {len(parts[2])} pastes\n")


main()
