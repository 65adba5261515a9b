#!/usr/bin/env python3
"""Twins of the published checkpoints at a fifth of their width, same names and depths: what diffusers computes.

tests/golden/models/twins.safetensors holds one U-Net call for each layout of weights_names.txt.gz and one decoding. The
parameters and inputs are drawn here as tests/block/twins.c draws them, from numbers that every format of a file can hold
(f8 included), so that the same output is right for each.

    python tests/golden/make_twins.py        from the source root; never run by the tests
"""
import os
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import weights_names_read as names  # noqa: E402
from random_weights import _mix, _str_hash  # noqa: E402

SEED, SIDE, LENGTH, TIME = 99, 8, 7, 501.0
torch.set_grad_enabled(False)


def levels(name, shape):
    """Whole numbers from -7 to 7."""
    key = _mix(np.uint64(SEED ^ _str_hash(name)))
    with np.errstate(over="ignore"):
        bits = _mix(key + np.arange(int(np.prod(shape)), dtype=np.uint64))
    j = bits.astype(np.int64) >> 40
    return ((((j + (1 << 23)) * 15) >> 24) - 7).reshape(shape)


def draw(name, shape):
    k = levels(name, shape)
    if len(shape) == 1:
        values = np.array([0.875, 1, 1, 1.25])[(k + 7) & 3] if name.endswith(".weight") else k / 64
    else:
        e, inputs = 0, int(np.prod(shape[1:]))
        while 4**e < 19 * inputs:
            e += 1
        values = k * 2.0**-e
    return torch.from_numpy(values.astype(np.float32))


def made(name, *shape):
    """An input: multiples of a quarter."""
    return torch.from_numpy((levels(name, shape) / 4).astype(np.float32))


def fill(module):
    module.load_state_dict({k: draw(k, tuple(v.shape)) for k, v in module.state_dict().items()})
    return module.eval()


def guidance_embedding(w, channels):
    half = channels // 2
    rate = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    return torch.cat([torch.sin(w * rate), torch.cos(w * rate)])[None]


def unet(checkpoint):
    c = dict(checkpoint.unet_config)
    unit = c["block_out_channels"][0]
    c["block_out_channels"] = [64 * n // unit for n in c["block_out_channels"]]
    if not isinstance(c["attention_head_dim"], int):
        c["attention_head_dim"] = [n // 64 for n in c["block_out_channels"]]
    model = fill(UNet2DConditionModel(**c))
    x = made("x", 1, SIDE, SIDE, c["in_channels"]).permute(0, 3, 1, 2)
    added, cond = None, None
    if c.get("addition_embed_type"):
        n = 5 if checkpoint.family == "refiner" else 6
        added = dict(text_embeds=made("pooled", 1, c["projection_class_embeddings_input_dim"] - 256 * n),
                     time_ids=torch.tensor([[1024.0, 768, 0, 16, 512, 640][:n]]))
    if "time_cond_proj_dim" in c:
        cond = guidance_embedding(torch.tensor(1000.0), c["time_cond_proj_dim"])
    out = model(x, torch.tensor(TIME), made("text", 1, LENGTH, c["cross_attention_dim"]), timestep_cond=cond,
                added_cond_kwargs=added).sample
    return out.permute(0, 2, 3, 1).contiguous()


out = {}
for checkpoint in names.read():
    out[checkpoint.name] = unet(checkpoint)
    print(checkpoint.name, float(out[checkpoint.name].std()), flush=True)
vae = fill(AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                         block_out_channels=(32, 64, 128, 128), layers_per_block=2))
out["vae"] = vae.decode(made("latent", 1, 2, 2, 4).permute(0, 3, 1, 2)).sample.permute(0, 2, 3, 1).contiguous()
print("vae", float(out["vae"].std()))
save_file(out, "tests/golden/models/twins.safetensors")
os.chmod("tests/golden/models/twins.safetensors", 0o644)
