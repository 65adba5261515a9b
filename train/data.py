"""Pictures: unpack the drawings once, then compose training pictures from them.

    python data.py --source DIR      # DIR holds noto.tar, fluent3d.tar, fluentflat.tar, captions.jsonl

writes `data/sprites-{256,128,64}.npy` (uint8 [N, S, S, 4], colour premultiplied by alpha, so that
composing is one multiply and one add) and `data/items.json`. A picture is one drawing at full or half
size on one of twelve plain backgrounds, or two drawings side by side at half size; see `Composer`.
"""
import argparse
import concurrent.futures
import io
import json
import pathlib
import tarfile
import zlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE / "data"
STYLES = ["noto style", "3d style", "flat style"]
ARCHIVES = ["noto", "fluent3d", "fluentflat"]
BACKGROUNDS = {
    "white": (255, 255, 255), "black": (24, 24, 26), "grey": (150, 152, 156), "red": (214, 58, 58),
    "orange": (245, 140, 40), "yellow": (250, 215, 70), "green": (80, 170, 80), "teal": (40, 160, 160),
    "blue": (60, 110, 220), "purple": (130, 75, 190), "pink": (250, 165, 195), "brown": (125, 82, 55),
}
BG_NAMES = list(BACKGROUNDS)
BG_RGB = np.array(list(BACKGROUNDS.values()), np.float32)
PLACES = ["left", "right", "top", "bottom", "small"]  # half-size drawings; "small" is centred


def held_out(name, style, background):
    """True for the one in twenty (thing, style, background) combinations that training never shows."""
    return zlib.crc32(f"{name}|{style}|{background}".encode()) % 20 == 0


def unpack(blob):
    """One WebP picture to its sprites of 256, 128 and 64 pixels."""
    from PIL import Image
    a = np.asarray(Image.open(io.BytesIO(blob)).convert("RGBA"), np.float32)
    a = np.concatenate([a[..., :3] * a[..., 3:] / 255, a[..., 3:]], -1)
    return [np.round(a.reshape(256 // n, n, 256 // n, n, 4).mean((1, 3))).astype(np.uint8) for n in (1, 2, 4)]


def pack(source):
    source = pathlib.Path(source)
    rows = [json.loads(line) for line in open(source / "captions.jsonl", encoding="utf-8")]
    rows = [r for r in rows if r["file"].split("/")[0] in ARCHIVES]
    DATA.mkdir(exist_ok=True)
    tars = {a: tarfile.open(source / f"{a}.tar") for a in ARCHIVES}
    out = [np.lib.format.open_memmap(DATA / f"sprites-{s}.npy", "w+", np.uint8, (len(rows), s, s, 4)) for s in (256, 128, 64)]
    blobs = [tars[r["file"].split("/")[0]].extractfile(r["file"]).read() for r in rows]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for i, sprites in enumerate(pool.map(unpack, blobs, chunksize=32)):
            for o, s in zip(out, sprites):
                o[i] = s
    items = [{k: r[k] for k in ("style", "name", "keywords", "group", "subgroup")} for r in rows]
    json.dump(items, open(DATA / "items.json", "w"))
    print(f"{len(rows)} drawings packed into {DATA}")


class Drawings:
    """The packed drawings: `items[i]` describes drawing i, `sprites[s][i]` is it at s pixels."""

    def __init__(self, sizes=(128, 64), mmap=False):
        self.items = json.load(open(DATA / "items.json"))
        self.sprites = {s: np.load(DATA / f"sprites-{s}.npy", mmap_mode="r" if mmap else None) for s in sizes}
        self.names = sorted({r["name"] for r in self.items})
        self.thing = np.array([self.names.index(r["name"]) for r in self.items])
        self.style = np.array([STYLES.index(r["style"]) for r in self.items])
        self.index = {(r["name"], r["style"]): i for i, r in enumerate(self.items)}

    def small(self):
        """Sprites of 32 pixels, made from those of 64 when first asked for."""
        if 32 not in self.sprites:
            s = self.sprites[64]
            self.sprites[32] = np.round(np.concatenate([s[k:k + 256].reshape(-1, 32, 2, 32, 2, 4).mean((2, 4), dtype=np.float32)
                                                        for k in range(0, len(s), 256)])).astype(np.uint8)

    def compose(self, i, background, place=None, other=None, mirror=False, size=128, jitter=None, crop=None):
        """uint8 [size, size, 3]: drawing i on a background (index, or three numbers).

        place: None = full size, else one of PLACES. other: a second drawing; i left, other right. mirror: the whole.
        jitter: (dx, dy) pixels. crop: (x, y, s), only that square of the picture."""
        bg = BG_RGB[background] if np.isscalar(background) else np.asarray(background, np.float32)
        cx, cy, n = crop or (0, 0, size)
        canvas = np.empty((n, n, 3), np.float32)
        canvas[:] = bg
        dx, dy = jitter or (0, 0)
        dx, dy = dx - cx, dy - cy
        if other is not None:
            self._put(canvas, i, size // 2, dx, size // 4 + dy)
            self._put(canvas, other, size // 2, size // 2 + dx, size // 4 + dy)
        elif place is None:
            self._put(canvas, i, size, dx, dy)
        else:
            q, h = size // 4, size // 2
            x, y = {"left": (0, q), "right": (h, q), "top": (q, 0), "bottom": (q, h), "small": (q, q)}[place]
            self._put(canvas, i, h, x + dx, y + dy)
        return np.round(canvas[:, ::-1] if mirror else canvas).astype(np.uint8)

    def _put(self, canvas, i, s, x, y):
        n = canvas.shape[0]
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + s, n), min(y + s, n)
        if x1 <= x0 or y1 <= y0:
            return
        d = self.sprites[s][i, y0 - y:y1 - y, x0 - x:x1 - x].astype(np.float32)
        c = canvas[y0:y1, x0:x1]
        c *= 1 - d[..., 3:] / 255
        c += d[..., :3]


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--source", required=True)
    pack(p.parse_args().source)
