// A real OpenID provider (oidc-provider) for the tests. tests/support/provider.py starts it.
//
//   node provider.js
//
// Says {"issuer": url}. Then it reads commands, one JSON object a line, and answers each with one line:
//   {"do": "client", ...metadata}        registers a client (RFC 7591's names), or replaces it
//   {"do": "account", "id", "claims"}    what a person's ID token and userinfo contain; `extra` is for access tokens
//   {"do": "rotate", "keep": bool}       signs with new keys from now on; publishes the old ones too, or not any more
//   {"do": "down"}, {"do": "up"}         refuses connections, and listens on the same port again
//   {"do": "delay", "ms": n}             waits before each answer
//   {"do": "counts"}                     how often each path was requested: {"/jwks": 1}
//   {"do": "logouts"}                    the outcomes of back-channel logouts so far: ["sent", "the error's text"]
import { generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import http from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

console.info = console.warn = () => {}; // its advice for production

const KINDS = {
  RS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
};
const LOGOUT_URI = "backchannel_logout_uri";
const counts = {};
const logouts = [];
const accounts = new Map();
const options = { delay: 0 };

// Its parts are replaced by a rotation; the port and what the memory adapter holds (sessions, grants) stay.
let keys = freshKeys();
let provider;
let serve;

function freshKeys() {
  return Object.entries(KINDS).map(([alg, [type, parameters]]) => {
    const jwk = generateKeyPairSync(type, parameters).privateKey.export({ format: "jwk" });
    return { ...jwk, alg, use: "sig", kid: randomUUID() };
  });
}

// A client says how its access tokens look: `token_format` jwt or opaque, `token_alg`.
function resourceServer(_ctx, resource, client) {
  return {
    scope: "read write",
    audience: resource,
    accessTokenTTL: 600,
    accessTokenFormat: client.token_format,
    jwt: { sign: { alg: client.token_alg } },
  };
}

function make(issuer) {
  const first = provider?.Client.adapter;
  const made = new Provider(issuer, {
    adapter: first && ((model) => new first.constructor(model, first.storage)), // what the first one made
    jwks: { keys },
    cookies: { keys: ["for tests only"] },
    extraClientMetadata: {
      properties: ["token_format", "token_alg"],
      validator: (_ctx, key, value, metadata) => {
        metadata[key] = value ?? { token_format: "jwt", token_alg: "RS256" }[key];
      },
    },
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: resourceServer,
      },
    },
    // The usual one refuses loopback, and so each back-channel logout here.
    fetch: (url, { dispatcher, ...others }) => globalThis.fetch(url, others),
    enabledJWA: { idTokenSigningAlgValues: Object.keys(KINDS) },
    clientAuthMethods: ["client_secret_basic", "client_secret_post", "none"],
    conformIdTokenClaims: false,
    scopes: ["openid", "offline_access", "read", "write"],
    claims: { openid: ["sub", "sid", "groups", "realm_access"], profile: ["name", "preferred_username"], email: ["email", "email_verified"] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ ...accounts.get(id)?.claims, sub: id }) }),
    extraTokenClaims: (_ctx, token) => accounts.get(token.accountId ?? token.clientId)?.extra ?? undefined,
  });
  made.on("server_error", (_ctx, error) => console.error("server_error", error));
  made.on("backchannel.success", () => logouts.push("sent"));
  made.on("backchannel.error", (_ctx, error) => logouts.push(error.message));
  return made;
}

const server = http.createServer((request, response) => {
  const path = request.url.split("?")[0];
  counts[path] = (counts[path] ?? 0) + 1;
  setTimeout(() => serve(request, response), options.delay);
});

const listen = (port) => new Promise((done, failed) => {
  server.once("error", failed);
  server.listen(port, "127.0.0.1", () => { server.off("error", failed); done(server.address().port); });
});

const commands = {
  async client(metadata) {
    const uris = LOGOUT_URI in metadata ? { backchannel_logout_session_required: true } : {};
    await provider.Client.adapter.upsert(metadata.client_id, { ...uris, ...metadata });
  },
  account: ({ id, claims, extra }) => void accounts.set(id, { claims, extra }),
  rotate({ keep }) {
    keys = [...freshKeys(), ...(keep ? keys : [])];
    provider = make(issuer);
    serve = provider.callback();
    return keys.map(({ kid }) => kid);
  },
  down: () => new Promise((done) => { server.close(() => done()); server.closeAllConnections(); }),
  up: () => listen(port),
  delay: ({ ms }) => void (options.delay = ms),
  counts: () => counts,
  logouts: () => logouts,
};

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const port = await listen(0);
const issuer = `http://127.0.0.1:${port}`;
provider = make(issuer);
serve = provider.callback();
say({ issuer });
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...details } = JSON.parse(line);
  say({ done: (await commands[name](details)) ?? null });
}
process.exit(0);
