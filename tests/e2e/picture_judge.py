# SPDX-License-Identifier: Apache-2.0
# The judge of the picture bench (bench/picture_judge.py, picture_voices.py) on curves and frames whose figures are
# known: a lag that was put in, closures that were left out, a seam of a known height, a shift of a known fraction of a
# pixel. What needs the face mesh or a speech program is skipped by name, the rest needs numpy alone.
import os
import sys

import numpy as np

from _stubs import ROOT, check, finish

sys.path.insert(0, os.path.join(ROOT, "bench"))
import picture_judge as judge  # noqa: E402
import picture_voices as voices  # noqa: E402

rng = np.random.default_rng(6)
PHONES = [(0, 0.3, "pau"), (0.3, 0.42, "b"), (0.42, 0.6, "aa"), (0.6, 0.7, "m"), (0.7, 0.95, "iy"), (0.95, 1.05, "p"),
          (1.05, 1.4, "ay"), (1.4, 1.5, "s"), (1.5, 1.75, "ow"), (1.75, 1.85, "b"), (1.85, 2.2, "ae"), (2.2, 2.6, "pau")]


def near(name, value, want, slack):
    check(name, abs(value - want) <= slack, "%.4f, not %.4f within %g" % (value, want, slack))


def texture(height, width, seed=0):
    return judge.blur(np.random.default_rng(seed).normal(0, 40, (height, width)), 1.2) * 2 + 120


def sync():
    t = np.arange(65) / 25
    known = lambda x: voices.opening(PHONES, x)  # noqa: E731
    for ms in (-73, 0, 18, 60, 130):
        r, best, lag = judge.correlation([(t, 0.1 * known(t - ms / 1e3) + 0.02, known)])
        near("a lag of %d ms" % ms, 1e3 * lag, ms, 3)
        near("r at the lag of %d ms" % ms, best, 1, 0.01)
        check("r falls with a lag of %d ms" % ms, r < 0.97 or abs(ms) < 40, r)
    noise = rng.normal(0, 1, len(t))
    noise *= np.std(known(t)) / np.std(noise)
    near("r of half signal, half noise", judge.correlation([(t, known(t) + noise, known)])[0], 0.71, 0.12)
    check("r of a constant", judge.correlation([(t, np.ones(len(t)), known)])[0] == 0)
    far = judge.correlation([(t, known(t), known), (t, 0.01 * known(t) + 5, known)])[0]
    near("clips of another height and strength", far, 1, 1e-6)
    lost = judge.correlation([(t, 9 * known(t), known), (t, 0.01 * rng.normal(size=len(t)), known)])[0]
    near("a clip that does not move counts", lost, 0.5, 0.2)
    voice, own = rng.normal(0, 0.1, (2, 4000))
    mixed = judge.follows([(2 + 3 * voice + own, voice, own), (voice - 5, voice, own)])
    near("whose mouth: the voice's", mixed[0], (3 / 10**0.5 + 1) / 2, 0.02)
    near("whose mouth: the picture's own", mixed[1], 1 / 10**0.5 / 2, 0.02)
    alike = 0.8 * voice + 0.6 * own  # the picture's own mouth may move much as the voice's does
    near("a movement alike is not followed", judge.follows([(voice, voice, alike)])[1], 0, 1e-6)
    near("a picture without movement", judge.follows([(voice, voice, np.zeros(4000))])[1], 0, 1e-6)
    near("amplitude", judge.amplitude(0.3 + 0.2 * np.sin(np.arange(1000))), 0.4, 0.01)


def closures():
    spans = voices.closures(PHONES)
    check("spans of p, b, m", spans == [(0.3, 0.42), (0.6, 0.7), (0.95, 1.05), (1.75, 1.85)], spans)
    t = np.arange(65) / 25
    inside = [(t >= a - 0.02) & (t <= b + 0.02) for a, b in spans]
    open_ = np.full(len(t), 0.1)
    check("none closes", judge.closures(t, open_, spans)[0] == 0)
    some = open_.copy()
    some[inside[0] | inside[2]] = 0
    share, count, chance = judge.closures(t, some, spans)
    check("two of four close", (share, count) == (0.5, 4), (share, count))
    check("nothing else does", chance == 0, chance)
    lifted = some + 0.02
    check("a mesh that sees closed lips apart", judge.closures(t, lifted, spans)[0] == 0)
    check("and its rest taken off", judge.closures(t, lifted, spans, rest=0.02)[0] == 0.5)
    near("chance of lips that are always shut", judge.closures(t, np.where(t > 2.3, 1, 0.0), spans)[2], 1, 0.35)
    fine = np.arange(0, 2.6, 0.01)
    for away, want in ((0.03, 0.25), (0.06, 0)):
        late = 0.1 - 0.1 * (np.abs(fine - spans[3][1] - away) < 0.004)
        check("lips that meet %d ms late" % (1e3 * away), judge.closures(fine, late, spans)[0] == want)
        early = 0.1 - 0.1 * (np.abs(fine - spans[3][0] + away) < 0.004)
        check("lips that meet %d ms early" % (1e3 * away), judge.closures(fine, early, spans)[0] == want)
    half = 0.05 + 0.05 * (t < 1.3) * np.sin(40 * t)
    near("stillness", judge.stillness(t, half, (1.5, 2.5), (0, 1.2)), 0, 1e-6)


