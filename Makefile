# make            the library, in target/release, and its header, in include
# make demo       the same, and the headers of a page: of a server started for that, or of URL=http://...
# make check      every test there is; fetches the tools that it needs
# make soak       18,000 clients of every kind for minutes; EDDY_SOAK=SECONDS,CONNECTIONS for less or more
# make torture    the long tests, for an hour; STAGES="tsan miri" for some of them: see tools/torture
# make install    into PREFIX, for a package below DESTDIR; TLS=OFF: a library without it
# make deb        packages for Debian, in build/deb
# make dist       a source tarball that needs no registry, in build/dist
# make bench      eddy against its peers, in bench/; also bench-quick and bench-counts
# make clean

PREFIX ?= /usr/local
URL ?=
STAGES ?=
JOBS ?= 2
CARGO_TARGET_DIR ?= target
BUILD = build/cmake

export CARGO_TARGET_DIR
export PATH := $(PATH):$(CURDIR)/build/venv/bin:$(CURDIR)/build/pip/cmake/data/bin

LIBRARY = $(CARGO_TARGET_DIR)/release/libeddy.a
CFLAGS ?= -O2 -Wall -Wextra
TLS ?= ON

.PHONY: all demo check soak torture configure install deb dist clean
.DELETE_ON_ERROR:

all:
	cargo build --release --lib

demo: build/demo/http_headers build/demo/http_server
	@tools/demo $(URL)

build/demo/%: examples-c/%.c all
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -Iinclude $< $(LIBRARY) -o $@ -pthread -ldl -lm

check: configure
	cargo test
	cmake --build $(BUILD) --parallel $(JOBS)
	cd $(BUILD) && ctest --parallel $(JOBS) --output-on-failure
	@$(MAKE) --no-print-directory bench-counts

soak: configure
	cmake --build $(BUILD) --target soak
	$(BUILD)/tests/soak

torture: configure
	@tools/torture $(STAGES)

configure:
	@tools/bootstrap
	cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DEDDY_TLS=$(TLS)

install: configure
	cmake --build $(BUILD) --target eddy_shared
	cmake --install $(BUILD)

deb:
	@tools/bootstrap
	cmake -S . -B build/deb -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DBUILD_TESTING=OFF
	cmake --build build/deb
	cd build/deb && cpack

dist:
	@tools/dist

clean:
	cargo clean
	rm -rf build

include bench/bench.mk
