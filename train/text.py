"""Teach the text encoder what words look like: from the caption alone, draw the picture at 32 x 32 pixels.

    python text.py --minutes 6      # writes runs/text/last.pt, which unet.py begins with; resumes from it

Sixteen learned queries read the text states by cross-attention, as the U-Net's lowest level will, and each predicts a
patch of 8 x 8 pixels. The head is thrown away. The U-Net's own gradient says the same, but a caption costs a
tenth of a U-Net sample here. --start takes the encoder from a U-Net run, to teach it more in between.
"""
import argparse
import json
import pathlib
import signal
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import CLIPTokenizer

import captions
import data
import model
import optim
import specs
import workers

RUN = data.HERE / "runs" / "text"


class Head(nn.Module):
    def __init__(self, width=256, heads=4):
        super().__init__()
        self.query = nn.Parameter(torch.randn(16, width) * 0.5)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Sequential(nn.Linear(width, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, 192))
        self.heads = heads

    def forward(self, h, bias):
        b, t, w = h.shape
        k, v = self.kv(h).view(b, t, 2, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        q = self.query.view(1, 16, self.heads, -1).transpose(1, 2).expand(b, -1, -1, -1)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None, None, :])
        o = self.out(o.transpose(1, 2).reshape(b, 16, w) + self.query)
        return o.view(b, 4, 4, 8, 8, 3).transpose(2, 3).reshape(b, 32, 32, 3)


def encode_captions(tokenizer, texts):
    """Token ids [n, length], padded with the end token to one past the longest."""
    ids = [tokenizer(t, truncation=True, max_length=model.TEXT_LENGTH)["input_ids"] for t in texts]
    length = min(model.TEXT_LENGTH, max(map(len, ids)) + 1)
    return torch.tensor([i + [tokenizer.pad_token_id] * (length - len(i)) for i in ids])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=6)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--opt", default="muon")
    p.add_argument("--slice", type=int, default=16)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--out", default=str(RUN / "last.pt"))
    p.add_argument("--start", help="last.pt of a U-Net run, whose text encoder to go on with")
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    last = pathlib.Path(a.out)
    last.parent.mkdir(parents=True, exist_ok=True)
    d = data.Drawings((64,))
    d.small()
    sampler = specs.Sampler(d)
    tok = CLIPTokenizer.from_pretrained(captions.TOKENIZER)
    enc, head = model.build_text().to(device), Head().to(device)
    both = list(enc.parameters()) + list(head.parameters())
    emb = [q for n, q in enc.named_parameters() if "embedding" in n]
    muon, rest = optim.split(both, emb + [head.query])
    if a.opt != "muon":
        muon, rest = [], muon + rest
    opt = optim.MuonAdamW(muon, rest)
    pool = workers.Pool(1 if device == "cuda" else a.workers)
    spent, n = 0.0, 0
    if a.start and not last.exists():
        enc.load_state_dict(torch.load(a.start, map_location=device)["text"])
    if last.exists():
        s = torch.load(last, map_location=device)
        enc.load_state_dict(s["text"])
        head.load_state_dict(s["head"])
        opt.load_state_dict(s["opt"])
        spent, n = s["seconds"], s["captions"]
        rng = np.random.default_rng(3 + n)
    start, acc = time.time() - spent, []
    said = saved = time.time()

    def batch(size):
        sp = [sampler.draw(rng, k) for k in rng.choice(specs.KINDS, size, p=specs.WEIGHTS)]
        texts = [captions.caption(rng, d.items, *s) for s in sp]
        pics = np.stack([d.compose(*s, size=64).reshape(32, 2, 32, 2, 3).mean((1, 3)) for s in sp])
        ids = encode_captions(tok, texts)
        return ids.to(device), torch.tensor(pics, dtype=torch.float32, device=device) / 127.5 - 1

    def loss_fn(ids, y):
        h = enc(input_ids=ids).last_hidden_state
        bias = (1 - model.pad_bias(ids.shape[1], len(ids), device)) * -10000
        loss = (head(h, bias) - y).square().mean()
        return loss, loss

    def save():
        torch.save({"text": enc.state_dict(), "head": head.state_dict(), "opt": opt.state_dict(), "captions": n,
                    "seconds": time.time() - start}, last.with_name("tmp.pt"))
        last.with_name("tmp.pt").rename(last)

    total, stop = a.minutes * 60, []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    while (t := (time.time() - start) / total) < 1 and not stop:
        lr = a.lr * min(1, t / 0.03 + 0.05) * min(1, (1 - t) / 0.6)
        ids, y = batch(a.batch)
        acc += pool.gradients(loss_fn, muon + rest, list(zip(ids.split(a.slice), y.split(a.slice))))
        opt.step(lr, lr * 0.5 if muon else lr, pool)
        opt.zero_grad()
        n += a.batch
        if time.time() - said > 20:
            print(json.dumps({"minutes": round(t * a.minutes, 2), "captions": n, "loss": round(float(np.mean([x[0] for x in acc])), 4)}), flush=True)
            said, acc = time.time(), []
        if time.time() - saved > 120:
            save()
            saved = time.time()
    save()


if __name__ == "__main__":
    main()
