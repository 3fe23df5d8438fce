/* Settings of TLS: what is wrong with them, their handles, and those who share them. */
#include "secure.h"

#include <stdatomic.h>
#include <signal.h>

/* Plain text, and nothing of any key in it: no line of one, nor a part of a line. */
static void check_discreet(const char *message)
{
    for (const char *at = message; *at != '\0'; at++)
        if (*at < ' ' || *at > '~') FAIL("not plain: %s", message);
    static const char *const names[] = { "server.key", "other.key", "client.key", "encrypted.key" };
    static char keys[4][8192]; /* pem() keeps its texts for a while only */
    for (size_t i = 0; i < 4; i++) {
        if (keys[i][0] == '\0') snprintf(keys[i], sizeof keys[i], "%s", pem(names[i]));
        const char *body = strchr(keys[i], '\n'), *end = strstr(keys[i], "-----END");
        CHECK(body != NULL && end != NULL);
        for (body++; body + 12 <= end; body++) {
            char part[13];
            memcpy(part, body, 12), part[12] = '\0';
            if (strstr(message, part) != NULL) FAIL("it tells a part of %s: %s", names[i], message);
        }
    }
}

static void wrong(eddy_tls *tls, const char *words)
{
    const eddy_error *error = eddy_tls_error(tls);
    if (error == NULL) FAIL("nothing is wrong, and \"%s\" should be", words);
    CHECK_HAS(eddy_error_message(error), words);
    check_discreet(eddy_error_message(error));
    CHECK(eddy_error_code(error) < 0);
    CHECK_INT(eddy_error_errno(error) != 0, strstr(words, "No such file") != NULL);
    eddy_tls_free(tls);
    CHECK_INT(eddy_error_code(error), EDDY_ESTALE);
}

/* In a child, whose environment may be changed. */
TEST(a_system_that_trusts_nobody_is_refused_and_not_taken_for_one_that_trusts_all, "s09")
{
    if (!certificates()) return;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm((unsigned)(20 * eddy_test_slow()));
        setenv("SSL_CERT_FILE", path("none.pem"), 1);
        setenv("SSL_CERT_DIR", path("none"), 1);
        eddy_loop *loop = eddy_loop_new();
        GOT(opened);
        eddy_tls *nobody = eddy_tls_client_new();
        CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 9, EDDY_OPTIONS(.tls = nobody), got_stream, &opened),
                  EDDY_EINVAL);
        wrong(nobody, "nobody to trust");
        eddy_loop_free(loop);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
}

static void wrong_call(eddy_tls *tls, int code, const char *words)
{
    CHECK_INT(code, EDDY_EINVAL);
    wrong(tls, words);
}

TEST(every_mistake_in_the_settings_has_its_own_words, "s09 s18")
{
    if (!certificates()) return;
    check_discreet("");
    const char *good = pem("server.pem"), *key = pem("server.key");
    wrong(eddy_tls_server_new("", key), "no certificate");
    wrong(eddy_tls_server_new("nonsense", key), "no certificate");
    wrong(eddy_tls_server_new(NULL, key), "no certificate");
    wrong(eddy_tls_server_new(good, NULL), "no private key");
    wrong(eddy_tls_server_new(good, good), "no private key");
    wrong(eddy_tls_server_new(key, good), "no certificate"); /* and does not say what it was instead */
    wrong(eddy_tls_server_new(good, pem("encrypted.key")), "encrypted");
    wrong(eddy_tls_server_new(good, pem("other.key")), "not that of the certificate");
    wrong(eddy_tls_server_new("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", key), "no PEM");
    wrong(eddy_tls_server_new("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key),
          "cannot be read");
    wrong(eddy_tls_server_new(NULL, NULL), "none was given");

    eddy_tls *tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_trust(tls, "nonsense"), "no certificate");
    tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_trust(tls, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
               "certificate 1 of those to trust");
    tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_load_trust(tls, path("none.pem")), "No such file");
    tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_load_certificate(tls, path("client.pem"), path("none.key")), "No such file");
    tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_set_alpn(tls, "h2,,http/1.1"), "ALPN");
    tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_set_minimum_version(tls, "SSLv3"), "SSLv3");
    tls = eddy_tls_client_new();
    wrong_call(tls, eddy_tls_verify_clients(tls, 1), "only a server");
    tls = eddy_tls_client_new();
    CHECK_INT(eddy_tls_add_certificate(tls, pem("client.pem"), pem("client.key")), 0);
    wrong_call(tls, eddy_tls_add_certificate(tls, pem("client.pem"), pem("client.key")), "one certificate");
    tls = server_of("server");
    wrong_call(tls, eddy_tls_dangerously_skip_verification(tls), "only a client");
    tls = server_of("server");
    CHECK_INT(eddy_tls_verify_clients(tls, 0), 0);
    wrong(tls, "whose to trust");
}

