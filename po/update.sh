#!/bin/bash
# Collects the strings of the window and brings every translation up to date.
set -eu
cd "$(dirname "$0")/.."
template=$(mktemp)
trap 'rm -f "$template" "$template.ui"' EXIT
xgettext --from-code=UTF-8 --add-comments --keyword=_ --keyword=N_ --keyword=g_dngettext:2,3 --package-name=figment \
    --language=C --output="$template" ui/*.c app/application.c
xgettext --from-code=UTF-8 --language=Glade --join-existing --output="$template" ui/*.ui
for language in $(cat po/LINGUAS); do
    if [ -f "po/$language.po" ]; then
        msgmerge --quiet --update --backup=none --no-wrap "po/$language.po" "$template"
    else
        msginit --no-translator --locale="$language" --input="$template" --output="po/$language.po"
    fi
done
