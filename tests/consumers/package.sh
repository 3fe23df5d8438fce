#!/bin/sh
# package.sh <project> <scratch>: Debian's packages are made, installed in a system of their own, used there by somebody's
# project, and removed. 77: there can be no such system here.
set -eu
unset MAKEFLAGS MFLAGS
room=$2/room log=$2/log
rm -rf "$2"
mkdir -p "$2"
. /etc/os-release
if [ "$(id -u)" != 0 ] || ! mmdebstrap --variant=minbase --include=gcc,libc6-dev,pkg-config,cmake,make \
    "$VERSION_CODENAME" "$room" >"$log" 2>&1; then
    echo "skipped: mmdebstrap makes no system here"
    exit 77
fi
make -C "$1" deb >>"$log" 2>&1 || { cat "$log"; exit 1; }
cp -r "$1"/build/deb/*.deb "$1/tests/consumers" "$room/root"
chroot "$room" sh -euxc '
    cd /root
    dpkg -i ./*.deb
    cmake -S consumers -B shared
    cmake --build shared
    (cd shared && ctest --output-on-failure)
    cmake -S consumers -B static -DEDDY_TARGET=eddy::eddy_static
    cmake --build static
    (cd static && ctest --output-on-failure)
    cc consumers/consumer.c -o consumer.shared $(pkg-config --cflags --libs eddy)
    ./consumer.shared
    dpkg -r libeddy-dev libeddy0
    ! find / -xdev -name "*eddy*" ! -path "/root/*" | grep -v "^/var/lib/dpkg"'
rm -rf "$2"
