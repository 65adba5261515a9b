#!/usr/bin/env python3
"""The peer of `figment bench --large --json`: the same networks and layers in PyTorch, random weights, in the same session.

    peer.py ROWS.json [--device cuda] [--dtype f16]

Reads figment's rows (one JSON object a line), measures those it knows how to build, and prints both with the ratio.
Convolutions are channels-last; each thing is measured as it is and through torch.compile, and the better one counts.
Needs torch; the networks also need diffusers. What is missing is said, not guessed.
"""
import argparse
import json
import re
import statistics
import time

import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("rows")
parser.add_argument("--device", default="cuda")
parser.add_argument("--dtype", default="f16", choices=["f16", "bf16", "f32"])
parser.add_argument("--no-compile", action="store_true")
parser.add_argument("--seconds", type=float, default=2, help="of measuring, each")
args = parser.parse_args()
dtype = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}[args.dtype]
torch.set_grad_enabled(False)
torch.manual_seed(1)
torch.backends.cudnn.benchmark = True


def wait():
    if args.device == "cuda":
        torch.cuda.synchronize()


def measure(call):
    """The median of runs after two that warm up."""
    for _ in range(2):
        call()
    wait()
    times, end = [], time.perf_counter() + args.seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
        begun = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def random(*shape):
    x = torch.randn(*shape, device=args.device, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def place(module):
    return module.to(args.device, dtype, memory_format=torch.channels_last).eval()


def unet(kind):
    from diffusers import UNet2DConditionModel

    if kind == "SD 1.5":
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    return UNet2DConditionModel(
        sample_size=128, cross_attention_dim=2048, attention_head_dim=[5, 10, 20], block_out_channels=[320, 640, 1280],
        transformer_layers_per_block=[1, 2, 10], use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])


def build(name):
    """(module, its call's arguments) of a row, or None."""
    m = re.fullmatch(r"layer: conv (\d+)x\d+, (\d+) x (\d+), (\d+) to (\d+), batch (\d+)", name)
    if m:
        k, h, w, i, o, b = map(int, m.groups())
        return place(nn.Conv2d(i, o, k, padding=k // 2, bias=False)), (random(b, i, h, w),), {}
    m = re.fullmatch(r"layer: linear (\d+) x (\d+) x (\d+)", name)
    if m:
        rows, i, o = map(int, m.groups())
        return place(nn.Linear(i, o, bias=False)), (random(rows, i),), {}
    m = re.fullmatch(r"(SD 1.5|SDXL) U-Net (\d+) x \d+, batch (\d+)", name)
    if m:
        kind, side, b = m.group(1), int(m.group(2)), int(m.group(3))
        net = place(unet(kind))
        more = {}
        if kind == "SDXL":
            ids = torch.tensor([[side, side, 0, 0, side, side]] * b, device=args.device, dtype=dtype)
            more = {"added_cond_kwargs": {"text_embeds": random(b, 1280), "time_ids": ids}}
        text = random(b, 77, net.config.cross_attention_dim)
        return net, (random(b, 4, side // 8, side // 8), torch.tensor(500, device=args.device), text), more
    m = re.fullmatch(r"SD 1.5 VAE decode (\d+) x \d+", name)
    if m:
        from diffusers import AutoencoderKL

        net = place(AutoencoderKL(
            block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=4,
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4))
        side = int(m.group(1)) // 8
        return net.decoder, (random(1, 4, side, side),), {}
    return None


def peer(name):
    """(seconds, "compiled" or "eager"), or a sentence why not."""
    try:
        built = build(name)
    except ImportError as e:
        return str(e)
    if not built:
        return None
    module, inputs, more = built
    best = (measure(lambda: module(*inputs, **more)), "eager")
    if not args.no_compile:
        try:
            fast = torch.compile(module)
            seconds = measure(lambda: fast(*inputs, **more))
            best = min(best, (seconds, "compiled"))
        except Exception as e:  # a compiler that is missing must not cost the other figures
            print(f"  torch.compile: {str(e).splitlines()[0][:100]}")
    return best


print(f"PyTorch {torch.__version__}, {args.dtype}, "
      f"{torch.cuda.get_device_name() if args.device == 'cuda' else 'CPU'}")
compared = 0
for line in open(args.rows):
    if not line.startswith("{"):
        continue
    row = json.loads(line)
    result = peer(row["name"])
    if result is None:
        continue
    if isinstance(result, str):
        print(f"{row['name']}: Figment {row['seconds'] * 1e3:.3f} ms; PyTorch not measured ({result})")
        continue
    seconds, how = result
    compared += 1
    rate = row["flops"] / 1e12
    print(f"{row['name']}: Figment {row['seconds'] * 1e3:.3f} ms ({rate / row['seconds']:.2f} TFLOP/s), "
          f"PyTorch {seconds * 1e3:.3f} ms {how} ({rate / seconds:.2f} TFLOP/s), "
          f"{seconds / row['seconds']:.2f} times as fast as PyTorch", flush=True)
    if args.device == "cuda":
        torch.cuda.empty_cache()
print(f"{compared} rows compared")
