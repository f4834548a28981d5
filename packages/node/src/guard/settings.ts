/** The settings of a guard: declared, documented and checked here, and nowhere else. */

import { type Log, logToConsole, unfailing } from "../core/calls.js";
import { type Sources, checkSources } from "../core/credentials.js";
import { DPoP, type DPoPOptions, MAX_PROOF } from "../core/dpop.js";
import { MAX_TOKEN } from "../core/jws.js";
import { checkNames } from "../core/options.js";
import { Policy } from "../core/policy.js";
import { type SubjectLimits, checkSubjectLimits } from "../core/subject_limits.js";
import { ConfigError } from "../errors.js";
import type { WriteLine } from "./audit.js";
import type { AnyVerifier } from "./authorizer.js";
import { type Clock, reliable } from "./clock.js";
import type { JournalOptions } from "./journal.js";
import type { RedisJournal } from "./redis_journal.js";

/** The ways to present a token. */
export type Way = "handshake" | "authenticate";

/** What an application's own `socket.join` needs. */
export type OwnJoins = "policy" | "allow";

/** Bytes of a packet before admission, by default. */
const ANONYMOUS_PACKET = 16_384;
/** Bytes of the packet that presents a token, besides the token. */
const PACKET_AROUND_TOKEN = 1024;

/** The settings of a guard. Times are in milliseconds, as everywhere in Node.js. */
export interface GuardOptions {
  /**
   * How a token is presented: with the connection (`handshake`), by the event `authenticate` after connecting, or either.
   * Default: `["handshake"]`.
   */
  via?: Way | readonly Way[];
  /** Where a handshake may present a token. Default: the `auth` payload and the `Authorization` header. */
  sources?: Sources;
  /**
   * The origins of web pages whose cookies count, such as `https://chat.example`. Required if `sources` names a cookie: a
   * browser sends it with the requests of every page.
   */
  origins?: readonly string[];
  /** Time in which a connection must authenticate; only success stops it. Default: 15000. */
  timeout?: number;
  /** The number of rejected tokens that closes the connection. Default: 3. */
  maxAttempts?: number;
  /** False also admits clients without a token, as guests; a bad token is refused all the same. Default: true. */
  required?: boolean;
  /**
   * How clients prove that they own the key to which their token is bound (DPoP, RFC 9449). Default: tokens that are bound
   * to a key are rejected.
   */
  dpop?: DPoPOptions;
  /** Who may do what. Default: every identity may connect, and no room may be joined. */
  policy?: Policy;
  /** Time after `exp` in which a connected socket stays, so that it can be renewed. Default: 25000. */
  grace?: number;
  /** Time before `exp` at which the client receives `token_expiring`, at the earliest; 0 for never. Default: 60000. */
  warnBefore?: number;
  /** Time for one decision; a verifier, a rule or a middleware that takes longer refuses. Default: 15000. */
  decisionTimeout?: number;
  /** So many refused namespace connections close the whole connection. Default: 3. */
  maxRefusals?: number;
  /** So many namespaces one connection may join. Default: 32. */
  maxNamespaces?: number;
  /**
   * So many connections without an admitted socket one IPv4 address, or one IPv6 /64 network, may have. Default: 1000.
   */
  maxAnonymous?: number;
  /**
   * So many tokens of one IPv4 address, or one IPv6 /64 network, may be rejected per minute, except for expired and revoked
   * ones. The next ones are rejected with `too_many_attempts`. Valid tokens are always accepted. Default: 100.
   */
  maxBadTokens?: number;
  /**
   * Bytes of a packet on a connection without an admitted socket. Default: 16384, or twice the verifier's `maxToken` if
   * that is more.
   */
  maxAnonymousPacket?: number;
  /** How many connections, joins and events each subject may have. Default: no limits. */
  subjectLimits?: SubjectLimits;
  /** Put every socket into its subject's own room, `user:{sub}`. Default: true. */
  userRooms?: boolean;
  /**
   * What the application's own `socket.join` needs: the policy's consent, if it has rules for rooms (`"policy"`), or nothing
   * (`"allow"`). Default: `"policy"`.
   */
  ownJoins?: OwnJoins;
  /**
   * Follows the revocations of a roomkey login server, over HTTP or with `redisJournal`. Default: revocations of this process
   * only.
   */
  journal?: JournalOptions | RedisJournal;
  /** Receives the lines of the audit log, each one JSON object without a token. Default: none. */
  audit?: WriteLine;
  /** Receives what goes wrong in the application's rules, callbacks and listeners. Default: `console.error`. */
  log?: Log;
  /** Seconds since the epoch, for tests. */
  clock?: Clock;
}

