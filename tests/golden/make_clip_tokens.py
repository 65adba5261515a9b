#!/usr/bin/env python3
"""Makes clip_tokens.txt: what transformers' CLIPTokenizer (5.24, tokenizers 0.23) says of many texts.

    make_clip_tokens.py assets/clip/merges.txt > tests/golden/clip_tokens.txt

A line is: repeat, number of ids, FNV-1a (64 bits) over the ids as little-endian 32-bit numbers, the first ids, and the text
as JSON. Each seeded text is made from words of the vocabulary, scripts, emoji, marks and markup.
"""
import json
import random
import sys
import tempfile

from transformers import CLIPTokenizer

merges_path = sys.argv[1]
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
order = printable + [b for b in range(256) if b not in printable]
chars = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
merges = [line for line in open(merges_path, encoding="utf-8").read().split("\n")[1:] if line]
tokens = chars + [c + "</w>" for c in chars] + [m.replace(" ", "") for m in merges]
tokens += ["<|startoftext|>", "<|endoftext|>"]
with tempfile.TemporaryDirectory() as folder:
    json.dump({t: i for i, t in enumerate(tokens)}, open(folder + "/vocab.json", "w"))
    open(folder + "/merges.txt", "w", encoding="utf-8").write("#version: 0.2\n" + "\n".join(merges) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder)

rng = random.Random(7)
words = [t[:-4] for t in tokens[512:49406] if t.endswith("</w>") and t[:-4].isascii()]
fixed = [
    "", " ", "\n", "a", "A", "a photo of a cat", "A Photo Of A Cat", "hello   world\t\n!", "don't I'LL it's we've I'm you'd they're",
    "''s 's's '' ' 't", "12345 3.14 1e5 ½ ² Ⅻ ٣ 一二三", "a_b-c/d\\e|f", "&amp; &lt;b&gt; &#39; &nbsp;", "<|endoftext|>", "<|startoftext|>",
    "a<|endoftext|>b <|startoftext|>c", "<|ENDOFTEXT|>", "<|endoftext|", "<|end oftext|>", "x<|endoftext|><|endoftext|>", "!<|endoftext|>",
    "İstanbul ΑΣ ẞ ǅ ŉ", "é é", "Å Å Å", "각 각", "ﬁ ﬂ", "日本語のプロンプト", "中文，测试。", "한국어", "Привет, мир", "مرحبا بالعالم",
    "שָׁלוֹם", "สวัสดี", "नमस्ते", "👩‍👩‍👧", "🏳️‍🌈 👍🏽 🇫🇷", "❤️ ☃️ ✨", "\u200b\ufeff\u00ad", "\u00a0\u2003\u3000x\u0085y\u2028z", "\x00\x01\x1c\x1d",
    "a\u0316\u0301\u0345", "\u0301\u0316", "\U0001d15e\U0001d16a", "\U0002f800\uf900", "\ue000\U000e0100\U0010ffff", "\ufffd", "Ⓐⓩ", "ꟋꭓᲊᲉ",
    "!!!???...", "(a:1.2) [b|c] <lora:x:1>", "embedding:foo", "masterpiece, best quality, 1girl, (solo:1.2)",
]


def piece():
    k = rng.random()
    if k < 0.5:
        w = rng.choice(words)
        return rng.choice([w, w, w, w.upper(), w.title(), w + rng.choice([",", ".", "!", "'s", "-"])])
    if k < 0.58:
        return "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 6)))
    if k < 0.64:
        return "".join(chr(rng.randint(0xA1, 0x24FF)) for _ in range(rng.randint(1, 4)))
    if k < 0.70:
        return "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(rng.randint(1, 5)))
    if k < 0.74:
        return "".join(chr(rng.choice([rng.randint(0x3041, 0x30FF), rng.randint(0xAC00, 0xD7A3)])) for _ in range(3))
    if k < 0.80:
        return "".join(rng.choice([chr(rng.randint(0x1F300, 0x1FAFF)), "\u200d", "\ufe0f"]) for _ in range(rng.randint(1, 3)))
    if k < 0.86:
        return rng.choice("aeioucn") + "".join(chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 4)))
    if k < 0.90:
        return str(rng.randint(0, 10**rng.randint(1, 9)))
    if k < 0.94:
        return rng.choice(["&amp;", "&quot;", "<b>", "<|endoftext|>", "<lora:a:0.5>", "(x:1.2)", "[a:b:0.5]", "BREAK", "AND", "http://a.b/c?d=e"])
    if k < 0.97:
        return "".join(chr(rng.choice([rng.randint(0x1100, 0x11FF), rng.randint(0x590, 0x5FF), rng.randint(0x900, 0x97F)])) for _ in range(4))
    c = rng.randint(0, 0x10FFFF)
    return chr(c) if not 0xD800 <= c < 0xE000 else "?"


texts = [(1, t) for t in fixed]
for i in range(2200):
    sep = rng.choice([" ", " ", " ", ", ", "", "  ", "\n"])
    texts.append((1, sep.join(piece() for _ in range(rng.randint(1, 7)))))
# 100 KB: one word, many words, words that merge badly, marks out of order, digits, white space, emoji, special tokens
for text in ["a", "xyz", "photo of a cat, ", "\u0301\u0316", "e\u0316\u0301", "日本", "😀", "!?", "'s", "<|endoftext|>", " \n", "1", "qj"]:
    texts.append((100_000 // len(text.encode()) + 1, text))

for repeat, text in texts:
    ids = tokenizer(text * repeat, add_special_tokens=False)["input_ids"]
    h = 0xCBF29CE484222325
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    print(repeat, len(ids), f"{h:016x}", ",".join(map(str, ids[:4])) or "-", json.dumps(text, ensure_ascii=False), sep="\t")
