"""Captions: how a picture is described, the byte-level BPE made from the captions, and the list of common things.

    python captions.py      # writes runs/tokenizer/, a CLIPTokenizer folder
"""
import collections
import json
import re

import numpy as np

import data

TOKENIZER = data.HERE / "runs" / "tokenizer"
PLACE_WORDS = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}


def common_things():
    out = []
    for line in open(data.HERE / "common.txt", encoding="utf-8"):
        if not line.startswith("#"):
            out += [w.strip() for w in line.strip().split("|")[1:]] if line[0] == "|" else line.split()
    return out


def article(name):
    if name.endswith("s") and not name.endswith(("ss", "us")):
        return name
    return ("an " if name[0] in "aeiou" else "a ") + name


def caption(rng, items, i, bg, place=None, other=None, mirror=False):
    """A caption for the picture Composer.compose(i, bg, place, other). Left-out parts are not random: a
    picture without a background word is white, a large one has no size word."""
    r = items[i]
    style, name = r["style"], r["name"]
    if other is not None:
        what = f"{article(name)} and {article(items[other]['name'])}"
    else:
        what = name if rng.random() < 0.6 else article(name)
        if place == "small":
            what = f"small {name}" if rng.random() < 0.5 else f"a small {name}"
        elif place:
            what += " " + PLACE_WORDS[place]
    if mirror:
        what += ", mirrored"
    if rng.random() < 0.08 and other is None and not place:
        what += ", " + ", ".join(rng.permutation(r["keywords"])[:2])
    say_style = rng.random() < 0.92
    say_bg = bg != 0 or rng.random() < 0.5
    b = f"{data.BG_NAMES[bg]} background"
    k = rng.random()
    if say_style and say_bg:
        if k < 0.6:
            return f"{what}, {style}, {b}"
        return f"{what} on a {b}, {style}" if k < 0.85 else f"{what}, {b}, {style}"
    if say_style:
        return f"{what}, {style}" if k < 0.8 else f"{style} {what}"
    if say_bg:
        return f"{what}, {b}" if k < 0.5 else f"{what} on a {b}"
    return what


# --- byte-level BPE in CLIP's layout -----------------------------------------------------------------------

PATTERN = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    chars, extra = [chr(b) for b in keep], 0
    order = list(keep)
    for b in range(256):
        if b not in keep:
            order.append(b)
            chars.append(chr(256 + extra))
            extra += 1
    return dict(zip(order, chars)), chars


def train_bpe(counts, size):
    """counts: {word: times}. Returns the merges that fill a vocabulary of `size` entries."""
    to_char, alphabet = byte_alphabet()
    words = {}
    for w, c in counts.items():
        s = [to_char[b] for b in w.encode()]
        s[-1] += "</w>"
        words[tuple(s)] = words.get(tuple(s), 0) + c
    merges = []
    while len(merges) < size - 512 - 2:
        pairs = collections.Counter()
        for w, c in words.items():
            for p in zip(w, w[1:]):
                pairs[p] += c
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        merged = {}
        for w, c in words.items():
            if best[0] in w:
                out, k = [], 0
                while k < len(w):
                    if w[k:k + 2] == best:
                        out.append(w[k] + w[k + 1])
                        k += 2
                    else:
                        out.append(w[k])
                        k += 1
                w = tuple(out)
            merged[w] = merged.get(w, 0) + c
        words = merged
    return merges


def word_counts(items, common):
    counts = collections.Counter()
    common = set(common)
    for r in items:
        for w in PATTERN.findall(r["name"]):
            counts[w] += 60 if r["name"] in common else 12
        for k in r["keywords"]:
            for w in PATTERN.findall(k.lower()):
                counts[w] += 1
    for w in "a an and the on at with of in left right top bottom small background style , . noto 3 d flat".split() + data.BG_NAMES:
        counts[w] += 5000
    return counts


def write_tokenizer(folder=TOKENIZER, size=2048):
    items = json.load(open(data.DATA / "items.json"))
    merges = train_bpe(word_counts(items, common_things()), size)
    alphabet = byte_alphabet()[1]
    entries = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    entries = list(dict.fromkeys(entries)) + ["<|startoftext|>", "<|endoftext|>"]
    assert len(entries) == 512 + len(merges) + 2
    folder.mkdir(parents=True, exist_ok=True)
    json.dump({e: k for k, e in enumerate(entries)}, open(folder / "vocab.json", "w"), ensure_ascii=False)
    with open(folder / "merges.txt", "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {k: {"content": v, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
               for k, v in (("bos_token", "<|startoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"))}
    special["pad_token"] = "<|endoftext|>"
    json.dump(special, open(folder / "special_tokens_map.json", "w"), indent=2)
    json.dump({"add_prefix_space": False, "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
               "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "errors": "replace", "do_lower_case": True,
               "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"},
              open(folder / "tokenizer_config.json", "w"), indent=2)
    print(f"{len(entries)} entries, {len(merges)} merges -> {folder}")
    return entries


if __name__ == "__main__":
    write_tokenizer()
    from transformers import CLIPTokenizer
    t = CLIPTokenizer.from_pretrained(TOKENIZER)
    rng = np.random.default_rng(0)
    items = json.load(open(data.DATA / "items.json"))
    common = set(common_things())
    some = [i for i, r in enumerate(items) if r["name"] in common]
    lengths = []
    for k in range(2000):
        i, j = rng.choice(some, 2)
        c = caption(rng, items, i, int(rng.integers(12)), None, j if k % 10 == 0 else None)
        ids = t(c)["input_ids"]
        lengths.append(len(ids))
        if k < 24:
            print(len(ids), c, t.convert_ids_to_tokens(ids))
    print("tokens: mean", np.mean(lengths), "99 %", np.percentile(lengths, 99), "pad", t.pad_token_id, "max", t.model_max_length)
