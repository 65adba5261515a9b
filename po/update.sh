#!/bin/bash
# Collects the strings of the window and of what it shows from the layers below, and brings the template and every translation up to date.
# update.sh --template FILE: only writes the template there.
set -eu
cd "$(dirname "$0")/.."
template=po/figment.pot
[ "${1:-}" = --template ] && template=$2

folders="clip compute engine scheduler ui unet vae weights"
flags="--from-code=UTF-8 --add-comments=Translators --package-name=figment --no-wrap --sort-by-file --add-location=file"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086
find $folders -name '*.c' -o -name '*.h' | LC_ALL=C sort | xgettext $flags --language=C --keyword=_ --keyword=N_ --keyword=g_dngettext:2,3 \
    --flag=g_dngettext:2:pass-c-format --output="$work/pot" --files-from=- app/application.c
# shellcheck disable=SC2086
xgettext $flags --language=Glade --join-existing --output="$work/pot" ui/*.ui 2> >(grep -v "fallback ITS" >&2)
sed -e '/^"POT-Creation-Date/d' "$work/pot" >"$template"
[ $# = 0 ] || exit 0

for language in $(cat po/LINGUAS); do
    if [ -f "po/$language.po" ]; then
        msgmerge --quiet --update --backup=none --no-wrap --sort-by-file --add-location=file --no-fuzzy-matching "po/$language.po" "$template"
    else
        msginit --no-translator --locale="$language" --input="$template" --output="po/$language.po"
    fi
done
