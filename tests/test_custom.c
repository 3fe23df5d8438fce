/* Transports made of C functions, and the protocols that join them to readers and writers. */
#include "collect.h"

#include <stdarg.h>

/* ---- a transport that writes down what it is told ------------------------------------------------------ */

struct wire {
    eddy_loop *loop;
    eddy_reader *reader;
    eddy_writer *writer;
    eddy_protocol *protocol;
    eddy_transport *transport;
    char log[4000];      /* since the last CHECK_LOG: "write(abc) eof close abort pause resume release " */
    bool running;        /* only then may anything be called */
    int released;
    bool loses_at_once;  /* close and abort lose the connection before they return */
    bool echoes;
    void (*in_write)(struct wire *wire);
};

#define CHECK_LOG(wire, text)                                                                      \
    do {                                                                                           \
        CHECK_STR((wire)->log, text);                                                              \
        (wire)->log[0] = '\0';                                                                     \
    } while (0)

__attribute__((format(printf, 2, 3))) static void note(struct wire *wire, const char *format, ...)
{
    CHECK(wire->running);
    CHECK_INT(wire->released, 0);
    const size_t len = strlen(wire->log);
    va_list args;
    va_start(args, format);
    vsnprintf(wire->log + len, sizeof wire->log - len, format, args);
    va_end(args);
}

static void wire_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    CHECK(len > 0);
    if (len < 100)
        note(wire, "write(%.*s) ", (int)len, bytes);
    else
        note(wire, "write(%zu bytes) ", len);
    if (wire->echoes) CHECK_INT(eddy_protocol_data_received(wire->protocol, bytes, len), 0);
    if (wire->in_write != NULL) wire->in_write(wire);
}

static void wire_write_eof(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    note(wire, "eof ");
    if (wire->echoes) CHECK(eddy_protocol_eof_received(wire->protocol));
}

static void wire_close(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    note(wire, "close ");
    if (wire->loses_at_once) CHECK_INT(eddy_protocol_connection_lost(wire->protocol, 0, NULL), 0);
}

static void wire_abort(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    note(wire, "abort ");
    if (wire->loses_at_once) CHECK_INT(eddy_protocol_connection_lost(wire->protocol, 0, NULL), 0);
}

static void wire_pause(eddy_transport *transport, void *arg)
{
    CHECK(transport == ((struct wire *)arg)->transport);
    note(arg, "pause ");
}

static void wire_resume(eddy_transport *transport, void *arg)
{
    CHECK(transport == ((struct wire *)arg)->transport);
    note(arg, "resume ");
}

static void wire_release(void *arg)
{
    struct wire *wire = arg;
    note(wire, "release ");
    wire->released++;
}

static const eddy_transport_ops wire_ops = {
    .size = sizeof(eddy_transport_ops),
    .write = wire_write,
    .write_eof = wire_write_eof,
    .close = wire_close,
    .abort = wire_abort,
    .pause_reading = wire_pause,
    .resume_reading = wire_resume,
    .release = wire_release,
};

static void drive(struct wire *wire)
{
    wire->running = true;
    settle(wire->loop);
    wire->running = false;
}

static void finish(struct wire *wire)
{
    wire->running = true;
    eddy_loop_free(wire->loop);
    CHECK_INT(wire->released, 1);
}

static void make_parts(struct wire *wire, size_t limit, const eddy_transport_ops *ops, eddy_stream_cb client_cb,
                       void *arg)
{
    wire->loop = eddy_loop_new();
    CHECK(wire->loop != NULL);
    wire->reader = eddy_reader_new(wire->loop, limit);
    CHECK(wire->reader != NULL);
    wire->protocol = eddy_protocol_new(wire->loop, wire->reader, client_cb, arg);
    CHECK(wire->protocol != NULL);
    wire->transport = eddy_transport_new(wire->loop, ops, wire);
    CHECK(wire->transport != NULL);
    CHECK_LOG(wire, "");
}

/* As asyncio's open_connection puts them together. */
static void join(struct wire *wire)
{
    CHECK_INT(eddy_protocol_connection_made(wire->protocol, wire->transport), 0);
    wire->writer = eddy_writer_new(wire->transport, wire->protocol, wire->reader);
    CHECK(wire->writer != NULL);
    drive(wire);
    CHECK_LOG(wire, "");
}

static void open_wire(struct wire *wire, size_t limit)
{
    make_parts(wire, limit, &wire_ops, NULL, NULL);
    join(wire);
}

static void receive(struct wire *wire, const char *text)
{
    CHECK_INT(eddy_protocol_data_received(wire->protocol, text, strlen(text)), 0);
}

static void read_and_check(struct wire *wire, size_t n, const char *text)
{
    GOT(read);
    START(&read, eddy_reader_read(wire->reader, n, got_read, &read));
    drive(wire);
    CHECK_INT(read.count, 1);
    CHECK_INT(read.code, 0);
    CHECK_STR(read.bytes, text);
}

/* ---- putting them together ----------------------------------------------------------------------------- */

static void client_reads_a_line(struct got *client, void *data)
{
    struct got *line = data;
    CHECK(client->reader != NULL && client->writer != NULL);
    START(line, eddy_reader_readline(client->reader, got_read, line));
    CHECK_INT(eddy_writer_write(client->writer, "hello", 5), 0);
}

TEST(a_protocol_with_a_client_callback_makes_the_writer, "S4 C1")
{
    struct wire wire = { 0 };
    GOT(client);
    GOT(line);
    client.then = client_reads_a_line;
    client.data = &line;
    make_parts(&wire, 100, &wire_ops, got_stream, &client);
    CHECK_INT(eddy_protocol_connection_made(wire.protocol, wire.transport), 0);
    /* before anything ran: the client hears of its connection first all the same */
    receive(&wire, "early\n");
    CHECK_INT(client.count, 0);
    CHECK_INT(line.count, 0);
    drive(&wire);
    CHECK_INT(client.count, 1);
    CHECK_INT(client.code, 0);
    CHECK(client.reader == wire.reader);
    CHECK_GOT(line, 1, "early\n");
    CHECK(client.order < line.order);
    CHECK_LOG(&wire, "write(hello) ");
    CHECK_INT(eddy_protocol_connection_made(wire.protocol, wire.transport), EDDY_ESTATE);
    CHECK(eddy_writer_transport(client.writer) == wire.transport);
    finish(&wire);
    CHECK_INT(client.count, 1);
    CHECK_INT(line.count, 1);
}

