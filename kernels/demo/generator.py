# SPDX-License-Identifier: Apache-2.0
"""Trains the generator on pairs.py's pairs: pixels, slopes, what a frozen expert (picture -> mouth shape) sees, a judge
of patches that learns beside it what mouths look like, and, for the audio encoder alone, the shape that a window asks
for: three windows a picture, for a voice is learned sooner from numbers than from pixels.
`python3 generator.py MATERIAL FOLDER seconds` goes on from FOLDER/generator.pt, where all that is needed for it is kept
every minute; the last third of the time lowers the step. START=weights.safetensors begins with these where there is no
generator.pt; BATCH=512 suits a GPU, which is used where there is one."""
import multiprocessing
import os
import sys
import time
from queue import Empty

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from network import SMALL, Wav2Lip, start_as_copy, widths

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FEEDERS = max(1, os.cpu_count() - 2) if DEVICE == "cuda" else 1
BATCH, STEP, FALL, KEPT = int(os.environ.get("BATCH", 16)), 1e-3, 0.35, 0.9993
HIGH, WIDE = 20, 28  # half of the window around the mouth that experts look at


class Expert(nn.Module):
    """20x28 pixels of the lower face -> opening, width, height of the mouth; and what it saw on the way."""

    def __init__(self):
        super().__init__()
        conv = lambda i, o, s: nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.LeakyReLU(0.1))  # noqa: E731
        self.layers = nn.ModuleList([conv(3, 16, 1), conv(16, 32, 2), conv(32, 48, 2), conv(48, 64, 2)])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 3 * 4, 64), nn.LeakyReLU(0.1), nn.Linear(64, 3))

    def forward(self, x):
        x = x - x.mean((2, 3), keepdim=True)
        x = x / (x.std((1, 2, 3), keepdim=True) + 0.05)
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return self.head(x), seen


class Patches(nn.Module):
    """Is it a photograph? One answer for each patch of the mouth's window, and what it saw on the way."""

    def __init__(self):
        super().__init__()
        conv = lambda i, o, s: nn.Sequential(  # noqa: E731
            nn.utils.spectral_norm(nn.Conv2d(i, o, 4, s, 1)), nn.LeakyReLU(0.2))
        self.layers = nn.ModuleList([conv(3, 24, 2), conv(24, 48, 2), conv(48, 64, 1)])
        self.head = nn.Conv2d(64, 1, 3, 1, 1)

    def forward(self, x):
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return self.head(x), seen


def around(x, mouth):
    """The window [n][3][40][56] around each mouth."""
    cx = mouth[:, 0].round().long().clamp(WIDE, 96 - WIDE)
    cy = mouth[:, 1].round().long().clamp(HIGH, 96 - HIGH)
    return torch.stack([x[i, :, cy[i] - HIGH : cy[i] + HIGH, cx[i] - WIDE : cx[i] + WIDE] for i in range(len(x))])


def weights(mouth):
    """[n][1][96][96]: the mouth counts most, the upper half, which it only has to keep, least."""
    at = torch.arange(96.0, device=mouth.device) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    dx, dy = (x - mouth[:, 0, None, None]) / 17, (y - mouth[:, 1, None, None]) / 12
    w = 0.4 + 8 * torch.exp(-0.5 * (dx**2 + dy**2) ** 1.5)
    w[:, 46:] += 0.4
    return w[:, None]


def picture_loss(made, target, w):
    """Pixels, and slopes at two sizes."""
    loss = ((made - target).abs() * w).mean()
    for size in (1, 2):
        e, v = F.avg_pool2d((made - target), size), F.avg_pool2d(w, size)
        across = ((e[..., 1:] - e[..., :-1]).abs() * v[..., 1:]).mean()
        down = ((e[..., 1:, :] - e[..., :-1, :]).abs() * v[..., 1:, :]).mean()
        loss = loss + 0.7 * (across + down)
    return loss


def shown(target, reference):
    """The network's six channels: the target without its lower half, and the reference."""
    upper = target.clone()
    upper[:, :, 48:] = 0
    return torch.cat([upper, reference], 1).contiguous(memory_format=torch.channels_last)


