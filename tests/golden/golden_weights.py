#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small checkpoints that tests/unit/weights.c reads: torch's legacy stream and its zip
archive. Values are k / 4 + n for value k of tensor number n, exact in every type. The checkpoint has what
a training script leaves in it: an optimizer's state, counters, a nested list. Needs torch; run once."""
import os
import sys
from collections import OrderedDict

import torch

HERE = os.path.dirname(os.path.abspath(__file__))


def values(n, *shape, dtype=torch.float32):
    count = 1
    for d in shape:
        count *= d
    return (torch.arange(count) / 4 + n).reshape(shape).to(dtype)


def state():
    shared = values(6, 6)
    s = OrderedDict()
    s["module.f32"] = values(0, 2, 3)
    s["module.f16"] = values(1, 4, dtype=torch.float16)
    s["module.bf16"] = values(2, 2, 2, dtype=torch.bfloat16)
    s["module.f64"] = values(3, 3, dtype=torch.float64)
    s["module.conv.weight"] = values(4, 2, 1, 3, 3)
    s["module.num_batches_tracked"] = torch.tensor(1234567)
    s["module.whole"] = torch.full((2,), 5, dtype=torch.int64)
    s["module.first"] = shared[:3]  # two views of one storage
    s["module.second"] = shared[3:]
    s["module.one"] = values(7, 1, 4).t()[:1]  # strides that mean nothing: [1, 1]
    s["module.i32"] = torch.tensor([-3, 7], dtype=torch.int32)
    s["module.u8"] = torch.tensor([0, 200, 255], dtype=torch.uint8)
    s._metadata = OrderedDict([("", {"version": 1})])  # as Module.state_dict leaves it
    return s


def checkpoint():
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-4)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {"state_dict": state(), "optimizer": optimizer.state_dict(), "global_step": 250000,
            "global_epoch": -12, "nested": [[1, [2.5, None]], {"a": (1, 2, 3, 4)}, True, 1 << 40]}


torch.manual_seed(1)
for name, zipped in (("legacy.pth", False), ("zip.pth", True)):
    torch.save(checkpoint(), os.path.join(HERE, name), _use_new_zipfile_serialization=zipped)
torch.save(OrderedDict([("weight", torch.nn.Parameter(values(0, 2, 2)))]),
           os.path.join(HERE, "plain.pth"), _use_new_zipfile_serialization=False)
torch.save({"a": values(0, 2, 3).t()}, os.path.join(HERE, "strided.pth"),
           _use_new_zipfile_serialization=False)
with open(os.path.join(HERE, "weights.txt"), "w") as f:
    f.write("*.pth: golden_weights.py, torch %s, Python %s\n" % (torch.__version__, sys.version.split()[0]))
