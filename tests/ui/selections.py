"""What the X server passes between programs: the clipboard is read, files are dragged onto a window, and taken from one that is
dragged from (the XDND protocol, as a file manager speaks it). Straight through libX11, which is there where AT-SPI is."""
import ctypes
import struct

from robot import check, wait

CLIENT_MESSAGE, SELECTION_REQUEST, SELECTION_NOTIFY = 33, 30, 31
VERSION = 5  # of XDND
# Where the fields of an XEvent lie on a 64-bit machine, in bytes.
KIND, WINDOW, FIRST = 0, 32, 56


class Selections:
    def __init__(self):
        self.x = ctypes.CDLL("libX11.so.6")
        for name in ("XOpenDisplay", "XInternAtom", "XDefaultRootWindow", "XCreateSimpleWindow", "XGetAtomName"):
            getattr(self.x, name).restype = ctypes.c_void_p
        self.display = ctypes.c_void_p(self.x.XOpenDisplay(None))
        root = self.x.XDefaultRootWindow(self.display)
        self.window = self.x.XCreateSimpleWindow(self.display, ctypes.c_ulong(root), 0, 0, 1, 1, 0, ctypes.c_ulong(0), ctypes.c_ulong(0))

    def atom(self, name):
        return self.x.XInternAtom(self.display, name.encode(), 0)

    def events(self):
        """What has arrived, as bytes."""
        self.x.XSync(self.display, 0)
        for _ in range(self.x.XPending(self.display)):
            event = ctypes.create_string_buffer(192)
            self.x.XNextEvent(self.display, event)
            yield event

    def property(self, name):
        """A property of our window, and it is gone then."""
        kind, form = ctypes.c_ulong(), ctypes.c_int()
        length, rest, data = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_void_p()
        self.x.XGetWindowProperty(self.display, ctypes.c_ulong(self.window), ctypes.c_ulong(self.atom(name)), ctypes.c_long(0),
                                  ctypes.c_long(1 << 24), 1, ctypes.c_ulong(0), ctypes.byref(kind), ctypes.byref(form),
                                  ctypes.byref(length), ctypes.byref(rest), ctypes.byref(data))
        size = {8: 1, 16: 2, 32: 8}.get(form.value, 0)  # Xlib's 32 bits are longs
        value = ctypes.string_at(data, length.value * size) if data else b""
        return kind.value, value

    def read(self, target, selection="CLIPBOARD"):
        """The clipboard in a format, as bytes; b"" when nobody offers it."""
        self.x.XConvertSelection(self.display, ctypes.c_ulong(self.atom(selection)), ctypes.c_ulong(self.atom(target)),
                                 ctypes.c_ulong(self.atom("FIGMENT_TEST")), ctypes.c_ulong(self.window), ctypes.c_ulong(0))

        def answered():
            return next((e for e in self.events() if struct.unpack_from("i", e, KIND)[0] == SELECTION_NOTIFY), None)
        event = wait(answered, "an answer about the clipboard")
        if not struct.unpack_from("L", event, 56)[0]:
            return b""
        kind, value = self.property("FIGMENT_TEST")
        check(kind != self.atom("INCR"), "the clipboard's contents come in pieces, which this reader does not know")
        return value

    def formats(self, selection="CLIPBOARD"):
        atoms = self.read("TARGETS", selection)
        return [ctypes.string_at(self.x.XGetAtomName(self.display, ctypes.c_ulong(atom))).decode()
                for atom, in struct.iter_unpack("L", atoms)]

    # ---- a drag onto another window ----

    def tell(self, target, kind, *longs):
        event = ctypes.create_string_buffer(192)
        struct.pack_into("i", event, KIND, CLIENT_MESSAGE)
        struct.pack_into("LLi", event, WINDOW, target, self.atom(kind), 32)
        struct.pack_into("5l", event, FIRST, self.window, *(longs + (0,) * (4 - len(longs))))
        self.x.XSendEvent(self.display, ctypes.c_ulong(target), 0, ctypes.c_long(0), event)
        self.x.XSync(self.display, 0)

    def answer(self, event, text):
        """Somebody wants what is dragged."""
        requestor, selection, target, where, time = struct.unpack_from("5L", event, 40)
        self.x.XChangeProperty(self.display, ctypes.c_ulong(requestor), ctypes.c_ulong(where), ctypes.c_ulong(target), 8, 0, text, len(text))
        reply = ctypes.create_string_buffer(192)
        struct.pack_into("i", reply, KIND, SELECTION_NOTIFY)
        struct.pack_into("5L", reply, WINDOW, requestor, selection, target, where, time)
        self.x.XSendEvent(self.display, ctypes.c_ulong(requestor), 0, ctypes.c_long(0), reply)

    def drag(self, uris, target, x, y):
        """Files over a window, to a point of the screen, and let go. Was it taken?"""
        text = "".join(uri + "\r\n" for uri in uris).encode()
        self.x.XSetSelectionOwner(self.display, ctypes.c_ulong(self.atom("XdndSelection")), ctypes.c_ulong(self.window), ctypes.c_ulong(0))
        self.tell(target, "XdndEnter", VERSION << 24, self.atom("text/uri-list"))
        said = {}

        def look():
            for event in self.events():
                kind, = struct.unpack_from("i", event, KIND)
                if kind == SELECTION_REQUEST:
                    self.answer(event, text)
                elif kind == CLIENT_MESSAGE:
                    said[struct.unpack_from("L", event, 40)[0]] = struct.unpack_from("5l", event, FIRST)[1] & 1

        def accepted():  # a pointer that moves on, until somebody wants it
            self.tell(target, "XdndPosition", 0, x << 16 | y, 0, self.atom("XdndActionCopy"))
            look()
            return said.get(self.atom("XdndStatus"))
        wait(accepted, "the window to want what is dragged over it")
        self.tell(target, "XdndDrop", 0, 0)

        def finished():
            look()
            return self.atom("XdndFinished") in said
        wait(finished, "the drop to end")
        return said[self.atom("XdndFinished")]

    # ---- a drag onto ours ----

    def stand(self, x, y, width, height):
        """Our window on top of the others, where something can be let go."""
        values = ctypes.create_string_buffer(112)
        struct.pack_into("i", values, 88, 1)  # override_redirect: no window manager moves it
        self.x.XChangeWindowAttributes(self.display, ctypes.c_ulong(self.window), ctypes.c_ulong(1 << 9), values)
        self.x.XMoveResizeWindow(self.display, ctypes.c_ulong(self.window), x, y, width, height)
        self.x.XChangeProperty(self.display, ctypes.c_ulong(self.window), ctypes.c_ulong(self.atom("XdndAware")), ctypes.c_ulong(4), 32, 0,
                               struct.pack("L", VERSION), 1)
        self.x.XMapRaised(self.display, ctypes.c_ulong(self.window))
        self.x.XSync(self.display, 0)
        self.source, self.dropped = None, False

    def wanted(self):
        """Answers the one who drags; has it come over our window?"""
        for event in self.events():
            kind, = struct.unpack_from("i", event, KIND)
            if kind != CLIENT_MESSAGE:
                continue
            name = struct.unpack_from("L", event, 40)[0]
            if name == self.atom("XdndPosition"):
                self.source = struct.unpack_from("5l", event, FIRST)[0]
                self.tell(self.source, "XdndStatus", 1, 0, 0, self.atom("XdndActionCopy"))
            elif name == self.atom("XdndDrop"):
                self.dropped = True
        return self.source is not None

    def take(self, target):
        """What was let go, in a format."""
        wait(lambda: self.wanted() and self.dropped, "the drop")
        value = self.read(target, "XdndSelection")
        self.tell(self.source, "XdndFinished", 1, self.atom("XdndActionCopy"))
        self.x.XUnmapWindow(self.display, ctypes.c_ulong(self.window))
        self.x.XSync(self.display, 0)
        return value
