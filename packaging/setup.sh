#!/bin/bash
# setup.sh build|check: installs what is missing to build (or also to test) Figment, and nothing when all is there.
# On Debian and its relatives through apt; elsewhere it says what is needed and goes on.
set -u
build=(gcc g++ pkg-config cmake ninja-build gettext libglib2.0-dev libglib2.0-dev-bin libjansson-dev libdnnl-dev libpng-dev
    libsqlite3-dev libstb-dev libgtk-4-dev libadwaita-1-dev libvulkan-dev glslang-tools spirv-tools mesa-vulkan-drivers
    adwaita-icon-theme)
check=(clang-format strace xvfb xauth at-spi2-core dbus dbus-daemon python3 python3-gi gir1.2-atspi-2.0 libxtst6 vulkan-validationlayers
    desktop-file-utils appstream util-linux)

wanted=("${build[@]}")
[ "${1:-build}" = check ] && wanted+=("${check[@]}")

if ! command -v dpkg-query >/dev/null; then
    echo "This is not a Debian system. Figment needs a C compiler, CMake >= 3.25, Ninja, pkg-config, gettext, glslang, and the"
    echo "development files of GLib, jansson, oneDNN, libpng, SQLite, stb, GTK 4.8, libadwaita 1.2 and Vulkan. Trying to build."
    exit 0
fi
missing=()
for package in "${wanted[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

echo "Installing: ${missing[*]}"
as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Please install these packages as root, then run this again: apt-get install ${missing[*]}" >&2
        exit 3
    fi
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
install() { "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/figment-setup.$$ 2>&1; }
"${as_root[@]}" apt-get update -qq >/dev/null 2>&1
if ! install; then
    cat /tmp/figment-setup.$$ >&2
    rm -f /tmp/figment-setup.$$
    echo "The packages above could not be installed; see apt's message." >&2
    exit 3
fi
rm -f /tmp/figment-setup.$$
