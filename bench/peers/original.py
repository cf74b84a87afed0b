#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The original program's flow, written anew from its description (WAV2LIP.md), with what its stages cost:

    original.py WEIGHTS VIDEO VOICE OUT [--threads 2] [--sample 3]

All frames into memory; a face in every frame; boxes averaged over 5 frames; mel windows; batches of 128 faces through
torch (eager, fp32, plain layout); resize, overwrite, a temporary file by OpenCV's writer; then ffmpeg joins picture and
voice. Boxes come from YuNet at 320 pixels, our service's detector, which is far cheaper than the original's S3FD at full
size; what that would cost is measured on a few frames with a network of its shape (s3fd.py) and scaled.

Prints lines "name value unit": stages in milliseconds of processor and of wall clock a frame, wall seconds, memory.
"""
import argparse
import os
import resource
import subprocess
import time

import cv2
import numpy as np
import torch

import prepare
import s3fd
import sound

BATCH, SMOOTH, PAD_BOTTOM = 128, 5, 10


class Stages:
    """Seconds by stage, of this process and its children."""

    def __init__(self):
        self.wall, self.processor = {}, {}

    def __call__(self, name):
        self.name = name
        return self

    @staticmethod
    def processor_s():
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    def __enter__(self):
        self.started = time.monotonic(), self.processor_s()

    def __exit__(self, *error):
        self.wall[self.name] = self.wall.get(self.name, 0) + time.monotonic() - self.started[0]
        self.processor[self.name] = self.processor.get(self.name, 0) + self.processor_s() - self.started[1]


def read_frames(path):
    film, frames = cv2.VideoCapture(path), []
    rate = film.get(cv2.CAP_PROP_FPS)
    while True:
        ok, frame = film.read()
        if not ok:
            return frames, rate
        frames.append(frame)


def find_boxes(frames):
    """Left, top, right, bottom, as int; where none is found, the last one (the original would give up)."""
    high, wide = frames[0].shape[:2]
    size = (320, round(320 * high / wide)) if wide > high else (round(320 * wide / high), 320)
    detector = cv2.FaceDetectorYN.create(prepare.YUNET, "", size, 0.6)
    boxes, last = [], (0, 0, wide, high)
    for frame in frames:
        _, found = detector.detect(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        if found is not None:
            x, y, w, h = found[found[:, -1].argmax(), :4] * (wide / size[0])
            last = (max(0, int(x)), max(0, int(y)), min(wide, int(x + w)), min(high, int(y + h) + PAD_BOTTOM))
        boxes.append(last)
    boxes = np.array(boxes)
    for i in range(len(boxes)):  # in place and looking ahead; the end sees what is averaged already
        boxes[i] = boxes[min(i, len(boxes) - SMOOTH) if len(boxes) >= SMOOTH else 0:][:SMOOTH].mean(0)
    return boxes


def find_windows(voice, rate):
    columns, windows = sound.mel(prepare.read_voice(voice)), []
    while True:
        start = int(len(windows) * (80.0 / rate))
        if start + 16 > columns.shape[1]:
            windows.append(columns[:, -16:])
            return windows
        windows.append(columns[:, start:start + 16])


def generate(net, faces, windows):
    x = np.stack(faces)
    masked = x.copy()
    masked[:, prepare.MASKED_ROW:] = 0
    x = (np.concatenate([masked, x], 3) / 255.0).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.no_grad():
        made = net(torch.from_numpy(np.stack(windows)[:, None]), torch.from_numpy(np.ascontiguousarray(x)))
    return made.numpy().transpose(0, 2, 3, 1) * np.float32(255)


def run(args, stages):
    with stages("read"):
        frames, rate = read_frames(args.video)
    with stages("mel"):
        windows = find_windows(args.voice, rate)
    frames = frames[:len(windows)]
    with stages("detect"):
        boxes = find_boxes(frames)
    with stages("load"):
        net = prepare.net(args.weights)
    high, wide = frames[0].shape[:2]
    film = args.out + ".avi"
    writer = cv2.VideoWriter(film, cv2.VideoWriter_fourcc(*"DIVX"), rate, (wide, high))
    for first in range(0, len(windows), BATCH):
        batch = range(first, min(first + BATCH, len(windows)))
        places = [i % len(frames) for i in batch]
        with stages("crop"):
            faces = [cv2.resize(frames[i][boxes[i][1]:boxes[i][3], boxes[i][0]:boxes[i][2]], (96, 96)) for i in places]
        with stages("generate"):
            made = generate(net, faces, [windows[i] for i in batch])
        for i, face in zip(places, made):
            with stages("paste"):
                x0, y0, x1, y1 = boxes[i]
                out = frames[i].copy()
                out[y0:y1, x0:x1] = cv2.resize(face.astype(np.uint8), (int(x1 - x0), int(y1 - y0)))
            with stages("write"):
                writer.write(out)
    with stages("write"):
        writer.release()
    with stages("mux"):
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", args.voice, "-i", film, "-strict", "-2", "-q:v",
                        "1", args.out], check=True)
    os.remove(film)
    return frames, len(windows)


def cost_of_s3fd(frames, count):
    """Seconds of wall clock and of processor for a frame, one at a time: a batch of 16 would not fit into memory."""
    net = s3fd.S3fd().eval()
    x = s3fd.prepare(frames[0])
    with torch.no_grad():
        net(x[:, :, :256, :256])
        wall, processor = time.monotonic(), Stages.processor_s()
        for i in range(count):
            net(s3fd.prepare(frames[i * len(frames) // count]))
    return (time.monotonic() - wall) / count, (Stages.processor_s() - processor) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("weights", "video", "voice", "out"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--sample", type=int, default=3, help="frames for S3FD's cost; 0: none")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    stages, started = Stages(), time.monotonic()
    frames, count = run(args, stages)
    print("wall %.4g s" % (time.monotonic() - started))
    print("frames %d frames" % count)
    memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print("memory %.5g MiB" % (memory / 1024))
    for name in stages.wall:
        print("processor-%s %.4g ms/frame" % (name, 1e3 * stages.processor[name] / count))
        print("wall-%s %.4g ms/frame" % (name, 1e3 * stages.wall[name] / count))
    if args.sample > 0:
        wall, processor = cost_of_s3fd(frames, args.sample)
        print("processor-s3fd %.5g ms/frame" % (1e3 * processor))
        print("wall-s3fd %.5g ms/frame" % (1e3 * wall))


if __name__ == "__main__":
    main()