def feed(material, folder, seed, queue):
    """In a process of its own: a thread would fight with the training for the interpreter."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    from pairs import Pairs

    pairs = Pairs(material, folder, seed)
    while True:
        queue.put(pairs.batch(BATCH))


def start_feeders(material, folder, seed):
    """-> a function that gives the next batch."""
    from pairs import more_voices

    more_voices(folder)  # each would make them, all at the same time
    queue = multiprocessing.Queue(8)
    feeders = [multiprocessing.Process(target=feed, args=(material, folder, seed + i, queue), daemon=True)
               for i in range(FEEDERS)]
    for feeder in feeders:
        feeder.start()

    def get():
        while True:
            try:
                return [torch.from_numpy(x).to(DEVICE) for x in queue.get(timeout=10)]
            except Empty:  # slow at first; but who is dead brings nothing
                for feeder in feeders:
                    if not feeder.is_alive():
                        sys.exit("generator: what makes the pairs ended with status %d" % feeder.exitcode)

    return get


def train_expert(get, steps):
    net = Expert().to(DEVICE)
    optimizer = torch.optim.AdamW(net.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        _, target, _, mouth, measure, _ = get()
        seen = F.avg_pool2d(around(target, mouth + torch.randn_like(mouth) * 1.5), 2)
        seen = seen + torch.randn_like(seen) * 0.03 * torch.rand(len(seen), 1, 1, 1, device=DEVICE)
        said, _ = net(seen)
        loss = F.smooth_l1_loss(said, measure)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 0 or step == steps - 1:
            r = np.corrcoef(said[:, 0].detach().cpu(), measure[:, 0].cpu())[0, 1]
            print("expert: step %d, loss %.3f, r of the opening %.2f" % (step, loss.item(), r), flush=True)
    return net


class Training:
    def __init__(self, folder):
        self.path = os.path.join(folder, "generator.pt")
        self.net, self.judge = Wav2Lip(SMALL), Patches()
        start_as_copy(self.net)
        kept, begin = None, os.environ.get("START")
        if os.path.exists(self.path):
            kept = torch.load(self.path, weights_only=False, map_location=DEVICE)
            if begin:
                print("START is not used: there is %s, which goes on" % self.path, flush=True)
        elif begin:
            from safetensors.torch import load_file

            state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(begin).items()}
            self.net = Wav2Lip(widths(state))
            self.net.load_state_dict(state)
        if kept:
            self.net = Wav2Lip(widths(kept["net"]))
        self.ear = nn.Linear(widths(self.net.state_dict())["audio"][4], 5)  # what the audio encoder heard
        if kept:
            self.net.load_state_dict(kept["net"])
            self.judge.load_state_dict(kept["judge"])
            self.ear.load_state_dict(kept["ear"])
        self.net, self.judge = self.net.to(DEVICE, memory_format=torch.channels_last), self.judge.to(DEVICE)
        self.ear = self.ear.to(DEVICE)
        self.mean = {k: v.clone() for k, v in (kept["mean"] if kept else self.net.state_dict()).items()}
        self.parameters = [*self.net.parameters(), *self.ear.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, STEP, betas=(0.9, 0.98), weight_decay=1e-3,
                                           fused=True)
        self.judge_optimizer = torch.optim.AdamW(self.judge.parameters(), 4e-4, betas=(0.5, 0.9))
        if kept:
            self.optimizer.load_state_dict(kept["optimizer"])
            self.judge_optimizer.load_state_dict(kept["judge_optimizer"])
        self.steps, self.samples = (kept["steps"], kept["samples"]) if kept else (0, 0)
        self.average = {}

    def keep(self):
        torch.save({"net": self.net.state_dict(), "mean": self.mean, "judge": self.judge.state_dict(), "ear": self.ear.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "judge_optimizer": self.judge_optimizer.state_dict(),
                    "steps": self.steps, "samples": self.samples}, self.path + ".part")
        os.replace(self.path + ".part", self.path)

    def note(self, **values):
        for name, value in values.items():
            self.average[name] = 0.98 * self.average.get(name, value.item()) + 0.02 * value.item()

    def fool(self, made, target):
        """The judge of patches: what it holds against the generator's mouths."""
        for p in self.judge.parameters():
            p.requires_grad_(False)
        with torch.autocast(DEVICE, torch.bfloat16):
            said, seen = self.judge(made)
            with torch.no_grad():
                _, wanted = self.judge(target)
        for p in self.judge.parameters():
            p.requires_grad_(True)
        believed = -said.float().mean()
        alike = sum((a - b).abs().float().mean() for a, b in zip(seen, wanted))
        self.note(believed=believed, alike=alike)
        return 0.03 * believed + 0.12 * alike

    def teach_judge(self, made, target):
        with torch.autocast(DEVICE, torch.bfloat16):
            real, false = self.judge(target)[0].float(), self.judge(made.detach())[0].float()
        loss = F.relu(1 - real).mean() + F.relu(1 + false).mean()
        self.judge_optimizer.zero_grad()
        loss.backward()
        self.judge_optimizer.step()

    def listen(self, heard, asked):
        """What of the shapes asked for (and of whether the lips meet) the audio encoder has not heard."""
        said = self.ear(heard.flatten(1)).float()
        heard_not = F.smooth_l1_loss(said[:, :4], asked[:, :4], beta=0.2)
        meets_not = F.binary_cross_entropy_with_logits(said[:, 4], asked[:, 4])
        self.note(shapes=heard_not, meets=meets_not)
        return 0.3 * heard_not + 0.1 * meets_not

    @staticmethod
    def see(expert, made, target, asked):
        """The mouth's shape, which must be the target's, the opening most of all; where lips meet, a mouth that is
        more open is worse than one that is less; and what the expert saw on the way."""
        with torch.autocast(DEVICE, torch.bfloat16):
            said, seen = expert(F.avg_pool2d(made, 2))
            with torch.no_grad():
                true, wanted = expert(F.avg_pool2d(target, 2))
        said, true = said.float(), true.float()
        each = F.smooth_l1_loss(said, true, reduction="none").mean(0)
        apart = (asked[:, 4] * F.relu(said[:, 0] - true[:, 0])).mean()
        return (2 * each[0] + each[1] + each[2]) / 3 + apart, sum(
            (a - b).abs().float().mean() for a, b in zip(seen, wanted))

    def step(self, batch, expert, rate):
        window, target, reference, mouth, _, asked = batch
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(DEVICE, torch.bfloat16):
            heard = self.net.audio_encoder(window)
            made = self.net.show(heard[: len(target)], shown(target, reference))
            unheard = self.listen(heard, asked)
        made, w = made.float(), weights(mouth)
        pixels, squares = picture_loss(made, target, w), ((made - target) ** 2 * w).mean()
        mine, theirs = around(made, mouth), around(target, mouth)
        shape, features = self.see(expert, mine, theirs, asked[: len(target)])
        self.note(pixels=pixels, shape=shape, features=features, squares=squares)
        loss = pixels + 0.2 * shape + 0.08 * features + 3 * squares + unheard
        loss = loss + min(1, self.steps / 1500) * self.fool(mine, theirs)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.teach_judge(mine, theirs)
        self.steps += 1
        self.samples += len(made)
        with torch.no_grad():
            share = 1 - min(KEPT, self.steps / (self.steps + 20))
            for name, value in self.net.state_dict().items():
                if value.is_floating_point():
                    self.mean[name].lerp_(value, share)
                else:
                    self.mean[name].copy_(value)


def main(material, folder, seconds):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    seed = int(time.time())
    torch.manual_seed(seed)
    get = start_feeders(material, folder, seed)
    path = os.path.join(folder, "expert.pt")
    if not os.path.exists(path):
        torch.save(train_expert(get, 1500).state_dict(), path + ".part")
        os.replace(path + ".part", path)
    expert = Expert().to(DEVICE)
    expert.load_state_dict(torch.load(path, map_location=DEVICE))
    expert.requires_grad_(False)
    training = Training(folder)
    begun, first, kept, part = time.time(), training.steps, time.time(), 0.0
    while part < 1:
        fall = 1.0 if part < 1 - FALL else 0.5 + 0.5 * np.cos(np.pi * (part - 1 + FALL) / FALL)
        training.step(get(), expert, STEP * min(1, (training.steps - first + 1) / 200) * fall + 2e-5)
        now = time.time()
        part = (now - begun) / seconds
        if training.steps % 100 == 0:
            print("%d samples, %.0f a second:" % (training.samples, (training.steps - first) * BATCH / (now - begun)),
                  " ".join("%s %.4f" % item for item in training.average.items()), flush=True)
        if now - kept > 60:
            kept = now
            training.keep()
    training.keep()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
