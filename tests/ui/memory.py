"""A hundred pictures with eight of them stopped: what the window's memory does, and what it complains about. By hand: it
measures. usage: memory.py BINARY FOLDER MODEL [MIB], MIB = how much it may grow after the first ten (8)"""
import sys

from program import Session, driven
from robot import check, wait

ROOM = float((sys.argv[4:] or ["8"])[0])


def resident(s):
    with open(f"/proc/{s.program.process.pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def ten(s):
    before = len(s.files())
    s.generate()
    wait(lambda: len(s.files()) == before + 10, "ten pictures")
    s.wait_idle()


def stopped(s, number):
    s.set_number("Pictures", 100)  # long enough on any machine
    s.set_number("Steps", 150)
    s.set_prompt(f"to be stopped, {number}")
    s.generate()
    wait(lambda: s.stop_button().sensitive, "it to begin")
    s.stop_button().act()
    s.wait_idle()
    s.set_number("Steps", 4)
    s.set_number("Pictures", 10)


def main():
    with driven(Session(folder=sys.argv[2])) as s:
        s.launch()
        s.set_number("Steps", 4)
        s.set_number("Pictures", 10)
        s.set_prompt("ten of them")
        ten(s)
        first = resident(s)
        print(f"after ten: {first:.1f} MiB", flush=True)
        for i in range(9):
            if i < 8:
                stopped(s, i)
            s.set_prompt(f"ten more, {i}")
            ten(s)
            print(f"after {10 * i + 20}: {resident(s):.1f} MiB", flush=True)
        grown = resident(s) - first
        check(grown < ROOM, f"it has grown by {grown:.1f} MiB")
        s.end()
        print(f"grown by {grown:.1f} MiB in ninety pictures and eight stops; no complaints")
        print("\n".join(line for line in s.program.said().splitlines() if line.startswith("watchdog")))


if __name__ == "__main__":
    main()
