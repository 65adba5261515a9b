"""Goldens of the networks: what diffusers computes for small U-Nets and autoencoders.

    python tests/golden/make_models.py

writes tests/golden/models/NAME.{json,safetensors}: the config.json, and inputs and outputs of every
block in F32. The parameters are drawn by random_weights.py and weights/random.c alike and not stored,
but for tiny-sd/, a real diffusers folder with f16 files. Tensors are channels last, as the tape has
them. Needs torch, diffusers, safetensors. Deterministic; run again only when a case changes.
"""
import json
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging
from safetensors.torch import save_file

from random_weights import fill

HERE = pathlib.Path(__file__).parent / "models"
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"

# name: (config, seed, batch, height, width, text length, extra inputs)
UNETS = {
    # SD 1.x: four levels, convolutions around the transformers, 8 heads everywhere, guidance's batch of 2
    "sd1": (dict(block_out_channels=[32, 64, 96, 96], norm_num_groups=8, cross_attention_dim=48,
                 attention_head_dim=8, sample_size=8), 11, 2, 8, 8, 11, {}),
    # SD 2.x: linear projections, heads of 32 channels each; sides that are no multiple of anything
    "sd2": (dict(block_out_channels=[32, 64, 128], down_block_types=[CROSS, CROSS, PLAIN],
                 up_block_types=[UP_PLAIN, UP_CROSS, UP_CROSS], norm_num_groups=16, cross_attention_dim=40,
                 attention_head_dim=[1, 2, 4], use_linear_projection=True, upcast_attention=True,
                 sample_size=8), 12, 1, 7, 9, 77, {}),
    # SDXL: irregular depths, pooled text and six sizes
    "sdxl": (dict(block_out_channels=[32, 64, 96], down_block_types=[PLAIN, CROSS, CROSS],
                  up_block_types=[UP_CROSS, UP_CROSS, UP_PLAIN], norm_num_groups=8, cross_attention_dim=56,
                  attention_head_dim=[2, 4, 6], use_linear_projection=True, transformer_layers_per_block=[1, 2, 3],
                  addition_embed_type="text_time", addition_time_embed_dim=8,
                  projection_class_embeddings_input_dim=40 + 6 * 8, sample_size=8), 13, 2, 8, 8, 12,
             dict(pooled=40, sizes=6)),
    # the refiner's shape: no transformers at either end, five sizes
    "refiner": (dict(block_out_channels=[16, 32, 32, 32], down_block_types=[PLAIN, CROSS, CROSS, PLAIN],
                     up_block_types=[UP_PLAIN, UP_CROSS, UP_CROSS, UP_PLAIN], norm_num_groups=8,
                     cross_attention_dim=24, attention_head_dim=[1, 2, 2, 2], use_linear_projection=True,
                     transformer_layers_per_block=2, addition_embed_type="text_time", addition_time_embed_dim=6,
                     projection_class_embeddings_input_dim=20 + 5 * 6, sample_size=8), 14, 1, 8, 8, 7,
                dict(pooled=20, sizes=5)),
    # SSD-1B's shape (nested depths, a middle without transformer) with LCM's guidance
    "ssd-lcm": (dict(block_out_channels=[16, 32, 48], down_block_types=[PLAIN, CROSS, CROSS],
                     up_block_types=[UP_CROSS, UP_CROSS, UP_PLAIN], norm_num_groups=8, cross_attention_dim=32,
                     mid_block_type="UNetMidBlock2D", attention_head_dim=[1, 2, 3], use_linear_projection=True,
                     transformer_layers_per_block=[1, [2, 1], [1, 3]],
                     reverse_transformer_layers_per_block=[[3, 1, 2], [2, 1, 1], 1],
                     time_cond_proj_dim=20, sample_size=8), 15, 2, 6, 10, 5, dict(guidance=20)),
    # KOALA's (one residual block somewhere, no middle) as an inpainting model with sines first
    "inpaint": (dict(block_out_channels=[16, 24, 32], down_block_types=[PLAIN, CROSS, CROSS],
                     up_block_types=[UP_CROSS, UP_CROSS, UP_PLAIN], norm_num_groups=4, norm_eps=1e-6,
                     in_channels=9, cross_attention_dim=32, mid_block_type=None, attention_head_dim=[2, 3, 4],
                     layers_per_block=[2, 1, 1], flip_sin_to_cos=False, freq_shift=1, sample_size=8),
                16, 1, 5, 8, 9, {}),
}

