"""Many pictures, some jobs stopped: the window's memory stays where it was after the first ten, and nothing is complained about.
usage: memory.py BINARY FOLDER MODEL [PICTURES [STOPS [ROOM]]] (100, 8, 8 MiB)"""
import math
import sys
import time

from program import Session, driven
from robot import check, wait

# Of the room the strip's tiles and thumbnails are a third: they stay on purpose, two hundred of them at most.
PICTURES, STOPS, ROOM = ([int(word) for word in sys.argv[4:]] + [100, 8, 8][len(sys.argv) - 4:])[:3]


def resident(s):
    """MiB at rest: a picture that is just being shown and written has a copy or two for a moment. Without what
    is shared with the X server: GDK's frames, one more for each that the server is late with."""
    least = math.inf
    for _ in range(12):
        with open(f"/proc/{s.program.process.pid}/status") as file:
            values = dict(line.split(":") for line in file if line.startswith("Rss"))
        least = min(least, sum(int(values[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024)
        time.sleep(0.25)
    return least


class Maker:
    """Finds its widgets once: a walk through all of them takes longer than a picture."""

    def __init__(self, s):
        self.s, self.stop, self.prompt = s, s.stop_button(), s.window.one("text", "Prompt")

    def idle(self):
        wait(lambda: not self.stop.sensitive, "the end")

    def make(self, pictures, steps, prompt):
        self.s.set_number("Steps", steps)
        self.s.set_number("Pictures", pictures)
        self.prompt.set_text(prompt)
        wait(lambda: self.prompt.text == prompt, "the prompt")
        self.s.keys.press("Control_L", "Return")

    def ten(self, prompt):
        before = len(self.s.files())
        self.make(10, 4, prompt)
        wait(lambda: len(self.s.files()) == before + 10, "ten pictures")
        self.idle()

    def stopped(self, prompt):
        self.make(100, 150, prompt)  # long enough on any machine
        wait(lambda: self.stop.sensitive, "it to begin")
        self.stop.act()
        self.idle()


def main():
    with driven(Session(folder=sys.argv[2])) as s:
        s.launch()
        maker = Maker(s)
        maker.ten("ten of them")
        first = resident(s)
        print(f"after ten: {first:.1f} MiB", flush=True)
        for i in range(1, PICTURES // 10):
            for stop in range(STOPS * (i - 1) // (PICTURES // 10 - 1), STOPS * i // (PICTURES // 10 - 1)):
                maker.stopped(f"to be stopped, {stop}")
            maker.ten(f"ten more, {i}")
            print(f"after {10 * i + 10}: {resident(s):.1f} MiB", flush=True)
        grown = resident(s) - first
        check(grown < ROOM, f"it has grown by {grown:.1f} MiB")
        s.end()
        print(f"grown by {grown:.1f} MiB in {PICTURES - 10} pictures and {STOPS} stops; no complaints")
        print("\n".join(line for line in s.program.said().splitlines() if line.startswith("watchdog")))


if __name__ == "__main__":
    main()
