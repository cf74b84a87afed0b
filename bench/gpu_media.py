# SPDX-License-Identifier: Apache-2.0
"""Raw frames and voices made from numbers, for machines that have nothing but Python: four kinds of each."""
import array
import math
import os
import random

RATE = 25


def face_box(width, height):
    """Left, top, right, bottom of the "face": 300x360 of a 1280x720 picture."""
    w, h = max(16, width * 15 // 64), max(16, height // 2)
    return (width - w) // 2, (height - h) // 2, (width - w) // 2 + w, (height - h) // 2 + h


def _plane(width, height, frame, kind, low, high):
    """A texture that moves by a pixel or two a frame: rows cut out of one longer row. At 720p x264 makes
    of it what it makes of a person who speaks, a few Mbit/s."""
    span = width * 2 + 512
    wave = [low + (high - low) * (0.5 + 0.35 * math.sin(x * (5 + kind) * 2 * math.pi / width)) for x in range(span)]
    noise = random.Random(kind).choices(range(-2, 3), k=span)
    line = bytes(min(255, max(0, int(v) + n)) for v, n in zip(wave, noise))
    rows = []
    for y in range(height):
        at = (frame * (1 + kind % 2) + y // 3 + 37 * (y // 90)) % (span - width)
        rows.append(line[at:at + width])
    return b"".join(rows)


def make_frames(folder, size, count, kind):
    """A file of I420 frames; made once."""
    width, height = size
    path = os.path.join(folder, "frames-%dx%d-%d-%d.i420" % (width, height, count, kind))
    if not os.path.exists(path):
        with open(path + ".part", "wb") as f:
            for frame in range(count):
                f.write(_plane(width, height, frame, kind, 40, 210))
                f.write(_plane((width + 1) // 2, (height + 1) // 2, frame, kind + 1, 110, 130))
                f.write(_plane((width + 1) // 2, (height + 1) // 2, frame, kind + 2, 130, 150))
        os.rename(path + ".part", path)
    return path


def voice(seconds, kind):
    """16 kHz, mono, signed 16 bit: two tones that come and go a few times a second."""
    samples = array.array("h")
    for i in range(round(seconds * 16000)):
        t = i / 16000
        loud = 0.55 + 0.45 * math.sin(2 * math.pi * (2.5 + kind / 2) * t)
        tones = 0.3 * math.sin(2 * math.pi * (120 + 25 * kind) * t) + 0.2 * math.sin(2 * math.pi * 890 * t)
        samples.append(int(32767 * loud * tones))
    return samples.tobytes()


def make_voice(folder, seconds, kind):
    path = os.path.join(folder, "voice-%d-%d.pcm" % (round(seconds * 1000), kind))
    if not os.path.exists(path):
        with open(path + ".part", "wb") as f:
            f.write(voice(seconds, kind))
        os.rename(path + ".part", path)
    return path