# name: (config, seed, batch, height, width of the latent)
ENCODER, DECODER = "DownEncoderBlock2D", "UpDecoderBlock2D"
VAES = {
    "vae": (dict(block_out_channels=[16, 32, 48, 48], down_block_types=[ENCODER] * 4, up_block_types=[DECODER] * 4,
                 layers_per_block=2, norm_num_groups=8, scaling_factor=0.18215), 21, 1, 3, 2),
    "vae-bare": (dict(block_out_channels=[8, 16, 16], down_block_types=[ENCODER] * 3, up_block_types=[DECODER] * 3,
                      layers_per_block=1, norm_num_groups=4, latent_channels=8, use_quant_conv=False,
                      use_post_quant_conv=False, mid_block_add_attention=False, scaling_factor=0.3611,
                      shift_factor=0.1159), 22, 2, 4, 3),
}


def nhwc(x):
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).contiguous().float()


def watch(out, name, module):
    """Keeps what the module returns under the name that the tape's mark has."""
    def hook(_module, _inputs, result):
        out[name] = result[0] if isinstance(result, tuple) else result
    module.register_forward_hook(hook)


def watch_unet(out, unet):
    watch(out, "conv_in", unet.conv_in)
    for i, block in enumerate(unet.down_blocks):
        watch(out, f"down.{i}", block)
    if unet.mid_block is not None:
        watch(out, "mid", unet.mid_block)
    for i, block in enumerate(unet.up_blocks):
        watch(out, f"up.{i}", block)
    watch(out, "out", unet.conv_out)


def unet_inputs(config, seed, batch, height, width, length, extra):
    g = torch.Generator().manual_seed(seed)
    channels = config.get("in_channels", 4)
    made = dict(x=torch.randn(batch, channels, height, width, generator=g),
                text=torch.randn(batch, length, config["cross_attention_dim"], generator=g),
                steps=torch.tensor([981.0, 500.5, 1.0]))
    if "pooled" in extra:
        made["pooled"] = torch.randn(batch, extra["pooled"], generator=g)
        made["sizes"] = torch.tensor([1024.0, 768, 0, 16, 512, 640])[:extra["sizes"]].repeat(batch)
    if "guidance" in extra:
        made["guidance"] = torch.full((batch * 3,), 1000.0)  # a scale of 2
    return made


def guidance_embedding(w, channels):  # LatentConsistencyModelPipeline.get_guidance_scale_embedding
    half = channels // 2
    rate = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    at = w[:, None] * rate[None, :]
    return torch.cat([torch.sin(at), torch.cos(at)], dim=1)


def call_unet(unet, config, made, step):
    batch, added, cond = made["x"].shape[0], None, None
    if "pooled" in made:
        added = dict(text_embeds=made["pooled"], time_ids=made["sizes"].reshape(batch, -1))
    if "guidance" in made:
        cond = guidance_embedding(made["guidance"][:batch], config["time_cond_proj_dim"])
    return unet(made["x"], made["steps"][step], made["text"], timestep_cond=cond, added_cond_kwargs=added).sample


def save(name, config, tensors, seed):
    HERE.mkdir(exist_ok=True)
    (HERE / f"{name}.json").write_text(json.dumps(dict(config, _seed=seed), indent=1) + "\n")
    save_file({k: nhwc(v) for k, v in tensors.items()}, HERE / f"{name}.safetensors")


def make_unet(name, config, seed, batch, height, width, length, extra):
    unet = UNet2DConditionModel(**config)
    fill(unet, seed)
    made = unet_inputs(config, seed, batch, height, width, length, extra)
    tensors = dict(made)
    for step in (0, 2):  # the middle one is watched
        tensors[f"out.{step}"] = call_unet(unet, config, made, step)
    seen = {}
    watch_unet(seen, unet)
    call_unet(unet, config, made, 1)
    tensors.update(seen)
    save(name, config, tensors, seed)