/** The checked settings of a guard; times are in seconds. */
export interface GuardSettings {
  /** Where a request may present a token. */
  sources: Required<Sources>;
  /** Where a handshake may present a token; null if it may not. */
  handshake: Required<Sources> | null;
  /** The origins of the pages whose cookies count. */
  origins: readonly string[];
  /** Whether a token may come by the event `authenticate`. */
  later: boolean;
  /** Seconds in which a connection must authenticate. */
  timeout: number;
  maxAttempts: number;
  required: boolean;
  /** How clients prove that they own a key; null if tokens that are bound to a key are rejected. */
  dpop: DPoP | null;
  policy: Policy;
  grace: number;
  warnBefore: number;
  /** Seconds for one decision. */
  within: number;
  maxRefusals: number;
  maxNamespaces: number;
  maxAnonymous: number;
  maxBadTokens: number;
  anonymousPacket: number;
  subjectLimits: SubjectLimits | null;
  userRooms: boolean;
  ownJoins: OwnJoins;
  audit: WriteLine | null;
  log: Log;
  clock: Clock;
}

const OPTIONS: Readonly<Record<keyof GuardOptions, true>> = {
  via: true,
  sources: true,
  origins: true,
  timeout: true,
  maxAttempts: true,
  required: true,
  dpop: true,
  policy: true,
  grace: true,
  warnBefore: true,
  decisionTimeout: true,
  maxRefusals: true,
  maxNamespaces: true,
  maxAnonymous: true,
  maxBadTokens: true,
  maxAnonymousPacket: true,
  subjectLimits: true,
  userRooms: true,
  ownJoins: true,
  journal: true,
  audit: true,
  log: true,
  clock: true,
};

/** @throws {ConfigError} a setting is invalid, or settings contradict each other. */
export function checkSettings(verifier: AnyVerifier, options: GuardOptions): GuardSettings {
  checkVerifier(verifier);
  checkNames(options, OPTIONS);
  const sources = checkSources(options.sources ?? {});
  const ways = checkWays(options.via ?? ["handshake"]);
  const maxAttempts = count(options.maxAttempts, 3, "maxAttempts");
  const dpop = checkDPoP(options.dpop, ways.includes("authenticate") ? maxAttempts : Infinity);
  const log = unfailing(options.log ?? logToConsole);
  logWarnings(verifier, log);
  return {
    sources,
    handshake: ways.includes("handshake") ? sources : null,
    origins: checkOrigins(options.origins, sources),
    later: ways.includes("authenticate"),
    timeout: seconds(options.timeout, 15_000, "timeout", 1),
    maxAttempts,
    required: flag(options.required, true, "required"),
    dpop,
    policy: checkPolicy(options.policy),
    grace: seconds(options.grace, 25_000, "grace", 0),
    warnBefore: seconds(options.warnBefore, 60_000, "warnBefore", 0),
    within: seconds(options.decisionTimeout, 15_000, "decisionTimeout", 1),
    maxRefusals: count(options.maxRefusals, 3, "maxRefusals"),
    maxNamespaces: count(options.maxNamespaces, 32, "maxNamespaces"),
    maxAnonymous: count(options.maxAnonymous, 1000, "maxAnonymous"),
    maxBadTokens: count(options.maxBadTokens, 100, "maxBadTokens"),
    anonymousPacket: checkPacket(options.maxAnonymousPacket, verifier, dpop),
    subjectLimits: options.subjectLimits === undefined ? null : checkSubjectLimits(options.subjectLimits),
    userRooms: flag(options.userRooms, true, "userRooms"),
    ownJoins: checkOwnJoins(options.ownJoins),
    audit: options.audit ?? null,
    log,
    clock: options.clock === undefined ? () => Date.now() / 1000 : reliable(options.clock, log),
  };
}

