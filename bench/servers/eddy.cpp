// libeddy by way of eddy.hpp: a coroutine for each client.
//
//     eddy-cpp line|drain|bulk|sink [own]
//
//     drain   asyncio's own idiom: write, drain, readline
//     own     lines as std::string, copied, instead of lent
#include <eddy.hpp>

#include <cstdio>
#include <cstring>
#include <sys/resource.h>

static constexpr std::size_t chunk = 65536;

template <class Bytes>
static eddy::task<> line(eddy::reader reader, eddy::writer writer)
{
    while (auto bytes = co_await reader.readline<Bytes>()) writer.write(*bytes);
}

template <class Bytes>
static eddy::task<> drain(eddy::reader reader, eddy::writer writer)
{
    while (auto bytes = co_await reader.readline<Bytes>()) {
        writer.write(*bytes);
        co_await writer.drain();
    }
}

static eddy::task<> bulk(eddy::reader reader, eddy::writer writer)
{
    while (auto bytes = co_await reader.read<std::string_view>(chunk)) writer.write(*bytes);
}

static eddy::task<> sink(eddy::reader reader, eddy::writer writer)
{
    std::size_t seen = 0;
    while (auto bytes = co_await reader.read<std::string_view>(chunk)) seen += bytes->size();
    writer.write(std::to_string(seen) + "\n");
}

static eddy::task<> serve(eddy_loop *loop, eddy::task<> (*client)(eddy::reader, eddy::writer))
{
    auto server = co_await eddy::start_server(loop, client, "127.0.0.1", 0, { .backlog = 4096 });
    std::printf("%d\n", server.port());
    std::fflush(stdout);
    co_await server.wait_closed();
}

int main(int argc, char **argv)
{
    const bool own = argc > 2 && std::strcmp(argv[2], "own") == 0;
    const std::string mode = argc > 1 ? argv[1] : "";
    rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    eddy::loop loop;
    loop.set_exception_handler([](const char *, const eddy::error *) {}); // clients that reset are no news
    if (mode == "line") loop.run(serve(loop, own ? line<std::string> : line<std::string_view>));
    else if (mode == "drain") loop.run(serve(loop, own ? drain<std::string> : drain<std::string_view>));
    else if (mode == "bulk") loop.run(serve(loop, bulk));
    else if (mode == "sink") loop.run(serve(loop, sink));
    else std::fprintf(stderr, "usage: %s line|drain|bulk|sink [own]\n", argv[0]);
    return 1;
}
