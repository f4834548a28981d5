// An OAuth client of its own make (oauth4webapi, which is strict about every answer) for the tests.
//
//   node oauth.js ISSUER REDIRECT_URI BACKEND_SECRET
//
// Says {"authorize": url}, reads the address that the browser was sent back to, and says {"done": what came of it all}.
import { createInterface } from "node:readline";
import * as oauth from "oauth4webapi";

const [issuerUrl, redirectUri, secret] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const plainHttp = { [oauth.allowInsecureRequests]: true };

const issuer = new URL(issuerUrl);
const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...plainHttp });
const server = await oauth.processDiscoveryResponse(issuer, found);

// A public client: a code with PKCE, then a refresh.
const page = { client_id: "page" };
const none = oauth.None();
const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const authorize = new URL(server.authorization_endpoint);
for (const [name, value] of Object.entries({
  client_id: page.client_id, redirect_uri: redirectUri, response_type: "code", scope: "chat", state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
})) authorize.searchParams.set(name, value);
say({ authorize: authorize.href });

const { value: back } = await lines.next();
const told = oauth.validateAuthResponse(server, page, new URL(back), state);
const first = await oauth.processAuthorizationCodeResponse(server, page,
  await oauth.authorizationCodeGrantRequest(server, page, none, told, redirectUri, verifier, plainHttp));
const second = await oauth.processRefreshTokenResponse(server, page,
  await oauth.refreshTokenGrantRequest(server, page, none, first.refresh_token, plainHttp));

// A service: a token of its own, by either way to show its secret, and what the page's token is worth.
const backend = { client_id: "backend" };
const services = [];
for (const proof of [oauth.ClientSecretBasic(secret), oauth.ClientSecretPost(secret)]) {
  services.push(await oauth.processClientCredentialsResponse(server, backend,
    await oauth.clientCredentialsGrantRequest(server, backend, proof, new URLSearchParams({ scope: "jobs" }), plainHttp)));
}
const proof = oauth.ClientSecretBasic(secret);
const introspect = async (token) => oauth.processIntrospectionResponse(server, backend,
  await oauth.introspectionRequest(server, backend, proof, token, plainHttp));
const before = await introspect(second.access_token);
await oauth.processRevocationResponse(
  await oauth.revocationRequest(server, page, none, second.refresh_token, plainHttp));
const after = await introspect(second.access_token);

const refused = await oauth.clientCredentialsGrantRequest(
  server, backend, oauth.ClientSecretBasic("wrong"), new URLSearchParams(), plainHttp)
  .then((answer) => oauth.processClientCredentialsResponse(server, backend, answer))
  .catch((error) => ({ name: error.constructor.name, code: error.code, schemes: error.cause?.map?.((one) => one.scheme) }));

say({ done: { first, second, services, before, after, refused } });
process.exit(0);
