"""Train U-Net and text encoder together on latents.

    python unet.py --until 05:00      # or --minutes 90; resumes from runs/unet/last.pt
    python unet.py --size 256 --start runs/unet/last.pt --run runs/unet256 ...   # larger pictures, from that model

The pictures are composed and encoded by the VAE as they are first needed and kept (2 KB each at 128 x 128), up to
`--cap`; 10 % of the captions are empty. v-prediction, min-SNR weights, learning rate by the clock: warm-up, flat, then down to
zero when the time is up. The last `--full` part of the time uses all 77 text states, before that a short
text whose last padding state stands for the rest (model.pad_bias).
"""
import argparse
import copy
import datetime
import json
import pathlib
import signal
import time

import numpy as np
import torch
from transformers import CLIPTokenizer

import captions
import data
import model
import optim
import specs
import text as text_module
import vae as vae_module
import workers

RUN = data.HERE / "runs" / "unet"
FINAL = data.HERE / "runs" / "unet256"
PROMPTS = ["cat, 3d style, blue background", "dog, noto style, white background", "red apple, flat style, yellow background",
           "automobile, 3d style, green background", "rocket, noto style, black background", "tulip, flat style, pink background",
           "house, noto style, teal background", "grinning face, 3d style, white background", "pizza, flat style, grey background",
           "guitar, 3d style, purple background", "owl, noto style, orange background", "christmas tree, flat style, red background",
           "a small fish, 3d style, blue background", "a cat and a red apple, 3d style, white background",
           "butterfly on the left, flat style, green background", "panda"]