TEST(a_writer_joins_transport_protocol_and_reader, "S3 W15")
{
    struct wire wire = { 0 };
    make_parts(&wire, 100, &wire_ops, NULL, NULL);
    /* without connection_made before */
    wire.writer = eddy_writer_new(wire.transport, wire.protocol, wire.reader);
    CHECK(wire.writer != NULL);
    CHECK(eddy_writer_transport(wire.writer) == wire.transport);
    CHECK(eddy_writer_can_write_eof(wire.writer));
    CHECK(!eddy_writer_is_closing(wire.writer));
    CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), 0);
    CHECK_INT(eddy_writer_write(wire.writer, "hello", 5), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), 5);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "write(hello) ");
    CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), 0);
    receive(&wire, "answer");
    read_and_check(&wire, 100, "answer");
    finish(&wire);
}

TEST(a_writer_needs_neither_protocol_nor_reader, "S3")
{
    struct wire wire = { .loop = eddy_loop_new() };
    GOT(closed);
    wire.transport = eddy_transport_new(wire.loop, &wire_ops, &wire);
    wire.writer = eddy_writer_new(wire.transport, NULL, NULL);
    CHECK(wire.writer != NULL);
    CHECK_INT(eddy_writer_write(wire.writer, "hello", 5), 0);
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    drive(&wire);
    CHECK_LOG(&wire, "write(hello) ");
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    drive(&wire);
    CHECK_LOG(&wire, "close release "); /* nobody could tell of the connection's loss */
    CHECK_ENDED(closed, 1, 0);
    finish(&wire);
}

TEST(a_writer_refuses_another_protocols_reader, "S3")
{
    struct wire wire = { 0 };
    struct reports reports = { 0 };
    make_parts(&wire, 100, &wire_ops, NULL, NULL);
    CHECK_INT(eddy_loop_set_exception_handler(wire.loop, got_report, &reports), 0);
    eddy_reader *other = eddy_reader_new(wire.loop, 100);
    CHECK(eddy_writer_new(wire.transport, wire.protocol, other) == NULL);
    CHECK(eddy_writer_new(NULL, wire.protocol, wire.reader) == NULL);
    CHECK(eddy_writer_new((eddy_transport *)(void *)wire.reader, wire.protocol, wire.reader) == NULL);
    CHECK_INT(reports.count, 0);
    drive(&wire);
    CHECK(reports.count >= 2);
    CHECK(strstr(reports.messages[0], "eddy_writer_new: ") == reports.messages[0]);
    wire.writer = eddy_writer_new(wire.transport, wire.protocol, wire.reader); /* and is as good as new */
    CHECK(wire.writer != NULL);
    finish(&wire);
}

static void check_ops_refused(eddy_loop *loop, struct reports *reports, const eddy_transport_ops *ops)
{
    const int before = reports->count;
    CHECK(eddy_transport_new(loop, ops, NULL) == NULL);
    settle(loop);
    CHECK_INT(reports->count, before + 1);
    CHECK(strstr(reports->messages[before], "eddy_transport_new: ") == reports->messages[before]);
}

TEST(a_transport_needs_its_functions, "S4")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    check_ops_refused(loop, &reports, NULL);
    eddy_transport_ops ops = wire_ops;
    ops.write = NULL;
    check_ops_refused(loop, &reports, &ops);
    ops = wire_ops;
    ops.close = NULL;
    check_ops_refused(loop, &reports, &ops);
    ops = wire_ops;
    ops.abort = NULL;
    check_ops_refused(loop, &reports, &ops);
    ops = wire_ops;
    ops.release = NULL;
    check_ops_refused(loop, &reports, &ops);
    ops = wire_ops;
    ops.size = 0;
    check_ops_refused(loop, &reports, &ops);
    eddy_loop_free(loop); /* and none of them was released, for it would have found no wire */
}

TEST(a_reader_takes_one_transport, "R7")
{
    struct wire wire = { 0 }, other = { 0 };
    make_parts(&wire, 3, &wire_ops, NULL, NULL);
    other.loop = wire.loop;
    other.transport = eddy_transport_new(wire.loop, &wire_ops, &other);
    CHECK_INT(eddy_reader_set_transport(wire.reader, NULL), EDDY_ESTALE);
    CHECK_INT(eddy_reader_set_transport(wire.reader, wire.transport), 0);
    CHECK_INT(eddy_reader_set_transport(wire.reader, wire.transport), EDDY_ESTATE);
    CHECK_INT(eddy_reader_set_transport(wire.reader, other.transport), EDDY_ESTATE);
    CHECK_INT(eddy_reader_feed_data(wire.reader, "1234567", 7), 0);
    wire.running = other.running = true;
    settle(wire.loop);
    CHECK_LOG(&wire, "pause "); /* the first one it is, and it is told by the reader itself */
    CHECK_LOG(&other, "");
    finish(&wire);
    CHECK_INT(other.released, 1);
}

TEST(a_reader_may_regulate_another_streams_transport, "R7 R80 R81")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    eddy_reader *decoded = eddy_reader_new(wire.loop, 3); /* what a filter makes of the stream, say */
    CHECK_INT(eddy_reader_set_transport(decoded, wire.transport), 0);
    CHECK_INT(eddy_reader_set_transport(decoded, wire.transport), EDDY_ESTATE);
    CHECK_INT(eddy_reader_feed_data(decoded, "1234567", 7), 0);
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    GOT(read);
    START(&read, eddy_reader_readexactly(decoded, 4, got_read, &read));
    drive(&wire);
    CHECK_GOT(read, 1, "1234");
    CHECK_LOG(&wire, "resume ");
    finish(&wire);
}

