/**
 * Revocations in Redis or Valkey, which Python servers write: one stream, read on a connection of its own. Like them, it
 * notices if the stream was flushed, trimmed or restored from an older state, and reads everything again.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { EntryFormat } from "../core/journal_entries.js";
import { checkNames } from "../core/options.js";
import { ConfigError } from "../errors.js";
import { monotonic } from "./clock.js";
import { follow } from "./following.js";
import { type JournalTarget, type RevocationSource, applyEntry } from "./journal_target.js";

/** The parts of a client of the packages `redis` (4 or later) or `ioredis` that are used. */
export interface RedisClient {
  duplicate(options?: object): unknown;
}

export interface RedisJournalOptions {
  /** Your client of `redis` or `ioredis`. The journal connects a duplicate of it; the client need not be connected. */
  client: RedisClient;
  /** The secret of the cluster, as your Python servers have it; two while it is being rotated. */
  secrets: readonly (string | Uint8Array)[];
  /** The name of the cluster. Default: `roomkey`. */
  name?: string;
  /** Milliseconds without Redis after which new tokens are refused with `temporarily_unavailable`. Default: 2000. */
  staleAfter?: number;
}

const NAMES: Readonly<Record<keyof RedisJournalOptions, true>> = { client: true, secrets: true, name: true, staleAfter: true };
/** Entries of one read. */
const COUNT = 500;
/** Milliseconds that Redis may take, and for which a read waits for something new. */
const [CALL, BLOCK] = [1000, 500];
/** Milliseconds between two attempts after a failure; a random part is taken off. */
const RETRY = 1000;

/** What to do if entries are dropped, by the reason. */
const HINTS: Readonly<Record<string, string>> = { "bad signature": "give all servers the same secrets; " };

type Answer = [id: string, fields: string[]][];

/** What both packages can do, on a connection of its own. */
interface Connection {
  read(key: string, from: string): Promise<[first: Answer, found: Answer]>;
  wait(key: string, after: string): Promise<unknown>;
  close(): void;
}

/**
 * The journal of revocations in Redis, for `guard(io, verifier, { journal })`.
 *
 * @throws {ConfigError} an option is not valid.
 */
export function redisJournal(options: RedisJournalOptions): RedisJournal {
  return new RedisJournal(options);
}

export class RedisJournal {
  /** The number of entries that were read, and of those that were dropped, by reason. */
  readonly counts = new Map<string, number>();
  readonly #client: RedisClient;
  readonly #format: EntryFormat;
  readonly #key: string;
  readonly #staleAfter: number;

