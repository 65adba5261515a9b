#!/usr/bin/env python3
"""What A1111's parser makes of texts: tests/golden/metadata.json, a list of {text, prompt, negative,
settings}. The rule is modules/infotext_utils.py's, written out again (its pattern, its last-line
rule, its quoting), without its splitting of sizes. Run from the source root, never by the tests.
"""
import json
import random
import re

PATTERN = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def unquote(text):
    if len(text) == 0 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except Exception:
        return text


def parse(x):
    prompt = negative = ""
    done = False
    *lines, last = x.strip().split("\n")
    if len(PATTERN.findall(last)) < 3:
        lines.append(last)
        last = ""
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            done = True
            line = line[16:].strip()
        if done:
            negative += ("" if negative == "" else "\n") + line
        else:
            prompt += ("" if prompt == "" else "\n") + line
    settings = {}
    for k, v in PATTERN.findall(last):
        if v == "":
            continue  # v[0] fails there, and the pair is dropped
        if v[0] == '"' and v[-1] == '"':
            v = unquote(v)
        settings[k] = v
    return {"text": x, "prompt": prompt, "negative": negative, "settings": settings}


TEXTS = [
    "",
    "an apple",
    "an apple\nNegative prompt: worm",
    "a, b: c, d",
    "an apple\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Version: v1.10.1",
    "an apple\nNegative prompt: worm,\nrotten: very\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 18446744073709551615, Size: 512x768",
    "Negative prompt: only\nSteps: 1, Sampler: DDIM, CFG scale: 1.0",
    "Steps: 20, Sampler: Euler a, CFG scale: 7",
    "two of: them\nSteps: 20, Sampler: Euler",
    'x\nSteps: 20, Sampler: "a, b: \\"c\\"\\n\\u00e9", CFG scale: 7, Lora hashes: "one: 012345678901, two: 012345678902", Version: v1',
    'x\nSteps: 20, Bad: "unfinished, CFG scale: 7, Seed: 3',
    'x\nSteps: 20, Bad: "closed" but, CFG scale: 7, Seed: 3',
    'x\nSteps: 20, Empty: , CFG scale: 7, Seed: 3, Empty2:, Quote: "", Last: ""',
    "x\nSteps: 20, steps/more-of it: a:b:c, CFG scale: 7.000000, Sampler: euler_a karras, RNG: cuda, ",
    "über\nÜmlaut Größe: 1, 大きさ値: 2, a: 3, ab: 4, Seed: 5",
    "  spaces  \n   Negative prompt:    many   \n  of them  \n Steps:20,Sampler:x,CFG scale:7  ",
    "x\r\nSteps: 20, Sampler: Euler, Seed: 7\r\n",
    "x\nSteps: 20, Sampler: Euler, Seed: 7, Seed: 8, Steps: 21",
    "x\nSteps: 20, Sampler: Euler a\tb, Tab\tbed: 5, Seed: 7",
    'x\nHires prompt: "multi\\nline, yes", Template: "a {b|c}", Steps: 3, Seed: 9',
]


def main():
    rng = random.Random(11)
    pieces = ['"', "\\", ",", ":", " ", "\n", "a", "bc", "Steps", "Seed: 1, ", "é", "林", "-", "/", "_", "9",
              "Negative prompt:", "\t", '\\"', '"x, y"', ", Size: 8x8", "\\u00e9"]
    texts = list(TEXTS)
    for _ in range(150):
        texts.append("".join(rng.choice(pieces) for _ in range(rng.randint(1, 40))))
    with open("tests/golden/metadata.json", "w", encoding="utf-8") as out:
        json.dump([parse(t) for t in texts], out, ensure_ascii=False, separators=(",", ":"))


main()