TEST(a_transport_is_held_back_as_long_as_one_of_its_readers_is_full, "R7 R80 R81")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    eddy_reader *two[2] = { eddy_reader_new(wire.loop, 3), eddy_reader_new(wire.loop, 3) };
    GOT(read);
    /* Full before it has a transport, or after: the transport is told. */
    CHECK_INT(eddy_reader_feed_data(two[0], "1234567", 7), 0);
    for (int i = 0; i < 2; i++) CHECK_INT(eddy_reader_set_transport(two[i], wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    CHECK_INT(eddy_reader_feed_data(two[1], "1234567", 7), 0);
    drive(&wire);
    START(&read, eddy_reader_read(two[0], 10, got_read, &read));
    drive(&wire);
    CHECK_LOG(&wire, ""); /* for the other one is full still */
    CHECK(!eddy_transport_is_reading(wire.transport));
    eddy_reader_free(two[1]);
    drive(&wire);
    CHECK_LOG(&wire, "resume ");
    finish(&wire);
}

TEST(a_reader_that_died_before_the_connection_was_made, "C13")
{
    struct wire wire = { 0 };
    struct reports reports = { 0 };
    make_parts(&wire, 100, &wire_ops, NULL, NULL);
    CHECK_INT(eddy_loop_set_exception_handler(wire.loop, got_report, &reports), 0);
    eddy_reader_free(wire.reader);
    eddy_protocol_connection_made(wire.protocol, wire.transport);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK(strncmp(wire.log, "abort ", 6) == 0);
    CHECK_INT(reports.count, 1);
    finish(&wire);
}

static void refused_new(struct wire *wire, struct reports *reports, const void *made, const char *function)
{
    const int before = reports->count;
    CHECK(made == NULL);
    drive(wire);
    CHECK_INT(reports->count, before + 1);
    CHECK(strstr(reports->messages[before], function) == reports->messages[before]);
}

TEST(what_was_freed_does_not_live_again_in_another_of_its_place, "a05")
{
    struct wire wire = { 0 }, other = { 0 };
    struct reports reports = { 0 };
    make_parts(&wire, 100, &wire_ops, NULL, NULL);
    CHECK_INT(eddy_loop_set_exception_handler(wire.loop, got_report, &reports), 0);
    eddy_protocol_free(wire.protocol);
    refused_new(&wire, &reports, eddy_protocol_new(wire.loop, wire.reader, NULL, NULL), "eddy_protocol_new: ");
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), EDDY_ESTALE);
    drive(&wire);

    /* A transport whose writer was freed sends what that had gathered, closes, and is no other stream's. */
    other.loop = wire.loop;
    other.transport = eddy_transport_new(wire.loop, &wire_ops, &other);
    other.writer = eddy_writer_new(other.transport, NULL, NULL);
    CHECK(other.writer != NULL);
    CHECK_INT(eddy_writer_write(other.writer, "last", 4), 0);
    eddy_writer_free(other.writer);
    other.running = true;
    CHECK_INT(eddy_reader_set_transport(wire.reader, other.transport), 0); /* which it may hold back */
    reports.count = 0;
    eddy_reader *reader = eddy_reader_new(wire.loop, 100);
    eddy_protocol *protocol = eddy_protocol_new(wire.loop, reader, NULL, NULL);
    CHECK_INT(eddy_protocol_connection_made(protocol, other.transport), EDDY_ESTATE);
    CHECK(eddy_writer_new(other.transport, protocol, reader) == NULL);
    CHECK(eddy_writer_new(other.transport, NULL, NULL) == NULL);
    CHECK_INT(eddy_writer_write(other.writer, "more", 4), EDDY_ESTALE);
    drive(&wire);
    CHECK_LOG(&other, "write(last) close release ");
    finish(&wire);
}

TEST(a_transport_joins_one_stream_also_when_its_reader_was_freed, "R7")
{
    struct wire wire = { 0 };
    make_parts(&wire, 100, &wire_ops, NULL, NULL);
    eddy_reader *first = eddy_reader_new(wire.loop, 100);
    CHECK_INT(eddy_reader_set_transport(first, wire.transport), 0);
    eddy_reader_free(first);
    CHECK_INT(eddy_protocol_connection_made(wire.protocol, wire.transport), EDDY_ESTATE);
    CHECK_INT(eddy_transport_pause_reading(wire.transport), 0); /* it is still there, and still its own */
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    CHECK_INT(eddy_transport_close(wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, "close release ");
    finish(&wire);
}

TEST(the_end_counts_also_for_a_protocol_whose_reader_was_freed, "C5")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK(eddy_transport_is_reading(wire.transport));
    eddy_reader_free(wire.reader);
    CHECK_INT(eddy_protocol_data_received(wire.protocol, "x", 1), 0);
    CHECK(eddy_protocol_eof_received(wire.protocol));
    CHECK(!eddy_transport_is_reading(wire.transport));
    CHECK_INT(eddy_protocol_data_received(wire.protocol, "x", 1), EDDY_ESTATE);
    finish(&wire);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

TEST(writes_are_gathered_and_told_in_order, "W2 W11")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    char bytes[] = "one ";
    const eddy_bytes lines[] = { { "three ", 6 }, { "", 0 }, { NULL, 0 }, { "four", 4 } };
    CHECK_INT(eddy_writer_write(wire.writer, bytes, 4), 0);
    memset(bytes, '?', 4);
    CHECK_INT(eddy_writer_write(wire.writer, "", 0), 0);
    CHECK_INT(eddy_writer_write(wire.writer, NULL, 0), 0);
    CHECK_INT(eddy_writer_write(wire.writer, "two ", 4), 0);
    CHECK_INT(eddy_writer_writelines(wire.writer, lines, 4), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), 18);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "write(one two three four) ");
    CHECK_INT(eddy_writer_write(wire.writer, "", 0), 0);
    CHECK_INT(eddy_writer_writelines(wire.writer, NULL, 0), 0);
    CHECK_INT(eddy_writer_writelines(wire.writer, lines + 1, 2), 0);
    drive(&wire);
    CHECK_LOG(&wire, ""); /* nothing was written, so nothing is told */
    CHECK_INT(eddy_writer_write(wire.writer, NULL, 1), EDDY_EINVAL);
    CHECK_INT(eddy_writer_writelines(wire.writer, NULL, 1), EDDY_EINVAL);
    drive(&wire);
    CHECK_LOG(&wire, "");
    finish(&wire);
}

TEST(writelines_looks_at_the_mark_once_for_all_of_them, "W11 F2")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_set_write_buffer_limits(wire.writer, 10, 5), 0);
    const eddy_bytes lines[] = { { "123456", 6 }, { "7890", 4 }, { "!", 1 } };
    CHECK_INT(eddy_writer_writelines(wire.writer, lines, 2), 0); /* ten: not above the mark */
    drive(&wire);
    CHECK_INT(eddy_writer_writelines(wire.writer, lines, 3), 1);
    drive(&wire);
    CHECK_LOG(&wire, "write(1234567890) write(1234567890!) ");
    finish(&wire);
}

TEST(write_eof_comes_after_what_was_written, "W13 W14")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK(eddy_writer_can_write_eof(wire.writer));
    CHECK_INT(eddy_writer_write(wire.writer, "last words", 10), 0);
    CHECK_INT(eddy_writer_write_eof(wire.writer), 0);
    CHECK_INT(eddy_writer_write_eof(wire.writer), 0);
    CHECK_INT(eddy_writer_write(wire.writer, "more", 4), EDDY_ESTATE);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "write(last words) eof ");
    CHECK_INT(eddy_writer_write_eof(wire.writer), 0);
    receive(&wire, "still here"); /* reading goes on */
    read_and_check(&wire, 100, "still here");
    CHECK_LOG(&wire, "");
    finish(&wire);
}

