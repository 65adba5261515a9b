"""What a hand does with pictures and models: the menu of a picture, keys that go through pictures and through the history, a model
file dropped on the window, a picture dragged out of it, a LoRA put into the prompt; what the queue counts; and the shortcuts in a
small window. usage: hands.py BINARY FOLDER MODEL [STEP...]"""
import json
import os
import re
import struct
import sys

from controls import button, kept
from picture import gallery, make, tiles, trashed
from program import Session, driven, seen_message, walk
from robot import Failed, check, wait
from selections import Selections


def menu(s, item):
    """The picture's menu by the right button, and one of its lines."""
    x, y, w, h = s.on_screen(s.canvas())

    def lines():
        return s.window.all("menu item", item)
    for _ in range(8):  # a press while the last menu still goes only makes it go
        s.keys.click(x + w // 2, y + h // 2, button=3)
        try:
            line, = wait(lines, "the picture's menu", patience=5)
            break
        except Failed:
            pass
    s.desktop.shot("menu")
    line.act()
    wait(lambda: not lines(), "the menu to close")


def step_menu(s):
    first = make(s, "with a menu")
    seen_message(s, "Picture copied", lambda: menu(s, "Copy"))
    check("image/png" in Selections().formats(), "nothing was copied")
    s.set_prompt("something else")
    menu(s, "Use Settings")
    wait(lambda: s.last("text", "Prompt").text == "with a menu", "its settings")
    menu(s, "Same Seed")
    kept(s, random_seed="false")
    with open(first, "rb") as file:
        seed = re.search(rb"Seed: (\d+)", file.read())[1].decode()
    kept(s, seed=seed)
    menu(s, "Save a Copy….*")
    s.dialog("Save Picture").one("push button", "_Save.*", sensitive=True)
    s.desktop.shot("save-picture")
    s.keys.press("Return")  # under its own name, into the folder of exports
    s.gone("Save Picture")
    copy = os.path.join(s.exports, os.path.basename(first))
    wait(lambda: os.path.exists(copy), "the copy")
    with open(first, "rb") as file, open(copy, "rb") as other:
        check(file.read() == other.read(), "the copy is another picture")
    n = len(s.files())
    menu(s, "New Seed")
    wait(lambda: len(s.files()) == n + 1, "the picture again")
    s.wait_idle()
    newest = max(s.files(), key=os.path.getmtime)
    with open(newest, "rb") as file:
        check(re.search(rb"Seed: (\d+)", file.read())[1].decode() != seed, "the same seed")
    wait(lambda: s.canvas().name.startswith("with a menu"), "it on the canvas")
    menu(s, "Move to the Trash")
    wait(lambda: trashed(s) == [os.path.basename(newest)], f"the picture in the trash: {trashed(s)}")


def step_keys(s):
    """Alt+Left and Alt+Right go through the pictures, from wherever the keys are."""
    for prompt in ("the first", "the second", "the third"):
        make(s, prompt)
    s.keys.press("Control_L", "l")
    for key, prompt in (("Right", "the second"), ("Right", "the first"), ("Left", "the second"), ("Left", "the third"), ("Left", "the third")):
        s.keys.press("Alt_L", key)
        wait(lambda: s.canvas().name.startswith(prompt), f"Alt+{key} to come to {prompt}, not {s.canvas().name}")


def step_history(s):
    """Delete puts what is selected into the trash; Escape takes the selection back, then the history away."""
    n, gone = len(s.files()), len(trashed(s))
    grid = gallery(s, n)
    x, y, w, h = wait(lambda: tiles(grid), "tiles")[0].box
    s.keys.click(x + w // 2, y + h // 2)
    s.window.one("label", f"1 of {n} selected")
    s.keys.press("Escape")
    s.window.one("label", f"{n} pictures?")
    s.keys.click(x + w // 2, y + h // 2)
    s.window.one("label", f"1 of {n} selected")
    s.keys.press("Delete")
    s.window.one("label", f"{n - 1} pictures?")
    wait(lambda: len(trashed(s)) == gone + 1 and len(s.files()) == n - 1, "the picture in the trash")
    wait(lambda: tiles(grid) and not s.window.all("label", r"\d+ of \d+ selected"), "the grid again")
    x, y, w, h = tiles(grid)[0].box
    s.keys.click(x + w // 2, y + h // 2)
    s.window.one("label", f"1 of {n - 1} selected")
    s.keys.press("Escape")
    s.window.one("label", f"{n - 1} pictures?")
    s.keys.press("Escape")
    s.window.one("push button", "New Seed.*", sensitive=True)  # it is off while the history is in front
    wait(lambda: s.canvas().state("FOCUSED"), "the picture to have the keys")


def checkpoint(path):
    """A single file that says it is SD 1.x: enough tensors to be told apart, of zeros."""
    names = {"input_blocks.0.0.weight": (320, 4, 3, 3), "input_blocks.1.0.in_layers.0.weight": (320,),
             "input_blocks.1.0.out_layers.3.weight": (320, 320, 3, 3), "input_blocks.1.1.transformer_blocks.0.norm1.weight": (320,),
             "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768), "output_blocks.0.0.in_layers.0.weight": (640,),
             "out.2.weight": (4, 320, 3, 3)}
    header, at = {}, 0
    for name, shape in names.items():
        size = 2
        for n in shape:
            size *= n
        header["model.diffusion_model." + name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def step_model(s):
    """A model file dropped on the window is in the library, where it lies."""
    before = s.settings()["model"]
    os.makedirs(s.desktop.path("elsewhere"))
    path = s.desktop.path("elsewhere", "single.safetensors")
    checkpoint(path)
    window, (x, y, w, h) = s.keys.windows()[-1]
    seen_message(s, ".*single.*used from where it lies",
                 lambda: Selections().drag(["file://" + path], window, x + w // 2, y + h // 2))
    kept(s, model=path, model_folders=os.path.dirname(path))
    check(os.listdir(s.desktop.path("data", "figment", "models")) == ["tiny"], "it was copied")
    s.window.one("label", "single")
    s.end()
    s.configure(request={"model": before, "steps": 2})
    s.launch()


def step_drag_out(s):
    """The picture, drawn out of the window onto another program, is its file."""
    path = make(s, "to be dragged out")
    target = Selections()
    left, top = s.desktop.width - 100, s.desktop.height - 60
    target.stand(left, top, 90, 50)
    x, y, w, h = s.on_screen(s.canvas())
    s.keys.drag(x + w // 2, y + h // 2, left + 45, top + 25, target.wanted)
    uris = target.take("text/uri-list").decode().split()
    check(uris == ["file://" + path], f"let go: {uris}")
    check(s.canvas().name.startswith("to be dragged out"), "another picture")


def click_in_popover(s, label):
    """A popover is a window of its own; where it had to move aside, AT-SPI still says where it would have been."""
    left, _, width, _ = s.keys.windows()[-1][1]
    content = label
    while content.parent().box[2] < width - 40 and content.parent().box[2] > 0:
        content = content.parent()
    x, y, w, h = label.box
    s.keys.click(left + (width - content.box[2]) // 2 + x - content.box[0] + w // 2, y + h // 2)


def step_add_ons(s):
    """A LoRA and an embedding of the library, put where the cursor is."""
    models = s.desktop.path("data", "figment", "models")
    for folder, name in (("loras", "pencil"), ("loras", "water:colour"), ("embeddings", "ugly")):
        place = os.path.join(os.path.dirname(models), folder)
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, name + ".safetensors"), "wb") as file:
            file.write(b"x")
    s.set_prompt("a cat, blue")
    field = s.last("text", "Prompt")
    s.keys.press("Control_L", "l")
    wait(lambda: field.state("FOCUSED"), "the prompt to have the keys")
    s.keys.press("Control_L", "Home")
    for _ in "a cat":
        s.keys.press("Right")
    open_add_ons = button(s, "Put a LoRA.*")
    open_add_ons.act()
    s.window.one("label", "pencil")
    s.desktop.shot("add-ons")
    check(not s.window.all("label", "water.*"), "a name that a prompt cannot hold")
    click_in_popover(s, s.window.one("label", "pencil"))
    wait(lambda: field.text == "a cat <lora:pencil:1>, blue", f"the LoRA in the prompt: {field.text}")
    wait(lambda: field.state("FOCUSED"), "the keys to be in the prompt again")
    s.keys.press("Control_L", "z")
    wait(lambda: field.text == "a cat, blue", f"one step back: {field.text}")
    negative = s.last("text", "Negative prompt")
    s.tab_to(negative)
    open_add_ons.act()
    click_in_popover(s, s.window.one("label", "ugly"))
    wait(lambda: negative.text == "ugly", f"the embedding where somebody wrote last: {negative.text}")
    negative.set_text("")


def step_count(s):
    """Jobs that failed do not count as waiting; the button tells of them."""
    s.end()
    s.configure(request={"sampler": "Nonsense", "steps": 2})
    s.launch()
    s.set_prompt("cannot be made")
    s.keys.press("Control_L", "Return")
    s.window.one("label", ".*Nonsense.*")
    wait(lambda: not s.stop_button().sensitive, "the failure")
    check(s.waiting() == 0, f"it counts: {s.queue_button().name}")
    wait(lambda: "1 job has failed" in s.queue_button().description or "1 job has failed" in s.queue_button().parent().description,
         f"what the button says: {s.queue_button().description}")
    s.desktop.shot("failed-job")
    s.end()


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2})) as s:
        s.launch()
        walk(s, step_menu, step_keys, step_history, step_model, step_drag_out, step_add_ons, step_count)


if __name__ == "__main__":
    main()
