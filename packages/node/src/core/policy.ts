/**
 * The policy: rules for namespaces, rooms, emits to rooms, and events.
 *
 * Defaults, each a setting: a namespace without a rule admits every identity, a room without a matching rule admits
 * nobody, a socket that is in a room may emit to it where no rule is about that, an event without a rule is open to every
 * admitted socket. A rule allows by returning `true` itself; any other value, and any exception, denies.
 */

import { ConfigError } from "../errors.js";
import { strip } from "./characters.js";
import { escape } from "./grants.js";
import type { Identity } from "./identity.js";
import { ANY_EVENT, checkEvent, isName, looksLikeSid } from "./names.js";
import { checkNames } from "./options.js";
import { RoleHierarchy } from "./roles.js";

/** What a rule is asked about: the room and the event, where there is one, and the fields of the pattern. */
export type Asked = Readonly<Record<string, string>>;
export type Rule = (who: Identity, asked: Asked) => boolean | Promise<boolean>;

/** What the name of a subject's own room begins with; the subject follows. */
export const OWN_ROOM = "user:";

const FIELD = /\{([a-z_][a-z0-9_]*)\}/;
const TAKEN = ["room", "event", "namespace"]; // what every rule is told besides its fields

/** One rule to ask, with what it is asked about. */
export interface BoundRule {
  /** Of the rule, as the policy's author wrote it. */
  name: string;
  rule: Rule;
  asked: Asked;
  /** The longest time since the holder authenticated, in seconds, or null. */
  maxAuthAge: number | null;
}

/** The rules about one thing. */
export interface RuleSet {
  rules: readonly BoundRule[];
  /** All of them must allow; else one that allows is enough. */
  every: boolean;
  /** The answer where there is no rule. */
  otherwise: boolean;
}

export const OPEN: RuleSet = { rules: [], every: false, otherwise: true };
export const CLOSED: RuleSet = { rules: [], every: false, otherwise: false };

interface RoomRule {
  pattern: string;
  namespace: string | null;
  event: string | null;
  match: RegExp | null;
  rule: Rule;
}

interface EventRule {
  rule: Rule;
  maxAuthAge: number | null;
}

export interface PolicyOptions {
  /** Admit every identity to a namespace without a rule. Default: true. */
  openNamespaces?: boolean;
  /** Let every admitted identity send an event without a rule. Default: true. */
  openEvents?: boolean;
  /** Let a socket emit to a room that it is in, where no rule is about that. Default: true. */
  openEmits?: boolean;
  /** Which roles include others: `"admin > moderator > member"`, or several such texts. */
  roles?: string | readonly string[];
}

const OPTIONS: Readonly<Record<keyof PolicyOptions, true>> = { openNamespaces: true, openEvents: true, openEmits: true, roles: true };

/** Rules, by what they are about. */
export class Policy {
  readonly #open: Required<Omit<PolicyOptions, "roles">>;
  readonly #roles: RoleHierarchy;
  readonly #namespaces = new Map<string, BoundRule>();
  readonly #events = new Map<string, EventRule>();
  readonly #rooms: RoomRule[] = [];
  readonly #emits: RoomRule[] = [];

  /** @throws {ConfigError} an unknown option, or an invalid role. */
  constructor(options: PolicyOptions = {}) {
    checkNames(options, OPTIONS);
    const { openNamespaces = true, openEvents = true, openEmits = true, roles = [] } = options;
    this.#open = { openNamespaces, openEvents, openEmits };
    this.#roles = new RoleHierarchy(roles);
  }

  /** Decide who may connect to a namespace. */
  namespace(name: string, rule: Rule): this {
    checkNamespace(name);
    checkRule(rule, `namespace ${name}`);
    if (this.#namespaces.has(name)) throw new ConfigError(`namespace ${name} has a rule already`);
    this.#namespaces.set(name, bound(`namespace ${name}`, rule, { namespace: name }));
    return this;
  }