def opening_model():
    t = np.arange(0, 2.6, 0.01)
    o = voices.opening(PHONES, t)
    at = lambda x: float(np.interp(x, t, o))  # noqa: E731
    check("silence rests", at(0.1) < 0.05 and at(2.5) < 0.05, (at(0.1), at(2.5)))
    check("vowels open", min(at(0.5), at(1.15), at(2.0)) > 0.6, (at(0.5), at(1.15), at(2.0)))
    check("p, b, m close", max(min(o[(t > a) & (t < b)]) for a, b in voices.closures(PHONES)) < 0.2)
    for name, kind in (("ˈaɪ", ("open", "close")), ("m", ("bilabial", None)), ("tʃ", ("alveolar", None)),
                       ("iː", ("close", None)), ("_", ("rest", None)), ("ʊ", ("round", None)), ("p", ("bilabial", None)),
                       ("AA", ("open", None)), ("?", ("mid", None))):
        check("kind of %s" % name, voices.kind_of(name) == kind, voices.kind_of(name))
    check("a sentence of GRID", voices.grid_sentence("bbaf2n.mp4") == "bin blue at F two now")
    tone = np.sin(2 * np.pi * 300 * np.arange(22050) / 22050)
    low = voices.resample(tone, 22050)
    want = np.sin(2 * np.pi * 300 * np.arange(len(low)) / 16000)
    near("22 kHz to 16 kHz", float(np.abs(low - want)[100:-100].max()), 0, 0.01)
    high = voices.resample(np.sin(2 * np.pi * 9500 * np.arange(22050) / 22050), 22050)
    near("without aliases", float(np.abs(high[100:-100]).max()), 0, 0.03)
    wav, sung = voices.sing(low, [(0.1, 0.2, "b"), (0.2, 0.9, "aa")])
    check("singing moves the phones", 1.3 < sung[1][1] / 0.9 < 1.8 and len(wav) > 1.2 * len(low), sung)
    near("noise of -40 dBFS", float(np.sqrt(np.mean(voices.silence(1, -40) ** 2))), 0.01, 1e-4)


def seams():
    source = np.repeat(texture(96, 96)[None], 3, 0)
    y, x = np.mgrid[0:96, 0:96]
    soft = np.clip(1.5 - np.hypot(x - 48, y - 52) / 20, 0, 1).astype(np.float32)
    hard = judge.box_mask((96, 96), (24, 24, 72, 80))
    near("the same picture has no seam", judge.seam(source, source, soft)[0], 1, 1e-6)
    step = source + 60 * hard
    ratio, worst = judge.seam(step, source, hard)
    check("a step of 60 at a hard edge", ratio > 2 and worst > ratio, (ratio, worst))
    for name, inside in (("upright", np.abs(x - 48) < 20), ("level", np.abs(y - 48) < 20)):
        ratio, _ = judge.seam(source + 60 * inside, source, inside.astype(np.float32))
        check("a step of 60 at %s edges" % name, ratio > 2, ratio)
    part = source + 60 * hard * (x > 48)
    ratio, worst = judge.seam(part, source, hard)
    check("a step on one side is the worst sector's", worst > 1.5 * ratio, (ratio, worst))
    check("a soft edge of the same height", judge.seam(source + 60 * soft, source, soft)[0] < 1.4)
    flat = source * (1 - soft) + 120 * soft
    check("a patch without detail is no seam", judge.seam(flat, source, soft)[0] < 1)
    whole = source + rng.normal(0, 20, source.shape)
    found = judge.opacity(source + soft * (whole - source), whole, source)
    near("the mask from outputs", float(np.abs(found - soft).mean()), 0, 0.03)
    edge, normal = judge.ring(soft)
    check("its edge", 0.8 < (edge & (soft > 0.02) & (soft < 0.98)).sum() / edge.sum() <= 1, edge.sum())
    near("its normals point inwards", float(normal[1][40, 48]), 1, 0.3)