TEST(more_protocols_than_a_hello_can_hold_are_refused, "")
{
    if (!certificates()) return;
    static char list[300 * 251];
    memset(list, 'a', sizeof list);
    for (size_t n = 250; n < sizeof list - 1; n += 251) list[n] = ',';
    list[sizeof list - 1] = '\0';
    eddy_tls *client = client_of("authority.pem");
    wrong_call(client, eddy_tls_set_alpn(client, list), "too many application protocols");
}

TEST(what_is_missing_can_be_given_later_and_a_mistake_stays, "")
{
    if (!certificates()) return;
    eddy_tls *tls = eddy_tls_server_new(NULL, NULL);
    CHECK(eddy_tls_error(tls) != NULL);
    CHECK_INT(eddy_tls_load_certificate(tls, path("both.pem"), NULL), 0);
    CHECK(eddy_tls_error(tls) == NULL);
    CHECK_INT(eddy_tls_add_certificate(tls, "", ""), EDDY_EINVAL);
    CHECK(eddy_tls_error(tls) != NULL);
    CHECK_INT(eddy_tls_add_certificate(tls, pem("server.pem"), pem("server.key")), 0);
    CHECK_HAS(eddy_error_message(eddy_tls_error(tls)), "no certificate");
    eddy_tls_free(tls);
}

TEST(settings_that_are_no_good_are_refused_when_used, "")
{
    if (!certificates()) return;
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    GOT(got);
    eddy_tls *broken = eddy_tls_server_new("nonsense", "nonsense"), *server = server_of("server"),
             *client = client_of("authority.pem"), *gone = eddy_tls_client_new();
    eddy_tls_free(gone);
    eddy_tls_free(gone);
    eddy_tls_free(NULL);
    CHECK_INT(reports.count, 0);

#define OPEN(...) eddy_open_connection(loop, "localhost", 9, EDDY_OPTIONS(__VA_ARGS__), got_stream, &got)
#define SERVE(...) \
    eddy_start_server(loop, got_stream, "127.0.0.1", 0, EDDY_OPTIONS(__VA_ARGS__), got_server, &got)
    CHECK_INT(SERVE(.tls = broken), EDDY_EINVAL);
    CHECK_INT(SERVE(.tls = client), EDDY_EINVAL);
    CHECK_INT(SERVE(.tls = server, .server_hostname = "localhost"), EDDY_EINVAL);
    CHECK_INT(OPEN(.tls = server), EDDY_EINVAL);
    CHECK_INT(OPEN(.server_hostname = "localhost"), EDDY_EINVAL);
    CHECK_INT(OPEN(.tls_shutdown_ms = 5), EDDY_EINVAL);
    CHECK_INT(OPEN(.tls = client, .server_hostname = ""), EDDY_EINVAL);
    CHECK_INT(OPEN(.tls = client, .server_hostname = "no name"), EDDY_EINVAL);
    CHECK_INT(eddy_open_unix_connection(loop, "/tmp/none", EDDY_OPTIONS(.tls = client), got_stream, &got),
              EDDY_EINVAL);
    eddy_reader *readers[2];
    eddy_writer *writers[2];
    CHECK_INT(eddy_open_pair(loop, EDDY_OPTIONS(.tls = client), readers, writers), EDDY_ENOTSUP);
    CHECK_INT(eddy_open_pipe(loop, 0, -1, EDDY_OPTIONS(.tls = server), got_stream, &got), EDDY_ENOTSUP);
    CHECK_INT(OPEN(.tls = gone), EDDY_ESTALE);
    CHECK_INT(OPEN(.tls = (eddy_tls *)loop), EDDY_ESTALE);
    settle(loop);
    CHECK_INT(reports.count, 2);
    CHECK_HAS(reports.messages[0], "eddy_open_connection: stale TLS settings 0x");
    CHECK_INT(got.count, 0);
    eddy_tls_free(broken), eddy_tls_free(server), eddy_tls_free(client);
    eddy_loop_free(loop);
}

