"""Goldens of whole pictures: StableDiffusionPipeline on tiny-sd, 8 steps with every sampler that
diffusers has, from the same noise and text.

    python tests/golden/make_pictures.py

writes tests/golden/models/pictures.safetensors: the text [2, L, D] (without and with a prompt), the
noise, and for each sampler the last latent (F32) and the picture before rounding and clamping (F16, which
is exact to 90 dB), channels last. Noise of the steps is torch.randn from seed 11, one draw after the other.
"""
import pathlib
import sys

import diffusers as d
import torch
from diffusers.utils import logging
from safetensors.torch import save_file

from make_models import nhwc

HERE = pathlib.Path(__file__).parent / "models"
STEPS, GUIDANCE, SEED = 8, 7.0, 11
SAMPLERS = {
    "DDIM": (d.DDIMScheduler, {}),
    "DDPM": (d.DDPMScheduler, {}),
    "PLMS": (d.PNDMScheduler, {}),
    "Euler": (d.EulerDiscreteScheduler, {}),
    "Euler a": (d.EulerAncestralDiscreteScheduler, {}),
    "Heun": (d.HeunDiscreteScheduler, {}),
    "DPM2": (d.KDPM2DiscreteScheduler, {}),
    "DPM2 a": (d.KDPM2AncestralDiscreteScheduler, {}),
    "LMS": (d.LMSDiscreteScheduler, {}),
    "DPM++ 2M": (d.DPMSolverMultistepScheduler, {}),
    "DPM++ 2M SDE": (d.DPMSolverMultistepScheduler, dict(algorithm_type="sde-dpmsolver++")),
    "UniPC": (d.UniPCMultistepScheduler, {}),
    "LCM": (d.LCMScheduler, {}),
    "TCD": (d.TCDScheduler, {}),
}


def draws():
    g = torch.Generator().manual_seed(SEED)
    return lambda shape, *_args, **_kwargs: torch.randn(shape, generator=g)


def scheduler(cls, more):
    import inspect
    config = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                  steps_offset=1, timestep_spacing="leading", set_alpha_to_one=False, clip_sample=False,
                  skip_prk_steps=True, **more)
    known = inspect.signature(cls.__init__).parameters
    return cls(**{k: v for k, v in config.items() if k in known})


def picture(unet, vae, cls, more, text, noise):
    pipe = d.StableDiffusionPipeline(vae=vae, text_encoder=None, tokenizer=None, unet=unet, scheduler=scheduler(cls, more),
                                     safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    module = sys.modules[cls.__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = draws()
    latent = pipe(prompt_embeds=text[1:], negative_prompt_embeds=text[:1], latents=noise.clone(), guidance_scale=GUIDANCE,
                  num_inference_steps=STEPS, output_type="latent", height=noise.shape[2] * 8, width=noise.shape[3] * 8).images
    return latent, vae.decode(latent / vae.config.scaling_factor).sample


if __name__ == "__main__":
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    unet = d.UNet2DConditionModel.from_pretrained(HERE / "tiny-sd" / "unet").float().eval()
    vae = d.AutoencoderKL.from_pretrained(HERE / "tiny-sd" / "vae").float().eval()
    g = torch.Generator().manual_seed(7)
    out = dict(text=torch.randn(2, 77, unet.config.cross_attention_dim, generator=g), noise=torch.randn(1, 4, 6, 8, generator=g))
    for name, (cls, more) in SAMPLERS.items():
        latent, pixels = picture(unet, vae, cls, more, out["text"], out["noise"])
        out[f"{name}.latent"], out[f"{name}.picture"] = latent, pixels
        print(f"{name}: latent {float(latent.std()):.2f}, picture {float(pixels.min()):.2f} to {float(pixels.max()):.2f}")
    stored = {k: nhwc(v) for k, v in out.items()}
    save_file({k: v.half() if k.endswith(".picture") else v for k, v in stored.items()}, HERE / "pictures.safetensors")
