#!/usr/bin/env python3
"""Makes weights_names.txt.gz: which tensor of a single-file checkpoint is which of diffusers.

The layouts of the original code are written out below from their hyperparameters. That they are right, and what each
name becomes, is said by diffusers: its own conversion runs over tensors that know where they came from, and its models
(full size, without memory) must find each of their parameters in its shape and nothing else.

    b NUMBER [LIKE]              a block: a component's tensors; with LIKE, what differs from that block
    NAME DIMS LDM-NAME HOW [LDM-DIMS]    HOW: = whole, T transposed, 0 1 2 a third of the rows
    # NAME FAMILY (PART:BLOCK:TENSORS:PARAMETERS:PREFIX)...    a checkpoint; parts u v t g: U-Net, VAE, text encoders
    f LDM-NAME DIMS              a tensor of it that is of no component
"""
import gzip
import re
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint,
                                                 convert_ldm_vae_checkpoint, convert_open_clip_checkpoint)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from weights_names_configs import LAYOUTS, unet_config

UNET, VAE = "model.diffusion_model.", "first_stage_model."


def resnet(out, p, cin, cout, temb):
    for name, shape in (("in_layers.0", (cin,)), ("in_layers.2", (cout, cin, 3, 3)), ("emb_layers.1", (cout, temb)),
                        ("out_layers.0", (cout,)), ("out_layers.3", (cout, cout, 3, 3))):
        out[f"{p}.{name}.weight"], out[f"{p}.{name}.bias"] = shape, shape[:1]
    if cin != cout:
        out[f"{p}.skip_connection.weight"], out[f"{p}.skip_connection.bias"] = (cout, cin, 1, 1), (cout,)


def transformer(out, p, c, depth, context, linear):
    one = (c, c) if linear else (c, c, 1, 1)
    out[f"{p}.norm.weight"] = out[f"{p}.norm.bias"] = (c,)
    for name in "proj_in", "proj_out":
        out[f"{p}.{name}.weight"], out[f"{p}.{name}.bias"] = one, (c,)
    for k in range(depth):
        b = f"{p}.transformer_blocks.{k}"
        for a, width in ("attn1", c), ("attn2", context):
            out[f"{b}.{a}.to_q.weight"], out[f"{b}.{a}.to_out.0.weight"], out[f"{b}.{a}.to_out.0.bias"] = (c, c), (c, c), (c,)
            out[f"{b}.{a}.to_k.weight"] = out[f"{b}.{a}.to_v.weight"] = (c, width)
        for n in 1, 2, 3:
            out[f"{b}.norm{n}.weight"] = out[f"{b}.norm{n}.bias"] = (c,)
        out[f"{b}.ff.net.0.proj.weight"], out[f"{b}.ff.net.0.proj.bias"] = (8 * c, c), (8 * c,)
        out[f"{b}.ff.net.2.weight"], out[f"{b}.ff.net.2.bias"] = (c, 4 * c), (c,)


