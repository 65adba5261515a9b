#!/bin/bash
# Arrows point down: greps every #include "folder/..." against the table of docs/ARCHITECTURE.md.
cd "$1" || exit 2
declare -A allowed=(
    [compute]="compute"
    [weights]="weights compute"
    [clip]="clip weights compute"
    [unet]="unet weights compute"
    [vae]="vae weights compute"
    [scheduler]="scheduler"
    [engine]="engine clip unet vae weights compute scheduler"
    [ui]="ui engine scheduler"
    [app]="app ui engine clip unet vae weights compute scheduler"
)
failed=0
for folder in "${!allowed[@]}"; do
    [ -d "$folder" ] || continue
    while IFS=: read -r file line include; do
        target=$(sed 's/.*"\([a-z_]*\)\/.*/\1/' <<<"$include")
        case " ${allowed[$folder]} " in
        *" $target "*) ;;
        *) echo "$file:$line: $folder may not include $target ($include)"; failed=1 ;;
        esac
    done < <(grep -rnE '^ *# *include "[a-z_]+/' "$folder" --include='*.c' --include='*.h')
done
# Only the bridge knows both the toolkit and the engine; the engine knows no toolkit; the window no Vulkan.
bad=$(grep -lE 'include <(gtk|adwaita)' -r engine clip unet vae weights compute scheduler 2>/dev/null)
[ -z "$bad" ] || { echo "a toolkit below ui/: $bad"; failed=1; }
bad=$(grep -lE 'vulkan' -r ui --include='*.h' 2>/dev/null)
[ -z "$bad" ] || { echo "Vulkan in the window: $bad"; failed=1; }
[ "$failed" = 0 ] && echo "1 passed, 0 failed"
exit "$failed"
