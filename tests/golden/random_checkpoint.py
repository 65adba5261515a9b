#!/usr/bin/env python3
"""A full-size checkpoint of random numbers, F16, in the original's names: for measuring, not for comparing.

    python tests/golden/random_checkpoint.py LAYOUT FILE [SEED]        sd1, sd2, sdxl, ssd-1b ... of weights_names_configs.py

Written in a minute, tensor by tensor. tests/golden/check_checkpoints.py makes those whose results are compared."""
import sys

import numpy as np

import safetensors_f16
import weights_names_read as names


def main():
    layout, path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1
    checkpoint = next(c for c in names.read() if c.name == layout)
    noise = np.random.default_rng(seed).standard_normal(1 << 22, dtype=np.float32)
    plan = {row.prefix + row.ldm: row.ldm_shape for rows in checkpoint.parts.values() for row in rows.values()} | checkpoint.extras

    def values():
        for name, shape in plan.items():
            n = int(np.prod(shape))
            if len(shape) < 2:
                yield np.full(n, 1 if name.endswith("weight") else 0, np.float16)
            else:  # keeps the size of what goes through it
                yield np.resize((noise * np.float32(n / shape[0]) ** -0.5).astype(np.float16), n)
    safetensors_f16.write(path, plan, values())


if __name__ == "__main__":
    main()
