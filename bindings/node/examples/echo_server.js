#!/usr/bin/env node
// echo_server: send every line back to where it came from.
//
//     node echo_server.js 7777          (0: any free port; the first line of the output tells which)
'use strict';
const eddy = require('..');

async function nextLine(reader) {
    try {
        return await reader.readline();
    } catch (error) {
        if (error.code === 'EDDY_ELIMIT') return 'line too long\n'; // the next read begins with the next line
        return null; // the connection is lost
    }
}

async function echo(reader, writer) {
    for (let line; (line = await nextLine(reader)) !== null; ) {
        if (!writer.write(line)) await writer.drain(); // a client that does not listen is not asked for more
    }
    writer.free();
}

async function main(ports) {
    const [text = '7777'] = ports;
    if (ports.length > 1 || !/^\d+$/.test(text) || Number(text) > 65535) {
        console.error('usage: echo_server [PORT]');
        return 2;
    }
    try {
        const server = await eddy.startServer(echo, '127.0.0.1', Number(text), { limit: 4096 });
        console.log(`listening on ${server.sockname()}`);
        await server.waitClosed();
    } catch (error) {
        console.error(`echo_server: ${error.message}`);
    }
    return 1;
}

main(process.argv.slice(2)).then((status) => {
    process.exitCode = status;
});
