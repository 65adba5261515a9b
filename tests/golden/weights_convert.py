#!/usr/bin/env python3
"""Makes weights_convert.h: digests of PyTorch's conversions between number formats.

The inputs are all of a small format, or the edges between its neighbours, in an order that the test builds
again; NaNs are left out where their payload is nobody's business."""
import hashlib
import numpy
import torch


def digest(tensor):
    data = tensor.contiguous()
    size = data.element_size()
    data = data.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[size]).numpy()
    return hashlib.sha256(data.tobytes()).hexdigest()


def floats(bits):
    return torch.from_numpy(bits.astype(numpy.uint32).view(numpy.float32))


all16 = torch.from_numpy(numpy.arange(65536, dtype=numpy.uint16).view(numpy.int16))
all8 = torch.arange(256, dtype=torch.int64).to(torch.uint8)
half = all16.view(torch.float16).float()
out = {"F16_TO_F32": digest(torch.where(half.isnan(), 0.0, half)),
       "BF16_TO_F32": digest(torch.where(all16.view(torch.bfloat16).isnan(), 0.0,
                                         all16.view(torch.bfloat16).float()))}
for name, dtype in ("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2):
    f = all8.view(dtype).float()
    out[name + "_TO_F32"] = digest(torch.where(f.isnan(), 0.0, f))

# Around each half and the middle to the next one; and as many bits above the largest.
bits = half[half.isfinite()].numpy().view(numpy.uint32).astype(numpy.int64)
edges = (bits[:, None] + numpy.array([0, 1, 0xfff, 0x1000, 0x1001, 0x1fff])[None]).reshape(-1)
out["F32_TO_F16"] = digest(floats(edges).half())
# Subnormal halves lie 2^-24 apart: their middles, and a bit to both sides.
middles = (torch.arange(2048, dtype=torch.float32) + 0.5) * 2.0 ** -24
mid = middles.numpy().view(numpy.uint32).astype(numpy.int64)
out["F32_TO_F16_SUBNORMAL"] = digest(floats((mid[:, None] + numpy.array([-1, 0, 1])[None]).reshape(-1)).half())
high = numpy.arange(65536, dtype=numpy.int64) << 16
edges = (high[:, None] + numpy.array([0, 1, 0x7fff, 0x8000, 0x8001, 0xffff])[None]).reshape(-1)
f = floats(edges)
b = f.bfloat16()
out["F32_TO_BF16"] = digest(torch.where(f.isnan(), torch.zeros_like(b), b))

with open(__file__.replace(".py", ".h"), "w") as file:
    file.write("/* Made by weights_convert.py with PyTorch " + torch.__version__.split("+")[0] + ". */\n")
    for name, value in out.items():
        file.write(f"#define GOLDEN_{name} \\\n    \"{value}\"\n")
