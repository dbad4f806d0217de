// Signing keys, one for each algorithm.
import { generateKeyPairSync, randomUUID } from 'node:crypto';

const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};

export function newSigningKeys() {
  return Object.entries(KINDS).map(([alg, [type, options]]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    kid: `${alg}-${randomUUID()}`,
    alg,
    use: 'sig',
  }));
}
