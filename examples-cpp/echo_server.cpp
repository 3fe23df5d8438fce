// echo_server: send every line back to where it came from.
//
//     c++ -std=c++20 echo_server.cpp $(pkg-config --cflags --libs eddy) -o echo_server
//     ./echo_server 7777          (0: any free port; the first line of the output tells which)
#include <eddy.hpp>
#include <cstdlib>
#include <iostream>

static eddy::task<> echo(eddy::reader reader, eddy::writer writer)
{
    for (bool more = true; more;) {
        try {
            const auto line = co_await reader.readline<std::string_view>(); // lent until the next co_await
            if (line) writer.write(*line);
            more = line.has_value();
        } catch (const eddy::error &error) {
            if (error.code() != EDDY_ELIMIT) break; // the connection is lost
            writer.write("line too long\n");        // and the next read begins with the next line
        }
        co_await writer.drain(); // a client that does not listen is not asked for more
    }
}

static eddy::task<> serve(eddy_loop *loop, std::uint16_t port)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", port, { .limit = 4096 });
    std::cout << "listening on " << server.sockname() << std::endl;
    co_await server.wait_closed();
}

int main(int argc, char **argv)
{
    const char *text = argc > 1 ? argv[1] : "7777";
    char *end;
    const long port = std::strtol(text, &end, 10);
    if (argc > 2 || end == text || *end != '\0' || port < 0 || port > UINT16_MAX) {
        std::cerr << "usage: echo_server [PORT]\n";
        return 2;
    }
    eddy::loop loop;
    // A client that is lost while it is sent to is no news.
    loop.set_exception_handler([](const char *message, const eddy::error *cause) {
        if (cause == nullptr || cause->code() != EDDY_ELOST) std::cerr << message << '\n';
    });
    try {
        loop.run(serve(loop, static_cast<std::uint16_t>(port)));
    } catch (const eddy::error &error) {
        std::cerr << "echo_server: " << error.what() << '\n';
        return 1;
    }
}
