// Lets the fetch() of a single-page application survive a request for stronger proof.
//
//   <script src="/_wardgate/step-up.js"></script>
//
// Where an answer says that a fresh proof is needed, the person is asked for it in a new window, and the request is
// then sent once more. Everybody who calls fetch() gets the answer to that; or the first one, where the person gives
// up. An application that wants to ask in its own words listens on window to `wardgate:step-up`, calls
// preventDefault(), and later detail.retry() or detail.cancel().
//
// This script decides nothing: a request that is repeated without proof is refused like the first.
(() => {
  'use strict';
  if (window.fetch.asksForProof) return;

  const OWN = '/_wardgate/';
  const LONGEST = 10 * 60 * 1000;
  const BETWEEN_LOOKS = 1000;
  const WORDS = {
    en: {
      title: 'Please confirm that it is you',
      text: 'A new window asks you for it. This page goes on when you have confirmed.',
      open: 'Open the window',
      done: 'I have confirmed',
      cancel: 'Cancel',
    },
    es: {
      title: 'Confirme que es usted',
      text: 'Se lo pide una ventana nueva. Esta página sigue cuando lo haya confirmado.',
      open: 'Abrir la ventana',
      done: 'Ya lo confirmé',
      cancel: 'Cancelar',
    },
  };
  const send = window.fetch.bind(window);
  const asked = new Map();
  let last = Promise.resolve(false);
  let waiting = 0;

  async function fetch(input, init) {
    let spare = copy(input, init);
    let answer = await send(input, init);
    let need = spare && (await needOf(answer));
    if (need && waiting > 0) {
      // What the person is asked for just now may do for this one too: ten requests of a page open one window.
      waiting += 1;
      const isProven = await last.finally(() => (waiting -= 1));
      if (isProven) {
        const another = spare.clone();
        answer = await send(spare);
        [spare, need] = [another, await needOf(answer)];
      }
    }
    return need && (await proven(need)) ? send(spare) : answer;
  }
  fetch.asksForProof = true;
  window.fetch = fetch;

  // The same request once more, made before the first takes its body. There is none of a body that is a stream, which
  // can be read only once, and none for other origins, whose answers are not the gateway's.
  function copy(input, init) {
    if (init && init.body instanceof ReadableStream) return null;
    try {
      const spare = new Request(input instanceof Request ? input.clone() : input, init);
      return new URL(spare.url).origin === location.origin ? spare : null;
    } catch (error) {
      // fetch() will say so itself.
      return null;
    }
  }

  // What an answer asks for; null where it asks for nothing that is the gateway's.
  async function needOf(answer) {
    const media = (answer.headers.get('content-type') || '').split(';')[0].trim().toLowerCase();
    if (answer.status !== 401 || answer.type !== 'basic' || media !== 'application/problem+json') return null;
    try {
      const problem = await answer.clone().json();
      if (typeof problem.step_up_url !== 'string') return null;
      const url = new URL(problem.step_up_url, location.href);
      const isOwn = url.origin === location.origin && url.pathname.startsWith(OWN);
      url.hash = '';
      return isOwn ? { url, label: String(problem.action || '') } : null;
    } catch (error) {
      return null;
    }
  }

  // Whether the person has given the proof. Requests that need the same one share a window; others wait their turn.
  function proven(need) {
    const { href } = need.url;
    if (!asked.has(href)) {
      waiting += 1;
      const answer = last
        .then(() => ask(need))
        .catch(() => false)
        .finally(() => (waiting -= 1));
      last = answer;
      asked.set(href, answer);
      answer.then(() => asked.delete(href));
    }
    return asked.get(href);
  }

  function ask({ url, label }) {
    return new Promise((resolve) => {
      const ends = [];
      const end = (isProven) => {
        ends.splice(0).forEach((undo) => undo());
        resolve(isProven);
      };
      const timer = setTimeout(end, LONGEST, false);
      ends.push(() => clearTimeout(timer));
      const detail = { url: url.href, label, retry: () => end(true), cancel: () => end(false) };
      const event = new CustomEvent('wardgate:step-up', { cancelable: true, detail });
      if (!window.dispatchEvent(event)) return;
      const address = url.href + (url.search ? '&' : '?') + 'then=close';
      const opened = window.open(address, '_blank', 'popup,width=480,height=720');
      ends.push(() => opened && opened.close());
      ends.push(show(address, label, end));
      ends.push(watch(url.searchParams.get('intent'), end));
    });
  }

  // Asks the gateway what became of it, until the end. That the window is closed tells nothing: one that an identity
  // provider keeps apart from its opener (Cross-Origin-Opener-Policy) looks closed from here.
  function watch(intent, end) {
    const channel = new BroadcastChannel('wardgate');
    channel.onmessage = ({ data }) => {
      if (data && data.state === 'proven' && data.intent === intent) end(true);
    };
    let timer = 0;
    let isOver = false;
    const look = async () => {
      const status = `${OWN}step-up/status?intent=${encodeURIComponent(intent)}`;
      const answer = await send(status, { cache: 'no-store', redirect: 'error' }).catch(() => null);
      const { state } = answer && answer.ok ? await answer.json().catch(() => ({})) : {};
      if (isOver) return;
      if (state === 'proven' || state === 'gone') end(state === 'proven');
      else timer = setTimeout(look, BETWEEN_LOOKS);
    };
    if (intent) timer = setTimeout(look, BETWEEN_LOOKS);
    return () => {
      isOver = true;
      clearTimeout(timer);
      channel.close();
    };
  }

  // A dialog for those whose browser opens no window, who closed it, or who want no longer.
  function show(address, label, end) {
    const words = WORDS[document.documentElement.lang.slice(0, 2)] || WORDS.en;
    const add = (parent, tag, text, more) => parent.appendChild(Object.assign(document.createElement(tag), { textContent: text }, more));
    const dialog = add(document.body, 'dialog', '');
    dialog.setAttribute('aria-labelledby', 'wardgate-step-up');
    dialog.style.maxWidth = 'min(28rem, 90vw)';
    add(dialog, 'h2', words.title, { id: 'wardgate-step-up' });
    if (label) add(dialog, 'p', label).style.fontWeight = 'bold';
    add(dialog, 'p', words.text);
    add(add(dialog, 'p', ''), 'a', words.open, { href: address, target: '_blank', rel: 'noopener' });
    const done = add(dialog, 'button', words.done, { type: 'button', onclick: () => end(true) });
    const cancel = add(dialog, 'button', words.cancel, { type: 'button', onclick: () => end(false) });
    for (const button of [done, cancel]) Object.assign(button.style, { minHeight: '2.75rem', margin: '0 .5rem 0 0' });
    dialog.oncancel = () => end(false);
    dialog.showModal();
    return () => dialog.remove();
  }
})();