TEST(write_eof_does_nothing_when_closing, "W13")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK_INT(eddy_writer_write_eof(wire.writer), 0);
    drive(&wire);
    CHECK_INT(eddy_writer_write_eof(wire.writer), 0);
    drive(&wire);
    CHECK_LOG(&wire, "close ");
    finish(&wire);
}

TEST(a_transport_that_cannot_write_eof, "W14")
{
    struct wire wire = { 0 };
    eddy_transport_ops ops = wire_ops;
    ops.write_eof = NULL;
    make_parts(&wire, 100, &ops, NULL, NULL);
    memset(&ops, 0, sizeof ops); /* it was copied */
    join(&wire);
    CHECK(!eddy_writer_can_write_eof(wire.writer));
    CHECK_INT(eddy_writer_write_eof(wire.writer), EDDY_ENOTSUP);
    CHECK_INT(eddy_writer_write(wire.writer, "on we go", 8), 0);
    drive(&wire);
    CHECK_LOG(&wire, "write(on we go) ");
    finish(&wire);
}

static void write_more(struct wire *wire)
{
    wire->in_write = NULL;
    CHECK_INT(eddy_writer_write(wire->writer, "more", 4), 0);
    CHECK_STR(wire->log, "write(first) "); /* and we are not called inside our call */
}

TEST(a_transport_may_write_while_it_writes, "W11 e12")
{
    struct wire wire = { .in_write = write_more };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_write(wire.writer, "first", 5), 0);
    drive(&wire);
    CHECK_LOG(&wire, "write(first) write(more) ");
    finish(&wire);
}

/* ---- reading: back-pressure ---------------------------------------------------------------------------- */

TEST(reading_pauses_above_twice_the_limit_and_resumes_at_it, "R16 R80 R81 R83")
{
    struct wire wire = { 0 };
    open_wire(&wire, 3);
    receive(&wire, "123456");
    drive(&wire);
    CHECK_LOG(&wire, "");
    CHECK(eddy_transport_is_reading(wire.transport));
    receive(&wire, "7");
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    CHECK(!eddy_transport_is_reading(wire.transport));
    CHECK(strstr(eddy_repr(wire.reader), "7 bytes") != NULL);
    CHECK(strstr(eddy_repr(wire.reader), "custom") != NULL); /* its transport */
    CHECK(strstr(eddy_repr(wire.reader), "paused") != NULL);
    receive(&wire, "89"); /* taken all the same, and nothing is told twice */
    drive(&wire);
    CHECK_LOG(&wire, "");
    read_and_check(&wire, 5, "12345"); /* four are left */
    CHECK_LOG(&wire, "");
    CHECK(!eddy_transport_is_reading(wire.transport));
    read_and_check(&wire, 1, "6"); /* three are left */
    CHECK_LOG(&wire, "resume ");
    CHECK(eddy_transport_is_reading(wire.transport));
    CHECK(strstr(eddy_repr(wire.reader), "paused") == NULL);
    read_and_check(&wire, 10, "789");
    CHECK_LOG(&wire, "");
    finish(&wire);
}

TEST(a_read_that_waits_resumes_reading_first, "R82 R32")
{
    struct wire wire = { 0 };
    open_wire(&wire, 3);
    GOT(read);
    receive(&wire, "1234567");
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    START(&read, eddy_reader_readexactly(wire.reader, 20, got_read, &read));
    drive(&wire);
    CHECK_LOG(&wire, "resume ");
    receive(&wire, "890");
    drive(&wire);
    CHECK(eddy_transport_is_reading(wire.transport)); /* though more than twice the limit lies there */
    CHECK_INT(read.count, 0);
    receive(&wire, "abcdefghij");
    drive(&wire);
    CHECK_GOT(read, 1, "1234567890abcdefghij");
    CHECK(eddy_transport_is_reading(wire.transport));
    finish(&wire);
    CHECK_INT(read.count, 1);
}

TEST(a_read_to_the_end_keeps_reading, "R24 R82")
{
    struct wire wire = { 0 };
    open_wire(&wire, 3);
    GOT(read);
    receive(&wire, "1234567");
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    START(&read, eddy_reader_read(wire.reader, EDDY_UNTIL_EOF, got_read, &read));
    for (int i = 0; i < 10; i++) {
        drive(&wire);
        CHECK(eddy_transport_is_reading(wire.transport));
        receive(&wire, "1234567");
    }
    CHECK(eddy_protocol_eof_received(wire.protocol));
    drive(&wire);
    CHECK_INT(read.count, 1);
    CHECK_INT(read.code, 0);
    CHECK_INT(read.len, 77);
    finish(&wire);
}

TEST(a_transport_that_cannot_pause_is_read_without_bound, "R84")
{
    struct wire wire = { 0 };
    eddy_transport_ops ops = wire_ops;
    ops.pause_reading = NULL;
    ops.resume_reading = NULL;
    make_parts(&wire, 3, &ops, NULL, NULL);
    join(&wire);
    for (int i = 0; i < 1000; i++) {
        receive(&wire, "0123456789");
        if (i % 100 == 0) drive(&wire);
    }
    CHECK_INT(eddy_reader_buffered(wire.reader, NULL), 10000);
    read_and_check(&wire, 5, "01234");
    CHECK_INT(eddy_transport_pause_reading(wire.transport), EDDY_ENOTSUP);
    CHECK_LOG(&wire, "");
    finish(&wire);
}

