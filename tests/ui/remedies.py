"""Every message with a button: what goes wrong is caused, the button is pressed, and it helps. And the notification at the end of a
long run. usage: remedies.py BINARY FOLDER MODEL [STEP...]"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys

import robot
from program import BINARY, Session, driven, walk
from robot import check, wait

HERE = os.path.dirname(os.path.abspath(__file__))


def fails(s, prompt, sentence, button):
    """A picture that cannot be made: the sentence, and its button."""
    before = len(s.files())
    s.set_prompt(prompt)
    s.keys.press("Control_L", "Return")
    s.window.one("label", sentence)
    check(len(s.files()) == before, "there is a picture")
    s.desktop.shot(prompt.replace(" ", "-"))
    return s.window.one("push button", button)


def works(s, prompt):
    before = len(s.files())
    s.set_prompt(prompt)
    s.keys.press("Control_L", "Return")
    wait(lambda: len(s.files()) == before + 1, "the picture " + prompt)
    wait(lambda: not s.stop_button().sensitive, "the end")


def clear_queue(s):
    """What failed waits there to be tried again."""
    check(s.waiting() == 0, "what failed counts as waiting")
    s.open_queue("push button", "Remove.*").act()
    wait(lambda: not s.window.all("push button", "Try again"), "an empty queue")
    s.keys.press("Escape")


def restart(s, settings=None, request=None, **environment):
    s.end()
    s.configure(settings, {"steps": 2, **(request or {})})
    s.launch(environment=environment)


def step_smaller(s):
    """Too large for the memory: three quarters of it."""
    restart(s, request={"width": 2048, "height": 2048}, FIGMENT_CPU_MEMORY="120000000")
    button = fails(s, "too large", "Not enough memory.*", "Smaller Size.*")
    button.act()
    s.window.one("label", "The next picture has 1536 × 1536 pixels.")
    wait(lambda: s.settings()["width"] == "1536" and s.settings()["height"] == "1536", "three quarters")
    clear_queue(s)


def step_cpu(s):
    """A device that is not there."""
    restart(s, settings={"device": "vulkan:7"}, VK_DRIVER_FILES="/dev/null", VK_ICD_FILENAMES="/dev/null")
    fails(s, "no such device", ".*vulkan.*|.*Vulkan.*", "Use the CPU.*").act()
    s.window.one("label", "The next picture is made by the CPU.")
    wait(lambda: s.settings()["device"] == "cpu", "the setting")
    works(s, "by the cpu")
    clear_queue(s)


def overflow(path, name):
    """Writes a .safetensors again, with one tensor of the largest numbers there are."""
    with open(path, "rb") as file:
        data = file.read()
    length, = struct.unpack_from("<Q", data)
    header, old, new = json.loads(data[8:8 + length]), data[8 + length:], b""
    for key, tensor in header.items():
        if key != "__metadata__":
            first, last = tensor["data_offsets"]
            values = old[first:last]
            if key == name:
                values = struct.pack("<f", 3e38) * ((last - first) // {"F32": 4, "F16": 2, "BF16": 2}[tensor["dtype"]])
                tensor["dtype"] = "F32"
            tensor["data_offsets"] = [len(new), len(new) + len(values)]
            new += values
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + new)


def step_numbers(s):
    """A decoder that overflows: 32 bits are offered (which help those that overflow 16; this one is worse)."""
    s.end()
    name, = [n for n in os.listdir(os.path.join(s.model, "vae")) if n.endswith(".safetensors")]
    path = os.path.join(s.model, "vae", name)
    whole = path + ".whole"
    shutil.copy(path, whole)
    overflow(path, "decoder.conv_out.weight")
    s.configure(request={"steps": 2})
    s.launch()
    fails(s, "no numbers", ".*(invalid numbers|not numbers|out of range).*", "Use 32 Bits.*").act()
    s.window.one("label", "The next picture is made with 32 bits.")
    wait(lambda: s.settings()["precision"] == "f32", "the setting")
    clear_queue(s)
    os.replace(whole, path)


def step_model(s):
    """A model that is damaged: the list of models opens."""
    s.end()
    path = os.path.join(s.model, "unet", "diffusion_pytorch_model.safetensors")
    if not os.path.exists(path):
        path, = [os.path.join(s.model, "unet", n) for n in os.listdir(os.path.join(s.model, "unet")) if n.endswith(".safetensors")]
    other = s.desktop.path("data", "figment", "models", "whole")
    shutil.copytree(s.model, other)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    s.configure(request={"steps": 2})
    s.launch()
    fails(s, "a damaged model", ".*(damaged|shorter|truncated|incomplete|cut off).*", "Choose Model.*").act()
    row = s.window.one("combo box", "Model")
    wait(lambda: row.state("FOCUSED") or s.window.all("label", "whole"), "the list of models")
    s.window.one("label", "whole")
    s.desktop.shot("choose-model")

    def chosen():
        if s.settings()["model"] == other:
            return True
        s.keys.press("End")  # the list may not have the keys yet
        s.keys.press("Return")
        return False
    wait(chosen, "the other model", every=1)
    s.set_number("Steps", 2)
    works(s, "with another model")
    clear_queue(s)
    s.end()
    shutil.rmtree(s.model)
    os.rename(other, s.model)


def step_change(s):
    """A request that cannot be: the prompt has the keys."""
    restart(s, request={"sampler": "Nonsense"})
    s.tab_to(s.last("spin button", "Steps"))
    fails(s, "an unknown sampler", ".*Nonsense.*", "Change.*")
    with open(s.desktop.path("note.txt"), "w") as file:
        file.write("no picture")
    subprocess.run([BINARY, s.desktop.path("note.txt")], stdin=subprocess.DEVNULL)
    s.window.one("label", ".*note.txt.* is neither.*")  # not behind the question, where nobody would see it
    s.window.one("label", ".*Nonsense.*")  # which comes back
    s.window.one("push button", "Change.*").act()
    wait(lambda: s.last("text", "Prompt").state("FOCUSED"), "the prompt to have the keys")
    clear_queue(s)


def step_paused(s):
    """A queue that is paused says so, and goes on when asked to."""
    restart(s)
    before = len(s.files())
    pause = s.open_queue("(push|toggle) button", "Pause.*")
    pause.act()
    wait(lambda: pause.state("PRESSED") or pause.state("CHECKED"), "the pause")
    s.keys.press("Escape")
    s.set_prompt("one that waits")
    s.keys.press("Control_L", "Return")
    s.window.one("label", "Added to the queue, which is paused")
    check(len(s.files()) == before, "it did not wait")
    s.window.one("push button", "Continue.*").act()
    wait(lambda: len(s.files()) == before + 1, "the picture")


def step_folder(s):
    """After an export its folder is opened by the program that shows folders."""
    applications = s.desktop.path("data", "applications")
    os.makedirs(applications, exist_ok=True)
    opened = s.desktop.path("opened.txt")
    with open(s.desktop.path("files.sh"), "w") as file:
        file.write(f"#!/bin/sh\necho \"$@\" > '{opened}.new' && mv '{opened}.new' '{opened}'\n")
    os.chmod(s.desktop.path("files.sh"), 0o755)
    with open(os.path.join(applications, "files.desktop"), "w") as file:
        file.write(f"[Desktop Entry]\nType=Application\nName=Files\nExec={s.desktop.path('files.sh')} %U\nMimeType=inode/directory;\n")
    with open(os.path.join(applications, "mimeapps.list"), "w") as file:
        file.write("[Default Applications]\ninode/directory=files.desktop\n")
    restart(s)
    works(s, "to be exported")
    s.keys.press("Control_L", "h")
    s.window.one("push button", "Export….*", sensitive=True).act()
    dialog = s.dialog(r"Export \d+ Pictures?")
    dialog.one("push button", "Export.*", sensitive=True).act()
    s.gone(r"Export \d+ Pictures?")
    s.window.one("push button", "Open Folder.*").act()
    wait(lambda: os.path.exists(opened), "the folder to be opened")
    with open(opened) as file:
        check(file.read().strip().rstrip("/").replace("file://", "") == s.exports, "another folder")
    s.keys.press("Control_L", "h")


class Notifications:
    """The desktop's part (notified.py)."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "notified.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        json.loads(self.process.stdout.readline())  # it is there

    def next(self):
        return json.loads(self.process.stdout.readline())

    def press(self, number):
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def step_notification(s):
    """A run of more than ten seconds that ends while another window is in front; a press on what is told brings ours back."""
    desktop = Notifications()
    try:
        restart(s)
        s.set_number("Steps", 150)
        s.set_number("Pictures", 100)
        s.set_prompt("a long run")
        before = len(s.files())
        s.keys.press("Control_L", "Return")
        wait(lambda: s.stop_button().sensitive, "it to begin")
        begun = robot.time.monotonic()
        wait(lambda: robot.time.monotonic() - begun > 11 and len(s.files()) > before, "a long run")
        s.keys.focus_another()
        wait(lambda: not s.window.state("ACTIVE"), "the window to be behind")
        s.stop_button().act()
        told = desktop.next()
        check(told["title"] == "Figment has finished" and re.fullmatch(r"\d+ pictures? (is|are) ready\.", told["body"]), f"told: {told}")
        check(told["desktop"] == "io.github.figment_app.Figment", f"told by {told['desktop']}")
        made = len(s.files()) - before
        check(told["body"].split()[0] == str(made), f"{told['body']} of {made}")
        check("default" in told["actions"], f"it cannot be pressed: {told['actions']}")
        def in_front():  # the keys are a window manager's to give
            return s.keys.windows((0, 0))[-1] == s.keys.windows()[-1]
        check(not in_front(), "nothing is in front of the window")
        desktop.press(told["number"])
        wait(in_front, "the window in front")
        s.keys.focus_top()
    finally:
        desktop.close()


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2})) as s:
        s.launch()
        walk(s, step_smaller, step_cpu, step_numbers, step_model, step_change, step_paused, step_folder, step_notification)


if __name__ == "__main__":
    main()
