"""Shows notifications as a desktop does (org.freedesktop.Notifications), for tests: each is written to standard output as a line of
JSON, and a line on standard input presses one: its number. Until the input ends."""
import json
import sys

import gi
from gi.repository import Gio, GLib

INTERFACE = """<node><interface name='org.freedesktop.Notifications'>
<method name='Notify'><arg type='s' direction='in'/><arg type='u' direction='in'/><arg type='s' direction='in'/>
<arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='as' direction='in'/><arg type='a{sv}' direction='in'/>
<arg type='i' direction='in'/><arg type='u' direction='out'/></method>
<method name='CloseNotification'><arg type='u' direction='in'/></method>
<method name='GetCapabilities'><arg type='as' direction='out'/></method>
<signal name='ActionInvoked'><arg type='u'/><arg type='s'/></signal>
</interface></node>"""
PATH, NAME = "/org/freedesktop/Notifications", "org.freedesktop.Notifications"


def main():
    loop, number = GLib.MainLoop(), [0]
    bus = Gio.bus_get_sync(Gio.BusType.SESSION)

    def called(connection, sender, path, interface, method, arguments, invocation):
        if method == "Notify":
            number[0] += 1
            name, _, _, title, body, actions, hints, _ = arguments.unpack()
            print(json.dumps({"number": number[0], "title": title, "body": body, "actions": actions,
                              "desktop": hints.get("desktop-entry")}), flush=True)
            invocation.return_value(GLib.Variant("(u)", (number[0],)))
        elif method == "GetCapabilities":
            invocation.return_value(GLib.Variant("(as)", (["actions", "body"],)))
        else:
            invocation.return_value(None)

    def pressed(stream, condition):
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        bus.emit_signal(None, PATH, NAME, "ActionInvoked", GLib.Variant("(us)", (int(line), "default")))
        return True
    bus.register_object(PATH, Gio.DBusNodeInfo.new_for_xml(INTERFACE).interfaces[0], called, None, None)
    Gio.bus_own_name_on_connection(bus, NAME, Gio.BusNameOwnerFlags.NONE,
                                   lambda *_: print(json.dumps({"number": 0}), flush=True), None)
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, pressed)
    loop.run()


if __name__ == "__main__":
    main()