TEST(pausing_and_resuming_by_hand, "R86")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK(eddy_transport_is_reading(wire.transport));
    CHECK_INT(eddy_transport_resume_reading(wire.transport), 0);
    CHECK_INT(eddy_transport_pause_reading(wire.transport), 0);
    CHECK(!eddy_transport_is_reading(wire.transport));
    CHECK_INT(eddy_transport_pause_reading(wire.transport), 0);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    CHECK_INT(eddy_transport_resume_reading(wire.transport), 0);
    CHECK(eddy_transport_is_reading(wire.transport));
    CHECK_INT(eddy_transport_resume_reading(wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, "resume ");
    CHECK_INT(eddy_transport_pause_reading(wire.transport), 0);
    CHECK_INT(eddy_transport_resume_reading(wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, ""); /* it wishes what was told last */
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK_INT(eddy_transport_pause_reading(wire.transport), 0);
    CHECK_INT(eddy_transport_resume_reading(wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, "close ");
    CHECK(!eddy_transport_is_reading(wire.transport));
    finish(&wire);
}

static void client_pauses(struct got *client, void *data)
{
    (void)data;
    CHECK_INT(eddy_transport_pause_reading(eddy_writer_transport(client->writer)), 0);
}

TEST(a_pause_when_the_connection_is_made_holds, "R87")
{
    for (int when = 0; when < 2; when++) {
        struct wire wire = { 0 };
        GOT(client);
        if (when == 1) client.then = client_pauses;
        make_parts(&wire, 100, &wire_ops, got_stream, &client);
        if (when == 0) CHECK_INT(eddy_transport_pause_reading(wire.transport), 0);
        CHECK_INT(eddy_protocol_connection_made(wire.protocol, wire.transport), 0);
        drive(&wire);
        CHECK_LOG(&wire, "pause ");
        CHECK(!eddy_transport_is_reading(wire.transport));
        CHECK_INT(client.count, 1);
        finish(&wire);
    }
}

TEST(a_pause_for_data_received_holds_from_that_very_moment, "R88")
{
    struct wire wire = { 0 };
    open_wire(&wire, 3);
    receive(&wire, "123456");
    CHECK(eddy_transport_is_reading(wire.transport));
    receive(&wire, "7");
    CHECK(!eddy_transport_is_reading(wire.transport)); /* a transport that asks knows at once */
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    finish(&wire);
}

/* ---- the end of the stream, and of the connection ------------------------------------------------------ */

TEST(the_peers_end_leaves_our_side_open, "C3 C5")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(read);
    receive(&wire, "bye");
    CHECK(eddy_protocol_eof_received(wire.protocol));
    CHECK(!eddy_writer_is_closing(wire.writer));
    START(&read, eddy_reader_read(wire.reader, EDDY_UNTIL_EOF, got_read, &read));
    drive(&wire);
    CHECK_GOT(read, 1, "bye");
    CHECK(eddy_reader_at_eof(wire.reader));
    CHECK_INT(eddy_protocol_data_received(wire.protocol, "x", 1), EDDY_ESTATE);
    CHECK_INT(eddy_writer_write(wire.writer, "answer", 6), 0);
    drive(&wire);
    CHECK_LOG(&wire, "write(answer) ");
    eddy_protocol *freed = wire.protocol;
    eddy_protocol_free(freed);
    CHECK(!eddy_protocol_eof_received(freed)); /* nobody is there to keep it open for */
    CHECK(!eddy_protocol_eof_received(NULL));
    finish(&wire);
}

TEST(a_connection_lost_in_peace_is_the_end_of_the_stream, "C6 C7 C8")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(read);
    GOT(closed);
    START(&read, eddy_reader_readline(wire.reader, got_read, &read));
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    receive(&wire, "tail");
    drive(&wire);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 0, NULL), 0);
    CHECK_INT(read.count, 0);
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 0, NULL), EDDY_ESTATE);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 9, "again"), EDDY_ESTATE);
    drive(&wire);
    CHECK_GOT(read, 1, "tail");
    CHECK_ENDED(closed, 1, 0);
    CHECK(closed.writer == wire.writer);
    CHECK(read.order < closed.order);
    CHECK(eddy_reader_at_eof(wire.reader));
    CHECK(eddy_reader_exception(wire.reader) == NULL);
    finish(&wire);
    CHECK_INT(read.count, 1);
    CHECK_INT(closed.count, 1);
}

TEST(a_connection_lost_with_an_error_tells_everyone_who_waits, "C6 C7 C8 F11 F13 K3 R12 p18 e14")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(read);
    GOT(drain);
    GOT(other_drain);
    GOT(closed);
    GOT(also_closed);
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), 0);
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    START(&also_closed, eddy_writer_wait_closed(wire.writer, got_writer, &also_closed));
    START(&read, eddy_reader_readline(wire.reader, got_read, &read));
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    START(&other_drain, eddy_writer_drain(wire.writer, got_writer, &other_drain));
    receive(&wire, "half a li");
    drive(&wire);
    CHECK_INT(drain.count + other_drain.count + read.count + closed.count + also_closed.count, 0);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 9, "cut the wire"), 0);
    CHECK_INT(drain.count + other_drain.count + read.count + closed.count + also_closed.count, 0);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 9, "cut the wire"), EDDY_ESTATE);
    drive(&wire);
    CHECK_ENDED(drain, 1, 9);
    CHECK_ENDED(other_drain, 1, 9);
    CHECK_ENDED(read, 1, 9);
    CHECK_ENDED(closed, 1, 9);
    CHECK_ENDED(also_closed, 1, 9);
    CHECK_STR(read.message, "cut the wire");
    CHECK_STR(closed.message, "cut the wire");
    CHECK(drain.order < read.order && other_drain.order < read.order);
    CHECK(read.order < closed.order && read.order < also_closed.order);
    CHECK_INT(eddy_error_code(eddy_reader_exception(wire.reader)), 9);
    CHECK(eddy_writer_is_closing(wire.writer));
    read_and_check(&wire, 100, "half a li"); /* what came before it is still there */
    START(&read, eddy_reader_read(wire.reader, 100, got_read, &read));
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed)); /* as often as you like */
    drive(&wire);
    CHECK_ENDED(read, 2, 9);
    CHECK_ENDED(closed, 2, 9);
    CHECK_INT(eddy_protocol_data_received(wire.protocol, "ghost", 5), EDDY_ESTATE);
    CHECK(!eddy_protocol_eof_received(wire.protocol));
    finish(&wire);
    CHECK_INT(drain.count + other_drain.count + also_closed.count, 3);
}

TEST(release_is_the_last_call_and_comes_after_the_loss, "C15 C8 a19")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_write(wire.writer, "x", 1), 0);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    drive(&wire);
    CHECK_LOG(&wire, "write(x) close ");
    drive(&wire);
    CHECK_LOG(&wire, ""); /* as long as it is not lost, it is not released */
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 0, NULL), 0);
    CHECK_LOG(&wire, ""); /* nor within the call */
    drive(&wire);
    CHECK_LOG(&wire, "release ");
    CHECK(eddy_writer_transport(wire.writer) == wire.transport); /* the same handle, which is dead by now */
    eddy_transport_close(wire.transport);
    eddy_transport_abort(wire.transport);
    eddy_writer_close(wire.writer);
    eddy_writer_abort(wire.writer);
    drive(&wire);
    CHECK_LOG(&wire, "");
    finish(&wire);
}

