# install.sh <cmake> <build> <scratch>: install, stage for a package, and then move the tree, which must not matter.
set -eu
rm -rf "$3"
"$1" --install "$2" --prefix "$3/installed"
DESTDIR="$3/package" "$1" --install "$2" --prefix /opt/eddy >/dev/null
diff -r "$3/installed" "$3/package/opt/eddy"
mv "$3/installed" "$3/moved"
