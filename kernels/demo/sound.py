# SPDX-License-Identifier: Apache-2.0
"""Voices as the network hears them: Wav2Lip's mel columns (WAV2LIP.md, section 1), windows of 16 of them, and what
rooms, microphones and other throats do to them. Voices are float32 at 16 kHz."""
import numpy as np
from scipy.signal import lfilter

RATE, HOP, BANDS, WINDOW, QUIET = 16000, 200, 80, 16, -4.0
COLUMNS_PER_S = RATE / HOP


def _bank():
    to_mel = lambda f: np.where(f < 1000, f * 3 / 200, 15 + np.log(np.maximum(f, 1) / 1000) * 27 / np.log(6.4))  # noqa: E731,E501
    to_hertz = lambda m: np.where(m < 15, m * 200 / 3, 1000 * np.exp((m - 15) * np.log(6.4) / 27))  # noqa: E731
    edge = to_hertz(np.linspace(to_mel(np.float64(55)), to_mel(np.float64(7600)), BANDS + 2))
    f = np.arange(401) * RATE / 800
    rise = (f - edge[:-2, None]) / (edge[1:-1] - edge[:-2])[:, None]
    fall = (edge[2:, None] - f) / (edge[2:] - edge[1:-1])[:, None]
    return (np.maximum(0, np.minimum(rise, fall)) * (2 / (edge[2:] - edge[:-2]))[:, None]).astype(np.float32)


_BANK = _bank()
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 800)).astype(np.float32)


def mel(wav):
    """[80][1 + samples // 200], -4..4."""
    sharp = lfilter([1, -0.97], [1], wav.astype(np.float64)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sharp, 400, mode="reflect"), 800)[::HOP]
    power = np.abs(np.fft.rfft(frames * _HANN, axis=1)).astype(np.float32) @ _BANK.T
    return np.clip(8 * ((20 * np.log10(np.maximum(1e-5, power)) + 80) / 100) - 4, -4, 4).T.astype(np.float32)


def windows(wav, times_s):
    """What frames at these times hear: [n][80][16], from the frame's time on; silence after the end, as the server
    has it."""
    columns = np.pad(mel(wav), ((0, 0), (0, 4 * WINDOW)), constant_values=QUIET)
    first = np.minimum((np.asarray(times_s) * COLUMNS_PER_S + 1e-9).astype(int), columns.shape[1] - WINDOW)
    return columns[:, first[:, None] + np.arange(WINDOW)].transpose(1, 0, 2).astype(np.float32)


def silence(count, rng):
    """Windows of nothing, and of rooms where nobody speaks."""
    level = rng.uniform(QUIET, -2.4, (count, 1, 1))
    out = level + rng.normal(0, 1, (count, BANDS, WINDOW)) * rng.uniform(0, 0.5, (count, 1, 1))
    out[: count // 3] = QUIET
    return np.clip(out, -4, 4).astype(np.float32)


def vary(x, rng):
    """[n][80][16]: other levels, microphones, noise, missing bands, longer and shorter throats."""
    count = len(x)
    tilt = np.linspace(-1, 1, BANDS)[None, :, None]
    y = x + rng.uniform(-1.2, 0.8, (count, 1, 1)) + rng.uniform(-0.8, 0.8, (count, 1, 1)) * tilt
    floor = rng.uniform(-4.5, -1.6, (count, 1, 1)) + rng.normal(0, 0.35, x.shape)
    noisy = rng.random((count, 1, 1)) < 0.5
    # A unit is 12.5 dB: amplitudes would add with 1.44 in place of 1.8, energies with 2.88.
    y = np.where(noisy, np.logaddexp(y * 1.8, floor * 1.8) / 1.8, y)
    for i in np.nonzero(rng.random(count) < 0.25)[0]:
        first = rng.integers(0, 74)
        y[i, first : first + rng.integers(2, 7)] = QUIET
    throat = 1 + rng.uniform(-0.17, 0.17, count) * (rng.random(count) < 0.5)
    at = np.clip(np.arange(BANDS) * throat[:, None], 0, BANDS - 1)
    low = np.minimum(at.astype(int), BANDS - 2)
    part = (at - low)[..., None]
    item = np.arange(count)[:, None]
    y = y[item, low] * (1 - part) + y[item, low + 1] * part
    return np.clip(y, -4, 4).astype(np.float32)
