// test_eddy.js: eddy against node:net, and against itself. Wants --expose-gc.
'use strict';
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const tls = require('node:tls');
const { setTimeout: sleep } = require('node:timers/promises');
const { Worker } = require('node:worker_threads');
const eddy = require('..');

const latin1 = (bytes) => (bytes === null ? null : bytes.toString('latin1'));
const is = (code) => (error) => error instanceof eddy.EddyError && error.code === code && error.message !== '';

// Runs body with a connection of eddy's to a server of Node's that does this with its socket.
async function withPeer(serve, body, options) {
    const sockets = [];
    const server = net.createServer((socket) => {
        sockets.push(socket);
        socket.on('error', () => {});
        serve(socket);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address();
    try {
        const [reader, writer] = await eddy.openConnection('127.0.0.1', port, options);
        await body(reader, writer, port);
        writer.free();
    } finally {
        sockets.forEach((socket) => socket.destroy());
        server.close();
    }
}

const says = (text) => (socket) => socket.write(text, 'latin1');
const ends = (text) => (socket) => socket.end(text, 'latin1');
const echoes = (socket) => socket.pipe(socket);

// An echo server of eddy's; what it does for a client may be told.
async function serving(client) {
    const server = await eddy.startServer(client, '127.0.0.1', 0);
    return [server, Number(server.sockname().split(':')[1])];
}

// What goes to the exception handler while body runs.
async function reportsOf(body) {
    const reports = [];
    eddy.setExceptionHandler((message, error) => reports.push({ message, error }));
    try {
        await body(reports);
        await sleep(5);
    } finally {
        eddy.setExceptionHandler(null);
    }
    return reports;
}

// Runs a program of its own, to its end.
function run(program) {
    const index = JSON.stringify(path.join(__dirname, '..'));
    return spawnSync(process.execPath, ['--expose-gc', '-e', `const eddy = require(${index}); ${program}`],
                     { timeout: 20000, encoding: 'latin1' });
}

test('every kind of read, and null at the end', () =>
    withPeer(ends('one\ntwo\r\nabc;def\0\xfftail'), async (reader, writer, port) => {
        assert.equal(latin1(await reader.readline()), 'one\n');
        assert.equal(latin1(await reader.readuntil()), 'two\r\n');
        assert.equal(latin1(await reader.readuntil(Buffer.from(';'))), 'abc;');
        assert.equal(latin1(await reader.readexactly(5)), 'def\0\xff');
        assert.equal(latin1(await reader.read(2)), 'ta');
        assert.equal((await reader.read(0)).length, 0);
        assert.equal(latin1(await reader.read(100)), 'il');
        assert.equal(await reader.read(100), null);
        assert.equal(await reader.readline(), null);
        assert.equal((await reader.read()).length, 0);
        assert.equal(reader.atEof(), true);
        assert.equal(writer.getExtraInfo('peername'), `127.0.0.1:${port}`);
        assert.equal(writer.getExtraInfo('nothing'), null);
    }));

test('lines, up to one without a newline', () =>
    withPeer(ends('a\n\nb'), async (reader) => {
        const lines = [];
        for await (const line of reader) lines.push(String(line));
        assert.deepEqual(lines, ['a\n', '\n', 'b']);
    }));

test('what was read is a copy', () =>
    withPeer(echoes, async (reader, writer) => {
        writer.write('first\n');
        const first = await reader.readline();
        writer.write(new Uint8Array(Buffer.from('other\n')));
        await reader.readline();
        assert.equal(String(first), 'first\n');
    }));

test('an end too early tells what had come', () =>
    withPeer(ends('a\0bc'), async (reader) => {
        await assert.rejects(reader.readexactly(10), (error) => {
            assert.ok(is('EDDY_EINCOMPLETE')(error));
            assert.deepEqual([error.expected, latin1(error.partial)], [10, 'a\0bc']);
            return true;
        });
    }));

test('a line beyond options.limit', () =>
    withPeer(says('x'.repeat(100) + '\nnext\n'), async (reader) => {
        await assert.rejects(reader.readline(), is('EDDY_ELIMIT'));
        assert.equal(String(await reader.readline()), 'next\n');
    }, { limit: 64 }));

test('a connection that is reset', () =>
    withPeer((socket) => socket.once('data', () => socket.resetAndDestroy()), async (reader, writer) => {
        writer.write('!');
        await assert.rejects(reader.readline(), (error) => is('EDDY_ELOST')(error) &&
                                                           error.errno === os.constants.errno.ECONNRESET);
        await assert.rejects(writer.drain(), is('EDDY_ELOST'));
    }));

test("nobody there: the system's reason and the address", async () => {
    const [server, port] = await serving(() => {});
    server.close();
    await assert.rejects(eddy.openConnection('127.0.0.1', port), (error) => {
        assert.ok(is('EDDY_ESYSTEM')(error));
        assert.equal(error.errno, os.constants.errno.ECONNREFUSED);
        assert.match(error.message, new RegExp(`127.0.0.1:${port}`));
        return true;
    });
    await assert.rejects(eddy.openUnixConnection('/nonexistent/socket'), is('EDDY_ESYSTEM'));
    await withPeer(echoes, (_reader, _writer, taken) =>
        assert.rejects(eddy.startServer(() => {}, '127.0.0.1', taken), is('EDDY_ESYSTEM')));
});

test('a read that is late, and what it saw', () =>
    withPeer(echoes, async (reader, writer) => {
        reader.setTimeout(20);
        writer.write('half');
        await assert.rejects(reader.readline(), is('EDDY_ETIMEDOUT'));
        reader.setTimeout(0);
        writer.write(' and half\n');
        assert.equal(String(await reader.readline()), 'half and half\n');
    }));

test('connecting within options.timeoutMs, or until a signal', async () => {
    const name = `@eddy-node-${process.pid}`;
    const server = await eddy.startUnixServer(() => {}, name, { maxClients: 1, backlog: 1 });
    const opened = [];
    await assert.rejects(async () => {
        while (opened.length < 100) opened.push(await eddy.openUnixConnection(name, { timeoutMs: 100 }));
    }, is('EDDY_ETIMEDOUT'));
    assert.ok(opened.length > 0);
    await assert.rejects(eddy.openUnixConnection(name, { signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
    server.abortClients();
    server.close();
    await server.waitClosed();
});

test('a read that a signal ends loses nothing', () =>
    withPeer(echoes, async (reader, writer) => {
        const controller = new AbortController();
        const line = reader.readline({ signal: controller.signal });
        writer.write('half');
        await sleep(20);
        controller.abort(new Error('mine'));
        await assert.rejects(line, { message: 'mine' });
        await assert.rejects(reader.readline({ signal: AbortSignal.abort() }), { name: 'AbortError' });
        writer.write(' and half\n');
        assert.equal(String(await reader.readline({ signal: AbortSignal.timeout(10000) })), 'half and half\n');
    }));

test('waiting reads and drains live through the garbage collector', async () => {
    const [server, port] = await serving(async (reader, writer) => {
        for await (const line of reader) {
            global.gc();
            writer.write(line);
            await writer.drain();
        }
        writer.free();
    });
    const writers = [];
    const lines = [];
    for (let i = 0; i < 20; i++) {
        const [reader, writer] = await eddy.openConnection('127.0.0.1', port);
        lines.push(reader.readline());
        writers.push(writer);
    }
    for (const [i, writer] of writers.entries()) {
        global.gc();
        writer.write(`${i}\n`);
        await sleep(1);
        global.gc();
    }
    assert.deepEqual((await Promise.all(lines)).map(String), writers.map((_, i) => `${i}\n`));
    writers.forEach((writer) => writer.free());
    server.close();
});

test('a connection that nobody keeps is closed', async () => {
    let ended;
    const end = new Promise((resolve) => (ended = resolve));
    const [server, port] = await serving(async (reader, writer) => {
        writer.write('hello\n');
        await reader.readline();
        writer.free();
        ended('closed');
    });
    let [reader] = await eddy.openConnection('127.0.0.1', port);
    await sleep(5);
    global.gc(); // the reader alone keeps the connection
    await sleep(5);
    assert.equal(String(await reader.readline()), 'hello\n');
    assert.equal(await Promise.race([end, sleep(20, 'open')]), 'open');
    reader = null;
    let state = 'open';
    for (let i = 0; i < 100 && state === 'open'; i++) {
        global.gc();
        state = await Promise.race([end, sleep(5, 'open')]);
    }
    assert.equal(state, 'closed');
    server.close();
});

test('a client that throws is reported and closed; the server goes on', async () => {
    const answers = [];
    const reports = await reportsOf(async () => {
        const [server, port] = await serving(async (reader, writer) => {
            const line = String(await reader.readline());
            if (line === 'throw\n') throw new Error('on purpose');
            if (line === 'misuse\n') writer.write(null);
            writer.write(line);
            writer.close();
        });
        for (const line of ['throw\n', 'misuse\n', 'work\n']) {
            const [reader, writer] = await eddy.openConnection('127.0.0.1', port);
            writer.write(line);
            answers.push(String(await reader.read()));
            writer.free();
        }
        server.close();
        const [throwing, at] = await serving(() => {
            throw new Error('at once');
        });
        const [reader, writer] = await eddy.openConnection('127.0.0.1', at);
        answers.push(await reader.readline());
        writer.free();
        throwing.close();
    });
    assert.deepEqual(answers, ['', '', 'work\n', null]);
    assert.deepEqual(reports.map(({ error }) => error.code ?? error.message), ['on purpose', 'EDDY_EINVAL', 'at once']);
});

test('an exception handler that throws itself is survived; without one there is a line on stderr', async (t) => {
    const printed = t.mock.method(console, 'error', () => {});
    for (const handler of [() => { throw new Error('worse'); }, null]) {
        eddy.setExceptionHandler(handler);
        const [server, port] = await serving(() => {
            throw new Error('bad');
        });
        const [reader, writer] = await eddy.openConnection('127.0.0.1', port);
        assert.equal(await reader.readline(), null);
        writer.free();
        server.close();
    }
    const lines = printed.mock.calls.map(({ arguments: words }) => words.map(String).join(' '));
    assert.deepEqual(lines, ['eddy: a client failed Error: bad', 'eddy: and the exception handler: Error: worse',
                             'eddy: a client failed Error: bad']);
});

test('handles that are stale are errors', async () => {
    const reports = await reportsOf(() =>
        withPeer(echoes, async (reader, writer) => {
            const line = reader.readline();
            await sleep(1);
            writer.free();
            writer.free();
            await assert.rejects(line, is('EDDY_ECANCELED'));
            await assert.rejects(reader.readline(), is('EDDY_ESTALE'));
            await assert.rejects(writer.drain(), is('EDDY_ESTALE'));
            await assert.rejects(writer.waitClosed(), is('EDDY_ESTALE'));
            assert.throws(() => writer.write('x'), is('EDDY_ESTALE'));
            assert.throws(() => writer.close(), is('EDDY_ESTALE'));
            assert.throws(() => reader.setTimeout(1), is('EDDY_ESTALE'));
            assert.equal(reader.atEof(), false);
            assert.equal(writer.getExtraInfo('peername'), null);
        }));
    assert.match(reports[0].message, /stale/);
});

test('arguments that make no sense', () =>
    withPeer(echoes, async (reader, writer, port) => {
        const refused = (promise) => assert.rejects(promise, is('EDDY_EINVAL'));
        for (const bad of [-1, 65536, 1.5, NaN, '80', null, undefined, {}, 80n]) {
            await refused(eddy.openConnection('127.0.0.1', bad));
            await refused(eddy.startServer(() => {}, '127.0.0.1', bad));
        }
        for (const bad of [5, null, undefined, 'a\0b', {}, Buffer.from('a')]) {
            await refused(eddy.openConnection(bad, port));
            await refused(eddy.openUnixConnection(bad));
            await refused(eddy.startUnixServer(() => {}, bad));
        }
        await refused(eddy.startServer(null, '127.0.0.1', 0));
        await refused(eddy.startServer('client', '127.0.0.1', 0));
        await refused(eddy.startServer(() => {}, '127.0.0.1', 0, { localPort: 1 }));
        for (const bad of [{ limit: -1 }, { limit: 'x' }, { localPort: 65536 }, { backlog: 2 ** 31 }, { limitt: 1 },
                           { size: 1 }, { localHost: 5 }, { constructor: 1 }]) {
            await refused(eddy.openConnection('127.0.0.1', port, bad));
        }
        await refused(reader.read(-1));
        await refused(reader.read('1'));
        await refused(reader.readexactly());
        await refused(reader.readuntil(''));
        await refused(reader.readuntil(5));
        for (const bad of [5, null, undefined, [], {}]) assert.throws(() => writer.write(bad), is('EDDY_EINVAL'));
        assert.throws(() => reader.setTimeout(-1), is('EDDY_EINVAL'));
        assert.throws(() => eddy.setExceptionHandler(5), is('EDDY_EINVAL'));
        await assert.rejects(reader.readline.call({}), TypeError);
        const line = reader.readline();
        await assert.rejects(reader.readline(), is('EDDY_EBUSY'));
        writer.close();
        assert.throws(() => writer.write('x'), is('EDDY_ESTATE'));
        assert.equal(writer.isClosing(), true);
        assert.equal(await line, null);
    }, { keepAlive: true }));

test('a unix server: half-close, close, waitClosed, and shutdown with a grace', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'eddy-'));
    const socket = path.join(directory, 'socket');
    const server = await eddy.startUnixServer(async (reader, writer) => {
        const heard = await reader.read();
        if (!writer.isClosing()) writer.write(String(heard).toUpperCase());
        writer.close();
        await writer.waitClosed();
    }, socket);
    assert.equal(server.sockname(), socket);
    const [reader, writer] = await eddy.openUnixConnection(socket);
    writer.write('shout');
    writer.writeEof();
    assert.equal(String(await reader.read()), 'SHOUT');
    writer.free();
    const [lazy, itsWriter] = await eddy.openUnixConnection(socket);
    await sleep(5);
    await assert.rejects(server.shutdown(20), is('EDDY_ETIMEDOUT'));
    assert.equal((await lazy.read()).length, 0);
    itsWriter.free();
    assert.equal(server.isServing(), false);
    await server.waitClosed();
    fs.rmdirSync(directory); // which is empty
});

test('more is written than the peer reads: write says so, and drain waits', () =>
    withPeer((socket) => socket.pause(), async (reader, writer) => {
        assert.equal(writer.write('small'), true);
        let drained;
        let stuck = false;
        while (!stuck) { // until all buffers on the way are full
            if (writer.write(Buffer.alloc(1e6))) continue;
            drained = writer.drain();
            stuck = await Promise.race([drained.then(() => false), sleep(50, true)]);
        }
        await assert.rejects(writer.drain({ signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
        writer.abort();
        await assert.rejects(drained, is('EDDY_ELOST'));
    }));

test('tls: from the first byte on, and from a later one', async (t) => {
    const directory = process.env.EDDY_CERTIFICATES;
    if (!directory) return t.skip('no certificates');
    const at = (name) => path.join(directory, name);
    let ours;
    try {
        ours = eddy.tlsServer().loadCertificate(at('server.pem'), at('server.key')).setAlpn('echo');
    } catch (error) {
        if (error.code === 'EDDY_ENOTSUP') return t.skip('a library without TLS');
        throw error;
    }
    const echo = async (reader, writer) => {
        for await (const line of reader) writer.write(line);
        writer.close();
    };
    const server = await eddy.startServer(echo, '127.0.0.1', 0, { tls: ours });
    const port = Number(server.sockname().split(':')[1]);
    const ca = fs.readFileSync(at('authority.pem'));
    const theirs = tls.connect({ host: '127.0.0.1', port, ca, servername: 'localhost', ALPNProtocols: ['echo'] });
    theirs.write('secret\n');
    assert.equal(String((await once(theirs, 'data'))[0]), 'secret\n');
    theirs.end();

    const trusting = eddy.tlsClient().trust(ca.toString()).setAlpn('echo').setResumption(false);
    const asClient = { tls: trusting, serverHostname: 'localhost' };
    const [reader, writer] = await eddy.openConnection('127.0.0.1', port, asClient);
    global.gc();
    writer.write('secret\n');
    assert.equal(String(await reader.readline()), 'secret\n');
    assert.equal(writer.getExtraInfo('alpn'), 'echo');
    assert.ok(writer.getExtraInfo('peercert').length > 100);
    writer.free();
    const reports = await reportsOf(() =>
        assert.rejects(eddy.openConnection('127.0.0.1', port, { tls: eddy.tlsClient() }), is('EDDY_ETLS')));
    assert.equal(reports.length, 1); // the server's half of it
    server.close();

    const [later, laterPort] = await serving(async (reader, writer) => {
        assert.equal(String(await reader.readline()), 'STARTTLS\n');
        writer.write('READY\n');
        await writer.startTls({ tls: ours });
        await echo(reader, writer);
    });
    const [clear, both] = await eddy.openConnection('127.0.0.1', laterPort);
    both.write('STARTTLS\n');
    assert.equal(String(await clear.readline()), 'READY\n');
    await both.startTls(asClient);
    both.write('secret\n');
    assert.equal(String(await clear.readline()), 'secret\n');
    await assert.rejects(both.startTls(asClient), is('EDDY_ESTATE'));
    both.free();
    later.close();

    const wrong = eddy.tlsServer();
    assert.throws(() => wrong.loadCertificate('/nonexistent.pem'), /nonexistent\.pem/);
    assert.throws(() => wrong.setAlpn(5), is('EDDY_EINVAL'));
    assert.throws(() => wrong.setAlpn.call({}, 'x'), TypeError);
    await assert.rejects(eddy.startServer(echo, '127.0.0.1', 0, { tls: wrong }), eddy.EddyError);
    await assert.rejects(eddy.startServer(echo, '127.0.0.1', 0, { tls: 5n }), is('EDDY_EINVAL'));
});

test('two hundred connections at once, and Node ticks on', async () => {
    let ticks = 0;
    const clock = setInterval(() => ticks++, 1);
    const [server, port] = await serving(async (reader, writer) => {
        for await (const line of reader) if (!writer.write(line)) await writer.drain();
        writer.free();
    });
    await Promise.all(Array.from({ length: 200 }, async (_, i) => {
        const [reader, writer] = await eddy.openConnection('127.0.0.1', port);
        for (let n = 0; n < 10; n++) {
            writer.write(`${i} ${n}\n`);
            assert.equal(String(await reader.readline()), `${i} ${n}\n`);
        }
        writer.free();
    }));
    clearInterval(clock);
    await server.shutdown(5000);
    assert.ok(ticks > 5, `${ticks} ticks`);
});

test('a program ends when nothing is left to wait for, and what it wrote has arrived', async () => {
    const received = [];
    const server = net.createServer((socket) => socket.on('data', (data) => received.push(data)).on('error', () => {}));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const worker = new Worker(`
        const eddy = require(${JSON.stringify(path.join(__dirname, '..'))});
        eddy.openConnection('127.0.0.1', ${server.address().port}).then(([, writer]) => writer.write('bye'));
    `, { eval: true });
    assert.deepEqual(await once(worker, 'exit'), [0]);
    for (let i = 0; i < 1000 && received.length === 0; i++) await sleep(5);
    assert.equal(String(Buffer.concat(received)), 'bye');
    server.close();

    const reading = run(`(async () => {
        const server = await eddy.startServer(async (reader, writer) => {
            setTimeout(() => { writer.write('late'); writer.free(); server.close(); }, 50);
        }, '127.0.0.1', 0);
        const [reader] = await eddy.openConnection('127.0.0.1', Number(server.sockname().split(':')[1]));
        console.log(String(await reader.read()));
    })()`);
    assert.deepEqual([reading.status, reading.stdout, reading.stderr], [0, 'late\n', '']);
});

test('a server that nobody keeps serves on; then the program ends in the midst, by exit or by an exception', () => {
    const busy = `(async () => {
        const port = (await eddy.startServer(async (reader, writer) => {
            for await (const line of reader) writer.write(line);
        }, '127.0.0.1', 0)).sockname().split(':')[1];
        await new Promise(setImmediate);
        global.gc();
        const [reader, writer] = await eddy.openConnection('127.0.0.1', Number(port));
        writer.write('x\\n');
        console.log(String(await reader.readline()));
        writer.write('y\\n');`;
    const exits = run(`${busy} process.exit(3); })()`);
    assert.deepEqual([exits.status, exits.stdout, exits.stderr], [3, 'x\n\n', '']);
    const throws = run(`${busy} throw new Error('on purpose'); })()`);
    assert.equal(throws.status, 1);
    assert.match(throws.stderr, /on purpose/);
});
