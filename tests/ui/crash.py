"""Kills the window (SIGKILL) at random times while a queue of ten pictures runs, and starts it again: what has its final
name is whole, nothing is lost, nothing is made twice, the history knows every picture.
usage: crash.py BINARY FOLDER MODEL [KILLS [SEED]]"""
import glob
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

from program import Session, driven
from robot import check, wait

BINARY, FOLDER = os.path.abspath(sys.argv[1]), sys.argv[2]
KILLS, SEED = int((sys.argv[4:] or ["4"])[0]), int((sys.argv[5:] or ["1"])[0])
JOBS = (("one apple", 100, 4), ("two apples", 200, 3), ("three apples", 300, 1), ("four apples", 400, 2))
WHOLE = sorted((prompt, seed + i) for prompt, seed, batch in JOBS for i in range(batch))


class Round(Session):
    """One queue of ten, from the first start to the last picture."""

    def queue_file(self):
        return self.desktop.path("data", "figment", "queue.json")

    def begin(self, steps):
        """As the program itself writes it when it is closed with a paused queue."""
        jobs = [{"request": {"prompt": prompt, "negative": "", "model": self.model, "width": 64, "height": 64, "steps": steps,
                             "cfg": 5.0, "fixed_seed": True, "seed": str(seed), "batch": batch, "clip_skip": 1,
                             "folder": self.pictures, "preview_every": 1},
                 "done": 0, "begun": 0, "running": False, "set_aside": False, "submitted": int(time.time() * 1000)}
                for prompt, seed, batch in JOBS]
        for name in ("queue.json", "history.sqlite", "history.sqlite-wal", "history.sqlite-shm"):
            if os.path.exists(self.desktop.path("data", "figment", name)):
                os.remove(self.desktop.path("data", "figment", name))
        shutil.rmtree(self.pictures, ignore_errors=True)
        with open(self.queue_file(), "w") as file:
            json.dump({"version": 1, "open": False, "jobs": jobs}, file)

    def pending(self):
        with open(self.queue_file()) as file:
            jobs = json.load(file)["jobs"]
        return sorted((job["request"]["prompt"], int(job["request"]["seed"]) + i)
                      for job in jobs for i in range(job["done"], job["request"]["batch"]))

    def finished(self):
        """What the files say; each is read whole."""
        found = []
        for path in self.files():
            read = subprocess.run([BINARY, "read", "--json", path], capture_output=True)
            check(read.returncode == 0, f"{path} cannot be read: {read.stderr.decode()}")
            says = json.loads(read.stdout)
            found.append((says["prompt"], int(says["settings"]["Seed"])))
        return sorted(found)

    def indexed(self):
        with sqlite3.connect("file:" + self.desktop.path("data", "figment", "history.sqlite") + "?mode=ro", uri=True) as db:
            return sorted(path for path, in db.execute("SELECT path FROM pictures"))

    def verify(self, when):
        finished, pending = self.finished(), self.pending()
        check(sorted(finished + pending) == WHOLE,
              f"{when}: {len(finished)} finished {finished} and {len(pending)} pending {pending} are not the ten")
        check(self.indexed() == self.files(), f"{when}: the history has {self.indexed()} of {self.files()}")

    def go_on(self):
        """The queue is paused after a start; jobs that were set aside are tried again."""
        pause = self.open_queue("(push|toggle) button", "Pause.*")
        for button in self.window.all("push button", "Try again"):
            button.act()
        pause.act()


def decodes(path):
    """Every line of pixels of a PNG, checksums included, by somebody else's code."""
    import gi
    gi.require_version("GdkPixbuf", "2.0")
    from gi.repository import GdkPixbuf
    return GdkPixbuf.Pixbuf.new_from_file(path).get_width() == 64


def main():
    chance = random.Random(SEED)
    kills = queues = 0
    longest = 1.0
    with driven(Round(folder=FOLDER)) as s:
        while kills < KILLS:
            s.begin(steps=12)
            queues += 1
            s.launch()
            while kills < KILLS:
                s.go_on()
                begun = time.monotonic()
                end = begun + chance.uniform(0, longest)
                dry = False
                while time.monotonic() < end and not dry:
                    dry = len(s.files()) == 10 and not s.pending()
                    time.sleep(0.002)
                s.program.kill()
                kills += 1
                if dry:
                    longest = max(0.2, (time.monotonic() - begun) * 0.7)
                s.launch()
                s.verify(f"kill {kills}")
                for path in s.files():
                    check(decodes(path), path + " is not whole")
                if not s.pending():
                    break
            if s.pending():
                s.go_on()
                wait(lambda: not s.pending(), "the queue to run dry")
                wait(lambda: s.indexed() == s.files(), "the history to know all")
            s.verify("at the end")
            s.end()
            check(not glob.glob(s.pictures + "/.*"), "temporary files are left")
        print(f"{kills} kills in {queues} queues of ten: nothing lost, nothing twice, all whole and in the history")


if __name__ == "__main__":
    main()