class Pool:
    """Latents of composed pictures. `latents` [n, 4, size / 8, size / 8] f16, `specs` list, one list of rows for each kind."""

    def __init__(self, drawings, vae, scale, cap, device, size):
        self.d, self.vae, self.scale, self.cap, self.device, self.size = drawings, vae, scale, cap, device, size
        self.sampler = specs.Sampler(drawings)
        self.specs, self.rows, self.known = [], {k: [] for k in specs.KINDS}, set()
        self.latents = torch.zeros(cap, 4, size // 8, size // 8, dtype=torch.float16, device=device)
        self.limit = dict(zip(specs.KINDS, (cap * np.array([0.66, 0.14, 0.12, 0.08])).astype(int)))

    @torch.no_grad()
    def encode(self, sp):
        x = vae_module.to_tensor(np.stack([self.d.compose(*s, size=self.size) for s in sp]), self.device)
        return (self.vae.encode(x).latent_dist.mean * self.scale).half()

    def grow(self, rng, wanted, workers_pool):
        """wanted: {kind: how many}. Draws specs that are not there yet and encodes them; when a kind has its share of the
        pool, they take the places of others."""
        new = []
        for kind, n in wanted.items():
            for _ in range(4 * n):
                if n <= 0:
                    break
                s = self.sampler.draw(rng, kind)
                if s not in self.known:
                    self.known.add(s)
                    new.append((kind, s))
                    n -= 1
        parts = [new[k:k + 8] for k in range(0, len(new), 8)]
        for part, z in zip(parts, workers_pool.map(self.encode, [([s for _, s in part],) for part in parts])):
            for (kind, s), one in zip(part, z):
                if len(self.rows[kind]) < self.limit[kind]:
                    r = len(self.specs)
                    self.rows[kind].append(r)
                    self.specs.append(s)
                else:
                    r = self.rows[kind][rng.integers(len(self.rows[kind]))]
                    self.known.discard(self.specs[r])
                    self.specs[r] = s
                self.latents[r] = one

    def draw(self, rng, n):
        rows = [self.rows[k][rng.integers(len(self.rows[k]))] for k in rng.choice(specs.KINDS, n, p=specs.WEIGHTS)]
        return rows

    def state(self):
        n = len(self.specs)
        return {"latents": self.latents[:n].cpu().clone(), "specs": self.specs, "rows": self.rows}

    def load(self, s):
        self.specs, self.rows = s["specs"], s["rows"]
        self.known = set(self.specs)
        self.latents[:len(self.specs)] = s["latents"].to(self.device)


def latent_scale(drawings, vae, device, size, n=256):
    rng, s = np.random.default_rng(9), specs.Sampler(drawings)
    with torch.no_grad():
        z = torch.cat([vae.encode(vae_module.to_tensor(np.stack([drawings.compose(*s.draw(rng, "common"), size=size)
                                                                 for _ in range(16)]), device)).latent_dist.mean
                       for _ in range(n // 16)])
    return float(1 / z.std())


def schedule(t, warm=0.02, down=0.8):
    return min(1.0, t / warm + 0.02) * min(1.0, max(0.0, (1 - t) / down))


def grid(unet, enc, vae, tok, scale, path, device, size, guidance=4.0):
    ids = [tok(p, padding="max_length", max_length=77)["input_ids"] for p in PROMPTS + [""]]
    with torch.no_grad():
        h = enc(input_ids=torch.tensor(ids, device=device)).last_hidden_state
        noise = torch.randn(len(PROMPTS), 4, size // 8, size // 8, generator=torch.Generator().manual_seed(11)).to(device)
        z = model.sample(unet, h[:-1], h[-1:], noise, 20, guidance)
        y = vae.decode(z / scale).sample
    from PIL import Image
    y = ((y.permute(0, 2, 3, 1).cpu().numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
    Image.fromarray(np.concatenate([np.concatenate(list(y[k:k + 8]), 1) for k in range(0, 16, 8)], 0)).save(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=90)
    p.add_argument("--until", help="HH:MM, instead of --minutes: the schedule ends then, pauses included")
    p.add_argument("--batch", type=int, default=48, help="samples a step")
    p.add_argument("--draws", type=int, default=1, help="noises for each picture of a step")
    p.add_argument("--slice", type=int, default=12)
    p.add_argument("--lr", type=float, default=5e-3)
    p.add_argument("--adam-lr", type=float, default=2e-3)
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available(), help="autocast; the default on a GPU")
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available(),
                   help="torch.compile with CUDA graphs, always with all 77 text states; the default on a GPU")
    p.add_argument("--text-lr", type=float, default=7e-4)
    p.add_argument("--cap", type=int, default=16000)
    p.add_argument("--initial", type=int, default=2400, help="pictures encoded before the first step")
    p.add_argument("--grow", type=int, default=8, help="pictures composed and encoded at each step")
    p.add_argument("--again", action="store_true", help="from the weights of the last run, with a schedule of its own")
    p.add_argument("--late", type=float, default=0.6, help="t = 1000 u^late: below 1 prefers noisy timesteps")
    p.add_argument("--full", type=float, default=0.1)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--stop-after", type=float, default=1e9, help="minutes; for trials, does not change the schedule")
    p.add_argument("--size", type=int, default=model.SIZE, choices=(128, 256))
    p.add_argument("--run", default=str(RUN))
    p.add_argument("--start", help="the last.pt of another run, also of a smaller model or smaller pictures, to begin from")
    p.add_argument("--vae", default=str(vae_module.RUN / "last.pt"))
    p.add_argument("--pool", default=str(data.HERE / "runs" / "pool.pt"))
    p.add_argument("--text", default=str(text_module.RUN / "last.pt"))
    p.add_argument("--text-from", help="takes the text encoder from this run of text.py, once, also in the middle of a run")
    p.add_argument("--watts", type=float, default=15, help="assumed power of the cores used, for the energy estimate")
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(7)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = pathlib.Path(a.run)
    run.mkdir(parents=True, exist_ok=True)
    d = data.Drawings((256, 128, 64), mmap=True)
    tok = CLIPTokenizer.from_pretrained(captions.TOKENIZER)
    vae = vae_module.load(a.vae, device)
    unet, enc = model.build_unet().to(device), model.build_text().to(device)
    fmt = torch.channels_last if a.channels_last else torch.contiguous_format
    unet = unet.to(memory_format=fmt)
    predict = torch.compile(unet, mode="reduce-overhead") if a.compile else unet
    if pathlib.Path(a.text).exists():
        enc.load_state_dict(torch.load(a.text, map_location=device)["text"])
    named = [("unet." + n, q) for n, q in unet.named_parameters()] + [("text." + n, q) for n, q in enc.named_parameters()]
    by_adam = [q for n, q in named if n.startswith("text.") or "embedding" in n or "conv_in" in n or "conv_out" in n]
    muon, rest = optim.split([q for _, q in named], by_adam)
    is_text = {id(q) for n, q in named if n.startswith("text.")}
    opt = optim.MuonAdamW(muon, [{"params": [q for q in rest if id(q) not in is_text], "scale": 1.0},
                                 {"params": [q for q in rest if id(q) in is_text], "scale": a.text_lr / a.adam_lr}])
    parameters = muon + rest
    ema = {n: q.detach().clone() for n, q in named}
    workers_pool = workers.Pool(1 if device == "cuda" else a.workers)
    state = {"spent": 0.0, "steps": 0, "samples": 0, "cpu": 0.0, "began": 0}
    last, pool_file = run / "last.pt", pathlib.Path(a.pool)
    kept = torch.load(pool_file) if pool_file.exists() else None
    scale = kept["scale"] if kept else latent_scale(d, vae, device, a.size)
    pool = Pool(d, vae, scale, a.cap, device, a.size)
    if kept:
        pool.load(kept)
    if a.start and not last.exists():
        s = torch.load(a.start, map_location=device)
        model.grow(unet, s["unet"])
        enc.load_state_dict(s["text"])
        ema = {n: q.detach().clone() for n, q in named}
        state |= {k: s["state"][k] for k in ("steps", "samples", "cpu")}
        state["began"] = state["steps"]
    if last.exists():
        s = torch.load(last, map_location=device)
        unet.load_state_dict(s["unet"])
        enc.load_state_dict(s["text"])
        opt.load_state_dict(s["opt"])
        opt.adam.param_groups[1]["scale"] = a.text_lr / a.adam_lr
        ema, state = s["ema"], state | s["state"]
        if a.again:
            state["spent"] = 0.0
    if a.text_from and state.get("text_from") != a.text_from:
        enc.load_state_dict(torch.load(a.text_from, map_location=device)["text"])
        ema.update({n: q.detach().clone() for n, q in named if n.startswith("text.")})
        state["text_from"] = a.text_from
    rng = np.random.default_rng(100 + state["steps"])
    if not pool.specs:
        t0 = time.time()
        pool.grow(rng, dict(zip(specs.KINDS, (a.initial * np.array([0.75, 0.12, 0.08, 0.05])).astype(int))), workers_pool)
        torch.save({**pool.state(), "scale": scale}, pool_file)
        print(json.dumps({"pool": len(pool.specs), "seconds": round(time.time() - t0), "scale": scale}), flush=True)
    ac = model.alphas_cumprod().to(device)
    start = time.time() - state["spent"]
    total = a.minutes * 60
    if a.until:
        h, m = map(int, a.until.split(":"))
        end = datetime.datetime.now().replace(hour=h, minute=m, second=0)
        total = end.timestamp() - start
    log = open(run / "log.jsonl", "a")
    cpu0 = time.process_time() - state["cpu"]
    said = saved = drawn = time.time()
    acc, opened = [], False

    def loss_fn(ids, z, t, noise):
        with torch.autocast(device, torch.bfloat16, enabled=a.bf16):
            h = enc(input_ids=ids).last_hidden_state
        h = h.repeat_interleave(a.draws, 0)
        m = None if ids.shape[1] == 77 else model.pad_bias(ids.shape[1], len(h), device)
        x0 = z.float().repeat_interleave(a.draws, 0)
        q = ac[t].view(-1, 1, 1, 1)
        x = q.sqrt() * x0 + (1 - q).sqrt() * noise
        v = q.sqrt() * noise - (1 - q).sqrt() * x0
        with torch.autocast(device, torch.bfloat16, enabled=a.bf16):
            p = predict(x.contiguous(memory_format=fmt), t, encoder_hidden_states=h, encoder_attention_mask=m).sample
        e = (p.float() - v).square().mean((1, 2, 3))
        snr = ac[t] / (1 - ac[t])
        w = (6 / (snr + 1)).clamp(max=1)  # min-SNR-5, shifted by one so that zero SNR keeps its weight
        return (w * e).mean(), e.mean(), e[t > 800].mean() if (t > 800).any() else e.mean() * float("nan")

    def save():
        state["spent"], state["cpu"] = time.time() - start, time.process_time() - cpu0
        torch.save({"unet": unet.state_dict(), "text": enc.state_dict(), "opt": opt.state_dict(), "ema": ema, "state": state}, run / "tmp.pt")
        (run / "tmp.pt").rename(last)
        torch.save({"ema": ema, "scale": scale, "state": state}, run / "tmp.pt")
        (run / "tmp.pt").rename(run / "ema.pt")

    def draw_grid():
        eu, et = copy.deepcopy(unet).eval(), copy.deepcopy(enc).eval()
        eu.load_state_dict({n[5:]: q for n, q in ema.items() if n.startswith("unet.")})
        et.load_state_dict({n[5:]: q for n, q in ema.items() if n.startswith("text.")}, strict=False)
        grid(eu, et, vae, tok, scale, run / f"grid-{state['steps']:05d}.png", device, a.size)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # saves, and can be started again
    while (spent := time.time() - start) < min(total, a.stop_after * 60) and not stop:
        f = spent / total
        lr_now = schedule(f)
        full = a.compile or f > 1 - a.full
        if full and not opened:
            opened = True
            print("all 77 text states from here", flush=True)
        n = a.batch // a.draws
        new = rng.choice(specs.KINDS, a.grow, p=specs.WEIGHTS)
        pool.grow(rng, {k: int((new == k).sum()) for k in specs.KINDS}, workers_pool)
        rows = pool.draw(rng, n)
        texts = ["" if rng.random() < 0.1 else captions.caption(rng, d.items, *pool.specs[r]) for r in rows]
        ids = [tok(x, truncation=True, max_length=77)["input_ids"] for x in texts]
        order = sorted(range(n), key=lambda k: len(ids[k]))
        u = (torch.randperm(a.batch) + torch.rand(a.batch)) / a.batch  # stratified; noisy steps decide what is drawn
        t_all = (u.pow(a.late) * 1000).long().clamp(max=999).to(device)
        slices = []
        for k in range(0, n, a.slice):
            part = order[k:k + a.slice]
            length = 77 if full else max(len(ids[q]) for q in part) + 1
            i = torch.tensor([ids[q] + [tok.pad_token_id] * (length - len(ids[q])) for q in part], device=device)
            z = pool.latents[torch.tensor([rows[q] for q in part], device=device)]
            b = len(part) * a.draws
            slices.append((i, z, t_all[k * a.draws:k * a.draws + b], torch.randn(b, 4, a.size // 8, a.size // 8, device=device)))
        acc += workers_pool.gradients(loss_fn, parameters, slices)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        opt.step(a.lr * lr_now, a.adam_lr * lr_now, workers_pool)
        opt.zero_grad()
        state["steps"] += 1
        state["samples"] += a.batch
        age = state["steps"] - state["began"]
        decay = min(0.995, (1 + age) / (10 + age))
        with torch.no_grad():
            torch._foreach_lerp_([ema[k] for k, _ in named], [q for _, q in named], 1 - decay)
        if time.time() - said > 30:
            m = np.nanmean(np.array(acc), 0)
            cpu = time.process_time() - cpu0
            row = {"minutes": round(spent / 60, 2), "steps": state["steps"], "pictures": state["samples"], "loss": round(m[0], 4),
                   "v_mse": round(m[1], 4), "v_mse_t>800": round(m[2], 4), "grad": round(float(norm), 3), "lr": round(a.lr * lr_now, 6),
                   "pool": len(pool.specs), "cpu_hours": round(cpu / 3600, 3), "wh": round(cpu / 3600 * a.watts, 1)}
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            log.flush()
            said, acc = time.time(), []
        if time.time() - saved > 180:
            save()
            saved = time.time()
        if time.time() - drawn > 600:
            torch.save({**pool.state(), "scale": scale}, pool_file)
            draw_grid()
            drawn = time.time()
    save()
    torch.save({**pool.state(), "scale": scale}, pool_file)
    if not stop:
        draw_grid()


if __name__ == "__main__":
    main()
