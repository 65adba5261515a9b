"""Every page and state of the window as a picture, for a designer's eye. By hand: nothing is checked but that each comes up.
usage: looks.py BINARY FOLDER MODEL WIDTHxHEIGHT [dark] [large] [contrast] [LANGUAGE] [STEP...]; GTK's own words
follow a language only with a locale, as LC_ALL=de_DE.UTF-8. The pictures lie in FOLDER/shots."""
import gettext
import json
import os
import re
import sqlite3
import subprocess
import sys
import time

WIDTH, HEIGHT = map(int, sys.argv[4].split("x"))
WORDS, sys.argv[4:] = set(sys.argv[5:]), []
STEPS = ("first_run", "few", "odd_values", "dialogs", "queue", "many")
LANGUAGE = next(iter(WORDS - {"dark", "large", "contrast", *STEPS}), None)
LOCALE = os.environ.get("LC_ALL", "C.UTF-8")

from controls import png  # noqa: E402
from program import BINARY, FOLDER, MODEL, Session, driven  # noqa: E402
from robot import wait  # noqa: E402

PROMPTS = ("a red apple, 3d style, blue background", "a smiling cat, noto style, yellow background",
           "a green rocket, flat style, black background", "a yellow taxi, 3d style, white background",
           "a purple grape, flat style, white background", "a blue fish, noto style, white background")
MANY = 400  # rows of a long history
translation = gettext.translation("figment", os.path.join(os.path.dirname(BINARY), "..", "share", "locale"),
                                  [LANGUAGE] if LANGUAGE else ["C"], fallback=True)
FOREIGN = """a foreign apple on a table, <lora:detail:0.8>, masterpiece
Negative prompt: blurry, low quality
Steps: 21, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 256x256, Model hash: 6ce0161689, Model: unknown-model, \
Denoising strength: 0.4, Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent, Version: v1.9.4"""


def T(text):
    """As the window says it, for a regular expression."""
    return re.escape(translation.gettext(text).replace("_", ""))


class Looks(Session):
    def __init__(self):
        theme = "dark" if "dark" in WORDS else "light"
        super().__init__(FOLDER, WIDTH, HEIGHT, {"theme": theme, "window-width": WIDTH, "window-height": HEIGHT},
                         {"model": MODEL, "width": 128, "height": 128, "steps": 8, "guidance": 3})
        self.number = 0
        self.around = {"LC_ALL": LOCALE, "LANGUAGE": LANGUAGE or "C"}
        if "large" in WORDS:
            with open(self.desktop.path("home", ".Xdefaults"), "w") as file:
                file.write("Xft.dpi: 144\n")
        if "contrast" in WORDS:
            self.around["ADW_DEBUG_HIGH_CONTRAST"] = "1"

    def start(self, *arguments):
        self.launch(*arguments, environment=self.around)

    def shot(self, name, rest=0.7):
        """When the screen has come to rest, or goes on changing for longer than a person would wait."""
        time.sleep(rest)
        self.number += 1
        self.desktop.shot(f"{self.number:02}-{name}")

    def button(self, name):
        return wait(lambda: next((w for w in self.window.each("(push|toggle) button", name)
                                  if w._try(lambda: w.it.get_action_iface().get_n_actions(), 0)), None), "the button " + name)

    def ask(self, prompt):
        field = self.window.one("text", T("Prompt"))
        field.set_text(prompt)
        wait(lambda: field.text == prompt, prompt)
        self.keys.press("Control_L", "Return")

    def made(self, n):
        wait(lambda: len(self.files()) >= n, f"{n} pictures")

    def set_number_of(self, name, value):
        field = self.window.one("spin button", name)
        field.set_value(value)
        wait(lambda: field.value == value, f"{name} to be {value}")

    def canvas_box(self):
        return self.window.one("image", ".* × .*").box

    def dialog_of(self, *keys):
        before = len(self.keys.windows())
        self.keys.press(*keys)
        self.on_top(before)

    def on_top(self, before):
        wait(lambda: len(self.keys.windows()) > before, "a dialog")
        time.sleep(0.5)
        self.keys.focus_top()

    def leave(self, name):
        self.shot(name)
        n = len(self.keys.windows())
        self.keys.press("Escape")
        wait(lambda: len(self.keys.windows()) < n, name + " to close")
        wait(lambda: self.keys.windows()[-1][1][2] >= WIDTH - 40, "the window itself on top")
        self.keys.focus_top()

    def popover(self, opened, name):
        """opened() opens it."""
        n = len(self.keys.windows())
        opened()
        wait(lambda: len(self.keys.windows()) > n, name)
        self.leave(name)


