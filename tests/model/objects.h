/* The world as the model sees it: every object that was ever made in this round, dead or alive, with all that the
 * header lets one know of it. */
#ifndef EDDY_MODEL_OBJECTS_H
#define EDDY_MODEL_OBJECTS_H

#include "record.h"

enum kind { LOOP, READER, WRITER, SERVER, PROTOCOL, TRANSPORT, TLS, KINDS };

static const char *const kind_names[KINDS] = { "loop", "reader", "writer", "server", "protocol", "transport", "tls" };

/* What a handle stands for. The first member of every object. */
struct thing {
    void *handle;
    enum kind kind;
    int number;
    bool live;
    struct loop *loop;
};

/* ---- operations that were accepted --------------------------------------------------------------------- */

enum read_kind { READ, READLINE, READEXACTLY, READUNTIL, READALL, PEEK, READ_INTO };

struct request {
    enum read_kind kind;
    size_t n;
    char separators[3][6];
    size_t separator_count;
    char *into;
};

struct operation_of {
    enum operation kind;
    int number;
    struct loop *loop;
    void *object;       /* the reader, the connection, the server it is about */
    eddy_op receipt;    /* negative: it cannot be cancelled */
    bool idle;          /* a drain that had nothing to wait for when it was asked for */
    bool done, canceled, decided; /* decided: with this code, whatever comes */
    int code;
    bool due_before;    /* the turn that runs began */
    bool lost_before;   /* wait_closed: asked for when all was over */
    uint64_t due;       /* a timer's time, or a deadline; EDDY_NEVER: none */
    uint64_t turn;      /* of its loop, when it was decided; it is told by the end of the next one */
    struct request request;
    unsigned long long end; /* of what was written without a copy, in all that was written */
};

/* ---- objects ------------------------------------------------------------------------------------------- */

struct loop {
    struct thing thing;
    bool running, freeing, free_asked, stop_asked;
    bool continued; /* this run begins with the rest of a round that was stopped, and another follows */
    bool timed, may_be_timed;                               /* something has been timed on it: the clock is chosen */
    uint64_t now, turn;
    uint64_t timers_begun;  /* number of the timer called last, and its time: none comes before it */
    struct watch {
        struct loop *loop;
        bool on, owed;
        unsigned raised;
    } watches[4];           /* of each of our signals */
};

enum { BYTES_MOST = 1 << 16 };

struct bytes {
    char *at;
    size_t len, room;
};

struct reader {
    struct thing thing;
    size_t limit;
    struct bytes bytes;
    bool eof, skipping;
    int failed; /* the code of its exception; 0: none */
    struct operation_of *read;
    uint64_t timeout;
    struct connection *connection; /* whose transport it holds back */
    struct connection *stream;     /* whose reader it is */
    struct protocol *protocol;
    bool paused, may_be_paused, resumes;
    bool lost;                     /* lost: its protocol said so, with or without a transport */
};

enum face { CUSTOM, PAIR, WORLD };

struct connection {
    enum face face;
    struct loop *loop;
    struct thing transport, writer;
    struct protocol *protocol;
    struct reader *reader;         /* of the writer */
    struct connection *peer;       /* whose bytes come here, where the other side is one of ours too */
    bool served;                   /* a server's client */
    bool untracked;                /* what comes is not known any more */
    bool has_writer, joined;       /* joined: with a reader, a protocol or a writer */
    bool can_pause, can_eof;
    struct bytes out;              /* written and not handed over */
    unsigned long long written, handed;
    size_t high, low;
    bool above;                    /* the high mark was passed, and the low one is not reached */
    bool eof_asked, eof_told, closing, close_told, aborted, abort_told;
    bool lost, released;           /* lost: nothing will come and go any more */
    int lost_code;
    bool pause_asked, pause_told;
    uint64_t timeout, close_due;
    bool timed;                    /* a time was set for what is to be sent */
    bool late;                     /* the time of close was over */
    char info[8];                  /* "peername" */
    size_t info_len;
    bool has_info;
};

struct protocol {
    struct thing thing;
    struct reader *reader;
    struct connection *connection;
    bool made, has_client, writing_paused;
    struct operation_of *client;   /* to be called back when the connection is made */
};

struct server {
    struct thing thing;
    bool closed;
};

struct settings {
    struct thing thing;
    bool server, wrong;
};

/* ---- all of them --------------------------------------------------------------------------------------- */

enum { THINGS = 2048, OPERATIONS_MOST = 8192 };

static struct thing *things[KINDS][THINGS];
static size_t things_count[KINDS];
static struct connection *connections[THINGS];
static size_t connections_count;
static struct operation_of operations[OPERATIONS_MOST];
static size_t operations_count;
static void *arena[THINGS * 8];
static size_t arena_count;
static bool foreign; /* the call is made by another thread */

