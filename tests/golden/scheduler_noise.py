#!/usr/bin/env python3
"""Prints the expected values of tests/scheduler/noise.c. Needs torch (an AVX2 build on a CPU with
AVX2) and numpy. rng.py and rng_philox.py below are A1111's formulas, written again here."""
import hashlib
import numpy as np
import torch

f = np.float32


def bits(a):
    return ", ".join(f"0x{v:08x}" for v in np.asarray(a, f).view(np.uint32))


def sha(a):
    return hashlib.sha256(np.ascontiguousarray(a, f).tobytes()).hexdigest()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def philox(seed, draw, n):
    m = np.uint64(0xFFFFFFFF)
    c = np.zeros((4, n), np.uint64)
    c[0] = draw
    c[2] = np.arange(n)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = np.stack([(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), b & m,
                      (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), a & m])
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    unit, angle = np.array([2.3283064e-10], f), np.array([2.3283064e-10 * 6.2831855], f)
    x, y = c[0].astype(np.uint32), c[1].astype(np.uint32)
    u, v = x * unit + unit / 2, y * angle + angle / 2
    return (np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(f)


def slerp(val, low, high):
    low_norm = low / torch.norm(low, dim=1, keepdim=True)
    high_norm = high / torch.norm(high, dim=1, keepdim=True)
    dot = (low_norm * high_norm).sum(1)
    if dot.mean() > 0.9995:
        return low * val + high * (1 - val)
    omega = torch.acos(dot)
    so = torch.sin(omega)
    return ((torch.sin((1.0 - val) * omega) / so).unsqueeze(1) * low
            + (torch.sin(val * omega) / so).unsqueeze(1) * high)


def resized(seed, shape, small):
    noise = torch.randn(small, generator=generator(seed))
    g = generator(seed)
    x = torch.randn(shape, generator=g)
    dx, dy = (shape[2] - small[2]) // 2, (shape[1] - small[1]) // 2
    w = small[2] if dx >= 0 else small[2] + 2 * dx
    h = small[1] if dy >= 0 else small[1] + 2 * dy
    tx, ty, dx, dy = max(dx, 0), max(dy, 0), max(-dx, 0), max(-dy, 0)
    x[:, ty:ty + h, tx:tx + w] = noise[:, dy:dy + h, dx:dx + w]
    return x, torch.randn(shape, generator=g)


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
for seed in (0, 42, 2**32 + 5, 2**63 - 1):
    for sizes in ((3, 4, 9), (16,), (17, 15, 31), (4 * 64 * 64,)):
        g = generator(seed)
        a = np.concatenate([torch.randn(n, generator=g).numpy() for n in sizes])
        print(seed, sizes, bits(a[:2]), sha(a))
print("philox", bits(np.concatenate([philox(2**40 + 17, d, 3) for d in range(2)])),
      sha(np.concatenate([philox(2**40 + 17, d, 4096) for d in range(3)])))
shape = (2, 4, 3)
low, high = (torch.randn(shape, generator=generator(s)) for s in (1, 2))
print("slerp", slerp(0.3, low, high).flatten().tolist())
print("near", slerp(0.3, low, low + 1e-3 * high).flatten().tolist())
for big, small in (((1, 4, 5), (1, 2, 3)), ((1, 2, 3), (1, 5, 4))):
    x, after = resized(9, big, small)
    print("resize", big, small, x.flatten().tolist(), "then", after.flatten()[:2].tolist())
