// A service that asks people for more proof, as Wardgate's `type: http` wants it: docs/step-up-service.yaml.
// It needs Node.js 20 and nothing else:
//
//   SECRET_FILE=secret KEY_FILE=service.key node examples/step_up_service/server.mjs
//
// Copy it and put your own proof where `ownProof` is. THIS EXAMPLE BELIEVES WHOEVER OPENS THE PAGE.
//
//   SECRET_FILE  the secret that the gateway shows (its `secret_file`)
//   KEY_FILE     the private key of the results; made if it is missing, with the gateway's `keys_file` beside it:
//                service.key and service.key.jwks
//   PORT         8090
//   URL          this service's address as the gateway's `url` has it: http://127.0.0.1:8090
//   LIFETIME     how long a person has, in seconds: 120
//   INTERVAL     how long the gateway waits between two looks, in seconds: 2
import { createServer } from 'node:http';
import * as crypto from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const { SECRET_FILE, KEY_FILE, PORT = '8090', LIFETIME = '120', INTERVAL = '2' } = process.env;
if (!SECRET_FILE || !KEY_FILE) throw new Error('set SECRET_FILE and KEY_FILE: see the top of this file');
const OWN = (process.env.URL ?? `http://127.0.0.1:${PORT}`).replace(/\/+$/, '');
const MOST_BODY = 16 * 1024;
const MOST_PROMPTS = 10_000;

const digest = (text) => crypto.createHash('sha256').update(text).digest();
const OUR_SECRET = readFileSync(SECRET_FILE, 'utf8').trim();
const SECRET = digest(`Bearer ${OUR_SECRET}`);
const KEY = privateKey();
const KID = crypto.createHash('sha256').update(publicJwk().x).digest('base64url').slice(0, 12);

function privateKey() {
  if (existsSync(KEY_FILE)) return crypto.createPrivateKey(readFileSync(KEY_FILE));
  const key = crypto.generateKeyPairSync('ed25519').privateKey;
  writeFileSync(KEY_FILE, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return key;
}
function publicJwk() {
  return crypto.createPublicKey(KEY).export({ format: 'jwk' });
}
writeFileSync(`${KEY_FILE}.jwks`, JSON.stringify({ keys: [{ ...publicJwk(), kid: KID, alg: 'EdDSA', use: 'sig' }] }));

// What was asked: in memory, so all is forgotten at a restart. Several of these need a store that they share.
const prompts = new Map();
const byIdempotencyKey = new Map();
const now = () => Math.floor(Date.now() / 1000);

function forgetOld() {
  for (const [id, prompt] of prompts) {
    // For a while longer, so that the gateway learns that it is over.
    if (prompt.expires_at + 60 > now() && prompts.size <= MOST_PROMPTS) break;
    prompts.delete(id);
    byIdempotencyKey.delete(prompt.key);
  }
}

/// A signed result: who was there, when and how. It is made when it is fetched, so it may be short-lived.
function result(id, { nonce, person, proof }) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const header = { typ: 'wardgate-step-up+jwt', alg: 'EdDSA', kid: KID };
  const claims = {
    iss: OWN, aud: 'wardgate', sub: person.subject, jti: id, nonce,
    iat: now(), exp: now() + 60, auth_time: proof.at, amr: proof.methods,
  };
  const input = `${part(header)}.${part(claims)}`;
  return `${input}.${crypto.sign(null, Buffer.from(input), KEY).toString('base64url')}`;
}

// The contract's three calls.

function start(body, key) {
  const texts = [body?.person?.issuer, body?.person?.subject, body?.label, body?.code, body?.nonce, body?.come_back];
  if (!texts.every((text) => typeof text === 'string' && text)) return [400];
  // A person whom you can't ask, say because no phone is known: the gateway offers another way. Where nobody has signed
  // in, better ask whoever it is: an answer that differs tells strangers who has an account.
  if (['nobody', accountName('nobody')].includes(body.person.subject)) return [422];
  forgetOld();
  // The same question again: the gateway did not get the first answer.
  let id = byIdempotencyKey.get(key);
  if (!id || !prompts.has(id)) {
    id = crypto.randomBytes(18).toString('base64url');
    prompts.set(id, { ...body, key, state: 'waiting', expires_at: now() + Number(LIFETIME) });
    if (key) byIdempotencyKey.set(key, id);
  }
  return [201, { id, interval: Number(INTERVAL), expires_in: Number(LIFETIME), page: `${OWN}/pages/${id}` }];
}

