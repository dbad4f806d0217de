// Chromium, as a person at a portal would use it.
import { X509Certificate, createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

export const PORTAL = 'https://portal.example';
export const STAFF = 'https://staff.example';
// Where nothing is but the gateway's own pages, for those who want that: another site than the portal's.
export const ACCESS = 'https://access.portal-pages.example';
// Three that are nobody's whom the portal knows: one of its own site, two of others.
export const SIBLING = 'https://other.portal.example';
export const EVIL = 'https://evil.example';
export const FORUM = 'https://forum.example';
export const RESULT = `${PORTAL}/patients/p1/results/1`;

// Patience with a busy machine: nothing waits this long where all is well.
const LONGEST = 30_000;

function installed(program) {
  const found = process.env.PATH.split(delimiter).map((dir) => join(dir, program)).find(existsSync);
  if (!found) throw new Error(`there is no ${program}: run scripts/setup.sh test`);
  return found;
}

// The hosts lie at the gateway, and nothing else but loopback exists. One key
// is trusted, the gateway's: so `__Host-` cookies, `Secure` and Sec-Fetch are
// as they are at an address whose certificate is in order.
export async function open({ gateway, certificate }) {
  const port = gateway.split(':').pop();
  const key = new X509Certificate(readFileSync(certificate)).publicKey;
  const digest = createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('base64');
  const hosts = [PORTAL, STAFF, ACCESS, SIBLING, EVIL, FORUM].map((origin) => `MAP ${new URL(origin).host}:443 127.0.0.1:${port}`);
  return chromium.launch({
    executablePath: installed('chromium'),
    args: [
      `--host-resolver-rules=${hosts.join(', ')}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
      `--ignore-certificate-errors-spki-list=${digest}`,
      '--disable-dev-shm-usage',
    ],
  });
}

// A browser of its own: no cookies yet.
export async function profile(chrome, options = {}) {
  const context = await chrome.newContext({ locale: 'en-US', ...options });
  context.setDefaultTimeout(LONGEST);
  return context;
}

// Says to the issuer's page who one is.
export async function nameYourself(page, account) {
  await page.getByRole('button', { name: `Sign in as ${account}` }).click();
}

// Signs in on the way to a page, and waits until that page is there.
export async function signIn(page, account, url = RESULT) {
  await page.goto(url);
  await nameYourself(page, account);
  await page.waitForURL(url);
}

export const text = (page, selector) => page.locator(selector).textContent();
