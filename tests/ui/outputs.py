"""What leaves the window, and what preferences do to it: every form of an export, its progress and its end half way; the history by
model and time; a batch run from a file of prompts with its labelled grid; formats, names, folders, previews, devices and colours of
the preferences. usage: outputs.py BINARY FOLDER MODEL [STEP...]"""
import glob
import json
import os
import re
import sqlite3
import subprocess
import sys
import time

from controls import kept
from picture import gallery, make, tiles
from program import BINARY, Session, driven, walk
from robot import check, wait

LABEL, LEFT, GAP = 40, 160, 8  # of the grid: room above and left of the pictures, and between them


def decoded(path):
    """By somebody else's code: width, height, and a function (x, y) of RGB."""
    import gi
    gi.require_version("GdkPixbuf", "2.0")
    from gi.repository import GdkPixbuf
    p = GdkPixbuf.Pixbuf.new_from_file(path)
    n, stride, raw = p.get_n_channels(), p.get_rowstride(), p.get_pixels()
    return p.get_width(), p.get_height(), lambda x, y: raw[y * stride + x * n:][:3]


def settings_in(path):
    """What a picture says of itself; None when it says nothing."""
    read = subprocess.run([BINARY, "read", "--json", path], capture_output=True)
    return json.loads(read.stdout) if read.returncode == 0 else None


def write(where, name, text):
    """Into an entry row, which can be written through AT-SPI but not read."""
    wait(lambda: where.all("text|entry", name), name)[-1].set_text(text)


def choose(s, row, value, downs, inside=None):
    """A value of a combo row, by its place in the list."""
    s.click(row, inside)
    (inside or s.window).one("label", re.escape(value))
    for key in ("Home",) + ("Down",) * downs + ("Return",):
        s.keys.press(key)
    wait(lambda: any(value == w.name for w in row.walk() if w.role == "label" and w.showing), f"{value} in {row}")


def exported(s, title, folder, values, clash=None):
    """The dialog that is open, filled with (role, name, how) and answered; the new files."""
    os.makedirs(folder, exist_ok=True)
    before = set(os.listdir(folder))
    dialog = s.dialog(title)
    for name, value in values.items():
        if isinstance(value, tuple):
            choose(s, dialog.one("combo box", name), value[0], value[1], dialog)
        elif isinstance(value, bool):
            dialog.one("check box|toggle button|switch", name).act()
        elif isinstance(value, int):
            field = dialog.one("spin button", name)
            field.set_value(value)
            wait(lambda: field.value == value, name)
        else:
            write(dialog, name, value)
    s.desktop.shot("export-" + re.sub(r"\W+", "-", "-".join(map(str, values)))[:40].lower())
    dialog.one("push button", "Export.*", sensitive=True).act()
    if clash:
        s.dialog(r"Replace Files\?").one("push button", clash).act()
    s.gone(title)
    return sorted(set(os.listdir(folder)) - before)


