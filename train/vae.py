"""Train the VAE on compositions, first of 128 x 128 pixels, then of the size it is for.

    python vae.py --minutes 25                                    # resumes from runs/vae/last.pt
    python vae.py --size 256 --minutes 25 --run runs/vae256 --start runs/vae/last.pt
    python vae.py --size 256 --decoder --minutes 15 --run runs/vae256  # the decoder alone; latents stay what they are
    python vae.py --size 256 --minutes 40 --run runs/vae256 --start runs/begin/vae.pt --teacher runs/begin/vae.pt  # other GROUPS, the same latents

The learning rate follows the clock: warm-up, flat, then down to zero when the time is up.
"""
import argparse
import json
import pathlib
import signal
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import data
import optim
import workers

RUN = data.HERE / "runs" / "vae"
FINAL = data.HERE / "runs" / "vae256"
CHANNELS = (16, 32, 64, 96)
GROUPS = 4  # of the norms; with 16, a channel of the last level is alone in its group, and a speck comes of it (docs/TRAINING.md)


def build(channels=CHANNELS, groups=GROUPS):
    n = len(channels)
    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n, block_out_channels=channels, layers_per_block=1,
        latent_channels=4, norm_num_groups=groups, sample_size=256)


def load(path, device):
    """A trained one, not to be trained further."""
    s = torch.load(path, map_location=device)
    vae = build(groups=s.get("groups", GROUPS)).to(device).eval().requires_grad_(False)
    vae.load_state_dict(s["vae"])
    return vae


def pictures(d, rng, n, size=128):
    """Whole pictures, never crops: group norm and attention make the VAE depend on the size it has seen (trained
    on 64-pixel crops it reached 23 dB on crops and 14 dB on whole pictures)."""
    out = np.empty((n, size, size, 3), np.uint8)
    for k in range(n):
        i, j = rng.integers(len(d.items), size=2)
        if rng.random() < 0.75:
            b = int(rng.integers(len(data.BG_NAMES)))
            while any(data.held_out(d.items[q]["name"], d.items[q]["style"], data.BG_NAMES[b]) for q in (i, j)):
                b = (b + 1) % len(data.BG_NAMES)
        else:
            b = rng.integers(0, 256, 3)
        r = rng.random()
        place = None if r < 0.8 else data.PLACES[rng.integers(len(data.PLACES))]
        out[k] = d.compose(i, b, place, int(j) if r > 0.92 else None, size=size)
    return out


