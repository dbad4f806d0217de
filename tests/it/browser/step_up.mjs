// What people see of a step-up: the pages, and what the script for
// single-page applications does. The gateway's part is played here, answer by
// answer, so that each can be what it must not be too.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EVIL, PORTAL, profile } from './browser.mjs';
import { look, violations } from './pages.mjs';

const SCRIPT = readFileSync(new URL('../../../templates/step-up.js', import.meta.url), 'utf8');

// The pages as the gateway makes them, each with its name, text and policy.
export async function everyStepUpPage(chrome, { rendered, pictures }) {
  const context = await profile(chrome);
  const page = await context.newPage();
  for (const { name, html, policy, status } of rendered) {
    await context.unrouteAll();
    const headers = { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy };
    await context.route(`${PORTAL}/page`, (route) => route.fulfill({ status, headers, body: html }));
    const complaints = [];
    page.removeAllListeners('console');
    page.on('console', (message) => complaints.push(message.text()));
    await page.goto(`${PORTAL}/page`);
    assert.deepEqual(complaints.filter((text) => !text.includes('the server responded')), [], name);
    await look(page, name, async (file) => {
      if (pictures) await page.screenshot({ path: `${pictures}/${file}.png`, fullPage: true });
    });
  }
  return rendered.length;
}

const STEP_UP = '/_wardgate/step-up?intent=i1';

// A page of an application behind a gateway that wants proof, which `state` says is there.
async function application(chrome, { language = 'en', html = '' } = {}) {
  const context = await profile(chrome);
  const world = { state: 'waiting', url: STEP_UP, looks: 0, foreign: 0, bodies: [], status: 401, media: 'application/problem+json' };
  await context.route('**/*', async (route) => {
    const request = route.request();
    const url = new URL(request.url());
    const json = (status, media, body) => route.fulfill({ status, contentType: media, body: JSON.stringify(body) });
    if (url.origin !== PORTAL) {
      world.foreign += 1;
      return route.abort();
    }
    if (url.pathname === '/app') {
      const body = `<!doctype html><html lang="${language}"><title>App</title><h1>App</h1>${html}<script src="/_wardgate/step-up.js"></script>`;
      const headers = { 'content-security-policy': "default-src 'self'; require-trusted-types-for 'script'" };
      return route.fulfill({ contentType: 'text/html', headers, body });
    }
    if (url.pathname === '/_wardgate/step-up.js') return route.fulfill({ contentType: 'text/javascript', body: SCRIPT });
    if (url.pathname === '/_wardgate/step-up/status') {
      assert.equal(url.search, '?intent=i1');
      world.looks += 1;
      return json(200, 'application/json', { state: world.state });
    }
    if (url.pathname === '/_wardgate/step-up') {
      return route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>Confirm</title><h1>Confirm</h1>' });
    }
    world.bodies.push(`${request.method()} ${request.postData()} ${request.headers()['x-own']}`);
    if (world.state === 'proven' && !world.isStubborn) return json(200, 'application/json', { paid: true });
    return json(world.status, world.media, { title: 'Stronger proof is needed', action: 'Pay a bill', step_up_url: world.urlOf ? world.urlOf(request.postData()) : world.url });
  });
  const page = await context.newPage();
  await page.goto(`${PORTAL}/app`);
  return { context, page, world };
}

// Begins a request on a click, as people do; what becomes of it is told by `outcome`.
async function begin(page, expression = `fetch('/pay', { method: 'POST', body: 'cents=1', headers: { 'x-own': 'kept' } })`) {
  await page.evaluate((expression) => {
    window.outcome = null;
    window.outcome = new Promise((resolve) => {
      const button = document.body.appendChild(document.createElement('button'));
      button.id = 'begin';
      button.textContent = 'Pay';
      // By the debugger's protocol: the page's own policy forbids to make code of text.
      window.begun = resolve;
    });
  });
  await page.evaluate(`document.getElementById('begin').onclick = () => window.begun(${expression}.then(async (answer) => [answer.status, await answer.text()]).catch((error) => [0, String(error)]))`);
  await page.click('#begin');
  return page.evaluate(() => document.getElementById('begin').remove());
}

const outcome = (page) => page.evaluate(() => window.outcome);
const dialog = (page) => page.getByRole('dialog');

