// Stronger proof at the risky action, in a real browser at a real OpenID
// Provider: what people sent goes on after it, once, and only for them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { FORUM, PORTAL, nameYourself, profile, signIn, text } from './browser.mjs';

const PATIENT = `${PORTAL}/patients/p1`;
const FORMS = `${PATIENT}/results/forms`;
const heading = (page, name) => page.getByRole('heading', { level: 1, name }).waitFor();
const own = (page) => page.url().startsWith(`${PORTAL}/_wardgate/`);

// What the application has done about a street.
async function done({ app }, street) {
  const { accepted } = await (await fetch(`${app}/done`)).json();
  return accepted.filter((change) => change.street === street);
}

async function opened(chrome, options = {}, url = FORMS) {
  const context = await profile(chrome, options);
  const page = await context.newPage();
  await signIn(page, 'alice', url);
  return { context, page };
}

// Sends the form, and is asked for a proof.
async function fillIn(page, street) {
  await page.locator('#address [name=street]').fill(street);
  await page.locator('#save').click();
  await heading(page, 'Please confirm that it is you');
}

// Gives the proof at the issuer. Nobody authenticates twice within a second (`auth_time` has seconds).
async function prove(page, account = 'alice') {
  await sleep(1100);
  await page.locator('main a.action').first().click();
  await nameYourself(page, account);
}

// Sends the form, and gives the proof.
async function proven(page, street) {
  await fillIn(page, street);
  await prove(page);
  await heading(page, 'Please check: Change your address');
}

const confirm = (page) => page.getByRole('button', { name: 'Yes, do it' }).click();

async function page_(chrome) {
  const { page } = await opened(chrome);
  const url = `${PATIENT}/payments?from=forms`;
  await page.goto(url);
  await heading(page, 'Please confirm that it is you');
  await prove(page);
  await page.waitForURL(url);
  assert.equal(await text(page, '#target'), '/patients/p1/payments?from=forms');
  // It counts for a while, for what needs no proof of its own.
  await page.goto(`${PATIENT}/payments`);
  assert.equal(await text(page, 'h1'), '/patients/p1/payments');
}

async function form(chrome, world) {
  const { context, page } = await opened(chrome);
  const [{ value: token }] = (await context.cookies(PORTAL)).filter(({ name }) => name === 'csrf');
  const street = '1 Main St & "Co" <b>';
  await fillIn(page, street);
  assert.deepEqual(await page.locator('main a.action').allInnerTexts(), ['Sign in again']);
  assert.deepEqual(await done(world, street), []);
  await prove(page);
  await heading(page, 'Please check: Change your address');
  assert.deepEqual(await page.locator('dl > div').allInnerTexts(), [`Street\n${street}`, 'City\nÁvila']);
  assert.deepEqual(await done(world, street), []);
  await confirm(page);
  await heading(page, 'Saved');
  // Byte by byte as the browser had written it, at the application's own address.
  const body = new URLSearchParams({ csrf: token, street, city: 'Ávila' }).toString();
  assert.equal(await text(page, '#body'), body);
  assert.equal(await text(page, '#target'), '/patients/p1/profile');
  assert.equal(new URL(page.url()).pathname, '/patients/p1/profile');
  const type = 'application/x-www-form-urlencoded';
  assert.deepEqual(await done(world, street), [{ method: 'POST', target: '/patients/p1/profile', type, street, body }]);
}

async function file(chrome, world) {
  const { page } = await opened(chrome);
  const buffer = Buffer.from(Array.from({ length: 70_000 }, (_, at) => (at * 7919) % 256));
  await page.locator('#upload [name=street]').fill('2 Main St');
  await page.locator('#upload [name=proof]').setInputFiles({ name: 'proof of address.pdf', mimeType: 'application/pdf', buffer });
  await page.locator('#send').click();
  await heading(page, 'Please confirm that it is you');
  await prove(page);
  await heading(page, 'Please check: Change your address');
  assert.deepEqual(await page.locator('dl > div').allInnerTexts(), ['Street\n2 Main St', 'Proof\nproof of address.pdf (70.0 kB)']);
  await confirm(page);
  // The application leads on to a page of its own, as many do.
  await page.waitForURL(`${FORMS}?**`);
  const digest = createHash('sha256').update(buffer).digest('hex');
  const { searchParams } = new URL(page.url());
  assert.deepEqual(Object.fromEntries(searchParams), { street: '2 Main St', file: 'proof of address.pdf', digest });
  assert.equal((await done(world, '2 Main St')).length, 1);
}

