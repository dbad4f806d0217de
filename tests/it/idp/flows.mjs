// Gets tokens from the provider as its clients do: over HTTP.
import { createHash, randomBytes } from 'node:crypto';
import { LAB_FEED, LEVELS, PORTAL, ROUTES, resourceOf } from './provider.mjs';

const random = () => randomBytes(32).toString('base64url');

async function requestToken(issuer, form, headers = {}) {
  const answer = await fetch(issuer + ROUTES.token, {
    method: 'POST',
    headers,
    body: new URLSearchParams(form),
  });
  const body = await answer.text();
  if (!answer.ok) throw new Error(`token endpoint: ${answer.status} ${body}`);
  return JSON.parse(body);
}

// Follows the redirects as a browser would, with a cookie jar of its own, to
// where one leads back to the client. A new jar means a new authentication.
async function followToClient(url, redirectUri) {
  const jar = new Map();
  for (let hop = 0; hop < 10; hop += 1) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) jar.set(name, value);
      else jar.delete(name);
    }
    const location = answer.headers.get('location');
    if (!location) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
    url = new URL(location, url);
    if (url.href.startsWith(redirectUri)) return url.searchParams;
  }
  throw new Error('too many redirects');
}

// Authorization code flow with PKCE. `auth_age` asks for an authentication
// that happened that many seconds ago.
export async function signIn({ issuer, redirectUri, account, level, audience, scope = '', auth_age = 0, details }) {
  if (!Object.hasOwn(LEVELS, level)) throw new Error(`no such level: ${level}`);
  const verifier = random();
  const state = random();
  const back = await followToClient(
    `${issuer}${ROUTES.authorization}?${new URLSearchParams({
      client_id: PORTAL,
      redirect_uri: redirectUri,
      response_type: 'code',
      scope: `openid ${scope}`.trim(),
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      resource: resourceOf(audience),
      login_hint: account,
      acr_values: LEVELS[level].acr,
      auth_age,
      ...(details && { authorization_details: JSON.stringify(details) }),
      // An ID token has these only when they are asked for.
      claims: JSON.stringify({ id_token: { acr: null, amr: null, auth_time: null } }),
    })}`,
    redirectUri,
  );
  if (!back.get('code')) throw new Error(`${back.get('error')}: ${back.get('error_description')}`);
  if (back.get('state') !== state || back.get('iss') !== issuer) throw new Error('mixed-up answer');
  return requestToken(issuer, {
    grant_type: 'authorization_code',
    client_id: PORTAL,
    code: back.get('code'),
    code_verifier: verifier,
    redirect_uri: redirectUri,
  });
}

export function clientToken({ issuer, audience, scope = '' }) {
  const credentials = Buffer.from(`${LAB_FEED.id}:${LAB_FEED.secret}`).toString('base64');
  return requestToken(
    issuer,
    { grant_type: 'client_credentials', resource: resourceOf(audience), scope },
    { authorization: `Basic ${credentials}` },
  );
}
