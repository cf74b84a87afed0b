# SPDX-License-Identifier: Apache-2.0
"""What is measured on the frames of a talking face. Everything takes numpy arrays and needs numpy alone, but Mesh,
which needs ai-edge-litert and MediaPipe's face_landmark.tflite.

Frames are [n][h][w][3] RGB or [n][h][w] luma, uint8 or float 0..255; boxes [n][4] left, top, right, bottom; times in
seconds. Definitions:

opening      distance between the inner edges of upper and lower lip (mesh points 13-14 twice, 82-87 and 312-317 once)
             along the face's own vertical, over the distance between the eyes' centres.
lag, r       the shift s within +-200 ms at which Pearson's r of opening(t) and known(t - s) is greatest, refined below
             a frame by a parabola; positive: the mouth is late. r is that at lag 0, r_best that at the lag. Of several
             clips: the mean of their r.
follows      how much of an opening is due to one movement and how much to another: coefficients of its linear regression
             on both, all three scaled to spread 1; of several clips their means. A copy of the picture's own mouth
             would follow it with 1 and the voice with 0.
amplitude    98th less 2nd percentile of the opening.
closures     share of p, b, m during which (+-40 ms) the least opening is under 15 % of the clip's maximum. Maximum:
             98th percentile. Zero: the opening that the mesh shows for that face's closed lips (`rest`), for its model
             is off by a little that differs from face to face. "From its own rest": zero is what it shows where the
             voice pauses, which forgives lips that never quite meet. "Raw": zero is 0. chance: the same for
             windows of the same length everywhere in speech where no p, b or m is within 120 ms.
stillness    standard deviation of the opening in silence over that in speech.
seam         mean |gradient of luma along the mask's normal| over the mask's edge in the output, over the same in the
             source. The edge: where the opacity lies between 5 % and 95 % (a soft mask), grown by a pixel to each side
             (which is all that a hard one has). seam_worst: the greatest of 16 sectors of that ring.
sharpness    energy of a Laplacian of Gaussian (sigma 1 pixel of the frame) of luma in the ellipse around the source's
             lips, 1.3 times as large as they are, output over source.
jitter       shift between consecutive frames of what was pasted, by least squares on gradients (Lucas and Kanade), in
             pixels of the frame; the mean of its length. Given with the same of the source.
PSNR, SSIM   8 bit; SSIM as Wang et al. 2004, gaussian window of sigma 1.5, mean of the three channels.
"""
import numpy as np

LAG_MAX_S = 0.2
EDGE = (0.05, 0.95)


# --- the mesh -------------------------------------------------------------------------------------------------------
def sample(frame, x, y):
    """frame [h][w][c] at places x, y, bilinear, edges repeated."""
    height, width = frame.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    pixel = lambda dy, dx: frame[y0 + dy, x0 + dx].astype(np.float32)  # noqa: E731
    top = pixel(0, 0) * (1 - fx) + pixel(0, 1) * fx
    return top * (1 - fy) + (pixel(1, 0) * (1 - fx) + pixel(1, 1) * fx) * fy


