# SPDX-License-Identifier: Apache-2.0
"""Other people out of few: what is done to both pictures of a pair alike, so that the one still follows from the other.
Pictures are [96][96][3] BGR; places are pixels, the first one's centre at 0.5."""
import cv2
import numpy as np

SIDE = 96
X, Y = np.meshgrid(np.arange(SIDE, dtype=np.float32) + 0.5, np.arange(SIDE, dtype=np.float32) + 0.5)
OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
BEARD = [132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 423, 391, 2, 165, 203]
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
HAIR = np.array([[20, 25, 35], [30, 45, 70], [15, 15, 15], [110, 115, 120]])


def enlarge(small, how=cv2.INTER_CUBIC):
    return cv2.resize(np.asarray(small, np.float32), (SIDE, SIDE), interpolation=how)


def then(second, first):
    """2x3 of `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], 1)


def view(rng, middle):
    """A random similarity with a little shear, perhaps mirrored, that brings `middle` near the picture's."""
    scale, wide, turn = rng.uniform(0.86, 1.14), rng.uniform(0.9, 1.1), rng.normal(0, 0.08)
    a = scale * np.array([[wide * np.cos(turn), -np.sin(turn)], [wide * np.sin(turn), np.cos(turn)]])
    a[0, 1] += rng.normal(0, 0.05)
    if rng.random() < 0.5:
        a[0] *= -1
    return np.concatenate([a, (SIDE / 2 + rng.normal(0, 2.6, 2) - a @ middle)[:, None]], 1)


def anatomy(rng, mouth):
    """Another face: a displacement [96][96][2], smooth, with wider, fuller or smiling lips."""
    field = np.zeros((SIDE, SIDE, 2), np.float32)
    if rng.random() < 0.55:
        field += enlarge(rng.normal(0, rng.uniform(0.5, 2.2), (5, 5, 2)))
    if rng.random() < 0.5:
        wide, full, smile = np.exp(rng.normal(0.04, 0.13)), np.exp(rng.normal(0, 0.12)), rng.normal(0, 0.02)
        dx, dy = X - mouth[0], Y - mouth[1]
        near = np.exp(-0.5 * ((dx / 20) ** 2 + (dy / 14) ** 2))
        field[..., 0] += near * dx * (1 / wide - 1)
        field[..., 1] += near * (dy * (1 / full - 1) + smile * dx**2 / 3)
    return field


def grimace(picture, mouth, rng):
    """Another mouth for the reference alone: smiling, pursed, stretched. What it shows is no hint, its colours are."""
    wide, tall, smile = np.exp(rng.normal(0.1, 0.25)), np.exp(rng.normal(0, 0.35)), rng.normal(0.02, 0.04)
    dx, dy = X - mouth[0], Y - mouth[1]
    near = np.exp(-0.5 * ((dx / 17) ** 2 + (dy / 11) ** 2))
    x = X + near * dx * (1 / wide - 1) - 0.5
    y = Y + near * (dy * (1 / tall - 1) + smile * dx**2 / 2) - 0.5
    return cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)


def transplant(picture, donor, lips):
    """The donor's mouth, laid over `lips` already, in the picture's colours."""
    middle, half = lips.mean(0), np.abs(lips - lips.mean(0)).max(0) * 1.35 + 2
    r = np.sqrt(((X - middle[0]) / half[0]) ** 2 + ((Y - middle[1]) / half[1]) ** 2)
    mask = np.clip((1.25 - r) / 0.5, 0, 1)[..., None]
    rim = (r > 0.9) & (r < 1.3)
    if not rim.any():
        return picture
    match = picture[rim].mean(0) - donor[rim].mean(0)
    return (picture * (1 - mask) + (donor + match).clip(0, 255) * mask).astype(np.uint8)


def look(picture, matrix, field):
    """The picture through `matrix` (2x3, from its pixels to ours), displaced by `field`."""
    back = np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))[:2].astype(np.float32)
    x, y = X + field[..., 0], Y + field[..., 1]
    return cv2.remap(picture, back[0, 0] * x + back[0, 1] * y + (back[0, 2] - 0.5),
                     back[1, 0] * x + back[1, 1] * y + (back[1, 2] - 0.5), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)


def moved(points, matrix, field):
    """Where look() shows them, to the first order."""
    at = points @ matrix[:, :2].T + matrix[:, 2]
    i = at.astype(int).clip(0, SIDE - 1)
    return at - field[i[:, 1], i[:, 0]]


