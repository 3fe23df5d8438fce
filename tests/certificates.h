/* Certificates for tests of TLS, which tls/certificates.sh makes with openssl; without it the tests say so,
 * and pass. */
#ifndef EDDY_TEST_CERTIFICATES_H
#define EDDY_TEST_CERTIFICATES_H

#include "plain.h"

#include <libgen.h>
#include <sys/wait.h>

static char directory[] = "/tmp/eddy-tls-XXXXXX";

PLAIN bool has_tls(void)
{
    eddy_tls *tls = eddy_tls_client_new();
    bool has = eddy_tls_set_alpn(tls, "x") != EDDY_ENOTSUP;
    eddy_tls_free(tls);
    return has;
}

PLAIN void forget_certificates(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0) fprintf(stderr, "%s is left\n", directory);
}

/* Whether there are certificates: made once. */
PLAIN bool certificates(void)
{
    static int made = -1;
    if (!has_tls()) {
        printf("skipped: this library is built without TLS\n");
        return false;
    }
    if (made < 0) {
        char file[] = __FILE__, command[1024];
        CHECK(mkdtemp(directory) != NULL);
        atexit(forget_certificates);
        snprintf(command, sizeof command, "sh '%s/tls/certificates.sh' %s", dirname(file), directory);
        int status = system(command);
        made = status == 0;
        if (!made && !(WIFEXITED(status) && WEXITSTATUS(status) == 77)) FAIL("certificates.sh: %d", status);
    }
    if (!made) printf("skipped: there is no openssl\n");
    return made;
}

PLAIN const char *path(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

/* A text that lives until eight more have been read. */
PLAIN const char *pem(const char *name)
{
    static char texts[8][16384];
    static int next;
    char *text = texts[next++ % 8];
    FILE *file = fopen(path(name), "r");
    if (file == NULL) FAIL("no %s", path(name));
    text[fread(text, 1, sizeof texts[0] - 1, file)] = '\0';
    fclose(file);
    return text;
}

PLAIN eddy_tls *server_of(const char *name)
{
    char certificate[64], key[64];
    snprintf(certificate, sizeof certificate, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    eddy_tls *tls = eddy_tls_server_new(pem(certificate), pem(key));
    const eddy_error *error = eddy_tls_error(tls);
    if (error != NULL) FAIL("%s: %s", name, eddy_error_message(error));
    return tls;
}

PLAIN eddy_tls *client_of(const char *authority)
{
    eddy_tls *tls = eddy_tls_client_new();
    CHECK_INT(eddy_tls_trust(tls, pem(authority)), 0);
    CHECK(eddy_tls_error(tls) == NULL);
    return tls;
}

#endif
