# pkg-config.sh <C|CXX|CXX20> <shared|static> <scratch> <compiler> <libdir>: the compile line of the README, and run it.
# Shows b06 b11.
set -eu
language=$1 kind=$2 scratch=$3 compiler=$4 libdir=$5
tree=$scratch/$language-$kind
rm -rf "$tree"
cp -a "$scratch/moved" "$tree"
export PKG_CONFIG_PATH="$tree/$libdir/pkgconfig" LD_LIBRARY_PATH="$tree/$libdir"

static=
if [ "$kind" = static ]; then
    static=--static
    rm "$tree/$libdir"/libeddy.so*
fi
as_is=
source=consumer.c
if [ "$language" = CXX ]; then as_is="-x c++"; fi
if [ "$language" = CXX20 ]; then as_is="-std=c++20" source=consumer.cpp; fi
program=$tree/consumer
here=$(dirname "$0")
set -x
# shellcheck disable=SC2046,SC2086 # words are meant
"$compiler" -Wall -Wextra -Werror $as_is "$here/$source" -x none -o "$program" \
    $(pkg-config $static --cflags --libs eddy)
"$program"
if [ "$kind" = static ] && nm --version >/dev/null 2>&1; then
    # Whoever shows all that a program has, for plugins, does not show Rust's own things.
    # shellcheck disable=SC2046,SC2086
    "$compiler" $as_is "$here/$source" -x none -rdynamic -o "$program-rdynamic" \
        $(pkg-config $static --cflags --libs eddy)
    "$program-rdynamic"
    nm -D --defined-only "$program-rdynamic" >"$program.names"
    if grep -E ' (_R|_ZN.*17h[0-9a-f]{16}E|rust_|__rust)' "$program.names"; then exit 1; fi
fi
[ "$(pkg-config --modversion eddy)" = "$(sed -n 's/^Version: //p' "$tree/$libdir/pkgconfig/eddy.pc")" ]
