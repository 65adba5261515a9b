"""Go on from a model that was exported: its weights where the steps look for what they begin with.

    python begin.py [--model ../assets/models/starter] [--pictures 110928] [--cpu-hours 3.2]
    python unet.py --start runs/begin/unet.pt --vae runs/begin/vae.pt ...

What the optimizers and averages knew is not in an export, so each step starts those anew.
"""
import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file

import captions
import data

RUN = data.HERE / "runs" / "begin"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=str(data.HERE.parent / "assets" / "models" / "starter"))
    p.add_argument("--pictures", type=int, default=0, help="that it has seen, for the log")
    p.add_argument("--cpu-hours", type=float, default=0)
    a = p.parse_args()
    model = pathlib.Path(a.model)
    RUN.mkdir(parents=True, exist_ok=True)

    def weights(part, file="diffusion_pytorch_model.safetensors"):
        return {k: v.float() for k, v in load_file(model / part / file).items()}

    text = {k.removeprefix("text_model."): v for k, v in weights("text_encoder", "model.safetensors").items()}
    torch.save({"unet": weights("unet"), "text": text, "state": {"steps": 0, "samples": a.pictures, "cpu": a.cpu_hours * 3600}}, RUN / "unet.pt")
    groups = json.loads((model / "vae" / "config.json").read_text())["norm_num_groups"]
    torch.save({"vae": weights("vae"), "groups": groups}, RUN / "vae.pt")
    captions.TOKENIZER.mkdir(parents=True, exist_ok=True)
    for f in (model / "tokenizer").iterdir():
        shutil.copy(f, captions.TOKENIZER / f.name)


if __name__ == "__main__":
    main()