TEST(an_end_fed_to_a_closing_stream_does_no_harm, "C14")
{
    struct wire wire = { .loses_at_once = true };
    open_wire(&wire, 100);
    GOT(closed);
    GOT(read);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    CHECK_INT(eddy_reader_feed_eof(wire.reader), 0);
    drive(&wire);
    CHECK_ENDED(closed, 1, 0);
    CHECK_INT(eddy_reader_feed_eof(wire.reader), 0);
    START(&read, eddy_reader_read(wire.reader, 10, got_read, &read));
    drive(&wire);
    CHECK_GOT(read, 1, "");
    CHECK(eddy_reader_at_eof(wire.reader));
    finish(&wire);
}

/* ---- drain --------------------------------------------------------------------------------------------- */

TEST(high_and_low_water, "F1 F2")
{
    static char bytes[65537];
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_set_write_buffer_limits(wire.writer, 10, 11), EDDY_EINVAL);
    CHECK_INT(eddy_writer_set_write_buffer_limits(wire.writer, 0, 1), EDDY_EINVAL);
    const struct {
        size_t high, low, mark;
    } marks[] = {
        { SIZE_MAX, SIZE_MAX, 65536 }, /* the defaults, which hold from the start */
        { SIZE_MAX, 10, 40 }, { 100, SIZE_MAX, 100 }, { 100, 100, 100 }, { 0, 0, 0 }, { 0, SIZE_MAX, 0 },
    };
    for (size_t i = 0; i <= sizeof marks / sizeof marks[0]; i++) {
        const size_t mark = i ? marks[i - 1].mark : 65536;
        const size_t high = i ? marks[i - 1].high : 0, low = i ? marks[i - 1].low : 0;
        if (i > 0) CHECK_INT(eddy_writer_set_write_buffer_limits(wire.writer, high, low), 0);
        CHECK_INT(eddy_writer_write(wire.writer, bytes, mark), 0);
        CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), mark);
        drive(&wire);
        CHECK_INT(eddy_writer_write(wire.writer, bytes, mark + 1), 1);
        CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), mark + 1);
        drive(&wire);
        CHECK_INT(eddy_writer_get_write_buffer_size(wire.writer), 0);
    }
    finish(&wire);
}

TEST(a_drain_with_nothing_to_wait_for_is_told_by_the_loop, "F9 F14")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(drain);
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    CHECK_ENDED(drain, 1, 0);
    CHECK(drain.writer == wire.writer);
    /* The bytes lie in a transport that will never send them; that is no matter. */
    CHECK_INT(eddy_writer_write(wire.writer, "never sent", 10), 0);
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    CHECK_ENDED(drain, 2, 0);
    CHECK_LOG(&wire, "write(never sent) ");
    finish(&wire);
    CHECK_INT(drain.count, 2);
}

TEST(drains_wait_until_the_transport_resumes_writing, "F10 F11 F12 R72")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(first);
    GOT(second);
    GOT(third);
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), 0);
    START(&first, eddy_writer_drain(wire.writer, got_writer, &first));
    eddy_op op = START(&second, eddy_writer_drain(wire.writer, got_writer, &second));
    CHECK_INT(eddy_writer_write(wire.writer, "queued", 6) >= 0, 1);
    START(&third, eddy_writer_drain(wire.writer, got_writer, &third));
    drive(&wire);
    CHECK_INT(first.count + second.count + third.count, 0);
    CHECK_LOG(&wire, "write(queued) "); /* taken all the same */
    CHECK_INT(eddy_loop_cancel(wire.loop, op), 0);
    CHECK_INT(second.count, 0);
    drive(&wire);
    CHECK_ENDED(second, 1, EDDY_ECANCELED);
    CHECK_INT(first.count + third.count, 0);
    CHECK_INT(eddy_loop_cancel(wire.loop, op), EDDY_ESTALE);
    receive(&wire, "reading goes on");
    read_and_check(&wire, 100, "reading goes on");
    CHECK_INT(first.count + third.count, 0);
    CHECK_INT(eddy_protocol_resume_writing(wire.protocol), 0);
    CHECK_INT(first.count + third.count, 0);
    drive(&wire);
    CHECK_ENDED(first, 1, 0);
    CHECK_ENDED(third, 1, 0);
    CHECK(first.order < third.order);
    START(&first, eddy_writer_drain(wire.writer, got_writer, &first));
    drive(&wire);
    CHECK_ENDED(first, 2, 0);
    CHECK_LOG(&wire, "");
    finish(&wire);
    CHECK_INT(first.count + second.count + third.count, 4);
}

TEST(drain_tells_the_readers_exception, "F6")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(drain);
    receive(&wire, "unread");
    CHECK_INT(eddy_reader_set_exception(wire.reader, 7, "seven"), 0);
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    CHECK_ENDED(drain, 1, 7);
    CHECK_STR(drain.message, "seven");
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    CHECK_ENDED(drain, 2, 7);
    finish(&wire);
}

TEST(drain_of_a_closing_or_lost_stream, "F7 F8")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(drain);
    CHECK_INT(eddy_writer_write(wire.writer, "x", 1), 0);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    wire.loses_at_once = true;
    drive(&wire);
    CHECK_ENDED(drain, 1, EDDY_ELOST);
    CHECK_INT(drain.system, 0);
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    CHECK_ENDED(drain, 2, EDDY_ELOST);
    CHECK_INT(drain.system, 0);
    finish(&wire);
}

TEST(waiting_drains_end_when_the_stream_is_aborted, "F13")
{
    struct wire wire = { .loses_at_once = true };
    open_wire(&wire, 100);
    GOT(first);
    GOT(second);
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), 0);
    START(&first, eddy_writer_drain(wire.writer, got_writer, &first));
    START(&second, eddy_writer_drain(wire.writer, got_writer, &second));
    drive(&wire);
    CHECK_INT(eddy_writer_abort(wire.writer), 0);
    CHECK_INT(first.count + second.count, 0);
    drive(&wire);
    CHECK_ENDED(first, 1, EDDY_ELOST);
    CHECK_ENDED(second, 1, EDDY_ELOST);
    CHECK_INT(first.system, 0);
    CHECK(first.order < second.order);
    finish(&wire);
}

TEST(waiting_drains_end_when_the_connection_is_lost_in_peace, "F13")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(drain);
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), 0);
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 0, NULL), 0);
    drive(&wire);
    CHECK_ENDED(drain, 1, EDDY_ELOST);
    finish(&wire);
}

