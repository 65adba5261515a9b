"""What a run looks like and what is done while it goes on: the first run of all with the bundled model, phases and speed in the header, Stop
in the middle of a step, jobs added and cleared, samplers and schedules; what the system says of dark and light; the window's other
windows; and that the Tab key comes to every control. usage: runs.py BINARY FOLDER MODEL [STEP...]"""
import os
import re
import shutil
import subprocess
import sys
import time

from outputs import decoded, luminance, settings_in
from controls import choose_by_keys, kept
from program import Session, driven, walk
from remedies import restart
from robot import check, wait

HERE = os.path.dirname(os.path.abspath(__file__))
STARTER = os.path.join(HERE, "..", "..", "assets", "models", "starter")
SANITIZED = "ASAN_OPTIONS" in os.environ


def step_welcome(s):
    """Nothing was ever set: the bundled model is there, and an example becomes a picture."""
    s.end()
    path = s.desktop.path("config", "figment", "settings.ini")
    with open(path, "w") as file:
        file.write(f"[Settings]\nfolder={s.pictures}\n")
    s.launch()
    s.window.one("label", "A Sentence Becomes a Picture")
    examples = s.window.all("push button", "a .*, .* background")
    check(len(examples) == 3, f"examples: {[str(w) for w in examples]}")
    s.window.one("label", "starter")
    s.desktop.shot("welcome")
    examples[0].act()
    wait(lambda: s.files(), "the first picture")
    s.wait_idle()
    one, = s.files()
    says = settings_in(one)
    check(says["prompt"] == examples[0].name or says["prompt"].startswith("a red apple"), f"it shows {says['prompt']}")
    check(says["settings"]["Model"] == "starter" and decoded(one)[:2] == (256, 256), f"it was made so: {says['settings']}")
    wait(lambda: s.canvas().name.startswith("a red apple"), "it on the canvas")
    s.desktop.shot("first-picture")


class Header:
    """The lines in the middle of the header bar; the second is there while something runs."""

    def __init__(self, s):
        self.box = s.window.all("label", "Figment", showing=False)[0].parent()

    def lines(self):
        return [w.name for w in self.box.children()]


