#!/usr/bin/env python3
"""What diffusers' pipelines make of an inpainting and an instruct model: tests/golden/tiny/edits.safetensors.

The models are tests/golden/tiny with another first convolution (tests/engine/inpaint.c writes the same), the picture and
the mask are that test's slopes and right half. The autoencoder's mean is taken, not a sample of it. Tensors: NAME.STEP,
latents [1, 4, 8, 8] after a step of DDIM.

    python tests/golden/make_edits.py        from the source root; never run by the tests
"""
import numpy as np
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, StableDiffusionInstructPix2PixPipeline,
                       UNet2DConditionModel)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

TINY, SIDE = "tests/golden/tiny", 64
torch.set_grad_enabled(False)


def unet(channels):
    weights = load_file(f"{TINY}/unet/diffusion_pytorch_model.safetensors")
    config = UNet2DConditionModel.load_config(f"{TINY}/unet")
    shape = weights["conv_in.weight"].shape[0], channels, 3, 3
    i = np.arange(np.prod(shape))
    weights["conv_in.weight"] = torch.from_numpy(((i * 7919 % 1009).astype(np.float32) / np.float32(5000) - np.float32(0.1)).reshape(shape))
    model = UNet2DConditionModel.from_config({**config, "in_channels": channels})
    model.load_state_dict({k: v.float() for k, v in weights.items()})
    return model.eval()


def parts(channels):
    vae = AutoencoderKL.from_pretrained(f"{TINY}/vae").float().eval()
    encode = vae.encode

    def mean(x, *args, **more):
        out = encode(x, *args, **more)
        out.latent_dist.sample = lambda generator=None: out.latent_dist.mean
        return out

    vae.encode = mean
    return dict(vae=vae, text_encoder=CLIPTextModel.from_pretrained(f"{TINY}/text_encoder").float().eval(),
                tokenizer=CLIPTokenizer.from_pretrained(f"{TINY}/tokenizer"), unet=unet(channels),
                scheduler=DDIMScheduler.from_pretrained(f"{TINY}/scheduler"), safety_checker=None, feature_extractor=None,
                requires_safety_checker=False)


def pictures():
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    slopes = np.stack([x * 4, y * 4, np.full_like(x, 128)], -1).astype(np.uint8)
    mask = np.where(x >= SIDE // 2, 255, 0).astype(np.uint8)
    return Image.fromarray(slopes), Image.fromarray(mask), Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8))


def run(name, pipe, **options):
    def keep(pipe, step, time, values):
        out[f"{name}.{step + 1}"] = values["latents"].clone().contiguous()
        return values

    pipe.set_progress_bar_config(disable=True)
    pipe(prompt="a red apple", negative_prompt="", num_inference_steps=4, guidance_scale=5.0, generator=torch.Generator().manual_seed(3),
         callback_on_step_end=keep, output_type="latent", **options)


out = {}
slopes, half, whole = pictures()
inpaint = StableDiffusionInpaintPipeline(**parts(9))
run("whole", inpaint, image=slopes, mask_image=whole, strength=1.0, height=SIDE, width=SIDE)
run("half", inpaint, image=slopes, mask_image=half, strength=0.5, height=SIDE, width=SIDE)
run("instruct", StableDiffusionInstructPix2PixPipeline(**parts(8)), image=slopes, image_guidance_scale=1.0)
save_file(out, f"{TINY}/edits.safetensors")
print({k: float(v.std()) for k, v in out.items()})
