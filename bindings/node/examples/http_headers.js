#!/usr/bin/env node
// http_headers: ask a web server about a page, and print the headers of its answer.
//
//     node http_headers.js https://example.com/path/page.html
'use strict';
const eddy = require('..');

// http[s]://HOST[:PORT][/PATH]; HOST may be an IPv6 address in brackets.
const FORM = /^http(s?):\/\/((?:\[([^[\]/]{1,255})\]|([^[\]/:?#@]{1,255}))(?::(\d{1,5}))?)(?![^/?#])([^#]*)/;

// What to ask whom for; null: the URL is not of that form.
function parse(url) {
    if (url.length > 2000 || /[^!-~]/.test(url)) return null;
    const [, s, authority, address, name, port = s ? '443' : '80', path] = url.match(FORM) ?? [];
    if (authority === undefined || Number(port) < 1 || Number(port) > 65535) return null;
    const options = s ? { tls: eddy.tlsClient() } : {}; // trusts whom the system trusts
    return { authority, host: address ?? name, port: Number(port), path: path.replace(/^(?!\/)/, '/'), options };
}

async function printHeaders({ authority, host, port, path, options }) {
    const [reader, writer] = await eddy.openConnection(host, port, options);
    writer.write(`HEAD ${path} HTTP/1.0\r\nHost: ${authority}\r\n\r\n`);
    let answered = false;
    for await (const bytes of reader) {
        const line = bytes.toString('latin1').trimEnd();
        if (line === '') break;
        process.stdout.write(`HTTP header> ${line}\n`, 'latin1');
        answered = true;
    }
    writer.close();
    if (!answered) throw new Error('the server did not answer');
}

async function main(urls) {
    const page = urls.length === 1 ? parse(urls[0]) : null;
    if (page === null) {
        console.error('usage: http_headers http[s]://HOST[:PORT][/PATH]');
        return 2;
    }
    try {
        await printHeaders(page);
        return 0;
    } catch (error) {
        console.error(`http_headers: ${error.message}`);
        return 1;
    }
}

main(process.argv.slice(2)).then((status) => {
    process.exitCode = status;
});