// The page knows nothing of proofs: its person follows the address that the answer names.
async function script(chrome, world) {
  const { page } = await opened(chrome);
  const { status, problem } = await page.evaluate(async () => {
    const answer = await put('3 Main St');
    return { status: answer.status, problem: await answer.json() };
  });
  assert.deepEqual([status, problem.action], [401, 'Change your address']);
  await sleep(1100);
  await page.goto(new URL(problem.step_up_url, PORTAL).href);
  await nameYourself(page, 'alice');
  await heading(page, 'Please check: Change your address');
  assert.deepEqual(await page.locator('dl > div').allInnerTexts(), ['Street\n3 Main St', 'City\nempty']);
  await confirm(page);
  await heading(page, 'It is done');
  assert.deepEqual((await done(world, '3 Main St')).map(({ method, body }) => [method, body]), [['PUT', '{"street":"3 Main St","city":null}']]);
  await page.getByRole('link', { name: 'Go back' }).click();
  await page.waitForURL(FORMS);
}

// As a service that pays elsewhere does: the answer to the form is another host's page.
async function leadsElsewhere(chrome, world) {
  const { page } = await opened(chrome);
  await proven(page, 'Elsewhere St');
  await confirm(page);
  await page.waitForURL(`${FORUM}/thanks`);
  assert.equal((await done(world, 'Elsewhere St')).length, 1);
}

async function noScripts(chrome, world) {
  const { page } = await opened(chrome, { javaScriptEnabled: false });
  await page.goto(`${PATIENT}/payments`);
  await prove(page);
  await page.waitForURL(`${PATIENT}/payments`);
  await page.goto(FORMS);
  await proven(page, '4 Main St');
  await confirm(page);
  await heading(page, 'Saved');
  assert.equal((await done(world, '4 Main St')).length, 1);
}

// Where the second click takes the first one's place in the window, the application still sees one.
async function doubleClick(chrome, world) {
  const { page } = await opened(chrome);
  await proven(page, 'Slow St');
  let clicks = 0;
  page.on('request', (request) => (clicks += Number(request.method() === 'POST')));
  await page.getByRole('button', { name: 'Yes, do it' }).dblclick({ noWaitAfter: true });
  await page.waitForFunction(() => ['This was confirmed before', 'Saved'].includes(document.querySelector('h1')?.textContent));
  await sleep(1500);
  assert.equal((await done(world, 'Slow St')).length, 1);
  assert.equal(await text(page, 'h1'), clicks > 1 ? 'This was confirmed before' : 'Saved');
}

async function backButton(chrome, world) {
  const { page } = await opened(chrome);
  await proven(page, '5 Main St');
  await confirm(page);
  await heading(page, 'Saved');
  await page.goBack();
  await heading(page, 'This was confirmed before');
  await page.goForward();
  // The browser may ask whether to send the form again; here it does.
  await page.reload();
  assert.notEqual(await text(page, 'h1'), 'Saved');
  assert.equal((await done(world, '5 Main St')).length, 1);
}

async function loadedAgain(chrome, world) {
  const { page } = await opened(chrome);
  await proven(page, '6 Main St');
  // Looking twice is no harm.
  await page.reload();
  await heading(page, 'Please check: Change your address');
  await confirm(page);
  await heading(page, 'Saved');
  await page.reload();
  await heading(page, 'This was confirmed before');
  assert.equal((await done(world, '6 Main St')).length, 1);
}

async function secondTab(chrome, world) {
  const { context, page } = await opened(chrome);
  await proven(page, '7 Main St');
  const other = await context.newPage();
  await other.goto(page.url());
  await heading(other, 'Please check: Change your address');
  await confirm(page);
  await heading(page, 'Saved');
  await confirm(other);
  await heading(other, 'This was confirmed before');
  assert.equal((await done(world, '7 Main St')).length, 1);
}

// At a shared computer somebody else signs in while the page waits.
async function otherUser(chrome, world) {
  const { context, page } = await opened(chrome);
  const asked = await context.newPage();
  await asked.goto(FORMS);
  await fillIn(asked, '8 Main St');
  await proven(page, '8 Main St');
  const other = await context.newPage();
  await other.goto(`${PORTAL}/_wardgate/sign-in?change=1&to=%2F`);
  await nameYourself(other, 'bob');
  await other.waitForURL(`${PORTAL}/`);
  await confirm(page);
  await heading(page, 'Somebody else is signed in now');
  await asked.locator('main a.action').first().click();
  await heading(asked, 'Somebody else is signed in now');
  assert.deepEqual(await done(world, '8 Main St'), []);
}

async function signedOut(chrome, world) {
  const { context, page } = await opened(chrome);
  await proven(page, '9 Main St');
  const other = await context.newPage();
  await other.goto(`${PORTAL}/_wardgate/sign-out`);
  await other.getByRole('button', { name: 'Sign out' }).click();
  await other.getByRole('button', { name: 'Yes, sign me out' }).click();
  await other.waitForURL(`${PORTAL}/_wardgate/signed-out`);
  const waiting = page.url();
  await confirm(page);
  await heading(page, 'Your session has ended');
  await page.goto(waiting);
  await heading(page, 'What you filled in is no longer here');
  // Who signs in again is another session's, and begins anew.
  await page.getByRole('link').first().click();
  await nameYourself(page, 'alice');
  await page.waitForURL(`${PORTAL}/`);
  await page.goto(waiting);
  assert.ok(own(page) && (await page.getByRole('button').count()) === 0, await text(page, 'h1'));
  assert.deepEqual(await done(world, '9 Main St'), []);
}

