/* GIO: GDataInputStream for lines, the plain streams for bulk.
 *
 *     gio line|bulk|sink
 */
#define _GNU_SOURCE
#include "server.h"
#include <gio/gio.h>

struct client {
    GSocketConnection *connection;
    GDataInputStream *lines;
    GInputStream *input;
    GOutputStream *output;
    gsize seen;
    char *bytes; /* the line that is being written, or a buffer of CHUNK */
};

static enum mode mode;

static void on_line(GObject *source, GAsyncResult *result, gpointer arg);
static void on_bytes(GObject *source, GAsyncResult *result, gpointer arg);

static void finish(struct client *client)
{
    g_io_stream_close(G_IO_STREAM(client->connection), NULL, NULL);
    g_clear_object(&client->lines);
    g_object_unref(client->connection);
    g_free(client->bytes);
    g_free(client);
}

static void read_more(struct client *client)
{
    if (mode == LINE)
        g_data_input_stream_read_line_async(client->lines, G_PRIORITY_DEFAULT, NULL, on_line, client);
    else
        g_input_stream_read_async(client->input, client->bytes, CHUNK, G_PRIORITY_DEFAULT, NULL, on_bytes, client);
}

static void on_written(GObject *source, GAsyncResult *result, gpointer arg)
{
    struct client *client = arg;
    if (mode == LINE) g_clear_pointer(&client->bytes, g_free);
    if (g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, NULL)) read_more(client);
    else finish(client);
}

static void write_all(struct client *client, gsize length)
{
    g_output_stream_write_all_async(client->output, client->bytes, length, G_PRIORITY_DEFAULT, NULL, on_written,
                                    client);
}

static void on_line(GObject *source, GAsyncResult *result, gpointer arg)
{
    (void)source;
    struct client *client = arg;
    gsize length;
    client->bytes = g_data_input_stream_read_line_finish(client->lines, result, &length, NULL);
    if (client->bytes == NULL) {
        finish(client);
        return;
    }
    client->bytes[length] = '\n'; /* where it put a NUL */
    write_all(client, length + 1);
}

static void on_bytes(GObject *source, GAsyncResult *result, gpointer arg)
{
    struct client *client = arg;
    gssize n = g_input_stream_read_finish(G_INPUT_STREAM(source), result, NULL);
    if (n > 0 && mode == BULK) {
        write_all(client, (gsize)n);
    } else if (n > 0) {
        client->seen += (gsize)n;
        read_more(client);
    } else {
        if (mode == SINK) g_output_stream_printf(client->output, NULL, NULL, NULL, "%zu\n", client->seen);
        finish(client);
    }
}

static gboolean on_client(GSocketService *service, GSocketConnection *connection, GObject *object, gpointer arg)
{
    (void)service, (void)object, (void)arg;
    struct client *client = g_new0(struct client, 1);
    server_no_delay(g_socket_get_fd(g_socket_connection_get_socket(connection)));
    client->connection = g_object_ref(connection);
    client->input = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    client->output = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    if (mode == LINE) {
        client->lines = g_data_input_stream_new(client->input);
        g_data_input_stream_set_newline_type(client->lines, G_DATA_STREAM_NEWLINE_TYPE_LF);
    } else {
        client->bytes = g_malloc(CHUNK);
    }
    read_more(client);
    return TRUE;
}

int main(int argc, char **argv)
{
    mode = server_mode(argc, argv);
    int port = 0;
    GSocket *listener = g_socket_new_from_fd(server_socket(&port, false), NULL);
    GSocketService *service = g_socket_service_new();
    g_socket_listener_add_socket(G_SOCKET_LISTENER(service), listener, NULL, NULL);
    g_signal_connect(service, "incoming", G_CALLBACK(on_client), NULL);
    server_ready(port);
    g_main_loop_run(g_main_loop_new(NULL, FALSE));
    return 1;
}