TEST(after_the_end_writing_is_refused_also_when_the_network_took_it_before, "W5 W6 W7")
{
    for (int way = 0; way < 3; way++) {
        struct wire wire = { 0 };
        open_wire(&wire, 100);
        CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 9, "cut"), 0);
        drive(&wire);
        CHECK_INT(eddy_writer_write(wire.writer, "x", 1), 0); /* dropped */
        if (way == 0) CHECK_INT(eddy_writer_write_eof(wire.writer), 0);
        if (way == 1) CHECK_INT(eddy_writer_close(wire.writer), 0);
        if (way == 2) CHECK_INT(eddy_writer_abort(wire.writer), 0);
        CHECK_INT(eddy_writer_write(wire.writer, "x", 1), EDDY_ESTATE);
        drive(&wire);
        CHECK_LOG(&wire, "release ");
        finish(&wire);
    }
}

/* ---- close and abort ----------------------------------------------------------------------------------- */

TEST(close_comes_after_what_was_written, "K1 K2")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_write(wire.writer, "farewell", 8), 0);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK(eddy_writer_is_closing(wire.writer));
    CHECK(eddy_transport_is_closing(wire.transport));
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK_INT(eddy_writer_write(wire.writer, "too late", 8), EDDY_ESTATE);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "write(farewell) close ");
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK_INT(eddy_transport_close(wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, "");
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 0, NULL), 0);
    CHECK(eddy_writer_is_closing(wire.writer));
    drive(&wire);
    CHECK(eddy_writer_is_closing(wire.writer));
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK_LOG(&wire, "release ");
    finish(&wire);
}

TEST(closing_the_transport_closes_the_writer, "K1 K2")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK(!eddy_transport_is_closing(wire.transport));
    CHECK_INT(eddy_writer_write(wire.writer, "x", 1), 0);
    CHECK_INT(eddy_transport_close(wire.transport), 0);
    CHECK(eddy_writer_is_closing(wire.writer));
    CHECK(eddy_transport_is_closing(wire.transport));
    drive(&wire);
    CHECK_LOG(&wire, "write(x) close ");
    finish(&wire);
}

TEST(abort_discards_what_was_written, "K2 K5")
{
    struct wire wire = { .loses_at_once = true };
    open_wire(&wire, 100);
    GOT(closed);
    GOT(read);
    CHECK_INT(eddy_writer_write(wire.writer, "never mind", 10), 0);
    START(&read, eddy_reader_read(wire.reader, 10, got_read, &read));
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_abort(wire.writer), 0);
    CHECK(eddy_writer_is_closing(wire.writer));
    CHECK_INT(eddy_writer_abort(wire.writer), 0);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "abort release ");
    CHECK_GOT(read, 1, "");
    CHECK_ENDED(closed, 1, 0);
    CHECK(read.order < closed.order);
    finish(&wire);
}

TEST(abort_after_close, "K5")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    drive(&wire);
    CHECK_LOG(&wire, "close ");
    CHECK_INT(eddy_writer_abort(wire.writer), 0);
    drive(&wire);
    CHECK_LOG(&wire, "abort ");
    CHECK_INT(eddy_transport_abort(wire.transport), 0);
    drive(&wire);
    CHECK_LOG(&wire, "");
    finish(&wire);
}

TEST(close_with_reads_pending, "C9")
{
    for (int exactly = 0; exactly < 2; exactly++) {
        struct wire wire = { .loses_at_once = true };
        open_wire(&wire, 100);
        GOT(read);
        if (exactly) {
            receive(&wire, "abc");
            START(&read, eddy_reader_readexactly(wire.reader, 5, got_read, &read));
        } else {
            START(&read, eddy_reader_read(wire.reader, 5, got_read, &read));
        }
        drive(&wire);
        CHECK_INT(read.count, 0);
        CHECK_INT(eddy_writer_close(wire.writer), 0);
        drive(&wire);
        CHECK_ENDED(read, 1, exactly ? EDDY_EINCOMPLETE : 0);
        CHECK_STR(read.bytes, exactly ? "abc" : "");
        finish(&wire);
    }
}

TEST(wait_closed_with_unread_data, "K3 R89")
{
    struct wire wire = { .loses_at_once = true };
    open_wire(&wire, 3);
    GOT(first);
    GOT(second);
    GOT(later);
    receive(&wire, "unread\ndata");
    drive(&wire);
    CHECK_LOG(&wire, "pause ");
    START(&first, eddy_writer_wait_closed(wire.writer, got_writer, &first));
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    START(&second, eddy_writer_wait_closed(wire.writer, got_writer, &second));
    drive(&wire);
    CHECK_LOG(&wire, "close release ");
    CHECK_ENDED(first, 1, 0);
    CHECK_ENDED(second, 1, 0);
    START(&later, eddy_writer_wait_closed(wire.writer, got_writer, &later));
    drive(&wire);
    CHECK_ENDED(later, 1, 0);
    read_and_check(&wire, 100, "unread\ndata");
    read_and_check(&wire, 100, "");
    finish(&wire);
    CHECK_INT(first.count + second.count + later.count, 3);
}

static void free_bystanders(struct got *got, void *data)
{
    struct wire *wire = data;
    CHECK_INT(eddy_writer_write(wire->writer, "x", 1), EDDY_ESTALE);
    CHECK_INT(got->code, 0);
}

TEST(freeing_the_writer_flushes_closes_and_frees_the_reader, "K1")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(read);
    GOT(drain);
    GOT(closed);
    closed.then = free_bystanders;
    closed.data = &wire;
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), 0);
    START(&read, eddy_reader_readline(wire.reader, got_read, &read));
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_write(wire.writer, "last", 4) >= 0, 1);
    eddy_writer_free(wire.writer);
    eddy_writer_free(wire.writer);
    CHECK_INT(eddy_reader_feed_data(wire.reader, "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_writer_write(wire.writer, "x", 1), EDDY_ESTALE);
    CHECK_INT(read.count + drain.count + closed.count, 0);
    CHECK_LOG(&wire, "");
    drive(&wire);
    CHECK_LOG(&wire, "write(last) close ");
    CHECK_ENDED(read, 1, EDDY_ECANCELED);
    CHECK_ENDED(drain, 1, EDDY_ECANCELED);
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 0, NULL), 0);
    drive(&wire);
    CHECK_LOG(&wire, "release ");
    CHECK_ENDED(closed, 1, 0);
    CHECK(closed.order > read.order && closed.order > drain.order);
    finish(&wire);
    CHECK_INT(read.count + drain.count + closed.count, 3);
}

