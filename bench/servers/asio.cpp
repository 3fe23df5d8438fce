// Asio, without Boost.
//
//     asio line|bulk|sink
#include <asio.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <sys/resource.h>

using asio::ip::tcp;

struct Client : std::enable_shared_from_this<Client> {
    tcp::socket socket;
    std::string buffer;
    std::size_t seen = 0;

    explicit Client(tcp::socket s) : socket(std::move(s)) {}

    void line()
    {
        auto self = shared_from_this();
        asio::async_read_until(socket, asio::dynamic_buffer(buffer), '\n',
                               [self](asio::error_code error, std::size_t length) {
            if (error) return;
            asio::async_write(self->socket, asio::buffer(self->buffer.data(), length),
                              [self](asio::error_code error, std::size_t length) {
                if (error) return;
                self->buffer.erase(0, length);
                self->line();
            });
        });
    }

    void bulk()
    {
        auto self = shared_from_this();
        socket.async_read_some(asio::buffer(buffer), [self](asio::error_code error, std::size_t length) {
            if (error) return;
            asio::async_write(self->socket, asio::buffer(self->buffer.data(), length),
                              [self](asio::error_code error, std::size_t) {
                if (!error) self->bulk();
            });
        });
    }

    void sink()
    {
        auto self = shared_from_this();
        socket.async_read_some(asio::buffer(buffer), [self](asio::error_code error, std::size_t length) {
            self->seen += length;
            if (!error) return self->sink();
            self->buffer = std::to_string(self->seen) + "\n";
            asio::async_write(self->socket, asio::buffer(self->buffer), [self](asio::error_code, std::size_t) {});
        });
    }
};

static void accept(tcp::acceptor &acceptor, const std::string &mode)
{
    acceptor.async_accept([&](asio::error_code error, tcp::socket socket) {
        if (!error) {
            socket.set_option(tcp::no_delay(true));
            auto client = std::make_shared<Client>(std::move(socket));
            if (mode != "line") client->buffer.resize(65536);
            if (mode == "line") client->line();
            else if (mode == "bulk") client->bulk();
            else client->sink();
        }
        accept(acceptor, mode);
    });
}

int main(int argc, char **argv)
{
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode != "line" && mode != "bulk" && mode != "sink") {
        std::fprintf(stderr, "usage: asio line|bulk|sink\n");
        return 2;
    }
    rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    asio::io_context loop(1);
    tcp::acceptor acceptor(loop);
    acceptor.open(tcp::v4());
    acceptor.bind({ asio::ip::address_v4::loopback(), 0 });
    acceptor.listen(4096);
    accept(acceptor, mode);
    std::printf("%d\n", acceptor.local_endpoint().port());
    std::fflush(stdout);
    loop.run();
}
