// Certificates for tests of TLS, as in ../certificates.h: made once with openssl; without it, or without TLS in the
// library, the tests say so, and pass.
#ifndef EDDY_TEST_CERTIFICATES_HPP
#define EDDY_TEST_CERTIFICATES_HPP

#include "eddy_test.hpp"

#include <filesystem>
#include <fstream>
#include <sys/wait.h>

// A directory that goes when the program ends.
struct scratch {
    std::filesystem::path path;
    scratch()
    {
        char name[] = "/tmp/eddy-cpp-tls-XXXXXX";
        CHECK(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~scratch() { std::filesystem::remove_all(path); }
};

inline const std::filesystem::path &directory()
{
    static const scratch made;
    return made.path;
}

inline std::string path(const char *name)
{
    return directory() / name;
}

inline std::string pem(const char *name)
{
    std::ifstream file(path(name));
    if (!file) FAIL("no ", path(name));
    return { std::istreambuf_iterator<char>(file), {} };
}

inline bool make_certificates()
{
    eddy::tls settings = eddy::tls::client();
    if (CODE_OF(settings.set_alpn("x")) != 0) {
        std::puts("skipped: this library is built without TLS");
        return false;
    }
    const auto script = std::filesystem::path(__FILE__).parent_path() / "../tls/certificates.sh";
    const int status = std::system(("sh '" + script.string() + "' " + directory().string()).c_str());
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) std::puts("skipped: there is no openssl");
    else if (status != 0) FAIL("certificates.sh: ", status);
    return status == 0;
}

inline bool certificates()
{
    static const bool made = make_certificates();
    return made;
}

inline eddy::tls server_of(const std::string &name)
{
    return eddy::tls::server(pem((name + ".pem").c_str()), pem((name + ".key").c_str()));
}

inline eddy::tls client_of(const char *authority)
{
    eddy::tls settings = eddy::tls::client();
    settings.trust(pem(authority));
    return settings;
}

#endif
