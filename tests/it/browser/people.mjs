// What people do at a portal.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { PORTAL, RESULT, STAFF, nameYourself, profile, signIn, text } from './browser.mjs';

const SESSION = '__Host-wardgate-session';
const result = (number, query = '') => `${PORTAL}/patients/p1/results/${number}${query}`;
const cookie = async (context) => (await context.cookies(PORTAL)).find(({ name }) => name === SESSION);

const fetchStatus = (page, url) => page.evaluate(async (url) => (await fetch(url)).status, url);

// Signs out on the gateway's page and on the issuer's, where it asks.
async function signOut(page) {
  await page.goto(`${PORTAL}/_wardgate/sign-out`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Yes, sign me out' }).click();
  await page.waitForURL(`${PORTAL}/_wardgate/signed-out`);
}

export async function wayIn(chrome, { issuer }) {
  const context = await profile(chrome);
  const page = await context.newPage();
  const url = result(1, '?year=2024&sort=%2Fnewest');
  await page.goto(url);
  assert.ok(page.url().startsWith(issuer), page.url());
  await nameYourself(page, 'alice');
  await page.waitForURL(url);
  assert.equal(await text(page, 'h1'), 'Result 1');
  // The application sees the person's request, and nothing of the session; neither do its scripts.
  assert.equal(await text(page, '#target'), '/patients/p1/results/1?year=2024&sort=%2Fnewest');
  assert.equal(await text(page, '#cookies'), '');
  assert.equal(await page.evaluate(() => document.cookie), '');
  const { httpOnly, secure, sameSite, path, domain, expires } = await cookie(context);
  assert.deepEqual(
    { httpOnly, secure, sameSite, path, domain, expires },
    { httpOnly: true, secure: true, sameSite: 'Lax', path: '/', domain: 'portal.example', expires: -1 },
  );
  // Links, forms, scripts and sockets of the page work.
  await page.locator('#socket', { hasText: /^open$/ }).waitFor();
  assert.equal(await fetchStatus(page, result(2)), 200);
  assert.equal(await fetchStatus(page, `${PORTAL}/patients/p2/results/1`), 403);
  await page.locator('#save').click();
  await page.waitForURL(`${PORTAL}/patients/p1/notes`);
  assert.equal(await text(page, '#body'), 'note=better+today');
}

export async function tenTabs(chrome) {
  const context = await profile(chrome);
  const tabs = await Promise.all([...Array(10)].map(() => context.newPage()));
  await Promise.all(tabs.map((tab, number) => tab.goto(result(number))));
  // Every tab is at the issuer; somebody signs in at one after the other.
  for (const [number, tab] of tabs.entries()) {
    await nameYourself(tab, 'alice');
    await tab.waitForURL(result(number));
  }
  // The portal's cookies are gone, and all ten come back at once.
  await context.clearCookies({ domain: 'portal.example' });
  const steps = [];
  context.on('request', (request) => request.isNavigationRequest() && steps.push(request.url()));
  await Promise.all(tabs.map((tab) => tab.reload()));
  for (const [number, tab] of tabs.entries()) assert.equal(tab.url(), result(number));
  // To the page, to the sign-in, to the issuer, to the callback, to the page: nobody goes round, for who comes late
  // takes the session that is there.
  assert.ok(steps.length <= 50, `${steps.length} steps:\n${steps.join('\n')}`);
  const pending = (await context.cookies(PORTAL)).filter(({ name }) => name.includes('-tx-'));
  assert.ok(pending.length <= 20, `${pending.length} cookies`);
}

// The session ends while a page is open, and the issuer has forgotten the person too.
export async function expiry(chrome, { idleSeconds, issuer }) {
  const context = await profile(chrome);
  const page = await context.newPage();
  await signIn(page, 'alice');
  await context.clearCookies({ domain: '127.0.0.1' });
  await sleep((idleSeconds + 2) * 1000);
  // The page's own script is told so, and is not led away.
  assert.equal(await fetchStatus(page, result(2)), 401);
  // A click is: to the issuer, and then to where it was meant to go.
  await page.locator('#next').click();
  await page.waitForURL((url) => url.href.startsWith(issuer));
  await nameYourself(page, 'alice');
  await page.waitForURL(result(2, '?from=1&sort=%2Fnewest'));
  assert.equal(await text(page, 'h1'), 'Result 2');
  // A form that comes too late is answered by a page, and nothing of it is done; the page leads back.
  await context.clearCookies({ domain: '127.0.0.1' });
  await sleep((idleSeconds + 2) * 1000);
  await page.locator('#save').click();
  await page.getByRole('heading', { name: 'Your session has ended' }).waitFor();
  await page.getByRole('link', { name: 'Sign in' }).click();
  await nameYourself(page, 'alice');
  await page.waitForURL(result(2, '?from=1&sort=%2Fnewest'));
}

// The sign-in itself is over when the person comes back from the issuer.
export async function lateSignIn(chrome) {
  const context = await profile(chrome);
  const page = await context.newPage();
  await page.goto(RESULT);
  await context.clearCookies({ name: /-tx-/ });
  await nameYourself(page, 'alice');
  await page.getByRole('heading', { name: 'Please sign in again' }).waitFor();
  assert.equal(await cookie(context), undefined);
  // The issuer knows her by now, so one click is all.
  await page.getByRole('link', { name: 'Sign in' }).click();
  await page.waitForURL(`${PORTAL}/`);
  assert.ok(await cookie(context));
}

export async function chooser(chrome, { issuer, other }) {
  const context = await profile(chrome);
  const page = await context.newPage();
  await page.goto(`${PORTAL}/ward`);
  await page.getByRole('heading', { name: 'How do you want to sign in?' }).waitFor();
  assert.deepEqual(await page.getByRole('listitem').allInnerTexts(), ['Patients', 'Staff']);
  await page.getByRole('link', { name: 'Staff' }).click();
  assert.ok(page.url().startsWith(other), page.url());
  await nameYourself(page, 'nora');
  await page.waitForURL(`${PORTAL}/ward`);
  // Where one issuer only can vouch, nobody is asked; the other session goes on until the new one begins.
  await page.goto(RESULT);
  assert.equal(await text(page, 'h1'), 'You can’t open this page'.replace('’', "'"));
  const guest = await (await profile(chrome)).newPage();
  await guest.goto(RESULT);
  assert.ok(guest.url().startsWith(issuer), guest.url());
  const staff = await (await profile(chrome)).newPage();
  await staff.goto(`${STAFF}/ward`);
  assert.ok(staff.url().startsWith(other), staff.url());
}

export async function signingOut(chrome) {
  const context = await profile(chrome);
  const [open, other] = [await context.newPage(), await context.newPage()];
  await signIn(open, 'alice');
  await open.locator('#socket', { hasText: /^open$/ }).waitFor();
  const stolen = await cookie(context);
  await signOut(other);
  assert.equal(await text(other, 'h1'), 'You are signed out');
  await open.locator('#socket', { hasText: /^closed/ }).waitFor();
  assert.equal(await text(open, '#socket'), 'closed 1008');
  assert.equal(await fetchStatus(open, result(2)), 401);
  assert.equal(await cookie(context), undefined);
  // A copy of the cookie is worth nothing.
  await context.addCookies([stolen]);
  assert.equal(await fetchStatus(open, result(2)), 401);
  // The issuer has forgotten her too: the next click asks who is there.
  await open.locator('#next').click();
  await open.getByRole('heading', { name: 'Who are you?' }).waitFor();
}

export async function sharedWorkstation(chrome) {
  const context = await profile(chrome);
  const page = await context.newPage();
  await signIn(page, 'alice');
  const first = await cookie(context);
  await page.goto(`${PORTAL}/_wardgate/sign-in?change=1&to=%2Fpatients%2Fp2%2Fresults%2F1`);
  await nameYourself(page, 'bob');
  await page.waitForURL(`${PORTAL}/patients/p2/results/1`);
  assert.notEqual((await cookie(context)).value, first.value);
  const before = await page.goto(RESULT);
  assert.equal(before.status(), 403);
  assert.equal(await text(page, 'h1'), "You can't open this page");
  // The page leads on to somebody who may.
  await page.getByRole('link', { name: 'Use another account' }).click();
  await nameYourself(page, 'alice');
  await page.waitForURL(RESULT);
  // Nor does the first one's session live on elsewhere.
  const copy = await profile(chrome);
  await copy.addCookies([first]);
  const thief = await copy.newPage();
  await thief.goto(RESULT);
  await thief.getByRole('heading', { name: 'Who are you?' }).waitFor();
}

export async function withoutScripts(chrome, { other }) {
  const context = await profile(chrome, { javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${PORTAL}/ward`);
  await page.getByRole('link', { name: 'Staff' }).click();
  assert.ok(page.url().startsWith(other), page.url());
  await nameYourself(page, 'nora');
  await page.waitForURL(`${PORTAL}/ward`);
  await signOut(page);
  assert.equal(await text(page, 'h1'), 'You are signed out');
  await page.getByRole('link', { name: 'Sign in again' }).click();
  await page.getByRole('heading', { name: 'How do you want to sign in?' }).waitFor();
}
