#!/usr/bin/env python3
"""Writes tests/golden/ops.bin: what PyTorch says of every op in compute/op.def.

A case is a line such as `conv2d b=2 h=5 w=7 i=3 o=8 k=3 s=2 p=1`; the C tests read the lines from the file and record the
same op. Inputs come from a generator that both sides have (value()), so that only outputs are stored: at most SAMPLES of
them, spread evenly, with the sum and the norm of all. Values are multiples of 1/64 below 2: exact in f32, f16 and bf16.
"""
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

SAMPLES = 512
torch.set_grad_enabled(False)


def value(key, shape, scale=1.0):
    h = 0xCBF29CE484222325
    for byte in key.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    k = (z >> np.uint64(56)).astype(np.int64) - 128
    return torch.from_numpy(k.astype(np.float64) / 64 * scale).reshape(shape)


CASES = []


def cases(op, *lines):
    CASES.extend(f"{op} {line}".strip() for line in lines)


# b, h, w: batch, height, width; i, o: channels in and out; k: kernel; s: stride; p: padding; e: pad_end; n: no bias.
cases("conv2d", "b=1 h=1 w=1 i=1 o=1 k=1", "b=1 h=1 w=1 i=1 o=1 k=3", "b=2 h=5 w=7 i=3 o=8 k=3", "b=1 h=9 w=4 i=4 o=32 k=3",
      "b=1 h=8 w=8 i=32 o=4 k=3", "b=3 h=6 w=6 i=16 o=16 k=1", "b=1 h=7 w=5 i=13 o=17 k=3 n=1", "b=2 h=8 w=8 i=16 o=24 k=3 s=2",
      "b=1 h=9 w=9 i=8 o=8 k=3 s=2", "b=1 h=8 w=8 i=16 o=16 k=3 s=2 p=0 e=1", "b=2 h=7 w=9 i=5 o=6 k=3 s=2 p=0 e=1",
      "b=1 h=12 w=10 i=40 o=72 k=3", "b=1 h=17 w=16 i=64 o=64 k=3", "b=1 h=4 w=4 i=320 o=64 k=3", "b=2 h=3 w=3 i=48 o=3 k=1",
      "b=1 h=2 w=30 i=24 o=40 k=3", "b=1 h=1 w=19 i=8 o=16 k=3", "b=2 h=9 w=13 i=17 o=19 k=3",
      "b=3 h=8 w=8 i=70 o=33 k=3 n=1", "b=1 h=30 w=41 i=16 o=16 k=3", "b=1 h=60 w=60 i=130 o=16 k=3", "b=1 h=5 w=5 i=6 o=10 k=3 p=0", "b=1 h=2 w=2 i=2 o=3 k=2 p=0",
      # whole blocks of 32 channels
      "b=2 h=9 w=17 i=32 o=64 k=3", "b=1 h=11 w=10 i=96 o=32 k=3 s=2", "b=2 h=10 w=8 i=64 o=96 k=3 s=2 p=0 e=1", "b=3 h=5 w=4 i=64 o=32 k=1",
      "b=1 h=16 w=24 i=64 o=160 k=3 n=1", "b=1 h=20 w=9 i=320 o=32 k=3", "b=2 h=13 w=14 i=32 o=32 k=3 p=0")
# r: rows; i, o.
cases("linear", "r=1 i=1 o=1", "r=1 i=320 o=1280", "r=77 i=768 o=64", "r=64 i=40 o=40 n=1", "r=5 i=13 o=17", "r=130 i=96 o=33",
      "b=2 r=9 i=64 o=48", "r=3 i=1280 o=24", "r=48 i=16 o=1", "r=33 i=1 o=16",
      "b=2 r=70 i=64 o=96", "r=130 i=96 o=160 n=1", "r=300 i=768 o=32")
