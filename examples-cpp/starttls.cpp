// starttls: a mail server of few words, which goes from clear to encrypted on the client's word.
//
//     c++ -std=c++20 starttls.cpp $(pkg-config --cflags --libs eddy) -o starttls
//     ./starttls certificate.pem key.pem 2525          (0: any free port; the first line tells which)
//     openssl s_client -quiet -starttls smtp -CAfile certificate.pem -connect localhost:2525
#include <eddy.hpp>
#include <iostream>
#include <strings.h>

using namespace std::chrono_literals;

static bool is(const std::string &line, std::string_view command)
{
    return strncasecmp(line.c_str(), command.data(), command.size()) == 0;
}

static eddy::task<> talk(eddy::reader reader, eddy::writer writer, const eddy::tls &tls)
{
    bool encrypted = false;
    writer.write("220 eddy\r\n");
    while (const auto line = co_await reader.readline()) {
        if (is(*line, "QUIT")) {
            writer.write("221 goodbye\r\n");
            co_return;
        }
        if (is(*line, "EHLO")) {
            writer.write(encrypted ? "250 now we are alone\r\n" : "250-in clear\r\n250 STARTTLS\r\n");
        } else if (is(*line, "STARTTLS") && !encrypted) {
            writer.write("220 go ahead\r\n"); // what is gathered goes out in clear
            // Lines that came right behind, in clear, would be taken for encrypted ones: then this throws.
            co_await writer.start_tls({ .timeout = 5s, .tls = tls });
            encrypted = true; // the same reader, the same writer
        } else {
            writer.write(encrypted ? "250 a secret, well kept\r\n" : "530 STARTTLS first\r\n");
        }
    }
}

static eddy::task<> serve(eddy_loop *loop, const eddy::tls &tls, int port)
{
    const auto client = [&](eddy::reader r, eddy::writer w) { return talk(std::move(r), std::move(w), tls); };
    auto server = co_await eddy::start_server(loop, client, "127.0.0.1", static_cast<std::uint16_t>(port));
    std::cout << "listening on " << server.sockname() << std::endl;
    co_await server.wait_closed();
}

int main(int argc, char **argv)
try {
    if (argc != 4) throw std::invalid_argument("usage: starttls CERTIFICATES KEY PORT");
    auto tls = eddy::tls::server();
    tls.load_certificate(argv[1], argv[2]);
    eddy::loop loop;
    loop.run(serve(loop, tls, std::stoi(argv[3])));
} catch (const std::exception &error) {
    std::cerr << "starttls: " << error.what() << '\n';
    return 1;
}
