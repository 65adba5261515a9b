"""What is done with a picture that is there: zoom by wheel and keys, fit, pan, copy, star, trash, the history read again from the
files, files dropped on the window, lists of settings. usage: picture.py BINARY FOLDER MODEL [STEP...]"""
import csv
import json
import os
import re
import shutil
import sqlite3
import sys

from program import Session, driven, seen_message, walk
from robot import check, wait
from selections import Selections

MARGIN = 24  # around a fitted picture
SHADE = 10   # of pixels around a picture that its shadow darkens, and the frame's antialiasing


# ---- where the picture is, by its pixels ----


def canvas_box(s):
    return s.on_screen(s.canvas())


def seen_box(s):
    """The part of the canvas that is not background: (x, y, width, height), within SHADE pixels."""
    x, y, w, h = canvas_box(s)
    _, _, stride, pixels = s.desktop.screen()
    corner = (y + 2) * stride + (x + 2) * 4
    background = pixels[corner:corner + 3]

    def differs(px, py):
        spot = py * stride + px * 4
        return pixels[spot:spot + 3] != background and max(abs(a - b) for a, b in zip(pixels[spot:spot + 3], background)) > 24
    columns = [px for px in range(x, x + w, 2) if any(differs(px, py) for py in range(y, y + h, 12))]
    rows = [py for py in range(y, y + h, 2) if any(differs(px, py) for px in range(x, x + w, 12))]
    if not columns or not rows:
        return (0, 0, 0, 0)
    return (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)


def near(box, other):
    return all(abs(a - b) <= SHADE for a, b in zip(box, other))


def comes_to(s, box, what):
    wait(lambda: near(seen_box(s), box), f"{what}: {box}, not {seen_box(s)}")


