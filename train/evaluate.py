"""Measure an exported model: what the judge sees in generated pictures, and how near they are to training pictures.

    python evaluate.py --model ../assets/models/starter --out runs/evaluate [--figment ../build/app/figment]

Prompts (seeds fixed): every one of the 300 common things once with a (style, background) seen in training; held-out
combinations; other things; two things side by side. --fraction takes an even part of them. Resumes: pictures that
are there already are not drawn again. With --figment the program draws them, with torch's noise of the same seeds.
"""
import argparse
import json
import pathlib
import subprocess
import time

import numpy as np
import torch
from PIL import Image

import captions
import data
import judge
import model
import vae as vae_module


def prompts(d):
    rng = np.random.default_rng(600)
    common = captions.common_things()
    other = [n for n in d.names if n not in set(common)]
    out = []

    def one(kind, name, held):
        while True:
            s, b = data.STYLES[rng.integers(3)], data.BG_NAMES[rng.integers(len(data.BG_NAMES))]
            if (name, s) in d.index and data.held_out(name, s, b) == held:
                out.append({"kind": kind, "things": [name], "style": s, "background": b, "prompt": f"{name}, {s}, {b} background"})
                return
    for name in common:
        one("common", name, False)
    for name in rng.choice([n for n in common if any(data.held_out(n, s, b) for s in data.STYLES for b in data.BG_NAMES)], 150, replace=False):
        one("held-out", str(name), True)
    for name in rng.choice(other, 75, replace=False):
        one("other", str(name), False)
    for _ in range(75):
        i, j = rng.choice(common, 2, replace=False)
        s, b = data.STYLES[rng.integers(3)], data.BG_NAMES[rng.integers(len(data.BG_NAMES))]
        out.append({"kind": "two", "things": [str(i), str(j)], "style": s, "background": b,
                    "prompt": f"{captions.article(i)} and {captions.article(j)}, {s}, {b} background"})
    for k, p in enumerate(out):
        p["seed"] = k
    return out


def draw(pipe, todo, out, steps, guidance, batch=8):
    for k in range(0, len(todo), batch):
        part = [p for p in todo[k:k + batch] if not (out / f"{p['seed']:03d}.png").exists()]
        if not part:
            continue
        g = [torch.Generator().manual_seed(p["seed"]) for p in part]
        for p, im in zip(part, pipe([p["prompt"] for p in part], num_inference_steps=steps, guidance_scale=guidance, generator=g).images):
            im.save(out / f"{p['seed']:03d}.png")


def draw_with_figment(program, folder, todo, out, steps, guidance, threads, precision):
    for p in todo:
        path = out / f"{p['seed']:03d}.png"
        if not path.exists():
            subprocess.run([program, "generate", "--quiet", "--model", folder, "--prompt", p["prompt"], "--seed", str(p["seed"]), "--rng", "cpu",
                            "--sampler", "DDIM", "--steps", str(steps), "--cfg", str(guidance), "--size", f"{model.SIZE}x{model.SIZE}", "--device", "cpu",
                            "--precision", precision, "--threads", str(threads), "--output", path], check=True, stdout=subprocess.DEVNULL)


