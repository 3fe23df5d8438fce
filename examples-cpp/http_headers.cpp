// http_headers: ask a web server about a page, and print the headers of its answer.
//
//     c++ -std=c++20 http_headers.cpp $(pkg-config --cflags --libs eddy) -o http_headers
//     ./http_headers example.com /path/page.html
#include <eddy.hpp>
#include <iostream>

eddy::task<> print_http_headers(eddy_loop *loop, std::string host, std::string path)
{
    auto [reader, writer] = co_await eddy::open_connection(loop, host, 80);
    writer.write("HEAD " + path + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n");
    while (auto line = co_await reader.readline()) {
        line->erase(line->find_last_not_of("\r\n") + 1);
        if (!line->empty()) std::cout << "HTTP header> " << *line << '\n';
    }
}

int main(int argc, char **argv)
{
    eddy::loop loop;
    if (argc == 3) loop.run(print_http_headers(loop, argv[1], argv[2]));
}
