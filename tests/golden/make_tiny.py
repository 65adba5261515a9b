#!/usr/bin/env python3
"""A whole model small enough for the tests of the engine and the command line: tests/golden/tiny/.

Its U-Net, autoencoder and scheduler are tests/golden/models/tiny-sd's (links); text encoder and
tokenizer (bytes and a few merges) are made here. pictures.safetensors holds what
StableDiffusionPipeline makes of it: text embeddings, the last latent and the picture for a few
samplers, 8 steps, 64x64, guidance 5, noise of seed 3. Tensors are in PyTorch's order.

    python tests/golden/make_tiny.py        from the source root; never run by the tests
"""
import json
import os
import pathlib
import sys

import diffusers as d
import torch
from diffusers.utils import logging
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

OUT = pathlib.Path("tests/golden/tiny")
PROMPT, NEGATIVE = "a red apple, 3d style on a blue table", "worm"
STEPS, GUIDANCE, SEED, SIDE = 8, 5.0, 3, 64
MERGES = ["a p", "ap p", "l e</w>", "app le</w>", "r e", "re d</w>", "b l", "t a", "bl u", "blu e</w>", "o n</w>",
          "s t", "i c", "b le</w>", "ta ble</w>", "w o", "r m</w>"]
SAMPLERS = {
    "DDIM": (d.DDIMScheduler, {}),
    "Euler": (d.EulerDiscreteScheduler, {}),
    "Euler a": (d.EulerAncestralDiscreteScheduler, {}),
    "DPM++ 2M": (d.DPMSolverMultistepScheduler, {}),
    "Heun": (d.HeunDiscreteScheduler, {}),
    "UniPC": (d.UniPCMultistepScheduler, {}),
}


def byte_characters():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    more = [b for b in range(256) if b not in keep]
    return [chr(b) for b in keep] + [chr(256 + n) for n in range(len(more))]


def make_tokenizer():
    folder = OUT / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_characters()
    tokens = letters + [c + "</w>" for c in letters]
    merges = []
    for m in MERGES:
        a, b = m.split(" ")
        if a in tokens and b in tokens:
            tokens.append(a + b)
            merges.append(m)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    json.dump({t: i for i, t in enumerate(tokens)}, open(folder / "vocab.json", "w"), ensure_ascii=False,
              separators=(",", ":"))
    open(folder / "merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
               "unk_token": "<|endoftext|>"}
    json.dump(special, open(folder / "special_tokens_map.json", "w"))
    json.dump({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special},
              open(folder / "tokenizer_config.json", "w"))
    return len(tokens)


def make_encoder(vocab):
    torch.manual_seed(7)
    config = CLIPTextConfig(vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                            num_attention_heads=2, max_position_embeddings=77, hidden_act="quick_gelu",
                            bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=vocab - 1)
    model = CLIPTextModel(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape) * (0.1 if p.dim() == 1 else p.shape[-1] ** -0.5)
                    + (1 if "norm" in name and name.endswith("weight") else 0))
    model.half().save_pretrained(OUT / "text_encoder", safe_serialization=True)


def make_index():
    json.dump({"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
               "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
               "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
               "vae": ["diffusers", "AutoencoderKL"]}, open(OUT / "model_index.json", "w"), indent=1)
    json.dump({"width": 64, "height": 64, "steps": 8, "cfg": 5}, open(OUT / "figment.json", "w"))
    for part in ["unet", "vae", "scheduler"]:
        link = OUT / part
        if not link.is_symlink():
            os.symlink(f"../models/tiny-sd/{part}", link)


def main():
    logging.set_verbosity_error()
    make_encoder(make_tokenizer())
    make_index()
    unet = d.UNet2DConditionModel.from_pretrained(OUT, subfolder="unet", torch_dtype=torch.float32)
    vae = d.AutoencoderKL.from_pretrained(OUT, subfolder="vae", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(OUT / "text_encoder", torch_dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(OUT / "tokenizer")
    side = SIDE // 2 ** (len(vae.config.block_out_channels) - 1)
    out = {}
    for name, (cls, more) in SAMPLERS.items():
        scheduler = cls.from_pretrained(OUT, subfolder="scheduler", **more)
        pipe = d.StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet,
                                         scheduler=scheduler, safety_checker=None, feature_extractor=None,
                                         requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        # diffusers' own draw of the first noise, then of the steps' noise, from one generator
        module = sys.modules[cls.__module__]
        g = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            latent = pipe(PROMPT, negative_prompt=NEGATIVE, height=SIDE, width=SIDE, num_inference_steps=STEPS,
                          guidance_scale=GUIDANCE, generator=g, output_type="latent").images
            picture = vae.decode(latent / vae.config.scaling_factor).sample
        out[f"{name}/latent"] = latent.contiguous()
        out[f"{name}/picture"] = picture.half().contiguous()
        print(name, latent.shape, float(latent.std()), float(picture.std()), module.__name__)
    with torch.no_grad():
        cond, uncond = pipe.encode_prompt(PROMPT, "cpu", 1, True, NEGATIVE)
    out["text"], out["uncond"] = cond.contiguous(), uncond.contiguous()
    save_file(out, OUT / "pictures.safetensors")


main()
