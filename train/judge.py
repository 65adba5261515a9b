"""The judge: a small classifier of thing, style and background, trained on real drawings only.

    python judge.py --minutes 8       # writes runs/judge/last.pt and its accuracy on held-out renderings

It looks at 64 x 64 pixels. Training pictures are composed like the model's, and shifted, scaled, blurred and
made noisy, so that it judges what is drawn and not how sharply. Held-out renderings: the (thing, style,
background) combinations that neither the model nor the judge was trained on.
"""
import argparse
import json
import signal
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import captions
import data
import optim
import workers

RUN = data.HERE / "runs" / "judge"


def block(i, o, stride):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
                         nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class Judge(nn.Module):
    def __init__(self, things, width=32):
        super().__init__()
        w = width
        self.body = nn.Sequential(nn.Conv2d(3, w, 4, 2, 1), nn.ReLU(), block(w, 2 * w, 2), block(2 * w, 4 * w, 2),
                                  block(4 * w, 6 * w, 2), nn.Flatten(), nn.Linear(6 * w * 16, 384), nn.BatchNorm1d(384), nn.ReLU())
        self.thing, self.style, self.background = nn.Linear(384, things), nn.Linear(384, 3), nn.Linear(384, len(data.BG_NAMES))

    def forward(self, x):
        h = self.body(x)
        return self.thing(h), self.style(h), self.background(h)


def to_input(pictures):
    """uint8 [n, s, s, 3], s a multiple of 64 -> float [n, 3, 64, 64]"""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.avg_pool2d(x, x.shape[-1] // 64)


def augment(x, rng):
    n = len(x)
    s = torch.tensor(rng.uniform(0.88, 1.12, n), dtype=torch.float32)
    t = torch.tensor(rng.uniform(-0.08, 0.08, (n, 2)), dtype=torch.float32)
    m = torch.zeros(n, 2, 3)
    m[:, 0, 0] = m[:, 1, 1] = s
    m[:, :, 2] = t
    m = m.to(x.device)
    x = F.grid_sample(x, F.affine_grid(m, list(x.shape), align_corners=False), padding_mode="border", align_corners=False)
    if rng.random() < 0.6:
        k = int(rng.integers(1, 3))
        x = F.avg_pool2d(x, 2 * k + 1, 1, k, count_include_pad=False)
    return x + torch.randn_like(x) * float(rng.uniform(0, 0.12))


def batch(d, rng, n, drawings, held):
    i = rng.choice(drawings, n)
    b = rng.integers(0, len(data.BG_NAMES), n)
    for k in range(n):
        while data.held_out(d.items[i[k]]["name"], d.items[i[k]]["style"], data.BG_NAMES[b[k]]) != held:
            if held:
                i[k] = rng.choice(drawings)
            b[k] = rng.integers(len(data.BG_NAMES))
    pictures = np.stack([d.compose(int(p), int(q), size=64) for p, q in zip(i, b)])
    return pictures, torch.tensor(d.thing[i]), torch.tensor(d.style[i]), torch.tensor(b)


def load():
    """The trained judge, on the CPU."""
    d_names = json.load(open(RUN / "report.json"))["things"]
    j = Judge(d_names)
    j.load_state_dict(torch.load(RUN / "last.pt", map_location="cpu"))
    return j.eval()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=8)
    p.add_argument("--batch", type=int, default=96)
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available(), help="autocast; the default on a GPU")
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(21)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng = np.random.default_rng(21)
    RUN.mkdir(parents=True, exist_ok=True)
    d = data.Drawings((64,))
    everything = np.arange(len(d.items))
    common = set(captions.common_things())
    frequent = np.array([i for i in everything if d.items[i]["name"] in common])
    j = Judge(len(d.names)).to(device)
    muon, rest = optim.split(j.parameters(), [j.thing.weight, j.style.weight, j.background.weight, j.body[0].weight])
    opt = optim.MuonAdamW(muon, rest)
    before, spent, half = 0, 0.0, RUN / "unfinished.pt"
    if half.exists():
        s = torch.load(half, map_location=device)
        j.load_state_dict(s["judge"])
        opt.load_state_dict(s["opt"])
        before, spent = s["pictures"], s["spent"]
        rng = np.random.default_rng(21 + before)
    elif (RUN / "last.pt").exists():  # go on from the last run, with a schedule of its own
        j.load_state_dict(torch.load(RUN / "last.pt", map_location=device))
        before = json.load(open(RUN / "report.json"))["pictures"]
    start, stop = time.time() - spent, []
    said = saved = time.time()
    n, acc = 0, []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))

    def keep():
        torch.save({"judge": j.state_dict(), "opt": opt.state_dict(), "pictures": before + n, "spent": time.time() - start}, RUN / "tmp.pt")
        (RUN / "tmp.pt").rename(half)

    while (t := (time.time() - start) / (60 * a.minutes)) < 1:
        if stop:
            return keep()
        if time.time() - saved > 180:
            keep()
            saved = time.time()
        x, *labels = batch(d, rng, a.batch, frequent if rng.random() < 0.4 else everything, False)
        thing, style, bg = (y.to(device) for y in labels)
        x = augment(to_input(x).to(device), rng)
        with torch.autocast(device, torch.bfloat16, enabled=a.bf16):
            o = [y.float() for y in j(x)]
        loss = F.cross_entropy(o[0], thing, label_smoothing=0.05) + F.cross_entropy(o[1], style) + 0.3 * F.cross_entropy(o[2], bg)
        loss.backward()
        lr = a.lr * min(1, t / 0.03 + 0.05) * min(1, (1 - t) / 0.5)
        opt.step(lr, lr * 0.5)
        opt.zero_grad()
        n += a.batch
        acc.append([float(loss.detach()), float((o[0].argmax(1) == thing).float().mean())])
        if time.time() - said > 20:
            print(json.dumps({"minutes": round(t * a.minutes, 2), "pictures": n, "loss": round(np.mean(acc, 0)[0], 3), "top1": round(np.mean(acc, 0)[1], 3)}), flush=True)
            said, acc = time.time(), []
    j.eval().cpu()
    report = {"things": len(d.names), "pictures": before + n, "seconds": round(time.time() - start)}
    for label, drawings in (("all", everything), ("common", frequent)):
        hits = []
        with torch.no_grad():
            for _ in range(10):
                x, thing, style, bg = batch(d, rng, 100, drawings, True)
                o = j(to_input(x))
                top5 = o[0].topk(5).indices == thing[:, None]
                hits.append([float(v.float().mean()) for v in (top5[:, 0], top5.any(1), o[1].argmax(1) == style, o[2].argmax(1) == bg)])
        report[label] = dict(zip(("top1", "top5", "style", "background"), np.mean(hits, 0).round(4).tolist()))
    torch.save(j.state_dict(), RUN / "last.pt")
    half.unlink(missing_ok=True)
    json.dump(report, open(RUN / "report.json", "w"), indent=1)
    print(report)


if __name__ == "__main__":
    main()
