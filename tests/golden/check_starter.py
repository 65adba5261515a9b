"""The bundled model in diffusers and in Figment: the same picture from the same noise.

    python tests/golden/check_starter.py build/app/figment

Loads assets/models/starter with StableDiffusionPipeline.from_pretrained, unchanged, and draws a few prompts with both
in f32: DDIM, 20 steps, guidance 3, noise from torch's CPU generator, which Figment gives bit for bit. Prints the
PSNR of each pair of 8-bit pictures and fails under 40 dB.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "assets" / "models" / "starter"
PROMPTS = ["cat, 3d style, blue background", "red apple, flat style, yellow background", "rocket, noto style, black background",
           "small owl, 3d style, orange background", "a tulip and a pizza, flat style, white background", "panda"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("figment")
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    worst = 99.0
    with tempfile.TemporaryDirectory() as folder:
        for seed, prompt in enumerate(PROMPTS):
            path = pathlib.Path(folder) / "picture.png"
            subprocess.run([a.figment, "generate", "--quiet", "--model", MODEL, "--prompt", prompt, "--seed", str(seed), "--rng", "cpu",
                            "--sampler", "DDIM", "--steps", "20", "--cfg", "3", "--device", a.device, "--precision", "f32",
                            "--threads", "1", "--output", path], check=True, stdout=subprocess.DEVNULL)
            theirs = pipe(prompt, num_inference_steps=20, guidance_scale=3.0, generator=torch.Generator().manual_seed(seed)).images[0]
            ours, theirs = (np.asarray(im.convert("RGB"), np.float64) for im in (Image.open(path), theirs))
            psnr = 10 * np.log10(255 ** 2 / max(np.square(ours - theirs).mean(), 1e-9))
            worst = min(worst, psnr)
            print(f"{psnr:6.2f} dB  at most {np.abs(ours - theirs).max():.0f} of 255  {prompt}", flush=True)
    print(f"worst {worst:.2f} dB")
    sys.exit(1 if worst < 40 else 0)


if __name__ == "__main__":
    main()
