#!/bin/sh
# Installs what an installer of HMC carries. It runs inside the unpacked archive, beside `product` and `files`.
#
#   ./NAME.run [--install] [--install-path=FOLDER] [--quiet]     installs (into FOLDER instead of the usual place)
#   ./NAME.run --uninstall [--install-path=FOLDER]               removes what --install wrote
#   ./NAME.run --check                                           checks that the file is whole; writes nothing
#
# A former version of the same product stays beside the new one; `latest` leads to the new one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# PRODUCT: its name for people. HOME_FOLDER: where it lies below the path. DEFAULT_PATH, VERSION, VERSIONED (yes or no).
. "$here/product"

say() { [ "$quiet" = yes ] || echo "$*"; }
fail() {
  echo "$PRODUCT: $*" >&2
  exit 1
}

action=install path=$DEFAULT_PATH quiet=no
for word in "$@"; do
  case $word in
  --install) action=install ;;
  --uninstall) action=uninstall ;;
  --quiet) quiet=yes ;;
  --install-path=?*) path=${word#--install-path=} ;;
  --help | -h) sed -n 's/^# \{0,1\}//p' "$0" | sed '/^PRODUCT:/d'; exit 0 ;;
  *) fail "$word is not an option (--install, --install-path=FOLDER, --uninstall, --check, --quiet, --help)" ;;
  esac
done
case $path in
/*) ;;
*) path=${USER_PWD:-$PWD}/$path ;;
esac
home=$path/$HOME_FOLDER
if [ "$VERSIONED" = yes ]; then target=$home/$VERSION; else target=$home; fi

if [ "$action" = uninstall ]; then
  [ -x "$target/uninstall.sh" ] || fail "$target holds no installation of this version"
  exec "$target/uninstall.sh"
fi

[ "$(uname -m)" = "$ARCH" ] || fail "this package is for $ARCH, and this machine is $(uname -m)"
mkdir -p "$target" 2>/dev/null && [ -w "$target" ] ||
  fail "$target cannot be written; run this as root, or choose a folder with --install-path=FOLDER"
[ ! -x "$target/uninstall.sh" ] || "$target/uninstall.sh" >/dev/null

# What is written is listed first, so that an installation that was interrupted can be removed too.
mkdir -p "$target"
(cd "$here/files" && find . ! -type d -printf '%P\n') >"$target/.files"
cp "$here/uninstall.sh" "$target/uninstall.sh"
chmod 755 "$target/uninstall.sh"
(cd "$here/files" && tar -c -f - .) | (cd "$target" && tar -x -f - --no-same-owner)
if [ "$VERSIONED" = yes ]; then
  ln -sfn "$VERSION" "$home/latest"
  cp "$here/set_env.sh" "$home/set_env.sh"
else
  cp "$here/set_env.sh" "$target/set_env.sh"
fi
if ! ldconfig -p 2>/dev/null | grep -q 'libssl\.so\.3'; then
  echo "$PRODUCT: OpenSSL 3 (libssl.so.3) was not found; install it before programs start (Debian: libssl3)" >&2
fi
say "$PRODUCT $VERSION is in $target; next: source $home/set_env.sh"
