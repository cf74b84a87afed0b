# SPDX-License-Identifier: Apache-2.0
"""What the generator learns from. A pair is any window of any voice and a REAL picture, of any person, of the mouth
that the teacher hears in it; beside it a reference picture of the same person with another mouth. So every target is a
sharp photograph and follows from the window: nothing is averaged, and voices without a picture count, too."""
import os

import numpy as np
import torch
from scipy.spatial import cKDTree

import sound
import teacher
import vary
from material import SHARED, sound as sound_of
from picture_judge import similarity
from shapes import SPEEDS, STABLE, WEIGHT, Material

MOUTH = [61, 291, 0, 17, 13, 14, 78, 308]
SAME = STABLE + MOUTH * 2 + [152, 172, 397]  # what two faces are laid over each other by
SHOWN = np.array([1.3, 1.15, 1.15, 1.15], np.float32)  # a little more than is heard: the network shows less
OWN, BLENDED, GRIMACES, FOREIGN, BEARDED, ELSEWHERE, HIDDEN = 0.08, 0.35, 0.35, 0.15, 0.10, 0.4, 0.2
# How often target and reference share the upper half, the reference's, as frames have it that come to be synced: or the
# network reads the target's mouth off the target's cheeks, and then shows a frame's own mouth, not the voice's.
SAME_FRAME, BELOW = 0.85, np.clip((np.arange(96.0) - 48) / 10, 0, 1)[:, None, None]
PRESSED = 0.1  # below zero, the middle of closed lips: lips that meet do not only touch
RESTING = 0.05  # the same in silence
QUIET, MEETING = 3000, 2.5  # windows of silence; how much oftener lips that meet are drawn: they last a frame or two
EARS = 2       # windows that are only heard, for each that is shown, too


def plain_voices():
    """Real voices without a picture (jfk.wav is kept for judging)."""
    out = []
    for name in ("librispeech_116-288045-0000.flac", "speech_en_28s_48k.wav"):
        path = os.path.join(SHARED, "media", "audio", name)
        if os.path.exists(path):
            wav = sound_of(path)
            out.append(sound.windows(wav, np.arange(0, len(wav) / sound.RATE - 0.2, 1 / sound.COLUMNS_PER_S)))
    return out


def more_voices(folder):
    """Synthetic voices that the teacher did not learn from."""
    return teacher.spoken(os.path.join(folder, "voices-2.npz"), 2)


