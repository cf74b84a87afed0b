# SPDX-License-Identifier: Apache-2.0
"""The shape of a mouth in four numbers, comparable between people: opening (0 closed, 1 wide open for this person),
width, height and drop of the lower lip (around 0, spread 0.3). And the material with its shapes, in memory."""
import glob
import os
import sys

import numpy as np

import sound
from material import HELD, judge

# Points that do not move with speech: eyes, bridge of the nose, forehead, ears.
STABLE = [33, 133, 263, 362, 168, 6, 197, 9, 8, 151, 4, 127, 356]
# How much each number counts when shapes are compared.
WEIGHT = np.array([1.0, 0.6, 0.6, 0.6], np.float32)


def measure(points, aspect):
    """[n][468][2] of a picture squeezed by `aspect` (its width over its height) -> [n][4], in eye distances."""
    points = points * np.array([aspect, 1.0], np.float32)
    eyes = (points[:, 263] + points[:, 362] - points[:, 33] - points[:, 133]) / 2
    apart = np.linalg.norm(eyes, axis=1, keepdims=True)
    across = eyes / apart
    down = np.stack([-across[:, 1], across[:, 0]], 1)
    span = lambda a, b, axis: ((points[:, b] - points[:, a]) * axis).sum(1) / apart[:, 0]  # noqa: E731
    return np.stack([judge.opening(points), span(61, 291, across), span(0, 17, down), span(168, 17, down)], 1)


def _comparable(raw, clip):
    """One person's measures [n][4]."""
    low, high = np.quantile(raw[:, 0], [0.15, 0.96])
    out = raw.copy()
    out[:, 0] = (raw[:, 0] - low) / max(high - low, 0.02)
    for c in np.unique(clip):  # a head that leans changes the others slowly, from clip to clip
        out[clip == c, 1:] -= np.median(out[clip == c, 1:], 0)
    out[:, 1:] *= 0.3 / (out[:, 1:].std(0) + 1e-6)
    return out.clip(-1.5, 1.8)


class Material:
    """All frames of the people that `wanted` says yes to, in one row: picture [n][120][120][3] BGR, points
    [n][468][2], person [n], clip [n], time_s [n], raw and shape [n][4]; wav [clips]."""

    def __init__(self, folder, wanted=lambda person: person not in HELD):
        parts = {k: [] for k in ("picture", "points", "person", "clip", "time_s", "raw")}
        self.wav = []
        for path in sorted(glob.glob(os.path.join(folder, "*.npz"))):
            person = os.path.basename(path).split("-")[0]
            if not wanted(person):
                continue
            with np.load(path) as z:
                count = len(z["picture"])
                new = {"picture": z["picture"], "points": z["points"], "person": np.full(count, person),
                       "clip": np.full(count, len(self.wav)), "time_s": np.arange(count) / 25.0,
                       "raw": measure(z["points"], float(z["aspect"])).astype(np.float32)}
                self.wav.append(z["wav"])
            for name, value in new.items():
                parts[name].append(value)
        if not self.wav:
            sys.exit("no clips of the people wanted in " + folder)
        for name, values in parts.items():
            setattr(self, name, np.concatenate(values))
        self.people = sorted(set(self.person.tolist()))
        self.of = {p: np.nonzero(self.person == p)[0] for p in self.people}
        self.of_clip = [np.nonzero(self.clip == c)[0] for c in range(len(self.wav))]
        self.shape = np.zeros_like(self.raw)
        for i in self.of.values():
            self.shape[i] = _comparable(self.raw[i], self.clip[i])

    def __len__(self):
        return len(self.clip)

    def heard(self, speed=1.0):
        """What each frame hears [n][80][16] if its clip is played `speed` times as fast (and higher)."""
        out = np.zeros((len(self), sound.BANDS, sound.WINDOW), np.float32)
        for c, wav in enumerate(self.wav):
            i = self.of_clip[c]
            if speed != 1.0:
                at = np.arange(0, len(wav) - 1, speed)
                wav = np.interp(at, np.arange(len(wav)), wav).astype(np.float32)
            out[i] = sound.windows(wav, self.time_s[i] / speed)
        return out


SPEEDS = (1.0, 0.87, 1.15)
