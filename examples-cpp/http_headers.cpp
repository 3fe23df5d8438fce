// http_headers: ask a web server about a page, and print the headers of its answer: ./http_headers HOST PATH [PORT]
#include <eddy.hpp>
#include <iostream>

eddy::task<> print_http_headers(eddy_loop *loop, std::string host, std::string path, int port)
{
    auto [reader, writer] = co_await eddy::open_connection(loop, host, static_cast<std::uint16_t>(port));
    writer.write("HEAD " + path + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n");
    while (auto line = co_await reader.readline()) {
        line->erase(line->find_last_not_of("\r\n") + 1);
        if (!line->empty()) std::cout << "HTTP header> " << *line << '\n';
    }
}

int main(int argc, char **argv)
try {
    eddy::loop loop;
    if (argc >= 3) loop.run(print_http_headers(loop, argv[1], argv[2], argc > 3 ? std::stoi(argv[3]) : 80));
} catch (const std::exception &error) {
    std::cerr << "http_headers: " << error.what() << '\n';
    return 1;
}
