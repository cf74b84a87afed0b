# SPDX-License-Identifier: Apache-2.0
"""Films of people who speak -> for each frame the face, cut out as the server does it but a quarter larger, its 468
points, and the sound. `FACE_MESH=face_landmark.tflite python3 material.py FOLDER part parts` fills FOLDER with one
.npz a clip.

What is kept out for judging: HELD (people), everything in bench/picture_voices.py's UNSEEN (voices), the presenter,
Hopper and the astronaut (faces)."""
import glob
import os
import subprocess
import sys

import cv2
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SHARED = os.path.join(ROOT, "..", "shared")
sys.path.insert(0, os.path.join(ROOT, "bench"))
import picture_judge as judge  # noqa: E402

HELD = ("s2", "s34", "lbbc2a")
SIDE, GROWN = 120, 1.25  # of a kept picture: the face's box is its middle 96 pixels
EVERY = 5                # frames from one look for faces to the next
# Who the people of mixed/ are (media/grid/README.md); the others are nobody else.
MIXED = {"bbaf2n": "s1", "id2_vcd_swwp2s": "s2", "pwij3p": "s2", "sbia1a": "s3", "lwbsza": "s4", "lbax4n": "s5",
         "lrwp9a": "s23", "swiz3n": "s26", "sbwe5n": "s32"}


def clips():
    """[(person, path)]"""
    out = []
    for path in sorted(glob.glob(os.path.join(SHARED, "media", "grid", "*", "*.mp4"))):
        folder, name = path.split(os.sep)[-2:]
        name = name[:-4]
        out.append((MIXED.get(name, name) if folder == "mixed" else folder, path))
    return out


def film(path):
    video = cv2.VideoCapture(path)
    frames = []
    while True:
        ok, frame = video.read()
        if not ok:
            return frames
        frames.append(frame)


def sound(path):
    """16 kHz, mono; sample 0 is at the film's time 0."""
    said = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-af", "aresample=async=1:first_pts=0", "-f", "f32le",
                           "-ac", "1", "-ar", "16000", "-"], stdout=subprocess.PIPE, check=True)
    return np.frombuffer(said.stdout, np.float32).copy()


class Detector:
    """YuNet by OpenCV. -> the largest face's box (x0, y0, x1, y1), or None."""

    def __init__(self):
        model = os.path.join(SHARED, "models", "yunet", "face_detection_yunet_2023mar.onnx")
        self.net = cv2.FaceDetectorYN.create(model, "", (320, 320), 0.6, 0.3)

    def __call__(self, frame):
        self.net.setInputSize((frame.shape[1], frame.shape[0]))
        _, found = self.net.detect(frame)
        if found is None:
            return None
        x, y, w, h = max(found, key=lambda f: f[2] * f[3])[:4]
        return np.array([x, y, x + w, y + h])


def boxes(frames, detector):
    """[n][4] by the server's rule: padded by 10 below, averaged over 5 frames; None if faces are missing."""
    at = sorted({*range(0, len(frames), EVERY), len(frames) - 1})
    found = [detector(frames[i]) for i in at]
    known = [i for i, f in zip(at, found) if f is not None]
    if len(known) < 0.9 * len(at):
        return None
    rows = np.array([f for f in found if f is not None])
    all_ = np.stack([np.interp(np.arange(len(frames)), known, rows[:, k]) for k in range(4)], 1)
    all_[:, 3] += 10
    kernel = np.ones(5) / 5
    return np.stack([np.convolve(np.pad(all_[:, k], 2, mode="edge"), kernel, "valid") for k in range(4)], 1)


def cut(frame, box):
    """The box grown by GROWN, as SIDE x SIDE pixels, and the 2x3 matrix from frame to picture."""
    x0, y0, x1, y1 = box
    scale = SIDE / GROWN / np.array([x1 - x0, y1 - y0])
    middle = np.array([x0 + x1, y0 + y1]) / 2
    matrix = np.array([[scale[0], 0, SIDE / 2 - scale[0] * middle[0]], [0, scale[1], SIDE / 2 - scale[1] * middle[1]]])
    soft = judge.soften(frame, float(1 / scale.min())).astype(np.uint8)
    centred = matrix.copy()  # OpenCV's pixel 0 lies at 0, ours at 0.5
    centred[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    picture = cv2.warpAffine(soft, centred, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return picture, matrix


def prepare(path, detector, mesh):
    frames = film(path)
    box = boxes(frames, detector) if len(frames) >= 10 else None
    if box is None:
        return None
    # The mesh looks at a square that stands still, so that it trembles no more than the head.
    region = mesh.region(frames[0], box.mean(0))
    points, scores = mesh.look([f[:, :, ::-1] for f in frames], [region] * len(frames))
    if scores.min() < 0:
        return None
    pictures = []
    for i, frame in enumerate(frames):
        picture, matrix = cut(frame, box[i])
        pictures.append(picture)
        points[i] = points[i] @ matrix[:, :2].T + matrix[:, 2]
    aspect = np.mean((box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]))
    return {"picture": np.array(pictures), "points": points.astype(np.float32), "aspect": aspect, "wav": sound(path)}


def main(folder, part, parts):
    cv2.setNumThreads(1)
    os.makedirs(folder, exist_ok=True)
    detector, mesh = Detector(), judge.Mesh(os.environ["FACE_MESH"])
    for person, path in clips()[part::parts]:
        out = os.path.join(folder, "%s-%s.npz" % (person, os.path.basename(path)[:-4]))
        if os.path.exists(out):
            continue
        made = prepare(path, detector, mesh)
        if made is None:
            print("left out, faces missing or film unreadable:", path, flush=True)
            continue
        with open(out + ".part", "wb") as part_of_it:
            np.savez(part_of_it, **made)
        os.replace(out + ".part", out)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
