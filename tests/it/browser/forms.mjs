// The part of the legacy portal where things are changed: forms that know their
// own by a token (double submit: cookie and field), and a page of scripts.
import { createHash, randomUUID } from 'node:crypto';

const escape = (value) => String(value).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

// Everything that was done, in its order; what was refused stands apart.
export const done = { accepted: [], refused: 0 };

// A fresh token each time: a page that was opened before is then too old.
export function formsPage(res, withScript) {
  const token = randomUUID();
  res.setHeader('set-cookie', `csrf=${token}; Path=/; Secure; SameSite=Lax`);
  return `
<form id="address" method="post" action="../profile">
  <input type="hidden" name="csrf" value="${token}">
  <label>Street <input name="street"></label> <label>City <input name="city" value="Ávila"></label>
  <button id="save">Save</button>
</form>
<form id="upload" method="post" action="../profile" enctype="multipart/form-data">
  <input type="hidden" name="csrf" value="${token}">
  <label>Street <input name="street"></label> <label>Proof <input type="file" name="proof"></label>
  <button id="send">Send</button>
</form>
<button id="put">Save by script</button> <output id="outcome"></output>
${withScript ? '<script src="/_wardgate/step-up.js"></script>' : ''}
<script>
  const csrf = '${token}';
  const put = (street) => fetch('../profile', {
    method: 'PUT', headers: { 'content-type': 'application/json', 'x-csrf-token': csrf }, body: JSON.stringify({ street, city: null }),
  });
  document.getElementById('put').onclick = async () => {
    const answer = await put(document.querySelector('#address [name=street]').value);
    document.getElementById('outcome').textContent = answer.status + ' ' + await answer.text();
  };
</script>`;
}

// Takes a change of the address, however it is written. Gives status, headers and page, or says where to go on.
export async function change(req, body) {
  const type = req.headers['content-type'] ?? '';
  const isJson = type.startsWith('application/json');
  const form = isJson ? null : await new Response(body, { headers: { 'content-type': type } }).formData();
  const street = String(isJson ? JSON.parse(body).street : form.get('street'));
  const known = /(?:^|; )csrf=([^;]+)/.exec(req.headers.cookie ?? '')?.[1];
  if (!known || (isJson ? req.headers['x-csrf-token'] : form.get('csrf')) !== known) {
    done.refused += 1;
    return { status: 403, title: 'This form is too old', more: '<p><a id="again" href="results/forms">Open it again</a></p>' };
  }
  done.accepted.push({ method: req.method, target: req.url, type: type.split(';')[0], street, body: body.toString() });
  if (street.startsWith('Slow')) await new Promise((resolve) => setTimeout(resolve, 700));
  if (isJson) return { status: 200, json: { saved: street } };
  if (street.startsWith('Elsewhere')) return { status: 303, location: 'https://forum.example/thanks' };
  const file = form.get('proof');
  if (!file) return { status: 200, title: 'Saved', more: `<p id="body">${escape(body)}</p>` };
  const digest = createHash('sha256').update(Buffer.from(await file.arrayBuffer())).digest('hex');
  return { status: 303, location: `results/forms?${new URLSearchParams({ street, file: file.name, digest })}` };
}
