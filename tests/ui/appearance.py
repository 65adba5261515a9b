"""Says which colours the user prefers, as a desktop's portal does (org.freedesktop.portal.Settings), for tests: at first the argument (0 none,
1 dark, 2 light), then what each line of standard input says, until it ends."""
import sys

from gi.repository import Gio, GLib

PATH, NAME, INTERFACE = "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Desktop", "org.freedesktop.portal.Settings"
SPACE, KEY = "org.freedesktop.appearance", "color-scheme"
XML = f"""<node><interface name='{INTERFACE}'>
<method name='Read'><arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='v' direction='out'/></method>
<method name='ReadAll'><arg type='as' direction='in'/><arg type='a{{sa{{sv}}}}' direction='out'/></method>
<signal name='SettingChanged'><arg type='s'/><arg type='s'/><arg type='v'/></signal>
<property name='version' type='u' access='read'/>
</interface></node>"""


def main():
    loop, scheme = GLib.MainLoop(), [int(sys.argv[1])]
    bus = Gio.bus_get_sync(Gio.BusType.SESSION)

    def called(connection, sender, path, interface, method, arguments, invocation):
        value = GLib.Variant("u", scheme[0])
        if method == "ReadAll":
            invocation.return_value(GLib.Variant("(a{sa{sv}})", ({SPACE: {KEY: value}},)))
        elif arguments.unpack() == (SPACE, KEY):
            invocation.return_value(GLib.Variant("(v)", (GLib.Variant("v", value),)))
        else:
            invocation.return_dbus_error("org.freedesktop.portal.Error.NotFound", "no such setting")

    def told(stream, condition):
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        scheme[0] = int(line)
        bus.emit_signal(None, PATH, INTERFACE, "SettingChanged", GLib.Variant("(ssv)", (SPACE, KEY, GLib.Variant("u", scheme[0]))))
        return True
    bus.register_object(PATH, Gio.DBusNodeInfo.new_for_xml(XML).interfaces[0], called, lambda *_: GLib.Variant("u", 1), None)
    Gio.bus_own_name_on_connection(bus, NAME, Gio.BusNameOwnerFlags.NONE, lambda *_: print("there", flush=True), None)
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, told)
    loop.run()


if __name__ == "__main__":
    main()