function checkVerifier(verifier: AnyVerifier): void {
  if (typeof verifier?.verify !== "function") {
    throw new ConfigError("the second argument is a verifier: guard(io, Verifier.hs256(secret, { audience: '…' }))");
  }
  if ((verifier as { requiresSubject?: unknown }).requiresSubject === false) {
    throw new ConfigError("cannot use a verifier that accepts tokens without a subject: all of their users would be one user");
  }
}

const logged = new Set<string>();

/** Log what is insecure about the settings of a verifier, once in this process. */
function logWarnings(verifier: AnyVerifier, log: Log): void {
  const { warnings } = verifier as { warnings?: unknown };
  if (!Array.isArray(warnings)) return;
  for (const text of (warnings as readonly string[]).filter((one) => !logged.has(one))) {
    logged.add(text);
    log(`insecure: ${text}`);
  }
}

function checkDPoP(options: DPoPOptions | undefined, maxAttempts: number): DPoP | null {
  if (options === undefined) return null;
  const settings = new DPoP(options);
  if (settings.nonces !== null && maxAttempts < 2) {
    throw new ConfigError("maxAttempts must be at least 2: with nonceSecret, the first proof of a client is rejected");
  }
  return settings;
}

function checkPacket(most: number | null | undefined, verifier: AnyVerifier, dpop: DPoP | null): number {
  const longest = verifier.maxToken ?? MAX_TOKEN;
  if (most === undefined || most === null) return Math.max(ANONYMOUS_PACKET, 2 * longest);
  const least = longest + PACKET_AROUND_TOKEN + (dpop === null ? 0 : MAX_PROOF);
  if (!Number.isInteger(most) || most < least) {
    throw new ConfigError(`maxAnonymousPacket must be at least ${least} bytes: the packet with the longest token must fit`);
  }
  return most;
}

function checkOwnJoins(given: unknown): OwnJoins {
  const ownJoins = given ?? "policy";
  if (ownJoins !== "policy" && ownJoins !== "allow") throw new ConfigError("ownJoins must be 'policy' or 'allow'");
  return ownJoins;
}

function checkPolicy(policy: Policy | undefined): Policy {
  if (policy !== undefined && !(policy instanceof Policy)) throw new ConfigError("policy must be a Policy");
  return policy ?? new Policy();
}

function checkWays(given: unknown): readonly Way[] {
  const ways: unknown = typeof given === "string" ? [given] : given;
  const isWay = (way: unknown): way is Way => way === "handshake" || way === "authenticate";
  if (!Array.isArray(ways) || ways.length === 0 || !ways.every(isWay) || new Set(ways).size < ways.length) {
    throw new ConfigError('via must be "handshake", "authenticate", or a list of both');
  }
  return ways;
}

function checkOrigins(origins: unknown, sources: Required<Sources>): readonly string[] {
  const listed: readonly unknown[] = Array.isArray(origins) ? origins : origins === undefined ? [] : [origins];
  for (const origin of listed) {
    const isOrigin = typeof origin === "string" && URL.canParse(origin) && new URL(origin).origin === origin;
    if (!isOrigin) throw new ConfigError(`invalid origin '${String(origin)}'; use one such as 'https://chat.example'`);
  }
  if (sources.cookie !== null && listed.length === 0) {
    throw new ConfigError("a token in a cookie requires origins: without them, every web page could connect as its visitor");
  }
  return listed as readonly string[];
}

function seconds(value: number | undefined, otherwise: number, name: string, least: number): number {
  const given = value ?? otherwise;
  if (typeof given !== "number" || !Number.isFinite(given) || given < least) {
    throw new ConfigError(`${name} must be a number of milliseconds, ${least} or more`);
  }
  return given / 1000;
}

function flag(value: unknown, otherwise: boolean, name: string): boolean {
  const given = value ?? otherwise;
  if (typeof given !== "boolean") throw new ConfigError(`${name} must be true or false`);
  return given;
}

function count(value: number | undefined, otherwise: number, name: string): number {
  const given = value ?? otherwise;
  if (!Number.isInteger(given) || given < 1) throw new ConfigError(`${name} must be a whole number of 1 or more`);
  return given;
}
