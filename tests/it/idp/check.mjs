// Checks that server.mjs does all that the integration tests count on.
// Usage: node tests/it/idp/check.mjs
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));
const ALGS = { 'portal-rs256': 'RS256', 'portal-es256': 'ES256', 'portal-ps256': 'PS256', 'portal-eddsa': 'EdDSA' };
const now = () => Math.floor(Date.now() / 1000);

async function start(env = {}) {
  const child = spawn(process.execPath, [SERVER], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = [];
  const reader = createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await Promise.race([
    once(reader, 'line'),
    once(child, 'exit').then(([code]) => assert.fail(`server.mjs ended with ${code}`)),
  ]);
  return { child, lines, ...JSON.parse(lines[0]) };
}

async function stop({ child }) {
  child.stdin.end();
  return child.exitCode ?? (await once(child, 'exit'))[0];
}

let idp = await start();

async function control(method, path, body) {
  const answer = await fetch(idp.control + path, { method, body: body && JSON.stringify(body) });
  const json = await answer.json();
  assert.equal(answer.status, 200, json.error);
  return json;
}
const token = (request) =>
  control('POST', '/token', { account: 'alice', level: 'aal1', audience: 'portal-rs256', ...request });
const fail = (endpoint, mode) => control('POST', '/fail', { endpoint, mode });
const jwks = async () => (await fetch(`${idp.issuer}/jwks`)).json();
async function verify(jwt, audience, options = { typ: 'at+jwt' }) {
  const keys = createLocalJWKSet(await jwks());
  return (await jwtVerify(jwt, keys, { issuer: idp.issuer, audience, ...options })).payload;
}

async function introspect(opaque, credentials = 'gw:gw-secret') {
  const answer = await fetch(`${idp.issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
    body: new URLSearchParams({ token: opaque }),
  });
  return { status: answer.status, ...(await answer.json()) };
}

const checks = {
  async 'discovery names the endpoints'() {
    const answer = await fetch(`${idp.issuer}/.well-known/openid-configuration`);
    const metadata = await answer.json();
    assert.equal(metadata.issuer, idp.issuer);
    assert.equal(metadata.jwks_uri, `${idp.issuer}/jwks`);
    assert.equal(metadata.introspection_endpoint, `${idp.issuer}/token/introspection`);
    assert.deepEqual(metadata.code_challenge_methods_supported, ['S256']);
    assert.deepEqual(metadata.acr_values_supported, ['urn:clinic:loa:1', 'urn:clinic:loa:2']);
  },

  async 'the JWKS holds only public keys'() {
    const { keys } = await jwks();
    assert.equal(keys.length, 4);
    for (const key of keys) assert.equal(key.d, undefined);
  },

  async 'the audience chooses the algorithm'() {
    for (const [audience, alg] of Object.entries(ALGS)) {
      const { access_token } = await token({ audience });
      const header = decodeProtectedHeader(access_token);
      assert.equal(header.alg, alg);
      assert.equal(header.typ, 'at+jwt');
      await verify(access_token, audience);
    }
  },

  async 'a JWT access token tells who signed in, and how'() {
    const before = now();
    const answer = await token({ level: 'aal2', scope: 'patient/Observation.rs' });
    const claims = await verify(answer.access_token, 'portal-rs256');
    assert.equal(answer.token_type, 'Bearer');
    assert.equal(answer.expires_in, claims.exp - claims.iat);
    assert.equal(claims.sub, 'alice');
    assert.equal(claims.client_id, 'portal');
    assert.equal(claims.scope, 'patient/Observation.rs');
    assert.equal(claims.patient_id, 'p1');
    assert.deepEqual(claims.groups, []);
    assert.equal(claims.acr, 'urn:clinic:loa:2');
    assert.deepEqual(claims.amr, ['pwd', 'otp']);
    assert.ok(claims.auth_time >= before && claims.auth_time <= now());
  },

  async 'the lower level, and the other accounts'() {
    const expected = {
      bob: { patient_id: 'p2', groups: [] },
      nora: { patient_id: undefined, groups: ['nurse'] },
      paula: { patient_id: undefined, groups: ['prescriber'] },
    };
    for (const [account, { patient_id, groups }] of Object.entries(expected)) {
      const claims = await verify((await token({ account })).access_token, 'portal-rs256');
      assert.equal(claims.sub, account);
      assert.equal(claims.patient_id, patient_id);
      assert.deepEqual(claims.groups, groups);
      assert.equal(claims.acr, 'urn:clinic:loa:1');
      assert.deepEqual(claims.amr, ['pwd']);
    }
  },

  async 'an authentication can be in the past'() {
    const { access_token } = await token({ auth_age: 3600 });
    const { auth_time } = await verify(access_token, 'portal-rs256');
    assert.ok(Math.abs(now() - 3600 - auth_time) < 10);
  },

  async 'the ID token is for the client, with the authentication event'() {
    const { id_token } = await token({ level: 'aal2' });
    const claims = await verify(id_token, 'portal', {});
    assert.equal(claims.sub, 'alice');
    assert.equal(claims.acr, 'urn:clinic:loa:2');
    assert.deepEqual(claims.amr, ['pwd', 'otp']);
    assert.ok(claims.auth_time);
  },

  async 'an opaque token is known by introspection, to the gateway only'() {
    const { access_token } = await token({ audience: 'portal-opaque', level: 'aal2', scope: 'a b' });
    assert.ok(!access_token.includes('.'));
    const answer = await introspect(access_token);
    const { active, iss, aud, sub, client_id, scope, patient_id, groups, acr, amr } = answer;
    assert.deepEqual(
      { active, iss, aud, sub, client_id, scope, patient_id, groups, acr, amr },
      {
        active: true, iss: idp.issuer, aud: 'portal-opaque', sub: 'alice', client_id: 'portal', scope: 'a b',
        patient_id: 'p1', groups: [], acr: 'urn:clinic:loa:2', amr: ['pwd', 'otp'],
      },
    );
    assert.ok(Math.abs(now() - answer.auth_time) < 10);
    assert.deepEqual(await introspect('no-such-token'), { status: 200, active: false });
    assert.equal((await introspect(access_token, 'gw:wrong')).status, 401);
    assert.equal((await introspect(access_token, 'lab-feed:lab-feed-secret')).active, false);
  },

  async 'a revoked opaque token is inactive'() {
    const { access_token } = await token({ audience: 'portal-opaque' });
    const answer = await fetch(`${idp.issuer}/token/revocation`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'portal', token: access_token }),
    });
    assert.equal(answer.status, 200);
    assert.equal((await introspect(access_token)).active, false);
  },

  async 'a machine client gets a token without an authentication event'() {
    const { access_token } = await control('POST', '/client-token', {
      audience: 'portal-es256',
      scope: 'system/Observation.c',
    });
    const claims = await verify(access_token, 'portal-es256');
    assert.equal(claims.sub, 'lab-feed');
    assert.equal(claims.client_id, 'lab-feed');
    assert.equal(claims.scope, 'system/Observation.c');
    assert.equal(claims.acr ?? claims.auth_time, undefined);
  },

  async 'a rotation signs with new keys and keeps the old ones and the tokens'() {
    const old = (await token()).access_token;
    const opaque = (await token({ audience: 'portal-opaque' })).access_token;
    const { kids } = await control('POST', '/rotate', { retire: false });
    assert.deepEqual((await jwks()).keys.map(({ kid }) => kid), kids);
    assert.equal(kids.length, 8);
    await verify(old, 'portal-rs256');
    assert.equal((await introspect(opaque)).active, true);
    for (const audience of Object.keys(ALGS)) {
      const { access_token } = await token({ audience });
      assert.ok(kids.slice(0, 4).includes(decodeProtectedHeader(access_token).kid));
      await verify(access_token, audience);
    }
  },

  async 'a retiring rotation drops the old keys'() {
    const old = (await token()).access_token;
    await control('POST', '/rotate', { retire: true });
    assert.equal((await jwks()).keys.length, 4);
    await assert.rejects(verify(old, 'portal-rs256'), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
    await verify((await token()).access_token, 'portal-rs256');
  },

  async 'requests are counted'() {
    const before = await control('GET', '/stats');
    await jwks();
    await jwks();
    await fetch(`${idp.issuer}/.well-known/openid-configuration`);
    await introspect('x');
    const after = await control('GET', '/stats');
    assert.equal(after.jwks - before.jwks, 2);
    assert.equal(after.discovery - before.discovery, 1);
    assert.equal(after.introspection - before.introspection, 1);
    // Getting a token asks none of these.
    await token();
    const { jwks: j, discovery, introspection } = await control('GET', '/stats');
    assert.deepEqual([j, discovery, introspection], [after.jwks, after.discovery, after.introspection]);
  },

  async 'an endpoint can fail, and mend'() {
    const url = `${idp.issuer}/jwks`;
    await fail('jwks', '500');
    assert.equal((await fetch(url)).status, 500);
    await fail('jwks', 'garbage');
    await assert.rejects(jwks(), SyntaxError);
    await fail('jwks', 'hang');
    await assert.rejects(fetch(url, { signal: AbortSignal.timeout(300) }), { name: 'TimeoutError' });
    await fail('jwks', 'redirect');
    assert.equal((await fetch(url, { redirect: 'manual' })).status, 307);
    assert.equal((await control('GET', '/stats')).moved, 0);
    assert.equal((await jwks()).keys.length, 4);
    assert.equal((await control('GET', '/stats')).moved, 1);
    await fail('jwks', 'huge');
    assert.ok((await (await fetch(url)).arrayBuffer()).byteLength > 64 * 1024 * 1024);
    await fail('jwks', null);
    assert.equal((await jwks()).keys.length, 4);
    await fail('introspection', '500');
    assert.equal((await fetch(`${idp.issuer}/token/introspection`, { method: 'POST' })).status, 500);
    await fail('introspection', null);
    assert.equal((await introspect('x')).active, false);
  },

  async 'a wrong request to the control API is refused with a reason'() {
    for (const [path, body] of [
      ['/token', { account: 'mallory', level: 'aal1', audience: 'portal-rs256' }],
      ['/token', { account: 'alice', level: 'aal9', audience: 'portal-rs256' }],
      ['/token', { account: 'alice', level: 'aal1', audience: 'elsewhere' }],
      ['/fail', { endpoint: 'jwks', mode: 'sulk' }],
      ['/nothing', {}],
    ]) {
      const answer = await fetch(idp.control + path, { method: 'POST', body: JSON.stringify(body) });
      assert.equal(answer.status, 400);
      assert.ok((await answer.json()).error);
    }
  },

  async 'it ends with its standard input, says one line, and comes back on its port'() {
    assert.equal(await stop(idp), 0);
    assert.equal(idp.lines.length, 1);
    const { issuer } = idp;
    idp = await start({ IDP_PORT: new URL(issuer).port });
    assert.equal(idp.issuer, issuer);
    await verify((await token()).access_token, 'portal-rs256');
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${error.stack}`);
  }
}
await stop(idp);
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
