// Ways in which an endpoint can misbehave, for POST /fail and POST /lie.
import { Readable, pipeline } from 'node:stream';
import { SignJWT, decodeJwt, decodeProtectedHeader, importJWK } from 'jose';

const HUGE_BYTES = 64 * 1024 * 1024;

// Blanks and then an object: valid JSON, for whoever reads all of it.
function* huge() {
  const chunk = Buffer.alloc(64 * 1024, ' ');
  for (let sent = 0; sent < HUGE_BYTES; sent += chunk.length) yield chunk;
  yield Buffer.from('{}');
}

const json = { 'content-type': 'application/json' };

export const FAULTS = {
  refuse: (_req, res) => res.writeHead(400, json).end('{"error":"invalid_grant"}'),
  // As where our secret has been changed there.
  unauthorized: (_req, res) => res.writeHead(401, json).end('{"error":"invalid_client"}'),
  500: (_req, res) => res.writeHead(500).end('broken on purpose\n'),
  // Stays unanswered after the endpoint is mended, too.
  hang: () => {},
  garbage: (_req, res) => res.writeHead(200, json).end('{"keys": [garb'),
  // What is behind the redirect answers well: a client that follows it will
  // not notice, but the count `moved` tells. 307 keeps the method and body.
  redirect: (req, res) => res.writeHead(307, { location: `/moved${req.url}` }).end(),
  huge: (_req, res) => {
    res.writeHead(200, json);
    // An error here is the client going away.
    pipeline(Readable.from(huge()), res, () => {});
  },
};

async function changed(answer, claims, keys, strangers) {
  const { id_token, ...rest } = JSON.parse(answer);
  if (!id_token) return answer;
  const header = decodeProtectedHeader(id_token);
  const said = { ...decodeJwt(id_token), ...claims };
  for (const [name, value] of Object.entries(said)) if (value === null) delete said[name];
  const signer = strangers
    ? strangers.find(({ alg }) => alg === header.alg)
    : keys.find(({ kid }) => kid === header.kid);
  const key = await importJWK(signer, header.alg);
  return JSON.stringify({ ...rest, id_token: await new SignJWT(said).setProtectedHeader(header).sign(key) });
}

// The answer's ID token says something else, and is signed as it should be, or with a key of
// `strangers`: made before anybody waits for the answer, as that may take seconds.
export function lying(res, claims, keys, strangers) {
  const end = res.end.bind(res);
  res.end = (answer) => {
    changed(String(answer), claims, keys, strangers).then((text) => {
      res.setHeader('content-length', Buffer.byteLength(text));
      end(text);
    }, (error) => res.destroy(error));
  };
}
