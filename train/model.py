"""The networks but the VAE, the noise schedule, and the sampler used while training."""
import math

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

UNET_CHANNELS = (64, 96, 192)
HEADS = (2, 3, 6)  # the first level has no attention
DEPTH = (1, 1, 3)  # transformer layers: most of them where the picture is smallest, and a parameter costs least
SIZE = 256  # pixels the model is for
TEXT_LENGTH = 77


def build_text(vocab=2048, width=256, layers=4):
    c = CLIPTextConfig(vocab_size=vocab, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
                       num_attention_heads=4, max_position_embeddings=TEXT_LENGTH, hidden_act="quick_gelu",
                       projection_dim=width, bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=vocab - 1)
    return CLIPTextModel(c)


def build_unet(channels=UNET_CHANNELS, heads=HEADS, depth=DEPTH):
    u = UNet2DConditionModel(
        sample_size=SIZE // 8, in_channels=4, out_channels=4, block_out_channels=channels, layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=256, attention_head_dim=heads, transformer_layers_per_block=depth, norm_num_groups=32)
    for name, p in u.named_parameters():  # every residual branch starts as zero
        if name.endswith(("conv2.weight", "conv2.bias", "to_out.0.weight", "to_out.0.bias", "ff.net.2.weight",
                          "ff.net.2.bias", "proj_out.weight", "proj_out.bias")) or name.startswith("conv_out"):
            if ("ff.net.2" in name or "to_out" in name) and "transformer_blocks.0." in name:
                continue  # proj_out already silences the whole transformer; further layers can also join a trained one
            torch.nn.init.zeros_(p)
    return u


def alphas_cumprod():
    """scaled_linear betas, rescaled to zero SNR at the last of 1000 steps (Lin et al. 2024)."""
    b = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, dtype=torch.float64) ** 2
    s = (1 - b).cumprod(0).sqrt()
    s = (s - s[-1]) * s[0] / (s[0] - s[-1])
    return s.square().float()


def grow(unet, state):
    """Take over the weights of a smaller U-Net; layers that it does not have stay silent (build_unet)."""
    missing, unknown = unet.load_state_dict(state, strict=False)
    assert not unknown and all("transformer_blocks" in k for k in missing), (missing, unknown)


def pad_bias(length, batch, device="cpu"):
    """What UNet2DConditionModel takes as encoder_attention_mask so that the last of `length` states, a padding
    state, counts for all the padding states up to 77 that a caption has when the model is used."""
    m = torch.ones(batch, length, device=device)
    m[:, -1] += math.log(TEXT_LENGTH - length + 1) / 10000.0  # diffusers: bias = (1 - mask) * -10000
    return m


@torch.no_grad()
def sample(unet, cond, uncond, noise, steps=20, guidance=4.0):
    """DDIM with trailing timesteps; cond and uncond are full 77-state texts. Returns scaled latents."""
    ac = alphas_cumprod().to(noise.device)
    ts = torch.arange(1000, 0, -1000 / steps).round().long() - 1
    x = noise
    n = len(x)
    text = torch.cat([uncond.expand(n, -1, -1), cond])
    for k, t in enumerate(ts):
        a = ac[t]
        b = ac[ts[k + 1]] if k + 1 < len(ts) else torch.ones(())
        v = unet(torch.cat([x, x]), t, encoder_hidden_states=text).sample
        u, c = v.chunk(2)
        v = u + guidance * (c - u)
        x0 = a.sqrt() * x - (1 - a).sqrt() * v
        e = a.sqrt() * v + (1 - a).sqrt() * x
        x = b.sqrt() * x0 + (1 - b).sqrt() * e
    return x