def first_run(s):
    s.start()
    s.shot("welcome", 1.5)
    s.keys.press("Control_L", "h")
    s.shot("history-empty")
    s.keys.press("Control_L", "h")
    s.window.one("text", T("Prompt")).set_text(PROMPTS[0])
    s.set_number_of(T("Steps"), 150)
    canvas = s.window.all("image", showing=False)  # found before: a walk takes its time
    s.keys.press("Control_L", "Return")
    wait(lambda: any(re.search(r"\b([3-9]\d|1\d\d)\b.*150", w.name) for w in canvas), "a preview", every=0.01)
    s.shot("running", 0)
    s.made(1)
    s.set_number_of(T("Steps"), 8)
    s.shot("first-picture")


def few(s):
    for prompt in PROMPTS[1:]:
        s.ask(prompt)
    s.made(len(PROMPTS))
    s.window.one("push button", T("Stop"))
    s.shot("picture", 1.5)
    s.keys.press("Control_L", "b")
    s.keys.press("Control_L", "d")
    s.shot("compare")
    s.keys.press("Control_L", "d")
    s.keys.press("Control_L", "1")
    s.shot("pixel-for-pixel")
    s.keys.press("Control_L", "0")
    s.keys.press("F9")
    s.shot("no-panel")
    s.keys.press("F9")
    s.popover(s.button(T("Recent prompts")).act, "recent-prompts")
    s.popover(s.button(r"\d+ × \d+").act, "sizes")  # the model's own, where it has one
    s.popover(s.button(T("Main menu (F10)").split(r"\ \(")[0]).act, "menu")
    x, y, w, h = s.canvas_box()
    s.popover(lambda: s.keys.click(x + w // 2, y + h // 2, button=3), "picture-menu")
    s.popover(lambda: s.keys.press("Control_L", "j"), "queue-empty")
    s.keys.press("Control_L", "h")
    s.shot("history-few", 1.2)
    s.keys.press("Control_L", "a")
    x, y, w, h = s.window.one("list|table|layered pane|.*grid.*", T("Pictures")).box
    s.keys.click(x + 80, y + 80)
    s.keys.click(x + 260, y + 80, holding="Control_L")
    s.shot("history-selection")
    s.window.one("entry|text", T("Search in prompts")).set_text("zebra")
    s.shot("history-nothing-found")
    s.window.one("entry|text", T("Search in prompts")).set_text("")
    s.keys.press("Control_L", "h")


def odd_values(s):
    panel = s.window.one("text", T("Prompt"))
    panel.set_text(", ".join(["(a very long prompt:1.2) with <lora:something:0.8>"] * 12))
    s.window.one("text", T("Negative prompt")).set_text("blurry, low quality")
    s.set_number_of(T("Guidance"), 20)
    s.window.one("text|entry", T("Seed")).set_text("18446744073709551615")
    s.shot("odd-values")
    s.window.one("text|entry", T("Seed")).set_text("12x")
    s.shot("wrong-seed")
    s.window.one("text|entry", T("Seed")).set_text("12")
    s.set_number_of(T("Guidance"), 3)
    panel.set_text(PROMPTS[0])
    x, y, w, h = s.window.one("label", T("More")).box
    s.keys.click(x, y + h // 2)
    s.shot("more", 1)
    s.keys.press("Control_L", "l")
    for i in range(3):
        s.keys.press("Tab")
        s.shot(f"focus-{i}", 0.2)


def dialogs(s):
    s.dialog_of("Control_L", "Shift_L", "e")
    s.leave("export")
    s.dialog_of("Control_L", "comma")
    s.shot("preferences-general", 1.5)
    s.keys.press("Right")
    s.keys.press("space")
    s.leave("preferences-files")
    s.dialog_of("Control_L", "Shift_L", "question")
    s.leave("shortcuts")
    before = len(s.keys.windows())
    s.keys.press("F10")
    time.sleep(0.5)
    s.keys.press("Up")
    s.keys.press("Return")
    s.on_top(before)
    s.leave("about")
    before = len(s.keys.windows())
    subprocess.run([BINARY, png(s.desktop.path("foreign.png"), parameters=FOREIGN)], stdin=subprocess.DEVNULL)
    s.on_top(before)
    s.leave("import")
    before = len(s.keys.windows())
    subprocess.run([BINARY, s.files()[0]], stdin=subprocess.DEVNULL)
    s.on_top(before)
    s.leave("import-own")
    s.dialog_of("Control_L", "Shift_L", "b")
    s.program.root.one("text", T("Prompts, one per line")).set_text("a red apple, flat style\na blue fish, flat style")
    s.shot("batch")
    s.program.root.one("push button", T("_Add to Queue"), sensitive=True).act()
    s.keys.focus_top()
    n = len(s.files())
    s.made(n + 9)
    s.keys.focus_top()
    s.shot("grid", 1.5)


def queue(s):
    """A queue that was left behind: one set aside, some that wait; then running, then one that fails."""
    if s.program:
        s.end()
    request = {"prompt": "the culprit", "negative": "", "model": MODEL, "width": 128, "height": 128, "steps": 150, "cfg": 3.0,
               "fixed_seed": True, "seed": "5", "batch": 1, "clip_skip": 1, "folder": s.pictures, "preview_every": 1}
    job = {"request": request, "done": 0, "begun": 2, "running": True, "set_aside": False, "submitted": int(time.time() * 1000)}
    jobs = [job] + [dict(job, begun=0, running=False, request=dict(request, prompt=prompt, batch=1 + 3 * i))
                    for i, prompt in enumerate(PROMPTS)]
    jobs.insert(1, dict(jobs[1], request=dict(request, prompt="a picture of a model that is gone", model=s.desktop.path("gone"))))
    with open(s.desktop.path("data", "figment", "queue.json"), "w") as file:
        json.dump({"version": 1, "open": True, "jobs": jobs}, file)
    s.start()
    s.shot("notice-recovered", 1.5)
    s.popover(lambda: s.keys.press("Control_L", "j"), "queue-paused")
    before = len(s.files())
    s.button(T("Continue") + ".*").act()
    s.made(before + 2)
    s.shot("notice-failed", 0)
    s.popover(lambda: s.keys.press("Control_L", "j"), "queue-running")
    s.keys.press("Escape")
    s.shot("stopped", 0.3)


def many(s):
    s.program.kill()
    os.unlink(s.desktop.path("data", "figment", "queue.json"))
    with sqlite3.connect(s.desktop.path("data", "figment", "history.sqlite")) as db:
        rows = db.execute("SELECT path, created, width, height, prompt, parameters FROM pictures WHERE width = 128").fetchall()
        for i in range(MANY):
            path, created, width, height, prompt, parameters = rows[i % len(rows)]
            link = os.path.join(s.pictures, f"linked-{i:05}.png")
            os.link(path, link)
            db.execute("INSERT INTO pictures (path, created, width, height, prompt, negative, model, sampler, seed, parameters, favourite)"
                       " VALUES (?, ?, ?, ?, ?, '', ?, 'Euler', ?, ?, ?)",
                       (link, created - i, width, height, prompt, ("starter", "another-model")[i % 2], i, parameters, i % 7 == 0))
    s.start()
    s.keys.press("Control_L", "h")
    s.shot("history-many", 2.5)


def main():
    with driven(Looks()) as s:
        for name in STEPS:
            if name in WORDS or not WORDS & set(STEPS):
                globals()[name](s)
                print(name, flush=True)
        s.program.kill()


if __name__ == "__main__":
    main()
