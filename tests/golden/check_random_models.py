"""Compares the networks with diffusers on models that are in no repository.

    python tests/golden/check_random_models.py build/tests/block/dump_model [--count 8] [--seed 1]
        [--device cpu] [--precision f32] [--full sd15|sd21|sdxl] [--size 64]

Draws configurations, saves each as a diffusers folder with random parameters, runs both on the same
inputs, and prints the relative error of every block's output. Exits with 1 when one is too large.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

from make_models import CROSS, DECODER, ENCODER, PLAIN, UP_CROSS, UP_PLAIN, call_unet, nhwc, run_vae, watch_unet
from random_weights import fill

FULL = {
    "sd15": (dict(cross_attention_dim=768, attention_head_dim=8, sample_size=64), {}),
    "sd21": (dict(cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True,
                  sample_size=96), {}),
    "sdxl": (dict(cross_attention_dim=2048, attention_head_dim=[5, 10, 20], block_out_channels=[320, 640, 1280],
                  transformer_layers_per_block=[1, 2, 10], down_block_types=[PLAIN, CROSS, CROSS],
                  up_block_types=[UP_CROSS, UP_CROSS, UP_PLAIN], use_linear_projection=True,
                  addition_embed_type="text_time", addition_time_embed_dim=256,
                  projection_class_embeddings_input_dim=2816, sample_size=128), dict(pooled=1280, sizes=6)),
}


def draw_unet(r):
    levels, groups = r.randint(1, 4), r.choice([4, 8, 16])
    heads = [r.choice([1, 2, 4]) for _ in range(levels)]
    channels = [groups * r.choice([4, 8, 12]) for _ in range(levels)]
    text = [r.random() < 0.6 for _ in range(levels)]
    layers = r.choice([1, 2, 2, [r.randint(1, 3) for _ in range(levels)]])
    config = dict(
        block_out_channels=channels, norm_num_groups=groups, attention_head_dim=r.choice([heads, 4]),
        down_block_types=[CROSS if t else PLAIN for t in text],
        up_block_types=[UP_CROSS if t else UP_PLAIN for t in reversed(text)], layers_per_block=layers,
        cross_attention_dim=r.choice([16, 24, 56]), use_linear_projection=r.random() < 0.5,
        transformer_layers_per_block=r.choice([1, 2, [r.randint(1, 3) for _ in range(levels)]]),
        in_channels=r.choice([4, 4, 8, 9]), norm_eps=r.choice([1e-5, 1e-6]),
        mid_block_type=r.choice(["UNetMidBlock2DCrossAttn"] * 3 + ["UNetMidBlock2D", None]),
        flip_sin_to_cos=r.random() < 0.8, freq_shift=r.choice([0, 0, 1]))
    extra = {}
    if r.random() < 0.4:
        pooled, each, sizes = r.choice([10, 24]), r.choice([4, 8]), r.choice([5, 6])
        config.update(addition_embed_type="text_time", addition_time_embed_dim=each,
                      projection_class_embeddings_input_dim=pooled + sizes * each)
        extra.update(pooled=pooled, sizes=sizes)
    if r.random() < 0.3:
        config.update(time_cond_proj_dim=r.choice([8, 16]))
        extra.update(guidance=True)
    return config, extra


def draw_vae(r):
    levels, groups = r.randint(2, 4), r.choice([2, 4, 8])
    return dict(block_out_channels=[groups * r.choice([1, 2, 4]) for _ in range(levels)],
                down_block_types=[ENCODER] * levels, up_block_types=[DECODER] * levels,
                layers_per_block=r.randint(1, 3), norm_num_groups=groups, latent_channels=r.choice([4, 8, 16]),
                use_quant_conv=r.random() < 0.7, use_post_quant_conv=r.random() < 0.7,
                mid_block_add_attention=r.random() < 0.8)


def inputs(config, extra, seed, batch, height, width, length):
    g = torch.Generator().manual_seed(seed)
    made = dict(x=torch.randn(batch, config.get("in_channels", 4), height, width, generator=g),
                text=torch.randn(batch, length, config["cross_attention_dim"], generator=g),
                steps=torch.full((batch,), float(torch.randint(1000, (1,), generator=g))))
    if "pooled" in extra:
        made["pooled"] = torch.randn(batch, extra["pooled"], generator=g)
        made["sizes"] = torch.tensor([512.0, 768, 0, 8, 640, 512])[:extra["sizes"]].repeat(batch)
    if "guidance" in extra:
        made["guidance"] = torch.full((batch,), 1000.0)
    return made


def compare(expected, got, bound, label):
    worst, where = 0.0, ""
    for name in got:
        e, g = expected[name].double(), got[name].double()
        error = float((e - g).norm() / e.norm()) if e.shape == g.shape else float("inf")
        if not error <= worst:
            worst, where = error, name
    print(f"{'ok  ' if worst <= bound else 'FAIL'} {label}: {len(got)} tensors, worst {worst:.2e} at {where}", flush=True)
    return worst <= bound


def run(args, folder, given, label, expected, bound):
    save_file({k: nhwc(v) for k, v in given.items()}, folder / "in.safetensors")
    out = subprocess.run([args.program, folder, folder / "in.safetensors", folder / "out.safetensors", args.device,
                          args.precision], check=True, stdout=subprocess.PIPE, text=True).stdout
    got = load_file(folder / "out.safetensors")
    ok = compare({k: nhwc(v) for k, v in expected.items()}, got, bound, label)
    if args.full:
        print("     " + out.strip().replace("\n", "\n     "))
    return ok


def check_unet(args, folder, config, extra, seed, batch, height, width, length, bound):
    unet = fill(UNet2DConditionModel(**config), seed)
    if args.full:
        unet.half()
    unet.save_pretrained(folder / "unet")
    unet.float()
    given, seen = inputs(config, extra, seed, batch, height, width, length), {}
    watch_unet(seen, unet)
    start = time.monotonic()
    call_unet(unet, config, given, 0)
    label = f"unet {config['block_out_channels'] if 'block_out_channels' in config else args.full} {batch}x{height}x{width}"
    if args.full:
        print(f"     diffusers on this machine: {time.monotonic() - start:.2f} s")
    del unet
    return run(args, folder, given, label, seen, bound)


def check_vae(args, folder, config, seed, batch, height, width, bound):
    vae = fill(AutoencoderKL(**config), seed)
    vae.save_pretrained(folder / "vae")
    expected = run_vae(vae, seed, batch, height, width, small=False)
    given = {k: expected.pop(k) for k in ("z", "picture")}
    return run(args, folder, given, f"vae {config['block_out_channels']} {batch}x{height}x{width}", expected, bound)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--full", choices=FULL)
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    bound, ok = (1e-4 if args.precision == "f32" else 2e-2), True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "model_index.json").write_text(json.dumps(dict(
            _class_name="StableDiffusionPipeline", unet=["diffusers", "UNet2DConditionModel"],
            vae=["diffusers", "AutoencoderKL"])))
        (folder / "unet").mkdir()
        UNet2DConditionModel(block_out_channels=[8], down_block_types=[PLAIN], up_block_types=[UP_PLAIN],
                             norm_num_groups=4, cross_attention_dim=8).save_pretrained(folder / "unet")
        AutoencoderKL(block_out_channels=[4], norm_num_groups=2).save_pretrained(folder / "vae")
        if args.full:
            config, extra = FULL[args.full]
            ok = check_unet(args, folder, config, extra, args.seed, 1, args.size, args.size, 77, bound)
        for seed in range(args.seed, args.seed + (0 if args.full else args.count)):
            r = random.Random(seed)
            config, extra = draw_unet(r)
            print(f"--- {seed}: {config}")
            shape = r.randint(1, 3), r.randint(5, 13), r.randint(5, 13)
            ok &= check_unet(args, folder, config, extra, seed, *shape, r.choice([1, 7, 77]), bound)
            ok &= check_vae(args, folder, draw_vae(r), seed, r.randint(1, 2), r.randint(1, 5), r.randint(1, 5), bound)
    return 0 if ok else 1


if __name__ == "__main__":
    logging.set_verbosity_error()
    torch.set_num_threads(2)
    sys.exit(main())
