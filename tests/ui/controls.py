"""Controls that program.py does not need: weights by keys, chunks, sizes, seeds, hints, pictures of other programs, a model
that is opened, a job that crashed twice; rows reached by keys. usage: controls.py BINARY FOLDER MODEL [STEP...]"""
import json
import os
import re
import shutil
import struct
import sys
import time
import zlib

from program import BINARY, Session, driven, seen_message, walk
from robot import check, wait

import subprocess


def png(path, **texts):
    """A grey picture of 8 x 8 with text chunks."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) +
                   b"".join(chunk(b"tEXt", key.encode() + b"\0" + text.encode("latin-1")) for key, text in texts.items()) +
                   chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * 8) * 8)) + chunk(b"IEND", b""))
    return path


def button(s, name):
    """Of a menu button the part that is pressed."""
    return wait(lambda: next((w for w in s.window.each("(push|toggle) button", name)
                              if w._try(lambda: w.it.get_action_iface().get_n_actions(), 0)), None), "the button " + name)


def kept(s, **values):
    wait(lambda: all(s.settings().get(key.replace("_", "-")) == value for key, value in values.items()), f"{values} on disk")


def step_prompt(s):
    """Weights by keys, undo, the count of tokens, prompts that were used before."""
    field = s.window.one("text", "Prompt")
    s.set_prompt("red apple")
    s.keys.press("Control_L", "l")
    wait(lambda: field.state("FOCUSED"), "the prompt to have the keys")
    s.keys.press("Control_L", "a")
    s.keys.press("Control_L", "Up")
    wait(lambda: field.text == "(red apple:1.1)", f"the weight: {field.text}")
    s.keys.press("Control_L", "Down")
    s.keys.press("Control_L", "Down")
    wait(lambda: field.text == "(red apple:0.9)", f"the weight: {field.text}")
    s.keys.press("Control_L", "z")
    wait(lambda: field.text == "red apple", f"one step back: {field.text}")
    s.keys.press("Control_L", "End")
    s.keys.press("Return")
    s.keys.type("on a table")
    wait(lambda: field.text == "red apple\non a table", f"a second line: {field.text!r}")
    s.set_prompt(", ".join(["red apple"] * 40))
    s.window.one("label", r"\d+ / 150")
    s.set_prompt("a pear")
    s.generate()
    wait(lambda: len(s.files()) == 1, "a picture")
    s.wait_idle()
    s.set_prompt("something else")
    button(s, "Recent prompts.*").act()
    s.window.one("label", "a pear")
    s.desktop.shot("recent-prompts")
    s.keys.press("Return")
    wait(lambda: field.text == "a pear", f"the prompt from before: {field.text}")


def step_values(s):
    """Sizes by presets, swapped, rounded; numbers that cannot be; hints for odd ones."""
    size = button(s, "64 × 64")
    size.act()
    s.window.one("push button", "512 × 768").act()
    kept(s, width="512", height="768")
    button(s, "512 × 768").act()
    s.window.one("push button", "Swap width and height").act()
    kept(s, width="768", height="512")
    s.window.one("spin button", "Width").set_value(101)
    kept(s, width="104")
    s.window.one("spin button", "Width").set_value(64)
    s.window.one("spin button", "Height").set_value(64)
    kept(s, width="64", height="64")
    button(s, "64 × 64").act()
    wait(lambda: not s.window.all("spin button", "Width"), "the sizes to close")
    steps = s.window.one("spin button", "Steps")
    steps._try(lambda: steps.it.get_value_iface().set_current_value(1000))
    wait(lambda: steps.value == 150, f"no more steps than 150: {steps.value}")
    s.window.one("label", "More than about 50 steps.*")
    s.set_number("Steps", 2)
    s.window.one("label", "With so few steps.*")
    s.set_number("Guidance", 20)
    s.window.one("label", "Guidance above 15.*")
    s.desktop.shot("hint")
    s.set_number("Guidance", 5)
    seed = s.window.one("text|entry", "Seed")
    seed.set_text("twelve")
    s.window.one("label", "A seed is a whole number.*")
    seed.set_text("18446744073709551615")
    kept(s, seed="18446744073709551615", random_seed="false")
    button(s, "(Random seed|A new random seed).*").act()
    kept(s, random_seed="true")


FOREIGN = {
    "a1111": ({"parameters": "a foreign apple\nNegative prompt: blurry\nSteps: 21, Sampler: Euler a, CFG scale: 6.5, Seed: 42, "
                             "Size: 64x64, Model: unknown-model, Version: v1.9.4"}, "A1111", "Steps: 2 → 21"),
    "comfy": ({"prompt": json.dumps({
        "3": {"class_type": "KSampler", "inputs": {"seed": 43, "steps": 22, "cfg": 6, "sampler_name": "euler", "scheduler": "normal",
              "denoise": 1, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "unknown.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a foreign apple", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}}})}, "ComfyUI", "Steps: 2 → 22"),
    "invoke": ({"invokeai_metadata": json.dumps({
        "positive_prompt": "a foreign apple", "negative_prompt": "blurry", "width": 64, "height": 64, "seed": 44, "steps": 23,
        "cfg_scale": 6.0, "scheduler": "euler", "model": {"name": "unknown"}, "app_version": "5.0.0"})}, "InvokeAI", "Steps: 2 → 23"),
    "fooocus": ({"fooocus_scheme": "fooocus", "parameters": json.dumps({
        "prompt": "a foreign apple", "negative_prompt": "blurry", "steps": 24, "guidance_scale": 6.0, "resolution": "(64, 64)",
        "sampler": "euler", "scheduler": "normal", "seed": "45", "base_model": "unknown", "version": "Fooocus v2.5.5"})},
        "Fooocus", "Steps: 2 → 24"),
}


def step_foreign(s):
    """What other programs wrote: said before, used when asked for, and nothing runs by itself."""
    for name, (texts, origin, steps) in FOREIGN.items():
        s.set_prompt("before")
        s.set_number("Steps", 2)
        subprocess.run([BINARY, png(s.desktop.path(name + ".png"), **texts)], stdin=subprocess.DEVNULL)
        dialog = s.dialog(r"Use This Picture’s Settings\?")
        dialog.one("label", f".*written by {origin}.*")
        dialog.one("label", re.escape(steps))
        dialog.one("label", "Prompt: a foreign apple")
        s.desktop.shot("import-" + name)
        s.keys.press("Return")
        s.gone(r"Use This Picture’s Settings\?")
        wait(lambda: s.window.one("text", "Prompt").text == "a foreign apple", "the prompt of " + name)
        check(not s.stop_button().sensitive, "nothing runs by itself")


def choose_by_keys(s, row, field, downs):
    """The value of a combo row that stands so far down its list, until the setting is another one."""
    s.tab_to(s.window.one("combo box", row))
    before = s.settings().get(field, "")

    def chosen():
        if s.settings().get(field, "") != before:
            return True
        for key in ("Return", "Home") + ("Down",) * downs + ("Return",):
            s.keys.press(key)
        return False
    wait(chosen, f"{row} to be chosen", every=1)


def step_rows(s):
    """Rows that are out of sight are reached and changed by keys alone, and kept."""
    vae = s.desktop.path("data", "figment", "models", "vae")
    s.end()
    os.makedirs(vae, exist_ok=True)
    name, = [n for n in os.listdir(os.path.join(s.model, "vae")) if n.endswith(".safetensors")]
    shutil.copy(os.path.join(s.model, "vae", name), os.path.join(vae, "other-vae.safetensors"))
    s.launch()
    s.keys.press("Control_L", "l")
    s.tab_to(s.window.one("list item", "More"))
    s.keys.press("Return")
    for row, field, value, downs in (("Autoencoder", "vae", os.path.join(vae, "other-vae.safetensors"), 1), ("Emphasis", "emphasis", "2", 2)):
        choose_by_keys(s, row, field, downs)
        check(s.settings()[field] == value, f"{field} is {s.settings()[field]}")
    s.keys.press("Control_L", "comma")
    dialog = s.dialog("Preferences")
    s.tab_to(dialog.one("check box", "Low memory.*"))
    s.keys.press("space")
    kept(s, low_memory="true")
    s.keys.press("Escape")
    s.gone("Preferences")


def step_models(s):
    """A model that lies elsewhere is used in place; what is none is told."""
    elsewhere = s.desktop.path("elsewhere", "other")
    shutil.copytree(s.model, elsewhere)
    seen_message(s, ".*other.*used from where it lies", lambda: subprocess.run([BINARY, elsewhere], stdin=subprocess.DEVNULL))
    kept(s, model=elsewhere, model_folders=os.path.dirname(elsewhere))
    check(not os.path.exists(s.desktop.path("data", "figment", "models", "other")), "it was copied")
    with open(s.desktop.path("bad.safetensors"), "wb") as file:
        file.write(b"no model at all")
    seen_message(s, ".*bad.safetensors.*", lambda: subprocess.run([BINARY, s.desktop.path("bad.safetensors")],
                                                                  stdin=subprocess.DEVNULL))


def step_crashed(s):
    """A job that took the program down twice waits aside and can be tried again; what else waits is there."""
    s.end()
    job = {"request": {"prompt": "the culprit", "negative": "", "model": s.model, "width": 64, "height": 64, "steps": 2, "cfg": 5.0,
                       "fixed_seed": True, "seed": "5", "batch": 1, "clip_skip": 1, "folder": s.pictures, "preview_every": 1},
           "done": 0, "begun": 2, "running": True, "set_aside": False, "submitted": int(time.time() * 1000)}
    other = dict(job, request=dict(job["request"], prompt="innocent"), begun=0, running=False)
    with open(s.desktop.path("data", "figment", "queue.json"), "w") as file:
        json.dump({"version": 1, "open": True, "jobs": [job, other]}, file)
    s.launch()
    n = len(s.files())
    s.window.one("label", "Figment stopped unexpectedly.*")
    again = s.open_queue("push button", "Try again")
    s.desktop.shot("set-aside")
    check(len(s.files()) == n and not s.stop_button().sensitive, "nothing runs by itself")
    s.window.one("(push|toggle) button", "Pause.*").act()
    wait(lambda: len(s.files()) == n + 1, "the other one to be made")
    again.act()
    wait(lambda: len(s.files()) == n + 2, "the culprit to be tried again")
    s.keys.press("Escape")
    s.end()


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2})) as s:
        s.launch()
        walk(s, step_prompt, step_values, step_rows, step_foreign, step_models, step_crashed)


if __name__ == "__main__":
    main()
