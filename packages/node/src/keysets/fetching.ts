/**
 * Requests to other servers: bounded in time and size, without redirects, and over TLS.
 *
 * `node:http` and `node:https` are used directly, below `fetch`: they follow no redirects, decode no compressed bodies, and
 * their connections do not keep a process alive. Nothing is read from the environment but the certificates
 * (`NODE_EXTRA_CA_CERTS`). For a proxy, pass an agent.
 */

import { type Agent, type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

import { ConfigError } from "../errors.js";

/** The longest time for one request, in seconds. */
export const FETCH_SECONDS = 10;
/** Default for the longest time that a token waits for a fetch, in milliseconds. */
const FETCH_TIMEOUT = 2000;
const LONGEST_TIMEOUT = 10_000;
/**
 * What a server may send around the body, in bytes, and its interim responses (1xx). Without these limits, it could keep this
 * process busy with them, or with chunks of one byte, for as long as the request lasts.
 */
const MAX_AROUND = 65_536;
const MAX_INTERIM = 10;
const TOO_MUCH = "too much around the body";

/** Another server does not answer as it must. The text is for the operator's log. */
export class FetchError extends Error {
  override readonly name = "FetchError";

  /** @param status of the response; null if there is none. */
  constructor(
    text: string,
    readonly status: number | null = null,
  ) {
    super(text);
  }
}

export interface Request {
  /** The absolute URL, from `checkUrl`. */
  url: string;
  /** The longest accepted body. */
  maxBytes: number;
  /** The body of a POST request; without one, it is a GET request. */
  form?: string;
  /** The header `Authorization`. */
  authorization?: string;
  /** Replaces the connections, for proxies and certificates. */
  agent?: Agent | undefined;
}

/**
 * Check the longest time that a token waits for a fetch.
 *
 * @returns seconds.
 * @throws {ConfigError} not a number of milliseconds up to 10,000.
 */
export function checkTimeout(value: unknown = FETCH_TIMEOUT): number {
  if (typeof value !== "number" || !(value > 0 && value <= LONGEST_TIMEOUT)) {
    throw new ConfigError(`fetchTimeout must be more than 0 and at most ${LONGEST_TIMEOUT} milliseconds`);
  }
  return value / 1000;
}

/**
 * Send a request, and return the body of the response.
 *
 * @param seconds the longest time for everything.
 * @throws {FetchError} the server did not respond in time, not with the status 200, or with a body that is too long.
 */
export async function fetchBody(asked: Request, seconds: number = FETCH_SECONDS): Promise<Buffer> {
  let sent: ClientRequest | undefined;
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    sent?.destroy(new Error("late"));
  }, seconds * 1000).unref();
  try {
    sent = send(asked);
    const response = await responseTo(sent);
    checkStatus(response);
    return await bodyOf(response, asked.maxBytes);
  } catch (error) {
    if (isLate) throw new FetchError(`no complete response within ${seconds} s`);
    throw error instanceof FetchError ? error : new FetchError(described(error));
  } finally {
    clearTimeout(timer);
    sent?.destroy();
  }
}

/** Return the header for a client's name and secret (RFC 6749 section 2.3.1). */
export function basicAuthorization(name: string, secret: string): string {
  return `Basic ${Buffer.from([name, secret].map(quoted).join(":")).toString("base64")}`;
}

function quoted(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

function send({ url, form, authorization, agent }: Request): ClientRequest {
  const headers: Record<string, string | number> = { Accept: "application/json", "User-Agent": "roomkey" };
  if (authorization !== undefined) headers.Authorization = authorization;
  if (form !== undefined) {
    headers["Content-Type"] = "application/x-www-form-urlencoded";
    headers["Content-Length"] = Buffer.byteLength(form);
  }
  const request = url.startsWith("https:") ? requestHttps : requestHttp;
  const sent = request(url, { method: form === undefined ? "GET" : "POST", headers, agent: agent ?? false });
  sent.on("socket", (socket) => socket.unref()); // who waits keeps the process alive, and nobody else
  let interim = 0;
  sent.on("information", () => {
    interim += 1;
    if (interim > MAX_INTERIM) sent.destroy(new FetchError(TOO_MUCH));
  });
  sent.on("error", () => undefined); // also after the response has begun
  sent.end(form);
  return sent;
}

/** Wait for the head of the response; a server may also close the connection, or change the protocol, which closes it. */
function responseTo(sent: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new FetchError("the connection was closed"));
    sent.once("response", resolve).once("error", reject).once("close", closed);
  });
}

function checkStatus({ statusCode: status = 0, headers }: IncomingMessage): void {
  if (status >= 300 && status < 400) {
    throw new FetchError(`status ${status}: roomkey follows no redirects; configure the final URL`, status);
  }
  if (status !== 200) throw new FetchError(`status ${status}`, status);
  if ((headers["content-encoding"] ?? "identity") !== "identity") {
    throw new FetchError("a compressed response, which was not asked for");
  }
}

async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const { socket } = response;
  const last = socket.bytesRead + MAX_AROUND + maxBytes;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new FetchError(`more than ${maxBytes} bytes`, response.statusCode);
    if (socket.bytesRead > last) throw new FetchError(TOO_MUCH);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What went wrong, without what the other server wrote. */
function described(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : error instanceof Error ? error.name : "failed";
}
