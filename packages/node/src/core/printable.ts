/** Safe display of untrusted values in logs: escaped, short, and cheap for any value. */

const LIMIT = 60;

/** A string or number as it stands, escaped and cut; a list as its first items; anything else as its type's name. */
export function printable(value: unknown): string {
  if (!Array.isArray(value)) return one(value);
  return `[${value.slice(0, 3).map(one).join(", ")}${value.length > 3 ? ", …" : ""}]`;
}

function one(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null || typeof value === "boolean" || typeof value === "number") return String(value);
  if (typeof value !== "string") return Array.isArray(value) ? "a list" : `a ${typeof value}`;
  // JSON escapes quotes and control characters; the rest that is not ASCII follows.
  const text = JSON.stringify(value.slice(0, LIMIT)).replace(
    /[^ -~]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return text.length <= LIMIT ? text : `${text.slice(0, LIMIT)}…`;
}
