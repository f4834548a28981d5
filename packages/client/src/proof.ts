/** A key pair for tokens that are bound to a key (DPoP, RFC 9449), and the proofs that it signs. */
import { update } from "./storage.js";

/** A request for which a proof is made. */
export interface ProvedRequest {
  method: string;
  url: string;
  /** The access token that the request presents; none for a request to the token endpoint. */
  token?: string | undefined;
  /** The nonce that the server asked for. */
  nonce?: string | undefined;
}

export interface ProofKey {
  /** The RFC 7638 thumbprint: `dpop_jkt` in an authorization request, and `cnf.jkt` in the tokens. */
  thumbprint: string;
  /** Return a new proof: `dpop` of a socket, or the header `DPoP` of an HTTP request. */
  proof(request: ProvedRequest): Promise<string>;
}

const CURVE = { name: "ECDSA", namedCurve: "P-256" };

const base64url = (bytes: ArrayBuffer | Uint8Array) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=/g, "");
const utf8 = (text: string) => new TextEncoder().encode(text);
const part = (value: object) => base64url(utf8(JSON.stringify(value)));
const hash = async (text: string) => base64url(await crypto.subtle.digest("SHA-256", utf8(text)));

/**
 * The key pair of this browser, which all tabs of the origin share. No script can read the private key.
 *
 * In Node.js, the key pair exists only in this process.
 *
 * @param name the name of the stored key.
 */
export async function dpopKey(name = "roomkey"): Promise<ProofKey> {
  if (!globalThis.crypto?.subtle) throw new TypeError("dpopKey: browsers have keys only on HTTPS pages and localhost");
  let pair = (await crypto.subtle.generateKey(CURVE, false, ["sign", "verify"])) as CryptoKeyPair;
  await update(`${name} key`, (entry) => {
    if (entry) pair = entry.tokens as CryptoKeyPair;
    return entry ?? { version: 1, freshUntil: 0, tokens: pair, origin: undefined, lease: 0 };
  });
  const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const jwk = { crv, kty, x, y };
  return {
    thumbprint: await hash(JSON.stringify(jwk)),
    async proof({ method, url, token, nonce }) {
      const claims = {
        htm: method,
        htu: url,
        jti: crypto.randomUUID(),
        iat: Math.floor(Date.now() / 1000),
        ...(token && { ath: await hash(token) }),
        ...(nonce && { nonce }),
      };
      const input = `${part({ typ: "dpop+jwt", alg: "ES256", jwk })}.${part(claims)}`;
      const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, utf8(input));
      return `${input}.${base64url(signature)}`;
    },
  };
}

/** The URL of the Socket.IO path for a proof: what the server calls its public URL. */
export function socketsUrl(url: string, path = "/socket.io"): string {
  const { protocol, host } = new URL(url, typeof location === "undefined" ? undefined : location.href);
  return `${protocol.replace("ws", "http")}//${host}${path.replace(/\/$/, "")}/`;
}