def ldm_unet(channels, down, up, mid, context, linear, cin=4, adm=0, cond=0):
    """down, up: depths of each block's resnets, in order of execution; mid: depth, 0 a resnet alone, None nothing."""
    out, temb, c = {}, 4 * channels[0], channels[0]
    out["time_embed.0.weight"], out["time_embed.0.bias"] = (temb, c), (temb,)
    out["time_embed.2.weight"], out["time_embed.2.bias"] = (temb, temb), (temb,)
    if cond:
        out["time_embed.cond_proj.weight"] = (c, cond)
    if adm:
        out["label_emb.0.0.weight"], out["label_emb.0.0.bias"] = (temb, adm), (temb,)
        out["label_emb.0.2.weight"], out["label_emb.0.2.bias"] = (temb, temb), (temb,)
    out["input_blocks.0.0.weight"], out["input_blocks.0.0.bias"] = (c, cin, 3, 3), (c,)
    skips, n = [c], 1
    for i, depths in enumerate(down):
        for depth in depths:
            resnet(out, f"input_blocks.{n}.0", c, channels[i], temb)
            c = channels[i]
            if depth:
                transformer(out, f"input_blocks.{n}.1", c, depth, context, linear)
            skips.append(c)
            n += 1
        if i < len(down) - 1:
            out[f"input_blocks.{n}.0.op.weight"], out[f"input_blocks.{n}.0.op.bias"] = (c, c, 3, 3), (c,)
            skips.append(c)
            n += 1
    if mid is not None:
        resnet(out, "middle_block.0", c, c, temb)
        if mid:
            transformer(out, "middle_block.1", c, mid, context, linear)
            resnet(out, "middle_block.2", c, c, temb)
    n = 0
    for i, depths in enumerate(up):
        for j, depth in enumerate(depths):
            width = channels[-1 - i]
            resnet(out, f"output_blocks.{n}.0", c + skips.pop(), width, temb)
            c = width
            if depth:
                transformer(out, f"output_blocks.{n}.1", c, depth, context, linear)
            if j == len(depths) - 1 and i < len(up) - 1:
                p = f"output_blocks.{n}.{2 if depth else 1}.conv"
                out[f"{p}.weight"], out[f"{p}.bias"] = (c, c, 3, 3), (c,)
            n += 1
    assert not skips
    out["out.0.weight"] = out["out.0.bias"] = (c,)
    out["out.2.weight"], out["out.2.bias"] = (4, c, 3, 3), (4,)
    return out


def ldm_vae(channels=(128, 256, 512, 512), layers=2, z=4):
    out = {}

    def conv(name, o, i, k=3):
        out[f"{name}.weight"], out[f"{name}.bias"] = (o, i, k, k), (o,)

    def norm(name, c):
        out[f"{name}.weight"] = out[f"{name}.bias"] = (c,)

    def block(p, cin, cout):
        norm(f"{p}.norm1", cin), conv(f"{p}.conv1", cout, cin), norm(f"{p}.norm2", cout), conv(f"{p}.conv2", cout, cout)
        if cin != cout:
            conv(f"{p}.nin_shortcut", cout, cin, 1)

    def mid(p, c):
        block(f"{p}.block_1", c, c), block(f"{p}.block_2", c, c), norm(f"{p}.attn_1.norm", c)
        for name in "q", "k", "v", "proj_out":
            conv(f"{p}.attn_1.{name}", c, c, 1)

    c = channels[0]
    conv("encoder.conv_in", c, 3)
    for i, width in enumerate(channels):
        for j in range(layers):
            block(f"encoder.down.{i}.block.{j}", c, width)
            c = width
        if i < len(channels) - 1:
            conv(f"encoder.down.{i}.downsample.conv", c, c)
    mid("encoder.mid", c), norm("encoder.norm_out", c), conv("encoder.conv_out", 2 * z, c)
    conv("quant_conv", 2 * z, 2 * z, 1), conv("post_quant_conv", z, z, 1)
    conv("decoder.conv_in", c, z), mid("decoder.mid", c)
    for i, width in reversed(list(enumerate(channels))):
        for j in range(layers + 1):
            block(f"decoder.up.{i}.block.{j}", c, width)
            c = width
        if i:
            conv(f"decoder.up.{i}.upsample.conv", c, c)
    norm("decoder.norm_out", c), conv("decoder.conv_out", 3, c)
    return out


def openclip(width, layers):
    out = {"positional_embedding": (77, width), "text_projection": (width, width), "logit_scale": (),
           "token_embedding.weight": (49408, width), "ln_final.weight": (width,), "ln_final.bias": (width,)}
    for i in range(layers):
        p = f"transformer.resblocks.{i}"
        for name in "ln_1", "ln_2":
            out[f"{p}.{name}.weight"] = out[f"{p}.{name}.bias"] = (width,)
        out[f"{p}.attn.in_proj_weight"], out[f"{p}.attn.in_proj_bias"] = (3 * width, width), (3 * width,)
        out[f"{p}.attn.out_proj.weight"], out[f"{p}.attn.out_proj.bias"] = (width, width), (width,)
        out[f"{p}.mlp.c_fc.weight"], out[f"{p}.mlp.c_fc.bias"] = (4 * width, width), (4 * width,)
        out[f"{p}.mlp.c_proj.weight"], out[f"{p}.mlp.c_proj.bias"] = (width, 4 * width), (width,)
    return out