def select_two(s):
    grid = gallery(s, len(s.files()))
    for tile, holding in zip(wait(lambda: tiles(grid)[:2] if len(tiles(grid)) > 2 else None, "tiles"), (None, "Control_L")):
        x, y, w, h = s.on_screen(tile)
        s.keys.click(x + w // 2, y + h // 2, holding=holding)
    s.window.one("label", r"2 of \d+ selected")


def step_forms(s):
    """The two of a selection, in every form an export has."""
    first, second, third = make(s, "one pear"), make(s, "two pears, ripe"), make(s, "three pears")
    seeds = {path: settings_in(path)["settings"]["Seed"] for path in (second, third)}
    select_two(s)

    def export(clash=None, **values):
        s.window.one("push button", "Export….*", sensitive=True).act()
        return exported(s, "Export 2 Pictures", s.exports, {name.replace("_", " "): value for name, value in values.items()}, clash)

    names = export(Format=("JPEG", 2), Quality=95, Longest_side=48, File_names="[number]-[seed]-[prompt_words]")
    wanted = sorted([f"0001-{seeds[third]}-three-pears.jpg", f"0002-{seeds[second]}-two-pears-ripe.jpg"])
    check(names == wanted, f"{names}, not {wanted}")
    for name in names:
        width, height, _ = decoded(os.path.join(s.exports, name))
        check((width, height) == (48, 32), f"{name} has {width} x {height}")
        check("pears" in settings_in(os.path.join(s.exports, name))["prompt"], f"{name} does not tell its prompt")
    fine = sum(os.path.getsize(os.path.join(s.exports, name)) for name in names)
    names = export(clash=".*Keep Both", Format=("JPEG", 2), Quality=20, Longest_side=48, Settings_inside_the_pictures=False,
                   File_names="[number]-[seed]-[prompt_words]")
    check(names == [name.replace(".jpg", "-2.jpg") for name in wanted], f"put beside them: {names}")
    coarse = sum(os.path.getsize(os.path.join(s.exports, name)) for name in names)
    check(coarse < 0.7 * fine, f"quality 20 takes {coarse} bytes and 95 takes {fine}, with the settings")
    check(not any(settings_in(os.path.join(s.exports, name)) for name in names), "settings are in them that were not wanted")
    names = export(Format=("PNG", 1), Settings_inside_the_pictures=False)
    check(names == sorted(os.path.basename(path) for path in (second, third)), f"under their own names: {names}")
    for name in names:
        copy, own = decoded(os.path.join(s.exports, name)), decoded(os.path.join(s.pictures, name))
        check(all(copy[2](x, y) == own[2](x, y) for x in range(96) for y in range(64)), f"{name} has other pixels")
        check(settings_in(os.path.join(s.exports, name)) is None, f"{name} tells what it should not")
    export(clash=".*Replace")
    for name in names:
        with open(os.path.join(s.exports, name), "rb") as copy, open(os.path.join(s.pictures, name), "rb") as own:
            check(copy.read() == own.read(), f"{name}: the original is another file")
    s.keys.press("Control_L", "h")


def step_thumbnails(s):
    """They are made once and kept: what lies in the cache is shown after a restart, as long as the picture is the one it was made of."""
    folder = s.desktop.path("cache", "figment", "thumbnails")
    s.end()
    s.configure(request={"steps": 2, "width": 768, "height": 512})  # small pictures are their own thumbnails
    s.launch()
    os.makedirs(folder, exist_ok=True)
    known = set(os.listdir(folder))
    path = make(s, "thumbed")
    s.end()
    s.launch()
    new, = wait(lambda: set(os.listdir(folder)) - known, "a thumbnail of it")
    s.end()
    import gi
    gi.require_version("GdkPixbuf", "2.0")
    from gi.repository import GLib, GdkPixbuf
    green = GdkPixbuf.Pixbuf.new_from_bytes(GLib.Bytes.new(b"\x00\xff\x00" * 96 * 64), GdkPixbuf.Colorspace.RGB, False, 8, 96, 64, 96 * 3)

    def in_the_strip():
        strip = s.window.one("list", "Recent pictures")
        x, y, w, h = s.on_screen(next(w for w in strip.walk() if w.role == "image" and w.name.startswith("thumbed")))
        _, _, stride, pixels = s.desktop.screen()
        spot = (y + h // 2) * stride + (x + w // 2) * 4
        return pixels[spot:spot + 3]
    green.savev(os.path.join(folder, new), "png", [], [])
    s.launch()
    wait(lambda: in_the_strip() == b"\x00\xff\x00", "the one of the cache")
    s.end()
    os.utime(path, (1, 1))  # another picture of that name
    s.launch()
    wait(lambda: len(set(os.listdir(folder)) - known) == 2, "another thumbnail")
    wait(lambda: in_the_strip() != b"\x00\xff\x00", "it in the strip")
    s.end()
    s.configure(request={"steps": 2, "width": 96, "height": 64})
    s.launch()


def add_rows(s, word, paths, models, ages=(0,), size=64):
    """Rows of the history by hand, as the program writes them; the window is closed meanwhile."""
    with sqlite3.connect(s.desktop.path("data", "figment", "history.sqlite")) as db:
        for i, path in enumerate(paths):
            db.execute("INSERT INTO pictures (path, created, width, height, prompt, negative, model, sampler, seed, parameters)"
                       " VALUES (?, ?, ?, ?, ?, '', ?, 'Euler', ?, '')",
                       (path, int((time.time() - ages[i % len(ages)] * 86400) * 1000), size, size, f"{word} {i}",
                        models[i % len(models)], i))


def linked(s, n, source, word):
    paths = [os.path.join(s.pictures, f"{word}-{i:04}.png") for i in range(n)]
    for path in paths:
        os.link(source, path)
    return paths


def step_filters(s):
    """By model and by time, each and both."""
    source = s.files()[0] if s.files() else make(s, "one pear")
    n = len(s.files())
    s.end()
    add_rows(s, "older", linked(s, 8, source, "older"), ("another-model", "third-model"), (3, 3, 12, 12, 50, 50, 800, 800))
    s.launch()
    s.keys.press("Control_L", "h")
    count = s.window.one("label", f"{n + 8} pictures")
    model, when = s.window.one("combo box", "Only pictures of this model"), s.window.one("combo box", "Only pictures of this time")

    def pick(row, value, downs, found):
        s.click(row)
        s.window.one("label", value)
        for key in ("Home",) + ("Down",) * downs + ("Return",):
            s.keys.press(key)
        wait(lambda: count.name == found, f"{value}: {found}, not {count.name}")
    pick(model, "another-model", 1, "4 pictures")
    pick(when, "Last 7 days", 2, "1 picture")
    pick(when, "Last 30 days", 3, "2 pictures")
    s.desktop.shot("filtered")
    pick(model, "All models", 0, f"{n + 4} pictures")
    pick(when, "Today", 1, f"{n} pictures" if n > 1 else "1 picture")
    pick(when, "All time", 0, f"{n + 8} pictures")
    s.keys.press("Control_L", "h")


def step_progress(s):
    """A long export shows how far it is, and ends half way when asked to: what is written stays, whole, and there is no list."""
    import gi
    gi.require_version("GdkPixbuf", "2.0")
    from gi.repository import GLib, GdkPixbuf
    many, side = 60, 1600
    if not s.files():
        make(s, "one pear")
    s.end()
    large = s.desktop.path("large.png")
    noise = GLib.Bytes.new(os.urandom(side * 3) * side)
    GdkPixbuf.Pixbuf.new_from_bytes(noise, GdkPixbuf.Colorspace.RGB, False, 8, side, side, side * 3).savev(large, "png", ["compression"], ["1"])
    add_rows(s, "large", linked(s, many, large, "large"), ("large-model",), size=side)
    s.launch()
    s.keys.press("Control_L", "h")
    s.window.one("entry|text", "Search in prompts").set_text("large")
    wait(lambda: s.window.all("label", rf"{many} pictures"), "the large ones")
    s.window.one("push button", "Export….*", sensitive=True).act()
    dialog = s.dialog(f"Export {many} Pictures")
    choose(s, dialog.one("combo box", "List of settings"), "CSV", 1, dialog)
    choose(s, dialog.one("combo box", "Format"), "JPEG", 2, dialog)
    cancel = dialog.one("push button", ".*Cancel")
    dialog.one("push button", "Export.*", sensitive=True).act()
    bar, seen = dialog.one("progress bar"), set()

    def far():
        seen.update(v for v in [bar.value] if v and 0 < v < 1)
        return len(seen) >= 3
    wait(far, "progress", every=0.005)
    s.desktop.shot("export-progress")
    cancel.act()
    s.gone(f"Export {many} Pictures")
    written = glob.glob(os.path.join(s.exports, "large-*.jpg"))
    check(0 < len(written) < many, f"{len(written)} of {many} files")
    for path in written:
        check(decoded(path)[:2] == (side, side), f"{path} is not whole")
    check(not os.path.exists(os.path.join(s.exports, "settings.csv")), "a list of what was not written")
    check(not [n for n in os.listdir(s.exports) if n.startswith(".")], "temporary files are left")
    s.end()
    for path in glob.glob(s.pictures + "/large-*.png"):
        os.unlink(path)
    with sqlite3.connect(s.desktop.path("data", "figment", "history.sqlite")) as db:
        db.execute("DELETE FROM pictures WHERE model = 'large-model'")
    s.launch()


def in_chooser(s, title, path):
    """A path typed into GTK's file chooser."""
    chooser = s.dialog(title)
    s.keys.press("slash")
    entry = wait(lambda: next((w for w in chooser.each("text|entry") if w.state("FOCUSED")), None), "the field for a path")
    entry.set_text(path)
    s.keys.press("Return")
    s.gone(title)


def place_in(grid, path, side):
    """Where a picture lies in the grid: x, y; every pixel of it."""
    width, height, at = grid
    own = decoded(path)[2]
    for y in range(LABEL, height - side + 1):
        for x in range(LEFT, width - side + 1, 1):
            if all(at(x + d, y + d) == own(d, d) for d in (0, 1, 2, side // 2, side - 1)):
                check(all(at(x + i, y + j) == own(i, j) for i in range(side) for j in range(side)), f"{path} differs in the grid")
                return x, y
    return None


def ink(grid, left, top, right, bottom):
    """Dark pixels of a part: where they are."""
    at = grid[2]
    return frozenset((x - left, y - top) for x in range(left, right) for y in range(top, bottom) if max(at(x, y)) < 140)


def step_batch(s):
    """Prompts from a file, two seeds, two guidances, two samplers: sixteen pictures, each in its place of a labelled grid."""
    with open(s.desktop.path("prompts.txt"), "w") as file:
        file.write("a first line\n\n  a second line  \n")
    s.end()
    s.configure(request={"steps": 2})
    s.launch()
    before = set(s.files())
    s.keys.press("Control_L", "Shift_L", "b")
    dialog = s.dialog("Batch Run")
    dialog.one("push button", "Load File.*").act()
    in_chooser(s, "Prompts, One per Line", s.desktop.path("prompts.txt"))
    field = dialog.one("text", "Prompts.*")
    wait(lambda: field.text.split("\n")[0] == "a first line" and "a second line" in field.text, f"the file: {field.text!r}")
    for name, text in (("Seeds.*", "11-12"), ("Guidance.*", "3, 7.5"), ("Samplers.*", "Euler, DPM++ 2M")):
        write(dialog, name, text)
    dialog.one("label", "16 pictures, and.*")
    s.desktop.shot("batch-file")
    dialog.one("push button", ".*Add to Queue", sensitive=True).act()
    s.gone("Batch Run")
    wait(lambda: len(set(s.files()) - before) == 17, "sixteen pictures and their grid")
    s.wait_idle()
    grid_path, = [f for f in set(s.files()) - before if os.path.basename(f).startswith("grid-")]
    wait(lambda: not glob.glob(s.pictures + "/.*"), "whole files only")
    grid = decoded(grid_path)
    s.desktop.shot("batch-grid")
    places = {}
    for path in set(s.files()) - before - {grid_path}:
        says = settings_in(path)
        key = (says["prompt"], says["settings"]["Seed"], float(says["settings"]["CFG scale"]), says["settings"]["Sampler"])
        places[key] = place_in(grid, path, 64)
    check(len(places) == 16 and all(places.values()), f"in the grid: {places}")
    rows = sorted({y for _, y in places.values()})
    columns = sorted({x for x, _ in places.values()})
    check(len(rows) == 4 and len(columns) == 4, f"{len(rows)} rows and {len(columns)} columns")
    for i, (prompt, seed) in enumerate((p, d) for p in ("a first line", "a second line") for d in ("11", "12")):
        for j, (guidance, sampler) in enumerate((g, m) for g in (3.0, 7.5) for m in ("Euler", "DPM++ 2M")):
            check(places[prompt, seed, guidance, sampler] == (columns[j], rows[i]), f"{prompt}, {seed}, {guidance}, {sampler} is elsewhere")
    labels = [ink(grid, 0, y, LEFT - GAP, y + 64) for y in rows] + [ink(grid, x - 24, 0, x + 88, LABEL) for x in columns]
    check(all(len(label) > 40 for label in labels), f"labels of {[len(label) for label in labels]} dark pixels")
    check(len(set(labels)) == 8, "two labels say the same")


def luminance(s):
    """Of the panel's background, right above its lower end."""
    x, y, w, h = s.on_screen(s.window.one("label", ".* of memory.*"))
    _, _, stride, pixels = s.desktop.screen()
    spot = (y + h + 4) * stride + (x + w // 2) * 4
    return sum(pixels[spot:spot + 3]) / 3


def step_preferences(s):
    """Each of them does what it says."""
    s.keys.press("Control_L", "comma")
    dialog = s.dialog("Preferences")
    for value, downs, good in (("Dark", 2, lambda light: light < 80), ("Light", 1, lambda light: light > 200)):
        choose(s, dialog.one("combo box", "Theme"), value, downs, dialog)
        wait(lambda: good(luminance(s)), f"{value}: the panel has {luminance(s)}")
    choose(s, dialog.one("combo box", "Precision"), "32 bits (f32)", 3, dialog)
    kept(s, precision="f32")
    s.click(dialog.one("combo box", "Device"), dialog)
    dialog.one("label", ".*CPU.* · .*B")
    s.keys.press("End")
    s.keys.press("Home")
    s.keys.press("Down")
    s.keys.press("Return")
    wait(lambda: s.settings()["device"] not in ("", "auto"), "a device by name")
    dialog.one("push button", "Measure.*", sensitive=True).act()
    speeds = dialog.one("label", r"(.*\n)*.*CPU.*: [1-9]\d* GFLOP/s, measured(\n.*)*")
    wait(lambda: "not measured" not in speeds.name and "measuring" not in speeds.name, f"every device: {speeds.name}")
    print("devices:", speeds.name.replace("\n", "; "))
    s.desktop.shot("preferences-speeds")
    interval = dialog.one("spin button", "Preview interval")
    interval.set_value(0)
    kept(s, preview_every="0")
    dialog.one("check box|toggle button|switch", "Notify when a long run ends").act()
    kept(s, notify="false")
    dialog.one("page tab", "Files").act()
    dialog.one("check box|toggle button|switch", "Save as JPEG").act()
    dialog.one("spin button", "JPEG quality", sensitive=True).set_value(40)
    dialog.one("check box|toggle button|switch", "Settings inside the pictures").act()
    kept(s, jpeg="true", quality="40", metadata="false")
    write(dialog, "File names.*", "made-[seed]-[prompt_words]")
    kept(s, pattern="made-[seed]-[prompt_words]")
    elsewhere = s.desktop.path("home", "elsewhere")
    os.makedirs(elsewhere)
    dialog.one("push button", "Choose a folder").act()
    in_chooser(s, "Folder for pictures", elsewhere)
    kept(s, folder=elsewhere)
    s.desktop.shot("preferences-set")
    s.keys.press("Escape")
    s.gone("Preferences")
    s.set_number("Steps", 60)
    s.set_prompt("small and plain")
    canvas, seen = s.window.all("image", "Picture.*|.* × .*", showing=False)[0], set()
    s.keys.press("Control_L", "Return")
    wait(lambda: seen.add(canvas.name) or os.listdir(elsewhere) and not s.stop_button().sensitive, "the picture", every=0.005)
    check(not any(name.startswith("Picture in the making") for name in seen), f"previews were shown: {seen}")
    name, = os.listdir(elsewhere)
    check(re.fullmatch(r"made-\d+-small and plain\.jpg", name), name)
    with open(os.path.join(elsewhere, name), "rb") as file:
        data = file.read()
    check(data[:3] == b"\xff\xd8\xff" and settings_in(os.path.join(elsewhere, name)) is None, "no JPEG, or one that tells")
    first = data.index(b"\xff\xdb")
    check(data[first + 5] == 20, f"its first quantum is {data[first + 5]}: that is not quality 40")  # 16 * 1.25


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2, "width": 96, "height": 64})) as s:
        s.launch()
        walk(s, step_forms, step_thumbnails, step_filters, step_progress, step_batch, step_preferences)


if __name__ == "__main__":
    main()
