"""A long history: opened, scrolled in storms of the wheel, to its end and back, searched, and a picture made meanwhile. The
grid never comes to rest empty or elsewhere than it was scrolled to, and keeps no more widgets than its rows need.
usage: history.py BINARY FOLDER MODEL [PICTURES] (1000); prints for how long the main loop was away"""
import os
import re
import sqlite3
import subprocess
import sys

from program import Session, away, driven
from robot import Failed, Widget, check, wait

ATSPI_WINDOW = 1  # coordinates
PICTURES = int((sys.argv[4:] or ["1000"])[0])
ROW = 172  # of pixels: a tile with its border
ROWS_KEPT = 33  # by GtkGridView, whatever is seen: thirty, one on each side, and single ones it keeps track of


def fill(s):
    """Rows in the index and files under their names: links to one picture."""
    s.launch()
    s.set_prompt("the first")
    s.generate()
    wait(lambda: len(s.files()) == 1, "a picture")
    s.wait_idle()
    s.end()
    one, = s.files()
    with sqlite3.connect(s.desktop.path("data", "figment", "history.sqlite")) as db:
        (created,), = db.execute("SELECT created FROM pictures")
        for i in range(1, PICTURES):
            path = os.path.join(s.pictures, f"linked-{i:05}.png")
            os.link(one, path)
            db.execute("INSERT INTO pictures (path, created, width, height, prompt, negative, model, sampler, seed, parameters)"
                       " VALUES (?, ?, 64, 64, ?, '', 'tiny', 'Euler', ?, '')",
                       (path, created - i, f"number {i:05}, {('red', 'blue')[i % 2]}", i))


class History:
    def __init__(self, s):
        self.s = s
        self.count = s.window.one("label", f"{PICTURES} pictures")
        self.grid = s.window.one("list|table|layered pane|.*grid.*", "Pictures")

    def counts(self, text):
        wait(lambda: self.count.name == text, f"{text}; there are {self.count.name}")

    def at(self, x, y):
        """The tile at a point of the window, as a click would find it: those out of sight say stale places."""
        it = self.grid._try(lambda: self.grid.it.get_component_iface().get_accessible_at_point(int(x), int(y), ATSPI_WINDOW))
        tile = it and Widget(it)
        return tile if tile and tile.role == "image" else None

    def tiles(self):
        """Numbers of the pictures in sight, in the order of the grid (0 = the first that was made)."""
        x, y, w, h = self.grid.box
        cell = w / self.columns()
        first = self.at(x + cell / 2, y + ROW / 4) or self.at(x + cell / 2, y + ROW / 2)
        if not first:
            self.ask_all()
            return []
        middle = first.box[1] + ROW / 2
        found = []
        while middle < y + h:
            for column in range(self.columns()):
                tile = middle > y and self.at(x + cell * (column + 0.5), middle)
                if not tile and middle > y:
                    self.ask_all()
                if tile:
                    number = re.match(r"number (\d+)", tile.name)
                    found.append(int(number[1]) if number else 0)
            middle += ROW
        return found

    def ask_all(self):
        """What nobody has asked for has no name on the bus yet."""
        for item in self.grid.children():
            list(item.children())

    def widgets(self):
        return sum(1 for _ in self.grid.children())

    def settled(self, what, good):
        seen = []

        def look():
            seen[:] = [self.tiles()] + seen[:1]
            numbers = seen[0]
            whole = all(b - a == 1 for a, b in zip(numbers, numbers[1:]))
            return numbers if numbers and whole and seen[-1] == numbers and good(numbers) else None
        try:
            numbers = wait(look, "rest")
        except Failed:
            raise Failed(f"{what}: there are {seen}")
        check(self.widgets() <= ROWS_KEPT * self.columns(), f"{what}: {self.widgets()} widgets in {self.columns()} columns")
        return numbers

    def columns(self):
        """As many as fit."""
        return self.grid.box[2] // ROW

    def storm(self, events, button):
        """All in one go: many for each frame."""
        x, y, w, h = self.grid.box
        for _ in range(events):
            self.s.keys.click(x + w // 2, y + h // 2, button=button)


def step_open(s):
    s.keys.press("Control_L", "h")
    history = History(s)
    numbers = history.settled("the newest", lambda n: len(n) >= 2 * history.columns())
    away(s, "opened")
    return history, len(numbers)


def step_storms(s, history, seen):
    """Down by storms, and up again: where it rests there are pictures, and more than none of the way was made."""
    for storm in range(3):
        before = history.tiles()[0]
        history.storm(60, 5)
        history.settled(f"storm {storm}", lambda n: n[0] > before and len(n) >= seen - 2 * history.columns())
    away(s, "three storms of the wheel")
    history.storm(600, 4)
    history.settled("the top again", lambda n: n[0] in (0, 1) and len(n) >= seen - history.columns())
    away(s, "back by a storm")


def step_keys(s, history, seen):
    x, y, w, h = history.grid.box
    s.keys.click(x + ROW // 2, y + ROW // 2)
    s.keys.press("End")
    history.settled("the end", lambda n: n[-1] == PICTURES - 1)
    s.desktop.shot("history-end")
    away(s, "End")
    s.keys.press("Home")
    history.settled("the beginning", lambda n: n[0] in (0, 1))
    away(s, "Home")


def step_search(s, history):
    field = s.window.one("entry|text", "Search in prompts")
    field.set_text("red")
    history.counts(f"{(PICTURES - 1) // 2} pictures")
    field.set_text("number 00007")
    history.counts("1 picture")
    field.set_text("")
    history.counts(f"{PICTURES} pictures")
    away(s, "three searches")


def step_export(s):
    """Of all, begun and ended: rows and names are read beside the main loop."""
    s.window.one("push button", "Export….*", sensitive=True).act()
    dialog = s.dialog(f"Export {PICTURES} Pictures")
    dialog.one("push button", "Export.*", sensitive=True).act()
    wait(lambda: [n for n in os.listdir(s.exports) if n.endswith(".png")], "the first file")
    away(s, "an export begun")
    if dialog.showing:
        dialog._try(lambda: dialog.one("push button", ".*Cancel", patience=20).act())
    s.gone(f"Export {PICTURES} Pictures")
    away(s, "and ended")


def step_made_meanwhile(s, history):
    """A new picture comes to the front; what is looked at stays where it is."""
    files = len(s.files())
    history.storm(20, 5)
    numbers = history.settled("further down", lambda n: n[0] > 5)
    s.keys.press("Control_L", "Return")
    wait(lambda: len(s.files()) == files + 1, "the picture")
    s.keys.press("Control_L", "h")
    history.counts(f"{PICTURES + 1} pictures")
    history.settled("the same place", lambda n: abs(n[0] - numbers[0]) <= 2 * history.columns())
    away(s, "a picture made meanwhile")


def main():
    with driven(Session(folder=sys.argv[2], request={"steps": 2})) as s:
        fill(s)
        s.launch(environment={"FIGMENT_WATCHDOG": "always"})
        s.window.one("label", f"{PICTURES} pictures · Show all")
        away(s, "start")
        history, seen = step_open(s)
        step_storms(s, history, seen)
        step_keys(s, history, seen)
        step_search(s, history)
        step_export(s)
        step_made_meanwhile(s, history)
        s.end()


if __name__ == "__main__":
    main()
