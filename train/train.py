"""Train everything, one step after the other, and export the model.

    python train.py --minutes 120 [--to ../assets/models/starter]

Each step gets its share of the minutes; with --minutes as before, a second start goes on where the first was
stopped (Ctrl-C, SIGTERM or power): steps that are done are skipped, the one that was running resumes from its last
checkpoint. `--only unet` runs a single step. Steps pass on options after `--`, e.g. `--only unet -- --batch 256`.
"""
import argparse
import signal
import subprocess
import sys

import data

RUNS = data.HERE / "runs"
STEPS = {  # share of the time, or None for steps that take what they take
    "vae": (0.13, ["vae.py"]),
    "vae256": (0.18, ["vae.py", "--size", "256", "--run", "runs/vae256", "--start", "runs/vae/last.pt"]),
    "text": (0.04, ["text.py"]),
    "unet": (0.24, ["unet.py", "--size", "128"]),
    "unet256": (0.24, ["unet.py", "--run", "runs/unet256", "--start", "runs/unet/last.pt", "--vae", "runs/vae256/last.pt",
                       "--pool", "runs/pool256.pt"]),
    "choose": (None, ["choose.py"]),
    "decoder": (0.09, ["vae.py", "--size", "256", "--run", "runs/vae256", "--decoder"]),
    "judge": (0.08, ["judge.py"]),
    "export": (None, ["export.py"]),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=120)
    p.add_argument("--to", help="where export.py writes")
    p.add_argument("--only", choices=list(STEPS))
    p.add_argument("rest", nargs="*", help="options for the step, after --")
    a = p.parse_args()
    RUNS.mkdir(exist_ok=True)
    for name, (share, command) in STEPS.items():
        done = RUNS / f"{name}.done"
        if a.only and name != a.only or not a.only and done.exists():
            continue
        more = ["--minutes", f"{a.minutes * share:g}"] if share else ["--to", a.to] if name == "export" and a.to else []
        print(f"== {name}", flush=True)
        child = subprocess.Popen([sys.executable, *command, *more, *a.rest], cwd=data.HERE)
        stopped = []
        for s in (signal.SIGTERM, signal.SIGINT):  # the step saves what it has; then this ends too
            signal.signal(s, lambda *_: (stopped.append(1), child.terminate()))
        code = child.wait()
        if code or stopped:
            sys.exit(code or 1)
        done.touch()


if __name__ == "__main__":
    main()