static void *settings_elsewhere(void *arg)
{
    CHECK_INT(eddy_tls_set_alpn(arg, "x"), 0);
    return NULL;
}

/* Whoever asks for TLS 1.3 with a pointer that is wrong must not end up with TLS 1.2. */
TEST(a_text_that_is_none_is_a_mistake_that_stays, "")
{
    if (!certificates()) return;
    const char *words = "where a text must be";
    for (int n = 0; n < 2; n++) {
        const char *none = n == 0 ? NULL : "\xff";
        eddy_tls *tls;
        CHECK_INT(eddy_tls_set_minimum_version(tls = client_of("authority.pem"), none), EDDY_EINVAL);
        wrong(tls, words);
        CHECK_INT(eddy_tls_set_alpn(tls = client_of("authority.pem"), none), EDDY_EINVAL);
        wrong(tls, words);
        CHECK_INT(eddy_tls_load_trust(tls = client_of("authority.pem"), none), EDDY_EINVAL);
        wrong(tls, words);
        CHECK_INT(eddy_tls_load_certificate(tls = client_of("authority.pem"), none, path("server.key")), EDDY_EINVAL);
        wrong(tls, words);
    }
    eddy_tls *tls = client_of("authority.pem");
    CHECK_INT(eddy_tls_load_certificate(tls, path("server.pem"), "\xff"), EDDY_EINVAL);
    wrong(tls, words);
}

TEST(a_handle_of_settings_is_a_ticket_like_the_others, "a21")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_tls *gone = eddy_tls_client_new(), *live = eddy_tls_client_new();
    eddy_tls_free(gone);
    void *bad[] = { NULL, gone, loop, eddy_reader_new(loop, 10), (void *)16, &reports };
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        eddy_tls *tls = bad[n];
        CHECK_INT(eddy_tls_add_certificate(tls, "", ""), EDDY_ESTALE);
        CHECK_INT(eddy_tls_load_certificate(tls, "", NULL), EDDY_ESTALE);
        CHECK_INT(eddy_tls_trust(tls, ""), EDDY_ESTALE);
        CHECK_INT(eddy_tls_load_trust(tls, ""), EDDY_ESTALE);
        CHECK_INT(eddy_tls_verify_clients(tls, 1), EDDY_ESTALE);
        CHECK_INT(eddy_tls_set_alpn(tls, ""), EDDY_ESTALE);
        CHECK_INT(eddy_tls_set_minimum_version(tls, "TLSv1.3"), EDDY_ESTALE);
        CHECK_INT(eddy_tls_set_resumption(tls, 0), EDDY_ESTALE);
        CHECK_INT(eddy_tls_dangerously_skip_verification(tls), EDDY_ESTALE);
        CHECK(eddy_tls_error(tls) == NULL);
        eddy_tls_free(tls);
        /* Nor is it anything else. */
        settle(loop);
        CHECK_INT(reports.count, n < 2 ? 10 : 11);
        CHECK_HAS(reports.messages[0], n == 0 ? "eddy_tls_add_certificate: NULL instead of a TLS settings"
                                              : "eddy_tls_add_certificate: stale TLS settings");
        memset(&reports, 0, sizeof reports);
    }
    CHECK_INT(eddy_loop_stop((eddy_loop *)live), EDDY_ESTALE);
    CHECK_INT(eddy_writer_write((eddy_writer *)live, "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_error_code((const eddy_error *)live), EDDY_ESTALE);
    CHECK_STR(eddy_error_message((const eddy_error *)loop), eddy_strerror(EDDY_ESTALE));
    CHECK(strncmp(eddy_repr(live), "<eddy_tls", 9) == 0);
    if (has_tls()) {
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, settings_elsewhere, live), 0);
        CHECK_INT(pthread_join(thread, NULL), 0);
    }
    eddy_tls_free(live);
    eddy_loop_free(loop);
}

