# SPDX-License-Identifier: Apache-2.0
"""A network of S3FD's shape (Zhang et al., ICCV 2017: VGG-16, two more stages, six heads), random weights: what the
original program looks for faces with on every frame at full size. For its cost alone; what it finds means nothing."""
import torch
from torch import nn
from torch.nn import functional as F

VGG = [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]]


class Scaled(nn.Module):
    """Each pixel's channels as a vector of length 1, times a weight for each channel."""

    def __init__(self, channels, scale):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, channels, 1, 1), float(scale)))

    def forward(self, x):
        return x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) * self.weight


class S3fd(nn.Module):
    def __init__(self):
        super().__init__()
        stages, before = [], 3
        for widths in VGG:
            layers = []
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU(inplace=True)]
                before = width
            stages.append(nn.Sequential(*layers))
        conv = lambda i, o, k, s, p: nn.Sequential(nn.Conv2d(i, o, k, s, p), nn.ReLU(inplace=True))  # noqa: E731
        self.stages = nn.ModuleList(stages)
        self.extra = nn.ModuleList([nn.Sequential(conv(512, 1024, 3, 1, 3), conv(1024, 1024, 1, 1, 0)),
                                    nn.Sequential(conv(1024, 256, 1, 1, 0), conv(256, 512, 3, 2, 1)),
                                    nn.Sequential(conv(512, 128, 1, 1, 0), conv(128, 256, 3, 2, 1))])
        self.scaled = nn.ModuleList([Scaled(256, 10), Scaled(512, 8), Scaled(512, 5)])
        widths = [256, 512, 512, 1024, 512, 256]
        # The finest head says "no face" in three ways, of which the most certain counts.
        self.scores = nn.ModuleList([nn.Conv2d(w, 2 if i else 4, 3, 1, 1) for i, w in enumerate(widths)])
        self.boxes = nn.ModuleList([nn.Conv2d(w, 4, 3, 1, 1) for w in widths])

    def forward(self, x):
        """x [n][3][h][w]; a pair of maps, scores and boxes, for each of six sizes."""
        seen = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i >= 2:
                seen.append(self.scaled[i - 2](x))
            x = F.max_pool2d(x, 2)
        for stage in self.extra:
            x = stage(x)
            seen.append(x)
        out = []
        for i, (x, scores, boxes) in enumerate(zip(seen, self.scores, self.boxes)):
            score = scores(x)
            if i == 0:
                score = torch.cat([score[:, :3].max(1, keepdim=True)[0], score[:, 3:]], 1)
            out.append((score.softmax(1), boxes(x)))
        return out


def prepare(frame):
    """BGR bytes to what it sees: RGB less a mean, in the order in which the original subtracts it."""
    x = frame[..., ::-1].astype("float32") - (104, 117, 123)
    return torch.from_numpy(x.transpose(2, 0, 1)[None].astype("float32"))
