// A real OpenID Provider (oidc-provider) on loopback for the integration
// tests. Usage: node tests/it/idp/server.mjs
//
// When ready it prints one line of JSON, {"issuer": …, "control": …}; it
// exits when its standard input closes, so it never outlives a test. IDP_PORT
// sets the issuer's port, for coming back after a stop; IDP_ORIGINS, parted by
// commas, where browsers find the gateway. Control API:
//
//   POST /token        {"account", "level", "audience", "scope"?, "auth_age"?, "details"?}
//   POST /client-token {"audience", "scope"?}
//   POST /rotate       {"retire"}: new keys sign from now on; retire drops the old
//   POST /fail         {"endpoint", "mode"}: see faults.mjs; null mends it
//   POST /lie          {"claims", "forged"?}: what ID tokens say instead, signed as they
//                      should be, or by nobody's key if forged; a claim that is
//                      null is left out; null ends it
//   POST /relay        {"to"}: where the gateway's hosts are, for messages to it
//   POST /claims       {"account", "claims"}: what is known of an account now
//   POST /answers      {"account", "answer", …}: what the person does on the phone, see ciba.mjs
//   GET  /shown        every question that a phone has shown
//   GET  /stats        how often each endpoint was asked
import { createServer } from 'node:http';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { Phones } from './ciba.mjs';
import { FAULTS, lying } from './faults.mjs';
import { clientToken, signIn } from './flows.mjs';
import { newSigningKeys } from './keys.mjs';
import { ACCOUNTS, LEVELS, ROUTES, answerInteraction, createProvider } from './provider.mjs';

const ENDPOINTS = { discovery: '/.well-known/openid-configuration', ...ROUTES };
const MOVED = '/moved/';

// Standard output is for the one line; oidc-provider's notices go elsewhere.
console.info = console.error;

async function listen(handler, port = 0) {
  const server = createServer(handler).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

const stats = { moved: 0, ...Object.fromEntries(Object.keys(ENDPOINTS).map((name) => [name, 0])) };
const faults = new Map();
let lies = null;
let strangers = null;

async function serveIssuer(req, res) {
  if (req.url.startsWith(MOVED)) {
    stats.moved += 1;
    req.url = req.url.slice(MOVED.length - 1);
    return handle(req, res);
  }
  const { pathname } = new URL(req.url, issuer);
  const endpoint = Object.keys(ENDPOINTS).find((name) => ENDPOINTS[name] === pathname);
  if (endpoint) stats[endpoint] += 1;
  if (faults.has(endpoint)) return FAULTS[faults.get(endpoint)](req, res);
  if (endpoint === 'token' && lies) lying(res, lies, keys, strangers);
  if (pathname.startsWith('/interaction/')) return answerInteraction(provider, req, res);
  return handle(req, res);
}

const controls = {
  'POST /token': (body) => signIn({ ...body, issuer, redirectUri }),
  'POST /client-token': (body) => clientToken({ ...body, issuer }),
  'POST /rotate': ({ retire = false }) => {
    useKeys([...newSigningKeys(), ...(retire ? [] : keys)]);
    return { kids: keys.map(({ kid }) => kid) };
  },
  'POST /fail': ({ endpoint, mode }) => {
    if (!Object.hasOwn(ENDPOINTS, endpoint)) throw new Error(`no such endpoint: ${endpoint}`);
    if (mode === null) faults.delete(endpoint);
    else if (Object.hasOwn(FAULTS, mode)) faults.set(endpoint, mode);
    else throw new Error(`no such mode: ${mode}`);
    return Object.fromEntries(faults);
  },
  'POST /lie': ({ claims, forged }) => {
    strangers = forged ? newSigningKeys() : null;
    lies = claims;
    return {};
  },
  'POST /relay': ({ to }) => Object.assign(relay, { to }),
  // Who is not known yet has an account then.
  'POST /claims': ({ account, claims }) => (ACCOUNTS[account] = claims),
  'POST /answers': ({ account, ...person }) => phones.set(account, person),
  'GET /shown': () => phones.shown,
  'GET /stats': () => stats,
};

async function serveControl(req, res) {
  let status = 200;
  let answer;
  try {
    const act = controls[`${req.method} ${req.url}`];
    if (!act) throw new Error(`no such control: ${req.method} ${req.url}`);
    answer = await act(JSON.parse((await text(req)) || '{}'));
  } catch (error) {
    status = 400;
    answer = { error: error.message };
  }
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
}

// oidc-provider's keys are fixed at its construction, so a rotation makes a
// new provider under the same issuer, with the same storage. The first key
// for an algorithm is the one that signs.
const storage = new Map();
const relay = {};
const phones = new Phones(ACCOUNTS, LEVELS);
let keys;
let provider;
let handle;
function useKeys(next) {
  keys = next;
  provider = createProvider({ issuer, redirectUri, jwks: { keys }, storage, relay, phones });
  handle = provider.callback();
}

// The issuer's name holds its port, so the provider is made after the bind.
const issuer = await listen((req, res) => {
  serveIssuer(req, res).catch((error) => {
    console.error(error);
    res.destroy();
  });
}, Number(process.env.IDP_PORT ?? 0));
const control = await listen(serveControl);
// Never requested: the flow ends when a redirect leads here.
const redirectUri = `${control}/callback`;
useKeys(newSigningKeys());

process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ issuer, control }));
