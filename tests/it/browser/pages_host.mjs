// What is to be confirmed stands on a host of its own: a person gets there and
// back, and a script that somebody has put into the portal does not.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ACCESS, EVIL, PORTAL, nameYourself, profile, signIn, text } from './browser.mjs';

const PATIENT = `${PORTAL}/patients/p1`;
const FORMS = `${PATIENT}/results/forms`;
const SPA = `${PATIENT}/results/spa`;
const heading = (page, name) => page.getByRole('heading', { level: 1, name }).waitFor();
const isThere = (page) => page.url().startsWith(`${ACCESS}/_wardgate/confirm?`);
const press = (page) => page.getByRole('button', { name: 'Yes, do it' }).click();

async function done({ app }) {
  const { accepted } = await (await fetch(`${app}/done`)).json();
  return accepted;
}

const times = async (world, street) => (await done(world)).filter((change) => change.street === street).length;

async function opened(chrome, url = FORMS) {
  const context = await profile(chrome);
  const page = await context.newPage();
  await signIn(page, 'alice', url);
  return { context, page };
}

// Sends the form, and gives the proof: the page that asks, on the other host.
async function proven(page, street) {
  await page.locator('#address [name=street]').fill(street);
  await page.locator('#save').click();
  await heading(page, 'Please confirm that it is you');
  await sleep(1100);
  await page.locator('main a.action').first().click();
  await nameYourself(page, 'alice');
  await heading(page, 'Please check: Change your address');
  assert.ok(isThere(page), page.url());
}

// There, confirmed, and back at the application's own address.
async function thereAndBack(chrome, world) {
  const { page } = await opened(chrome);
  await proven(page, '20 Main St');
  await page.getByText('You are signed in as ZcanaryNameThere5501.').waitFor();
  assert.deepEqual(await page.locator('dl > div').allInnerTexts(), ['Street\n20 Main St', 'City\nÁvila']);
  // It looks as it should: its policy lets its own style pass.
  const colour = await page.getByRole('button').evaluate((button) => getComputedStyle(button).backgroundColor);
  assert.equal(colour, 'rgb(11, 83, 148)');
  assert.equal(await times(world, '20 Main St'), 0);
  await press(page);
  await heading(page, 'Saved');
  const { origin, pathname } = new URL(page.url());
  assert.deepEqual([origin, pathname], [PORTAL, '/patients/p1/profile']);
  assert.equal(await text(page, '#target'), '/patients/p1/profile');
  assert.equal(await times(world, '20 Main St'), 1);
  await page.reload();
  await heading(page, 'This was confirmed before');
  assert.equal(await times(world, '20 Main St'), 1);
  // Who does not want it goes back to where they came from.
  await page.goto(FORMS);
  await proven(page, '21 Main St');
  await page.getByRole('link', { name: 'No, go back' }).click();
  await page.waitForURL(FORMS);
  assert.equal(await times(world, '21 Main St'), 0);
}

