"""Write the trained parts as a diffusers folder in f16.

    python export.py --to ../assets/models/starter

`StableDiffusionPipeline.from_pretrained(folder)` loads the result unchanged. `figment.json` beside it holds the
program's defaults for the model and the linear map from latents to colours that its preview uses.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import captions
import data
import model
import unet as unet_module
import vae as vae_module

SCHEDULER = {
    "_class_name": "DDIMScheduler", "_diffusers_version": "0.30.0", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", "feature_extractor": [None, None], "image_encoder": [None, None],
    "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def half(state):
    out = {k: v.detach().half().contiguous().clone() for k, v in state.items() if v.is_floating_point()}
    assert all(torch.isfinite(v).all() for v in out.values())
    return out


def preview(pool_file, n=192):
    """[5, 3]: four latents and a constant to a colour in -1 to 1, the best linear map over n training pictures."""
    s, d = torch.load(pool_file), data.Drawings((256, 128, 64), mmap=True)
    rows = np.random.default_rng(3).choice(len(s["specs"]), min(n, len(s["specs"])), replace=False)
    x = torch.tensor(np.stack([d.compose(*s["specs"][r], size=model.SIZE) for r in rows])).permute(0, 3, 1, 2).float() / 127.5 - 1
    colours = F.avg_pool2d(x, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    z = s["latents"][torch.from_numpy(rows)].float().permute(0, 2, 3, 1).reshape(-1, 4)
    z = torch.cat([z, torch.ones(len(z), 1)], 1)
    m = torch.linalg.lstsq(z, colours).solution
    print("preview: R2", (1 - (z @ m - colours).var(0) / colours.var(0)).tolist())
    return [[round(float(v), 4) for v in row] for row in m]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--to", default=str(data.HERE.parent / "assets" / "models" / "starter"))
    p.add_argument("--unet", default=str(unet_module.FINAL / "final.pt"))
    p.add_argument("--vae", help="default: the decoder's last step where there is one, else the VAE")
    p.add_argument("--pool", default=str(data.HERE / "runs" / "pool256.pt"), help="for the preview; without it, it stays")
    a = p.parse_args()
    to = pathlib.Path(a.to)
    ck = torch.load(a.unet, map_location="cpu")
    unet, enc = model.build_unet(), model.build_text()
    unet.load_state_dict({n[5:]: q for n, q in ck["ema"].items() if n.startswith("unet.")})
    enc.load_state_dict({n[5:]: q for n, q in ck["ema"].items() if n.startswith("text.")}, strict=False)
    decoder = vae_module.FINAL.with_name(vae_module.FINAL.name + "-decoder") / "last.pt"
    vae = vae_module.load(a.vae or (decoder if decoder.exists() else vae_module.FINAL / "last.pt"), "cpu")
    vae.register_to_config(scaling_factor=round(ck["scale"], 6))
    write_json(to / "model_index.json", INDEX)
    write_json(to / "scheduler" / "scheduler_config.json", SCHEDULER)
    for part, m in (("unet", unet), ("vae", vae)):
        config = {k: v for k, v in json.loads(m.to_json_string()).items() if k != "_name_or_path"}
        write_json(to / part / "config.json", config)
        save_file(half(m.state_dict()), to / part / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    c = enc.config
    write_json(to / "text_encoder" / "config.json", {
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": c.vocab_size, "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size, "num_hidden_layers": c.num_hidden_layers,
        "num_attention_heads": c.num_attention_heads, "max_position_embeddings": c.max_position_embeddings,
        "hidden_act": "quick_gelu", "layer_norm_eps": c.layer_norm_eps, "attention_dropout": 0.0, "projection_dim": c.projection_dim,
        "bos_token_id": c.bos_token_id, "eos_token_id": c.eos_token_id, "pad_token_id": c.pad_token_id,
        "initializer_factor": 1.0, "initializer_range": 0.02, "torch_dtype": "float16"})
    state = {(k if k.startswith("text_model.") else "text_model." + k): v for k, v in enc.state_dict().items()}
    save_file(half(state), to / "text_encoder" / "model.safetensors", {"format": "pt"})
    if pathlib.Path(a.pool).exists():
        rows = ",\n    ".join(json.dumps(r) for r in preview(a.pool))
        (to / "figment.json").write_text('{\n  "width": %d,\n  "height": %d,\n  "steps": 20,\n  "cfg": 3,\n  "preview": [\n    %s\n  ]\n}\n'
                                         % (model.SIZE, model.SIZE, rows))
    (to / "tokenizer").mkdir(exist_ok=True)
    for f in captions.TOKENIZER.iterdir():
        shutil.copy(f, to / "tokenizer" / f.name)
    for f in to.rglob("*.safetensors"):
        f.chmod(0o644)
    size = sum(f.stat().st_size for f in to.rglob("*.safetensors"))
    print(f"{to}: {size / 1e6:.1f} MB of weights, {ck['state']['samples']} pictures seen")


if __name__ == "__main__":
    main()
