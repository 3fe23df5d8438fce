/* embed_in_glib: eddy as the guest of GLib's main loop, and so of GTK's. It echoes lines, and GLib's timer counts them.
 *
 *     cc embed_in_glib.c $(pkg-config --cflags --libs eddy glib-2.0) -o embed_in_glib
 *     ./embed_in_glib 7777      (then, from other terminals: nc 127.0.0.1 7777; control-C here ends it)
 */
#include <eddy.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>

typedef struct { /* an eddy loop as one of GLib's sources: its descriptor, and when it is due next */
    GSource base;
    eddy_loop *loop;
} EddySource;

static gboolean eddy_prepare(GSource *source, gint *timeout)
{
    *timeout = eddy_loop_timeout(((EddySource *)source)->loop);
    return *timeout == 0;
}

static gboolean eddy_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    (void)callback, (void)data;
    return eddy_loop_run_once(((EddySource *)source)->loop, 0) >= 0 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static unsigned lines;

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *writer)
{
    if (error != NULL || len == 0) eddy_writer_free(writer);
    else lines++, eddy_writer_write(writer, line, len), eddy_reader_readline(reader, on_line, writer);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *main_loop)
{
    (void)main_loop;
    if (error == NULL) eddy_reader_readline(reader, on_line, writer);
}

static void on_server(eddy_server *server, const eddy_error *error, void *main_loop)
{
    if (error == NULL) printf("listening on %s\n", eddy_server_sockname(server, 0));
    else fprintf(stderr, "embed_in_glib: %s\n", eddy_error_message(error)), g_main_loop_quit(main_loop);
}

static void on_signal(void *main_loop) { g_main_loop_quit(main_loop); }

static gboolean on_tick(gpointer told)
{
    if (lines != *(unsigned *)told) printf("%u lines so far\n", *(unsigned *)told = lines);
    return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv)
{
    static GSourceFuncs functions = { .prepare = eddy_prepare, .dispatch = eddy_dispatch };
    uint16_t port = argc == 2 ? (uint16_t)g_ascii_strtoull(argv[1], NULL, 10) : 7777;
    unsigned told = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    GMainLoop *main_loop = g_main_loop_new(NULL, FALSE);
    eddy_loop *loop = eddy_loop_new();
    GSource *source = g_source_new(&functions, sizeof(EddySource));
    ((EddySource *)source)->loop = loop;
    g_source_add_unix_fd(source, eddy_loop_fd(loop), G_IO_IN); /* dispatched when it is readable */
    g_source_attach(source, NULL);
    eddy_loop_add_signal_handler(loop, SIGINT, on_signal, main_loop);
    eddy_start_server(loop, on_client, "127.0.0.1", port, NULL, on_server, main_loop);
    g_timeout_add(100, on_tick, &told);
    g_main_loop_run(main_loop); /* instead of eddy_loop_run() */
    printf("%u lines in all\n", lines);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(main_loop);
    eddy_loop_free(loop);
}