// A script of the portal's own page, while its person has the page that asks open: all that it can think of.
async function aScriptOfThePortals(chrome, world) {
  const { context, page } = await opened(chrome);
  const evil = await context.newPage();
  await evil.goto(FORMS);
  // The portal's own token is now this page's; the script reads it from the cookie.
  await page.reload();
  await proven(page, '22 Main St');
  const [asking, action] = await page.evaluate(() => [location.href, document.querySelector('form').action]);
  const tried = await evil.evaluate(
    async ({ asking, action, there }) => {
      const tried = [];
      const attempt = (what, sent) =>
        Promise.resolve(sent).then(
          async (answer) => tried.push([what, answer.type, answer.status, /<form|handover=/.test(await answer.text())]),
          () => tried.push([what, 'failed', 0, false]),
        );
      const token = /csrf=([^;]+)/.exec(document.cookie)[1];
      const save = (street) => fetch('../profile', { method: 'POST', body: new URLSearchParams({ csrf: token, street, city: 'Ávila' }) });
      const own = new URL(asking).searchParams.get('intent');
      const { step_up_url: url } = await (await save('Evil St')).json();
      const hers = new URL(url, location).searchParams.get('intent');
      const include = { credentials: 'include' };
      for (const intent of [own, hers]) {
        for (const path of [
          `/_wardgate/step-up?intent=${intent}`,
          `/_wardgate/step-up?intent=${intent}&then=close`,
          `/_wardgate/confirm?intent=${intent}`,
          `/_wardgate/confirm?back=${intent}`,
          `/patients/p1/profile?wardgate-intent=${intent}`,
        ]) {
          for (const redirect of ['follow', 'manual']) await attempt(`GET ${path} ${redirect}`, fetch(path, { redirect }));
          await attempt(`POST ${path}`, fetch(path, { method: 'POST' }));
          await attempt(`there GET ${path}`, fetch(there + path, { ...include, mode: 'no-cors' }));
          await attempt(`there POST ${path}`, fetch(there + path, { ...include, mode: 'no-cors', method: 'POST' }));
        }
      }
      // What it could know only by looking over her shoulder.
      await attempt('press', fetch(action, { ...include, mode: 'no-cors', method: 'POST' }));
      // The request that she has given proof for, by itself.
      await attempt('again', save('22 Main St'));
      return tried;
    },
    { asking, action, there: ACCESS },
  );
  assert.ok(tried.length > 50, `${tried.length}`);
  const got = tried.filter(([, type, status, page]) => page || (type !== 'opaque' && type !== 'opaqueredirect' && status !== 0 && status < 400));
  assert.deepEqual(got, []);
  // Forms and windows of its own, which are as good as a person's.
  const { search, searchParams } = new URL(asking);
  const resumed = `${PATIENT}/profile?wardgate-intent=${searchParams.get('intent')}`;
  for (const to of [action, asking, `${PORTAL}/_wardgate/confirm${search}`, resumed]) {
    const [sent] = await Promise.all([
      context.waitForEvent('page'),
      evil.evaluate((to) => {
        const form = Object.assign(document.createElement('form'), { method: 'post', action: to, target: '_blank' });
        document.body.append(form);
        form.submit();
      }, to),
    ]);
    await heading(sent, "This request can't be answered");
    assert.equal(await sent.locator('form').count(), 0, to);
    await sent.close();
  }
  // It opens the very page that asks, and reaches for its button.
  const [shown] = await Promise.all([
    context.waitForEvent('page'),
    evil.evaluate((to) => {
      window.opened = window.open(to);
    }, `/_wardgate/confirm${new URL(asking).search}`),
  ]);
  await heading(shown, 'Please check: Change your address');
  assert.ok(isThere(shown), shown.url());
  const reached = await evil.evaluate(() => {
    try {
      window.opened.document.querySelector('form').submit();
      return 'pressed';
    } catch (error) {
      return error.name;
    }
  });
  assert.notEqual(reached, 'pressed');
  await shown.close();
  assert.deepEqual([await times(world, 'Evil St'), await times(world, '22 Main St')], [0, 0]);
  // The person's own click is the one that counts.
  await press(page);
  await heading(page, 'Saved');
  assert.deepEqual([await times(world, 'Evil St'), await times(world, '22 Main St')], [0, 1]);
}

// In a frame there is nothing to be clicked, whoever's page it is.
async function noFrames(chrome, world) {
  const { context, page } = await opened(chrome);
  await proven(page, '23 Main St');
  for (const framer of [`${EVIL}/`, FORMS]) {
    for (const url of [page.url(), `${PORTAL}/_wardgate/confirm${new URL(page.url()).search}`]) {
      const framing = await context.newPage();
      await framing.goto(framer);
      await framing.evaluate((url) => {
        document.body.innerHTML = `<iframe src="${url}"></iframe>`;
      }, url);
      // The browser's own page stands where it would have been.
      const refused = () => framing.frames().some((frame) => frame.url().startsWith('chrome-error:'));
      const deadline = Date.now() + 30_000;
      while (!refused() && Date.now() < deadline) await sleep(50);
      assert.ok(refused(), `${framer} ${url}: ${framing.frames().map((frame) => frame.url())}`);
      await framing.close();
    }
  }
  assert.equal(await times(world, '23 Main St'), 0);
}

// The script of single-page applications: the person confirms in the other window, and its page goes on.
async function aSinglePageApplication(chrome, world) {
  const { context, page } = await opened(chrome, SPA);
  await page.locator('#address [name=street]').fill('24 Main St');
  const [popup] = await Promise.all([context.waitForEvent('page'), page.locator('#put').click()]);
  await sleep(1100);
  await nameYourself(popup, 'alice');
  await heading(popup, 'Please check: Change your address');
  assert.ok(isThere(popup), popup.url());
  assert.equal(await times(world, '24 Main St'), 0);
  assert.equal(await text(page, '#outcome'), '');
  const thanks = heading(popup, 'Thank you, it is confirmed').then(() => 'thanks', () => 'closed');
  await press(popup);
  await page.locator('#outcome', { hasText: /./ }).waitFor();
  assert.equal(await text(page, '#outcome'), '200 {"saved":"24 Main St"}');
  assert.equal(await thanks, 'thanks');
  assert.equal(await times(world, '24 Main St'), 1);
}

export async function apart(chrome, world) {
  const scenarios = [thereAndBack, aScriptOfThePortals, noFrames, aSinglePageApplication];
  for (const scenario of scenarios) {
    try {
      await scenario(chrome, world);
    } catch (error) {
      throw new Error(scenario.name, { cause: error });
    }
    for (const context of chrome.contexts()) await context.close();
  }
  return scenarios.map(({ name }) => name);
}
