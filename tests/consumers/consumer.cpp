// Somebody's first program in C++20: a line sent to itself, over a server on any free port.
#include <eddy.hpp>

#include <cstdio>

static eddy::task<> greet(eddy::reader, eddy::writer writer)
{
    writer.write("hello\n");
    co_return;
}

static eddy::task<bool> greeted(eddy_loop *loop)
{
    auto server = co_await eddy::start_server(loop, greet, "127.0.0.1", 0);
    auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    const auto line = co_await reader.readline();
    co_return line == "hello\n";
}

int main()
{
    eddy::loop loop;
    const bool hello = loop.run(greeted(loop));
    std::printf("eddy %s: %s\n", eddy_version(), hello ? "hello" : "nothing came");
    return hello ? 0 : 1;
}
