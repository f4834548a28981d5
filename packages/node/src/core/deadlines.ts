/** Deadlines of many things in one heap: no timer for each. */

interface Entry<K> {
  when: number;
  key: K;
  count: number;
}

/** At most one deadline per key. Times are numbers of one clock, which the caller reads. */
export class Deadlines<K> {
  readonly #due = new Map<K, Entry<K>>();
  #heap: Entry<K>[] = [];
  #count = 0;

  get size(): number {
    return this.#due.size;
  }

  /** Set or move the key's deadline. */
  set(key: K, when: number): void {
    const entry = { when, key, count: this.#count++ };
    this.#due.set(key, entry);
    this.#push(entry);
    if (this.#heap.length > 64 && this.#heap.length > 2 * this.#due.size) this.#rebuild();
  }

  /** Forget the key's deadline, if it has one. */
  cancel(key: K): void {
    this.#due.delete(key);
  }

  /** When the earliest deadline is, or null. */
  next(): number | null {
    while (this.#heap[0] && this.#due.get(this.#heap[0].key) !== this.#heap[0]) this.#pop();
    return this.#heap[0]?.when ?? null;
  }

  /** Take out the keys whose deadline is `now` or earlier, earliest first. */
  popDue(now: number): K[] {
    const due: K[] = [];
    for (let when = this.next(); when !== null && when <= now; when = this.next()) {
      const entry = this.#pop();
      if (!entry) break;
      this.#due.delete(entry.key);
      due.push(entry.key);
    }
    return due;
  }

  #rebuild(): void {
    this.#heap = [];
    for (const entry of this.#due.values()) this.#push(entry);
  }

  #isBefore(one: number, other: number): boolean {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    return a !== undefined && b !== undefined && (a.when < b.when || (a.when === b.when && a.count < b.count));
  }

  #swap(one: number, other: number): void {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    if (a && b) [this.#heap[one], this.#heap[other]] = [b, a];
  }

  #push(entry: Entry<K>): void {
    this.#heap.push(entry);
    for (let at = this.#heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #pop(): Entry<K> | undefined {
    this.#swap(0, this.#heap.length - 1);
    const first = this.#heap.pop();
    for (let at = 0; ; ) {
      const smallest = [2 * at + 1, 2 * at + 2].reduce((least, child) => (this.#isBefore(child, least) ? child : least), at);
      if (smallest === at) return first;
      this.#swap(at, smallest);
      at = smallest;
    }
  }
}
