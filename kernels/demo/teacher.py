# SPDX-License-Identifier: Apache-2.0
"""The teacher: hears a window, says which shape the mouth has (shapes.py) and whether the lips meet. Learns from people
of GRID and from synthetic voices, whose openings and closures are known. The generator learns from pairs of any window
and a real picture of the shape that the teacher hears in it.
`python3 teacher.py MATERIAL FOLDER seconds` writes FOLDER/teacher.pt and FOLDER/voices.npz; run again, it goes on."""
import multiprocessing
import os
import sys
import time

import numpy as np
import torch
from torch import nn

import sound
import texts
from material import HELD
from shapes import SPEEDS, Material
import picture_voices as voices  # noqa: E402, from bench/, whose path material.py sets

CHANNELS, BATCH_FILM, BATCH_SPOKEN = 192, 112, 144
LANGUAGES = ["en"] * 14 + sorted(texts.OTHERS)
ACCENTS = ["en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan"]
THROATS = ["", "+m1", "+m3", "+m5", "+m7", "+f1", "+f2", "+f4", "+f5", "+Annie", "+Andy", "+adam", "+steph", "+linda",
           "+Alicia", "+john", "+klatt2", "+klatt4"]
FLITE = ["kal", "kal16", "awb"]  # slt and rms are kept for judging
SENTENCES = 2500


class Near(nn.Module):
    """Each column with its two neighbours through one matrix: a convolution of 3, as one product."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.product = nn.Linear(3 * inputs, outputs)

    def forward(self, x):
        padded = nn.functional.pad(x, (0, 0, 1, 1))
        return self.product(torch.cat([padded[:, :-2], x, padded[:, 2:]], 2))


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(channels), Near(channels, channels), Near(channels, channels)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(self.norm(x))))


class Teacher(nn.Module):
    """[n][1][80][16] -> [n][5]: the shape, and the closure's log odds."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            Near(sound.BANDS, CHANNELS), *(Residual(CHANNELS) for _ in range(3)), nn.LayerNorm(CHANNELS),
            nn.Linear(CHANNELS, 48), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48 * sound.WINDOW, 192),
            nn.ReLU(), nn.Dropout(0.2), nn.Linear(192, 5))

    def forward(self, window):
        return self.layers(window[:, 0].transpose(1, 2))


@torch.no_grad()
def hear(net, window):
    net.eval()
    return np.concatenate([net(torch.from_numpy(window[i : i + 1024])[:, None]).numpy()
                           for i in range(0, len(window), 1024)])


def closed(phones, times):
    """1 where the lips meet."""
    out = np.zeros(len(times), np.float32)
    for begin, end in voices.closures(phones):
        out[(times >= begin - 0.005) & (times <= max(end - 0.01, begin + 0.03))] = 1
    return out


def say(rng):
    """A sentence by a voice that is not kept for judging -> wav, phones."""
    kept = {name for _, name, _, _ in voices.UNSEEN.values()}
    if rng.random() < 0.25:
        wav, phones = voices.flite(texts.sentence(rng).rstrip(".?!"), FLITE[rng.integers(len(FLITE))])
        if rng.random() < 0.7:  # few voices: other speeds and heights of them
            speed = rng.uniform(0.8, 1.35)
            wav = voices.resample(wav, sound.RATE * speed, sound.RATE)
            phones = [(a / speed, b / speed, name) for a, b, name in phones]
        return wav, phones
    while True:
        language = LANGUAGES[rng.integers(len(LANGUAGES))]
        accent = ACCENTS[rng.integers(len(ACCENTS))] if language == "en" else language
        voice = accent + THROATS[rng.integers(len(THROATS))]
        if voice not in kept:
            return voices.espeak(texts.sentence(rng, language), voice, int(rng.integers(115, 230)),
                                 int(rng.integers(15, 90)))


def _sentence(seed):
    """One of spoken()'s, by its own seed: so many processes may make them."""
    rng = np.random.default_rng(seed)
    wav, phones = say(rng)
    wav, phones = voices.join(np.zeros(3200, np.float32), (wav, phones), np.zeros(3200, np.float32))
    times = np.arange(0, len(wav) / sound.RATE - 0.02, 0.04) + rng.uniform(0, 0.02)
    window = sound.windows(wav * np.exp(rng.normal(0, 0.4)), times)
    return window, voices.opening(phones, times).astype(np.float32), closed(phones, times)


