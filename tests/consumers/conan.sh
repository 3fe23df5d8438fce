#!/bin/sh
# conan.sh <project> <scratch>: the recipe makes both kinds of package, and somebody's project is built with each. 77:
# there is no Conan to be had, or nobody has asked for it: it builds everything twice.
set -eu
unset MAKEFLAGS MFLAGS CARGO_TARGET_DIR
rm -rf "$2"
mkdir -p "$2"
if [ -z "${CI:-}" ] || ! { python3 -m venv "$2/venv" && "$2/venv/bin/pip" install -q conan; } >"$2/log" 2>&1; then
    echo "skipped: it is tried where CI is set and Conan can be had"
    exit 77
fi
export CONAN_HOME="$2/home" PATH="$2/venv/bin:$PATH"
export CARGO_TARGET_DIR="$2/target" # one for both
cp -r "$1/tests/consumers" "$2" # Conan builds beside the project
conan profile detect >>"$2/log" 2>&1
for shared in True False; do
    conan create "$1" --test-folder "$2/consumers/conan" -o "eddy/*:shared=$shared" >>"$2/log" 2>&1 ||
        { tail -n 50 "$2/log"; exit 1; }
done
rm -rf "$2"
