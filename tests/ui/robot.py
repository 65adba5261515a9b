"""Drives the real program as an assistive technology does: a screen (Xvfb), a session bus and XDG folders of its own,
widgets found through AT-SPI by role and name, keys and clicks sent to the X server. Nothing here sleeps to let
something happen: wait() looks again and again until a condition holds, and says what it waited for when it never does.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib

PATIENCE = float(os.environ.get("FIGMENT_TEST_PATIENCE", "120"))  # seconds; a loaded machine under a sanitizer is slow
ATSPI = None


class Failed(Exception):
    pass


def wait(condition, what, patience=None, every=0.03):
    """The first true value of condition(); Failed with `what` when the time is over."""
    end = time.monotonic() + (patience or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed("waited in vain for " + what)
        time.sleep(every)


def check(ok, what):
    if not ok:
        raise Failed(what)


# ---- the desktop ----


class Desktop:
    """A screen and a bus. Everything lies below `folder`, which is made anew."""

    def __init__(self, folder, width=1280, height=800):
        self.folder = os.path.abspath(folder)
        self.width, self.height = width, height
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("home", "data", "config", "cache", "run", "screen", "shots"):
            os.makedirs(self.path(name), 0o700)
        self.children = []
        read, write = os.pipe()
        self.start(["Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-fbdir",
                    self.path("screen"), "-nolisten", "tcp", "-noreset", "-dpi", "96"], "xvfb.log", write)
        os.environ["DISPLAY"] = ":" + read_line(read)
        for name in ("WAYLAND_DISPLAY", "XAUTHORITY", "AT_SPI_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
            os.environ.pop(name, None)
        os.environ.update(HOME=self.path("home"), XDG_DATA_HOME=self.path("data"),
                          XDG_CONFIG_HOME=self.path("config"), XDG_CACHE_HOME=self.path("cache"),
                          XDG_RUNTIME_DIR=self.path("run"), GDK_BACKEND="x11", GSK_RENDERER="cairo",
                          GSETTINGS_BACKEND="memory", GIO_USE_VFS="local", GTK_A11Y="atspi", NO_AT_BRIDGE="0",
                          LC_ALL="C.UTF-8", GTK_USE_PORTAL="0")
        read, write = os.pipe()
        self.start(["dbus-daemon", "--session", "--nofork", f"--print-address={write}"], "dbus.log", write)
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = read_line(read)
        global ATSPI
        import gi
        gi.require_version("Atspi", "2.0")
        from gi.repository import Atspi
        ATSPI = Atspi
        Atspi.init()
        Atspi.set_timeout(60000, 120000)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self, command, log, keep):
        out = open(self.path(log), "wb")
        self.children.append(subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                              pass_fds=[keep]))
        os.close(keep)

    def close(self):
        for child in reversed(self.children):
            child.terminate()
            child.wait()

    def screen(self):
        """The screen's pixels: width, height, bytes a line, BGRX bytes."""
        with open(self.path("screen", "Xvfb_screen0"), "rb") as file:
            data = file.read()
        header, = struct.unpack(">I", data[:4])
        fields = struct.unpack(">25I", data[:100])
        width, height, stride, colors = fields[4], fields[5], fields[12], fields[19]
        return width, height, stride, data[header + colors * 12:]

    def crop(self, box):
        """Checksum of what is seen in a box (x, y, width, height)."""
        width, height, stride, pixels = self.screen()
        x, y, w, h = box
        x, y, w, h = max(x, 0), max(y, 0), min(w, width - max(x, 0)), min(h, height - max(y, 0))
        return zlib.crc32(b"".join(pixels[(y + i) * stride + x * 4:(y + i) * stride + (x + w) * 4] for i in range(h)))

    def shot(self, name):
        width, height, stride, pixels = self.screen()
        lines = []
        for y in range(height):
            line = pixels[y * stride:y * stride + width * 4]
            rgb = bytearray(width * 3)
            rgb[0::3], rgb[1::3], rgb[2::3] = line[2::4], line[1::4], line[0::4]
            lines.append(b"\0" + rgb)

        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        path = self.path("shots", name + ".png")
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                       chunk(b"IDAT", zlib.compress(b"".join(lines), 6)) + chunk(b"IEND", b""))
        return path