def centred(s, side):
    x, y, w, h = canvas_box(s)
    return (x + (w - side) // 2, y + (h - side) // 2, side, side)


def make(s, prompt, **fields):
    before = set(s.files())
    s.set_prompt(prompt)
    s.keys.press("Control_L", "Return")
    wait(lambda: len(s.files()) == len(before) + 1, "a picture")
    s.wait_idle()
    wait(lambda: s.canvas().name.startswith(prompt), f"{prompt} on the canvas")
    new, = set(s.files()) - before
    return new


# ---- steps ----


def step_zoom(s):
    make(s, "a red apple")
    _, _, w, h = canvas_box(s)
    fit = centred(s, min(w, h) - 2 * MARGIN)
    comes_to(s, fit, "fitted")
    s.tab_to(s.canvas())
    s.keys.press("1")
    comes_to(s, centred(s, 64), "pixel for pixel")
    s.keys.press("plus")
    s.keys.press("plus")
    comes_to(s, centred(s, 100), "a quarter more, twice")
    s.keys.press("minus")
    comes_to(s, centred(s, 80), "less")
    s.keys.press("0")
    comes_to(s, fit, "fitted again")
    s.keys.press("Control_L", "1")
    comes_to(s, centred(s, 64), "pixel for pixel from anywhere")
    s.keys.press("Control_L", "plus")
    comes_to(s, centred(s, 80), "larger from anywhere")
    s.keys.press("Control_L", "0")
    comes_to(s, fit, "fitted from anywhere")


def step_wheel(s):
    """What is under the pointer stays there."""
    s.keys.press("Control_L", "1")
    x, y, w, h = centred(s, 64)
    comes_to(s, (x, y, w, h), "pixel for pixel")
    for _ in range(8):
        s.keys.click(x, y, button=4)  # at its upper left corner
    comes_to(s, (x, y, 64 * 1.15 ** 8, 64 * 1.15 ** 8), "larger to the lower right")
    for _ in range(8):
        s.keys.click(x, y, button=5)
    comes_to(s, (x, y, 64, 64), "as it was")


def step_pan(s):
    x, y, w, h = centred(s, 64)
    s.keys.drag(x + 32, y + 32, x + 132, y - 28)
    comes_to(s, (x + 100, y - 60, 64, 64), "drawn with the pointer")
    s.keys.press("Left")
    comes_to(s, (x + 140, y - 60, 64, 64), "by a key")
    for _ in range(40):
        s.keys.press("Left")
    wait(lambda: seen_box(s)[2] > 20, "some of it to stay in sight")
    s.keys.press("Control_L", "0")
    s.desktop.shot("fitted")


def pixels_of(data):
    """By somebody else's code."""
    import gi
    gi.require_version("GdkPixbuf", "2.0")
    from gi.repository import GdkPixbuf
    loader = GdkPixbuf.PixbufLoader()
    loader.write(data)
    loader.close()
    p = loader.get_pixbuf()
    check((p.get_width(), p.get_height()) == (64, 64), f"{p.get_width()} x {p.get_height()}")
    n, stride, raw = p.get_n_channels(), p.get_rowstride(), p.get_pixels()
    return [raw[row * stride + column * n:][:3] for row in range(64) for column in range(64)]


def step_copy(s):
    path = make(s, "to be copied")
    seen_message(s, "Picture copied", lambda: s.keys.press("Control_L", "Shift_L", "c"))
    clipboard = Selections()
    check("image/png" in clipboard.formats(), f"only {clipboard.formats()} are offered")
    copied = clipboard.read("image/png")
    with open(path, "rb") as file:
        check(pixels_of(copied) == pixels_of(file.read()), "other pixels")


def rows(s, what="path", where="1"):
    with sqlite3.connect("file:" + s.desktop.path("data", "figment", "history.sqlite") + "?mode=ro", uri=True) as db:
        return [row for row, in db.execute(f"SELECT {what} FROM pictures WHERE {where} ORDER BY created DESC, id DESC")]


def gallery(s, n):
    """The history, opened; it counts n."""
    s.keys.press("Control_L", "h")
    s.window.one("label", rf"{n} pictures?|\d+ of {n} selected")
    return s.window.one("list|table|layered pane|.*grid.*", "Pictures")


def tiles(grid):
    return [w for w in grid.walk() if w.role == "image" and " × " in w.name and w.showing]


def starred(grid):
    """Tiles with a star: it is the one widget they have."""
    return [w.name.split("\n")[0] for w in tiles(grid) if any(child.showing for child in w.children())]


def step_favourite(s):
    path = make(s, "to be loved")
    n = len(s.files())
    s.keys.press("Control_L", "b")
    wait(lambda: rows(s, where="favourite") == [path], "the star in the index")
    strip = s.window.one("list", "Recent pictures")
    wait(lambda: starred(strip) == ["to be loved"], "the star in the strip")
    grid = gallery(s, n)
    wait(lambda: starred(grid) == ["to be loved"], "the star in the history")
    only = s.window.one("(toggle|push) button", "Favourites only")
    only.act()
    s.window.one("label", "1 picture")
    only.act()
    s.window.one("label", f"{n} pictures?")
    x, y, w, h = tiles(grid)[0].box
    s.keys.click(x + w // 2, y + h // 2)
    s.window.one("label", f"1 of {n} selected")
    s.desktop.shot("favourites")
    s.window.all("push button", "Favourite, or not any more")[-1].act()
    wait(lambda: not rows(s, where="favourite"), "the star taken back in the index")
    wait(lambda: not starred(grid), "and in the history")
    s.keys.press("Control_L", "h")
    wait(lambda: not starred(strip), "and in the strip")


def trashed(s):
    folder = s.desktop.path("data", "Trash", "files")
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def step_trash(s):
    """From the canvas and from the history; the next one is shown, and nobody takes a new picture for the one that went."""
    make(s, "to stay")
    path = make(s, "to go")
    n = len(s.files())
    gallery(s, n)
    s.keys.press("Control_L", "h")
    wait(lambda: s.canvas().name.startswith("to go"), "the picture on the canvas")
    s.keys.press("Control_L", "Delete")
    wait(lambda: trashed(s) == [os.path.basename(path)], f"the file in the trash: {trashed(s)}")
    check(not os.path.exists(path) and path not in rows(s), "it is still there")
    wait(lambda: s.canvas().name.startswith("to stay"), f"the one before to be shown, not {s.canvas().name}")
    s.window.one("label", f"{n - 1} pictures? · Show all")
    make(s, "in its place")
    grid = gallery(s, n)
    wait(lambda: tiles(grid) and tiles(grid)[0].name.startswith("in its place"),
         f"the new one in the history, not {[w.name for w in tiles(grid)]}")
    x, y, w, h = tiles(grid)[0].box
    s.keys.click(x + w // 2, y + h // 2)
    s.window.one("label", f"1 of {n} selected")
    s.window.all("push button", "Move to the trash")[-1].act()
    s.window.one("label", f"{n - 1} pictures?")
    wait(lambda: len(trashed(s)) == 2, "two files in the trash")
    s.keys.press("Control_L", "h")
    wait(lambda: s.canvas().name.startswith("to stay"), f"what is there to be shown, not {s.canvas().name}")


def step_rebuild(s):
    """The index is gone: a new one is made from the files, with what they say, and the window shows it."""
    n, known = len(s.files()), rows(s, "prompt || seed || path")
    s.end()
    for name in ("history.sqlite", "history.sqlite-wal", "history.sqlite-shm"):
        if os.path.exists(s.desktop.path("data", "figment", name)):
            os.remove(s.desktop.path("data", "figment", name))
    s.launch()
    s.window.one("label", "A Sentence Becomes a Picture")
    s.keys.press("Control_L", "comma")
    dialog = s.dialog("Preferences")
    dialog.one("page tab", "Files").act()
    dialog.one("push button", "Rebuild.*").act()
    dialog.one("label", f"{n} pictures? found")
    s.desktop.shot("rebuilt")
    s.keys.press("Escape")
    s.gone("Preferences")
    check(sorted(rows(s, "prompt || seed || path")) == sorted(known), "the files told something else than the index knew")
    s.window.one("label", f"{n} pictures? · Show all")


def step_drop(s):
    """A picture and a model, from another program by the X server's own protocol."""
    source = Selections()
    window, (x, y, w, h) = s.keys.windows()[-1]
    path = make(s, "to be dropped")
    s.set_prompt("something else")
    check(source.drag(["file://" + path], window, x + w // 2, y + h // 2), "the drop was not taken")
    dialog = s.dialog(r"Use This Picture.s Settings\?")
    dialog.one("label", "Prompt: to be dropped")
    check(s.window.one("text", "Prompt").text == "something else", "nothing changes before it is asked for")
    s.keys.press("Return")
    s.gone(r"Use This Picture.s Settings\?")
    wait(lambda: s.window.one("text", "Prompt").text == "to be dropped", "the settings of the picture")
    check(not s.stop_button().sensitive, "nothing runs by itself")
    model = s.desktop.path("elsewhere", "dropped-model")
    shutil.copytree(s.model, model)
    attempt = seen_message(s, ".*dropped-model.*used from where it lies",
                           lambda: source.drag(["file://" + model], window, x + w // 2, y + h // 2))
    check(attempt, "never")
    wait(lambda: s.settings()["model"] == model, "the model to be chosen")


def exported(s, kind, clash=None):
    """Exports what the search found, with a list of the settings; the answer to names that are taken."""
    s.window.one("push button", "Export….*", sensitive=True).act()
    dialog = s.dialog("Export . Pictures?")
    s.click(dialog.one("combo box", "List of settings"), dialog)
    dialog.one("label", "JSON")
    for _ in range(kind):
        s.keys.press("Down")
    s.keys.press("Return")
    s.desktop.shot(f"list-{kind}")
    dialog.one("push button", "Export.*", sensitive=True).act()
    if clash:
        s.dialog(r"Replace Files\?").one("push button", clash).act()
    s.gone("Export . Pictures?")


def step_lists(s):
    """A list of that name is asked about; seeds of 64 bits arrive whole."""
    s.window.one("text|entry", "Seed").set_text("18446744073709551615")
    wait(lambda: s.settings().get("seed") == "18446744073709551615", "the seed")
    make(s, "with the largest seed")
    gallery(s, len(s.files()))
    s.window.one("entry|text", "Search in prompts").set_text("largest")
    s.window.one("label", "1 picture")
    mine = os.path.join(s.exports, "settings.csv")
    with open(mine, "w") as file:
        file.write("mine")
    exported(s, 1, clash=".*Keep Both")
    second = os.path.join(s.exports, "settings-2.csv")
    wait(lambda: os.path.exists(second), "a second list")
    with open(mine) as file:
        check(file.read() == "mine", "the list that was there has changed")
    with open(second, newline="") as file:
        row, = csv.DictReader(file)
    check(row["seed"] == "18446744073709551615" and row["prompt"] == "with the largest seed", f"the list says {row}")
    exported(s, 2, clash=".*Replace")
    with open(os.path.join(s.exports, "settings.json")) as file:
        row, = json.load(file)
    check(int(row["seed"]) == 2 ** 64 - 1, f"the list says {row}")
    check(not os.path.exists(os.path.join(s.exports, row["file"]).replace(".png", "-2.png")), "replaced, not put beside")


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2})) as s:
        s.launch()
        walk(s, step_zoom, step_wheel, step_pan, step_copy, step_favourite, step_trash, step_rebuild, step_drop, step_lists)


if __name__ == "__main__":
    main()