def nearest(d, pictures, backgrounds):
    """For each picture the highest correlation with any drawing on the same background, at 32 x 32 pixels."""
    n = pictures.shape[1] // 32
    s = d.sprites[64].astype(np.float32).reshape(-1, 32, 2, 32, 2, 4).mean((2, 4))
    out = []
    for b in range(len(data.BG_NAMES)):
        rows = [k for k, q in enumerate(backgrounds) if q == b]
        if not rows:
            continue
        t = (s[..., :3] + (1 - s[..., 3:] / 255) * data.BG_RGB[b]).reshape(len(s), -1)
        x = pictures[rows].astype(np.float32).reshape(len(rows), 32, n, 32, n, 3).mean((2, 4)).reshape(len(rows), -1)
        t, x = t - data.BG_RGB[b].mean(), x - data.BG_RGB[b].mean()
        c = (x @ t.T) / (np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(t, axis=1)[None] + 1e-6)
        out += [(k, float(v.max()), int(v.argmax())) for k, v in zip(rows, c)]
    return sorted(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=str(data.HERE.parent / "assets" / "models" / "starter"))
    p.add_argument("--out", default=str(data.HERE / "runs" / "evaluate"))
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--guidance", type=float, default=3.0)
    p.add_argument("--fraction", type=float, default=1.0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--precision", default="f32", help="with --figment; bf16 is quicker where the CPU has it")
    p.add_argument("--figment", help="the program that draws; else diffusers does")
    a = p.parse_args()
    from diffusers import StableDiffusionPipeline
    torch.set_num_threads(a.threads)
    out = pathlib.Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    d = data.Drawings((256, 128, 64), mmap=True)
    every = prompts(d)
    todo = [q for k, q in enumerate(every) if int(k * a.fraction) != int((k - 1) * a.fraction) or k == 0]
    pipe = StableDiffusionPipeline.from_pretrained(a.model, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.to("cuda" if torch.cuda.is_available() and not a.figment else "cpu")
    start = time.time()
    if a.figment:
        draw_with_figment(a.figment, a.model, todo, out, a.steps, a.guidance, a.threads, a.precision)
    else:
        draw(pipe, todo, out, a.steps, a.guidance)
    seconds = time.time() - start
    pictures = np.stack([np.asarray(Image.open(out / f"{q['seed']:03d}.png").convert("RGB")) for q in todo])
    j = judge.load()
    common = np.array([d.names.index(n) for n in captions.common_things()])
    report = {"pictures": len(todo), "steps": a.steps, "guidance": a.guidance, "seconds": round(seconds),
              "judge": json.load(open(judge.RUN / "report.json"))}
    with torch.no_grad():
        o = j(judge.to_input(pictures))
    near = nearest(d, pictures, [data.BG_NAMES.index(q["background"]) for q in todo])
    for kind in ("common", "held-out", "other"):
        rows = [k for k, q in enumerate(todo) if q["kind"] == kind]
        if not rows:
            continue
        thing = torch.tensor([d.names.index(todo[k]["things"][0]) for k in rows])
        top = o[0][rows].topk(5).indices == thing[:, None]
        r = {"pictures": len(rows), "top1": top[:, 0].float().mean(), "top5": top.any(1).float().mean()}
        if kind != "other":  # among the common things alone
            within = common[o[0][rows][:, common].topk(5).indices.numpy()] == thing.numpy()[:, None]
            r["top1_of_300"], r["top5_of_300"] = within[:, 0].mean(), within.any(1).mean()
        r["style"] = (o[1][rows].argmax(1) == torch.tensor([data.STYLES.index(todo[k]["style"]) for k in rows])).float().mean()
        r["background"] = (o[2][rows].argmax(1) == torch.tensor([data.BG_NAMES.index(todo[k]["background"]) for k in rows])).float().mean()
        r["nearest_correlation"] = np.mean([near[k][1] for k in rows])
        r["nearest_is_the_thing"] = np.mean([d.items[near[k][2]]["name"] == todo[k]["things"][0] for k in rows])
        report[kind] = {k: (v if isinstance(v, int) else round(float(v), 4)) for k, v in r.items()}
    rows = [k for k, q in enumerate(todo) if q["kind"] == "two"]
    if rows:
        sides, q = [], model.SIZE // 4
        with torch.no_grad():
            for side, x in ((0, 0), (1, 2 * q)):
                t = j(judge.to_input(pictures[rows][:, q:3 * q, x:x + 2 * q]))[0][:, common].topk(5).indices.numpy()
                want = np.array([d.names.index(todo[k]["things"][side]) for k in rows])
                sides.append((common[t] == want[:, None]).any(1))
        report["two"] = {"pictures": len(rows), "both_top5_of_300": round(float((sides[0] & sides[1]).mean()), 4),
                         "one_top5_of_300": round(float((sides[0] | sides[1]).mean()), 4)}
    x = [vae_module.held_out_set(d, 24, s) for s in (128, 256)]
    pipe.vae.eval().cpu()
    report["vae_psnr_128"], report["vae_psnr_256"] = [round(vae_module.psnr(pipe.vae, s, "cpu")[0], 2) for s in x]
    json.dump(report, open(out / "report.json", "w"), indent=1)
    print(json.dumps(report, indent=1))
    rows = np.linspace(0, len(todo) - 1, 48).astype(int)
    y = pictures[rows]
    Image.fromarray(np.concatenate([np.concatenate(list(y[k:k + 12]), 1) for k in range(0, 48, 12)], 0)).save(out / "sheet.png")


if __name__ == "__main__":
    main()
