// A legacy portal: it believes two headers about who asks, and knows nothing of
// signing in. Usage: PORT=9005 node examples/demo/portal.mjs
//
// It ends when its standard input closes.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';

const safe = (value) => String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const page = (title, body) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${safe(title)}</title>
<link rel="icon" href="data:,">
<style>body{font:1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}</style>
<h1>${safe(title)}</h1>
${body}
</html>
`;

const HOME = `<p>This portal was written in 2009. It has no accounts of its own: Wardgate stands before it.</p>
<p><a href="/my">My pages</a></p>`;

const SOCKET = `<p>Live connection: <b id="live">…</b></p>
<script>
  const live = document.getElementById('live');
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/my/live');
  socket.onopen = () => { live.textContent = 'open'; };
  socket.onclose = ({ code }) => { live.textContent = 'closed, code ' + code; };
</script>`;

const my = (user, patient) => `<p>The portal reads <code>X-Remote-User: ${safe(user)}</code>.</p>
${SOCKET}
<ul>
<li><a href="/patients/${safe(patient || 'p1')}/results/2024">Results of 2024</a></li>
<li><a href="/patients/${patient === 'p2' ? 'p1' : 'p2'}/results/2024">Somebody else's results</a>: refused</li>
<li><a href="/patients/${safe(patient || 'p1')}/profile">Your address</a>: to change it asks for a second factor, and once more before it is done</li>
<li><a href="/patients/${safe(patient || 'p1')}/payments">Pay a bill</a>: asks for a second factor that is not older than ten minutes</li>
<li><a href="/ward">The ward's list</a>: for nora, a nurse</li>
</ul>
<form method="post" action="/my/notes"><label>A note: <input name="note" value="Better today"></label> <button>Save</button></form>
<p><a href="/_wardgate/sign-in?change=1&amp;to=%2Fmy">Another person</a> · <a href="/_wardgate/sign-out">Sign out</a></p>`;

const back = '<p><a href="/my">Back</a></p>';

const addresses = new Map();

const profile = (address) => `<p>Post goes to: <b>${safe(address)}</b></p>
<form method="post"><label>New address: <input name="address" value="${address === '7 Elm Street' ? '12 Oak Avenue' : '7 Elm Street'}"></label>
<button>Change it</button></form>${back}`;

const server = createServer(async (req, res) => {
  const body = await text(req);
  const { pathname } = new URL(req.url, 'http://portal');
  const { 'x-remote-user': user = 'nobody', 'x-patient': patient = '' } = req.headers;
  const [, of] = /^\/patients\/([^/]+)\/profile$/.exec(pathname) ?? [];
  if (of && req.method === 'POST') {
    addresses.set(of, new URLSearchParams(body).get('address'));
    // As forms do: who loads the next page again sends nothing again.
    return res.writeHead(303, { location: pathname }).end();
  }
  const [title, content] =
    pathname === '/' ? ['Clinic portal', HOME]
    : pathname === '/my' ? ['My pages', my(user, patient)]
    : pathname === '/my/notes' ? ['Saved', `<p>${safe(new URLSearchParams(body).get('note') ?? '')}</p>${back}`]
    : of ? ['Your address', profile(addresses.get(of) ?? '1 Main Street')]
    : [pathname.slice(1), `<p>Shown to ${safe(user)}.</p>${back}`];
  res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page(title, content));
});

// RFC 6455 §4.2.2. The page says nothing but its answer to a close frame.
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
server.on('upgrade', (req, socket) => {
  const accept = createHash('sha1').update(req.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.on('error', () => {}).on('data', () => socket.end());
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
});

server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
process.stdin.resume().on('end', () => process.exit(0));
