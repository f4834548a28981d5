/** Maps of limited size that are ordered by the time of their last change. */

/** Set an entry, which becomes the last; above the limit, the first ones are deleted. */
export function setLatest<Key, Value>(map: Map<Key, Value>, key: Key, value: Value, limit: number): void {
  map.delete(key);
  map.set(key, value);
  for (const [first] of map) {
    if (map.size <= limit) break;
    map.delete(first);
  }
}
