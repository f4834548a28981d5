/**
 * One entry per name, which all tabs of an origin share: in IndexedDB, or in memory where there is none (Node.js).
 *
 * An update is one transaction: no other tab reads or writes the entry between the reading and the writing.
 */

export interface Entry {
  /** When the tokens were received, in milliseconds since the epoch. Later tokens have a larger version. 0: no tokens. */
  version: number;
  /** When to refresh the tokens at the latest, by the wall clock, in milliseconds since the epoch. */
  freshUntil: number;
  tokens: unknown;
  /** What identifies the login that the tokens come from, if the page passed its tokens. */
  origin: unknown;
  /** Until when the tab that refreshes the tokens may take, in milliseconds since the epoch. 0: no tab does. */
  lease: number;
}

/** Return what to store; the same entry changes nothing, and undefined deletes it. */
export type Change = (entry: Entry | undefined) => Entry | undefined;

const memory = new Map<string, Entry>();
const STORE = "tokens";
let opened = false;
let inMemory = typeof indexedDB === "undefined";

const result = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** An open database would keep some browsers from restoring the page from the back/forward cache: close it each time. */
async function open(): Promise<IDBDatabase> {
  const request = indexedDB.open("roomkey", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return result(request);
}

function inTransaction(database: IDBDatabase, name: string, change: Change): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, "readwrite");
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
    const store = transaction.objectStore(STORE);
    const read: IDBRequest<Entry | undefined> = store.get(name);
    read.onsuccess = () => {
      const next = change(read.result);
      if (!next) store.delete(name);
      else if (next !== read.result) store.put(next, name);
    };
  });
}

/** Change the entry of a name. */
export async function update(name: string, change: Change): Promise<void> {
  if (!inMemory) {
    try {
      const database = await open();
      opened = true;
      return await inTransaction(database, name, change).finally(() => database.close());
    } catch (error) {
      // A page that has used the database must not continue with an older copy: a used refresh token ends the login.
      if (opened) throw error;
      inMemory = true;
    }
  }
  const next = change(memory.get(name));
  if (next) memory.set(name, next);
  else memory.delete(name);
}
