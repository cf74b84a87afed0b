# SPDX-License-Identifier: Apache-2.0
"""The default's crop and paste a second time, for golden_flow.py: from the comments of kernels/cubic.h, crop.h,
mask.h and detail.h, in numpy and double, by whole matrices instead of loops. Planes are [h, w]; RGB24's one plane is
[h, w, 3]. Maps of a face are [96, 96] or [96, 96, 3] with channels B, G, R.
"""
import numpy as np

KR_KB = {0: (0.299, 0.114), 1: (0.2126, 0.0722), 2: (0.2627, 0.0593)}
I420, RGB24 = 0, 1
LOWER_FACE, MOUTH, RECTANGLE = 0, 1, 2
LUMA = np.array([0.114, 0.587, 0.299])


def matrix(m, full):
    kr, kb = KR_KB[m]
    luma = np.array([kb, 1 - kr - kb, kr])
    ys, cs = (1, 1) if full else (219 / 255, 224 / 255)
    rows = np.stack([luma * ys, (np.array([1, 0, 0]) - luma) / (2 * (1 - kb)) * cs,
                     (np.array([0, 0, 1]) - luma) / (2 * (1 - kr)) * cs])
    return rows, np.array([0 if full else 16, 128, 128])


def round_half_up(v):
    return np.clip(np.floor(v + 0.5), 0, 255).astype(np.uint8)


def cubic(t):
    t = np.abs(t)
    return np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))


def weights(at, width, count):
    """[len(at), count]: the kernel around places `at` (0: the first sample's centre), beyond the edges the edge."""
    out = np.zeros((len(at), count))
    for i, p in enumerate(at):
        k = np.arange(int(np.ceil(p - 2 * width)), int(np.floor(p + 2 * width)) + 1)
        w = cubic((k - p) / width)
        np.add.at(out[i], np.clip(k, 0, count - 1), w / w.sum())
    return out


class Turn:
    def __init__(self, box, roll):
        x0, y0, x1, y1 = (float(np.float32(v)) for v in box)
        self.x, self.y, self.w, self.h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        roll = float(np.float32(roll))
        self.roll = 0 if abs(roll) <= 1 / 1024 else roll
        self.c, self.s = np.cos(self.roll), np.sin(self.roll)

    def face(self, x, y):
        dx, dy = x - self.x, y - self.y
        return 96 * ((dx * self.c + dy * self.s) / self.w + 0.5), 96 * ((dy * self.c - dx * self.s) / self.h + 0.5)

    def frame(self, u, v):
        a, d = (u / 96 - 0.5) * self.w, (v / 96 - 0.5) * self.h
        return self.x + a * self.c - d * self.s, self.y + a * self.s + d * self.c


def planes_of(fmt, planes):
    """Y, U, V or B, G, R, each with its scale and where its first sample lies."""
    if fmt == RGB24:
        return [(planes[0][:, :, 2 - c].astype(float), 1, 0.5, 0.5) for c in range(3)]
    return [(p.astype(float), *((2, 0.5, 1.0) if n else (1, 0.5, 0.5))) for n, p in enumerate(planes)]


def default_crop(planes, fmt, m, full, box, roll):
    t, out = Turn(box, roll), []
    for p, scale, ax, ay in planes_of(fmt, planes):
        if t.roll == 0:
            i = np.arange(96) + 0.5
            x, y = t.x + (i / 96 - 0.5) * t.w, t.y + (i / 96 - 0.5) * t.h
            wx = weights((x - ax) / scale, max(t.w / 96 / scale, 1), p.shape[1])
            wy = weights((y - ay) / scale, max(t.h / 96 / scale, 1), p.shape[0])
            out.append(wy @ p @ wx.T)
            continue
        c, s, axes = abs(t.c), abs(t.s), []
        for centre, reach in ((t.x, (t.w * c + t.h * s) / 2), (t.y, (t.w * s + t.h * c) / 2)):
            step = max(min(t.w, t.h) / 96, 2 * reach / 188)
            count = 2 * int(np.ceil(reach / step - 1e-9)) + 4
            axes.append((centre - (count - 1) / 2 * step, step, count))
        (x0, sx, nx), (y0, sy, ny) = axes
        lattice = (weights((y0 + np.arange(ny) * sy - ay) / scale, max(sy / scale, 1), p.shape[0]) @ p @
                   weights((x0 + np.arange(nx) * sx - ax) / scale, max(sx / scale, 1), p.shape[1]).T)
        u, v = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
        x, y = t.frame(u.ravel(), v.ravel())
        wx, wy = weights((x - x0) / sx, 1, nx), weights((y - y0) / sy, 1, ny)
        out.append(np.einsum("ij,jk,ik->i", wy, lattice, wx).reshape(96, 96))
    got = np.stack(out, 2)
    if fmt == RGB24:
        return round_half_up(got)
    rows, offset = matrix(m, full)
    return round_half_up((got - offset) @ np.linalg.inv(rows).T)