def _filled(points, value, mask):
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], value)


def beard(pictures, points, rng):
    """points: [468][2] of each picture."""
    colour = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.6, 1.3)
    dense, full = rng.uniform(0.35, 0.9), rng.random() < 0.6
    hair = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 0.7) * rng.uniform(15, 40)
    out = []
    for picture, at in zip(pictures, points):
        lips, mask = at[LIPS], np.zeros((SIDE, SIDE), np.float32)
        middle = lips.mean(0)
        if full:
            _filled(at[BEARD], 1.0, mask)
        else:
            _filled((lips - middle) * [1.15, 1.35] + middle - [0, 2], 1.0, mask)
        _filled((lips - middle) * 1.03 + middle, 0.0, mask)
        mask = cv2.GaussianBlur(mask, (0, 0), 1.3)[..., None] * dense
        grown = np.array([[1, 0, middle[0] - SIDE / 2], [0, 1, at[152, 1] - 90]], np.float32)  # it hangs on the chin
        moved_hair = cv2.warpAffine(hair, grown, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)[..., None]
        out.append(np.clip(picture * (1 - mask) + (colour + moved_hair) * mask, 0, 255).astype(np.uint8))
    return out


def background(pictures, points, rng):
    size = (*rng.integers(2, 7, 2), 3)
    behind = enlarge(rng.random(size) * rng.choice([30, 120, 255])).clip(0, 255)
    out = []
    for picture, at in zip(pictures, points):
        oval = at[OVAL]
        hull = cv2.convexHull(((oval - oval.mean(0)) * 1.02 + oval.mean(0)).astype(np.int32))
        mask = np.zeros((SIDE, SIDE), np.float32)
        cv2.fillConvexPoly(mask, hull, 1.0)
        mask = cv2.GaussianBlur(mask, (5, 5), 1.2)[..., None]
        out.append((picture * mask + behind * (1 - mask)).astype(np.uint8))
    return out


def lens(pictures, rng):
    """Sharper and softer cameras."""
    amount = rng.uniform(-0.5, 1.3)
    return [cv2.addWeighted(p, 1 + amount, cv2.GaussianBlur(p, (0, 0), 1.1), -amount, 0) for p in pictures]


def side_light(rng):
    """A gain [96][96][1]."""
    return enlarge(np.exp(rng.normal(0, 0.3, (2, 3))), cv2.INTER_LINEAR)[..., None]


def light(x, rng):
    """[n][2][96][96][3] 0..1: exposure, colour, contrast, dark and pale skin, grey films; one for both of a pair."""
    count = len(x)
    each = lambda draw: draw.astype(np.float32).reshape(count, 1, 1, 1, -1)  # noqa: E731
    gain = each(rng.uniform(0.5, 1.1, (count, 1)) * rng.uniform(0.85, 1.15, (count, 3)))
    x = np.power(x.clip(1e-3, 1.2), each(np.exp(rng.normal(0.1, 0.33, count)))) * gain
    mean = x[:, :1].mean((2, 3, 4), keepdims=True)
    x = (x - mean) * each(rng.uniform(0.7, 1.5, count)) + mean
    colour = each(rng.uniform(0.4, 1.3, count) * (rng.random(count) > 0.08))
    grey = x.mean(4, keepdims=True)
    return (grey * (1 - colour) + x * colour).clip(0, 1)


# The levels of a face: what the server does to faces before the network sees them, and undoes afterwards, when the
# weights' metadata say input_levels = "face" (kernels/levels.h has the same numbers).
LEVELS_ROWS, LEVELS_COLUMNS, LEVELS_MEAN, LEVELS_SPREAD, LEVELS_LEAST = slice(20, 88), slice(20, 76), 0.5, 0.17, 6 / 255


def level(pairs):
    """[n][2][96][96][3] 0..1: each channel of the reference gets the same mean and spread on every face, and the
    target goes with it: people and lights differ less than the pictures of them."""
    inner = pairs[:, 1, LEVELS_ROWS, LEVELS_COLUMNS]
    mean = inner.mean((1, 2))[:, None, None, None]
    spread = np.maximum(inner.std((1, 2)), LEVELS_LEAST)[:, None, None, None]
    return (LEVELS_MEAN + LEVELS_SPREAD * (pairs - mean) / spread).clip(0, 1)
