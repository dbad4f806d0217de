// A nurse breaks the glass before one patient's chart, in both languages, by
// keyboard and in every width.
import assert from 'node:assert/strict';
import { PORTAL, SIBLING, nameYourself, profile } from './browser.mjs';
import { look } from './pages.mjs';

const CHART = `${PORTAL}/charts/p1`;
const WHY = 'Unconscious on arrival, no relatives here';

export async function open(chrome, { pictures, control, code }) {
  const status = {};
  for (const locale of ['es-MX', 'en-US']) {
    const spanish = locale.startsWith('es');
    const picture = async (file) => {
      if (pictures) await page.screenshot({ path: `${pictures}/${file}-${locale}.png`, fullPage: true });
    };
    const context = await profile(chrome, { locale });
    const page = await context.newPage();
    await page.goto(CHART);
    await nameYourself(page, 'nora');
    await page.waitForURL(CHART);
    status.first = (await page.reload()).status();
    await look(page, `denied-glass-${locale}`, picture);
    const anyway = page.getByRole('link', { name: spanish ? /de todos modos/ : /anyway/ });
    await anyway.click();
    // The session is too weak: more proof first.
    await look(page, `glass-proof-${locale}`, picture);
    await page.locator('main a.action').click();
    await nameYourself(page, 'nora');
    await page.waitForURL(CHART);
    await anyway.click();
    await page.locator('#code').waitFor();
    await look(page, `glass-${locale}`, picture);
    if (spanish) continue;
    // The browser itself asks for more words; whoever gets around that is asked again.
    await page.locator('#text').fill('too few');
    await page.locator('#code').selectOption('covering');
    await page.evaluate(() => document.querySelector('form').setAttribute('novalidate', ''));
    await page.getByRole('button', { name: 'Open the record' }).click();
    await page.getByText('write a little more').waitFor();
    await look(page, `glass-again-${locale}`, picture);
    // What was chosen and written is still there (WCAG 3.3.7).
    assert.equal(await page.locator('#text').inputValue(), 'too few');
    assert.equal(await page.locator('#code').inputValue(), 'covering');
    await page.locator('#text').fill(WHY);
    const [answer] = await Promise.all([
      page.waitForResponse((response) => response.url() === CHART),
      page.getByRole('button', { name: 'Open the record' }).click(),
    ]);
    status.opened = answer.status();
    assert.equal(answer.headers()['x-wardgate-break-glass'], 'open');
    status.other = (await page.goto(`${PORTAL}/charts/p2`)).status();
    // The form of another host of the same site, with which the browser sends the session's cookie.
    await page.goto(`${SIBLING}/`).catch(() => undefined);
    const [crossed] = await Promise.all([
      page.waitForResponse((response) => response.url().startsWith(`${PORTAL}/_wardgate/break-glass`)),
      page.evaluate(([address, why]) => {
        const form = document.createElement('form');
        form.method = 'post';
        form.action = `${address}/_wardgate/break-glass`;
        for (const [name, value] of [['to', '/charts/p3'], ['code', 'emergency'], ['text', why]]) {
          const field = document.createElement('input');
          [field.name, field.value] = [name, value];
          form.append(field);
        }
        document.body.append(form);
        form.submit();
      }, [PORTAL, WHY]),
    ]);
    status.crossSite = crossed.status();
    // What a script of that host can send without being allowed to: programs' orders, with the cookie.
    const other = await context.newPage();
    await other.goto(`${SIBLING}/`);
    await other.evaluate(
      ([address, body]) => fetch(`${address}/_wardgate/break-glass`, { method: 'POST', mode: 'no-cors', credentials: 'include', body }),
      [PORTAL, JSON.stringify({ target: '/charts/p3', code: 'emergency', text: WHY })],
    );
  }
  // The issuer is gone: a code that was handed out is asked for, and stands in for the proof.
  const context = await profile(chrome);
  const page = await context.newPage();
  await page.goto(CHART);
  await nameYourself(page, 'nora');
  await page.waitForURL(CHART);
  await fetch(`${control}/fail`, { method: 'POST', body: JSON.stringify({ endpoint: 'jwks', mode: '500' }) });
  await page.goto(`${PORTAL}/charts/p9`);
  await page.getByRole('link', { name: /anyway/ }).click();
  await look(page, 'glass-offline', async (file) => {
    if (pictures) await page.screenshot({ path: `${pictures}/${file}.png`, fullPage: true });
  });
  await page.locator('#text').fill(WHY);
  await page.locator('#offline').fill(code);
  await page.getByRole('button', { name: 'Open the record' }).click();
  await page.waitForURL(`${PORTAL}/charts/p9`);
  await page.locator('#target').waitFor();
  status.offline = await page.locator('#target').textContent();
  return { status };
}
