#!/usr/bin/env python3
"""Every sentence that the window can show goes through gettext, and every translation has it.

1. No literal of two or more words, and no first literal of a call that makes an error, stands outside _(), N_() and
   g_dngettext(); what never reaches a user is named below with the reason, and a name that excuses nothing is an error.
2. po/figment.pot is what po/update.sh would write now.
3. Each language of po/LINGUAS has a translation of every sentence, none fuzzy.
"""
import filecmp
import glob
import os
import re
import subprocess
import sys
import tempfile

ROOT = sys.argv[1]
FOLDERS = ["clip", "compute", "engine", "scheduler", "ui", "unet", "vae", "weights"]

FILES = {  # files none of whose literals is shown in a window
    "compute/dump.c": "the text of --dump-tape and --profile",
    "compute/ops.c": "shapes that do not fit: a mistake in a forward function, which bind.c keeps files from causing",
    "compute/tape.c": "as in ops.c",
    "compute/poison.c": "FIGMENT_POISON, a tool of the tests",
    "compute/vulkan/variants.c": "names of kernels",
    "engine/bench.c": "rows of figment bench, which are a format",
    "engine/random_model.c": "configurations of drawn models, as JSON",
}
KEYS = {  # files whose literals of several words are keys of a format; what makes errors and notices is looked at all the same
    "engine/history.c": "SQL",
    "engine/metadata.c": "A1111's keys",
    "engine/metadata_comfy.c": "A1111's keys",
    "engine/metadata_foreign.c": "keys of several formats",
}
LITERALS = {  # single ones: file, the literal or its beginning, reason
    ("clip/tokenizer.c", ".section .rodata"): "assembler",
    ("compute/cpu/backend.c", "CPU (%s)"): "a name",
    ("compute/cpu/onednn_compat.c", "oneDNN %d"): "a name",
    ("compute/vulkan/selftest.c", ", %.3g TFLOP/s"): "a unit",
    ("compute/vulkan/vulkan.c", "%s (%d steps)"): "a name of figment bench and of debuggers",
    ("engine/metadata_sampler.c", "Schedule type"): "a key of A1111's",
    ("ui/batch.c", "Cantarell, Sans 11"): "a font",
    ("ui/bridge-models.c", "Model hash"): "a key of A1111's",
    ("ui/record.c", "%s has no field %s"): "a mistake in a table of ours",
    ("compute/cpu/memory.c", "MemAvailable: %llu"): "a line of /proc/meminfo",
    ("compute/cpu/memory.c", "SwapFree: %llu"): "a line of /proc/meminfo",
    ("compute/cpu/backend.c", "cancelled"): "an error by its code alone",
    ("compute/vulkan/submit.c", "cancelled"): "an error by its code alone",
    ("compute/vulkan/encode.c", "cancelled"): "an error by its code alone",
    ("compute/vulkan/warm.c", "cancelled"): "an error by its code alone",
    ("compute/vulkan/encode.c", "rows of %"): "a mistake in vae.c's strips, not of a user",
    ("compute/vulkan/device.c", "Loader Message"): "the name of a message of the Vulkan loader",
    ("compute/vulkan/selftest.c", "shared memory"): "the name of a kernel, kept in a file",
    ("compute/vulkan/selftest.c", "cooperative matrix"): "the name of a kernel, kept in a file",
    ("compute/vulkan/selftest.c", "workgroup matrix"): "the name of a kernel, kept in a file",
    ("compute/vulkan/selftest.c", "FIGMENT_VULKAN_PATH"): "a variable of tests and measurements",
    ("engine/device.c", "model name"): "a line of /proc/cpuinfo",
    ("engine/npy.c", "'fortran_order'"): "the header of a .npy file",
    ("engine/npy.c", "{'descr'"): "the header of a .npy file",
    ("engine/png.c", "too large"): "replaced by the sentence of refuse()",
    ("scheduler/names.c", "DPM"): "a name",
    ("scheduler/names.c", "Euler a"): "a name",
    ("scheduler/names.c", "SGM Uniform"): "a name",
    ("scheduler/names.c", "KL Optimal"): "a name",
    ("scheduler/names.c", "Align Your Steps"): "a name",
    ("weights/model.c", "SDXL refiner"): "a name",
    ("weights/safetensors.c", "Entry not found"): "how a web page begins",
    ("weights/safetensors.c", "Invalid username"): "how a web page begins",
    ("weights/safetensors.c", "Access to model"): "how a web page begins",
    ("weights/safetensors.c", "version https"): "how a Git-LFS placeholder begins",
}
TEXT = r'"(?:\\.|[^"\\])*"'
TOKENS = re.compile(rf"{TEXT}|'(?:\\.|[^'\\])*'|/\*.*?\*/|//[^\n]*|^[ \t]*#(?:\\\n|[^\n])*", re.S | re.M)
MARKED = re.compile(r"\b(?:_|N_|g_dngettext)\s*\(")
LOGGED = re.compile(r"\bg_(?:warning|message|info|debug|critical|log|print|printerr)\s*\(|\bf?printf\s*\(|\bsql\w*\s*\(")
ERRORS = re.compile(r"\b(?:g_set_error|g_set_error_literal|g_error_new|g_error_new_literal|g_propagate_prefixed_error|"
                    r"g_prefix_error|engine_input_error|config_fail|say)\s*\(")
