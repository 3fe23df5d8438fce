// The harness of the C++ tests, as ../eddy_test.h is that of the C ones: a program runs all its tests, or those whose
// names contain its first argument; each under an alarm, and each must leave as many descriptors open as there were at first.
//
//     TEST(name) { ... CHECK(...); }
//     TASK(name) { ... co_await ...; }         the same within a task, with an eddy::loop &loop
#ifndef EDDY_TEST_HPP
#define EDDY_TEST_HPP

#include <eddy.hpp>

#include <cstring>
#include <dirent.h>
#include <sstream>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace std::string_view_literals;

struct test {
    const char *name;
    void (*run)();
};

inline std::vector<test> &tests()
{
    static std::vector<test> all;
    return all;
}

struct registered {
    registered(const char *name, void (*run)()) { tests().push_back({ name, run }); }
};

inline const char *running = "(none)";

template <class Word>
void put(std::ostream &text, const Word &word)
{
    text << word;
}
template <class Word>
void put(std::ostream &text, const std::optional<Word> &word)
{
    if (word) text << *word;
    else text << "(none)";
}

template <class... Words>
[[noreturn]] void fail(const char *file, int line, const Words &...words)
{
    std::ostringstream text;
    (put(text, words), ...);
    std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, running, text.str().c_str());
    _exit(1);
}

#define TEST(test_name)                                                                                                \
    static void test_name();                                                                                           \
    static const registered register_##test_name(#test_name, test_name);                                              \
    static void test_name()

#define TASK(test_name)                                                                                                \
    static eddy::task<> task_##test_name(eddy::loop &loop);                                                            \
    TEST(test_name)                                                                                                    \
    {                                                                                                                  \
        eddy::loop loop;                                                                                               \
        loop.run(task_##test_name(loop));                                                                              \
    }                                                                                                                  \
    static eddy::task<> task_##test_name([[maybe_unused]] eddy::loop &loop)

#define FAIL(...) fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(...) ((__VA_ARGS__) ? void() : FAIL("not true: " #__VA_ARGS__))
#define CHECK_EQ(actual, expected)                                                                                     \
    do {                                                                                                               \
        const auto check_a = (actual);                                                                                 \
        const auto check_e = (expected);                                                                               \
        if (!(check_a == check_e)) FAIL(#actual " is ", check_a, ", not " #expected ", ", check_e);                    \
    } while (0)

// What an expression throws: the code of an eddy::error; 0: nothing.
#define CODE_OF(...)                                                                                                   \
    [&] {                                                                                                              \
        try {                                                                                                          \
            static_cast<void>(__VA_ARGS__);                                                                            \
        } catch (const eddy::error &caught) {                                                                          \
            return caught.code();                                                                                      \
        }                                                                                                              \
        return 0;                                                                                                      \
    }()

// What awaiting throws.
template <class Awaitable>
eddy::task<std::optional<eddy::error>> failure_of(Awaitable awaitable)
{
    try {
        co_await std::move(awaitable);
    } catch (const eddy::error &caught) {
        co_return caught;
    }
    co_return std::nullopt;
}

template <class Awaitable>
eddy::task<int> code_of(Awaitable awaitable)
{
    const auto failure = co_await failure_of(std::move(awaitable));
    co_return failure ? failure->code() : 0;
}

// Both ends of a connection: over a socket pair, the far one a plain descriptor.
struct wire {
    eddy::reader reader;
    eddy::writer writer;
    int far = -1;

    wire() = default;
    wire(wire &&other) noexcept
        : reader(std::move(other.reader)), writer(std::move(other.writer)), far(std::exchange(other.far, -1))
    {
    }
    ~wire() { hang_up(); }
    void hang_up()
    {
        if (far >= 0) ::close(std::exchange(far, -1));
    }
    void send(std::string_view bytes) const
    {
        CHECK(::write(far, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    }
    std::string receive() const
    {
        char bytes[4096];
        const ssize_t n = ::read(far, bytes, sizeof bytes);
        return n > 0 ? std::string(bytes, static_cast<std::size_t>(n)) : "";
    }
};

inline eddy::task<wire> open_wire(eddy_loop *loop, eddy::options with = {})
{
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    wire made;
    made.far = ends[1];
    auto opened = co_await eddy::open_socket(loop, ends[0], with);
    made.reader = std::move(opened.reader);
    made.writer = std::move(opened.writer);
    co_return made;
}

// Times that a test waits for are longer where everything is: under valgrind, say (EDDY_TEST_SLOW=10).
inline int slow()
{
    const char *text = std::getenv("EDDY_TEST_SLOW");
    return text != nullptr && std::atoi(text) > 0 ? std::atoi(text) : 1;
}

inline int open_descriptors()
{
    int count = 0;
    DIR *directory = ::opendir("/proc/self/fd");
    if (directory == nullptr) return 0;
    while (::readdir(directory) != nullptr) count++;
    ::closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    int ran = 0;
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    const int before = open_descriptors(); // of all: at the beginning of a test the last one's resolver may have some
    for (const test &one : tests()) {
        if (argc > 1 && std::strstr(one.name, argv[1]) == nullptr) continue;
        running = one.name;
        ::alarm(static_cast<unsigned>(60 * slow()));
        try {
            one.run();
        } catch (const std::exception &thrown) {
            FAIL("throws: ", thrown.what());
        }
        ::alarm(0);
        for (int i = 0; i < 500 * slow() && open_descriptors() != before; i++) ::usleep(10000); // a resolver's, say
        if (open_descriptors() != before) FAIL(before, " descriptors open before, ", open_descriptors(), " after");
        std::printf("ok %s\n", one.name);
        ran++;
    }
    std::printf("%d tests passed\n", ran);
    return ran > 0 ? 0 : 1;
}

#endif