async function provesAndRepeats(chrome) {
  const { context, page, world } = await application(chrome);
  const opened = context.waitForEvent('page');
  await begin(page);
  const popup = await opened;
  assert.equal(popup.url(), `${PORTAL}${STEP_UP}&then=close`);
  await dialog(page).getByText('Pay a bill').waitFor();
  assert.equal(world.bodies.length, 1);
  const closed = popup.waitForEvent('close');
  world.state = 'proven';
  assert.deepEqual(await outcome(page), [200, '{"paid":true}']);
  await closed;
  assert.deepEqual(world.bodies, ['POST cents=1 kept', 'POST cents=1 kept']);
  assert.equal(await page.locator('dialog').count(), 0);
  const looks = world.looks;
  await sleep(2500);
  assert.equal(world.looks, looks, 'it goes on looking');
}

async function givesUp(chrome) {
  for (const [language, name, press] of [
    ['en', 'Cancel', (page) => page.getByRole('button', { name: 'Cancel' }).click()],
    ['es-MX', 'Cancelar', (page) => page.getByRole('button', { name: 'Cancelar' }).click()],
    ['en', 'Escape', (page) => page.keyboard.press('Escape')],
    ['en', 'gone', (_, world) => (world.state = 'gone')],
  ]) {
    const { context, page, world } = await application(chrome, { language });
    const opened = context.waitForEvent('page');
    await begin(page);
    const popup = await opened;
    // Closed by the person, who is then asked what they want.
    if (name === 'Cancel') await popup.close();
    await dialog(page).waitFor();
    await press(page, world);
    const [status, body] = await outcome(page);
    assert.equal(status, 401, name);
    assert.ok(body.includes('Stronger proof'), 'the first answer, unread');
    assert.equal(world.bodies.length, 1, name);
  }
}

async function neverLoops(chrome) {
  const { context, page, world } = await application(chrome);
  world.isStubborn = true;
  const opened = context.waitForEvent('page');
  await begin(page);
  await opened;
  world.state = 'proven';
  assert.equal((await outcome(page))[0], 401);
  assert.equal(world.bodies.length, 2);
  assert.equal(await page.locator('dialog').count(), 0);
}

async function opensNothingElse(chrome) {
  const { context, page, world } = await application(chrome);
  const of = async (change, expression) => {
    Object.assign(world, { url: STEP_UP, status: 401, media: 'application/problem+json' }, change);
    const before = world.bodies.length;
    await begin(page, expression);
    const [status] = await outcome(page);
    assert.equal(status, world.status);
    assert.equal(world.bodies.length, before + 1, JSON.stringify(change));
    assert.equal(context.pages().length, 1, JSON.stringify(change));
    assert.equal(await page.locator('dialog').count(), 0);
  };
  const blob = await page.evaluate(() => URL.createObjectURL(new Blob(['x'], { type: 'text/html' })));
  for (const url of [
    `${EVIL}${STEP_UP}`,
    `//evil.example${STEP_UP}`,
    `http://portal.example${STEP_UP}`,
    `${PORTAL}:8443${STEP_UP}`,
    'javascript:alert(1)',
    'data:text/html,x',
    blob,
    '/elsewhere?intent=i1',
    '/_wardgate/../elsewhere',
    'https://',
    7,
    null,
  ]) {
    await of({ url });
  }
  await of({ media: 'application/json' });
  await of({ media: 'text/html' });
  await of({ status: 403 });
  await of({ url: undefined });
  assert.equal(world.foreign, 0);
  // Another origin's answer is not the gateway's, whatever it says.
  await begin(page, `fetch('${EVIL}/pay')`);
  assert.equal((await outcome(page))[0], 0);
  assert.equal(await page.locator('dialog').count(), 0);
}

async function sharesOneWindow(chrome) {
  const { context, page, world } = await application(chrome);
  let windows = 0;
  context.on('page', () => (windows += 1));
  await begin(page, `Promise.all([1, 2, 3].map((n) => fetch('/pay', { method: 'POST', body: 'n=' + n }))).then((all) => ({ status: all.map(({ status }) => status).join(), text: async () => '' }))`);
  await dialog(page).waitFor();
  assert.equal(context.pages().length, 2);
  assert.equal(await page.locator('dialog').count(), 1);
  world.state = 'proven';
  assert.deepEqual(await outcome(page), ['200,200,200', '']);
  assert.equal(world.bodies.length, 6);
  assert.equal(windows, 1);
  for (const n of [1, 2, 3]) assert.equal(world.bodies.filter((body) => body.includes(`n=${n}`)).length, 2);
}

