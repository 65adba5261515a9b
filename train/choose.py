"""Averaged or last weights? After a short run the average lags behind. Both predict held-out pictures; the better
one is written to runs/unet256/final.pt, which export.py takes.

    python choose.py [--run runs/unet256] [--vae runs/vae256/last.pt]
"""
import argparse
import json
import pathlib

import numpy as np
import torch
from transformers import CLIPTokenizer

import captions
import data
import model
import text as text_module
import unet as unet_module
import vae as vae_module


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", default=str(unet_module.FINAL))
    p.add_argument("--vae", default=str(vae_module.FINAL / "last.pt"))
    p.add_argument("--size", type=int, default=model.SIZE)
    a = p.parse_args()
    torch.set_num_threads(1)
    d = data.Drawings((256, 128, 64), mmap=True)
    vae = vae_module.load(a.vae, "cpu")
    run = pathlib.Path(a.run)
    last = torch.load(run / "last.pt", map_location="cpu")
    scale = torch.load(run / "ema.pt", map_location="cpu")["scale"]
    rng = np.random.default_rng(77)
    common = set(captions.common_things())
    specs = []
    while len(specs) < 60:
        i, b = int(rng.integers(len(d.items))), int(rng.integers(len(data.BG_NAMES)))
        r = d.items[i]
        if r["name"] in common and data.held_out(r["name"], r["style"], data.BG_NAMES[b]):
            specs.append((i, b))
    texts = [f"{d.items[i]['name']}, {d.items[i]['style']}, {data.BG_NAMES[b]} background" for i, b in specs]
    ids = text_module.encode_captions(CLIPTokenizer.from_pretrained(captions.TOKENIZER), texts)
    ids = torch.nn.functional.pad(ids, (0, 77 - ids.shape[1]), value=int(ids[0, -1]))
    ac = model.alphas_cumprod()
    result = {}
    raw = {"unet." + k: v for k, v in last["unet"].items()} | {"text." + k: v for k, v in last["text"].items()}
    with torch.no_grad():
        x0 = torch.cat([vae.encode(vae_module.to_tensor(np.stack([d.compose(*s, size=a.size) for s in specs[k:k + 10]]), "cpu")).latent_dist.mean
                        for k in range(0, 60, 10)]) * scale
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5))
        for name, w in (("ema", last["ema"]), ("raw", raw)):
            u, e = model.build_unet().eval(), model.build_text().eval()
            u.load_state_dict({n[5:]: q for n, q in w.items() if n.startswith("unet.")})
            e.load_state_dict({n[5:]: q for n, q in w.items() if n.startswith("text.")}, strict=False)
            h = e(input_ids=ids).last_hidden_state
            losses = []
            for k, t in enumerate((999, 850, 700, 500, 300)):
                q = ac[t]
                v = q.sqrt() * noise - (1 - q).sqrt() * x0
                p = u(q.sqrt() * x0 + (1 - q).sqrt() * noise, t, encoder_hidden_states=h).sample
                losses.append(round(float((p - v).square().mean()), 4))
            result[name] = losses
    best = min(result, key=lambda k: sum(result[k]))
    print(json.dumps({**result, "timesteps": [999, 850, 700, 500, 300], "taken": best}))
    torch.save({"ema": last["ema"] if best == "ema" else raw, "scale": scale, "state": last["state"]}, run / "final.pt")


if __name__ == "__main__":
    main()
