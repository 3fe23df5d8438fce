#!/bin/sh
# neighbour.sh <cc> <rustc> <include> <libeddy.so> <libeddy.a> <scratch> [native libraries]...: eddy and another library in
# Rust in one process, each of them shared or static. (Of two static ones rustc promises nothing, as both have the whole
# of the standard library in them; they can be linked if the same rustc made them, in either order.)
# Shows b05.
set -eu
cc=$1 rustc=$2 include=$3 shared=$4 static=$5 scratch=$6
shift 6
here=$(dirname "$0")
rm -rf "$scratch"
mkdir -p "$scratch"
for kind in cdylib staticlib; do
    "$rustc" --edition 2021 -O -C panic=unwind --crate-name neighbour --crate-type $kind --out-dir "$scratch" \
        "$here/neighbour.rs"
done
build() { name=$1; shift; "$cc" -g -I"$include" "$here/neighbour.c" "$@" -o "$scratch/$name"; "$scratch/$name"; }
rpath="-Wl,-rpath,$scratch -Wl,-rpath,$(dirname "$shared")"
# shellcheck disable=SC2086 # words are meant
build both_shared "$shared" "$scratch/libneighbour.so" $rpath
# shellcheck disable=SC2086
build eddy_shared "$shared" "$scratch/libneighbour.a" $rpath "$@"
# shellcheck disable=SC2086
build eddy_static "$static" "$scratch/libneighbour.so" $rpath "$@"
# shellcheck disable=SC2086
build both_static "$static" "$scratch/libneighbour.a" "$@"
# shellcheck disable=SC2086
build both_static_eddy_last "$scratch/libneighbour.a" "$static" "$@"