def clip_model(kind, width, layers, heads, act, projection):
    with torch.device("meta"):
        return kind(CLIPTextConfig(vocab_size=49408, hidden_size=width, intermediate_size=4 * width, hidden_act=act,
                                   num_hidden_layers=layers, num_attention_heads=heads, projection_dim=projection,
                                   max_position_embeddings=77))


def shapes(model):
    # transformers 5 leaves out "text_model." where the files that it writes and reads have it.
    found = {}
    for name, p in model.named_parameters():
        if isinstance(model, (CLIPTextModel, CLIPTextModelWithProjection)) and not name.startswith(("text_model.", "text_projection.")):
            name = "text_model." + name
        found[name] = tuple(p.shape)
    return found


class Source:
    """Tensors with the number of their name in their value; rows and columns in the imaginary places behind it."""

    def __init__(self, names):
        self.names = list(names)

    def tensor(self, i, shape):
        return torch.full((1,) * max(len(shape), 1), float(i)).expand(shape)

    def name(self, t):
        return self.names[int(t.reshape(-1)[0])]


def convert_plain(file, prefix, convert):
    source = Source(file)
    given = {prefix + n: source.tensor(i, s) for i, (n, s) in enumerate(file.items())}
    return {n: (tuple(t.shape), prefix + source.name(t), "=") for n, t in convert(given).items()}


