"""Reads weights_names.txt.gz (see weights_names.py)."""
import collections
import gzip
import os

Row = collections.namedtuple("Row", "ldm how shape ldm_shape prefix")
Checkpoint = collections.namedtuple("Checkpoint", "name family parts extras unet_config")


def shape(text):
    return [] if text == "-" else [int(n) for n in text.split("x")]


def read():
    import weights_names_configs as configs
    blocks, out = [], []
    with gzip.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights_names.txt.gz"), "rt") as f:
        for line in f.read().split("\n"):
            words = line.split()
            if not words:
                continue
            if words[0] == "f":  # of no component
                out[-1].extras[words[1]] = shape(words[2])
                continue
            if words[0] == "b":
                blocks.append(dict(blocks[int(words[2])]) if len(words) > 2 else {})
            elif words[0] == "#":
                parts = {}
                for text in words[3:]:
                    part, block, _, _, prefix = text.split(":")
                    parts[part] = {n: Row(w[2], w[3], shape(w[1]), shape(w[4] if len(w) > 4 else w[1]), prefix)
                                   for n, w in blocks[int(block)].items()}
                out.append(Checkpoint(words[1], words[2], parts, {}, configs.config(words[1])))
            else:
                blocks[-1][words[0]] = words
    return out