static void *fresh(size_t size)
{
    void *made = calloc(1, size);
    if (made == NULL || arena_count == sizeof arena / sizeof arena[0]) FAIL("the model has no more room");
    return arena[arena_count++] = made;
}

/* Of sockets, pipes and pairs the kernel, or the other side, decides when bytes and ends come: what has come may be
 * less than what was sent, and an end that is to come may have come. Which bytes come, and what was done on this
 * side, is known. */
static bool vague(const struct connection *connection)
{
    return connection != NULL && connection->face != CUSTOM;
}

static bool vague_reader(const struct reader *reader)
{
    return reader != NULL && vague(reader->stream);
}

static bool roomy(void)
{
    for (size_t i = 0; i < KINDS; i++)
        if (things_count[i] > THINGS - 8) return false;
    return connections_count < THINGS - 8 && arena_count < THINGS * 8 - 64 && operations_count < OPERATIONS_MOST - 64;
}

static void bytes_add(struct bytes *bytes, const char *at, size_t len)
{
    if (bytes->len + len + 1 > bytes->room) {
        bytes->room = (bytes->len + len + 64) * 2;
        bytes->at = realloc(bytes->at, bytes->room);
        CHECK(bytes->at != NULL);
    }
    if (len > 0) memcpy(bytes->at + bytes->len, at, len);
    bytes->len += len;
}

static void bytes_take(struct bytes *bytes, size_t len)
{
    CHECK(len <= bytes->len);
    bytes->len -= len;
    if (len > 0 && bytes->len > 0) memmove(bytes->at, bytes->at + len, bytes->len);
}

static void thing_begin(struct thing *thing, enum kind kind, void *handle, struct loop *loop)
{
    for (size_t k = 0; k < KINDS; k++)
        for (size_t i = 0; i < things_count[k]; i++)
            if (things[k][i]->handle == handle) disagree("a handle that is, or was, another's: %p", handle);
    *thing =
        (struct thing){.handle = handle, .kind = kind, .number = (int)things_count[kind], .live = true, .loop = loop};
    things[kind][things_count[kind]++] = thing;
}

static void everything_forgotten(void)
{
    for (size_t i = 0; i < things_count[READER]; i++) free(((struct reader *)things[READER][i])->bytes.at);
    for (size_t i = 0; i < connections_count; i++) free(connections[i]->out.at);
    while (arena_count > 0) free(arena[--arena_count]);
    for (size_t i = 0; i < KINDS; i++) things_count[i] = 0;
    connections_count = operations_count = 0;
}

/* ---- a handle for a call ------------------------------------------------------------------------------- */

/* A handle, and what comes of it by itself: 0, or the code of its refusal, or another such code. */
struct pick {
    void *handle;
    struct thing *thing; /* NULL: it stands for nothing that lives, or nothing of this kind */
    int code, or_code;
    bool silent;         /* freeing it is no mistake */
};

static const char *called(const struct pick *pick)
{
    static char names[8][40];
    static unsigned next;
    char *name = names[next++ % 8];
    if (pick->handle == NULL) return "NULL";
    if (pick->thing != NULL)
        snprintf(name, 40, "%s%d", kind_names[pick->thing->kind], pick->thing->number);
    else
        snprintf(name, 40, "%s%p", pick->silent ? "freed " : "wrong ", pick->handle);
    return name;
}

static struct thing *live_one(enum kind kind)
{
    const size_t count = things_count[kind];
    for (int tries = 0; tries < 12 && count > 0; tries++) {
        const size_t back = once_in(3) ? chance((uint32_t)count) : chance((uint32_t)(count < 10 ? count : 10));
        if (things[kind][count - 1 - back]->live) return things[kind][count - 1 - back];
    }
    return NULL;
}

static struct pick pick_thing(struct thing *thing)
{
    struct pick pick = { .handle = thing->handle };
    if (thing->live) {
        pick.thing = thing;
        pick.code = foreign && thing->kind != TLS ? EDDY_ETHREAD : 0;
    } else {
        pick.code = EDDY_ESTALE;
        pick.silent = true;
    }
    pick.or_code = pick.code;
    /* Whether a freed handle of another thread's loop is freed cannot be asked without the loop. */
    if (foreign && pick.code == EDDY_ESTALE) pick.or_code = EDDY_ETHREAD;
    return pick;
}