def held_out_set(d, n, size, seed=5):
    """n whole pictures whose (thing, style, background) were left out of training."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < n:
        i, b = int(rng.integers(len(d.items))), int(rng.integers(len(data.BG_NAMES)))
        if data.held_out(d.items[i]["name"], d.items[i]["style"], data.BG_NAMES[b]):
            out.append(d.compose(i, b, size=size))
    return np.stack(out)


def to_tensor(x, device):
    x = torch.from_numpy(x).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


class Spikes:
    """A decoder of this kind likes to put a few huge values into a corner: they pass through every group norm and set its
    scale, as a register would (up to 300 times the mean size, 21,000 in all). This adds up, for what its convolutions give, by how
    much the values of the 16 largest cells are above `limit` times the mean size, in powers of e. It keeps values small enough for
    f16; a smaller register, and the speck that it leaves in the picture, stay."""

    def __init__(self, vae, limit=16.0):
        self.limit, self.found = limit, threading.local()  # workers share the VAE
        for name, m in vae.decoder.up_blocks.named_modules():
            if isinstance(m, torch.nn.Conv2d):
                m.register_forward_hook(self._look)

    def _look(self, module, inputs, y):
        if getattr(self.found, "rows", None) is not None:
            a = y.float().abs()
            top = a.amax(1).flatten(1).topk(16, 1).values.mean(1) / a.detach().mean((1, 2, 3))
            self.found.rows.append((top / self.limit).clamp(min=1).log().mean())

    def decode(self, vae, z):
        self.found.rows = []
        y = vae.decode(z).sample
        rows, self.found.rows = self.found.rows, None
        return y, torch.stack(rows).mean()


def loss_of(vae, x, kl_weight, decoder_only=False, noise=0.2, bf16=False, spikes=None, spike_weight=0.05, teacher=None):
    """noise: half the pictures are drawn from latents that are off by up to this part of the latents' deviation, as the
    U-Net's are, so that the decoder does not make blotches of them. teacher: a VAE whose latents the encoder is to give, and
    from which half the pictures are drawn."""
    autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=bf16)
    with torch.set_grad_enabled(not decoder_only and torch.is_grad_enabled()), autocast:
        q = vae.encode(x).latent_dist
        z = q.mean if decoder_only else q.sample()
    off = x.new_zeros(())
    if teacher:
        with torch.no_grad():
            known = teacher.encode(x).latent_dist
        off = (q.mean.float() - known.mean).square().mean() / known.mean.square().mean() + 0.01 * (q.logvar.float() - known.logvar).square().mean()
        z = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, known.mean, z.float())
    level = noise * (2 * torch.rand(len(x), 1, 1, 1, device=x.device) - 1).clamp(min=0)
    z = z + torch.randn_like(z) * q.mean.detach().std() * level
    with autocast:
        y, high = spikes.decode(vae, z) if spikes else (vae.decode(z).sample, x.new_zeros(()))
    e = y.float() - x
    mse, l1 = e.square().mean(), e.abs().mean()
    grad = (e[..., 1:] - e[..., :-1]).abs().mean() + (e[..., 1:, :] - e[..., :-1, :]).abs().mean()
    kl = 0.5 * (q.mean.square() + q.var - 1 - q.logvar).float().mean()
    return 2 * mse + 0.5 * l1 + 0.25 * grad + kl_weight * kl + spike_weight * high + 0.5 * off, mse, kl, high, off


@torch.no_grad()
def psnr(vae, pictures, device):
    out, recon = [], []
    for k in range(0, len(pictures), 8):
        x = to_tensor(pictures[k:k + 8], device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        e = ((x - y) / 2).square().mean((1, 2, 3))
        out += (-10 * torch.log10(e + 1e-9)).tolist()
        recon.append(y.cpu())
    return float(np.mean(out)), torch.cat(recon)


def schedule(t, warm=0.02, down=0.5):
    return min(1.0, t / warm + 0.02) * min(1.0, max(0.0, (1 - t) / down))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=25)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--opt", default="muon")
    p.add_argument("--kl", type=float, default=3e-4)
    p.add_argument("--noise", type=float, default=0.2, help="see loss_of")
    p.add_argument("--spikes", type=float, default=0.05, help="weight of the loss against huge values in the decoder; see Spikes")
    p.add_argument("--size", type=int, default=128, choices=(128, 256))
    p.add_argument("--run", default=str(RUN))
    p.add_argument("--start", help="the last.pt of another run to begin from")
    p.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available(), help="autocast; the default on a GPU")
    p.add_argument("--decoder", action="store_true", help="go on with the decoder alone, in runs/vae-decoder")
    p.add_argument("--teacher", help="a VAE whose latents this one's are to be, so that a U-Net which knows them stays of use")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--slice", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = pathlib.Path(a.run + "-decoder" if a.decoder else a.run)
    run.mkdir(parents=True, exist_ok=True)
    d = data.Drawings((256, 128, 64), mmap=True)
    vae = build().to(device).to(memory_format=torch.channels_last)
    begin = a.start or (pathlib.Path(a.run) / "last.pt" if a.decoder else None)
    if begin:
        vae.load_state_dict(torch.load(begin, map_location=device)["vae"])
    teacher = load(a.teacher, device) if a.teacher else None
    spikes = Spikes(vae) if a.spikes else None
    if a.decoder:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    muon, rest = optim.split(vae.parameters(), [vae.encoder.conv_in.weight, vae.decoder.conv_out.weight])
    if a.opt != "muon":
        muon, rest = [], muon + rest
    opt = optim.MuonAdamW(muon, rest)
    parameters, pool = muon + rest, workers.Pool(1 if device == "cuda" else a.workers)
    spent = samples = steps = 0
    last = run / "last.pt"
    if last.exists():
        s = torch.load(last, map_location=device)
        vae.load_state_dict(s["vae"])
        opt.load_state_dict(s["opt"])
        spent, samples, steps = s["spent"], s["samples"], s["steps"]
        rng = np.random.default_rng(a.seed + steps)
    test = held_out_set(d, 8, 128), held_out_set(d, 8, 256)
    log = open(run / "log.jsonl", "a")
    start, saved, said, acc = time.time() - spent, time.time(), time.time(), []
    total, stop = a.minutes * 60, []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # saves, and can be started again
    while (spent := time.time() - start) < total and not stop:
        lr = a.lr * schedule(spent / total)
        x = to_tensor(pictures(d, rng, a.batch, a.size), device)
        out = pool.gradients(lambda x: loss_of(vae, x, a.kl, a.decoder, a.noise, a.bf16, spikes, a.spikes, teacher), parameters, [(s,) for s in x.split(a.slice)])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        opt.step(lr, lr * 0.5 if muon else lr, pool)
        opt.zero_grad()
        acc += out
        steps += 1
        samples += a.batch
        if time.time() - said > 30:
            m = np.mean(acc, 0)
            row = {"minutes": round(spent / 60, 2), "steps": steps, "pictures": samples, "lr": lr, "loss": round(m[0], 5),
                   "train_psnr": round(-10 * np.log10(m[1] / 4), 2), "kl": round(m[2], 3), "spikes": round(m[3], 3), "off": round(m[4], 4)}
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            log.flush()
            acc, said = [], time.time()
        if time.time() - saved > 240:
            saved = time.time()
            save(run, vae, opt, spent, samples, steps, test, device, log)
    save(run, vae, opt, min(spent, total), samples, steps, test, device, log)


def save(run, vae, opt, spent, samples, steps, test, device, log):
    torch.save({"vae": vae.state_dict(), "groups": GROUPS, "opt": opt.state_dict(), "spent": spent, "samples": samples, "steps": steps},
               run / "tmp.pt")
    (run / "tmp.pt").rename(run / "last.pt")
    p128, _ = psnr(vae, test[0], device)
    p256, shown = psnr(vae, test[1], device)
    row = {"minutes": round(spent / 60, 2), "psnr128": round(p128, 2), "psnr256": round(p256, 2)}
    print(json.dumps(row), flush=True)
    log.write(json.dumps(row) + "\n")
    from PIL import Image
    y = ((shown.permute(0, 2, 3, 1).numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
    Image.fromarray(np.concatenate([np.concatenate(list(test[1]), 1), np.concatenate(list(y), 1)], 0)).save(run / "recon.png")


if __name__ == "__main__":
    main()
