// The OpenID Provider itself: who may sign in, which clients and audiences
// there are, and what its tokens say. All state is in memory.
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { Provider, errors } from 'oidc-provider';
import { phoneClients } from './ciba.mjs';
import { memoryAdapter } from './memory.mjs';
import { signInPage } from './page.mjs';

export const ACCOUNTS = {
  alice: { patient_id: 'p1', groups: [] },
  bob: { patient_id: 'p2', groups: [] },
  nora: { groups: ['nurse'] },
  paula: { groups: ['prescriber'] },
};

// What else it says of everybody.
const PERSONAL = JSON.parse(process.env.IDP_PERSONAL ?? '{}');

export const LEVELS = {
  aal1: { acr: 'urn:clinic:loa:1', amr: ['pwd'] },
  aal2: { acr: 'urn:clinic:loa:2', amr: ['pwd', 'otp'] },
};

// The audience chooses how its access tokens are signed; null means opaque.
const AUDIENCES = {
  'portal-rs256': 'RS256',
  'portal-es256': 'ES256',
  'portal-ps256': 'PS256',
  'portal-eddsa': 'EdDSA',
  'portal-opaque': null,
};

// RFC 8707 wants an absolute URI as the resource; the token's `aud` is the
// short name, as operators usually set it.
const RESOURCE_PREFIX = 'urn:wardgate-test:';
export const resourceOf = (audience) => RESOURCE_PREFIX + audience;

// Signs in people; public, so it relies on PKCE.
export const PORTAL = 'portal';
// A machine client for client_credentials.
export const LAB_FEED = { id: 'lab-feed', secret: 'lab-feed-secret' };
// The gateway under test; all that it may do is introspect.
export const GATEWAY = { id: 'gw', secret: 'gw-secret' };

// The gateway under test, where browsers sign in through it: one whose tokens
// last, and one whose tokens are soon to be refreshed.
export const DESK = { id: 'desk', secret: 'desk-secret' };
export const DESK_SHORT = { id: 'desk-short', secret: 'desk-secret' };
const DESK_ORIGINS = (process.env.IDP_ORIGINS ?? 'https://portal.example,https://staff.example').split(',');
const SHORT_SECONDS = 2;

// Fixed here, so that server.mjs can tell one endpoint from another.
export const ROUTES = {
  authorization: '/auth',
  backchannel_authentication: '/backchannel',
  end_session: '/session/end',
  introspection: '/token/introspection',
  jwks: '/jwks',
  revocation: '/token/revocation',
  token: '/token',
  userinfo: '/me',
};

const TOKEN_SECONDS = 600;

const desk = ({ id, secret }) => ({
  client_id: id,
  client_secret: secret,
  token_endpoint_auth_method: 'client_secret_basic',
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: DESK_ORIGINS.map((origin) => `${origin}/_wardgate/callback`),
  post_logout_redirect_uris: DESK_ORIGINS.map((origin) => `${origin}/_wardgate/signed-out`),
  backchannel_logout_uri: `${DESK_ORIGINS[0]}/_wardgate/back-channel-logout`,
  backchannel_logout_session_required: true,
});

const clients = (redirectUri) => [
  desk(DESK),
  desk(DESK_SHORT),
  ...phoneClients(DESK_ORIGINS[0]),
  {
    client_id: PORTAL,
    token_endpoint_auth_method: 'none',
    redirect_uris: [redirectUri],
    authorization_details_types: Object.keys(DETAILS),
  },
  {
    client_id: LAB_FEED.id,
    client_secret: LAB_FEED.secret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  },
  {
    client_id: GATEWAY.id,
    client_secret: GATEWAY.secret,
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: [],
    redirect_uris: [],
    response_types: [],
  },
];

// The API scopes are whatever the request asks for: which scopes exist is the
// business of the test, not of its provider. `openid` is no API's scope.
function askedScopes(ctx) {
  const scope = ctx.oidc.params.scope ?? ctx.oidc.entities.AuthorizationCode?.scope ?? '';
  return scope.split(' ').filter((name) => name !== 'openid').join(' ');
}

function resourceServer(ctx, resource) {
  const audience = resource.slice(RESOURCE_PREFIX.length);
  if (resource !== resourceOf(audience) || !Object.hasOwn(AUDIENCES, audience)) {
    throw new errors.InvalidTarget(`no such resource: ${resource}`);
  }
  const alg = AUDIENCES[audience];
  return {
    audience,
    scope: askedScopes(ctx),
    accessTokenTTL: TOKEN_SECONDS,
    accessTokenFormat: alg ? 'jwt' : 'opaque',
    jwt: alg ? { sign: { alg } } : undefined,
  };
}

// Goes into JWT access tokens, and is kept with opaque ones and returned by
// introspection. The authentication event is known from the code that the
// client redeems; tokens of machine clients have none.
function extraTokenClaims(ctx, token) {
  const code = ctx.oidc.entities.AuthorizationCode;
  if (!code) return undefined;
  return {
    ...ACCOUNTS[token.accountId],
    ...PERSONAL,
    acr: code.acr,
    amr: code.amr,
    auth_time: code.authTime,
  };
}

// Back-channel messages go to hosts that exist in tests only; `relay` says
// where those are. Anything else is fetched as it is.
function fetchFor(relay) {
  return (url, options) => {
    const { host, pathname } = new URL(url);
    if (!host.endsWith('.example')) return fetch(url, options);
    return new Promise((resolve, reject) => {
      const headers = { ...Object.fromEntries(new Headers(options.headers)), host };
      const sent = request(`http://${relay.to}${pathname}`, { method: options.method, headers }, (answer) => {
        answer.resume();
        resolve(new Response(null, { status: answer.statusCode }));
      });
      sent.on('error', reject).end(String(options.body ?? ''));
    });
  };
}

