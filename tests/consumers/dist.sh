#!/bin/sh
# dist.sh <project> <scratch>: the source tarball is made, and built without a network, where that can be taken away.
# 77: the crates to put into it cannot be had.
set -eu
unset MAKEFLAGS MFLAGS CARGO_TARGET_DIR
rm -rf "$2"
mkdir -p "$2"
if ! "$1/tools/dist"; then
    echo "skipped: no registry to fetch the crates from"
    exit 77
fi
tar -xf "$1"/build/dist/libeddy-*.tar.xz -C "$2"
cd "$2"/libeddy-*
alone=
if unshare -n true 2>/dev/null; then alone="unshare -n"; fi
CARGO_HOME=$2/home $alone cargo build --quiet --offline --locked --lib
cc -Wall -Wextra -Werror -Iinclude tests/consumers/consumer.c -o consumer target/debug/libeddy.a -pthread -ldl -lm
./consumer
git -c safe.directory='*' -C "$1" diff --quiet HEAD -- include || exit 0
cmp include/eddy.h "$1/include/eddy.h"
rm -rf "$2"
