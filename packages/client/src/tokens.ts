/** Where a socket's tokens come from: a function of the application, or a refresh that all tabs share. */
import { PATIENCE, exclusive } from "./exclusive.js";
import { type Entry, update } from "./storage.js";

/** What a login or a refresh returns (RFC 6749 section 5.1). Further members are stored as well. */
export interface Tokens {
  /** Missing if the token is in a cookie. */
  access_token?: string;
  /** Seconds. */
  expires_in?: number;
  refresh_token?: string;
  [member: string]: unknown;
}

/** A token to present. */
export interface Presentable {
  /** Undefined: the browser sends a cookie. */
  token: string | undefined;
  /** Two tokens with the same version are equally old. */
  version: unknown;
  /** When to get a newer one at the latest, in milliseconds since the epoch. */
  freshUntil: number;
}

export interface Source {
  /** Return a token of another version than `spent`, if there can be one; null if the user is logged out. */
  get(spent: unknown): Promise<Presentable | null>;
  /** Delete the stored tokens, unless they are of another version. */
  forget(version: unknown): Promise<void>;
}

type Answer<T> = T | null | undefined | Promise<T | null | undefined>;
export type Refresh = (tokens: Tokens | undefined) => Answer<Tokens>;
export type GetToken = (tokens?: Tokens) => Answer<string>;

const MARGIN = 30_000;
const POLL = 50;
const NOTHING: Entry = { version: 0, freshUntil: 0, tokens: undefined, origin: undefined, lease: 0 };

/** Read a token's times, in milliseconds. The server verifies them; this is only for the timing. */
function times(token: string | undefined): { exp: number; lifetime: number } {
  try {
    const { exp, iat } = JSON.parse(atob(token!.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
    return { exp: exp * 1000, lifetime: (exp - iat) * 1000 };
  } catch {
    return { exp: NaN, lifetime: NaN };
  }
}

/** The application's own token: fixed, or from its function. */
export function ownToken(token: string | GetToken): Source {
  return {
    async get() {
      const value = typeof token === "string" ? token : await token();
      return value ? { token: value, version: value, freshUntil: times(value).exp - MARGIN || Infinity } : null;
    },
    async forget() {},
  };
}

/** Durations are counted from here on, so that it does not matter whether the clock is right. */
function received(tokens: Tokens, asked: number, before: number, origin: unknown): Entry {
  const { access_token: token, expires_in: seconds } = tokens;
  const lifetime = typeof seconds === "number" ? seconds * 1000 : times(token).lifetime;
  const freshUntil = asked + lifetime - Math.min(MARGIN, lifetime / 4) || Infinity;
  return { version: Math.max(asked, before + 1), freshUntil, tokens, origin, lease: 0 };
}

/** Return the tokens of a response, or null if it says that the login has ended. */
function read(answer: unknown): Tokens | null {
  const { access_token: token, expires_in: seconds, error } = (answer ?? {}) as Tokens;
  if (typeof token === "string" || typeof seconds === "number") return answer as Tokens;
  if (answer == null || error === "invalid_grant") return null;
  throw new TypeError("a response without tokens"); // such as that of a proxy, or of a server in trouble
}

/** Delete the stored tokens, for example after a logout. */
export const forgetTokens = (name = "roomkey"): Promise<void> => update(name, () => undefined);

/** Tokens that all tabs of an origin share and refresh one at a time. */
export function sharedTokens(name: string, refresh: Refresh, token?: string | GetToken, first?: Tokens): Source {
  // The successors of these tokens may be stored already: the old refresh token would end the login.
  const login = first && (first.refresh_token ?? first.access_token ?? JSON.stringify(first));
  const store = (entry: Entry | undefined) =>
    entry && entry.origin === login ? entry : received(first!, Date.now(), entry?.version ?? 0, login);
  const ready = first && update(name, store);
  const isFresh = (entry: Entry | undefined, spent: unknown): entry is Entry =>
    !!entry?.version && entry.version !== spent && entry.freshUntil > Date.now();

  /** Take the lease of the entry, unless the tokens are fresh or another tab has the lease. */
  async function look(spent: unknown, alone: boolean): Promise<[Entry | undefined, boolean]> {
    let seen: Entry | undefined;
    let mine = false;
    await update(name, (entry) => {
      seen = entry;
      // A lease lies within the next seconds. If not, the clock was changed.
      const wait = entry ? entry.lease - Date.now() : 0;
      mine = !isFresh(entry, spent) && (alone || wait <= 0 || wait > PATIENCE);
      return mine ? { ...(entry ?? NOTHING), lease: Date.now() + PATIENCE } : entry;
    });
    return [seen, mine];
  }

  /**
   * Refresh, and store the result. Return null if the user is logged out, and undefined if another tab, which took over
   * while this one was frozen, has stored newer tokens.
   */
  async function renew({ version, tokens, origin }: Entry): Promise<Entry | null | undefined> {
    const asked = Date.now();
    const settle = async (next: (entry: Entry) => Entry | undefined) => {
      let overtaken = false;
      await update(name, (entry) => ((overtaken = entry?.version !== version) ? entry : next(entry!)));
      return overtaken;
    };
    let answer: Tokens | null;
    try {
      answer = read(await refresh(tokens as Tokens | undefined));
    } catch (error) {
      if (await settle((entry) => ({ ...entry, lease: 0 }))) return undefined;
      throw error;
    }
    const next = answer && received(answer, asked, version, origin);
    return (await settle(() => next ?? undefined)) ? undefined : next;
  }

  async function current(spent: unknown, alone: boolean): Promise<Entry | null> {
    for (;;) {
      const [entry, mine] = await look(spent, alone);
      if (isFresh(entry, spent)) return entry;
      const renewed = mine ? await renew(entry ?? NOTHING) : await new Promise<void>((wake) => setTimeout(wake, POLL));
      if (renewed !== undefined) return renewed;
    }
  }

  return {
    async get(spent) {
      await ready;
      const entry = await exclusive(`roomkey:${name}`, (alone) => current(spent, alone));
      if (!entry) return null;
      const tokens = entry.tokens as Tokens;
      const value = typeof token === "function" ? await token(tokens) : tokens.access_token;
      if (!value && token) return null;
      return { token: value ?? undefined, version: entry.version, freshUntil: entry.freshUntil };
    },
    forget: (version) => update(name, (entry) => (entry?.version === version ? undefined : entry)),
  };
}