def spoken(path, seed):
    """Windows of synthetic voices [n][80][16], their opening [n] and closure [n]; kept in a file."""
    if not os.path.exists(path):
        with multiprocessing.Pool() as pool:
            parts = pool.map(_sentence, [(seed, i) for i in range(SENTENCES)], chunksize=8)
        with open(path + ".part", "wb") as part_of_it:
            np.savez(part_of_it, *(np.concatenate(p) for p in zip(*parts)))
        os.replace(path + ".part", path)
    with np.load(path) as z:
        return [z[name] for name in z.files]


def calibrate(heard, true):
    """Least squares makes the openings small: a map by quantiles gives most of the size back. -> [4] of (from, to)"""
    q = np.linspace(0.01, 0.99, 25)
    return [(np.quantile(heard[:, k], q), np.quantile(true[:, k], q)) for k in range(4)]


def calibrated(calibration, heard, share=0.7):
    return np.stack([(1 - share) * heard[:, k] + share * np.interp(heard[:, k], *calibration[k]) for k in range(4)],
                    1).astype(np.float32)


def report(net, held, heard_held, step):
    got = hear(net, heard_held)
    r = " ".join("%.2f" % np.corrcoef(got[:, k], held.shape[:, k])[0, 1] for k in range(4))
    line = "step %d: people kept out r %s" % (step, r)
    for name in voices.UNSEEN:
        wav, phones = voices.speak(name, voices.TEXTS[0])
        times = np.arange(0, len(wav) / sound.RATE - 0.05, 0.04)
        got = hear(net, sound.windows(wav, times))
        meets = closed(phones, times) > 0
        line += "; %s r %.2f, closed %.2f, wrongly %.2f" % (
            name, np.corrcoef(got[:, 0], voices.opening(phones, times))[0, 1], np.mean(got[meets, 4] > 0),
            np.mean(got[~meets, 4] > 0))
    print(line, flush=True)


def batch(film, weight, heard, said, rng):
    """-> windows, shapes of the film's, opening and closure of the others; some are silenced."""
    i = rng.choice(len(film), BATCH_FILM, p=weight)
    j = rng.integers(0, len(said[0]), BATCH_SPOKEN)
    window = sound.vary(np.concatenate([heard[rng.integers(len(heard))][i], said[0][j]]), rng)
    shape, opening, meets = film.shape[i].copy(), said[1][j].copy(), said[2][j].copy()
    quiet = rng.random(len(window)) < 0.03
    window[quiet] = sound.silence(int(quiet.sum()), rng)
    shape[quiet[:BATCH_FILM]] = 0
    opening[quiet[BATCH_FILM:]] = 0
    meets[quiet[BATCH_FILM:]] = 0
    return [torch.from_numpy(x) for x in (window[:, None], shape, opening, meets)]


def main(material, folder, seconds):
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    path = os.path.join(folder, "teacher.pt")
    film, held = Material(material), Material(material, lambda person: person in HELD)
    heard, heard_held = [film.heard(speed) for speed in SPEEDS], held.heard()
    said = spoken(os.path.join(folder, "voices.npz"), 1)
    weight = np.zeros(len(film))
    for i in film.of.values():
        weight[i] = (2 if len(i) > 3000 else 1) / len(i)
    weight /= weight.sum()
    net = Teacher()
    if os.path.exists(path):
        net.load_state_dict(torch.load(path, weights_only=False)["net"])
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.03)
    begun, step, part = time.time(), 0, 0.0
    while part < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * part)) + 1e-5
        window, shape, opening, meets = batch(film, weight, heard, said, rng)
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            got = net(window).float()
        loss = nn.functional.smooth_l1_loss(got[:BATCH_FILM, :4], shape, beta=0.3)
        loss = loss + nn.functional.smooth_l1_loss(got[BATCH_FILM:, 0], opening, beta=0.2)
        loss = loss + 0.3 * nn.functional.binary_cross_entropy_with_logits(got[BATCH_FILM:, 4], meets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        part = (time.time() - begun) / seconds
        if step % 500 == 0 or part >= 1:
            report(net, held, heard_held, step)
    torch.save({"net": net.state_dict(), "calibration": calibrate(hear(net, heard[0])[:, :4], film.shape)},
               path + ".part")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