def forget(folder):
    """The system's copies in memory of what lies there, so that it is read from the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            fd = os.open(os.path.join(place, name), os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def step_progress(s):
    """Every phase is said, and step, speed and time that is left; with a picture and a prompt large enough for somebody to see it."""
    model = s.desktop.path("data", "figment", "models", "bundled")
    shutil.copytree(STARTER, model)
    seen = set()
    for attempt in range(6):  # a fast disk has the model there before anybody has looked
        restart(s, request={"model": model, "width": 768, "height": 768, "steps": 4, "guidance": 3})
        head, stop = Header(s), s.stop_button()
        s.set_prompt("to be loaded")
        forget(model)
        s.keys.press("Control_L", "Return")
        wait(lambda: seen.update(head.lines()[1:]) or any(re.match("Step", text) for text in seen), "a step", every=0)
        s.keys.press("Escape")
        wait(lambda: not stop.sensitive, "the end")
        if "Loading the model…" in seen:
            break
        seen.clear()
    s.set_prompt(", ".join(["a red apple and a blue fish"] * 400))
    before = len(s.files())
    s.keys.press("Control_L", "Return")
    wait(lambda: seen.update(head.lines()[1:]) or len(s.files()) > before and not stop.sensitive, "the picture", every=0)
    phases = ("Loading the model…", "Reading the prompt…", r"Step \d of 4( · .*)?", "Decoding the picture…", "Saving…")
    for phase in phases:
        check(any(re.fullmatch(phase, text) for text in seen), f"“{phase}” was never said, but {seen}")
    check(any(re.fullmatch(r"Step [234] of 4 · (\d+ min )?\d+ s left · \d+\.\d (it/s|s/it)", text) for text in seen), f"speed and time: {seen}")


def step_stop(s):
    """In the middle of a step that takes long, by a key: answered before the step would have been over."""
    s.set_prompt("to be stopped")
    s.set_number("Steps", 20)
    stop, head = s.stop_button(), Header(s)
    s.keys.press("Control_L", "Return")
    number, unit = wait(lambda: re.search(r"Step [2-9]\d* of 20 .* (\d+\.\d) (it/s|s/it)", "\n".join(head.lines())), "some steps", every=0.01).groups()
    step = float(number) if unit == "s/it" else 1 / max(float(number), 0.1)
    begun = time.monotonic()
    s.keys.press("Escape")
    wait(lambda: not stop.sensitive, "the end", every=0.005)
    took = time.monotonic() - begun
    print(f"stop: {1000 * took:.0f} ms, with steps of {1000 * step:.0f} ms")
    check(SANITIZED or took < max(0.25, step), f"Stop took {took:.2f} s, a step {step:.2f}")
    s.wait_idle()


def step_running(s):
    """While one runs others are added, and cleared; what runs goes on, and after a stop the next one begins."""
    restart(s)
    s.set_number("Steps", 150)
    s.set_number("Pictures", 100)
    s.set_prompt("the long one")
    s.keys.press("Control_L", "Return")
    wait(lambda: s.stop_button().sensitive, "it to begin")
    s.set_number("Steps", 2)
    s.set_number("Pictures", 1)
    for n, prompt in enumerate(("to be cleared", "this too"), 1):
        s.set_prompt(prompt)
        s.keys.press("Control_L", "Return")
        wait(lambda: s.waiting() == n, f"{n} that wait")
    clear = s.open_queue("push button", "Clear")
    s.desktop.shot("running-queue")
    clear.act()
    wait(lambda: s.waiting() == 0, "none that waits")
    s.keys.press("Escape")
    wait(lambda: not s.window.all("list", "Jobs"), "the queue to close")
    check(s.stop_button().sensitive, "what ran was cleared too")
    s.set_prompt("the next one")
    s.keys.press("Control_L", "Return")
    wait(lambda: s.waiting() == 1, "one that waits")
    s.stop_button().act()
    wait(lambda: s.canvas().name.startswith("the next one"), "the next one")
    s.wait_idle()
    prompts = {settings_in(path)["prompt"] for path in s.files()}
    check(not prompts & {"to be cleared", "this too"}, f"made: {prompts}")


def step_choices(s):
    """A sampler and a schedule by the keyboard; the picture says so, and a restart keeps them and everything else."""
    restart(s)
    for row, field, downs in (("Sampler", "sampler", 1), ("Schedule", "schedule", 2)):
        choose_by_keys(s, row, field, downs)
    sampler, schedule = s.settings()["sampler"], s.settings()["schedule"]
    s.set_prompt("by choice")
    s.set_number("Guidance", 4.5)
    s.last("text", "Negative prompt").set_text("blurry")
    s.window.one("text|entry", "Seed").set_text("4711")
    kept(s, seed="4711", random_seed="false", negative="blurry")
    files = set(s.files())
    s.keys.press("Control_L", "Return")
    wait(lambda: len(s.files()) == len(files) + 1, "the picture")
    s.wait_idle()
    new, = set(s.files()) - files
    says = settings_in(new)["settings"]
    check(says["Sampler"].startswith(sampler) and says["Seed"] == "4711" and says["CFG scale"] == "4.5", f"{sampler}: {says}")
    check(says.get("Schedule type", schedule) == schedule, f"{schedule}: {says}")
    s.end()
    s.launch()
    s.window.one("label", re.escape(sampler))
    s.window.one("label", re.escape(schedule))
    check(s.window.one("spin button", "Guidance").value == 4.5, "the guidance")
    check(s.window.one("text", "Negative prompt").text == "blurry" and s.window.one("text", "Prompt").text == "by choice", "the prompts")
    files = set(s.files())
    s.keys.press("Control_L", "Return")
    wait(lambda: len(s.files()) == len(files) + 1, "the same picture")
    s.wait_idle()
    again, = set(s.files()) - files
    check(settings_in(again)["settings"] == says, f"{settings_in(again)['settings']}, not {says}")


def step_system(s):
    """Dark and light as the desktop says, and when it says another (appearance.py is the desktop's part)."""
    s.end()
    desktop = subprocess.Popen([sys.executable, os.path.join(HERE, "appearance.py"), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        desktop.stdout.readline()
        s.configure(request={"steps": 2})
        s.launch(environment={"GTK_USE_PORTAL": "1"})
        wait(lambda: luminance(s) < 80, "a dark window")
        s.desktop.shot("system-dark")
        for value, good in (("2", lambda light: light > 200), ("1", lambda light: light < 80), ("0", lambda light: light > 200)):
            desktop.stdin.write(value + "\n")
            desktop.stdin.flush()
            wait(lambda: good(luminance(s)), f"colours for {value}: {luminance(s)}")
    finally:
        s.end()
        desktop.stdin.close()
        desktop.wait()
    s.launch()


def step_windows(s):
    """Shortcuts, and who made this."""
    s.keys.press("Control_L", "Shift_L", "question")
    dialog = s.dialog("Keyboard Shortcuts")
    dialog.one("label", "Generate, or add to the queue")
    s.keys.press("Escape")
    s.gone("Keyboard Shortcuts")
    s.keys.press("F10")
    about = s.window.one("menu item", "About Figment")
    s.desktop.shot("menu")
    about.act()
    dialog = wait(lambda: next((w for w in s.program.root.children() if w.showing and w.it != s.window.it and
                                w.all("label", r"\d+\.\d+\.\d+|\d+\.\d+.*")), None), "the about window")
    s.keys.focus_top()
    s.desktop.shot("about")
    s.keys.press("Escape")
    wait(lambda: not dialog.showing or len(s.keys.windows()) == 1, "it to go")
    s.keys.focus_top()


def step_tab(s):
    """Tab alone comes to every control of the window; its frame's buttons are the window manager's."""
    roles = {"push button", "toggle button", "check box", "text", "entry", "spin button", "slider", "combo box"}
    s.keys.press("Control_L", "l")

    def controls():
        return [w for w in s.window.walk(showing=True) if w.role in roles and w.showing and w.sensitive and w.state("FOCUSABLE")]
    everything = controls()
    names = {(w.role, w.name) for w in everything if w.name not in ("Close", "Minimize", "Maximize")}
    check(len(names) > 20, f"only {names}")
    reached = set()
    for _ in range(90):
        focused = [w for w in everything if w.state("FOCUSED")]
        reached |= {(w.role, w.name) for w in focused}
        if names <= reached:
            break
        s.keys.press("Tab")
        time.sleep(0.05)  # the focus moves in the next round of the main loop
    check(names <= reached, f"Tab does not reach {names - reached}")


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2})) as s:
        s.launch()
        walk(s, step_welcome, step_progress, step_stop, step_running, step_choices, step_system, step_windows, step_tab)


if __name__ == "__main__":
    main()
