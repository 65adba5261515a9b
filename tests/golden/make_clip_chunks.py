#!/usr/bin/env python3
"""Makes clip_chunks.json: how A1111 1.10 and ComfyUI divide prompts into chunks of 77 tokens.

    make_clip_chunks.py DIR TOKENIZER > tests/golden/clip_chunks.json

DIR holds upstream's code, which is not part of this project: prompt_parser.py, comfy_weights.py (see make_clip_prompts.py) and
a1111_chunks.py with tokenize_line() (A1111 modules/sd_hijack_clip.py) and comfy_tokenize() (ComfyUI's tokenize_with_weights) as
plain functions. TOKENIZER is a folder for transformers' CLIPTokenizer. The embeddings of the test are "foo" (3 vectors), "foo bar"
(2) and "big" (40). Cases: [grammar, pad, text, tokens, [[ids without padding, weights as [count, weight] runs, fixes], ...]].
"""
import json
import random
import sys

from transformers import CLIPTokenizer

sys.path.insert(0, sys.argv[1])
import a1111_chunks  # noqa: E402

tokenizer = CLIPTokenizer.from_pretrained(sys.argv[2])
END = 49407


def tokenize(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


names = {"foo": 3, "foo bar": 2, "big": 40}
table = sorted(((tokenize(n), n) for n in names), key=lambda x: -len(x[0]))


def find(tokens, at):
    for ids, name in table:
        if tokens[at:at + len(ids)] == ids:
            return (name, names[name]), len(ids)
    return None, None


def load(name):
    return (name, names[name]) if name in names else None


def runs(weights):
    out = []
    for w in weights:
        if out and out[-1][1] == w:
            out[-1][0] += 1
        else:
            out.append([1, w])
    return out


def trim(ids, pad):
    while len(ids) > 1 and ids[-1] == pad and ids[-2] in (pad, END):
        ids = ids[:-1]
    return ids


def a1111(text, pad):
    chunks, count = a1111_chunks.tokenize_line(text, tokenize, find, id_pad=pad)
    return [[trim(c.tokens, pad), runs(c.multipliers), [[o + 1, names[n], 0, n] for o, n in c.fixes]] for c in chunks], count


def comfy(text, pad):
    out = []
    for batch in a1111_chunks.comfy_tokenize(text, tokenize, load, pad=pad):
        ids, fixes = [], []
        for i, (t, _) in enumerate(batch):
            if isinstance(t, tuple):
                if fixes and fixes[-1][3] == t[0] and t[1] and fixes[-1][0] + fixes[-1][1] == i:
                    fixes[-1][1] += 1
                else:
                    fixes.append([i, 1, t[1], t[0]])
                t = 0
            ids.append(t)
        out.append([trim(ids, pad), runs([w for _, w in batch]), fixes])
    return out, 0


rng = random.Random(3)
words = "red apple on a wooden table, soft light, (masterpiece:1.2), best quality, sky with clouds, [blurry], a cat, dog and mouse".split(" ")


def long(n, commas):
    out = []
    for _ in range(n):
        w = rng.choice(words).replace(",", "")
        out.append(w + ("," if rng.random() < commas else ""))
    return " ".join(out)


texts = ["", "a cat", "a cat BREAK a dog", "BREAK", "BREAK BREAK a", "(a BREAK b)", "a, (b:1.3), [c] d", "foo", "a foo b", "foo bar", "(foo:1.5) foo", "big big", "a big big big b",
         "x<|endoftext|>y z", "a " * 75, "a " * 76, "a " * 150, "a " * 151, "a " * 74 + ", b c", "a " * 60 + ", " + "b " * 14 + "c d e", "a " * 54 + ", " + "b " * 20 + "c d",
         "a " * 53 + ", " + "b " * 22 + "c", "a " * 73 + "foo b", "a " * 50 + "(b:1.2) " * 30, "a " * 74 + "BREAK b", "a " * 75 + "BREAK b", ",".join("ab" for _ in range(80)), "(a, b:1.1) " * 40,
         "a " * 40 + "big c", "[a:b:3] <x>", "日本語、" * 30, "a " * 70 + "foo bar foo bar"]
for i in range(30):
    texts.append(long(rng.randint(60, 170), rng.choice([0, 0.05, 0.3])))
special = ["embedding:foo", "a embedding:foo, b", "embedding:foo,", "embedding:,foo", "(embedding:foo:1.3) x", "embedding:nothing here", "a\nembedding:big embedding:big embedding:big",
           "a xembedding:foo", "a " * 72 + " embedding:foo b", "a " * 60 + " embedding:big b", "embedding:foo embedding:foo", "(a:1.2) " * 80, "supercalifragilisticexpialidocious " * 12,
           "(" + "a " * 70 + ":1.5)(b c d e f g h:2)", "(" + "a " * 70 + ":1.5)(b c d e f g h i j k:2) end"]
cases = []
for i, text in enumerate(texts):
    pad = 0 if i % 3 == 1 else END
    got, count = a1111(text, pad)
    cases.append(["a1111", pad, text, count, got])
for i, text in enumerate(texts[:18] + texts[22:40:2] + special):
    if "foo" in text and "embedding" not in text:
        continue
    pad = 0 if i % 3 == 1 else END
    got, count = comfy(text, pad)
    cases.append(["comfy", pad, text, count, got])
print("[" + ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases) + "]")