static void free_the_writer(struct wire *wire)
{
    eddy_writer_free(wire->writer);
    wire->in_write = NULL;
}

TEST(freeing_the_writer_while_its_transport_writes, "e12")
{
    struct wire wire = { .in_write = free_the_writer };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_write(wire.writer, "last", 4), 0);
    drive(&wire);
    CHECK_LOG(&wire, "write(last) close ");
    CHECK_INT(eddy_protocol_connection_lost(wire.protocol, 9, "cut"), 0);
    drive(&wire);
    CHECK_LOG(&wire, "release ");
    finish(&wire);
}

TEST(a_freed_loop_releases_a_transport_that_was_never_lost, "C15")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    GOT(closed);
    GOT(read);
    GOT(drain);
    CHECK_INT(eddy_protocol_pause_writing(wire.protocol), 0);
    START(&closed, eddy_writer_wait_closed(wire.writer, got_writer, &closed));
    START(&read, eddy_reader_readline(wire.reader, got_read, &read));
    START(&drain, eddy_writer_drain(wire.writer, got_writer, &drain));
    drive(&wire);
    finish(&wire);
    CHECK_ENDED(closed, 1, EDDY_ECANCELED);
    CHECK_ENDED(read, 1, EDDY_ECANCELED);
    CHECK_ENDED(drain, 1, EDDY_ECANCELED);
    const char *release = strstr(wire.log, "release ");
    CHECK(release != NULL && release[8] == '\0'); /* the last one, and no other */
}

TEST(a_transport_that_never_joined_anything, "C15")
{
    for (int way = 0; way < 3; way++) {
        struct wire wire = { .loop = eddy_loop_new() };
        wire.transport = eddy_transport_new(wire.loop, &wire_ops, &wire);
        CHECK(wire.transport != NULL);
        drive(&wire);
        CHECK_LOG(&wire, "");
        if (way == 0) CHECK_INT(eddy_transport_close(wire.transport), 0);
        if (way == 1) CHECK_INT(eddy_transport_abort(wire.transport), 0);
        CHECK_LOG(&wire, "");
        drive(&wire);
        CHECK_LOG(&wire, way == 0 ? "close release " : way == 1 ? "abort release " : "");
        finish(&wire);
    }
}

/* ---- extra info ---------------------------------------------------------------------------------------- */

TEST(extra_info_is_what_the_transport_was_told, "K6 K7 S3")
{
    struct wire wire = { 0 };
    open_wire(&wire, 100);
    size_t len = 77;
    CHECK(eddy_writer_get_extra_info(wire.writer, "peername", &len) == NULL);
    CHECK_INT(len, 0);
    char value[] = "carrier pigeon 17";
    CHECK_INT(eddy_transport_set_extra_info(wire.transport, "peername", value, 14), 0);
    memset(value, '?', sizeof value);
    const char *peername = eddy_writer_get_extra_info(wire.writer, "peername", &len);
    CHECK_BYTES(peername, len, "carrier pigeon");
    CHECK(peername[len] == '\0');
    CHECK_STR(eddy_writer_get_extra_info(wire.writer, "peername", NULL), "carrier pigeon");
    CHECK_INT(eddy_transport_set_extra_info(wire.transport, "binary", "a\0b", 3), 0);
    const char *binary = eddy_writer_get_extra_info(wire.writer, "binary", &len);
    CHECK_BYTES(binary, len, "a\0b");
    len = 77;
    CHECK(eddy_writer_get_extra_info(wire.writer, "sslcontext", &len) == NULL);
    CHECK_INT(len, 0);
    CHECK(eddy_writer_get_extra_info(wire.writer, NULL, &len) == NULL);
    CHECK(eddy_writer_get_extra_info(NULL, "peername", &len) == NULL);
    CHECK_INT(eddy_transport_set_extra_info(wire.transport, "peername", "another", 7), 0);
    CHECK_STR(eddy_writer_get_extra_info(wire.writer, "peername", NULL), "another");
    CHECK_INT(eddy_transport_set_extra_info(wire.transport, NULL, "x", 1), EDDY_EINVAL);
    CHECK_INT(eddy_transport_set_extra_info(wire.transport, "name", NULL, 1), EDDY_EINVAL);
    CHECK_INT(eddy_transport_set_extra_info(NULL, "name", "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_writer_close(wire.writer), 0);
    CHECK_STR(eddy_writer_get_extra_info(wire.writer, "peername", NULL), "another");
    finish(&wire);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

struct talk {
    struct wire *wire;
    int round;
    bool closed;
};

static void talk_closed(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct talk *talk = arg;
    CHECK(error == NULL);
    CHECK(!talk->closed);
    talk->closed = true;
    (void)writer;
}

static void talk_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg);

static void talk_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct talk *talk = arg;
    CHECK(error == NULL);
    CHECK(writer == talk->wire->writer);
    CHECK(eddy_reader_readline(talk->wire->reader, talk_read, talk) >= 0);
}

static void talk_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct talk *talk = arg;
    eddy_writer *writer = talk->wire->writer;
    CHECK(error == NULL);
    CHECK(reader == talk->wire->reader);
    if (talk->round < 0) {
        CHECK_INT(len, 0);
        CHECK_INT(eddy_writer_close(writer), 0);
        return;
    }
    char expected[20];
    snprintf(expected, sizeof expected, "round %d\n", talk->round);
    CHECK_STR(bytes, expected);
    if (++talk->round == 1000) {
        talk->round = -1;
        CHECK_INT(eddy_writer_write_eof(writer), 0);
    } else {
        snprintf(expected, sizeof expected, "round %d\n", talk->round);
        CHECK_INT(eddy_writer_write(writer, expected, strlen(expected)), 0);
    }
    CHECK(eddy_writer_drain(writer, talk_drained, talk) >= 0);
    talk->wire->log[0] = '\0';
}

TEST(a_transport_that_echoes, "C1 C6 F9 K1 W13")
{
    struct wire wire = { .echoes = true, .loses_at_once = true };
    struct talk talk = { .wire = &wire };
    open_wire(&wire, 100);
    CHECK_INT(eddy_writer_write(wire.writer, "round 0\n", 8), 0);
    CHECK(eddy_writer_drain(wire.writer, talk_drained, &talk) >= 0);
    CHECK(eddy_writer_wait_closed(wire.writer, talk_closed, &talk) >= 0);
    wire.running = true;
    CHECK_INT(eddy_loop_run(wire.loop), 0);
    CHECK(talk.closed);
    CHECK_LOG(&wire, "eof close release ");
    finish(&wire);
}