def details():
    source = np.repeat(texture(80, 80, 1)[None], 4, 0)
    where = np.zeros((80, 80), bool)
    where[20:60, 20:60] = True
    near("sharp as the source", judge.sharpness(source, source, where), 1, 1e-6)
    near("half the contrast", judge.sharpness(source * 0.5, source, where), 0.25, 1e-3)
    check("blurred", judge.sharpness(judge.blur(source, 2), source, where) < 0.2)
    disc = np.hypot(*(np.mgrid[0:80, 0:80] - 40)) < 15
    near("noise in the corners", judge.sharpness(np.where(np.hypot(*(np.mgrid[0:80, 0:80] - 40)) < 20, source, 0),
                                                 source, disc), 1, 1e-3)
    base = texture(100, 100, 2)
    moves = [(0, 0), (0.3, -0.2), (0.05, 0.1), (-0.6, 0.4)]
    at = np.cumsum(moves, 0)
    shape = np.fft.fftfreq(100)
    shifted = lambda d: np.real(np.fft.ifft2(np.fft.fft2(base) * np.exp(  # noqa: E731
        -2j * np.pi * (shape[None] * d[0] + shape[:, None] * d[1]))))
    film = np.stack([shifted(d) for d in at]) + np.array([0, 5, -5, 0])[:, None, None]
    inside = np.zeros((100, 100), bool)
    inside[25:75, 25:75] = True
    got = judge.shifts(film, inside)
    near("shifts of a fraction of a pixel", float(np.abs(got - moves[1:]).max()), 0, 0.03)
    near("their mean length", judge.jitter(got), float(np.mean(np.hypot(*np.array(moves[1:]).T))), 0.03)
    check("a flat region has no movement", np.isnan(judge.shifts(np.full((2, 40, 40), 9.0), inside[:40, :40])).all())
    a = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    near("PSNR of an error of 10", judge.psnr(a, a.astype(float) + 10), 28.13, 0.01)
    near("SSIM of itself", judge.ssim(a, a), 1, 1e-4)
    check("SSIM of another", judge.ssim(a, rng.integers(0, 256, (40, 40, 3))) < 0.1)


def geometry():
    points = rng.normal(50, 20, (8, 2))
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]) * 1.3
    near("similarity", float(np.abs(judge.similarity(points, points @ turn.T + [3, -4])[:, :2] - turn).max()), 0, 1e-9)
    ramp = np.stack(np.mgrid[0:60, 0:60][::-1], -1).astype(float)
    moved = judge.warp(ramp, np.array([[1.0, 0, -5.5], [0, 1, 2]]), (40, 40))
    near("warp", float(np.abs(moved[20, 20] - [25.5, 18]).max()), 0, 1e-6)
    mesh = np.zeros((1, 468, 2))
    mesh[0, [33, 133]], mesh[0, [263, 362]] = [30, 40], [70, 40]
    mesh[0, [13, 82, 312]], mesh[0, [14, 87, 317]] = [50, 80], [50, 88]
    near("opening in eye distances", float(judge.opening(mesh)[0]), 0.2, 1e-9)
    near("of a turned head", float(judge.opening(mesh @ (turn / 1.3).T)[0]), 0.2, 1e-9)


def speech():
    for name in voices.UNSEEN:
        try:
            wav, phones = voices.speak(name, "Papa may come by boat.")
        except voices.Missing as fault:
            print("SKIP: %s: %s" % (name, fault))
            continue
        closed = voices.closures(phones)
        check("%s: p p m b b" % name, len(closed) in (5, 6), closed)
        level = np.sqrt(np.convolve(wav**2, np.ones(160) / 160, "same"))
        loud = lambda a, b: level[int(a * 16000) : int(b * 16000) + 1]  # noqa: E731
        open_ = [(a, b) for a, b, n in phones if voices.kind_of(n)[0] == "open"]
        quiet = np.median([loud(a, b).min() for a, b in closed])
        check("%s: closures are quieter than vowels" % name,
              quiet < 0.35 * np.median([loud(a, b).max() for a, b in open_]), (closed, open_))


def mesh():
    path = os.path.join(ROOT, "build", "picture", "face_landmark.tflite")
    try:
        net = judge.Mesh(path) if os.path.exists(path) else None
    except ImportError:
        net = None
    if net is None:
        print("SKIP: the face mesh: ai-edge-litert or build/picture/face_landmark.tflite is not there")
        return
    _, score = net.points(np.zeros((200, 200, 3), np.uint8), (100, 100, 150, 0))
    check("there is no face in black", score < 0, score)


for part in (sync, closures, opening_model, seams, details, geometry, speech, mesh):
    part()
finish()
