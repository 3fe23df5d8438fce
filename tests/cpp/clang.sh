# clang.sh <clang++> <source> <include> <library> <program> <flags>...: compile with clang and sanitizers, and run.
# (Clang 14 cannot look at functions' types in coroutines.)
set -eu
compiler=$1 source=$2 include=$3 library=$4 program=$5
shift 5
"$compiler" -std=c++20 "$@" -fsanitize=address,undefined -fno-sanitize=function -fno-sanitize-recover=all \
    "-I$include" "$source" "$library" "-Wl,-rpath,$(dirname "$library")" -pthread -o "$program"
exec "$program"