static struct pick pick_any(enum kind kind)
{
    struct pick wrong = { .code = EDDY_ESTALE, .or_code = EDDY_ESTALE };
    if (foreign) wrong.or_code = EDDY_ETHREAD;
    struct thing *thing = live_one(kind);
    const uint32_t manner = chance(40);
    if (manner > 4 && thing != NULL) return pick_thing(thing);
    if (manner == 1) {
        wrong.handle = (void *)((uintptr_t)chance(UINT32_MAX) << 32 | chance(UINT32_MAX));
        return wrong;
    }
    if (manner == 2 && thing != NULL) {
        /* Not the bits of the place: what was made there and is not announced yet would be guessed right. */
        wrong.handle = (void *)((uintptr_t)thing->handle ^ (uintptr_t)1 << (20 + chance(44)));
        /* It may be somebody's all the same; the handles of one stream differ in the bits of the kind alone. */
        for (size_t k = 0; k < KINDS; k++)
            for (size_t i = 0; i < things_count[k]; i++)
                if ((((uintptr_t)things[k][i]->handle ^ (uintptr_t)wrong.handle) & ~((uintptr_t)15 << 48)) == 0)
                    return pick_thing(thing);
        wrong.silent = true; /* it may look as if it had been freed */
        return wrong;
    }
    if (manner == 3) {
        const enum kind other = (kind + 1 + chance(KINDS - 1)) % KINDS;
        thing = live_one(other);
        if (thing != NULL) wrong.handle = thing->handle;
        wrong.silent = thing == NULL;
        return wrong;
    }
    if (manner == 4 && things_count[kind] > 0) return pick_thing(things[kind][chance((uint32_t)things_count[kind])]);
    wrong.silent = true; /* NULL */
    return wrong;
}

/* ---- reports to the exception handler ------------------------------------------------------------------ */

static bool reports_due[FUNCTION_COUNT], reports_allowed[FUNCTION_COUNT];

/* What a code cannot tell is told to the exception handler; without a loop in the thread, to nobody. */
static void report_due(void)
{
    bool is_there = false;
    for (size_t i = 0; i < things_count[LOOP]; i++) is_there |= things[LOOP][i]->live;
    if (foreign || !is_there) return;
    reports_due[now_called] = reports_allowed[now_called] = true;
}

static struct pick pick(enum kind kind)
{
    struct pick chosen = pick_any(kind);
    /* Of a loop that is being freed nobody may ask whether a handle is still good: it is too late for all of them. */
    for (size_t i = 0; i < things_count[LOOP] && chosen.code == EDDY_ESTALE && !foreign; i++)
        if (((struct loop *)things[LOOP][i])->freeing || ((struct loop *)things[LOOP][i])->free_asked)
            chosen.or_code = EDDY_ESTATE;
    return chosen;
}

/* Its loop is being freed, or will be when the callback returns: what is asked of it then may be as ever, or too
 * late. */
static bool dying(const struct pick *pick)
{
    return pick->code == 0 && pick->thing->loop != NULL &&
           (pick->thing->loop->freeing || pick->thing->loop->free_asked);
}

/* A code: what the handle's refusal gives, or else this. Where handle and argument are both wrong, either is told. */
static int answered_for(const struct pick *pick, long long got, int want)
{
    if (dying(pick)) reports_allowed[now_called] = true;
    if (dying(pick)) return answered_either(got, got == 0 || got == EDDY_ESTALE ? (int)got : want, EDDY_ESTATE);
    if (pick->code == 0) return answered(got, want);
    reports_allowed[now_called] = true;
    if (want == EDDY_EINVAL && got == want) return answered(got, want);
    report_due();
    return answered_either(got, pick->code, pick->or_code);
}

/* A receipt. */
static bool accepted_for(const struct pick *pick, eddy_op got, int want)
{
    return answered_for(pick, got >= 0 ? 0 : got, want) == 0;
}

/* A truth or a number, `none` when the handle is no good. */
static void told_for(const struct pick *pick, long long got, long long want, long long none)
{
    if (pick->code != 0) report_due();
    if (dying(pick)) want = got, reports_allowed[now_called] = true;
    told(got, pick->code != 0 ? none : want, pick->code == 0);
}

static void pointer_for(const struct pick *pick, const void *got, bool there)
{
    if (dying(pick)) reports_allowed[now_called] = true;
    if (pick->code != 0) report_due();
    told_pointer(got, dying(pick) ? got != NULL : pick->code == 0 && there);
}

/* Nothing: a free. Of what is freed already, or NULL, it is silent. */
static void freed_for(const struct pick *pick)
{
    line_append(";");
    if (pick->code == 0) tallies[now_called].codes[0]++;
    else tallies[now_called].refused++;
    if (pick->code != 0 || dying(pick)) reports_allowed[now_called] = true;
    if (pick->code != 0 && !pick->silent) report_due();
}

#endif
