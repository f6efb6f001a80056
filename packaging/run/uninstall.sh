#!/bin/sh
# Removes this installation: the files that the installer wrote, and the folders that are empty then.
set -eu
target=$(cd "$(dirname "$0")" && pwd -P)
home=$(dirname "$target")
[ -f "$target/.files" ] || { echo "$0: $target/.files is missing, so nothing is known to be ours" >&2; exit 1; }
while IFS= read -r file; do
  rm -f "$target/$file"
done <"$target/.files"
rm -f "$target/.files" "$target/uninstall.sh"
if [ "$(readlink "$home/latest" 2>/dev/null)" = "$(basename "$target")" ]; then
  # The newest of the other versions takes its place; where there is none, all goes.
  rm -f "$home/latest"
  other=$(find "$home" -mindepth 2 -maxdepth 2 -name uninstall.sh -printf '%h\n' | grep -vxF "$target" | sort -V | tail -n 1)
  if [ -n "$other" ]; then ln -s "$(basename "$other")" "$home/latest"; else rm -f "$home/set_env.sh"; fi
else
  rm -f "$target/set_env.sh"
fi
# Python writes its caches beside what it imports.
find "$target" -type d -name __pycache__ -prune -exec rm -rf {} +
find "$target" -depth -type d -empty -delete
rmdir -p --ignore-fail-on-non-empty "$(dirname "$target")" 2>/dev/null || true
