// Asking people on the phone (OpenID Connect CIBA Core 1.0): who may ask, what the phone shows, and what the person
// there does about it.
import { errors } from 'oidc-provider';

// The gateway under test, where it asks people on the phone: it looks for the answer, or is sent word of it.
export const PHONE = { id: 'desk-phone', secret: 'desk-phone-secret' };
export const PHONE_PING = { id: 'desk-ping', secret: 'desk-ping-secret' };

const GRANT = 'urn:openid:params:grant-type:ciba';
// Somebody who looks this much too early, in milliseconds, is no faster than told but on a machine that stutters.
const TOLERANCE = 100;

const client = ({ id, secret }) => ({
  client_id: id,
  client_secret: secret,
  token_endpoint_auth_method: 'client_secret_basic',
  grant_types: [GRANT],
  redirect_uris: [],
  response_types: [],
});

export const phoneClients = (origin) => [
  { ...client(PHONE), backchannel_token_delivery_mode: 'poll' },
  {
    ...client(PHONE_PING),
    backchannel_token_delivery_mode: 'ping',
    backchannel_client_notification_endpoint: `${origin}/_wardgate/ciba-notification`,
  },
];

// All phones. What was shown and what people do outlives a rotation of keys, as the storage does.
export class Phones {
  // Every question that was shown: {auth_req_id, account, client, binding_message, acr_values, hint}.
  shown = [];
  // By account what the person does, see `set`; who is not here has not looked yet.
  #people = new Map();
  #open = new Map();
  #lastLooks = new Map();
  #provider;
  #accounts;
  #levels;

  constructor(accounts, levels) {
    this.#accounts = accounts;
    this.#levels = levels;
  }

  serve(provider) {
    this.#provider = provider;
    provider.use((ctx, next) => this.#pace(ctx, next));
  }

  // What a person does from now on, also about what is shown already:
  //   answer: 'approve' | 'decline' | 'wait'
  //   level, auth_age?: with which proof, and how many seconds ago; as?: who really answers
  //   expires_in?, interval?: what the issuer says of the next questions to this account
  async set(account, person) {
    if (!Object.hasOwn(this.#accounts, account)) throw new Error(`no such account: ${account}`);
    this.#people.set(account, person);
    const waiting = [...this.#open].filter(([, question]) => question.accountId === account);
    for (const [id] of waiting) await this.#answer(id, person);
    return { answered: waiting.length };
  }

  #person(account) {
    return this.#people.get(account) ?? { answer: 'wait' };
  }

  features() {
    return {
      enabled: true,
      deliveryModes: ['poll', 'ping'],
      // The provider's own check of the message stays: twenty characters, and no blanks.
      processLoginHint: (_ctx, hint) => hint,
      processLoginHintToken: () => undefined,
      validateRequestContext: () => {},
      verifyUserCode: () => {},
      triggerAuthenticationDevice: (_ctx, request, account) => this.#show(request, account.accountId),
    };
  }

  ttl = (ctx) => {
    const { expires_in } = this.#person(ctx.oidc.account?.accountId);
    return expires_in ?? Math.min(600, Number(ctx.oidc.params.requested_expiry ?? 120));
  };

  async #show(request, account) {
    const { binding_message, acr_values, id_token_hint, requested_expiry } = request.params;
    this.shown.push({
      auth_req_id: request.jti,
      account,
      client: request.clientId,
      binding_message,
      acr_values,
      requested_expiry,
      hint: id_token_hint ? 'id_token_hint' : 'login_hint',
    });
    this.#open.set(request.jti, { accountId: account });
    // After the acknowledgement, as people are.
    setTimeout(() => this.#answer(request.jti, this.#person(account)).catch(console.error), 50);
  }

  async #answer(id, { answer, level, auth_age = 0, as }) {
    if (answer === 'wait' || !this.#open.delete(id)) return;
    const provider = this.#provider;
    if (answer === 'decline') {
      await provider.backchannelResult(id, new errors.AccessDenied('the person said no'));
      return;
    }
    const request = await provider.BackchannelAuthenticationRequest.find(id, { ignoreExpiration: true });
    // Somebody else holds the phone, and the issuer knows it.
    if (as) request.accountId = as;
    const grant = new provider.Grant({ clientId: request.clientId, accountId: request.accountId });
    grant.addOIDCScope(request.scope);
    await grant.save();
    const { acr, amr } = this.#levels[level];
    const authTime = Math.floor(Date.now() / 1000) - auth_age;
    await provider.backchannelResult(request, await provider.Grant.find(grant.jti), { acr, amr, authTime });
  }

  // The provider itself knows no intervals: here it says one, and means it.
  async #pace(ctx, next) {
    await next();
    if (ctx.path === '/backchannel' && ctx.body?.auth_req_id) {
      const question = this.#open.get(ctx.body.auth_req_id);
      const interval = this.#person(question?.accountId).interval;
      if (interval) ctx.body.interval = interval;
      this.#lastLooks.set(ctx.body.auth_req_id, { pause: (interval ?? 5) * 1000, at: 0 });
    }
    const { grant_type, auth_req_id } = ctx.oidc?.params ?? {};
    const last = grant_type === GRANT && this.#lastLooks.get(auth_req_id);
    if (!last) return;
    const early = Date.now() - last.at < last.pause - TOLERANCE;
    last.at = Date.now();
    if (early && ctx.body?.error === 'authorization_pending') {
      last.pause += 5000;
      ctx.body = { error: 'slow_down', error_description: 'you are polling too quickly' };
    }
  }
}
