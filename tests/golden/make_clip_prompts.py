#!/usr/bin/env python3
"""Makes clip_prompts.json: what A1111 1.10 and ComfyUI make of many prompts.

    make_clip_prompts.py DIR > tests/golden/clip_prompts.json

DIR holds upstream's own files, which are not part of this project: prompt_parser.py (A1111, modules/; without its torch import) and
comfy_weights.py (parse_parentheses, token_weights, escape_important and unescape_important of ComfyUI's sd1_clip.py). Needs
lark==1.1.2, the version A1111 asks for. Its parser chooses among readings of an ambiguous prompt by hash seed: the script runs
itself under several seeds and keeps the prompts whose reading does not depend on it.
"""
import json
import os
import random
import re
import subprocess
import sys

sys.path.insert(0, sys.argv[1])
import comfy_weights  # noqa: E402
import prompt_parser  # noqa: E402

rng = random.Random(11)

schedules = """test|a [b:3]|a [b: 3]|a [b:3 ]|a [[[b]]:2]|[(a:2):3]|a [b : c : 1] d|a[b:[c:d:2]:1]e|a [unbalanced|a [b:.5] c|a [b:0.5] c|a [b:5.] c
((a][:b:c [d:3]|[a:b:0]|[a:b:-1]|[a:b:-0.5]|[a:b:99]|[a:b:1.0]|[a:b:0.05]|[a:b:1e1]|[a:b:1.5e0]|[a::3]|[:b:3]|[::3]|[:3]|[a:b:c:3]|[a:b:c]|[a:b]|[]|()|[:]
[a:(b:3):5]|[a:b (c:1.2) d:5]|[a [b:c:2] d:e:4]|[[a:b:2]:[c:d:4]:3]|a [b:c:3] and [d:e:5] f|\\\\[a:b:3\\\\]|[a\\\\:b:c:3]|[a\\\\]:b:3]|[a:b:3|trailing \\\\|x\\\\
(a:b:c)|(a:[b:3])|[a (b] c):3]|(a [b) c:3]|a) [b:3] (|]]] [a:2] [[[|[a:b:3]]|[[a:b:3]|[a:b:+3]|[a:b:3x]|[a:b:x3]|[a:b: .5 ]|[日本:中文:2]|[a:b:\u00a03\u2003]|[a\nb:c:2]
fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]""".replace("\n", "|").replace("\\\\", "\\").split("|")
schedules += ["[a|b]", "[a|b|c] d", "[|b]", "[a|]", "[fe|]male", "[fe|||]male", "[a|(b:1.1)]", "[a|[b|c]]", "[[a|b]:c:3]", "[a:[b|c]:3]", "a|b", "[a|b:3]", "[a|b] | c",
              "(a|b)", "([a|b]:1.2)", "[a|b", "a|b]", "[a:b|c:3]", "[(a|b)|c]", "[a|b][c|d|e]", "[a|[b:c:2]]", "a [{b|d{:.5] c", "[x\\|y|z]"]
schedules.append("a\\\nb [c:d:2]")
pieces = ["[", "]", "(", ")", ":", "|", "a", "b ", " ", "3", ":3]", ":0.5]", "\\", "\\(", "\n", "[a:b:", "[a|b]", "(a:1.2)", " 4 ", ":2", ".", "-1"]
for _ in range(220):
    schedules.append("".join(rng.choice(pieces) for _ in range(rng.randint(2, 9))))

parts = ["a cat", "a cat AND a dog", "a cat :1.2 AND a dog:0.5", "a:2", "a : 2 ", "a:1:2", "a: -1", "a:+.5", "a:5.", "a:1e5", "a:x", "a 5", "(a:1.2)", "[a:b:5]", "AND", "AND AND",
         "a AND", "AND b", "sAND AND hANDs", "a_AND b", "a ANDb", "and And AND", "a\nAND\nb", "a AND b AND c:0.3", "日AND本", "a  AND  b", "a:1.2AND b", "a: 1.2 \n", ":2", "a::2", "a:٣",
         "a (b:1.2) AND [c:d:3] :0.7", "a:1.\n AND b", "\u3000a\u3000:\u30002\u3000", "a:--2", "a:.", "1:1", "AND:2", "a AND:0.5 b", "x:0 AND y:-0"]

attention = """normal text|an (important) word|(unbalanced|\\(literal\\]|(unnecessary)(parens)|a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).||()|[]|(())|((a))|[[a]]|[a|a]|a)|([a])|[(a)]|[(a]b)|(a:1.5)
(a:)|(a: 1.5 )|(a:1.5|a:1.5)|(a:b:1.5)|(a:1.5:2)|(a:-1)|(a:+2)|(a:.5)|(a:2.)|(a:0)|(a:1.5)(b:1.5)|(a:1.1)b(c)|(a:1.2(b:1.3))|((a:1.2):1.3)|\\|\\\\|a\\b|\\(a\\)|\\\\(a)|\\[a\\]|a\\|(a\\)b)|(a\\:1.5)
a:b|:|::|(:1.5)|(:)|[a:1.5]|[a:1.5)|(a[b)c]|[[[a|a]]]|(((a|a BREAK b|BREAK|a BREAK|BREAK b|a  BREAK  BREAK b|aBREAK|BREAKb|(a BREAK b)|[BREAK]|(a:-1)BREAK|BREAK(a:-1)|a\nBREAK\nb|BREAK:1.5)|a_BREAK|日BREAK
(日本:1.2)、(中文)|emoji (😀:1.4)!|(a:１.５)|(a:٣)|masterpiece, (best quality:1.2), [bad], ((1girl)), solo|(a, b, c:0.8) d|a (b (c (d (e:2) f:1.5) g) h) i|(B\\REAK:-1)|(a:1.3)(b:1.3) (c:1.3)|x (y:1.0) z|x (y:1) z""".replace("\n", "|").split("|")
attention += ["a\n(b\nc:1.2)\nd", "(a:\n1.2\n)", "a\tBREAK\u3000b", "(a|b:1.2)|c"]
more = ["(", ")", "[", "]", ":", "a", "b c", ":1.3)", ":0.7)", "\\", "\\(", " BREAK ", ", ", "\n"]
for _ in range(120):
    attention.append("".join(rng.choice(more) for _ in range(rng.randint(2, 12))))