class Mesh:
    """MediaPipe's face mesh. A region is (centre x, centre y, side, angle): the square of the frame that it looks at.
    Find it once on the source frame, and look at all outputs of that frame with it, so that the judge's own trembling
    is the same in all of them."""

    SIDE = 192

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter  # only where there is one

        self.net = Interpreter(model_path=path, num_threads=1)
        self.net.allocate_tensors()
        self.input = self.net.get_input_details()[0]["index"]
        outputs = [d["index"] for d in self.net.get_output_details()]
        sizes = [int(np.prod(d["shape"])) for d in self.net.get_output_details()]
        self.points_at = outputs[int(np.argmax(sizes))]
        self.score_at = outputs[int(np.argmin(sizes))]
        y, x = np.mgrid[0 : self.SIDE, 0 : self.SIDE] + 0.5
        self.grid = np.stack([x, y], -1).astype(np.float32) / self.SIDE - 0.5

    def points(self, frame, region):
        """[468][2] in pixels of the frame, and a score (a logit; below 0 there is no face)."""
        cx, cy, side, angle = region
        turn = side * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
        at = self.grid @ turn + np.array([cx, cy], np.float32)
        # Where the face is reduced a lot, a mean of 2x2 or more first: or the lips alias.
        shrink = max(1, int(side / self.SIDE))
        low = np.maximum(at.reshape(-1, 2).min(0).astype(int) - shrink, 0)
        high = np.maximum(at.reshape(-1, 2).max(0).astype(int) + 2 * shrink, low + 2 * shrink)
        part = frame[low[1] : high[1], low[0] : high[0]]
        if shrink > 1:
            rows, columns = (n // shrink * shrink for n in part.shape[:2])
            part = sum(part[i:rows:shrink, j:columns:shrink].astype(np.float32)
                       for i in range(shrink) for j in range(shrink)) / shrink**2
        at = (at - low) / shrink - 0.5
        crop = sample(part, at[..., 0], at[..., 1]) / 255
        self.net.set_tensor(self.input, crop[None].astype(np.float32))
        self.net.invoke()
        found = self.net.get_tensor(self.points_at).reshape(-1, 3)[:468, :2] / self.SIDE - 0.5
        return found @ turn + [cx, cy], float(self.net.get_tensor(self.score_at).reshape(-1)[0])

    @staticmethod
    def region_of(points):
        low, high = points.min(0), points.max(0)
        eyes = points[[263, 362]].mean(0) - points[[33, 133]].mean(0)
        return (*((low + high) / 2), 1.5 * (high - low).max(), float(np.arctan2(eyes[1], eyes[0])))

    def region(self, frame, box):
        """Of the face in a box of the detector's."""
        left, top, right, bottom = box
        region = ((left + right) / 2, (top + bottom) / 2, 1.45 * max(right - left, bottom - top), 0.0)
        for _ in range(2):
            region = self.region_of(self.points(frame, region)[0])
        return region

    def follow(self, frames, boxes):
        """Regions and points of frames in order; each frame is looked for where the face was in the one before. A
        box that is NaN is not needed but at the first frame; where the face is lost it is found anew."""
        regions, points = [], []
        score = -1.0
        for frame, box in zip(frames, boxes):
            if score > 0:
                region = self.region_of(points[-1])
            elif not np.isnan(box[0]):
                region = self.region(frame, box)
            elif regions:
                region = regions[-1]
            else:
                raise LookupError("no face in the first frame")
            found, score = self.points(frame, region)
            regions.append(region)
            points.append(found)
        return regions, np.array(points)

    def look(self, frames, regions):
        """Points [n][468][2] and scores [n]."""
        both = [self.points(frame, region) for frame, region in zip(frames, regions)]
        return np.array([p for p, _ in both]), np.array([s for _, s in both])


def opening(points):
    """[n][468][2] -> [n]; see above."""
    points = np.asarray(points, float)
    eyes = points[:, [263, 362]].mean(1) - points[:, [33, 133]].mean(1)
    apart = np.linalg.norm(eyes, axis=1)
    down = np.stack([-eyes[:, 1], eyes[:, 0]], 1) / apart[:, None]
    gap = lambda upper, lower: ((points[:, lower] - points[:, upper]) * down).sum(1)  # noqa: E731
    return (2 * gap(13, 14) + gap(82, 87) + gap(312, 317)) / 4 / apart


def mouth_ellipse(points):
    """Centre x, y, radius x, y and angle of the lips of one face [468][2], outer edge."""
    right, left, top, bottom = points[61], points[291], points[0], points[17]
    across = left - right
    wide = np.linalg.norm(across)
    tall = np.linalg.norm(bottom - top)
    centre = (right + left + top + bottom) / 4
    return (*centre, wide / 2, max(tall / 2, 0.2 * wide), float(np.arctan2(across[1], across[0])))


def inside_ellipse(shape, ellipse, scale=1.0):
    cx, cy, rx, ry, angle = ellipse
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
    return (u / (rx * scale)) ** 2 + (v / (ry * scale)) ** 2 < 1


# --- sync -----------------------------------------------------------------------------------------------------------
def pearson(a, b):
    a, b = a - np.mean(a), b - np.mean(b)
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def correlation(clips, step_s=0.005):
    """clips: [(times, opening, known)], known a function of times. Several clips count the same each: r is the mean of
    theirs, and the lag is that of its greatest. -> r, r_best, lag_s."""
    lags = np.arange(-LAG_MAX_S, LAG_MAX_S + step_s / 2, step_s)
    rs = np.array([np.mean([pearson(o, known(t - lag)) for t, o, known in clips]) for lag in lags])
    best = int(np.argmax(rs))
    lag, r_best = lags[best], rs[best]
    if 0 < best < len(lags) - 1:
        below, above = rs[best - 1], rs[best + 1]
        bend = below - 2 * r_best + above
        shift = 0.5 * (below - above) / bend if bend < 0 else 0.0
        lag, r_best = lag + shift * step_s, r_best - 0.25 * (below - above) * shift
    return float(rs[len(lags) // 2]), float(r_best), float(lag)


def follows(clips):
    """clips: [(opening, one movement, another)] at the same times. -> how much it follows each."""
    def scaled(x):
        spread = np.std(x)
        return (np.asarray(x, float) - np.mean(x)) / (spread if spread > 0 else 1)

    return np.mean([np.linalg.lstsq(np.stack([scaled(a), scaled(b)], 1), scaled(o), rcond=None)[0]
                    for o, a, b in clips], 0)


def curve(times, values):
    """A function of time through these points."""
    return lambda t: np.interp(t, times, values)


def amplitude(o):
    low, high = np.percentile(o, [2, 98])
    return float(high - low)


def closures(times, o, spans, rest=0.0, slack_s=0.04, share=0.15, speech=None):
    """spans [(begin, end)] of p, b, m. speech (begin, end): where chance is looked for, default all.
    -> share closed, number, chance."""
    o = np.asarray(o, float) - rest
    limit = share * np.percentile(o, 98)
    least = []
    for begin, end in spans:
        inside = (times >= begin - slack_s) & (times <= end + slack_s)
        if inside.any():
            least.append(o[inside].min())
    if not least:
        return float("nan"), 0, float("nan")
    length = int(round(np.median([((times >= a - slack_s) & (times <= b + slack_s)).sum() for a, b in spans])))
    near = np.zeros(len(times), bool)
    for begin, end in spans:
        near |= (times > begin - 0.12) & (times < end + 0.12)
    begin, end = speech or (times[0], times[-1])
    near |= (times < begin) | (times > end)
    free = [o[i : i + length].min() for i in range(len(o) - length) if not near[i : i + length].any()]
    chance = float(np.mean(np.array(free) < limit)) if free else float("nan")
    return float(np.mean(np.array(least) < limit)), len(least), chance


def stillness(times, o, silence, speech):
    """(begin, end) each -> standard deviation in silence over that in speech."""
    part = lambda span: np.asarray(o)[(times >= span[0]) & (times <= span[1])]  # noqa: E731
    return float(np.std(part(silence)) / max(np.std(part(speech)), 1e-9))


# --- picture --------------------------------------------------------------------------------------------------------
def blur(image, sigma):
    """Gaussian over the last two axes, edges repeated."""
    reach = max(1, int(np.ceil(4 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    out = np.asarray(image, np.float32)
    for axis in (-1, -2):
        pads = [(0, 0)] * out.ndim
        pads[axis] = (reach, reach)
        padded = np.pad(out, pads, mode="edge")
        size = out.shape[axis]
        out = sum(k * np.take(padded, range(i, i + size), axis) for i, k in enumerate(kernel))
    return out


def gradient(luma):
    """d/dx, d/dy of [..][h][w] by central differences over two pixels."""
    luma = np.asarray(luma, np.float32)
    dy, dx = np.gradient(luma, axis=(-2, -1))
    return dx, dy


def opacity(output, full, source, sigma=3.0):
    """The mask [h][w] of a picture that stands still, from frames of the same: output = source + a (full - source), by
    least squares over time and a neighbourhood of `sigma` pixels. full: pasted without a mask. Where full and source
    are alike nothing is known of the mask, and nothing would be seen of it: there it is what it is around."""
    source, output, full = (np.asarray(x, np.float32) for x in (source, output, full))
    d, e = full - source, output - source
    above, below = blur((d * e).mean(0), sigma), blur((d * d).mean(0), sigma)
    for _ in range(4):  # from where something is known to where little is
        weight = below / (below + 2)
        mask = np.clip(above / np.maximum(below, 1e-6), 0, 1)
        near = blur(weight * mask, 2 * sigma) / np.maximum(blur(weight, 2 * sigma), 1e-6)
        mask = weight * mask + (1 - weight) * near
        above, below = mask * (below + 0.5), below + 0.5
    changed = blur((np.abs(e).max(0) > 0).astype(np.float32), sigma)
    return np.clip(mask * np.minimum(1, 4 * changed), 0, 1)


def box_mask(shape, box):
    """A rectangle's opacity."""
    mask = np.zeros(shape, np.float32)
    left, top, right, bottom = (int(round(v)) for v in box)
    mask[max(0, top) : bottom, max(0, left) : right] = 1
    return mask


def _grow(mask):
    padded = np.pad(mask, 1)
    return np.any([padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx]
                   for dy, dx in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))], axis=0)


def ring(mask):
    """The mask's edge as bool [h][w], and the unit normal there [2][h][w] (x, y). Edges that are the picture's own
    border do not count."""
    inside = mask > 0.5
    soft = (mask > EDGE[0]) & (mask < EDGE[1])
    edge = _grow(soft) | (_grow(inside) & ~inside) | (_grow(~inside) & inside)
    dx, dy = gradient(blur(mask, 2))
    length = np.sqrt(dx**2 + dy**2)
    edge &= length > 1e-4
    edge[:2] = edge[-2:] = False
    edge[:, :2] = edge[:, -2:] = False
    return edge, np.stack([dx, dy]) / np.maximum(length, 1e-9)


def _along(luma, normal, edge):
    """Mean |gradient along the normal| at the edge's pixels, over all frames -> [pixels]."""
    window = around(edge, 2)
    edge, normal = edge[window], normal[(slice(None), *window)]
    total = 0
    for frame in luma:
        dx, dy = gradient(frame[window])
        total = total + np.abs(dx[edge] * normal[0][edge] + dy[edge] * normal[1][edge])
    return total / len(luma)


def seam(output, source, mask):
    """luma [n][h][w] each -> ratio over the whole ring, and over the worst of 16 sectors."""
    edge, normal = ring(mask)
    if not edge.any():
        return float("nan"), float("nan")
    ours, theirs = _along(output, normal, edge), _along(source, normal, edge)
    y, x = np.nonzero(edge)
    sector = ((np.arctan2(y - y.mean(), x - x.mean()) / (2 * np.pi) + 0.5) * 15.999).astype(int)
    parts = [ours[sector == s].mean() / max(theirs[sector == s].mean(), 0.5)
             for s in range(16) if (sector == s).sum() >= 8]
    return float(ours.mean() / max(theirs.mean(), 1e-6)), float(max(parts)) if parts else float("nan")


def around(where, margin):
    """Slices of the smallest window that holds `where`, and so much around it."""
    rows, columns = np.nonzero(where.any(1))[0], np.nonzero(where.any(0))[0]
    return (slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
            slice(max(0, columns[0] - margin), columns[-1] + 1 + margin))


def _each(where, count):
    """One mask for all frames, or one each."""
    return [where] * count if where.ndim == 2 else where


def fine_energy(luma, where, sigma=1.0):
    """Mean square of the Laplacian of Gaussian over `where` [h][w] or [n][h][w], per frame [n]."""
    out = []
    for frame, mask in zip(luma, _each(where, len(luma))):
        window = around(mask, 6)
        b = np.pad(blur(frame[window], sigma), 1, mode="edge")
        laplacian = b[:-2, 1:-1] + b[2:, 1:-1] + b[1:-1, :-2] + b[1:-1, 2:] - 4 * b[1:-1, 1:-1]
        out.append(np.mean(laplacian[mask[window]] ** 2))
    return np.array(out)


def sharpness(output, source, where, sigma=1.0):
    return float(fine_energy(output, where, sigma).mean() / max(fine_energy(source, where, sigma).mean(), 1e-9))


def shifts(luma, where, sigma=1.0, steps=3):
    """Movement [n - 1][2] from each frame to the next over `where` (one mask, or one each), in pixels (x, y)."""
    out = []
    masks = _each(where, len(luma))
    for i in range(len(luma) - 1):
        window = around(masks[i], 8)
        a, b = blur(luma[i][window], sigma), blur(luma[i + 1][window], sigma)
        inside = masks[i][window]
        dx, dy = gradient((a + b) / 2)
        gx, gy = dx[inside], dy[inside]
        normal = np.array([[(gx * gx).sum(), (gx * gy).sum()], [(gx * gy).sum(), (gy * gy).sum()]])
        if np.linalg.cond(normal) > 1e6:
            out.append(np.full(2, np.nan))
            continue
        y, x = np.nonzero(inside)
        move = np.zeros(2)
        for _ in range(steps):
            error = a[inside] - sample(b[..., None], x + move[0], y + move[1])[:, 0]
            error = error - error.mean()  # a change of light is no movement
            move += np.linalg.solve(normal, [(gx * error).sum(), (gy * error).sum()])
        out.append(move)
    return np.array(out)


def jitter(moves):
    return float(np.nanmean(np.linalg.norm(moves, axis=1)))


def psnr(a, b):
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def ssim(a, b):
    a, b = (np.moveaxis(np.asarray(x, np.float32), -1, 0) for x in (a, b))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = blur(a, 1.5), blur(b, 1.5)
    va, vb = blur(a * a, 1.5) - ma**2, blur(b * b, 1.5) - mb**2
    both = blur(a * b, 1.5) - ma * mb
    return float(np.mean((2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))))


def similarity(a, b):
    """2x3 matrix that moves points a [k][2] onto b by shift, turn and scale, least squares."""
    ma, mb = a.mean(0), b.mean(0)
    p, q = a - ma, b - mb
    size = (p * p).sum()
    c, s = (p * q).sum() / size, (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / size
    turn = np.array([[c, -s], [s, c]])
    return np.concatenate([turn, (mb - turn @ ma)[:, None]], 1)


def soften(frame, reduction):
    """What a frame needs before it is sampled that much more coarsely: or details alias."""
    if reduction <= 1:
        return frame
    return np.moveaxis(blur(np.moveaxis(np.asarray(frame, np.float32), -1, 0), 0.5 * np.sqrt(reduction**2 - 1)), 0, -1)


def warp(frame, matrix, size):
    """frame as seen through the inverse: out(matrix @ p) = frame(p); size (w, h)."""
    turn = np.linalg.inv(matrix[:, :2])
    y, x = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    at = (np.stack([x, y], -1) - matrix[:, 2]) @ turn.T
    return sample(frame, at[..., 0] - 0.5, at[..., 1] - 0.5)
