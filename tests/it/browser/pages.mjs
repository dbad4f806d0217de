// Every page of the gateway's own, at every width, in every language, as
// everybody may come to it: axe's rules, reflow, focus, size of what is tapped.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { PORTAL, RESULT, nameYourself, profile, signIn } from './browser.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
// WCAG 2.0, 2.1 and 2.2, A and AA, and what axe's authors advise beside.
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const WIDTHS = { desktop: { width: 1280, height: 800 }, phone: { width: 375, height: 740 } };
// WCAG 1.4.10: 1280 CSS pixels at 400 %; 200 % lies between.
const NARROWEST = { width: 320, height: 256 };

// How one comes to each page; `more` is what only some need.
const WAYS = {
  chooser: (page) => page.goto(`${PORTAL}/_wardgate/sign-in`),
  'signed-out': (page) => page.goto(`${PORTAL}/_wardgate/signed-out`),
  expired: (page) => page.goto(`${PORTAL}/_wardgate/callback?state=another&code=1`),
  async failed(page) {
    await page.goto(RESULT);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.waitForURL(/callback/);
  },
  malformed: (page) => page.goto(`${PORTAL}/_wardgate/callback`),
  async outage(page, { fail }) {
    await page.goto(RESULT);
    await fail('token', '500');
    await nameYourself(page, 'alice');
    await page.waitForURL(/callback/);
    await fail('token', null);
  },
  async denied(page) {
    await signIn(page, 'alice');
    await page.goto(`${PORTAL}/patients/p2/results/1`);
  },
  async ended(page) {
    await signIn(page, 'alice');
    await page.context().clearCookies();
    await page.locator('#save').click();
    await page.waitForURL(/notes/);
  },
  async uncertain(page) {
    await signIn(page, 'alice');
    await page.locator('input[name=note]').fill('lost');
    await page.locator('#save').click();
    await page.waitForURL(/notes/);
  },
  async challenge(page) {
    await signIn(page, 'alice');
    await page.goto(`${PORTAL}/patients/p1/payments`);
  },
  'not-found': (page) => page.goto(`${PORTAL}/nowhere`),
  async 'confirm-sign-out'(page) {
    await signIn(page, 'alice');
    await page.goto(`${PORTAL}/_wardgate/sign-out`);
  },
};

export async function violations(page) {
  // By the debugger's protocol: the page's own policy lets no script run.
  await page.evaluate(AXE);
  const found = await page.evaluate((values) => axe.run({ runOnly: { type: 'tag', values } }), RULES);
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

export async function look(page, where, picture) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const [name, viewport] of Object.entries(WIDTHS)) {
      await page.setViewportSize(viewport);
      assert.deepEqual(await violations(page), [], `${where}, ${name}, ${colorScheme}`);
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const is_dark = Number(ground.match(/\d+/)[0]) < 128;
      assert.equal(is_dark, colorScheme === 'dark', `${where}: ${ground} in ${colorScheme}`);
      await picture(`${where}-${name}-${colorScheme}`);
    }
  }
  for (const viewport of [WIDTHS.phone, { width: 640, height: 400 }, NARROWEST]) {
    await page.setViewportSize(viewport);
    const { wide, small } = await page.evaluate(() => ({
      // Nothing lies beside the page, so nobody must scroll both ways.
      wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      // WCAG 2.5.8.
      small: [...document.querySelectorAll('a, button, select, textarea, input:not([type=hidden])')]
        .map((element) => element.getBoundingClientRect())
        .filter(({ width, height }) => width < 24 || height < 24).length,
    }));
    assert.deepEqual({ wide, small }, { wide: 0, small: 0 }, `${where}, ${viewport.width} pixels wide`);
  }
  await picture(`${where}-narrowest`);
  // Everything that can be used is reached by the keyboard, and shows that it is (WCAG 2.4.7, 2.4.11).
  const count = await page.locator('a, button, select, textarea, input:not([type=hidden])').count();
  for (let reached = 0; reached < count; reached += 1) {
    await page.keyboard.press('Tab');
    const ring = await page.evaluate(() => {
      const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(document.activeElement);
      const { top, bottom } = document.activeElement.getBoundingClientRect();
      const { tagName: tag } = document.activeElement;
      // A browser scrolls to where one writes, not to all that one may have written.
      const is_seen = tag === 'TEXTAREA' ? bottom > 0 && top < innerHeight : top >= 0 && bottom <= innerHeight;
      return { tag, outlineStyle, wide: parseFloat(outlineWidth) >= 2, outlineColor, is_seen };
    });
    assert.ok(['A', 'BUTTON', 'SELECT', 'TEXTAREA', 'INPUT'].includes(ring.tag), `${where}: ${ring.tag} has the focus`);
    assert.ok(ring.outlineStyle !== 'none' && ring.wide && ring.is_seen, `${where}: ${JSON.stringify(ring)}`);
  }
}

export async function everyPage(chrome, { control, pictures }) {
  const fail = (endpoint, mode) =>
    fetch(`${control}/fail`, { method: 'POST', body: JSON.stringify({ endpoint, mode }) });
  for (const locale of ['en-US', 'es-MX']) {
    const context = await profile(chrome, { locale });
    const page = await context.newPage();
    for (const [name, go] of Object.entries(WAYS)) {
      await context.clearCookies();
      await go(page, { fail });
      assert.equal(await page.locator('html').getAttribute('lang'), locale.slice(0, 2), name);
      await look(page, `${name}-${locale.slice(0, 2)}`, async (file) => {
        if (pictures) await page.screenshot({ path: `${pictures}/${file}.png`, fullPage: true });
      });
    }
  }
  return Object.keys(WAYS);
}