def read_line(fd):
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(fd, 256)
        if not piece:
            raise Failed("a server did not start")
        text += piece
    os.close(fd)
    return text.decode().strip()


# ---- widgets ----


class Widget:
    """One accessible. Calls on one that is gone give nothing instead of an exception."""

    def __init__(self, it):
        self.it = it

    def _try(self, call, default=None):
        try:
            return call()
        except Exception:  # GLib.Error: the widget went while we looked
            return default

    @property
    def name(self):
        return self._try(lambda: self.it.get_name(), "") or ""

    @property
    def description(self):
        return self._try(lambda: self.it.get_description(), "") or ""

    @property
    def role(self):
        return self._try(lambda: self.it.get_role_name(), "") or ""

    @property
    def text(self):
        return self._try(lambda: ATSPI.Text.get_text(self.it.get_text_iface(), 0, -1), "") or ""

    @property
    def value(self):
        return self._try(lambda: self.it.get_value_iface().get_current_value())

    def state(self, name):
        kind = getattr(ATSPI.StateType, name)
        return bool(self._try(lambda: self.it.get_state_set().contains(kind), False))

    @property
    def showing(self):
        """GTK 4.8 says SHOWING of windows only; what is not laid out has no size."""
        return self.state("SHOWING") or (self.state("VISIBLE") and min(self.box[2:]) > 0)

    @property
    def sensitive(self):
        return self.state("SENSITIVE")

    def children(self):
        n = self._try(lambda: self.it.get_child_count(), 0)
        for i in range(n):
            child = self._try(lambda: self.it.get_child_at_index(i))
            if child:
                yield Widget(child)

    def walk(self, showing=False):
        """All below; with `showing` not what lies in containers that are not laid out, which saves most of the time."""
        yield self
        for child in self.children():
            if showing and child._try(child.it.get_child_count, 0):
                e = child.extents()  # some containers have none, as the pages of a stack
                if e and min(e.width, e.height) <= 0:
                    continue
            yield from child.walk(showing)

    def parent(self):
        return Widget(self.it.get_parent())

    def each(self, role=None, name=None, showing=True):
        """role and name are regular expressions for the whole text."""
        for w in self.walk(showing):
            if role and not re.fullmatch(role, w.role):
                continue
            if name and not re.fullmatch(name, w.name, re.S):
                continue
            if showing and not w.showing:
                continue
            yield w

    def all(self, role=None, name=None, showing=True):
        return list(self.each(role, name, showing))

    def one(self, role=None, name=None, patience=None, sensitive=False):
        def look():
            return next((w for w in self.each(role, name) if not sensitive or w.sensitive), None)
        return wait(look, f"a {role or 'widget'} named {name!r}", patience)

    def extents(self):
        return self._try(lambda: self.it.get_component_iface().get_extents(ATSPI.CoordType.WINDOW))

    @property
    def box(self):
        e = self.extents()
        return (e.x, e.y, e.width, e.height) if e else (0, 0, 0, 0)

    def act(self, index=0):
        check(self._try(lambda: self.it.get_action_iface().do_action(index), False), f"no action on {self}")

    def focus(self):
        self._try(lambda: self.it.get_component_iface().grab_focus())

    def set_text(self, text):
        check(self._try(lambda: self.it.get_editable_text_iface().set_text_contents(text), False),
              f"{self} takes no text")

    def set_value(self, value):
        check(self._try(lambda: self.it.get_value_iface().set_current_value(value), False), f"{self} takes no value")

    def __str__(self):
        return f"{self.role} “{self.name}”"

    def dump(self, depth=0, out=sys.stdout, showing=True):
        if showing and depth > 1 and not self.showing:
            return
        text = self.text
        actions = self._try(lambda: self.it.get_action_iface().get_n_actions(), 0) or 0
        flags = "".join(letter for letter, state in (("s", "SENSITIVE"), ("f", "FOCUSABLE"), ("F", "FOCUSED"),
                                                     ("v", "SHOWING"), ("c", "CHECKED"), ("p", "PRESSED"))
                        if self.state(state))
        print("  " * depth + f"{self} [{flags}]" + (f" {actions} actions" if actions else "") +
              (f" text={text!r}" if text else "") + (f" value={self.value}" if self.value is not None else "") +
              (f" ({self.description})" if self.description else ""), self.box, file=out)
        for child in self.children():
            child.dump(depth + 1, out, showing)


