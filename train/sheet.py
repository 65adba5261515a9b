"""A contact sheet of 48 prompts, drawn by the program with the bundled model: what to expect of it.

    python sheet.py ../build/app/figment        # writes docs/training-sheet.jpg and docs/starter.jpg

The prompts were written down before any of their pictures was seen, and prompt k has seed k: nothing is chosen.
"""
import argparse
import pathlib
import subprocess
import tempfile

from PIL import Image

import data

DOCS = data.HERE.parent / "docs"
PROMPTS = """cat, 3d style, blue background|red apple, flat style, yellow background|rocket, noto style, black background
panda, 3d style, green background|pizza, flat style, teal background|grinning face, 3d style, white background
christmas tree, noto style, red background|sunflower, 3d style, purple background|dog, noto style, white background
automobile, 3d style, green background|tulip, flat style, pink background|house, noto style, teal background
guitar, 3d style, purple background|owl, noto style, orange background|butterfly, flat style, green background
penguin, 3d style, yellow background|snowman, flat style, blue background|hamburger, 3d style, orange background
strawberry, noto style, grey background|bicycle, flat style, white background|ghost, 3d style, black background
fire engine, noto style, yellow background|mushroom, 3d style, brown background|umbrella, flat style, grey background
red heart, 3d style, pink background|soccer ball, noto style, green background|crescent moon, flat style, black background
robot, 3d style, teal background|fish, noto style, blue background|lemon, flat style, purple background
castle, 3d style, pink background|sailboat, noto style, blue background|cactus, flat style, orange background
alarm clock, 3d style, white background|pig, noto style, brown background|cherries, flat style, white background
astronaut, 3d style, black background|tiger, noto style, green background|key, flat style, red background
balloon, 3d style, yellow background|ice cream, noto style, pink background|rainbow, flat style, white background
small owl, 3d style, orange background|lemon on the left, flat style, blue background|balloon at the top, 3d style, grey background
a cat and a red apple, 3d style, white background|a tulip and a pizza, flat style, teal background|smiling face with sunglasses"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("figment")
    p.add_argument("--model", default=str(data.HERE.parent / "assets" / "models" / "starter"))
    p.add_argument("--to", default=str(DOCS))
    a = p.parse_args()
    prompts = PROMPTS.replace("\n", "|").split("|")
    assert len(prompts) == 48
    with tempfile.TemporaryDirectory() as folder:
        pictures = []
        for k, prompt in enumerate(prompts):
            path = pathlib.Path(folder) / f"{k}.png"
            subprocess.run([a.figment, "generate", "--quiet", "--model", a.model, "--prompt", prompt, "--seed", str(k), "--device", "cpu",
                            "--precision", "f32", "--output", path], check=True, stdout=subprocess.DEVNULL)
            pictures.append(Image.open(path).convert("RGB"))
    for name, rows, side in (("training-sheet.jpg", 6, 128), ("starter.jpg", 2, 96)):
        sheet = Image.new("RGB", (8 * side, rows * side))
        for k, im in enumerate(pictures[:8 * rows]):
            sheet.paste(im.resize((side, side), Image.Resampling.LANCZOS), (k % 8 * side, k // 8 * side))
        sheet.save(pathlib.Path(a.to) / name, quality=88)


if __name__ == "__main__":
    main()
