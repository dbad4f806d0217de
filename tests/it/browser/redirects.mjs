// Where people are led after they have signed in: whatever `to` says, the
// browser itself must read it as an address of the portal.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { PORTAL, profile, signIn } from './browser.mjs';

// What open redirects have been made of, by place: how a target begins, whose
// name it bears, how it ends. See the URL standard, §4.4, for what each does.
const BEGINS = [
  '', '/', '//', '///', '////', '/\\', '\\/', '\\\\', '\\', '/\\/', '/\t/', '/\n/', '/\r\n/', '\t//', ' //', '\u0001//',
  '/\u0000/', '/%2f', '/%2F/', '/%5c', '/%5C/', '/%09/', '/%0a/', '/%0d%0a/', '/./', '/../', '/.//', '/..//', '/%2e//',
  '/%2e%2e//', '/a/..//', '/;//', '/;@', '/@', '/?//', '/?to=//', '/#//', '/*//', '//@', '//portal.example@',
  '//portal.example:443@', 'https://', 'https:', 'https:/', 'https:///', 'https:\\\\', 'HtTpS://', 'h\tttps://',
  ' https://', 'http://', 'ftp://', 'ws://', 'https://portal.example@', 'https://portal.example\\@',
  'https://portal.example%40', 'https://portal.example#@', 'https://portal.example.', 'javascript:', 'javascript://',
  '\u0001javascript:', 'java\nscript:', 'data:text/html,', 'blob:https://', 'view-source:https://', 'file://', '\uff0f\uff0f',
  '/\uff0f', '/\u2044', '/\u2215/', '\u3002', '/\u200b/', '/\ufeff/', '/\u2028/', '/_wardgate/sign-out?', '/%5fwardgate/',
  '/_wardgate/../', '/_WARDGATE/', '/_wardgate/sign-in?to=//', '/a?next=https://', '/a/', '/a%20', '/patients/p1/results/',
];
const NAMES = [
  'evil.example', 'portal.example.evil.example', 'portal.exampleevil.example', 'evil.example:443', 'evil%2eexample',
  'evil%E3%80%82example', 'evil\u3002example', '\u0435vil.example', 'xn--vil-wcd.example', '127.0.0.1', '2130706433',
  '0x7f.1', '[::1]', '[::ffff:127.0.0.1]', 'localhost', 'a@evil.example', 'portal.example%40evil.example',
  'portal.example\\@evil.example', 'portal.example', 'alert(1)', 'a',
];
const ENDS = ['', '/', '/..', '//b', '\\b', '?a=1', '#b', '/%2e%2e', '%00', '\r\nSet-Cookie: a=b', '?x=%2F%2Fevil.example&y=1'];

// Every beginning with every name, and each of these with every seventh end.
function* candidates() {
  let turn = 0;
  for (const begin of BEGINS) {
    for (const name of NAMES) {
      yield begin + name + ENDS[(turn += 7) % ENDS.length];
      yield begin + name;
    }
  }
}

// Asks the gateway as the signed-in browser would, and reads where it leads.
function locationOf({ gateway, certificate }, agent, cookie, query) {
  const [host, port] = gateway.split(':');
  const options = {
    agent, host, port, servername: 'portal.example', ca: readFileSync(certificate), checkServerIdentity: () => undefined,
    rejectUnauthorized: false, path: `/_wardgate/sign-in?${query}`,
    headers: { host: 'portal.example', cookie, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
  };
  return new Promise((resolve, reject) => {
    const sent = request(options, (answer) => {
      answer.resume().on('end', () => resolve({ status: answer.statusCode, location: answer.headers.location }));
    });
    sent.on('error', reject).end();
  });
}

export async function openRedirects(chrome, world) {
  const context = await profile(chrome);
  const page = await context.newPage();
  await signIn(page, 'alice');
  const cookie = (await context.cookies(PORTAL)).map(({ name, value }) => `${name}=${value}`).join('; ');
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const all = [...new Set(candidates())];
  const answers = await Promise.all(
    all.map((to) => locationOf(world, agent, cookie, new URLSearchParams({ to }))),
  );
  agent.destroy();
  for (const [at, { status, location }] of answers.entries()) {
    // What no query may hold is refused before it is read.
    const is_decided = location ? status === 303 : status === 400;
    assert.ok(is_decided, `${JSON.stringify(all[at])}: ${status} ${location}`);
  }
  // The browser is the judge of both: of what was tried, and of what it is led to.
  const origins = (targets) =>
    page.evaluate(({ targets, base }) => targets.map((target) => {
      try {
        const { origin, pathname } = new URL(target, base);
        return { origin, pathname };
      } catch {
        return { origin: 'none' };
      }
    }), { targets, base: `${PORTAL}/_wardgate/callback` });
  const tried = await origins(all);
  const led = await origins(answers.map(({ location }) => location ?? '/'));
  const astray = all.filter((_, at) => led[at].origin !== PORTAL || led[at].pathname.startsWith('/_wardgate/'));
  assert.deepEqual(astray, []);
  // Some are gone to as people do, with what the browser makes of them on the way.
  const foreign = all.filter((_, at) => tried[at].origin !== PORTAL);
  const kept = all.filter((to, at) => answers[at].location === to);
  const every = (list, wanted) => list.filter((_, at) => at % Math.ceil(list.length / wanted) === 0);
  for (const to of [...every(foreign, 25), ...every(kept, 15)]) {
    for (const query of [new URLSearchParams({ to }), `to=${to}`]) {
      await page.goto(`${PORTAL}/_wardgate/sign-in?${query}`, { waitUntil: 'commit' });
      assert.equal(new URL(page.url()).origin, PORTAL, JSON.stringify(to));
    }
  }
  return { tried: all.length, foreign: foreign.length, kept: kept.length };
}
