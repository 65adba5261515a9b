"""The parameters that weights/random.c draws, drawn again in numpy: bit for bit the same floats, so
that a golden needs no weights in the repository."""
import numpy as np
import torch


def _mix(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _str_hash(name):  # GLib's g_str_hash()
    h = 5381
    for c in name.encode():
        h = (h * 33 + c) & 0xFFFFFFFF
    return h


BRANCH_ENDS = (".conv2.weight", ".to_out.0.weight", ".ff.net.2.weight", ".proj_out.weight")


def draw(name, shape, seed, branches=0.5):
    count = int(np.prod(shape))
    key = _mix(np.uint64(seed ^ _str_hash(name)))
    with np.errstate(over="ignore"):
        bits = _mix(key + np.arange(count, dtype=np.uint64))
    u = (bits.astype(np.int64) >> 40).astype(np.float32) * np.float32(2.0**-23)
    if len(shape) > 1:
        inputs = count // shape[0]
        size = np.sqrt(np.float32(3) / np.float32(inputs))
        values = (size * np.float32(branches) if name.endswith(BRANCH_ENDS) else size) * u
    else:
        values = np.float32(1 if name.endswith(".weight") else 0) + np.float32(0.1) * u
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def fill(module, seed, branches=0.5):
    """Replaces all parameters of a diffusers or transformers module."""
    module.load_state_dict({k: draw(k, tuple(v.shape), seed, branches) for k, v in module.state_dict().items()})
    return module.eval().requires_grad_(False)
