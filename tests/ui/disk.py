"""A disk that refuses: the picture stays in memory, is shown, and can be saved elsewhere; nothing is lost.
usage: disk.py BINARY FOLDER MODEL BAD_DISK"""
import errno
import json
import os
import shutil
import subprocess
import sys

from program import Session, driven
from robot import check, wait

BINARY, FOLDER, SHIM = os.path.abspath(sys.argv[1]), sys.argv[2], os.path.abspath(sys.argv[4])


def trouble(s, code):
    with open(s.desktop.path("trouble"), "w") as file:
        file.write(str(code))


def queue_jobs(s):
    with open(s.desktop.path("data", "figment", "queue.json")) as file:
        return json.load(file)["jobs"]


def saved(s):
    return sorted(name for name in os.listdir(s.exports) if not name.startswith("."))  # whole files only


def refused(s, prompt, sentence, pictures=1):
    """Makes a picture that cannot be saved; it is shown and there is a way out."""
    before = len(s.files())
    s.set_prompt(prompt)
    s.set_number("Pictures", pictures)
    s.generate()
    wait(lambda: s.canvas().name.startswith(prompt), f"{prompt} on the canvas, which shows {s.canvas().name}")
    s.window.one("label", sentence, patience=40)  # not hidden behind an offer, which stands for 60 seconds
    check(len(s.files()) == before, "there is a file")
    s.desktop.shot("refused-" + prompt.replace(" ", "-"))


def save_elsewhere(s, prompt):
    before = saved(s)
    s.window.one("push button", "Save Elsewhere.*").act()
    chooser = s.dialog("Save Elsewhere")
    chooser.one("push button", ".*Save Here", sensitive=True).act()
    s.gone("Save Elsewhere")
    wait(lambda: len(saved(s)) == len(before) + 1, "the file")
    new, = [name for name in saved(s) if name not in before]
    read = subprocess.run([BINARY, "read", "--json", os.path.join(s.exports, new)], capture_output=True)
    check(json.loads(read.stdout)["prompt"] == prompt, f"{new} says {read.stdout}")


def step_full(s):
    trouble(s, errno.ENOSPC)
    refused(s, "a full disk", ".*the disk is full.*", pictures=3)
    jobs = queue_jobs(s)
    check(len(jobs) == 1 and jobs[0]["done"] == 1, f"two of three wait: {jobs}")
    check(s.waiting() == 1, "and the queue says so")
    save_elsewhere(s, "a full disk")
    trouble(s, 0)
    s.window.one("push button", "Use This Folder.*").act()
    s.window.one("push button", "Continue.*").act()
    wait(lambda: len(saved(s)) == 3, "the other two, where the first went")
    s.wait_idle()
    check(not queue_jobs(s), "all is done")


def step_read_only(s):
    trouble(s, errno.EROFS)
    refused(s, "a disk to read only", ".*Read-only.*")
    save_elsewhere_where_it_is_bad(s)
    trouble(s, 0)
    save_elsewhere(s, "a disk to read only")


def save_elsewhere_where_it_is_bad(s):
    """The other folder refuses too: asked again, nothing lost. (The folder vanishes while it is being chosen.)"""
    s.window.one("push button", "Save Elsewhere.*").act()
    chooser = s.dialog("Save Elsewhere")
    aside = s.exports + "-away"
    os.rename(s.exports, aside)
    open(s.exports, "w").close()
    chooser.one("push button", ".*Save Here", sensitive=True).act()
    s.gone("Save Elsewhere")
    s.window.one("push button", "Save Elsewhere.*")
    check(s.canvas().name.startswith("a disk to read only"), "the picture is still shown")
    os.unlink(s.exports)
    os.rename(aside, s.exports)


def step_removed(s):
    """The folder is gone and cannot be made again: something else has its name."""
    shutil.move(s.exports, s.exports + "-moved")  # where pictures go since step_full
    open(s.exports, "w").close()
    refused(s, "a folder that went", "Can't (save|make).*exports.*")
    os.unlink(s.exports)
    os.makedirs(s.exports)
    check(s.program.process.poll() is None, "it runs")
    s.keys.focus_top()
    s.keys.press("Control_L", "q")
    s.dialog("Close Without Saving.*").one("push button", ".*Cancel").act()
    s.gone("Close Without Saving.*")
    save_elsewhere(s, "a folder that went")


def main():
    with driven(Session(folder=FOLDER, request={"steps": 2})) as s:
        s.launch(environment={"LD_PRELOAD": SHIM, "FIGMENT_TEST_DISK": s.desktop.path("trouble")})
        for step in (step_full, step_read_only, step_removed):
            step(s)
            print(step.__name__, "well", flush=True)
        s.end()


if __name__ == "__main__":
    main()
