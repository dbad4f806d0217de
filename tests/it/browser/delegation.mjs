// A patient sees who acts for her and ends it, in both languages, by keyboard
// and in every width.
import assert from 'node:assert/strict';
import { PORTAL, SIBLING, nameYourself, profile, signIn } from './browser.mjs';
import { look } from './pages.mjs';

const PAGE = `${PORTAL}/_wardgate/delegations`;

export async function own(chrome, { pictures }) {
  const status = {};
  for (const [locale, words] of [
    ['es-MX', { end: 'Sí, terminarlo', person: 'Paula', nobody: 'Nadie actúa por usted' }],
    ['en-US', { end: 'Yes, end it', person: 'Bob the neighbour', nobody: 'Nobody acts for you' }],
  ]) {
    const context = await profile(chrome, { locale });
    const page = await context.newPage();
    const picture = async (file) => {
      if (pictures) await page.screenshot({ path: `${pictures}/${file}-${locale}.png`, fullPage: true });
    };
    // On the way there she signs in.
    await page.goto(PAGE);
    await nameYourself(page, 'alice');
    await page.waitForURL(PAGE);
    await look(page, `delegations-${locale}`, picture);
    const names = await page.locator('dt').allTextContents();
    assert.ok(names.includes(words.person), names.join());
    await page.getByRole('link', { name: words.person }).click();
    await look(page, `delegation-end-${locale}`, picture);
    // Who looks again has ended nothing.
    await page.locator('p.out a').click();
    assert.deepEqual(await page.locator('dt').allTextContents(), names);
    await page.getByRole('link', { name: words.person }).click();
    if (locale === 'en-US') status.crossSite = await bySibling(context, page.url());
    await page.getByRole('button', { name: words.end }).click();
    await page.waitForURL(PAGE);
    assert.ok(!(await page.locator('dt').allTextContents()).includes(words.person));
    if (locale === 'en-US') {
      await page.getByText(words.nobody).waitFor();
      await look(page, `delegations-none-${locale}`, picture);
      status.left = await page.locator('dt').allTextContents();
    }
  }
  // Another patient sees their own: nothing.
  const page = await (await profile(chrome)).newPage();
  await signIn(page, 'bob', PAGE);
  status.other = await page.locator('dt').allTextContents();
  return { status };
}

// The form of another host of the same site, with which the browser sends the session's cookie.
async function bySibling(context, address) {
  const page = await context.newPage();
  await page.goto(`${SIBLING}/`).catch(() => undefined);
  const [answer] = await Promise.all([
    page.waitForResponse((response) => response.url() === address),
    page.evaluate((action) => {
      const form = document.createElement('form');
      [form.method, form.action] = ['post', action];
      document.body.append(form);
      form.submit();
    }, address),
  ]);
  return answer.status();
}