class Keyboard:
    """Real key presses and clicks, through the X server's test extension (libXtst is there where AT-SPI is)."""

    def __init__(self):
        import ctypes
        self.c = ctypes
        self.x11, self.xtst = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
        self.x11.XOpenDisplay.restype = ctypes.c_void_p
        self.x11.XStringToKeysym.restype = ctypes.c_ulong
        self.x11.XDefaultRootWindow.restype = ctypes.c_ulong
        self.x11.XCreateSimpleWindow.restype = ctypes.c_ulong
        self.x11.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
        self.x11.XKeysymToKeycode.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
        self.x11.XKeysymToKeycode.restype = ctypes.c_ubyte
        self.x11.XSetInputFocus.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_ulong]
        self.x11.XSync.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self.xtst.XTestFakeKeyEvent.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_ulong]
        self.xtst.XTestFakeButtonEvent.argtypes = self.xtst.XTestFakeKeyEvent.argtypes
        self.xtst.XTestFakeMotionEvent.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                                                   ctypes.c_ulong]
        self.display = self.x11.XOpenDisplay(None)
        # A window may go while it is looked at: its attributes stay zero then.
        self.ignore = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda display, error: 0)
        self.x11.XSetErrorHandler(self.ignore)

    def windows(self, least=(100, 60)):
        """Top-level windows that are to be seen, the topmost last; smaller ones than that are none."""
        c = self.c
        root, parent, children, n = c.c_ulong(), c.c_ulong(), c.POINTER(c.c_ulong)(), c.c_uint()
        self.x11.XQueryTree(c.c_void_p(self.display), c.c_ulong(self.x11.XDefaultRootWindow(self.display)),
                            c.byref(root), c.byref(parent), c.byref(children), c.byref(n))
        found = []
        for i in range(n.value):
            a = (c.c_ubyte * 256)()
            self.x11.XGetWindowAttributes(c.c_void_p(self.display), c.c_ulong(children[i]), a)
            x, y, w, h = struct.unpack_from("4i", a, 0)
            state, = struct.unpack_from("i", a, 92)  # map_state
            if state == 2 and w > least[0] and h > least[1]:
                found.append((children[i], (x, y, w, h)))
        return found

    def focus_top(self):
        """What a window manager would do: the topmost window gets the keys."""
        windows = wait(self.windows, "a window on the screen")
        self.x11.XSetInputFocus(self.display, windows[-1][0], 1, 0)
        self.x11.XSync(self.display, 0)
        return windows[-1][1]

    def focus_another(self):
        """As when another program comes to the front: a window of our own, in a corner."""
        c = self.c
        window = self.x11.XCreateSimpleWindow(c.c_void_p(self.display), c.c_ulong(self.x11.XDefaultRootWindow(self.display)), 0, 0, 8, 8,
                                              0, c.c_ulong(0), c.c_ulong(0))
        self.x11.XMapWindow(c.c_void_p(self.display), c.c_ulong(window))
        self.x11.XSync(self.display, 0)
        self.x11.XSetInputFocus(self.display, window, 1, 0)
        self.x11.XSync(self.display, 0)

    def press(self, *names):
        """press("Control_L", "Return"): all down, then all up."""
        codes = [self.x11.XKeysymToKeycode(self.display, self.x11.XStringToKeysym(n.encode())) for n in names]
        check(all(codes), f"no key for {names}")
        for code in codes:
            self.xtst.XTestFakeKeyEvent(self.display, code, 1, 0)
        for code in reversed(codes):
            self.xtst.XTestFakeKeyEvent(self.display, code, 0, 0)
        self.x11.XSync(self.display, 0)

    def type(self, text):
        """Lower-case letters, digits, spaces, commas."""
        for letter in text:
            self.press({" ": "space", ",": "comma", "-": "minus", "/": "slash", ".": "period"}.get(letter, letter))

    def click(self, x, y, button=1, holding=None):
        code = holding and self.x11.XKeysymToKeycode(self.display, self.x11.XStringToKeysym(holding.encode()))
        if code:
            self.xtst.XTestFakeKeyEvent(self.display, code, 1, 0)
        self.xtst.XTestFakeMotionEvent(self.display, -1, int(x), int(y), 0)
        self.xtst.XTestFakeButtonEvent(self.display, button, 1, 0)
        self.xtst.XTestFakeButtonEvent(self.display, button, 0, 0)
        if code:
            self.xtst.XTestFakeKeyEvent(self.display, code, 0, 0)
        self.x11.XSync(self.display, 0)

    def drag(self, from_x, from_y, to_x, to_y, on_the_way=lambda: True):
        """With the left button, in small steps as a hand does it; it lets go when on_the_way() is content, moving on until then."""
        self.move(from_x, from_y)
        self.hold(True)
        for i in range(1, 11):
            self.move(from_x + (to_x - from_x) * i / 10, from_y + (to_y - from_y) * i / 10)
            on_the_way()
        wait(lambda: on_the_way() or self.move(to_x + int(time.monotonic() * 50) % 2, to_y), "what is dragged to be wanted")
        self.hold(False)

    def move(self, x, y):
        self.xtst.XTestFakeMotionEvent(self.display, -1, int(x), int(y), 0)
        self.x11.XSync(self.display, 0)

    def hold(self, down):
        self.xtst.XTestFakeButtonEvent(self.display, 1, int(down), 0)
        self.x11.XSync(self.display, 0)