  constructor(options: RedisJournalOptions) {
    checkNames(options, NAMES);
    const { client, secrets, name = "roomkey", staleAfter = 2000 } = options;
    if (typeof client?.duplicate !== "function") throw new ConfigError("client must be a client of the package redis or ioredis");
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) throw new ConfigError("invalid name of a cluster; use up to 64 letters, digits, dots, hyphens and underscores");
    if (!(staleAfter >= CALL + BLOCK)) throw new ConfigError(`staleAfter must be at least ${CALL + BLOCK} milliseconds`);
    this.#client = client;
    this.#key = `{${name}}:journal`;
    this.#format = new EntryFormat(secrets, this.#key);
    this.#staleAfter = staleAfter / 1000;
  }

  /** Follow the journal for one guard. */
  follow(target: JournalTarget): RevocationSource {
    const open = (): Promise<Connection> => connectionOf(this.#client);
    return new Follower({ open, key: this.#key, staleAfter: this.#staleAfter, target, check: (fields) => this.#check(fields, target) });
  }

  /** Apply an entry, or count why it is dropped. */
  #check(fields: ReadonlyMap<string, string>, target: JournalTarget): void {
    const checked = this.#format.check(fields);
    const name = typeof checked === "string" ? `dropped: ${checked}` : "read";
    const before = this.counts.get(name) ?? 0;
    this.counts.set(name, before + 1);
    if (typeof checked !== "string") applyEntry(checked, target);
    else if (before === 0) target.failed(`dropped an entry of the journal: ${checked}; ${HINTS[checked] ?? ""}more of them are only counted`, undefined);
  }
}

interface Following {
  open(): Promise<Connection>;
  key: string;
  staleAfter: number;
  target: JournalTarget;
  check(fields: ReadonlyMap<string, string>): void;
}

class Follower implements RevocationSource {
  readonly #stopped = new AbortController();
  #connection: Connection | null = null;
  /** The last entry that was read, as text; empty at the beginning. */
  #last = "";
  #lastId = "0-0";
  /** The first entry; empty before the first read. */
  #epoch: string | null = null;
  #knownAt = -Infinity;

  constructor(private readonly following: Following) {}

  get isStale(): boolean {
    return monotonic() - this.#knownAt > this.following.staleAfter;
  }

  start(): void {
    const { target } = this.following;
    const following = follow(this.#stopped.signal, target, () => this.#read(), () => RETRY);
    void following.finally(() => this.#drop()); // of a connection that opened after close()
  }

  close(): void {
    this.#stopped.abort();
    this.#drop();
  }

  async #read(): Promise<void> {
    try {
      await this.#wait(); // not on a new connection
      await this.#readAll();
    } catch (error) {
      this.#drop();
      throw error;
    }
  }

  #drop(): void {
    this.#connection?.close();
    this.#connection = null;
  }

  /** Read to the end of the stream; only then is everything known that was revoked before. */
  async #readAll(): Promise<void> {
    const begun = monotonic();
    this.#connection ??= await within(this.following.open(), CALL);
    while (await this.#readPart(this.#connection));
    this.#knownAt = begun;
  }

  /** Read one part; returns true if there may be more. */
  async #readPart(connection: Connection): Promise<boolean> {
    const { key, check } = this.following;
    const [first, found] = await within(connection.read(key, this.#lastId), CALL);
    const epoch = first.length === 0 ? "" : JSON.stringify(first[0]);
    const isThere = this.#lastId === "0-0" || (found.length > 0 && JSON.stringify(found[0]) === this.#last);
    if ((this.#epoch !== null && epoch !== this.#epoch) || !isThere) {
      [this.#epoch, this.#last, this.#lastId, this.#knownAt] = [epoch, "", "0-0", -Infinity];
      return true;
    }
    this.#epoch = epoch;
    for (const entry of found.slice(this.#lastId === "0-0" ? 0 : 1)) {
      const fields = fieldsOf(entry[1]);
      if (!fields.has("epoch")) check(fields);
      [this.#last, this.#lastId] = [JSON.stringify(entry), entry[0]];
    }
    return found.length > COUNT;
  }

  async #wait(): Promise<void> {
    const connection = this.#connection;
    if (connection !== null) await within(connection.wait(this.following.key, this.#lastId), BLOCK + CALL);
  }
}

function fieldsOf(flat: readonly string[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let index = 0; index + 1 < flat.length; index += 2) fields.set(flat[index] as string, flat[index + 1] as string);
  return fields;
}

/** Wait for a limited time: a client of Redis can wait for ever. */
async function within<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  const done = new AbortController();
  const late = sleep(milliseconds, undefined, { ref: false, signal: done.signal }).then(() => {
    throw new Error(`Redis did not respond within ${milliseconds} ms`);
  });
  late.catch(() => undefined);
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}

/** Of the package `redis`. */
interface NodeRedis {
  on(event: "error", listener: () => void): unknown;
  connect(): Promise<unknown>;
  sendCommand(words: string[]): Promise<unknown>;
  multi(): { addCommand(words: string[]): unknown; exec(): Promise<unknown> };
  disconnect?(): unknown;
  destroy?(): unknown;
}

/** Of the package `ioredis`. */
interface IoRedis {
  on(event: "error", listener: () => void): unknown;
  connect(): Promise<unknown>;
  call(...words: string[]): Promise<unknown>;
  multi(commands: string[][]): { exec(): Promise<unknown> };
  disconnect(): void;
}

const readWords = (key: string, from: string): string[][] => [
  ["XRANGE", key, "-", "+", "COUNT", "1"],
  ["XRANGE", key, from, "+", "COUNT", String(COUNT + 1)],
];
const waitWords = (key: string, after: string): string[] => ["XREAD", "COUNT", "1", "BLOCK", String(BLOCK), "STREAMS", key, after];
/** A command that waits for a connection, or is repeated on another one, would hide that Redis is away. */
const DUPLICATE = { disableOfflineQueue: true, enableOfflineQueue: false, maxRetriesPerRequest: 0, lazyConnect: true, retryStrategy: null };

async function connectionOf(client: RedisClient): Promise<Connection> {
  const isIoRedis = typeof (client as Partial<IoRedis>).call === "function";
  const own = client.duplicate(DUPLICATE);
  const connection = isIoRedis ? ofIoRedis(own as IoRedis) : ofNodeRedis(own as NodeRedis);
  (own as NodeRedis).on("error", () => undefined); // a call that fails says so, too
  try {
    await within((own as NodeRedis).connect(), CALL);
  } catch (error) {
    connection.close();
    throw error;
  }
  return connection;
}

function ofNodeRedis(own: NodeRedis): Connection {
  return {
    async read(key, from) {
      const transaction = own.multi();
      for (const words of readWords(key, from)) transaction.addCommand(words);
      return (await transaction.exec()) as [Answer, Answer];
    },
    wait: (key, after) => own.sendCommand(waitWords(key, after)),
    close() {
      if (own.destroy) attempt(() => own.destroy?.());
      else attempt(() => own.disconnect?.());
    },
  };
}

function ofIoRedis(own: IoRedis): Connection {
  return {
    async read(key, from) {
      const answers = (await own.multi(readWords(key, from).map(([command = "", ...more]) => [command.toLowerCase(), ...more])).exec()) as [Error | null, Answer][];
      const error = answers.find(([failed]) => failed !== null)?.[0];
      if (error) throw error;
      return answers.map(([, answer]) => answer) as [Answer, Answer];
    },
    wait: (key, after) => own.call(...waitWords(key, after) as [string, ...string[]]),
    close: () => attempt(() => own.disconnect()),
  };
}

/** Close what may be closed already. */
function attempt(close: () => unknown): void {
  try {
    void Promise.resolve(close()).catch(() => undefined);
  } catch {
    // it is closed
  }
}
