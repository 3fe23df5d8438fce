#!/bin/sh
# deny.sh <cargo-deny> [--fetch]: what comes with the library has licences that ask for no more than their texts, comes from
# the registry, and once; and nothing is known against it, as far as the data base of advisories is on this machine:
# --fetch tries to get it.
set -eu
cd "$(dirname "$0")/.."
"$1" --locked check --hide-inclusion-graph licenses bans sources
if [ "${2:-}" = --fetch ]; then "$1" fetch db 2>/dev/null || true; fi
if ls -d "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/.git >/dev/null 2>&1; then
    "$1" --locked check --disable-fetch advisories
else
    echo "advisories: skipped, their data base (github.com/RustSec/advisory-db) is not on this machine"
fi
