"""Make everything the training needs, in one go: drawings (unless they are there), packed arrays, tokenizer.

    python make_data.py --icons node_modules      # the public icon packages; build_data.py says which
    python make_data.py --source data/source      # drawings that are there already

Steps whose files are there are skipped. Drawing the icons needs librsvg through GObject introspection, which is often
there for the system's Python alone: where this one has no `gi`, /usr/bin/python3 draws them.
"""
import argparse
import importlib.util
import pathlib
import subprocess
import sys

import captions
import data


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--icons", help="a node_modules folder")
    p.add_argument("--source", default=str(data.DATA / "source"))
    a = p.parse_args()
    source = pathlib.Path(a.source)
    steps = [(source / "captions.jsonl", ["build_data.py", a.icons, "--out", a.source, "--styles", "noto,fluent3d,fluentflat"]),
             (data.DATA / "items.json", ["data.py", "--source", a.source]),
             (captions.TOKENIZER / "tokenizer_config.json", ["captions.py"])]
    if (data.DATA / "items.json").exists():
        steps = steps[1:]  # packed already: the drawings are not asked for
    for result, command in steps:
        if result.exists():
            print(f"{result} is there")
            continue
        if None in command:
            p.error(f"{result} is missing: name the icon packages with --icons, or the drawings with --source")
        drawing = command[0] == "build_data.py" and not importlib.util.find_spec("gi")
        subprocess.run(["/usr/bin/python3" if drawing else sys.executable, *map(str, command)], cwd=data.HERE, check=True)


if __name__ == "__main__":
    main()