function look(id) {
  const prompt = prompts.get(id);
  if (!prompt) return [404];
  if (prompt.state === 'proven') return [200, { state: 'proven', result: result(id, prompt) }];
  if (prompt.state === 'waiting' && prompt.expires_at <= now()) return [200, { state: 'expired' }];
  return [200, { state: prompt.state, interval: Number(INTERVAL) }];
}

function cancel(id) {
  byIdempotencyKey.delete(prompts.get(id)?.key);
  return [prompts.delete(id) ? 204 : 404];
}

// Somebody has forgotten a password, say, and has not signed in. The gateway does not tell the account that they wrote, only
// this digest of it: whoever knows the account can tell that it is this one.
const NOBODY = 'urn:wardgate:anonymous';
function accountName(account) {
  const plain = account.normalize('NFKC').trim().toLowerCase();
  return crypto.createHmac('sha256', OUR_SECRET).update(`wardgate-account:${plain}`).digest('base64url');
}

// The page at which the person is asked. One that calls or texts people needs none: leave `page` out of the answer.

const WORDS = {
  en: { ask: 'Is it you?', account: 'Your account:', code: 'Your other page shows this code:', yes: "It's me", no: "It's not me", over: 'This is over.' },
  es: { ask: '¿Es usted?', account: 'Su cuenta:', code: 'Su otra página muestra este código:', yes: 'Soy yo', no: 'No soy yo', over: 'Esto ha terminado.' },
};
const words = (prompt) => WORDS[String(prompt?.language ?? 'en').slice(0, 2)] ?? WORDS.en;
const plain = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
const isOpen = (prompt) => prompt?.state === 'waiting' && prompt.expires_at > now();

function page(prompt) {
  const say = words(prompt);
  const account = prompt?.person.issuer === NOBODY ? `<label>${say.account} <input name="account" required></label> ` : '';
  const inside = isOpen(prompt)
    ? `<h1>${say.ask}</h1><p>${plain(prompt.label)}</p><p>${say.code} <strong>${plain(prompt.code)}</strong></p>
<form method="post">${account}<button name="answer" value="yes">${say.yes}</button> <button formnovalidate name="answer" value="no">${say.no}</button></form>`
    : `<h1>${say.over}</h1>`;
  return `<!doctype html><html lang="${say === WORDS.es ? 'es' : 'en'}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>${say.ask}</title><main>${inside}</main></html>`;
}

/// Yours: a passkey, an identity card, a question by the call centre. Which person it must be is `prompt.person`.
function ownProof(prompt, form) {
  // Nobody has signed in: find out who it is, then whether this account is theirs. Both; somebody's own identity card
  // proves nothing about another's account.
  const isAsked = prompt.person.issuer !== NOBODY || accountName(form.get('account') ?? '') === prompt.person.subject;
  if (!isAsked) return null;
  return form.get('answer') === 'yes' ? { at: now(), methods: ['face', 'mfa'] } : null;
}

function answer(prompt, form) {
  if (!isOpen(prompt)) return;
  prompt.proof = ownProof(prompt, form);
  prompt.state = prompt.proof ? 'proven' : 'declined';
}

// Plumbing.

async function read(request) {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MOST_BODY) return null;
  }
  return text;
}

function isGateway(request) {
  return crypto.timingSafeEqual(digest(request.headers.authorization ?? ''), SECRET);
}

async function serve(request, response) {
  const { method } = request;
  const [, kind, id] = new URL(request.url, OWN).pathname.slice(new URL(OWN).pathname.replace(/\/$/, '').length).split('/');
  const body = await read(request);
  if (body === null) return response.writeHead(413).end();
  const prompt = prompts.get(id);
  if (kind === 'pages' && prompt) {
    if (method === 'POST') {
      answer(prompt, new URLSearchParams(body));
      return response.writeHead(303, { location: prompt.come_back }).end();
    }
    const headers = { 'content-type': 'text/html', 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' };
    headers['content-security-policy'] = "default-src 'none'; frame-ancestors 'none'";
    return response.writeHead(200, headers).end(page(prompt));
  }
  let [status, said] = [404];
  if (kind === 'prompts' && !isGateway(request)) status = 401;
  else if (kind === 'prompts' && method === 'POST' && !id) {
    let asked = null;
    try { asked = JSON.parse(body); } catch { /* not JSON: 400 */ }
    [status, said] = start(asked, request.headers['idempotency-key']);
  } else if (kind === 'prompts' && method === 'GET' && id) [status, said] = look(id);
  else if (kind === 'prompts' && method === 'DELETE' && id) [status, said] = cancel(id);
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(said && JSON.stringify(said));
}

createServer((request, response) => {
  serve(request, response).catch(() => response.writeHead(500).end());
}).listen(Number(PORT), '127.0.0.1', () => console.log(`asking people at ${OWN}`));