# l: queries; m: keys; c: heads; d: head size; causal; z: scale of the scores, 0 = default.
cases("attention", "b=1 l=1 m=1 c=1 d=1", "b=2 l=16 m=16 c=2 d=40", "b=1 l=64 m=77 c=4 d=40", "b=1 l=100 m=100 c=1 d=80",
      "b=2 l=5 m=77 c=2 d=160", "b=1 l=77 m=77 c=3 d=64 causal=1", "b=1 l=200 m=200 c=1 d=32 causal=1", "b=1 l=49 m=97 c=1 d=512",
      "b=3 l=7 m=3 c=2 d=8", "b=1 l=13 m=35 c=5 d=7", "b=1 l=1 m=1 c=1 d=3 causal=1", "b=1 l=300 m=290 c=2 d=16",
      "b=1 l=48 m=96 c=1 d=24 z=1", "b=1 l=97 m=193 c=1 d=33", "b=2 l=50 m=50 c=1 d=48 causal=1")
# g: groups.
cases("group_norm", "b=1 h=1 w=1 c=4 g=2", "b=2 h=4 w=4 c=32 g=32", "b=2 h=5 w=7 c=64 g=32", "b=1 h=16 w=16 c=96 g=32",
      "b=1 h=9 w=3 c=10 g=5", "b=3 h=2 w=2 c=6 g=1 eps=1e-6", "b=1 h=40 w=30 c=320 g=32", "b=1 h=8 w=8 c=64 g=4 shift=100",
      "b=1 h=20 w=20 c=8 g=8 n=1")
cases("layer_norm", "r=1 c=2", "r=77 c=768", "r=5 c=13", "r=64 c=40", "r=9 c=320 n=1", "b=2 r=3 c=1280", "r=4 c=64 shift=100")
for op in ("silu", "gelu", "quick_gelu", "relu"):
    cases(op, "r=1 c=1", "r=77 c=13", "r=9 c=1280 scale=8", "b=2 r=33 c=40")
cases("soft_clamp", "r=1 c=1", "r=64 c=4 scale=4", "r=77 c=13")
cases("geglu", "r=1 c=1", "r=77 c=40", "r=5 c=1300", "b=2 r=9 c=33 scale=4")
# kind: same, channels ([B,C] over [B,H,W,C]), rows ([1,L,C] over [B,L,C]).
cases("add", "kind=same b=2 h=3 w=5 c=7", "kind=channels b=2 h=4 w=5 c=33", "kind=channels b=3 h=1 w=1 c=1",
      "kind=rows b=3 h=1 w=77 c=40", "kind=same b=1 h=40 w=40 c=20", "kind=channels b=2 h=1 w=9 c=1300")
cases("scale", "r=1 c=1 f=0.5", "r=77 c=130 f=-1.25", "b=2 r=3 c=40 f=0.18215")
cases("concat", "b=1 h=1 w=1 c=1 d=1", "b=2 h=5 w=3 c=7 d=32", "b=1 h=8 w=8 c=64 d=32", "b=3 h=1 w=7 c=40 d=1")
cases("upsample_nearest", "b=1 h=1 w=1 c=1 y=2 x=2", "b=2 h=3 w=5 c=7 y=6 x=10", "b=1 h=4 w=4 c=32 y=8 x=8",
      "b=1 h=3 w=3 c=5 y=5 x=7", "b=1 h=5 w=4 c=3 y=9 x=8")
# n: rows of the table; t: the table is a tensor.
cases("embedding", "r=1 n=1 c=1", "r=77 n=300 c=40", "b=3 r=5 n=9 c=13", "r=6 n=20 c=768", "r=4 n=18 c=24 t=1")
cases("time_embedding", "n=1 c=2", "n=2 c=320 cos=1", "n=6 c=256 cos=1", "n=3 c=32 shift=1", "n=1000 c=8 cos=1")
cases("reshape", "b=2 h=4 w=6 c=8", "b=1 h=1 w=1 c=1")


