"""Train everything, one step after the other, and export the model.

    python train.py --minutes 120 [--to ../assets/models/starter] [--preset gpu]

Each step gets its share of the minutes; with --minutes as before, a second start goes on where the first was
stopped (Ctrl-C, SIGTERM or power): steps that are done are skipped, the one that was running resumes from its last
checkpoint. `--only unet` runs a single step. Steps pass on options after `--`, e.g. `--only unet -- --batch 256`.
"""
import argparse
import signal
import subprocess
import sys

import torch

import data

RUNS = data.HERE / "runs"
STEPS = {
    "vae": ["vae.py"],
    "vae256": ["vae.py", "--size", "256", "--run", "runs/vae256", "--start", "runs/vae/last.pt"],
    "text": ["text.py"],
    "unet": ["unet.py", "--size", "128"],
    "unet256": ["unet.py", "--run", "runs/unet256", "--start", "runs/unet/last.pt", "--vae", "runs/vae256/last.pt",
                "--pool", "runs/pool256.pt"],
    "choose": ["choose.py"],
    "decoder": ["vae.py", "--size", "256", "--run", "runs/vae256", "--decoder"],
    "judge": ["judge.py"],
    "export": ["export.py"],
}
PRESETS = {  # for each step its share of the time, where it follows the clock, and its options
    "cpu": {"vae": (0.13, ""), "vae256": (0.18, ""), "text": (0.04, ""), "unet": (0.24, ""), "unet256": (0.24, ""),
            "decoder": (0.09, ""), "judge": (0.08, "")},
    "gpu": {"vae": (0.05, "--batch 64 --slice 64"), "vae256": (0.16, "--batch 32 --slice 32"), "text": (0.04, "--batch 256 --slice 256"),
            "unet": (0.24, "--batch 256 --slice 256 --cap 40000 --initial 20000"),
            "unet256": (0.38, "--batch 256 --slice 256 --cap 40000 --initial 20000"),
            "decoder": (0.07, "--batch 32 --slice 32"), "judge": (0.06, "--batch 256")},
    # shows in minutes, on any processor, that every step works; what it draws is noise
    "miniature": {"vae": (0.13, ""), "vae256": (0.18, ""), "text": (0.04, ""), "unet": (0.24, "--batch 8 --slice 4 --initial 64 --grow 2"),
                  "unet256": (0.24, "--batch 8 --slice 4 --initial 64 --grow 2"), "decoder": (0.09, ""), "judge": (0.08, "")},
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=120)
    p.add_argument("--to", help="where export.py writes")
    p.add_argument("--preset", choices=list(PRESETS), default="gpu" if torch.cuda.is_available() else "cpu")
    p.add_argument("--only", choices=list(STEPS))
    p.add_argument("rest", nargs="*", help="options for the step, after --")
    a = p.parse_args()
    RUNS.mkdir(exist_ok=True)
    for name, command in STEPS.items():
        share, options = PRESETS[a.preset].get(name, (None, ""))
        done = RUNS / f"{name}.done"
        if a.only and name != a.only or not a.only and done.exists():
            continue
        more = ["--minutes", f"{a.minutes * share:g}"] if share else ["--to", a.to] if name == "export" and a.to else []
        print(f"== {name}", flush=True)
        child = subprocess.Popen([sys.executable, *command, *options.split(), *more, *a.rest], cwd=data.HERE)
        stopped = []
        for s in (signal.SIGTERM, signal.SIGINT):  # the step saves what it has; then this ends too
            signal.signal(s, lambda *_: (stopped.append(1), child.terminate()))
        code = child.wait()
        if code or stopped:
            sys.exit(code or 1)
        done.touch()


if __name__ == "__main__":
    main()