# ---- the program ----

COMPLAINT = re.compile(r"CRITICAL|WARNING|ERROR: |runtime error|\*\* \(|assertion")
# What the toolkit leaves behind where LeakSanitizer sees no caller: GLib's table of quarks, which it gives up for a larger one after 2,048
# (a reader may still look at it), and two strings of libcloudproviders, which GTK's file chooser asks for folders.
LEAK = re.compile(r"(?:Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\) allocated from:\n((?:    #.*\n)+)")
LEFT_BEHIND = {("16384", "1"): "g_malloc", ("256", "2"): "g_realloc", ("128", "1"): "g_realloc"}
# What a bare test machine lacks, not what the program does.
EXCUSED = re.compile(r"Unable to acquire session bus|dconf|Vulkan|No IM module|accessibility bus")


class Program:
    def __init__(self, desktop, binary, *arguments, environment=None, number=[0]):
        number[0] += 1
        self.desktop = desktop
        self.log = desktop.path(f"figment-{number[0]}.log")
        env = dict(os.environ, **(environment or {}))
        self.begun = time.monotonic()
        self.process = subprocess.Popen([binary, *arguments], stdout=open(self.log, "wb"), stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, env=env)
        self.root = wait(self._application, "the program on the accessibility bus")
        self.window = self.root.one("frame|window|filler", None)

    def _application(self):
        check(self.process.poll() is None, f"the program ended at once ({self.process.returncode}): {self.said()}")
        desktop = ATSPI.get_desktop(0)
        for i in range(desktop.get_child_count()):
            app = desktop.get_child_at_index(i)
            try:
                if app and app.get_process_id() == self.process.pid and app.get_child_count() > 0:
                    app.set_cache_mask(ATSPI.Cache.NONE)  # what is true now, not what was true when first asked
                    return Widget(app)
            except Exception:
                pass
        return None

    def said(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def complaints(self):
        lines = [line for line in self.said().splitlines() if COMPLAINT.search(line) and not EXCUSED.search(line)]
        return [line for line in lines if "LeakSanitizer" not in line or self.leaks()]

    def leaks(self):
        """What was never freed, but for what the toolkit is known to leave."""
        def known(size, number, frames):
            names = re.findall(r" in (\w+)", frames)
            return len(names) == 2 and names[1] == LEFT_BEHIND.get((size, number))
        return [leak for leak in LEAK.findall(self.said()) if not known(*leak)]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Asks it to end as a logout does; its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(PATIENCE)
            return 0 if status and "LeakSanitizer" in self.said() and not self.leaks() else status
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed("the program did not end when it was asked to")