networks = ["<lora:a:0.5>", "x <lora:a:0.5> y", "<lora:a>", "<lora:a:0.5:0.7>", "<lora:a:te=0.5>", "<lora:a:unet=0.5>", "<lora:a:te=0.2:unet=0.9>", "<lora:a:0.5:unet=0.9:dyn=4>", "<lora:a:1:1:8>",
            "<lora:a b.c-d:1>", "<lyco:a:1><hypernet:b:0.3>", "<lora:>", "<lora>", "<:a>", "< lora:a>", "<lora:a", "lora:a>", "<<lora:a:1>>", "<lora:a<b:1>", "<日本:x:2>", "<lora:a:x>", "<lora:a: 0.5 >",
            "<lora:a:1e-1>", "<lora:a:b=c=d:0.5>", "<a:b>c<d:e:f>", "<lora:a\nb:1>", "a < b > c: d", "<lora:a:0.5:>"]

comments = ["a # b\nc", "# a\nb", "a\n# b\nc", "a\n#b\n#c\nd", "a #b\n#c\nd", "#", "a#", "##\n##\n", "a\n\n#b\n\nc", "\n#a"]

comfy = ["a", "(a)", "((a))", "(a:1.5)", "((a:1.5):2)", "(a (b:1.5) c:2)", "(a (b) c:2)", "a (b) c", "(a", "a)", "a) (b)", "(a:b)", "(a:1.5:2)", "(:2)", "()", "(())", "\\(a\\)", "(a\\)b)", "(a: 1.5 )",
         "(a:1e-1)", "[a]", "(a))(b)", "((a)", "(a:-1)", "(a:.5)", "", "(a BREAK b)", "(((a:1.1) b:1.2) c:1.3)", "(a:)", "(1:2)(3:4)", "x (y:0) z", "((((a))))", ")(", "(a)(b) (c)", "\\\\(a)"]
for _ in range(60):
    comfy.append("".join(rng.choice(["(", ")", "a", " b", ":1.3)", ":2", "\\(", "\\)"]) for _ in range(rng.randint(2, 10))))


def schedule(text, steps, hires, old):
    return prompt_parser.get_learned_conditioning_prompt_schedules([text], steps, hires or None, old)[0]


def schedule_cases():
    out = []
    for i, text in enumerate(schedules):
        kinds = [(10, 0, False)]
        if i % 4 == 0 or i < 40:
            kinds += [(10, 0, True), (10, 8, False)]
        if i % 9 == 0:
            kinds += [(6, 4, True)]
        for kind in kinds:
            out.append([text, *kind, schedule(text, *kind)])
    return out


def network(text):
    found = []

    def number(value, default):
        try:
            return float(value)
        except ValueError:
            return default

    def take(m):
        places, named = [], {}
        for item in m.group(2).split(":"):
            halves = item.split("=", 2)
            if len(halves) == 2:
                named[halves[0]] = halves[1]
            else:
                places.append(item)
        places += [None] * 4
        te = number(places[1], 1.0) if places[1] is not None else 1.0
        te = number(named.get("te", te), te)
        unet = number(places[2], te) if places[2] is not None else te
        unet = number(named.get("unet", unet), unet)
        dyn = int(number(named.get("dyn", places[3] or 0), 0))
        found.append([m.group(1), places[0] or "", te, unet, dyn])
        return ""

    return [text, re.sub(r"<(\w+):([^>]+)>", take, text), found]


def strip(text):
    text = re.sub("(^|\n)#[^\n]*(\n|$)", "\n", text)
    return re.sub("#[^\n]*(\n|$)", "\n", text)


if "--schedules" in sys.argv:
    json.dump(schedule_cases(), sys.stdout)
    sys.exit()
runs = []
for seed in range(8):
    done = subprocess.run([sys.executable, __file__, sys.argv[1], "--schedules"], capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": str(seed)})
    runs.append(json.loads(done.stdout))
stable = [rows[0] for rows in zip(*runs) if all(r == rows[0] for r in rows)]
print(len(runs[0]) - len(stable), "schedules depend on the hash seed", file=sys.stderr)


def part(text):
    indexes, flat, _ = prompt_parser.get_multicond_prompt_list([text])
    return [text, [[weight, flat[i]] for i, weight in indexes[0]]]


def weights(text):
    return [[comfy_weights.unescape_important(t), w] for t, w in comfy_weights.token_weights(comfy_weights.escape_important(text), 1.0)]


result = {
    "schedules": stable,
    "parts": [part(t) for t in parts],
    "attention": [[t, prompt_parser.parse_prompt_attention(t)] for t in attention],
    "networks": [network(t) for t in networks],
    "comments": [[t, strip(t)] for t in comments],
    "comfy": [[t, weights(t)] for t in comfy],
}
print("{")
for i, (key, cases) in enumerate(result.items()):
    print(f' "{key}": [')
    print(",\n".join("  " + json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases))
    print(" ]" + ("," if i + 1 < len(result) else ""))
print("}")
print(sum(map(len, result.values())), "cases", file=sys.stderr)