def convert_openclip(width, layers, prefix, model, drop):
    """At width 8 the values can be real: element (r, c) of tensor i is i + r / 100 + c / 10000."""
    small, file = openclip(8, layers), openclip(width, layers)
    names, given = list(small), {}
    for i, (n, s) in enumerate(small.items()):
        t = torch.full(s, float(i), dtype=torch.float64)
        if len(s) >= 1 and n != "token_embedding.weight":
            t = t + torch.arange(s[0]).reshape((-1,) + (1,) * (len(s) - 1)) / 100
        if len(s) == 2 and n != "token_embedding.weight":
            t = t + torch.arange(s[1]) / 10000
        given[prefix + n] = t
    out = {}
    for n, t in convert_open_clip_checkpoint(model, given, prefix).items():
        first = float(t.reshape(-1)[0])
        i, row = int(first + 1e-9), round((first - int(first + 1e-9)) * 100)
        ldm, how = names[i], "="
        if "in_proj" in ldm:
            how = str(row // 8)
        elif t.dim() == 2 and abs(float(t[0, 1] - t[0, 0]) - 0.01) < 1e-6:
            how = "T"
        out[n] = (None, prefix + ldm, how)
    expected = shapes(model)
    if drop:
        out.pop("text_projection.weight", None)
    return file, {n: (expected[n], ldm, how) for n, (_, ldm, how) in out.items() if n in expected or out.pop}


def check(model_shapes, converted, reshaped=()):
    got = {n: s for n, (s, _, _) in converted.items()}
    assert set(got) == set(model_shapes), (set(got) ^ set(model_shapes))
    for n, s in model_shapes.items():
        assert got[n] == s or n.endswith(reshaped), (n, got[n], s)


def dims(shape):
    return "x".join(map(str, shape)) or "-"


lines, blocks = [], []


def block(part, file, prefix):
    """The number of a block, which is written unless there is such a one."""
    block = {}
    for n, (s, ldm, how) in sorted(part.items()):
        assert ldm.startswith(prefix)
        other = "" if file[ldm] == s else " " + dims(file[ldm])
        block[n] = f"{n} {dims(s)} {ldm[len(prefix):]} {how}{other}"
    best = min(range(len(blocks)), default=None, key=lambda i: len(set(block.values()) - set(blocks[i].values())))
    differing = len(block) if best is None or set(blocks[best]) - set(block) else len(
        set(block.values()) - set(blocks[best].values()))
    if differing == 0:
        return best
    like = f" {best}" if differing < len(block) / 2 else ""
    lines.append(f"b {len(blocks)}{like}")
    lines.extend(text for n, text in block.items() if not like or blocks[best].get(n) != text)
    blocks.append(block)
    return len(blocks) - 1

for name, (layout, texts, family) in LAYOUTS.items():
    layout = dict(layout)
    heads = layout.pop("heads")
    config = unet_config(heads=heads, **layout)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
        vae = AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                            block_out_channels=(128, 256, 512, 512), layers_per_block=2)
    file = {}
    parts = {"u": convert_plain(ldm_unet(**layout), UNET, lambda f: convert_ldm_unet_checkpoint(f, config))}
    if layout.get("cond"):  # diffusers' conversion forgets it; its model and ComfyUI say where it goes
        parts["u"]["time_embedding.cond_proj.weight"] = ((320, 256), UNET + "time_embed.cond_proj.weight", "=")
    check(shapes(unet), parts["u"])
    file |= {UNET + n: s for n, s in ldm_unet(**layout).items()}
    parts["v"] = convert_plain(ldm_vae(), VAE, lambda f: convert_ldm_vae_checkpoint(f, vae.config))
    check(shapes(vae), parts["v"])
    file |= {VAE + n: s for n, s in ldm_vae().items()}
    if texts in ("clip", "clip-old", "both"):
        model = clip_model(CLIPTextModel, 768, 12, 12, "quick_gelu", 768)
        prefix = "conditioner.embedders.0.transformer." if texts == "both" else "cond_stage_model.transformer."
        clip = shapes(model)
        parts["t"] = convert_plain(clip, prefix, convert_ldm_clip_checkpoint)
        check(clip, parts["t"])
        if texts == "clip-old":
            parts["t"] = {n: (s, ldm.replace("text_model.", ""), how) for n, (s, ldm, how) in parts["t"].items()}
        old = lambda n: n.replace("text_model.", "") if texts == "clip-old" else n
        file |= {prefix + old(n): s for n, s in clip.items()}
        file[prefix + old("text_model.embeddings.position_ids")] = (1, 77)
    if texts == "openclip":
        model = clip_model(CLIPTextModel, 1024, 23, 16, "gelu", 512)
        f, parts["t"] = convert_openclip(1024, 24, "cond_stage_model.model.", model, True)
        check(shapes(model), parts["t"])
        file |= {"cond_stage_model.model." + n: s for n, s in f.items()}
    if texts in ("both", "second"):
        model = clip_model(CLIPTextModelWithProjection, 1280, 32, 20, "gelu", 1280)
        prefix = "conditioner.embedders.%d.model." % (texts == "both")
        f, parts["g"] = convert_openclip(1280, 32, prefix, model, False)
        check(shapes(model), parts["g"])
        file |= {prefix + n: s for n, s in f.items()}
    count = {k: (len(p), sum(torch.Size(s).numel() for s, _, _ in p.values())) for k, p in parts.items()}
    print(name, count)
    used, heading = set(), []
    for k, (a, b) in count.items():
        prefix = {"u": UNET, "v": VAE}.get(k) or re.match(r"(cond_stage_model|conditioner.embedders.\d)\.\w+\.", next(iter(
            parts[k].values()))[1])[0]
        heading.append(f"{k}:{block(parts[k], file, prefix)}:{a}:{b}:{prefix}")
        used |= {ldm for _, ldm, _ in parts[k].values()}
    lines.append(f"# {name} {family} " + " ".join(heading))
    lines += [f"f {n} {dims(s)}" for n, s in file.items() if n not in used]

with open(__file__.replace(".py", ".txt.gz"), "wb") as f:
    with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(("\n".join(lines) + "\n").encode())
