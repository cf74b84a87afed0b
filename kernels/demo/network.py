# SPDX-License-Identifier: Apache-2.0
"""Wav2Lip-96 in PyTorch with free widths: the layers, kernels, strides, skips and tensor names of the original
(WAV2LIP.md, section 4), so that its checkpoints and ours are read by the same loader."""
import torch
from torch import nn

# Channels of the face encoder's and the audio encoder's levels, of the decoder's, and of the output block.
FULL = {"face": [16, 32, 64, 128, 256, 512, 512], "audio": [32, 64, 128, 256, 512],
        "decoder": [512, 512, 512, 384, 256, 128, 64], "output": 32}
SMALL = {"face": [16, 16, 32, 32, 64, 128, 128], "audio": [16, 32, 48, 64, 128],
         "decoder": [128, 128, 128, 96, 64, 32, 16], "output": 16}


class Conv2d(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, padding, residual=False):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x):
        y = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


class Conv2dTranspose(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, padding, output_padding=0):
        super().__init__()
        conv = nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, output_padding)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        return torch.relu(self.conv_block(x))


def _residuals(channels, count):
    return [Conv2d(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


def _down(inputs, outputs, residuals):
    return nn.Sequential(Conv2d(inputs, outputs, 3, 2, 1), *_residuals(outputs, residuals))


def _up(inputs, outputs, residuals):
    return nn.Sequential(Conv2dTranspose(inputs, outputs, 3, 2, 1, 1), *_residuals(outputs, residuals))


def audio_encoder(a):
    return nn.Sequential(
        Conv2d(1, a[0], 3, 1, 1), *_residuals(a[0], 2), Conv2d(a[0], a[1], 3, (3, 1), 1), *_residuals(a[1], 2),
        Conv2d(a[1], a[2], 3, 3, 1), *_residuals(a[2], 2), Conv2d(a[2], a[3], 3, (3, 2), 1), *_residuals(a[3], 1),
        Conv2d(a[3], a[4], 3, 1, 0), Conv2d(a[4], a[4], 1, 1, 0))


class Wav2Lip(nn.Module):
    def __init__(self, widths=SMALL):
        super().__init__()
        e, a, d, o = widths["face"], widths["audio"], widths["decoder"], widths["output"]
        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(Conv2d(6, e[0], 7, 1, 3)), _down(e[0], e[1], 2), _down(e[1], e[2], 3), _down(e[2], e[3], 2),
            _down(e[3], e[4], 2), _down(e[4], e[5], 1),
            nn.Sequential(Conv2d(e[5], e[6], 3, 1, 0), Conv2d(e[6], e[6], 1, 1, 0))])
        self.audio_encoder = audio_encoder(a)
        self.face_decoder_blocks = nn.ModuleList([
            nn.Sequential(Conv2d(a[4], d[0], 1, 1, 0)),
            nn.Sequential(Conv2dTranspose(d[0] + e[6], d[1], 3, 1, 0), *_residuals(d[1], 1)),
            _up(d[1] + e[5], d[2], 2), _up(d[2] + e[4], d[3], 2), _up(d[3] + e[3], d[4], 2),
            _up(d[4] + e[2], d[5], 2), _up(d[5] + e[1], d[6], 2)])
        self.output_block = nn.Sequential(Conv2d(d[6] + e[0], o, 3, 1, 1), nn.Conv2d(o, 3, 1, 1, 0), nn.Sigmoid())

    def forward(self, mel, face):
        """mel [N, 1, 80, 16]; face [N, 6, 96, 96], BGR 0..1, its first three channels black from row 48 on
        -> [N, 3, 96, 96]"""
        return self.show(self.audio_encoder(mel), face)

    def show(self, x, face):
        """x: what the audio encoder makes of the window."""
        skips = []
        for block in self.face_encoder_blocks:
            face = block(face)
            skips.append(face)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), skips.pop()], 1)
        return self.output_block(x)


def widths(state):
    """Those of a checkpoint's state dict."""
    plain = lambda name: state[name + ".conv_block.0.weight"].shape[0]  # noqa: E731
    turned = lambda name: state[name + ".conv_block.0.weight"].shape[1]  # noqa: E731
    return {"face": [plain("face_encoder_blocks.%d.0" % i) for i in range(7)],
            "audio": [plain("audio_encoder.%d" % i) for i in (0, 3, 6, 9, 11)],
            "decoder": [plain("face_decoder_blocks.0.0")] + [turned("face_decoder_blocks.%d.0" % i)
                                                             for i in range(1, 7)],
            "output": plain("output_block.0")}


@torch.no_grad()
def start_as_copy(net):
    """Begin as 'show the reference': the first skip carries raw pixels, the output block passes them on. A believable
    face from the first minute, and the mouth is learned as a change to it."""
    conv, norm = net.face_encoder_blocks[0][0].conv_block
    skip = net.output_block[0].conv_block[0].in_channels - conv.out_channels
    for i in range(6):
        conv.weight[i] = 0
        conv.weight[i, i, 3, 3] = 1
        conv.bias[i] = 0
        norm.weight[i] = 0.25
        norm.bias[i] = 0.4 if i > 2 else 0.2
    conv, norm = net.output_block[0].conv_block
    last = net.output_block[1]
    for i in range(3):
        conv.weight[i] *= 0.1
        conv.weight[i, skip + 3 + i, 1, 1] = 1
        norm.weight[i] = 0.25
        norm.bias[i] = 0.45
        last.weight[i] *= 0.1
        last.weight[i, i] = 4.5
        last.bias[i] = -2.1
