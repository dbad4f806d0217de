// What others' pages and other people's browsers might try, in a real one.
import assert from 'node:assert/strict';
import { EVIL, FORUM, PORTAL, RESULT, SIBLING, nameYourself, profile, signIn, text } from './browser.mjs';

const SESSION = '__Host-wardgate-session';
const NOTES = `${PORTAL}/patients/p1/notes`;
const sessionOf = async (context) =>
  (await context.cookies(PORTAL)).find(({ name }) => name === SESSION)?.value;

// A page of somebody else's, at an origin of its own.
async function foreign(context, origin, body) {
  const page = await context.newPage();
  await page.goto(`${origin}/`);
  await page.setContent(body);
  return page;
}

// Where the issuer would send this browser back to.
async function callbackOf(page, account) {
  const ask = async (url, more) => {
    const cookies = await page.context().cookies(url);
    const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { ...more, headers: { cookie }, redirect: 'manual' });
    return answer.headers.get('location');
  };
  const chosen = await ask(page.url(), { method: 'POST', body: new URLSearchParams({ account }) });
  return ask(chosen);
}

// The attacker's own sign-in is finished in the victim's browser.
export async function loginCsrf(chrome) {
  const attacker = await profile(chrome);
  const page = await attacker.newPage();
  await page.goto(RESULT);
  const callback = await callbackOf(page, 'bob');
  assert.ok(callback.startsWith(`${PORTAL}/_wardgate/callback?`), callback);
  const victim = await profile(chrome);
  const lured = await foreign(victim, EVIL, `<a href="${callback.replaceAll('&', '&amp;')}">win</a>`);
  await lured.getByRole('link').click();
  await lured.getByRole('heading', { name: 'Please sign in again' }).waitFor();
  assert.equal(await sessionOf(victim), undefined);
  // Somebody who is signed in stays who they are.
  await signIn(await victim.newPage(), 'alice');
  const before = await sessionOf(victim);
  await lured.goto(callback);
  assert.equal(lured.url(), `${PORTAL}/`);
  assert.equal(await sessionOf(victim), before);
  // In the attacker's own browser it would still have counted.
  await page.goto(callback);
  assert.ok(await sessionOf(attacker));
}

// Neither another's page nor the portal's own scripts choose the session's name.
export async function fixation(chrome) {
  const context = await profile(chrome);
  const planted = `${SESSION}=${'A'.repeat(43)}; Path=/; Secure`;
  // From a host beneath the portal's, for the portal: a `__Host-` cookie takes no Domain.
  const sibling = await foreign(context, SIBLING, '');
  await sibling.evaluate((line) => (document.cookie = `${line}; Domain=portal.example`), planted);
  assert.equal(await sessionOf(context), undefined);
  const page = await context.newPage();
  // A script of the portal's own can write one. It names no session, and does not become one.
  await page.goto(`${PORTAL}/`);
  await page.evaluate((line) => (document.cookie = line), planted);
  assert.equal(await sessionOf(context), 'A'.repeat(43));
  await signIn(page, 'alice');
  const session = await sessionOf(context);
  assert.notEqual(session, 'A'.repeat(43));
  // What is there can neither be read nor written over.
  await page.evaluate((line) => (document.cookie = line), planted);
  assert.equal(await sessionOf(context), session);
  assert.equal(await page.evaluate(() => document.cookie), '');
  // Signing in again gives another name.
  await page.goto(`${PORTAL}/_wardgate/sign-in?change=1`);
  await nameYourself(page, 'alice');
  await page.waitForURL(`${PORTAL}/`);
  assert.notEqual(await sessionOf(context), session);
}

const FORM = `<form method="post" action="${NOTES}"><input name="note" value="forged"><button>win</button></form>`;

// Forms, scripts, sockets and frames of others' pages, in a browser in which
// alice is signed in. A host beneath the portal's gets her cookie sent along
// (SameSite knows sites, not origins); one elsewhere does not.
export async function crossSite(chrome) {
  const context = await profile(chrome);
  const own = await context.newPage();
  await signIn(own, 'alice');
  for (const [origin, sent] of [[SIBLING, true], [EVIL, false]]) {
    const page = await foreign(context, origin, FORM);
    const socket = await page.evaluate(
      (address) =>
        new Promise((resolve) => {
          const opened = new WebSocket(address);
          opened.onopen = () => resolve('open');
          opened.onerror = () => resolve('refused');
        }),
      `${PORTAL}/patients/p1/ws`.replace('https', 'wss'),
    );
    assert.equal(socket, 'refused', origin);
    const script = await page.evaluate(
      (url) => fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include', body: 'note=forged' }).then(() => 'sent', String),
      NOTES,
    );
    assert.equal(script, 'sent', origin);
    const answer = page.waitForResponse(NOTES);
    await page.getByRole('button').click();
    const { status, cookie } = await answer.then(async (it) => ({
      status: it.status(), cookie: (await it.request().allHeaders()).cookie ?? '',
    }));
    // The browser did send the session along where it might: it is the gateway that refuses.
    assert.equal(cookie.includes(SESSION), sent, origin);
    assert.equal(status, sent ? 403 : 401, origin);
    // Nor can they put a page of the gateway's into a frame, to have it clicked.
    await page.goto(`${origin}/`);
    const framed = page.waitForEvent('requestfailed').catch(() => undefined);
    await page.evaluate((url) => {
      document.body.innerHTML = `<iframe src="${url}"></iframe>`;
    }, `${PORTAL}/_wardgate/sign-out`);
    await Promise.race([framed, page.waitForTimeout(3000)]);
    const frame = page.frames().find((it) => it !== page.mainFrame());
    assert.equal(await frame.locator('button').count(), 0, origin);
  }
  // Her own page still works, and so does a link from elsewhere.
  await own.locator('#save').click();
  await own.waitForURL(NOTES);
  assert.equal(await text(own, '#body'), 'note=better+today');
  const link = await foreign(context, FORUM, `<a href="${RESULT}">my result</a>`);
  await link.getByRole('link').click();
  await link.waitForURL(RESULT);
}
