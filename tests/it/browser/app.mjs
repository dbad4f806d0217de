// A legacy portal: pages, forms, a WebSocket, and no idea of who anybody is.
// Usage: node tests/it/browser/app.mjs
//
// When ready it prints one line of JSON, {"address": …}; it exits when its
// standard input closes.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { change, done, formsPage } from './forms.mjs';

const escape = (value) => String(value).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

// What the page shows tells the test what came through the gateway.
const page = (title, req, more) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${escape(title)}</title>
<link rel="icon" href="data:,">
<h1>${escape(title)}</h1>
<p id="target">${escape(req.url)}</p>
<p id="cookies">${escape(req.headers.cookie ?? '')}</p>
${more}
</html>
`;

const RESULT = `
<p id="socket">…</p>
<p><a id="next" href="2?from=1&amp;sort=%2Fnewest">Next result</a> <a id="out" href="/_wardgate/sign-out">Sign out</a></p>
<form method="post" action="../notes"><input name="note" value="better today"><button id="save">Save</button></form>
<script>
  const shown = document.getElementById('socket');
  const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/\\/results\\/.*/, '/ws'));
  socket.onopen = () => { shown.textContent = 'open'; };
  socket.onclose = ({ code }) => { shown.textContent = 'closed ' + code; };
</script>`;

const server = createServer(async (req, res) => {
  const body = await buffer(req);
  // Taken, perhaps done, and never answered.
  if (String(body) === 'note=lost') return req.socket.destroy();
  const { pathname } = new URL(req.url, 'http://app');
  // For the test, which asks without the gateway.
  if (pathname === '/done') return res.end(JSON.stringify(done));
  const answer = { status: 200, title: pathname, more: `<p id="body">${escape(body)}</p>` };
  if (/\/results\/(forms|spa)$/.test(pathname)) {
    Object.assign(answer, { title: 'Your address', more: formsPage(res, pathname.endsWith('spa')) });
  } else if (pathname.includes('/results/')) {
    Object.assign(answer, { title: `Result ${pathname.split('/').pop()}`, more: RESULT });
  } else if (pathname.endsWith('/profile') && req.method !== 'GET') {
    Object.assign(answer, await change(req, body));
  }
  const { status, title, more, json, location } = answer;
  if (location) return res.writeHead(status, { location }).end();
  if (json) return res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
  res.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(page(title, req, more));
});

// RFC 6455 §4.2.2. The page sends nothing but its answer to a close frame.
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
server.on('upgrade', (req, socket) => {
  const accept = createHash('sha1').update(req.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.on('error', () => {}).on('data', () => socket.end());
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
});

server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ address: `127.0.0.1:${server.address().port}` }));
