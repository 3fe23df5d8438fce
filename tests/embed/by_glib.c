/* The program under GLib's main loop. */
#include "drive.h"

#include <glib-unix.h>

struct eddy_source {
    GSource base;
    eddy_loop *loop;
    gpointer tag;
};

static gboolean prepare(GSource *base, gint *timeout)
{
    *timeout = eddy_loop_timeout(((struct eddy_source *)base)->loop);
    return *timeout == 0;
}

static gboolean check(GSource *base)
{
    struct eddy_source *source = (struct eddy_source *)base;
    return g_source_query_unix_fd(base, source->tag) != 0 || eddy_loop_timeout(source->loop) == 0;
}

static long dispatched;
static GMainLoop *main_loop;

static gboolean dispatch(GSource *base, GSourceFunc callback, gpointer data)
{
    (void)callback, (void)data;
    eddy_loop_run_once(((struct eddy_source *)base)->loop, 0);
    dispatched++;
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs functions = { .prepare = prepare, .check = check, .dispatch = dispatch };

static gboolean poke(gpointer data)
{
    echo_poke(data);
    if (echo_over(data)) g_main_loop_quit(main_loop);
    return G_SOURCE_CONTINUE;
}

static long drive(eddy_loop *loop, struct echo *echo)
{
    GSource *base = g_source_new(&functions, sizeof(struct eddy_source));
    struct eddy_source *source = (struct eddy_source *)base;
    source->loop = loop;
    source->tag = g_source_add_unix_fd(base, eddy_loop_fd(loop), G_IO_IN);
    g_source_attach(base, NULL);
    main_loop = g_main_loop_new(NULL, FALSE);
    const guint timer = g_timeout_add(20, poke, echo);
    g_main_loop_run(main_loop);
    g_source_remove(timer);
    g_source_destroy(base);
    g_source_unref(base);
    g_main_loop_unref(main_loop);
    return dispatched;
}
