// Plays one scenario in a real browser.
// Usage: node tests/it/browser/run.mjs FILE SCENARIO WORLD
//
// FILE.mjs exports the scenario; WORLD is JSON that says where everything is.
// Exits with 1, and says why, where something is not as it should be. What the
// scenario gives back is printed as one line of JSON.
import { open } from './browser.mjs';

const [file, name, world] = process.argv.slice(2);
const { [name]: scenario } = await import(`./${file}.mjs`);
const chrome = await open(JSON.parse(world));
const giveUp = (why) => {
  console.error(why);
  chrome.close().finally(() => process.exit(1));
};
process.stdin.resume().on('end', () => giveUp('the test that started this is gone'));
setTimeout(giveUp, 5 * 60_000, `${name} takes longer than five minutes`).unref();
try {
  console.log(JSON.stringify((await scenario(chrome, JSON.parse(world))) ?? null));
} catch (error) {
  for (const context of chrome.contexts()) {
    for (const page of context.pages()) {
      console.error(page.url(), await page.locator('body').innerText({ timeout: 2000 }).catch(String));
    }
  }
  console.error(error);
  process.exitCode = 1;
} finally {
  await chrome.close();
  process.stdin.destroy();
}
