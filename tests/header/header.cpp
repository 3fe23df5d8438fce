// The header stands alone, twice, and says what it must in every C++.
#include <eddy.h>
#include <eddy.h>

static_assert(EDDY_OK == 0 && EDDY_EINVAL == -1 && EDDY_ECANCELED < 0, "codes are negative");
static_assert(EDDY_UNTIL_EOF == static_cast<size_t>(-1), "no count is as large");
static_assert(EDDY_VERSION_NUMBER >= 0x000100, "the version can be compared");

eddy_op header_compiles(eddy_loop *loop);

eddy_op header_compiles(eddy_loop *loop)
{
    eddy_options options = {};
    options.size = sizeof options;
    options.limit = 1024;
    // A function without captures is a callback.
    return eddy_open_connection(
        loop, "localhost", 80, &options,
        [](eddy_reader *, eddy_writer *writer, const eddy_error *, void *) { eddy_writer_free(writer); }, nullptr);
}