def parse(line):
    op, *rest = line.split()
    p = dict(word.split("=") for word in rest)
    return op, {k: v for k, v in p.items()}


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def run(line):
    op, p = parse(line)

    def n(key, default=None):
        return int(p[key]) if key in p else default

    def v(name, *shape, scale=1.0):
        return value(f"{line}/{name}", shape, scale)

    scale = float(p.get("scale", 1))
    shift = float(p.get("shift", 0))
    rows = [n("b")] * ("b" in p) + [n("r")]
    if op == "conv2d":
        x, k = v("x", n("b"), n("h"), n("w"), n("i")), n("k")
        w = v("w", n("o"), n("i"), k, k, scale=0.25)
        b = None if n("n") else v("bias", n("o"))
        x = channels_first(x)
        if n("e"):
            x = F.pad(x, (0, 1, 0, 1))
        return channels_last(F.conv2d(x, w, b, stride=n("s", 1), padding=n("p", k // 2)))
    if op == "linear":
        return F.linear(v("x", *rows, n("i")), v("w", n("o"), n("i"), scale=0.25), None if n("n") else v("bias", n("o")))
    if op == "attention":
        b, l, m, h, d = (n(k) for k in "blmcd")
        q, k, x = v("q", b, l, h * d), v("k", b, m, h * d), v("v", b, m, h * d)
        split = lambda t: t.reshape(b, -1, h, d).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(q), split(k), split(x), is_causal=bool(n("causal", 0)),
                                           scale=float(p["z"]) if "z" in p else None)
        return y.transpose(1, 2).reshape(b, l, h * d)
    if op == "group_norm":
        x = channels_first(v("x", n("b"), n("h"), n("w"), n("c")) + shift)
        w, b = (None, None) if n("n") else (v("w", n("c")), v("bias", n("c")))
        return channels_last(F.group_norm(x, n("g"), w, b, float(p.get("eps", 1e-5))))
    if op == "layer_norm":
        w, b = (None, None) if n("n") else (v("w", n("c")), v("bias", n("c")))
        return F.layer_norm(v("x", *rows, n("c")) + shift, (n("c"),), w, b, 1e-5)
    if op in ("silu", "gelu", "quick_gelu", "relu", "soft_clamp"):
        x = v("x", *rows, n("c"), scale=scale)
        return {"silu": F.silu, "gelu": F.gelu, "relu": F.relu, "quick_gelu": lambda t: t * torch.sigmoid(1.702 * t),
                "soft_clamp": lambda t: torch.tanh(t / 3) * 3}[op](x)
    if op == "geglu":
        x, gate = v("x", *rows, 2 * n("c"), scale=scale).chunk(2, dim=-1)
        return x * F.gelu(gate)
    if op == "add":
        b, h, w, c = (n(k) for k in "bhwc")
        if p["kind"] == "rows":
            return v("x", b, w, c) + v("y", 1, w, c)
        y = v("y", b, c)[:, None, None, :] if p["kind"] == "channels" else v("y", b, h, w, c)
        return v("x", b, h, w, c) + y
    if op == "scale":
        return v("x", *rows, n("c")) * float(np.float32(p["f"]))
    if op == "concat":
        b, h, w, c, d = (n(k) for k in "bhwcd")
        return torch.cat((v("x", b, h, w, c), v("y", b, h, w, d)), dim=-1)
    if op == "upsample_nearest":
        x = channels_first(v("x", n("b"), n("h"), n("w"), n("c")))
        return channels_last(F.interpolate(x, size=(n("y"), n("x")), mode="nearest"))
    if op == "embedding":
        ids = ((v("ids", *rows) * 64 + 128).long() * 7) % n("n")
        return F.embedding(ids, v("w", n("n"), n("c")))
    if op == "time_embedding":
        from diffusers.models.embeddings import get_timestep_embedding

        steps = ((v("steps", n("n")) * 64 + 128).long() * 4 % 1000).float()
        return get_timestep_embedding(steps, n("c"), flip_sin_to_cos=bool(n("cos", 0)), downscale_freq_shift=shift)
    if op == "reshape":
        return v("x", n("b"), n("h"), n("w"), n("c"))
    raise ValueError(line)


def main(path):
    with open(path, "wb") as f:
        f.write(struct.pack("<8sI", b"figops1\0", len(CASES)))
        for line in CASES:
            y = run(line).double().contiguous().flatten().numpy()
            every = max(1, -(-y.size // SAMPLES))
            samples = y[::every].astype("<f4")
            f.write(struct.pack("<I", len(line)) + line.encode())
            f.write(struct.pack("<IIIdd", y.size, every, samples.size, y.sum(), np.sqrt((y * y).sum())))
            f.write(samples.tobytes())
    print(len(CASES), "cases")


main(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/ops.bin")
