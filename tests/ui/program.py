"""The window, used as a person uses it: type, generate, watch, stop, queue, search, export, open a picture, compare,
batch, restart. usage: program.py BINARY FOLDER MODEL [STEP...]"""
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import robot
from robot import check, wait

BINARY, FOLDER, MODEL = os.path.abspath(sys.argv[1]), sys.argv[2], os.path.abspath(sys.argv[3])


class Session:
    """The desktop, and the program on it."""

    def __init__(self, folder=FOLDER, width=1280, height=800, settings=None, request=None):
        self.desktop = robot.Desktop(folder, width, height)
        self.keys = robot.Keyboard()
        self.pictures = self.desktop.path("pictures")
        self.exports = self.desktop.path("exports")
        os.makedirs(self.exports)
        self.model = self.desktop.path("data", "figment", "models", "tiny")
        shutil.copytree(MODEL, self.model)
        os.makedirs(self.desktop.path("config", "figment"))
        self.configure(settings, request)
        self.program = None

    def configure(self, settings=None, request=None):
        values = {"Settings": {"folder": self.pictures, "export-folder": self.exports,
                               "window-width": self.desktop.width - 10, "window-height": self.desktop.height - 10,
                               **(settings or {})},
                  "Request": {"model": self.model, "width": 64, "height": 64, "steps": 12, "guidance": 5,
                              **(request or {})}}
        with open(self.desktop.path("config", "figment", "settings.ini"), "w") as file:
            for group, keys in values.items():
                file.write(f"[{group}]\n" + "".join(f"{k}={v}\n" for k, v in keys.items()))

    def settings(self):
        """What is on disk."""
        with open(self.desktop.path("config", "figment", "settings.ini")) as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)

    def launch(self, *arguments, environment=None):
        self.program = robot.Program(self.desktop, BINARY, *arguments,
                                     environment={"FIGMENT_WATCHDOG": "1", **self.without_drivers(), **(environment or {})})
        self.keys.focus_top()
        self.lasting = {}
        return self.program

    @staticmethod
    def without_drivers():
        """For a search for leaks: drivers are unloaded before it, and what they keep has then no name that could be excused."""
        if "detect_leaks=1" not in os.environ.get("ASAN_OPTIONS", ""):
            return {}
        return {"VK_DRIVER_FILES": "/dev/null", "VK_ICD_FILENAMES": "/dev/null", "NODEVICE_SELECT": "1", "GDK_DEBUG": "gl-disable"}

    @property
    def window(self):
        return self.program.window

    def files(self):
        return sorted(glob.glob(self.pictures + "/*.png"))

    def canvas(self):
        return self.last("image", "Picture.*|.* × .*")

    def wait_idle(self, what="the queue to run dry"):
        wait(lambda: not self.stop_button().sensitive and self.waiting() == 0, what)

    def last(self, role, name):
        """What stays while the program runs, looked for once: a walk through all widgets takes its time, most of all sanitized."""
        if (role, name) not in self.lasting:
            self.lasting[role, name] = self.window.one(role, name)
        return self.lasting[role, name]

    def stop_button(self):
        return self.last("push button", "Stop")

    def waiting(self):
        label = self.queue_button().name
        digits = [word for word in label.split() if word.isdigit()]
        return int(digits[0]) if digits else 0

    def queue_button(self):
        return self.last("push button", "Queue.*")

    def open_queue(self, role, name):
        """The queue's popover, opened; a widget of it."""
        self.keys.press("Control_L", "j")
        popover = self.window.one("list", "Jobs")
        while not (found := next(popover.each(role, name), None)):
            popover = popover.parent()
        return found

    def set_prompt(self, text):
        field = self.last("text", "Prompt")
        field.set_text(text)
        wait(lambda: field.text == text, "the prompt to be " + text)

    def set_number(self, name, value):
        field = self.last("spin button", name)
        field.set_value(value)
        wait(lambda: field.value == value, f"{name} to be {value}")

    def generate(self):
        button = self.last("push button", "Generate")
        wait(lambda: button.sensitive, "Generate")
        button.act()

    def on_screen(self, widget, frame=None):
        """Its box on the screen: AT-SPI counts from the frame (the topmost window's), which has a shadow around it."""
        frame = frame or self.window
        x, y, w, h = widget.box
        left, top, width, height = self.keys.windows()[-1][1]
        return (x + left + (width - frame.box[2]) // 2, y + top + (height - frame.box[3]) // 2, w, h)

    def click(self, widget, frame=None):
        x, y, w, h = self.on_screen(widget, frame)
        self.keys.click(x + w // 2, y + h // 2)

    def tab_to(self, widget, key="Tab"):
        """By the keyboard alone, as often as it takes."""
        for _ in range(80):
            if widget.state("FOCUSED"):
                return
            self.keys.press(*([key] if isinstance(key, str) else key))
            try:
                wait(lambda: widget.state("FOCUSED"), "the focus", patience=0.1)
            except robot.Failed:
                pass
        raise robot.Failed(f"the Tab key does not reach {widget}")

    def dialog(self, title):
        """A dialog by its title (a regular expression); it has the keys afterwards."""
        found = wait(lambda: next((w for w in self.program.root.children() if re.fullmatch(title, w.name) and w.showing), None),
                     f"the dialog {title}")
        self.keys.focus_top()
        return found

    def gone(self, title):
        wait(lambda: not any(re.fullmatch(title, w.name) and w.showing for w in self.program.root.children()),
             f"the dialog {title} to go")
        self.keys.focus_top()

    def check_names(self, where):
        """What can be focused has a name of its own for a screen reader, said once."""
        roles = {"push button", "toggle button", "check box", "radio button", "text", "entry", "password text",
                 "spin button", "slider", "combo box", "menu item", "image"}

        def bad():
            return [str(w) for w in where.walk() if w.role in roles and w.showing and w.state("FOCUSABLE") and
                    (not w.name or w.name.startswith("Gtk") or re.fullmatch(r"(.+) \1", w.name)) and
                    w.parent().name != "AdwToastWidget"]  # libadwaita does not name its own close button
        wait(lambda: not bad(), f"names in {where} for {bad()}", 20)

    def end(self):
        status = self.program.end()
        complaints = self.program.complaints()
        check(not complaints, "complaints in the log: " + "\n".join(complaints))
        check(status == 0, f"exit status {status}\n{self.program.said()}")
        # While pictures are made the main loop works for no longer than 100 ms at a time; for how long it was away depends on who else is there.
        busy = re.findall(r"computing for ([\d.]+) ms", self.program.said())
        check("ASAN_OPTIONS" in os.environ or not busy or float(busy[-1]) <= 100, f"the main loop computed for {busy} ms")


def step_previews(s):
    check(s.window.one("label", "A Sentence Becomes a Picture"), "the welcome page")
    s.desktop.shot("welcome")
    s.check_names(s.window)
    field = s.window.one("text", "Prompt")
    wait(lambda: field.state("FOCUSED"), "the prompt to have the focus")
    s.keys.type("a red apple, blue")
    wait(lambda: field.text == "a red apple, blue", "the prompt as typed")
    s.window.one("label", r"\d+ / 75")
    # A fast machine is done before anybody has looked: then more steps, and more pictures.
    for steps, pictures in ((60, 1), (150, 1), (150, 8), (150, 60)):
        said, seen = watch(s, steps, pictures)
        if min(len(said), len(seen)) >= 5:
            break
    s.set_number("Pictures", 1)
    check(len(said) >= 5, f"only {len(said)} steps were said")
    check(len(seen) >= 5, f"only {len(seen)} different previews were seen")
    s.desktop.shot("picture")
    print(f"previews: {len(said)} said, {len(seen)} different on the screen, {steps} steps")


def watch(s, steps, pictures):
    """Makes pictures; what was said and seen on the way."""
    said, seen = set(), set()
    s.set_number("Steps", steps)
    s.set_number("Pictures", pictures)
    canvas = s.window.all("image", "Picture.*|.* × .*", showing=False)[0]  # found before: a walk takes its time
    stop, files = s.stop_button(), len(s.files())
    s.keys.press("Control_L", "Return")

    def look():
        name = canvas.name
        if name.startswith("Picture in the making"):
            said.add(name)
            x, y, w, h = canvas.box
            seen.add(s.desktop.crop((x + w // 2 - 100, y + h // 2 - 100, 200, 200)))
            if len(said) == 3:
                s.desktop.shot("preview")
        return len(s.files()) == files + pictures and not stop.sensitive
    wait(look, "the pictures", every=0)
    check(canvas.name.startswith("a red apple"), f"the canvas says {canvas.name}")
    return said, seen


def step_stop(s):
    s.set_number("Steps", 150)
    s.set_number("Pictures", 100)
    before, files = s.canvas().name, len(s.files())
    s.generate()
    wait(lambda: s.canvas().name.startswith("Picture in the making"), "the first preview")
    check(s.canvas().name != before, "the canvas follows")
    s.stop_button().act()
    s.wait_idle("Stop")
    made = len(s.files()) - files
    check(made < 100, "Stop came too late to mean anything")
    s.set_number("Pictures", 1)
    print(f"stop: {made} of 100 pictures were made before it")


def step_queue(s):
    """Paused while it is arranged: a crowded machine takes longer for our questions than for a hundred pictures."""
    before = len(s.files())
    s.open_queue("(push|toggle) button", "Pause.*").act()
    s.keys.press("Escape")
    s.set_number("Steps", 150)
    s.set_number("Pictures", 100)  # it is stopped in the end
    s.set_prompt("first of four")
    s.generate()
    wait(lambda: s.waiting() == 1, "the first to wait")  # a button acts a quarter of a second after it was asked to
    s.set_number("Steps", 2)
    s.set_number("Pictures", 1)
    for n, word in enumerate(("second", "third", "fourth"), 2):
        s.set_prompt(word)
        s.generate()
        wait(lambda: s.waiting() == n, f"{n} that wait")
    check(len(s.files()) == before and not s.stop_button().sensitive, "nothing runs while the queue is paused")
    pause = s.open_queue("(push|toggle) button", "Pause.*")
    check(len(s.window.all("label", "Waiting.*")) == 4, "four lines that wait")
    s.check_names(s.window)
    s.desktop.shot("queue")
    remove = s.window.all("push button", "Remove")
    check(len(remove) == 4, f"{len(remove)} lines can be removed")
    remove[3].act()
    wait(lambda: s.waiting() == 3, "one to be removed")
    s.window.all("push button", "Earlier")[2].act()  # the third before the second
    pause.act()
    s.window.one("label", "Running.*")
    s.keys.press("Escape")
    wait(lambda: not s.window.all("list", "Jobs"), "the queue to close")
    wait(lambda: len(s.files()) > before, "one of the first")
    s.stop_button().act()
    s.wait_idle()
    strip = s.window.one("list", "Recent pictures")
    order = [w.name.split("\n")[0] for w in strip.walk() if w.role == "image" and " × " in w.name]
    check(order[:3] == ["second", "third", "first of four"], f"in the strip: {order}")


def step_gallery_and_export(s):
    n = len(s.files())
    some = len([f for f in s.files() if b"first of four" in open(f, "rb").read()])
    found = f"{some} pictures?"
    s.keys.press("Control_L", "h")
    s.window.one("label", f"{n} pictures")
    s.check_names(s.window)
    s.desktop.shot("gallery")
    s.window.one("entry|text", "Search in prompts").set_text("first four")
    s.window.one("label", found)
    s.window.one("push button", "Export….*", sensitive=True).act()
    dialog = s.dialog(f"Export {some} Pictures?")
    s.check_names(dialog)
    dialog.one("combo box", "List of settings").focus()
    s.desktop.shot("export")
    dialog.one("push button", "Export.*", sensitive=True).act()
    s.gone(f"Export {some} Pictures?")
    # The message goes by itself: on a crowded machine before anybody has looked.
    wait(lambda: len([x for x in os.listdir(s.exports) if x.endswith(".png")]) == some, "the exported files")
    names = sorted(os.listdir(s.exports))
    check(len([x for x in names if x.endswith(".png")]) == some, f"exported: {names}")
    for name in names:
        if name.endswith(".png"):
            read = subprocess.run([BINARY, "read", "--json", os.path.join(s.exports, name)], capture_output=True)
            check(json.loads(read.stdout)["prompt"] == "first of four", f"{name} does not tell its prompt")
    s.window.one("entry|text", "Search in prompts").set_text("")
    s.window.one("label", f"{n} pictures")
    s.keys.press("Control_L", "h")


def step_compare(s):
    """Two pictures of the gallery, one over the other; and the last one again with another seed."""
    n = len(s.files())
    s.keys.press("Control_L", "h")
    s.window.one("label", f"{n} pictures")
    grid = s.window.one("list|table|layered pane|.*grid.*", "Pictures")

    def tiles():
        return [w for w in grid.walk() if w.role == "image" and " × " in w.name and w.showing]
    wait(lambda: len(tiles()) >= 2, "two tiles")
    first, second = tiles()[:2]
    for tile, holding in ((first, None), (second, "Control_L")):
        x, y, w, h = tile.box
        s.keys.click(x + w // 2, y + h // 2, holding=holding)
    s.window.one("label", f"2 of {n} selected")
    s.window.all("push button", "Compare")[-1].act()
    s.window.one("push button", "New Seed.*", sensitive=True)  # it is off while the history is in front
    wait(lambda: s.canvas().name == first.name or s.window.all("image", re.escape(first.name)), "the newer one on the canvas")
    box = s.canvas().box
    wait(lambda: s.desktop.crop(box) != 0, "a picture")
    s.desktop.shot("compare")
    before = s.desktop.crop(box)
    s.canvas().focus()
    s.keys.press("Right")
    wait(lambda: s.desktop.crop(box) != before, "the divider to move")
    s.keys.press("Control_L", "d")
    s.window.one("push button", "New Seed.*").act()
    wait(lambda: len(s.files()) == n + 1, "the picture again, with another seed")
    s.wait_idle()


def away(s, what):
    """What the watchdog says of the time since it was last asked."""
    before = len(s.program.said())
    os.kill(s.program.process.pid, signal.SIGUSR1)
    wait(lambda: "rounds" in s.program.said()[before:], "the watchdog")
    print(f"{what}: {s.program.said()[before:].strip()}", flush=True)


def seen_message(s, text, cause):
    """Messages go by themselves, on a crowded machine before anybody has looked: caused again then. How often it was."""
    for attempt in range(1, 9):
        cause()
        try:
            wait(lambda: next(s.window.each("label", text), None), text, patience=8)
            return attempt
        except robot.Failed:
            check(attempt < 8, f"the message {text} was never seen")


def step_notice(s):
    """What was asked for and is not there is said, and the picture is made."""
    n = len(s.files())
    s.set_number("Steps", 2)
    s.set_prompt("an apple <lora:nowhere:1>")
    attempt = seen_message(s, ".*nowhere.*", s.generate)
    s.desktop.shot("notice")
    wait(lambda: len(s.files()) == n + attempt, "the pictures")
    s.wait_idle()


def step_open(s):
    first = [f for f in s.files() if b"a red apple" in open(f, "rb").read()][0]
    s.set_prompt("something else")
    second = subprocess.run([BINARY, first], stdin=subprocess.DEVNULL)  # goes to the running program
    check(second.returncode == 0, "opening a picture from outside")
    dialog = s.dialog(r"Use This Picture’s Settings\?")
    s.check_names(dialog)
    changes = [w.name for w in dialog.all("label", "(Prompt|Seed|Steps|Size|Model): .*")]
    check("Prompt: a red apple, blue" in changes and any(re.fullmatch(r"Seed: random → \d+", c) for c in changes),
          f"what will change: {changes}")
    check(not any(c.startswith("Size") for c in changes), "what stays as it is is folded away")
    s.desktop.shot("import")
    field = s.window.one("text", "Prompt")
    check(field.text == "something else", "nothing changes before it is asked for")
    dialog.one("push button", ".*Use Settings").act()
    wait(lambda: field.text == "a red apple, blue", "the settings of the picture")
    s.gone(r"Use This Picture’s Settings\?")
    check(s.window.one("spin button", "Steps").value >= 60, "the steps of the picture")
    check(not s.stop_button().sensitive, "nothing runs by itself")
    damaged = s.desktop.path("damaged.png")
    with open(damaged, "wb") as file:
        file.write(open(first, "rb").read()[:100])
    seen_message(s, ".*damaged.*", lambda: subprocess.run([BINARY, damaged], stdin=subprocess.DEVNULL))
    s.desktop.shot("error")


def step_dialogs(s):
    for combination, title, name in ((("Control_L", "comma"), "Preferences", "preferences"),
                                     (("Control_L", "Shift_L", "b"), "Batch Run", "batch")):
        s.keys.press(*combination)
        dialog = s.dialog(title)
        s.check_names(dialog)
        s.desktop.shot(name)
        s.keys.press("Escape")
        s.gone(title)


def step_batch(s):
    before = len(s.files())
    s.set_number("Steps", 2)
    s.keys.press("Control_L", "Shift_L", "b")
    dialog = s.dialog("Batch Run")
    dialog.one("text", "Prompts.*").set_text("one apple\ntwo apples")
    fields = {w.name: w for w in dialog.all("entry|text")}
    next(w for name, w in fields.items() if name.startswith("Seeds")).set_text("1-2")
    dialog.one("label", "4 pictures, and.*")
    dialog.one("push button", ".*Add to Queue", sensitive=True).act()
    s.gone("Batch Run")
    wait(lambda: len(s.files()) == before + 5, "four pictures and their grid")
    s.wait_idle()
    wait(lambda: not any(name.startswith(".") for name in os.listdir(s.pictures)), "whole files only")
    s.desktop.shot("grid")


def add_styles(s):
    """A styles.csv, and the second of its styles chosen."""
    with open(s.desktop.path("data", "figment", "styles.csv"), "w") as file:
        file.write('name,prompt,negative_prompt\nFlat,"flat style, {prompt}",blurry\nNoto,"{prompt}, noto style",\n')
    path = s.desktop.path("config", "figment", "settings.ini")
    with open(path) as file:
        lines = [line for line in file if not line.startswith("styles=")]
    lines.insert(lines.index("[Request]\n") + 1, "styles=Noto\n")
    with open(path, "w") as file:
        file.writelines(lines)


def step_restart(s):
    n = len(s.files())
    s.set_prompt("kept over a restart")
    s.set_number("Steps", 33)
    s.window.one("label", ".* of memory")  # the estimate beside Generate
    s.end()
    add_styles(s)
    s.launch()
    check(s.window.one("text", "Prompt").text == "kept over a restart", "the prompt after a restart")
    check(s.window.one("spin button", "Steps").value == 33, "the steps after a restart")
    s.window.one("label", f"{n} pictures · Show all")
    wait(lambda: " × " in s.canvas().name, "the last picture on the canvas")
    check(s.waiting() == 0 and not s.stop_button().sensitive, "the queue is empty")
    s.window.one("combo box|label", "Style.*")
    s.desktop.shot("restarted")
    s.set_number("Steps", 2)
    before = set(s.files())
    s.generate()
    wait(lambda: len(s.files()) == n + 1, "a picture in a style")
    s.wait_idle()
    new, = set(s.files()) - before
    read = subprocess.run([BINARY, "read", "--json", new], capture_output=True)
    check(json.loads(read.stdout)["prompt"] == "kept over a restart, noto style", f"the style's words: {read.stdout}")
    s.end()


@contextlib.contextmanager
def driven(session):
    """Closes the desktop in the end; a failure leaves a picture of it, and what the program said."""
    try:
        yield session
    except robot.Failed as failure:
        if session.program:
            session.desktop.shot("failed")
            if session.program.process.poll() is None:
                with open(session.desktop.path("failed.txt"), "w") as file:
                    session.program.root.dump(out=file)
            print(session.program.said())
            session.program.kill()
        sys.exit(f"failed: {failure}\nSee {session.desktop.folder}")
    finally:
        session.desktop.close()


def walk(s, *steps):
    """One after the other, or those that the command line names; then the program ends as it should."""
    for step in steps:
        if len(sys.argv) > 4 and step.__name__ not in sys.argv[4:]:
            continue
        step(s)
        print(step.__name__, "well", flush=True)
    if s.program.process.poll() is None:
        s.end()


def main():
    with driven(Session()) as s:
        s.launch()
        walk(s, step_previews, step_stop, step_queue, step_gallery_and_export, step_compare, step_notice, step_open, step_dialogs, step_batch,
             step_restart)
        print("\n".join(line for line in s.program.said().splitlines() if line.startswith("watchdog")))


if __name__ == "__main__":
    main()