// Types of authorization details; what they say is the client's business.
const DETAILS = {
  'urn:wardgate:action': { validate() {} },
  other: { validate() {} },
};

function askedDetails(ctx) {
  const asked = ctx.oidc.params.authorization_details;
  return asked === undefined ? undefined : JSON.parse(asked);
}

// No consent page: everything that a client asks for is granted.
async function grantAll(ctx) {
  const { Grant } = ctx.oidc.provider;
  const { clientId } = ctx.oidc.client;
  // One for all of a browser's tabs: a code of another grant than the session's
  // newest is refused.
  const known = ctx.oidc.session.grantIdFor(clientId);
  const grant =
    (known && (await Grant.find(known))) ||
    new Grant({ clientId, accountId: ctx.oidc.session.accountId });
  grant.addOIDCScope('openid');
  for (const [resource, { scope }] of Object.entries(ctx.oidc.resourceServers)) {
    grant.addResourceScope(resource, scope);
  }
  await grant.save();
  return grant;
}

const cookieNames = (port) => ({
  session: `_session_${port}`,
  interaction: `_interaction_${port}`,
  resume: `_interaction_resume_${port}`,
});

export function createProvider({ issuer, redirectUri, jwks, storage, relay, phones }) {
  const provider = new Provider(issuer, {
    adapter: memoryAdapter(storage),
    jwks,
    clients: clients(redirectUri),
    routes: ROUTES,
    // A browser does not tell the ports of a host apart, and several issuers
    // may run on this one.
    cookies: { keys: ['loopback tests only'], names: cookieNames(new URL(issuer).port) },
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    extraParams: ['auth_age'],
    acrValues: Object.values(LEVELS).map(({ acr }) => acr),
    claims: { openid: ['sub', 'patient_id', 'groups', ...Object.keys(PERSONAL)], acr: null, amr: null, auth_time: null },
    findAccount: (_ctx, sub) =>
      Object.hasOwn(ACCOUNTS, sub)
        ? { accountId: sub, claims: () => ({ sub, ...PERSONAL, ...ACCOUNTS[sub] }) }
        : undefined,
    loadExistingGrant: grantAll,
    renderError(ctx, out) {
      ctx.body = out;
    },
    extraTokenClaims,
    fetch: fetchFor(relay),
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    pkce: { required: () => true },
    ttl: {
      AccessToken: (_ctx, _token, client) =>
        client.clientId === DESK_SHORT.id ? SHORT_SECONDS : TOKEN_SECONDS,
      RefreshToken: TOKEN_SECONDS,
      AuthorizationCode: 60,
      BackchannelAuthenticationRequest: phones.ttl,
      ClientCredentials: TOKEN_SECONDS,
      Grant: TOKEN_SECONDS,
      IdToken: TOKEN_SECONDS,
      Interaction: 60,
      Session: TOKEN_SECONDS,
    },
    features: {
      backchannelLogout: { enabled: true },
      ciba: phones.features(),
      claimsParameter: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client) => client.clientId === GATEWAY.id,
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: resourceServer,
        // The token is for the resource named in the authorization request,
        // though the token request does not repeat it.
        useGrantedResource: () => true,
      },
      // Details of actions come back as they were asked for (RFC 9396).
      richAuthorizationRequests: {
        enabled: true,
        types: DETAILS,
        authorizationDetailsForGrantSource: (ctx) => askedDetails(ctx),
        authorizationDetailsForAccessToken: (ctx, _token, source) => source?.rar ?? askedDetails(ctx),
        authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
      },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => client.clientId === token.clientId,
      },
    },
  });
  phones.serve(provider);
  return provider;
}

// Signs in whoever `login_hint` names, without a page; where it names nobody,
// the person at the browser chooses, or cancels. The level is the one asked for
// by an essential `acr` claim or by `acr_values`, else the lowest. `auth_age`
// moves the authentication that many seconds into the past.
export async function answerInteraction(provider, req, res) {
  const { params } = await provider.interactionDetails(req, res);
  const account = params.login_hint ?? (await chosen(req));
  if (account === 'nobody') {
    await provider.interactionFinished(req, res, { error: 'access_denied' });
    return;
  }
  if (!Object.hasOwn(ACCOUNTS, account ?? '')) {
    res.writeHead(params.login_hint ? 400 : 200, { 'content-type': 'text/html; charset=utf-8' });
    res.end(signInPage(Object.keys(ACCOUNTS)));
    return;
  }
  const acrClaim = JSON.parse(params.claims ?? '{}').id_token?.acr;
  const asked = acrClaim?.values ?? params.acr_values?.split(' ') ?? [];
  const { acr, amr } =
    asked.map((acr) => Object.values(LEVELS).find((level) => level.acr === acr)).find(Boolean) ??
    LEVELS.aal1;
  const ts = Math.floor(Date.now() / 1000) - Number(params.auth_age ?? 0);
  // Whoever signs in agrees to all that is asked for.
  const consent = params.authorization_details && {};
  await provider.interactionFinished(req, res, { login: { accountId: account, acr, amr, ts }, consent });
}

const chosen = async (req) =>
  req.method === 'POST' ? new URLSearchParams(await text(req)).get('account') : undefined;