def smooth(t):
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def mask_at(mask, mouth, feather, u, v):
    cx, cy, rx, ry = (c * 96 for c in mouth)
    border = np.minimum(np.minimum(u, 96 - u), np.minimum(v, 96 - v))
    if mask == RECTANGLE:
        return smooth(border / max(feather, 1 / 64))
    f = max(feather, 1)
    if mask == LOWER_FACE:
        rx, ry = 1.65 * rx, 1.25 * ry
    w = f / ((rx + ry) / 2)
    r = np.sqrt(((u - cx) / rx)**2 + ((v - cy) / ry)**2)
    return smooth(((1 if mask == LOWER_FACE else 0.95 + w / 2) - r) / w) * smooth(border / (f / 2))


def lips_at(mouth, u, v):
    cx, cy, rx, ry = (c * 96 for c in mouth)
    y = (v - cy + 3) / np.where(v < cy - 3, 0.45 * ry, ry)
    return 1 - smooth((((u - cx) / rx)**2 + y**2 - 0.5) / 1.7)


def blur(a, kernel):
    r = len(kernel) // 2
    for axis in (0, 1):
        p = np.pad(a, [(r, r) if n == axis else (0, 0) for n in range(a.ndim)], "edge")
        a = sum(k * np.take(p, range(i, i + a.shape[axis]), axis) for i, k in enumerate(kernel))
    return a


B1 = np.array([1, 4, 6, 4, 1]) / 16
B2 = np.array([1, 8, 28, 56, 70, 56, 28, 8, 1]) / 256
B3 = (7 - np.abs(np.arange(-6, 7))) / 49


def around(a, r):
    p = np.pad(a, r, "edge")
    all_of = [p[j:j + len(a), i:i + len(a)] for j in range(2 * r + 1) for i in range(2 * r + 1)]
    return np.min(all_of, 0), np.max(all_of, 0)


def matched(made, seen, mask, amount):
    w = mask * (1 - mask) / (1 + (((seen - made) @ LUMA) / 16)**2)
    if w.sum() < 1e-6:
        return made
    cells = np.concatenate([w[:, :, None] * (seen - made), w[:, :, None]], 2).reshape(24, 4, 24, 4, 4).sum((1, 3))
    i = np.arange(24)
    g = np.exp(-(i[:, None] - i)**2 / 12.5) / (2.5 * np.sqrt(2 * np.pi))
    blurred = np.einsum("ij,jkc,lk->ilc", g, cells, g)
    d = (blurred[:, :, :3] + 1e-4 * cells[:, :, :3].sum((0, 1)) / w.sum()) / (blurred[:, :, 3:] + 1e-4)
    at = np.clip((np.arange(96) - 1.5) / 4, 0, 23)
    line = np.maximum(1 - np.abs(at[:, None] - i), 0)
    return np.clip(made + amount * np.einsum("ij,jkc,lk->ilc", line, d, line), 0, 255)


def root_mean(w, band):
    return np.sqrt((w * band).sum() / max(w.sum(), 1e-6))


def grain(rest, limit):
    size = np.maximum(np.abs(rest) - 0.75, 0)
    return np.sign(rest) * size * limit / (limit + size + 1e-6)


def detail(made, seen, mask, inside, mouth, p, enlarged):
    """G, k, limit, amount. made and seen alike where `inside` is false."""
    made = matched(made, seen, mask, p["match"]) if p["match"] else made
    made = np.where(inside[:, :, None], made, seen)
    if not p["sharpness"]:
        return made, np.zeros((96, 96)), 0, 0
    u, v = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
    change, s = 0, p["sharpness"]
    for g, c, weight in ((made[:, :, 2] - made[:, :, 1], seen[:, :, 2] - seen[:, :, 1], 0.25), (made @ LUMA, seen @ LUMA, 1)):
        g1, c1 = blur(g, B1), blur(c, B1)
        c2 = blur(c1, B2)
        spanned = np.stack([c1, c2, blur(c2, B3)])
        change = change + weight * np.maximum(np.maximum(spanned.min(0) - g1, g1 - spanned.max(0)), 0)**2
    change = np.where(inside, change, 0)
    lips = lips_at(mouth, u, v)
    whole = np.sqrt((lips * change)[inside].sum() / max(lips[inside].sum(), 1e-12))
    k = min(s, 1) * (1 - lips * smooth(2 * whole)) * (1 - smooth((np.sqrt(blur(change, B3)) - 1.5) / 3))
    k = np.where(inside, k, 1)
    g2 = blur(g1, B2)
    hg, hc = (g - g1, g1 - g2), (c - c1, c1 - c2)
    w = np.where(inside, mask * (1 - k) + mask / 1000, 0)
    gain = [s * np.clip(root_mean(w, hc[i]**2) / max(root_mean(w, hg[i]**2), 0.3) - 1, 0, most) for i, most in enumerate((1.5, 1))]
    low, high = around(g, 2)
    more = np.clip(gain[0] * hg[0] + gain[1] * hg[1], low - (high - low) / 5 - g, high + (high - low) / 5 - g)
    a = np.where(inside, mask, 0)
    limit = s * root_mean(a * (1 - a) * k, np.minimum(hc[0]**2, 64))
    more = more + (1 - lips) * grain(hc[0], limit * (3 - 2 * lips))
    made = np.where(inside[:, :, None], np.clip(made + more[:, :, None], 0, 255), made)
    q = root_mean(a, hc[0]**2) / max(root_mean(a, hc[1]**2), 1e-3)
    amount = 0.75 * s * smooth((q - 0.7) / 0.5) * np.clip(2 * enlarged - 1.5, 0, 1)
    return made, k, limit, amount