class Pairs:
    def __init__(self, material, folder, seed):
        self.rng = np.random.default_rng(seed)
        self.film = film = Material(material)
        self._hear(folder)
        self.tree = {p: cKDTree(film.shape[i] * WEIGHT) for p, i in film.of.items()}
        often = np.array([min(len(film.of[p]), 900) ** 0.7 for p in film.people])
        self.often = often / often.sum()
        self.raw_mean, self.raw_spread = film.raw[:, :3].mean(0), film.raw[:, :3].std(0)

    def _hear(self, folder):
        """All windows, the shape that belongs to each, and how often each is drawn."""
        film, count = self.film, len(self.film)
        kept = torch.load(os.path.join(folder, "teacher.pt"), weights_only=False)
        net = teacher.Teacher()
        net.load_state_dict(kept["net"])
        said, opening, meets = more_voices(folder)
        others = plain_voices()
        self.window = np.concatenate([*(film.heard(s) for s in SPEEDS), said, *others, sound.silence(QUIET, self.rng)])
        heard = self._heard(net, folder)
        shape = teacher.calibrated(kept["calibration"], heard)
        closed = 1 / (1 + np.exp(-2 * heard[:, 4]))
        first = len(SPEEDS) * count
        known = slice(first, first + len(said))
        closed[known] = np.maximum(closed[known], 0.9 * meets)
        shape[known, 0] = opening
        closed[-QUIET:] = 0
        self.heard_opening = shape[:, 0].copy()
        shape = shape * SHOWN
        shape[:, 0] = shape[:, 0] * (1 - closed) - PRESSED * closed
        shape[-QUIET:] = [-RESTING, 0, 0, 0]
        self.shape, self.closed = shape, closed.astype(np.float32)
        # People of the film count alike, the synthetic voices a third, the plain ones a fifth, silence a 25th; open
        # mouths are rare and drawn more often.
        person = np.zeros(count)
        for i in film.of.values():
            person[i] = 1 / max(len(i), 300)
        person /= person.sum()
        parts = [person * 0.15] * len(SPEEDS) + [np.full(len(said), 0.32 / len(said))]
        parts += [np.full(len(o), 0.2 / len(others) / len(o)) for o in others]
        weight = np.concatenate([*parts, np.zeros(QUIET)])
        bins, edges = np.histogram(shape[:, 0], 24, weights=weight)
        dense = np.maximum(bins[np.clip(np.digitize(shape[:, 0], edges) - 1, 0, 23)], 0.01 * bins.max())
        weight /= np.sqrt(dense)
        weight *= 1 + MEETING * closed
        weight[-QUIET:] = 0.04 * weight.sum() / QUIET
        self.drawn = np.cumsum(weight / weight.sum())
        # A person's own sound goes with the own picture where the teacher hears about that.
        fits = np.abs(shape[:count] / SHOWN - film.shape) @ WEIGHT < 0.8
        self.own = np.nonzero(fits)[0]
        own = person[self.own] * (0.3 + film.shape[self.own, 0].clip(0, 1))
        self.own_drawn = np.cumsum(own / own.sum())

    def _heard(self, net, folder):
        """What the teacher hears in all windows but those of silence, which are others each time; kept in a file, for it
        takes minutes."""
        path, from_ = os.path.join(folder, "heard.npy"), os.path.join(folder, "teacher.pt")
        count = len(self.window) - QUIET
        heard = np.load(path) if os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(from_) else []
        if len(heard) != count:
            heard = teacher.hear(net, self.window[:count])
            with open("%s.%d" % (path, os.getpid()), "wb") as part_of_it:
                np.save(part_of_it, heard)
            os.replace("%s.%d" % (path, os.getpid()), path)
        return np.concatenate([heard, np.zeros((QUIET, heard.shape[1]), heard.dtype)])

    def _draw(self, summed):
        return min(int(np.searchsorted(summed, self.rng.random())), len(summed) - 1)

    def _choose(self):
        """-> window, target, reference; indices."""
        film, rng = self.film, self.rng
        if rng.random() < OWN:
            target = self.own[self._draw(self.own_drawn)]
            window = target + len(film) * int(rng.integers(len(SPEEDS)))
        else:
            while True:
                window = self._draw(self.drawn)
                person = film.people[rng.choice(len(film.people), p=self.often)]
                away, near = self.tree[person].query(self.shape[window] * WEIGHT, k=3)
                if away[0] < 0.35 + 0.3 * max(0, self.heard_opening[window] - 0.8):
                    break
            near = near[away < max(1.15 * away[0], 0.08)]
            target = film.of[person][near[rng.integers(len(near))]]
        clip = film.of_clip[film.clip[target]]
        if rng.random() < 0.75:  # or the network learns to show the reference
            few = clip[rng.integers(len(clip), size=4)]
            reference = few[np.argmax(np.abs(film.shape[few] - film.shape[target]) @ WEIGHT)]
        else:
            reference = clip[rng.integers(len(clip))]
        return window, target, reference

    def _blend(self, pictures, frames, matrices, field):
        """Nobody: halfway to another person whose mouth has the same shapes."""
        film, rng = self.film, self.rng
        other, share = film.people[rng.integers(len(film.people))], rng.uniform(0.25, 0.75)
        for k, frame in enumerate(frames):
            like = film.of[other][self.tree[other].query(film.shape[frame] * WEIGHT)[1]]
            theirs = np.concatenate([film.points[like][SAME], np.ones((len(SAME), 1))], 1)
            over = np.linalg.lstsq(theirs, film.points[frame][SAME], rcond=None)[0].T
            seen = vary.look(film.picture[like], vary.then(matrices[k], over), field)
            pictures[k] = (share * pictures[k] + (1 - share) * seen).astype(np.uint8)

    def _foreign(self, picture, frame, matrix, field, lips):
        """Somebody else's mouth, in any shape."""
        film, rng = self.film, self.rng
        other = film.of[film.people[rng.choice(len(film.people), p=self.often)]]
        few = other[rng.integers(len(other), size=3)]
        donor = few[np.argmax(film.shape[few, 1])]  # rather a wide one: smiles with teeth are what GRID lacks
        theirs = np.concatenate([film.points[donor][SAME], np.ones((len(SAME), 1))], 1)
        over = np.linalg.lstsq(theirs, film.points[frame][SAME], rcond=None)[0].T
        return vary.transplant(picture, vary.look(film.picture[donor], vary.then(matrix, over), field), lips)

    def _one(self):
        """-> [2][96][96][3] 0..1 target and reference, window's and target's index, the mouth's middle."""
        film, rng = self.film, self.rng
        window, *frames = self._choose()
        same = rng.random() < SAME_FRAME
        points = film.points[frames]
        matrix = vary.view(rng, [film.picture.shape[1] / 2] * 2)
        laid = similarity(points[1][STABLE], points[0][STABLE])  # the reference takes the target's pose, nearly
        if not same and rng.random() < 0.5:
            grown = rng.normal(0, 0.012)
            laid[:, :2] *= 1 + grown
            laid[:, 2] += rng.normal(0, 0.6, 2) - grown * film.picture.shape[1] / 2
        matrices = [matrix, vary.then(matrix, laid)]
        field = vary.anatomy(rng, (points[0][MOUTH] @ matrix[:, :2].T + matrix[:, 2]).mean(0))
        pictures = [vary.look(film.picture[f], m, field) for f, m in zip(frames, matrices)]
        at = [vary.moved(p, m, field) for p, m in zip(points, matrices)]
        if rng.random() < BLENDED:
            self._blend(pictures, frames, matrices, field)
        if rng.random() < FOREIGN:
            pictures[1] = self._foreign(pictures[1], frames[1], matrices[1], field, at[1][vary.LIPS])
        if rng.random() < GRIMACES:
            pictures[1] = vary.grimace(pictures[1], at[1][MOUTH].mean(0), rng)
        if same:
            pictures[0] = (pictures[1] + BELOW * (pictures[0].astype(np.float32) - pictures[1])).astype(np.uint8)
        if rng.random() < BEARDED:
            pictures = vary.beard(pictures, at, rng)
        if rng.random() < ELSEWHERE:
            pictures = vary.background(pictures, at, rng)
        if rng.random() < 0.5:
            pictures = vary.lens(pictures, rng)
        pair = np.stack(pictures).astype(np.float32) / 255
        if rng.random() < 0.5:
            pair *= vary.side_light(rng)
        return pair, window, frames[0], at[0][MOUTH].mean(0)

    def _hide(self, reference, mouth):
        """Without the reference's mouth only the voice can tell."""
        rng = self.rng
        half = np.array([rng.integers(15, 26), rng.integers(10, 19)])
        middle = mouth.astype(int) + rng.integers(-2, 3, 2)
        (x0, y0), (x1, y1) = (middle - half).clip(0, vary.SIDE), (middle + half).clip(0, vary.SIDE)
        part = reference[y0:y1, x0:x1]
        part[:] = [0.0, part.mean((0, 1)), rng.random(3)][rng.integers(3)]

    def batch(self, count):
        """-> windows [n + EARS n][1][80][16], the first n of them with targets and references [n][3][96][96], mouths
        [n][2] and measures of the targets' mouths [n][3] (mean 0, spread 1); and of all windows the shape that they
        ask for, and whether the lips meet [n + EARS n][5]."""
        one = [self._one() for _ in range(count)]
        both = vary.level(vary.light(np.stack([o[0] for o in one]), self.rng))
        mouth = np.stack([o[3] for o in one]).astype(np.float32)
        for k in np.nonzero(self.rng.random(count) < HIDDEN)[0]:
            self._hide(both[k, 1], mouth[k])
        windows = [o[1] for o in one] + [self._draw(self.drawn) for _ in range(EARS * count)]
        window = sound.vary(self.window[windows], self.rng)
        asked = np.concatenate([self.shape[windows], self.closed[windows, None]], 1)
        measure = (self.film.raw[[o[2] for o in one], :3] - self.raw_mean) / self.raw_spread
        planes = np.ascontiguousarray(both.transpose(1, 0, 4, 2, 3), np.float32)
        return window[:, None], planes[0], planes[1], mouth, measure.astype(np.float32), asked
