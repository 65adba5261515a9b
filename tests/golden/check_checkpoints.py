#!/usr/bin/env python3
"""Full-size random checkpoints, single-file, in the original's names, against diffusers and transformers.

    python tests/golden/check_checkpoints.py FIGMENT [sd1 sd2 sdxl ssd-1b ...]

For each layout of weights_names.txt.gz: draws diffusers' models at full size, writes them (F16) as one checkpoint by the
golden's names, lets the program make two DDIM steps of 128x128 with guidance in F32, and compares text, latents and
picture with the same models run here. Needs up to 20 GB of memory and 8 GB of disk; never run by CI."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import safetensors_f16
import weights_names_read as names

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT, NEGATIVE = "a red apple", "a blue house"
STEPS, CFG = 2, 3.0
torch.set_grad_enabled(False)


def token_ids(text, pad):
    with open(os.path.join(HERE, "../../assets/clip/merges.txt")) as f:
        merges = f.read().split("\n")[1:48895]
    ids = {"".join(m.split()): 512 + i for i, m in enumerate(merges)}
    words = [ids[w + "</w>"] if len(w) > 1 else 256 + "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abc".index(w)
             for w in text.split()]
    ids = [49406, *words, 49407]
    return torch.tensor([ids + [pad] * (77 - len(ids))])


def draw(model, seed):
    """Torch's own start, with norms and biases that are not 1 and 0, rounded to what the file holds."""
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.dim() == 1:
            p += 0.05 * torch.randn(p.shape, generator=g)
        p.copy_(p.half().float())
    return model.eval()


def clip(kind, width, layers, heads, act, projection):
    return draw(kind(CLIPTextConfig(vocab_size=49408, hidden_size=width, intermediate_size=4 * width, hidden_act=act,
                                    num_hidden_layers=layers, num_attention_heads=heads, projection_dim=projection,
                                    max_position_embeddings=77, eos_token_id=49407, bos_token_id=49406)), width)


def build(checkpoint):
    torch.manual_seed(1)
    parts = {"u": draw(UNet2DConditionModel.from_config(checkpoint.unet_config), 2),
             "v": draw(AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                                     block_out_channels=(128, 256, 512, 512), layers_per_block=2), 3)}
    if "t" in checkpoint.parts:
        parts["t"] = clip(CLIPTextModel, 1024, 23, 16, "gelu", 512) if checkpoint.family == "sd2" else clip(
            CLIPTextModel, 768, 12, 12, "quick_gelu", 768)
    if "g" in checkpoint.parts:
        parts["g"] = clip(CLIPTextModelWithProjection, 1280, 32, 20, "gelu", 1280)
    return parts


def write(path, checkpoint, parts, marks):
    """One tensor after the other: never a second copy of the model."""
    plan = {}
    for k, rows in checkpoint.parts.items():
        own = dict(parts[k].named_parameters())
        for name, row in rows.items():
            value = own.get(name, own.get(name.replace("text_model.", "", 1)))
            plan.setdefault(row.prefix + row.ldm, []).append((row, value))
    shapes = {ldm: pieces[0][0].ldm_shape for ldm, pieces in plan.items()} | {mark: [0] for mark in marks} | checkpoint.extras

    def values():
        for pieces in plan.values():
            pieces.sort(key=lambda p: p[0].how)
            for row, value in pieces:
                yield (value.T if row.how == "T" else value).half().contiguous().numpy()
        for shape in checkpoint.extras.values():
            yield torch.randn(shape).half().numpy()
    safetensors_f16.write(path, shapes, values())


def encode(checkpoint, parts, text):
    """Context and pooled vector."""
    if checkpoint.family in ("sd1", "sd2"):
        return parts["t"](token_ids(text, 49407 if checkpoint.family == "sd1" else 0)).last_hidden_state, None
    second = parts["g"](token_ids(text, 0), output_hidden_states=True)
    hidden = second.hidden_states[-2]
    if "t" in parts:
        first = parts["t"](token_ids(text, 49407), output_hidden_states=True).hidden_states[-2]
        hidden = torch.cat([first, hidden], -1)
    return hidden, second.text_embeds


def run(checkpoint, parts, noise, v):
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction" if v else "epsilon")
    scheduler.set_timesteps(STEPS)
    texts = [encode(checkpoint, parts, t) for t in (NEGATIVE, PROMPT)]
    out = {"uncond": texts[0][0], "text": texts[1][0], "latent_000": noise}
    x = noise
    for i, t in enumerate(scheduler.timesteps):
        outs = []
        for context, pooled in texts:
            added = {}
            if pooled is not None:
                added = {"text_embeds": pooled, "time_ids": torch.tensor([[128., 128, 0, 0, 128, 128]])}
            outs.append(parts["u"](x, t, context, added_cond_kwargs=added or None).sample)
        x = scheduler.step(outs[0] + CFG * (outs[1] - outs[0]), t, x).prev_sample
        out[f"latent_{i + 1:03}"] = x
    factor = 0.13025 if checkpoint.family == "sdxl" else 0.18215
    out["image"] = parts["v"].decode(x / factor).sample
    return out


def reference(name, dir):
    """In a process of its own, so that its memory is gone before the program starts."""
    checkpoint = next(c for c in names.read() if c.name == name)
    parts = build(checkpoint)
    v = checkpoint.family == "sd2"
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    np.save(f"{dir}/noise.npy", noise.numpy())
    write(f"{dir}/{name}.safetensors", checkpoint, parts, ["v_pred"] if v else [])
    np.savez(f"{dir}/expected.npz", **{k: t.numpy() for k, t in run(checkpoint, parts, noise, v).items()})


def check(figment, name):
    """Worst relative error."""
    worst = 0
    with tempfile.TemporaryDirectory() as dir:
        path = f"{dir}/{name}.safetensors"
        subprocess.run([sys.executable, os.path.abspath(__file__), "--reference", name, dir], check=True)
        subprocess.run([figment, "inspect", path], check=True)
        subprocess.run([figment, "generate", "--prompt", PROMPT, "--negative", NEGATIVE, "--model", path, "--size", "128x128",
                        "--steps", str(STEPS), "--cfg", str(CFG), "--sampler", "DDIM", "--schedule", "Automatic", "--precision", "f32",
                        "--device", "cpu", "--noise", f"{dir}/noise.npy", "--dump", f"{dir}/dump", "--quiet",
                        "--output", f"{dir}/out.png"], check=True)
        for what, value in np.load(f"{dir}/expected.npz").items():
            got = np.load(f"{dir}/dump/{what}.npy").astype(np.float32)
            error = float(np.linalg.norm((got - value).astype(np.float64)) / np.linalg.norm(value.astype(np.float64)))
            worst = max(worst, error)
            print(f"{name:10} {what:10} {got.shape} relative error {error:.2e}", flush=True)
    return worst


def main():
    if sys.argv[1] == "--reference":
        return reference(*sys.argv[2:])
    known = [c.name for c in names.read()]
    worst = max(check(sys.argv[1], n) for n in sys.argv[2:] or ["sd1", "sd2", "sdxl"] if n in known)
    print(f"worst: {worst:.2e}")
    return worst > 1e-4


if __name__ == "__main__":
    sys.exit(main())