// Each request has a name of its own at the gateway: what the person is asked for first may do for all of them.
async function asksOnceForManyRequests(chrome) {
  const { context, page, world } = await application(chrome);
  world.urlOf = (body) => `/_wardgate/step-up?intent=${body.includes('n=1') ? 'i1' : `i${body}`}`;
  let windows = 0;
  context.on('page', () => (windows += 1));
  await begin(page, `fetch('/pay', { method: 'POST', body: 'n=1' })`);
  await dialog(page).waitFor();
  const others = page.evaluate(() =>
    Promise.all([2, 3, 4].map((n) => fetch('/pay', { method: 'POST', body: `n=${n}` }).then(({ status }) => status))),
  );
  while (world.bodies.length < 4) await sleep(20);
  world.state = 'proven';
  assert.equal((await outcome(page))[0], 200);
  assert.deepEqual(await others, [200, 200, 200]);
  assert.equal(windows, 1);
}

async function repeatsRequestsAndNoStreams(chrome) {
  const { page, world } = await application(chrome);
  await begin(page, `fetch(new Request('/pay', { method: 'PUT', body: new Blob(['whole']) }))`);
  await dialog(page).waitFor();
  world.state = 'proven';
  assert.equal((await outcome(page))[0], 200);
  assert.equal(world.bodies.length, 2);
  assert.ok(world.bodies.every((body) => body.startsWith('PUT ')));
  world.state = 'waiting';
  // A browser streams to HTTP/2 only: what matters is that the stream came to the real fetch, and was not read twice.
  await begin(page, `fetch('/pay', { method: 'POST', duplex: 'half', body: new ReadableStream({ pull(c) { c.close(); } }) })`);
  await outcome(page);
  assert.equal(await page.locator('dialog').count(), 0);
}

async function asksTheApplication(chrome) {
  for (const [call, status, count] of [
    ['retry', 200, 2],
    ['cancel', 401, 1],
  ]) {
    const { context, page, world } = await application(chrome);
    await page.evaluate((call) => {
      addEventListener('wardgate:step-up', (event) => {
        event.preventDefault();
        window.told = { url: event.detail.url, label: event.detail.label };
        window.answer = event.detail[call];
      });
    }, call);
    await begin(page);
    await page.waitForFunction(() => window.told);
    assert.deepEqual(await page.evaluate(() => window.told), { url: `${PORTAL}${STEP_UP}`, label: 'Pay a bill' });
    assert.deepEqual([context.pages().length, await page.locator('dialog').count()], [1, 0]);
    world.state = 'proven';
    await page.evaluate(() => window.answer());
    assert.equal((await outcome(page))[0], status, call);
    assert.equal(world.bodies.length, count, call);
  }
}

async function worksWhereWindowsAreBlocked(chrome) {
  const { context, page, world } = await application(chrome);
  await page.evaluate(() => {
    window.open = () => null;
  });
  await begin(page);
  const link = dialog(page).getByRole('link', { name: 'Open the window' });
  const opened = context.waitForEvent('page');
  await link.click();
  const popup = await opened;
  assert.equal(popup.url(), `${PORTAL}${STEP_UP}&then=close`);
  world.state = 'proven';
  assert.equal((await outcome(page))[0], 200);
  assert.equal(world.bodies.length, 2);
}

async function hearsAnotherWindow(chrome) {
  const { context, page, world } = await application(chrome);
  world.status = 401;
  const opened = context.waitForEvent('page');
  await begin(page);
  const popup = await opened;
  await popup.waitForLoadState();
  await popup.evaluate(() => new BroadcastChannel('wardgate').postMessage({ state: 'proven', intent: 'another' }));
  await sleep(300);
  assert.equal(world.bodies.length, 1);
  await popup.evaluate(() => new BroadcastChannel('wardgate').postMessage({ state: 'proven', intent: 'i1' }));
  // It is believed, and the gateway, which knows better, refuses.
  assert.equal((await outcome(page))[0], 401);
  assert.equal(world.bodies.length, 2);
}

async function isForEverybody(chrome) {
  const { page } = await application(chrome, { html: '<style>body{margin:1rem}</style>' });
  await begin(page);
  await dialog(page).waitFor();
  await page.setViewportSize({ width: 320, height: 480 });
  assert.deepEqual(await violations(page), []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${wide} pixels too wide`);
  assert.equal(await page.evaluate(() => document.querySelector('dialog').contains(document.activeElement)), true);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await outcome(page);
}

const SCENARIOS = {
  provesAndRepeats,
  givesUp,
  neverLoops,
  opensNothingElse,
  sharesOneWindow,
  asksOnceForManyRequests,
  repeatsRequestsAndNoStreams,
  asksTheApplication,
  worksWhereWindowsAreBlocked,
  hearsAnotherWindow,
  isForEverybody,
};

export async function theScript(chrome) {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    try {
      await scenario(chrome);
    } catch (error) {
      throw new Error(name, { cause: error });
    }
    for (const context of chrome.contexts()) await context.close();
  }
  return Object.keys(SCENARIOS);
}