TEST(without_tls_the_functions_say_so_and_nothing_goes_out_in_clear, "")
{
    if (has_tls()) return;
    eddy_loop *loop = eddy_loop_new();
    GOT(got);
    eddy_tls *client = eddy_tls_client_new(), *server = eddy_tls_server_new("", "");
    CHECK(client != NULL && server != NULL);
    CHECK_INT(eddy_tls_trust(client, ""), EDDY_ENOTSUP);
    CHECK_INT(eddy_tls_load_certificate(server, "", ""), EDDY_ENOTSUP);
    CHECK_STR(eddy_error_message(eddy_tls_error(client)), "this library was built without TLS");
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 9, EDDY_OPTIONS(.tls = client), got_stream, &got),
              EDDY_ENOTSUP);
    CHECK_INT(eddy_start_server(loop, got_stream, NULL, 0, EDDY_OPTIONS(.tls = server), got_server, &got),
              EDDY_ENOTSUP);
    eddy_tls_free(client), eddy_tls_free(server);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(got.count, 0);
    eddy_loop_free(loop);
}

/* ---- any thread ----------------------------------------------------------------------------------------- */

static void *connects(void *arg)
{
    eddy_tls **both = arg;
    for (int n = 0; n < 5; n++) {
        struct pair pair;
        pair_open(&pair, both[0], both[1]);
        pair_free(&pair);
        eddy_tls *mine = eddy_tls_client_new();
        eddy_tls_set_alpn(mine, "x");
        eddy_tls_free(mine);
    }
    return NULL;
}

TEST(settings_are_shared_by_threads, "")
{
    if (!certificates()) return;
    eddy_tls *both[] = { server_of("server"), client_of("authority.pem") };
    pthread_t threads[4];
    for (int n = 0; n < 4; n++) CHECK_INT(pthread_create(&threads[n], NULL, connects, both), 0);
    for (int n = 0; n < 4; n++) CHECK_INT(pthread_join(threads[n], NULL), 0);
    eddy_tls_free(both[0]), eddy_tls_free(both[1]);
}

static atomic_bool building = true;

static void *builds(void *arg)
{
    while (building) { /* what the system trusts is read for each */
        eddy_tls *tls = eddy_tls_client_new();
        eddy_tls_error(tls);
        eddy_tls_free(tls);
    }
    return arg;
}

TEST(a_child_has_settings_of_its_own_whatever_another_thread_was_doing, "")
{
    if (!certificates()) return;
    if (plain_on_valgrind()) return; /* what that thread held is lost in the child, and told as leaks */
    pthread_t thread = plain_start(builds, NULL);
    for (int n = 0; n < 20; n++) {
        usleep(3000);
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            eddy_tls_free(eddy_tls_client_new());
            raise(SIGKILL); /* valgrind then does not ask for what the other thread had, which is not there */
        }
        int status = -1;
        waitpid(child, &status, 0);
        CHECK_INT(WTERMSIG(status), SIGKILL);
    }
    building = false;
    plain_join(thread);
}
