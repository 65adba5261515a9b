"""Which picture to show next. A spec is (drawing, background, place, other drawing,
mirrored); see data.Drawings.compose."""
import numpy as np

import captions
import data

KINDS = ["common", "other", "place", "two"]
WEIGHTS = np.array([0.74, 0.04, 0.07, 0.15])
MIRRORED = 0.04  # of the common things at full size


class Sampler:
    def __init__(self, drawings):
        self.items = drawings.items
        common = set(captions.common_things())
        self.common = [i for i, r in enumerate(self.items) if r["name"] in common]
        self.other = [i for i, r in enumerate(self.items) if r["name"] not in common]
        self.by_style = [[i for i in self.common if self.items[i]["style"] == s] for s in data.STYLES]

    def background(self, rng, *drawings):
        while True:
            b = max(0, int(rng.integers(-1, len(data.BG_NAMES))))  # white twice as often
            if not any(data.held_out(self.items[i]["name"], self.items[i]["style"], data.BG_NAMES[b]) for i in drawings):
                return b

    def draw(self, rng, kind):
        if kind == "two":
            i, j = rng.choice(self.by_style[rng.integers(3)], 2, replace=False)
            return int(i), self.background(rng, i, j), None, int(j), False
        i = int(rng.choice(self.other if kind == "other" or (kind == "place" and rng.random() < 0.1) else self.common))
        place = data.PLACES[rng.integers(len(data.PLACES))] if kind == "place" else None
        return i, self.background(rng, i), place, None, bool(kind == "common" and rng.random() < MIRRORED)
