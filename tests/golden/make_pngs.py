#!/usr/bin/env python3
"""Small PNG and JPEG files as Pillow writes them, with A1111's `parameters` text: tests/golden/png/.

Each file comes with what a reader must find: NAME.rgb (8-bit RGB over white) and, where it has
settings, NAME.txt. Needs Pillow and numpy; run from the source root, never by the tests.
"""
import os
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

OUT = "tests/golden/png"
PLAIN = "a red apple, 3d style\nNegative prompt: blurry, dark\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512, Model: m"
WIDE = "Ein Apfel für Köln, 林檎 🍎\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
LATIN = "Ein Apfel für Köln\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"


def over_white(image):
    rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
    a = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * a + 255 * (1 - a)).astype(np.uint8)


def save(name, image, text=None, key="parameters", kind="auto", rgb=None, **options):
    info = PngInfo()
    if text is not None:
        if kind == "auto":
            info.add_text(key, text)  # Pillow's rule: tEXt in Latin-1, else iTXt
        elif kind == "zTXt":
            info.add_text(key, text, zip=True)
        elif kind == "iTXt":
            info.add_itxt(key, text, zip=options.pop("zip", False))
        open(f"{OUT}/{name}.txt", "w", encoding="utf-8").write(text)
    image.save(f"{OUT}/{name}.png", pnginfo=info, **options)
    (over_white(image) if rgb is None else rgb).tofile(f"{OUT}/{name}.rgb")


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = np.random.default_rng(5)
    rgb = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    save("latin", rgb, LATIN)
    save("wide", rgb, WIDE)
    save("ascii", rgb, PLAIN)
    save("ztxt", rgb, PLAIN * 3, kind="zTXt")
    save("itxt-zip", rgb, WIDE, kind="iTXt", zip=True)
    save("grey", rgb.convert("L"))
    save("grey-alpha", Image.fromarray(rng.choice([0, 255], (5, 7)).astype(np.uint8)).convert("LA"))
    save("palette", rgb.quantize(5))
    save("one-bit", rgb.convert("1"))
    alpha = rng.choice([0, 255], (5, 7, 1)).astype(np.uint8)  # partial alpha rounds differently
    save("alpha", Image.fromarray(np.concatenate([np.asarray(rgb), alpha], 2)))
    deep = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    grey = np.rint(deep.astype(np.float64) * 255 / 65535).astype(np.uint8)
    save("deep", Image.fromarray(deep), rgb=np.repeat(grey[..., None], 3, 2))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + WIDE.encode("utf-16-be")
    rgb.save(f"{OUT}/comment.jpg", exif=exif, quality=80)
    open(f"{OUT}/comment.txt", "w", encoding="utf-8").write(WIDE)


main()
