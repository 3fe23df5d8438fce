// An exception that leaves a callback ends the process, at once and with a word, whatever catches it further out: it
// would pass through frames that are not made for it. (A program that wants to go on catches within its callback.)
// Shows e09.
#include <eddy.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

static void throws(eddy_loop *, const eddy_error *, void *)
{
    throw 1;
}

static int child(int out)
{
    dup2(out, 2);
    eddy_loop *loop = eddy_loop_new();
    eddy_loop_call_soon(loop, throws, nullptr);
    try {
        eddy_loop_run(loop);
    } catch (int) {
        return 2; // it came through
    }
    return 3;
}

int main()
{
    int ends[2];
    if (pipe(ends) != 0) return 1;
    const pid_t pid = fork();
    if (pid == 0) _exit(child(ends[1]));
    close(ends[1]);
    char said[4096] = "";
    size_t len = 0;
    ssize_t n;
    while (len < sizeof said - 1 && (n = read(ends[0], said + len, sizeof said - 1 - len)) > 0) {
        len += static_cast<size_t>(n);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    const bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    const bool told = std::strstr(said, "unwind") != nullptr;
    if (!aborted || !told) std::printf("status %x, and said: %s\n", static_cast<unsigned>(status), said);
    return aborted && told ? 0 : 1;
}