SENTENCE = re.compile(r"[A-Za-z%][\w’'.,:;%]*[ ]+(?:[(“'%]*)[A-Za-z]")

used = set()
failures = []


def hide(match):
    """Blanks with the same length and lines; literals keep their quotes."""
    text = match.group(0)
    if text[0] in "\"'":
        return text[0] + "x" * (len(text) - 2) + text[-1]
    return re.sub(r"[^\n]", " ", text)


def calls(code, pattern):
    """The places between the brackets of each call."""
    for match in pattern.finditer(code):
        depth, end = 1, match.end()
        while depth and end < len(code):
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        yield match.end(), end


def literals(source):
    """Where each literal begins, and its text: adjacent ones are one."""
    begin, text, last = None, "", 0
    for match in TOKENS.finditer(source):
        if match.group(0)[0] != '"':
            continue
        if begin is not None and re.fullmatch(r"(?:\s|G_G\w+_FORMAT)*", source[last:match.start()]):
            text += match.group(0)[1:-1]
        else:
            if begin is not None:
                yield begin, text
            begin, text = match.start(), match.group(0)[1:-1]
        last = match.end()
    if begin is not None:
        yield begin, text


def excused(path, text, makes_error):
    if path in FILES or (path in KEYS and not makes_error):
        used.add(path)
        return True
    for file, beginning in LITERALS:
        if file == path and text.startswith(beginning):
            used.add((file, beginning))
            return True
    return False


def look(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        source = f.read()
    code = TOKENS.sub(hide, source)
    inside = [span for pattern in (MARKED, LOGGED) for span in calls(code, pattern)]
    first = {code.find('"', begin, end) for begin, end in calls(code, ERRORS)}
    for at, text in literals(source):
        if code[at] != '"' or any(begin <= at < end for begin, end in inside):
            continue
        words = re.search("[A-Za-z]{2}", re.sub(r"%[-+ #0-9.*]*(?:z|l|ll|j)?[a-zA-Z]", "%", text))
        if words and (SENTENCE.search(text) or at in first) and not excused(path, text, at in first):
            failures.append(f"{path}:{source.count(chr(10), 0, at) + 1}: not marked: {text[:90]}")


def check(name, *command):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        failures.append(f"{name}: {(result.stdout + result.stderr).strip()[:2000]}")
    return result.stderr


for folder in FOLDERS:
    for file in sorted(glob.glob(os.path.join(ROOT, folder, "**", "*.c"), recursive=True)):
        look(os.path.relpath(file, ROOT))
for name in [*FILES, *KEYS, *LITERALS]:
    if name not in used:
        failures.append(f"excused without need: {name}")
with tempfile.TemporaryDirectory() as folder:
    now = os.path.join(folder, "figment.pot")
    check("po/update.sh", os.path.join(ROOT, "po", "update.sh"), "--template", now)
    if os.path.exists(now) and not filecmp.cmp(now, os.path.join(ROOT, "po", "figment.pot"), shallow=False):
        check("po/figment.pot is old: run po/update.sh", "diff", "-u", "po/figment.pot", now)
for language in open(os.path.join(ROOT, "po", "LINGUAS"), encoding="utf-8").read().split():
    file = f"po/{language}.po"
    told = check(file, "msgfmt", "--check", "--statistics", "-o", os.devnull, file)
    if "fuzzy" in told or "untranslated" in told:
        failures.append(f"{file}: {told.strip()}")
    check(file, "msgcmp", file, "po/figment.pot")

for failure in failures:
    print(failure)
print(f"{'0' if failures else '1'} passed, {len(failures)} failed")
sys.exit(bool(failures))
