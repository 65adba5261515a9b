"""The window in German, and with large letters in a small window: sentences of the engine arrive in the window's language, and nothing
is cut. usage: words.py BINARY FOLDER MODEL [STEP...]"""
import os
import subprocess
import sys

from controls import png
from program import BINARY, Session, driven, seen_message, walk
from robot import check, wait

GERMAN = {"LANGUAGE": "de"}
FOREIGN = "a foreign apple\nSteps: 21, Sampler: Eulr, CFG scale: 6.5, Seed: 42, Size: 100x64, Tiling: True, Version: v1.9.4"


def start(s, **environment):
    if s.program:
        s.end()
    s.launch(environment=environment)


def step_engine(s):
    """What the engine refuses, in a message and in the queue; what it cannot use, under the list of models; and its notices."""
    with open(s.desktop.path("data", "figment", "models", "broken.safetensors"), "wb") as file:
        file.write(b"tiny")
    s.configure(request={"sampler": "Eulr", "steps": 2})
    start(s, **GERMAN)
    s.last("text", "Prompt").set_text("ein Apfel")
    s.keys.press("Control_L", "Return")
    s.window.one("label", "Es gibt keinen Sampler „Eulr“; meinten Sie „Euler“\\?")
    s.desktop.shot("message")
    s.keys.press("Control_L", "j")
    s.window.one("label", ".*Es gibt keinen Sampler „Eulr“.*")
    s.desktop.shot("queue")
    s.keys.press("Escape")
    s.end()
    os.remove(s.desktop.path("data", "figment", "queue.json"))  # what waits after a failure waits paused
    s.configure(request={"model": s.desktop.path("data", "figment", "models", "broken.safetensors"), "steps": 2})
    s.launch(environment=GERMAN)
    s.window.one("label", "„broken.safetensors“ lässt sich nicht öffnen: die Datei ist beschädigt oder unvollständig.*")
    s.desktop.shot("model")
    s.end()
    s.configure(request={"steps": 2})
    s.launch(environment=GERMAN)
    s.last("text", "Prompt").set_text("ein Apfel <lora:nirgends:1>")
    seen_message(s, "In Ihren Ordnern gibt es kein LoRA „nirgends“; das Bild entsteht ohne.", lambda: s.keys.press("Control_L", "Return"))


def step_import(s):
    """What a dropped picture changes, and what cannot be honoured."""
    subprocess.run([BINARY, png(s.desktop.path("foreign.png"), parameters=FOREIGN)], stdin=subprocess.DEVNULL)
    dialog = s.dialog(r"Einstellungen dieses Bildes übernehmen\?")
    dialog.one("label", "Schritte: 2 → 21")
    dialog.one("label", "Der Sampler „Eulr“ ist hier nicht bekannt.*")
    dialog.one("label", r"Kacheln \(True\) gibt es hier nicht.*")
    s.desktop.shot("import")
    s.keys.press("Escape")
    s.gone(r"Einstellungen dieses Bildes übernehmen\?")


def cut(frame):
    """Words that are to be seen and end outside the frame; what lies outside as a whole is a page or a panel that is away."""
    _, _, width, _ = frame.box
    return [f"{w} {w.box}" for w in frame.walk(showing=True)
            if w.role in ("label", "push button", "toggle button", "entry", "text", "spin button", "combo box") and w.showing and w.name and
            w.box[0] < width and w.box[0] + w.box[2] > 0 and (w.box[0] < 0 or w.box[0] + w.box[2] > width + 1)]


def shortened(frame):
    """Values and headings that have less room than their words need: they end in an ellipsis, which AT-SPI does not tell. What is longer wraps."""
    letter = 6.4  # pixels: narrow ones, half as large again as usual
    return [f"{w} {w.box}" for w in frame.walk(showing=True)
            if w.role == "label" and w.showing and 0 < len(w.name) <= 24 and w.box[2] < letter * len(w.name)]


def step_large(s):
    """Half as large again, in 900 x 600: English and German, the window, its dialogs."""
    with open(s.desktop.path("home", ".Xdefaults"), "w") as file:
        file.write("Xft.dpi: 144\n")  # what a text scaling factor of 1.5 sets
    s.configure({"window-width": 900, "window-height": 600}, {"steps": 2})
    for language in ("C", "de"):
        start(s, LANGUAGE=language)
        s.window.all("text", "Prompt", showing=False)[0].set_text("an apple")
        n = len(s.files())
        s.keys.press("Control_L", "Return")
        wait(lambda: len(s.files()) == n + 1, "a picture")
        wait(lambda: s.window.all("image", "an apple.*"), "it on the canvas")
        s.desktop.shot(f"large-{language}")
        left, top, width, height = s.keys.windows()[-1][1]
        check(width <= s.desktop.width + 1 and height <= s.desktop.height + 1,
              f"the window has grown to {width} x {height} on a screen of {s.desktop.width} x {s.desktop.height}")
        check(not cut(s.window), f"cut: {cut(s.window)}")
        field = s.window.all("text", "Prompt", showing=False)[0]
        s.keys.press("F9")  # the panel lies over the picture where both have no room
        wait(lambda: field.box[0] >= 0 and not cut(s.window), f"the whole panel, not {cut(s.window)}")
        s.desktop.shot(f"large-panel-{language}")
        s.keys.press("F9")
        s.keys.press("Control_L", "h")
        wait(lambda: s.window.all("label", r"\d+ (pictures?|Bild(er)?)"), "the history")
        s.desktop.shot(f"large-history-{language}")
        check(not cut(s.window), f"cut in the history: {cut(s.window)}")
        s.keys.press("Control_L", "h")
        for name, keys in (("preferences", ("comma",)), ("export", ("Shift_L", "e")), ("batch", ("Shift_L", "b")),
                           ("shortcuts", ("Shift_L", "question"))):
            before = len(s.keys.windows())
            s.keys.press("Control_L", *keys)
            wait(lambda: len(s.keys.windows()) > before, name)
            s.keys.focus_top()
            frame = wait(lambda: next((w for w in s.program.root.children() if w.showing and w.it != s.window.it and
                                       w.name != s.window.name), None), name)
            s.desktop.shot(f"large-{name}-{language}")
            _, _, width, height = s.keys.windows()[-1][1]
            check(width <= s.desktop.width and height <= s.desktop.height, f"{name} has {width} x {height}")
            check(not cut(frame), f"cut in {name}: {cut(frame)}")
            check(not shortened(frame), f"shortened in {name}: {shortened(frame)}")
            s.keys.press("Escape")
            wait(lambda: len(s.keys.windows()) == before, f"{name} to close")
            s.keys.focus_top()


def main():
    with driven(Session(folder=sys.argv[2], width=900, height=600, request={"steps": 2})) as s:
        os.makedirs(s.desktop.path("elsewhere"))
        walk(s, step_engine, step_import, step_large)


if __name__ == "__main__":
    main()
