"""Goldens of the text encoders: what transformers computes for small CLIPTextModels.

    python tests/golden/make_clip.py

writes tests/golden/models/clip-NAME.{json,safetensors}: the config.json, token ids, embeddings and
outputs in F32. The parameters are drawn by random_weights.py and weights/random.c alike and not
stored, but for clip-folder/, a folder as transformers 5 writes it (its CLIPTextModel has names
without "text_model."). Needs torch, transformers, safetensors. Deterministic.
"""
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from random_weights import draw, fill

HERE = pathlib.Path(__file__).parent / "models"
BOS, EOS = 998, 999

# name: (class, config, seed, batch, tokens)
CASES = {
    # CLIP-L: quick_gelu, padded with its end token
    "clip-l": (CLIPTextModel, dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                                   hidden_act="quick_gelu"), 51, 2, 77),
    # OpenCLIP-H: gelu, another epsilon to see that it is read
    "clip-h": (CLIPTextModel, dict(hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=5,
                                   hidden_act="gelu", layer_norm_eps=1e-4), 52, 1, 77),
    # OpenCLIP-bigG: gelu, projection narrower than the width, padded with 0
    "clip-g": (CLIPTextModelWithProjection, dict(hidden_size=32, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2,
                                                 hidden_act="gelu", projection_dim=24), 53, 3, 77),
    # an odd length, one head
    "clip-short": (CLIPTextModelWithProjection, dict(hidden_size=12, intermediate_size=20, num_hidden_layers=1, num_attention_heads=1,
                                                     hidden_act="quick_gelu", projection_dim=12), 54, 2, 7),
}


def make_ids(seed, batch, tokens, pad):
    g = torch.Generator().manual_seed(seed)
    ids = torch.full((batch, tokens), pad)
    ids[:, 0] = BOS
    for b in range(batch):
        n = [tokens - 2, 0, min(9, tokens - 3)][b % 3]
        ids[b, 1:1 + n] = torch.randint(1, BOS, (n,), generator=g)
        ids[b, 1 + n] = EOS
    return ids


def make(name, kind, config, seed, batch, tokens):
    full = CLIPTextConfig(vocab_size=1000, max_position_embeddings=77, bos_token_id=BOS, eos_token_id=EOS, **config)
    model = kind(full)
    # drawn under the names that files have: older versions' for both classes
    state = model.state_dict()
    old = {k: k if k.startswith(("text_model.", "text_projection.")) else "text_model." + k for k in state}
    model.load_state_dict({k: draw(old[k], tuple(v.shape), seed) for k, v in state.items()})
    model.eval().requires_grad_(False)
    ids = make_ids(seed, batch, tokens, 0 if name == "clip-g" else EOS)
    out = model(ids, output_hidden_states=True)
    tensors = dict(ids=ids.float(), hidden=out.last_hidden_state,
                   pooled=out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output)
    for i, h in enumerate(out.hidden_states):
        tensors[f"state.{i}"] = h
    norm = model.text_model.final_layer_norm if hasattr(model, "text_model") else model.final_layer_norm
    if len(out.hidden_states) > 2:
        tensors["skip2"] = norm(out.hidden_states[-2])
    settings = dict(config, architectures=[kind.__name__], vocab_size=1000, max_position_embeddings=77,
                    bos_token_id=0, eos_token_id=2, pad_token_id=1, _seed=seed)  # the wrong ids of old files
    (HERE / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n")
    save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / f"{name}.safetensors")


def make_folder():
    """save_pretrained() of this version, F16."""
    folder = HERE / "clip-folder"
    shutil.rmtree(folder, ignore_errors=True)
    model = CLIPTextModel(CLIPTextConfig(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                                         num_attention_heads=2, bos_token_id=62, eos_token_id=63))
    fill(model, 55).half().save_pretrained(folder)
    ids = torch.full((1, 77), 63)
    ids[0, :6] = torch.tensor([62, 5, 60, 7, 7, 63])
    save_file(dict(ids=ids.float(), hidden=model.float()(ids).last_hidden_state.contiguous()), HERE / "clip-folder.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each, case in CASES.items():
        make(each, *case)
    make_folder()