  /**
   * Decide who may send an event, or every event without a rule of its own (`*`).
   *
   * @param options.maxAuthAge seconds since the holder authenticated (`auth_time`, else `iat`) at the most. With an older
   *   token the client is asked to authenticate again (RFC 9470), and the socket stays.
   */
  event(name: string, rule: Rule, options: { namespace?: string; maxAuthAge?: number } = {}): this {
    if (name !== ANY_EVENT) checkEvent(name);
    const { namespace = null, maxAuthAge = null } = options;
    if (maxAuthAge !== null && !(maxAuthAge > 0 && maxAuthAge < Infinity)) {
      throw new ConfigError("maxAuthAge takes more than 0 seconds");
    }
    checkNamespace(namespace);
    checkRule(rule, `event ${name}`);
    const key = eventKey(namespace, name);
    if (this.#events.has(key)) throw new ConfigError(`event ${name} has a rule already`);
    this.#events.set(key, { rule, maxAuthAge });
    return this;
  }

  /**
   * Decide who may join the rooms that match a pattern. Where several match, one that allows is enough.
   *
   * @param pattern a name; or a template such as `team:{team}`, whose fields match one or more characters other than `:`
   *   and `/` and are passed by name: `(who, { team }) => …`; or `*` for every room but a subject's own (`user:…`).
   */
  room(pattern: string, rule: Rule, options: { namespace?: string } = {}): this {
    this.#rooms.push(roomRule("room", pattern, rule, options.namespace ?? null, null));
    return this;
  }

  /** Decide what clients may emit to rooms through the server. Where several rules match, one that allows is enough. */
  emit(pattern: string, rule: Rule, options: { event?: string; namespace?: string } = {}): this {
    if (options.event !== undefined) checkEvent(options.event);
    this.#emits.push(roomRule("emit", pattern, rule, options.namespace ?? null, options.event ?? null));
    return this;
  }

  /** The rules to ask before an identity may connect. */
  aboutNamespace(namespace: string): RuleSet {
    const rule = this.#namespaces.get(namespace);
    if (rule) return { rules: [rule], every: false, otherwise: false };
    return this.#open.openNamespaces ? OPEN : CLOSED;
  }

  /** The rules to ask before an event is handled: {@link OPEN} itself if everybody may send it. */
  aboutEvent(event: string, namespace: string): RuleSet {
    if (this.#events.size === 0) return this.#open.openEvents ? OPEN : CLOSED; // asked for every event
    const named = this.#eventRules(event, event, namespace);
    const rules = named.length > 0 ? named : this.#eventRules(ANY_EVENT, event, namespace);
    if (rules.length > 0) return { rules, every: true, otherwise: false };
    return this.#open.openEvents ? OPEN : CLOSED;
  }

  #eventRules(name: string, event: string, namespace: string): BoundRule[] {
    const found = [this.#events.get(eventKey(namespace, name)), this.#events.get(eventKey(null, name))];
    return found
      .filter((known) => known !== undefined)
      .map(({ rule, maxAuthAge }) => ({ ...bound(`event ${name}`, rule, { event, namespace }), maxAuthAge }));
  }

  /** True if some rule is about rooms of a namespace. */
  hasRoomRules(namespace: string): boolean {
    return this.#rooms.some((known) => known.namespace === null || known.namespace === namespace);
  }

  /** The rules to ask before a room may be joined. */
  aboutRoom(room: unknown, namespace: string): RuleSet {
    return isRoomName(room) ? { ...CLOSED, rules: matching(this.#rooms, "room", room, namespace, null) } : CLOSED;
  }

  /** The rules to ask before a client may emit to a room. Without a rule, it must be in the room. */
  aboutEmit(room: unknown, event: string, namespace: string): RuleSet {
    if (!isRoomName(room)) return CLOSED;
    const rules = matching(this.#emits, "emit", room, namespace, event);
    return { rules, every: false, otherwise: this.#open.openEmits && rules.length === 0 };
  }

  /** The identity, with the roles that its roles include. */
  expandRoles(who: Identity): Identity {
    const roles = this.#roles.expand(who.roles);
    return roles === who.roles ? who : Object.freeze({ ...who, roles: Object.freeze(roles) });
  }
}

function bound(name: string, rule: Rule, asked: Asked): BoundRule {
  return { name, rule, asked, maxAuthAge: null };
}

function eventKey(namespace: string | null, name: string): string {
  return `${namespace ?? ""}\0${name}`; // no event's name contains a control character
}

function matching(rules: RoomRule[], kind: string, room: string, namespace: string, event: string | null): BoundRule[] {
  const found: BoundRule[] = [];
  for (const known of rules) {
    if (known.namespace !== null && known.namespace !== namespace) continue;
    if (known.event !== null && known.event !== event) continue;
    // A rule about a subject's own room says so: "{kind}:{name}" was not written for it.
    if (room.startsWith(OWN_ROOM) && !known.pattern.startsWith(OWN_ROOM)) continue;
    const match = known.match === null ? null : known.match.exec(room);
    if (known.match !== null && match === null) continue;
    const asked = { ...match?.groups, room, namespace, ...(event === null ? {} : { event }) };
    found.push(bound(`${kind} ${known.pattern}`, known.rule, asked));
  }
  return found;
}

function roomRule(kind: string, pattern: unknown, rule: Rule, namespace: string | null, event: string | null): RoomRule {
  if (typeof pattern !== "string") throw new ConfigError(`a rule begins with its pattern: policy.${kind}("team:{team}", rule)`);
  checkNamespace(namespace);
  checkRule(rule, `${kind} ${pattern}`);
  return { pattern, namespace, event, match: pattern === "*" ? null : compile(pattern), rule };
}

function checkRule(rule: unknown, about: string): void {
  if (typeof rule !== "function") throw new ConfigError(`the rule for ${about} is not a function: write (who, asked) => …`);
}

/** A rule for a namespace that cannot be would never be asked. */
function checkNamespace(name: string | null): void {
  if (name !== null && !(typeof name === "string" && name.startsWith("/") && !/[,?]/.test(name))) {
    throw new ConfigError(`invalid namespace '${String(name)}'; begin it with '/', and do not use ',' or '?'`);
  }
}

/**
 * True for a name in Unicode's normal form C without outer spaces. One name in two spellings (composed and decomposed,
 * with and without a trailing space) must never be two rooms, one of them guarded.
 */
export function isRoomName(room: unknown): room is string {
  return isName(room) && strip(room) === room && room.normalize("NFC") === room;
}

/** Turn a template into a pattern that only whole names match. */
function compile(pattern: string): RegExp {
  const parts = pattern.split(FIELD);
  const literals = parts.filter((_, index) => index % 2 === 0);
  const fields = parts.filter((_, index) => index % 2 === 1);
  const wrong = (why: string): ConfigError => new ConfigError(`room pattern '${pattern}': ${why}`);
  if (pattern === "" || /[{}*]/.test(literals.join(""))) throw wrong("use a name, fields such as 'team:{team}', or '*' alone");
  if (new Set(fields).size !== fields.length) throw wrong("a field is named twice");
  if (fields.some((name) => TAKEN.includes(name))) throw wrong(`name the field otherwise than ${TAKEN.join(", ")}`);
  if (literals.slice(1, -1).some((between) => !/[:/]/.test(between))) {
    throw wrong("put ':' or '/' between two fields, or they run into each other");
  }
  const isFixed = fields.length === 0;
  if (!isRoomName(pattern.replace(new RegExp(FIELD, "g"), "x")) || (isFixed && looksLikeSid(pattern))) {
    throw wrong("no room has such a name, so that its rule would never be asked");
  }
  return new RegExp(`^${parts.map((part, index) => (index % 2 ? `(?<${part}>[^:/]+)` : escape(part))).join("")}$`, "u");
}
