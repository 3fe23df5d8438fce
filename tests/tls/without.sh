#!/bin/sh
# without.sh <cargo> <cmake> <project> <build>: a library without the feature `tls`, and what its functions say.
set -eu
unset MAKEFLAGS MFLAGS
"$1" build --quiet --lib --no-default-features --manifest-path "$3/Cargo.toml" --target-dir "$4/without-tls"
"$2" --build "$4" --target without_tls >"$4/without-tls/build.log" || { cat "$4/without-tls/build.log"; exit 1; }
exec "$4/tests/without_tls"