def fine(g, amount):
    w = weights((np.arange(192) + 0.5) / 2 - 0.5, 1, 96)
    t = w @ g @ w.T
    for _ in range(3 if amount > 0 else 0):
        low, high = around(t, 1)
        e = (high - low)**2 / ((high - low)**2 + 64)
        t = np.clip(t + amount * e * (t - blur(t, B1)), low, high)
    return t


def reads(mask, mouth, feather):
    """The rectangle of the face that a paste reads, from where the mask is not zero."""
    u = np.linspace(0, 96, 96 * 40 + 1)
    on = mask_at(mask, mouth, feather, u[None, :], u[:, None]) > 0
    out = np.zeros((96, 96), bool)
    (j, i) = np.nonzero(on)
    x0, x1, y0, y1 = u[i.min()], u[i.max()], u[j.min()], u[j.max()]
    slack = 1 / 64
    lo = [max(int(np.ceil(max(v - slack, 0) - 0.5)) - 4, 0) for v in (x0, y0)]
    hi = [min(int(np.floor(min(v + slack, 96) - 0.5)) + 1 + 4, 96) for v in (x1, y1)]
    out[lo[1]:hi[1], lo[0]:hi[0]] = True
    return out


def default_paste(planes, fmt, m, full, box, roll, face, source, mask, mouth, p):
    u, v = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
    inside = reads(mask, mouth, p["feather"])
    shape = np.where(inside, mask_at(mask, mouth, p["feather"], u, v), 0)
    made = np.where(inside[:, :, None], np.clip(255 * face, 0, 255), source)
    t = Turn(box, roll)
    made, k, limit, amount = detail(made, source, shape, inside, mouth, p, np.sqrt(t.w * t.h) / 96)
    rows, offset = matrix(m, full)
    if fmt != RGB24:
        made, source = made @ rows.T + offset, source @ rows.T + offset
    out = []
    for n, (plane, scale, ax, ay) in enumerate(planes_of(fmt, planes)):
        whole, h, w = n == 0 or fmt == RGB24, plane.shape[0], plane.shape[1]
        x, y = np.meshgrid(np.arange(w) * scale + ax, np.arange(h) * scale + ay)
        fu, fv = t.face(x.ravel(), y.ravel())
        a = p["strength"] * mask_at(mask, mouth, p["feather"], fu, fv)
        on = np.nonzero(a > 0)[0]
        old, a, now = plane.ravel()[on], a[on], plane.ravel().copy()

        def look(map_, size):
            wide = [np.clip(size * scale / side, 1, size / 4) for side in (t.w, t.h)]
            wx = weights(fu[on] * size / 96 - 0.5, wide[0], size)
            wy = weights(fv[on] * size / 96 - 0.5, wide[1], size)
            return np.einsum("ij,ij->i", wy @ map_, wx)

        keep = np.clip(look(k, 96), 0, 1)
        if whole:
            new, rest = look(fine(made[:, :, n], amount), 192), old - look(source[:, :, n], 96)
            most = limit * (3 - 2 * lips_at(mouth, fu[on], fv[on]))
            new = new + (1 - keep) * grain(rest, most) + keep * (old - new)
            black = 0 if fmt == RGB24 or full else 16
            was, is_ = np.maximum(old - black, 0), np.maximum(new - black, 0)
            light = np.sqrt(np.maximum(was**2 + a * (is_**2 - was**2), 0))
            now[on] = old + a * (new - old) + light - (was + a * (is_ - was))
        else:
            new = look(made[:, :, n], 96)
            now[on] = old + a * (new + keep * (old - new) - old)
        out.append(round_half_up(now).reshape(h, w))
    return [np.stack(out[::-1], 2)] if fmt == RGB24 else out