// The application's own protection goes on to work: what it says is what the person reads.
async function staleToken(chrome, world) {
  const { context, page } = await opened(chrome);
  await proven(page, '10 Main St');
  await (await context.newPage()).goto(FORMS);
  await confirm(page);
  await heading(page, 'This form is too old');
  assert.deepEqual(await done(world, '10 Main St'), []);
  await page.locator('#again').click();
  await page.waitForURL(FORMS);
  await proven(page, '10 Main St');
  await confirm(page);
  await heading(page, 'Saved');
  assert.equal((await done(world, '10 Main St')).length, 1);
}

async function cancelled(chrome, world) {
  const { page } = await opened(chrome);
  await fillIn(page, '11 Main St');
  await page.locator('main a.action').first().click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await heading(page, 'It was not confirmed that it is you');
  assert.deepEqual(await done(world, '11 Main St'), []);
  // Nothing is lost by it.
  await prove(page);
  await heading(page, 'Please check: Change your address');
  await page.getByRole('link', { name: 'No, go back' }).click();
  await page.waitForURL(FORMS);
  assert.deepEqual(await done(world, '11 Main St'), []);
}

async function lateConfirmation(chrome, world) {
  const { page } = await opened(chrome);
  await proven(page, '12 Main St');
  await sleep(31_000);
  await confirm(page);
  await heading(page, 'What you filled in is no longer here');
  assert.deepEqual(await done(world, '12 Main St'), []);
}

// Between proof and confirmation the hospital changes what it asks for.
async function changedRules(chrome, world) {
  const { context, page } = await opened(chrome);
  await proven(page, '13 Main St');
  const said = readFileSync(world.config, 'utf8');
  const names = [['Change your address', 'Change your postal address'], ['Clinic of St. Anna', 'Clinic of St. Bob']];
  writeFileSync(world.config, names.reduce((text, [from, to]) => text.replace(from, to), said));
  process.kill(world.pid, 'SIGHUP');
  const other = await context.newPage();
  do await other.goto(`${PORTAL}/_wardgate/signed-out`);
  while (!(await text(other, 'header')).includes('St. Bob'));
  await confirm(page);
  // The proof was for other rules; what was filled in is not lost.
  await heading(page, 'Please confirm that it is you');
  assert.deepEqual(await done(world, '13 Main St'), []);
  await prove(page);
  await heading(page, 'Please check: Change your postal address');
  await confirm(page);
  await heading(page, 'Saved');
  assert.equal((await done(world, '13 Main St')).length, 1);
}

const SPA = `${PATIENT}/results/spa`;

async function goesOn(chrome, world) {
  const { context, page } = await opened(chrome, {}, SPA);
  await page.locator('#address [name=street]').fill('14 Main St');
  const [popup] = await Promise.all([context.waitForEvent('page'), page.locator('#put').click()]);
  await page.getByRole('dialog').getByText('Change your address').waitFor();
  await sleep(1100);
  const thanks = heading(popup, 'Thank you, it is confirmed').then(() => 'thanks', () => 'closed');
  await nameYourself(popup, 'alice');
  await page.locator('#outcome', { hasText: /./ }).waitFor();
  assert.equal(await text(page, '#outcome'), '200 {"saved":"14 Main St"}');
  assert.equal(await page.locator('dialog').count(), 0);
  assert.equal(page.url(), SPA);
  assert.equal(await thanks, 'thanks');
  const sent = { method: 'PUT', target: '/patients/p1/profile', type: 'application/json' };
  assert.deepEqual(await done(world, '14 Main St'), [{ ...sent, street: '14 Main St', body: '{"street":"14 Main St","city":null}' }]);
}

// The person gives up at the issuer; the application gets the first answer, and can ask again.
async function givesUp(chrome, world) {
  const { context, page } = await opened(chrome, {}, SPA);
  await page.locator('#address [name=street]').fill('15 Main St');
  const [popup] = await Promise.all([context.waitForEvent('page'), page.locator('#put').click()]);
  await popup.getByRole('button', { name: 'Cancel' }).click();
  await heading(popup, 'It was not confirmed that it is you');
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  await page.locator('#outcome', { hasText: /^401 / }).waitFor();
  assert.deepEqual(await done(world, '15 Main St'), []);
}

const group = (scenarios) => async (chrome, world) => {
  for (const scenario of scenarios) {
    try {
      await scenario(chrome, world);
    } catch (error) {
      throw new Error(scenario.name, { cause: error });
    }
    for (const context of chrome.contexts()) await context.close();
  }
  return scenarios.map(({ name }) => name);
};

export const whatever = group([page_, form, file, script, leadsElsewhere, noScripts]);
export const once = group([doubleClick, backButton, loadedAgain, secondTab]);
export const theirs = group([otherUser, signedOut, staleToken, cancelled]);
export const tooLate = group([lateConfirmation]);
export const otherRules = group([changedRules]);
export const applications = group([goesOn, givesUp]);
