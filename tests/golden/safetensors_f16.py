"""Safetensors in F16 that are written tensor by tensor, so that a full-size checkpoint needs no memory."""
import json
import struct

import numpy as np


def write(path, shapes, values):
    """shapes: {name: list}, in the file's order. values: arrays in that order, of F16; a tensor may come in pieces."""
    header, at = {}, 0
    for name, shape in shapes.items():
        n = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for array in values:
            f.write(array.tobytes())
        assert f.tell() == 8 + len(text) + at, "not as many values as the shapes say"
