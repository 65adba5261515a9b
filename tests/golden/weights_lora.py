#!/usr/bin/env python3
"""Makes lora/: add-ons in every spelling for tiny models, and what they make of the parameters.

Spellings that diffusers reads go through its pipelines (load, fuse, unload); LyCORIS' kinds, which it does not read, are
computed by PEFT's functions or by the definition. sd1.safetensors and sdxl.safetensors hold the parameters before
(of all parts, with the part's name before each), NAME.safetensors an add-on, NAME.after.safetensors what changed."""
import os
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from peft.tuners.loha.layer import make_weight, make_weight_cp
from peft.tuners.lokr.layer import make_kron, make_weight_cp as lokr_cp
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

torch.manual_seed(20240817)
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lora")


def text_model(kind, width):
    return kind(CLIPTextConfig(vocab_size=40, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
                               num_attention_heads=2, projection_dim=width, max_position_embeddings=7))


def unet(**kw):
    return UNet2DConditionModel(layers_per_block=1, norm_num_groups=2, attention_head_dim=2, sample_size=8, **kw)


def sd1():
    return StableDiffusionPipeline(
        vae=None, tokenizer=None, safety_checker=None, feature_extractor=None, scheduler=DDIMScheduler(),
        requires_safety_checker=False, text_encoder=text_model(CLIPTextModel, 8),
        unet=unet(block_out_channels=(4, 8), cross_attention_dim=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                  up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")))


def sdxl():
    return StableDiffusionXLPipeline(
        vae=None, tokenizer=None, tokenizer_2=None, scheduler=DDIMScheduler(), text_encoder=text_model(CLIPTextModel, 4),
        text_encoder_2=text_model(CLIPTextModelWithProjection, 8),
        unet=UNet2DConditionModel(layers_per_block=2, norm_num_groups=2, attention_head_dim=2, sample_size=8,
                                  block_out_channels=(4, 4, 8), cross_attention_dim=12, use_linear_projection=True,
                                  transformer_layers_per_block=[1, 1, 2], addition_embed_type="text_time",
                                  addition_time_embed_dim=4, projection_class_embeddings_input_dim=32,
                                  down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                                  up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")))


PARTS = "unet", "text_encoder", "text_encoder_2"


def state(pipe):
    out = {}
    for part in PARTS:
        model = getattr(pipe, part, None)
        for name, p in model.named_parameters() if model is not None else ():
            if part != "unet" and not name.startswith(("text_model.", "text_projection.")):
                name = "text_model." + name
            out[f"{part}/{name}"] = p.detach().clone().contiguous()
    return out


base = {"sd1": sd1(), "sdxl": sdxl()}
before = {k: state(p) for k, p in base.items()}
for k, s in before.items():
    save_file(s, f"{here}/{k}.safetensors")
    os.chmod(f"{here}/{k}.safetensors", 0o644)


def fresh(kind):
    pipe = {"sd1": sd1, "sdxl": sdxl}[kind]()
    for part in PARTS:
        if getattr(base[kind], part, None) is not None:
            getattr(pipe, part).load_state_dict(getattr(base[kind], part).state_dict())
    return pipe


def finish(name, kind, lora, after, metadata=None):
    changed = {n: t.contiguous() for n, t in after.items() if not torch.equal(t, before[kind][n])}
    assert changed, name
    save_file({n: t.contiguous() for n, t in lora.items()}, f"{here}/{name}.safetensors", metadata)
    save_file(changed, f"{here}/{name}.after.safetensors", {"model": kind})
    for file in f"{here}/{name}.safetensors", f"{here}/{name}.after.safetensors":
        os.chmod(file, 0o644)
    print(name, len(lora), "tensors,", len(changed), "changed")


def through_diffusers(name, kind, lora, metadata=None, scale=0.75):
    pipe = fresh(kind)
    path = f"{here}/{name}.safetensors"
    save_file({n: t.contiguous() for n, t in lora.items()}, path, metadata)
    pipe.load_lora_weights(path)
    components = [p for p in PARTS if getattr(pipe, p, None) is not None]
    pipe.fuse_lora(components=components, lora_scale=scale)
    pipe.unload_lora_weights()
    after = state(pipe)
    for key in lora:  # kohya's text modules get lost between diffusers 0.42 and transformers 5: by definition
        if not key.startswith("lora_te") or not key.endswith(".lora_up.weight"):
            continue
        stem = key[:-len(".lora_up.weight")]
        target, = [n for n in after if n.startswith("text") and n.endswith(".weight") and stem == spell_sdxl_or_sd1(kind, n)]
        if torch.equal(after[target], before[kind][target]):
            up, down, alpha = lora[key], lora[stem + ".lora_down.weight"], lora[stem + ".alpha"]
            after[target] = before[kind][target] + scale * alpha / len(down) * up @ down
            print("  by definition:", target)
    finish(name, kind, lora, after, metadata)


def spell_sdxl_or_sd1(kind, name):
    part, module = name[:-len(".weight")].split("/")
    return (spell_sd1 if kind == "sd1" else spell_sdxl)(part, module)


def pair(weight, r):
    o, i = weight.shape[:2]
    up, down = torch.randn(o, r, *(1,) * (weight.dim() - 2)) * 0.3, torch.randn(r, i, *weight.shape[2:]) * 0.3
    return up, down


def modules(kind, part, ends, limit=3):
    found = []
    for end in ends:
        names = [n for n in before[kind] if n.startswith(part + "/") and n.endswith(end + ".weight")]
        found += [n[len(part) + 1:-len(".weight")] for n in names[:limit]]
    return found


UNET_ENDS = "attn1.to_q", "attn2.to_k", "attn2.to_out.0", "ff.net.0.proj", "proj_in"
CONV_ENDS = "resnets.0.conv1", "resnets.0.time_emb_proj", "conv_shortcut", "downsamplers.0.conv"
TEXT_ENDS = "self_attn.q_proj", "mlp.fc1"


def kohya(kind, names, spell, dora=None):
    """names: (part, module); spell: the key's start for it."""
    out = {}
    for n, (part, module) in enumerate(names):
        w = before[kind][f"{part}/{module}.weight"]
        up, down = pair(w, 2 + n % 3)
        key = spell(part, module)
        out[key + ".lora_up.weight"], out[key + ".lora_down.weight"] = up, down
        out[key + ".alpha"] = torch.tensor(1.5)  # of mixed ones diffusers 0.42 takes the commonest for some modules
        if dora:
            out[key + ".dora_scale"] = dora(w)
    return out


def spell_sd1(part, module):
    return {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + module.replace(".", "_")


names_sd1 = [("unet", m) for m in modules("sd1", "unet", UNET_ENDS)] + [("text_encoder", m) for m in modules("sd1", "text_encoder", TEXT_ENDS)]
names_conv = [("unet", m) for m in modules("sd1", "unet", CONV_ENDS, 2)]
through_diffusers("kohya-sd1", "sd1", kohya("sd1", names_sd1, spell_sd1))
through_diffusers("kohya-conv", "sd1", kohya("sd1", names_sd1[:2] + names_conv, spell_sd1))


def ldm(module):
    """SDXL's names of the original code, for two resnets a level."""
    p = module.split(".")
    if p[0] == "mid_block":
        return ".".join(["middle_block", "1"] + p[3:])
    level, layer = int(p[1]), int(p[3])
    n = 3 * level + layer + (p[0] == "down_blocks")
    return ".".join([{"down_blocks": "input_blocks", "up_blocks": "output_blocks"}[p[0]], str(n), "1"] + p[4:])


def spell_sdxl(part, module):
    if part == "unet":
        return "lora_unet_" + ldm(module).replace(".", "_")
    return {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[part] + module.replace(".", "_")


names_xl = [("unet", m) for m in modules("sdxl", "unet", UNET_ENDS, 20)][::3] + [
    (t, m) for t in PARTS[1:] for m in modules("sdxl", t, TEXT_ENDS)]
through_diffusers("kohya-sdxl", "sdxl", kohya("sdxl", names_xl, spell_sdxl))
through_diffusers("kohya-sdxl-diffusers-names", "sdxl", kohya("sdxl", names_xl[:4], spell_sd1))


def spelled(names, down, up, start=lambda part, m: f"{part}.{m}", kind="sd1"):
    out = {}
    for n, (part, module) in enumerate(names):
        u, d = pair(before[kind][f"{part}/{module}.weight"], 3)
        out[start(part, module) + up], out[start(part, module) + down] = u, d
    return out


through_diffusers("peft", "sd1", spelled(names_sd1 + names_conv, ".lora_A.weight", ".lora_B.weight"))
through_diffusers("peft-alpha", "sd1", spelled(names_sd1, ".lora_A.weight", ".lora_B.weight"), {
    "lora_adapter_metadata": '{"unet.lora_alpha": 6, "unet.r": 3, "text_encoder.lora_alpha": 1.5, "text_encoder.r": 3, '
    '"unet.target_modules": ["to_q", "to_k", "to_out.0", "net.0.proj", "proj_in"], "text_encoder.target_modules": ["q_proj", "fc1"]}'})
through_diffusers("diffusers", "sd1", spelled(names_sd1[:6], ".lora.down.weight", ".lora.up.weight"))
through_diffusers("diffusers-text", "sd1", spelled(
    [n for n in names_sd1 if n[0] == "text_encoder" and "attn" in n[1]], ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"))
processors = [n for n in names_sd1 if "attn" in n[1] and n[0] == "unet"]
through_diffusers("diffusers-processor", "sd1", spelled(
    processors, "_lora.down.weight", "_lora.up.weight",
    lambda part, m: "unet." + m.replace(".to_", ".processor.to_").replace("to_out.0", "to_out")))


def peft_dora():
    out = spelled(names_sd1[:8], ".lora_A.weight", ".lora_B.weight")
    for part, m in names_sd1[:8]:
        w = before["sd1"][f"{part}/{m}.weight"]
        if w.dim() == 2:
            out[f"{part}.{m}.lora_magnitude_vector"] = w.norm(dim=1) * (0.8 + 0.4 * torch.rand(w.shape[0]))
    linear = {n.rsplit(".lora_magnitude", 1)[0] for n in out if "magnitude" in n}
    return {n: t for n, t in out.items() if n.split(".lora_")[0] in linear}


through_diffusers("peft-dora", "sd1", peft_dora(), scale=1.0)

# ---- what diffusers does not read ----


def by_definition(name, names, make, strength=0.75):
    """make(weight) gives the file's tensors by their ends and the new weight at a strength."""
    lora, after = {}, dict(before["sd1"])
    for part, module in names:
        w = before["sd1"][f"{part}/{module}.weight"]
        ends, new = make(w.double(), strength)
        for end, t in ends.items():
            lora[spell_sd1(part, module) + end] = t.float() if t.is_floating_point() else t
        if isinstance(new, tuple):
            new, bias = new
            after[f"{part}/{module}.bias"] = (before["sd1"][f"{part}/{module}.bias"].double() + strength * bias).float()
        after[f"{part}/{module}.weight"] = new.float()
    finish(name, "sd1", lora, after)


def rand(*shape):
    return (torch.randn(*shape) * 0.4).double()


def loha(w, s, cp=False):
    o, i, r = w.shape[0], w[0].numel(), 3
    if cp:
        i, k = w.shape[1], w.shape[2:]
        t = {".hada_t1": rand(r, r, *k), ".hada_w1_a": rand(r, o), ".hada_w1_b": rand(r, i),
             ".hada_t2": rand(r, r, *k), ".hada_w2_a": rand(r, o), ".hada_w2_b": rand(r, i)}
        delta = make_weight_cp(t[".hada_t1"], t[".hada_w1_a"], t[".hada_w1_b"], t[".hada_t2"], t[".hada_w2_a"], t[".hada_w2_b"], torch.tensor(2 / r).double())
    else:
        t = {".hada_w1_a": rand(o, r), ".hada_w1_b": rand(r, i), ".hada_w2_a": rand(o, r), ".hada_w2_b": rand(r, i)}
        delta = make_weight(t[".hada_w1_a"], t[".hada_w1_b"], t[".hada_w2_a"], t[".hada_w2_b"], torch.tensor(2 / r).double())
    t[".alpha"] = torch.tensor(2)  # an integer, as some scripts wrote it
    return t, w + s * delta.reshape(w.shape)


by_definition("loha", names_sd1[:6] + names_sd1[-2:] + names_conv[:2], loha)
by_definition("loha-cp", [n for n in names_conv if "conv1" in n[1] or "downsamplers" in n[1]], lambda w, s: loha(w, s, True))


def lokr(w, s, form=0):
    o, i, k, r = w.shape[0], w.shape[1], w.shape[2:], 2
    a, b = (2, o // 2), (2, i // 2)  # small, large
    t, scale = {}, 1.0
    if form in (1, 3):
        t[".lokr_w1_a"], t[".lokr_w1_b"] = rand(a[0], r), rand(r, b[0])
        w1, scale = t[".lokr_w1_a"] @ t[".lokr_w1_b"], 1.5 / r
    else:
        w1 = t[".lokr_w1"] = rand(a[0], b[0])
    if form == 2 and k:
        t[".lokr_t2"], t[".lokr_w2_a"], t[".lokr_w2_b"] = rand(r, r, *k), rand(r, a[1]), rand(r, b[1])
        w2, scale = lokr_cp(t[".lokr_t2"], t[".lokr_w2_a"], t[".lokr_w2_b"]), 1.5 / r
    elif form in (2, 3):
        n = b[1] * (k.numel() if k else 1)
        t[".lokr_w2_a"], t[".lokr_w2_b"] = rand(a[1], r), rand(r, n)
        w2, scale = (t[".lokr_w2_a"] @ t[".lokr_w2_b"]).reshape(a[1], b[1], *k), 1.5 / r
    else:
        w2 = t[".lokr_w2"] = rand(a[1], b[1], *k)
    t[".alpha"] = torch.tensor(1.5)
    return t, w + s * make_kron(w1, w2, scale)


for form in range(4):
    by_definition(f"lokr-{form}", names_sd1[2 * form:2 * form + 4] + names_conv[:2] + names_sd1[-1:], lambda w, s: lokr(w, s, form))


def difference(w, s):
    d = rand(*w.shape)
    return {".diff": d}, w + s * d


def difference_bias(w, s):
    d, b = rand(*w.shape), rand(w.shape[0])
    return ({".w_norm": d, ".b_norm": b} if w.dim() == 1 else {".diff": d, ".diff_b": b}), (w + s * d, b)


by_definition("diff", names_sd1[:3] + names_conv[:2], difference)
by_definition("diff-bias", [("unet", m) for m in modules("sd1", "unet", ["norm1", "conv1", "proj_in"], 1)], difference_bias)


def alphas(w, s):
    up, down = pair(w, 3)
    alpha = torch.rand(()) + 0.5
    return ({".lora_up.weight": up, ".lora_down.weight": down, ".alpha": alpha},
            w + s * alpha.double() / 3 * (up.double().flatten(1) @ down.double().flatten(1)).reshape(w.shape))


by_definition("kohya-alphas", names_sd1[::2] + names_conv[::2], alphas)


def mid(w, s):
    o, i, r = w.shape[0], w.shape[1], 3
    up, core, down = rand(o, r, 1, 1), rand(r, r, *w.shape[2:]), rand(r, i, 1, 1)
    delta = torch.einsum("ij,jabc->iabc", up[:, :, 0, 0], torch.einsum("jkbc,ka->jabc", core, down[:, :, 0, 0])) * (2 / r)
    return {".lora_up.weight": up, ".lora_mid.weight": core, ".lora_down.weight": down, ".alpha": torch.tensor(2.0)}, w + s * delta


by_definition("kohya-mid", [n for n in names_conv if "conv1" in n[1] or "downsamplers" in n[1]], mid)


def dora(w, s, by_input):
    up, down = pair(w, 3)
    up, down = up.double(), down.double()
    whole = w + (2 / 3) * (up.flatten(1) @ down.flatten(1)).reshape(w.shape)
    if by_input:
        norm = whole.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *(1,) * (w.dim() - 2))
    else:
        norm = whole.flatten(1).norm(dim=1).reshape(-1, *(1,) * (w.dim() - 1))
    magnitude = norm * (0.8 + 0.4 * torch.rand(norm.shape))
    return {".lora_up.weight": up, ".lora_down.weight": down, ".alpha": torch.tensor(2.0), ".dora_scale": magnitude}, w + s * (whole * magnitude / norm - w)


by_definition("dora-input", names_sd1[:4] + names_conv[:2], lambda w, s: dora(w, s, True))
by_definition("dora-output", names_sd1[:4] + names_conv[:2], lambda w, s: dora(w, s, False))
