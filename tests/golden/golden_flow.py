# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/flow.bin and flow.txt: crops and pastes by numpy and OpenCV, for tests/golden/crop.c and paste.c.

Run once, by hand, from the repository's root, in an environment with requirements-golden.txt. Pictures and
network outputs are noise from a seed, made alike in _noise.h. Three parts, little endian int32 and float32:
exact flow (the original's arithmetic: integer box, cv2.resize to 96x96, network output * 255 truncated,
cv2.resize to the box, overwrite), as CRC-32 of crop and of frame; default crops, every 7th pixel; default
pastes, whole frames. The default's formulas are written here a second time, from the comments of
kernels/frame.h and kernels/paste.c, in double.
"""
import os
import platform
import struct
import zlib

import cv2
import numpy as np

KR_KB = {0: (0.299, 0.114), 1: (0.2126, 0.0722), 2: (0.2627, 0.0593)}
I420, RGB24 = 0, 1
LOWER_FACE, MOUTH, RECTANGLE = 0, 1, 2


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


# --- the default's definition ---

def matrix(m, full):
    kr, kb = KR_KB[m]
    luma = np.array([kb, 1 - kr - kb, kr])
    ys, cs = (1, 1) if full else (219 / 255, 224 / 255)
    rows = np.stack([luma * ys, (np.array([1, 0, 0]) - luma) / (2 * (1 - kb)) * cs,
                     (np.array([0, 0, 1]) - luma) / (2 * (1 - kr)) * cs])
    return rows, np.array([0 if full else 16, 128, 128])


def bilinear(plane, x, y):
    """plane [h, w, …] at all pairs of x and y, whole numbers being sample centres; edges repeat."""
    h, w = plane.shape[:2]
    x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - i, y - j
    i1, j1 = np.minimum(i + 1, w - 1), np.minimum(j + 1, h - 1)
    p = plane.astype(float).reshape(h, w, -1)
    fx, fy = fx[None, :, None], fy[:, None, None]
    top = p[j][:, i] * (1 - fx) + p[j][:, i1] * fx
    low = p[j1][:, i] * (1 - fx) + p[j1][:, i1] * fx
    return (top * (1 - fy) + low * fy).reshape((len(y), len(x)) + plane.shape[2:])


def frame(fmt, w, h, seed):
    cw, ch = (w + 1) // 2, (h + 1) // 2
    if fmt == RGB24:
        return [noise_bytes(seed, w * h * 3).reshape(h, w, 3)]
    raw = noise_bytes(seed, w * h + 2 * cw * ch)
    return [raw[:w * h].reshape(h, w), raw[w * h:w * h + cw * ch].reshape(ch, cw), raw[w * h + cw * ch:].reshape(ch, cw)]


def round_half_up(v):
    return np.clip(np.floor(v + 0.5), 0, 255).astype(np.uint8)


def default_crop(planes, fmt, m, full, box):
    x0, y0, x1, y1 = (float(np.float32(v)) for v in box)
    x = x0 + (np.arange(96) + 0.5) * (x1 - x0) / 96 - 0.5
    y = y0 + (np.arange(96) + 0.5) * (y1 - y0) / 96 - 0.5
    if fmt == RGB24:
        return round_half_up(bilinear(planes[0], x, y)[:, :, ::-1])
    rows, offset = matrix(m, full)
    yuv = np.stack([bilinear(planes[0], x, y)] + [bilinear(p, x / 2, (y - 0.5) / 2) for p in planes[1:]], 2)
    return round_half_up((yuv - offset) @ np.linalg.inv(rows).T)


def crop_cases():
    out = []
    rows = [(I420, 0, 0, 120, 90, (20, 10, 80, 75)), (I420, 1, 0, 121, 91, (20.3, 10.7, 80.1, 75.9)),
            (I420, 2, 1, 200, 180, (-15.5, -9.25, 190.5, 188)), (I420, 1, 1, 33, 31, (4.4, 5.5, 21.7, 26.1)),
            (RGB24, 0, 0, 131, 77, (100.5, 30.5, 160, 99)), (RGB24, 0, 0, 64, 64, (8, 8, 56, 56))]
    for i, (fmt, m, full, w, h, box) in enumerate(rows):
        crop = default_crop(frame(fmt, w, h, 2000 + i), fmt, m, full, box)
        out.append(struct.pack("<6i4f", fmt, m, full, w, h, 2000 + i, *box) + crop.reshape(-1, 3)[::7].tobytes())
    return out


def smooth(t):
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def mask_map(mask, mouth, feather):
    p = np.arange(96) + 0.5
    x, y = p[None, :], p[:, None]
    border = np.minimum(np.minimum(x, 96 - x), np.minimum(y, 96 - y))
    if mask == RECTANGLE:
        return smooth(border / feather) if feather else np.ones((96, 96))
    f = max(feather, 1)
    if mask == MOUTH:
        cx, cy, rx, ry = (v * 96 for v in mouth)
        r = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
        width = f / ((rx + ry) / 2)
        return smooth((0.95 + width / 2 - r) / width) * smooth(border / (f / 2))
    r = ((np.abs(x - 48) / 44) ** 2.6 + (np.abs(y - 70) / 28) ** 2.6) ** (1 / 2.6)
    return smooth((1 - r) / (f / 36)) * smooth(border / (f / 2))


def default_paste(planes, fmt, m, full, box, face, source, mask, mouth, feather, match, strength):
    shape = mask_map(mask, mouth, feather)
    ring = (shape * (1 - shape))[:, :, None]
    difference = (ring * (source - 255.0 * face)).sum((0, 1)) / ring.sum() if ring.sum() > 1e-6 else 0
    bgr = np.clip(255.0 * face + match * difference, 0, 255)
    x0, y0, x1, y1 = (float(np.float32(v)) for v in box)
    rows, offset = matrix(m, full)
    values = [bgr[:, :, ::-1]] if fmt == RGB24 else list(np.moveaxis(bgr @ rows.T + offset, 2, 0))
    out = []
    for n, (p, value) in enumerate(zip(planes, values)):
        scale, ax, ay = (2, 0.5, 1.0) if n else (1, 0.5, 0.5)
        x, y = np.arange(p.shape[1]) * scale + ax, np.arange(p.shape[0]) * scale + ay
        i, j = np.nonzero((x >= x0) & (x < x1))[0], np.nonzero((y >= y0) & (y < y1))[0]
        u, v = (x[i] - x0) / (x1 - x0) * 96 - 0.5, (y[j] - y0) / (y1 - y0) * 96 - 0.5
        a, new = bilinear(shape * strength, u, v), bilinear(value, u, v)
        a = a[:, :, None] if fmt == RGB24 else a
        q = p.copy()
        old = q[np.ix_(j, i)].astype(float)
        q[np.ix_(j, i)] = round_half_up(old + a * (new - old))
        out.append(q)
    return out


def paste_cases():
    out, mouth = [], (0.5, 0.72, 0.25, 0.18)
    rows = [(I420, 0, 0, 64, 54, (5, 3, 58, 50), LOWER_FACE, 10, 1, 1), (I420, 1, 0, 63, 53, (5.3, 3.8, 58.1, 50.6), MOUTH, 14, 0, 1),
            (I420, 2, 1, 49, 47, (-13.5, -8.25, 80.5, 60), RECTANGLE, 6, 0.5, 0.75), (I420, 1, 1, 40, 40, (8.2, 8.9, 28.7, 30.1), RECTANGLE, 0, 1, 1),
            (RGB24, 0, 0, 45, 44, (20.5, 17.5, 60, 59), LOWER_FACE, 0, 0.3, 1), (RGB24, 0, 0, 48, 48, (-60, -60, 132, 132), MOUTH, 0, 1, 1)]
    for i, (fmt, m, full, w, h, box, mask, feather, match, strength) in enumerate(rows):
        seed = 3000 + 3 * i
        face, source = noise_face(seed + 1), noise_bytes(seed + 2, 96 * 96 * 3).reshape(96, 96, 3)
        made = default_paste(frame(fmt, w, h, seed), fmt, m, full, box, face.astype(float), source.astype(float), mask,
                             mouth, feather, match, strength)
        out.append(struct.pack("<7i11f", fmt, m, full, w, h, seed, mask, *box, *mouth, feather, match, strength) +
                   b"".join(p.tobytes() for p in made))
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
