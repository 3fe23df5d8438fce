/* The header stands alone, twice, and says what it must in every C. */
#include <eddy.h>
#include <eddy.h>

/* No struct ends in padding: a field added there later would be ignored, unseen. */
#define ENDS_WITH(type, field) (offsetof(type, field) + sizeof(((type *)0)->field) == sizeof(type))
typedef char options_end_so[ENDS_WITH(eddy_options, delay) ? 1 : -1];
typedef char ops_end_so[ENDS_WITH(eddy_transport_ops, release) ? 1 : -1];
typedef char stats_end_so[ENDS_WITH(eddy_stats, handshakes_failed) ? 1 : -1];
typedef char codes_are_negative[EDDY_OK == 0 && EDDY_EINVAL == -1 && EDDY_ETLS == -37 && EDDY_ETIMEDOUT == -38 && EDDY_ECANCELED < 0 ? 1 : -1];
typedef char never_is_never[EDDY_NEVER == UINT64_MAX ? 1 : -1];

#if EDDY_VERSION_NUMBER < 0x000100
#error "the version is not a number that the preprocessor can compare"
#endif

static void opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)writer, (void)error, (void)arg;
}

eddy_op header_compiles(eddy_loop *loop);

eddy_op header_compiles(eddy_loop *loop)
{
    static const char version[] = EDDY_VERSION;
    eddy_op op = eddy_open_connection(loop, version, 80, EDDY_OPTIONS(.limit = 1024, .family = 2), opened, NULL);
    return op < 0 ? op : eddy_start_server(loop, opened, NULL, 0, EDDY_OPTIONS(.backlog = 5, .tls = NULL, .max_clients = 2), NULL,
                                             NULL);
}