def watch_vae(out, vae):
    watch(out, "vae.mid", vae.decoder.mid_block)
    for i, block in enumerate(vae.decoder.up_blocks):
        watch(out, f"vae.up.{i}", block)
    watch(out, "encode.conv_in", vae.encoder.conv_in)
    for i, block in enumerate(vae.encoder.down_blocks):
        watch(out, f"encode.down.{i}", block)
    watch(out, "encode.mid", vae.encoder.mid_block)


def run_vae(vae, seed, batch, height, width, small=True):
    g = torch.Generator().manual_seed(seed)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    z = torch.randn(batch, vae.config.latent_channels, height, width, generator=g)
    picture = torch.rand(batch, 3, height * factor, width * factor, generator=g) * 2 - 1
    seen = {}
    watch_vae(seen, vae)
    tensors = dict(z=z, picture=picture, decoded=vae.decode(z).sample,
                   moments=vae.encode(picture).latent_dist.parameters)
    for key in list(seen):  # the widest values say nothing that the output does not
        if small and seen[key].numel() > 6000:
            del seen[key]
    tensors.update(seen)
    return tensors


def make_vae(name, config, seed, batch, height, width):
    vae = AutoencoderKL(**config)
    fill(vae, seed)
    save(name, config, run_vae(vae, seed, batch, height, width), seed)


def tiny_autoencoder(seed):
    config = dict(encoder_block_out_channels=[12] * 4, decoder_block_out_channels=[12] * 4)
    tiny = AutoencoderTiny(**config)
    return config, fill(tiny, seed, 1)


def run_tiny(tiny, seed, batch=1, height=3, width=2):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, 4, height, width, generator=g) * 2
    picture = torch.rand(batch, 3, height * 8, width * 8, generator=g)
    return dict(z=z, picture=picture, decoded=tiny.decode(z).sample / 2 + 0.5, encoded=tiny.encode(picture * 2 - 1).latents)


def make_tiny():
    """The weights go with it: the shapes of this network come from its file."""
    config, tiny = tiny_autoencoder(31)
    tiny = tiny.half().float()
    save_file({k: v.half().contiguous() for k, v in tiny.state_dict().items()}, HERE / "taesd-weights.safetensors")
    save("taesd", config, run_tiny(tiny, 31), 31)


def make_folder():
    """A real folder, f16, as save_pretrained() writes it: the loader's golden."""
    folder = HERE / "tiny-sd"
    shutil.rmtree(folder, ignore_errors=True)
    config = dict(block_out_channels=[16, 32], down_block_types=[CROSS, PLAIN], up_block_types=[UP_PLAIN, UP_CROSS],
                  layers_per_block=1, norm_num_groups=8, cross_attention_dim=32, attention_head_dim=2, sample_size=8)
    unet = fill(UNet2DConditionModel(**config), 41, 1).half()
    vae_config = dict(block_out_channels=[8, 8, 16, 16], down_block_types=[ENCODER] * 4, up_block_types=[DECODER] * 4,
                      layers_per_block=1, norm_num_groups=4, sample_size=64)
    vae = fill(AutoencoderKL(**vae_config), 42, 1).half()
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                  clip_sample=False, set_alpha_to_one=False).save_pretrained(folder / "scheduler")
    index = dict(_class_name="StableDiffusionPipeline", _diffusers_version="0.30.0",
                 scheduler=["diffusers", "DDIMScheduler"], unet=["diffusers", "UNet2DConditionModel"],
                 vae=["diffusers", "AutoencoderKL"])
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
    unet, vae = unet.float(), vae.float()
    made = unet_inputs(config, 41, 2, 8, 8, 77, {})
    tensors, seen = dict(made), {}
    watch_unet(seen, unet)
    call_unet(unet, config, made, 1)
    tensors.update(seen)
    tensors.update(run_vae(vae, 42, 1, 3, 4))
    save_file({k: nhwc(v) for k, v in tensors.items()}, HERE / "tiny-sd.safetensors")


if __name__ == "__main__":
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    for each, case in UNETS.items():
        make_unet(each, *case)
    for each, case in VAES.items():
        make_vae(each, *case)
    make_tiny()
    make_folder()
    for path in sorted(HERE.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:9} {path.relative_to(HERE)}", file=sys.stderr)
