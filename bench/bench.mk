# make bench          eddy against its peers, in at most 20 minutes: build/bench/results.md, bench/chart.svg
# make bench-quick    the most telling rows, in one minute
# make bench-tls      TLS, against libevent's and asyncio's, in one minute
# make bench-counts   eddy's own instructions, heap calls and system calls, against bench/counts.json

BENCH = build/bench
CARGO_TARGET_DIR ?= target
CFLAGS ?= -O2 -Wall -Wextra
BENCH_EDDY ?= all # what builds libeddy

BENCH_CORE = $(addprefix $(BENCH)/, raw eddy load heap.so feed timers)
BENCH_PEERS = $(addprefix $(BENCH)/, eddy-cpp libuv libevent gio asio tokio)
BENCH_HEADER = bench/servers/server.h

.PHONY: bench bench-quick bench-tls bench-counts bench-core bench-peers

bench: bench-core bench-peers
	python3 bench/run.py

bench-quick: bench-core bench-peers
	python3 bench/run.py --quick

bench-tls: $(BENCH_EDDY)
	@bench/fetch
	python3 bench/tls/run.py

bench-counts: bench-core
	python3 bench/run.py --counts --gate bench/counts.json

bench-core: $(BENCH_CORE)

# After the packages, and each of them whether or not the others can be built.
bench-peers: $(BENCH_CORE)
	@bench/fetch
	@$(MAKE) --no-print-directory --keep-going -f $(firstword $(MAKEFILE_LIST)) $(BENCH_PEERS) || true
	@for peer in $(BENCH_PEERS); do [ -x $$peer ] || echo "left out: $${peer##*/}"; done
	@build/venv/bin/python -c 'import uvloop' 2>/dev/null || echo "left out: uvloop"

$(BENCH)/load: bench/load.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $< -o $@

$(BENCH)/heap.so: bench/heap.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fno-builtin -fPIC -shared $< -o $@

$(BENCH)/raw: bench/servers/raw.c $(BENCH_HEADER)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $< -o $@ -pthread

# The shared library, as a package would bring it, under the name that it gives itself.
BENCH_LIBRARY = $(BENCH)/lib/libeddy.so.0
bench_eddy = $(CC) $(CFLAGS) -Iinclude $< -o $@ -L$(@D)/lib -l:libeddy.so.0 -Wl,-rpath,'$$ORIGIN/lib' -pthread

$(BENCH_LIBRARY): $(BENCH_EDDY)
	@mkdir -p $(@D)
	@cmp -s $(CARGO_TARGET_DIR)/release/libeddy.so $@ || { rm -f $@; cp $(CARGO_TARGET_DIR)/release/libeddy.so $@; }

$(BENCH)/eddy: bench/servers/eddy.c $(BENCH_HEADER) $(BENCH_LIBRARY)
	$(bench_eddy) $(if $(shell grep eddy_loop_set_busy_poll include/eddy.h),-DBUSY_POLL)

# What the C++ header costs, beside the C one.
$(BENCH)/eddy-cpp: bench/servers/eddy.cpp include/eddy.hpp $(BENCH_LIBRARY)
	$(CXX) $(CFLAGS) -std=c++20 -Iinclude $< -o $@ -L$(@D)/lib -l:libeddy.so.0 -Wl,-rpath,'$$ORIGIN/lib' -pthread

$(BENCH)/feed $(BENCH)/timers: $(BENCH)/%: bench/%.c $(BENCH_LIBRARY)
	$(bench_eddy)

$(BENCH)/libuv: bench/servers/libuv.c $(BENCH_HEADER)
	$(CC) $(CFLAGS) $$(pkg-config --cflags libuv) $< -o $@ $$(pkg-config --libs libuv)

$(BENCH)/libevent: bench/servers/libevent.c $(BENCH_HEADER)
	$(CC) $(CFLAGS) $$(pkg-config --cflags libevent_core) $< -o $@ $$(pkg-config --libs libevent_core)

$(BENCH)/gio: bench/servers/gio.c $(BENCH_HEADER)
	$(CC) $(CFLAGS) $$(pkg-config --cflags gio-unix-2.0) $< -o $@ $$(pkg-config --libs gio-unix-2.0)

$(BENCH)/asio: bench/servers/asio.cpp
	$(CXX) $(CFLAGS) -std=c++17 $< -o $@ -pthread

$(BENCH)/tokio: bench/servers/tokio/src/main.rs bench/servers/tokio/Cargo.lock
	cargo build --release --locked --manifest-path bench/servers/tokio/Cargo.toml --target-dir $(BENCH)/cargo
	cp $(BENCH)/cargo/release/tokio-echo $@
