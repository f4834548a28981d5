/**
 * JSON that every reader reads alike. `JSON.parse` accepts duplicate members, numbers that overflow, integers that it
 * rounds, and any depth; here they are refused.
 */

/** The largest nesting of arrays and objects, the outermost included. */
export const MAX_DEPTH = 32;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NUMBER = /-?\d+(\.\d+)?([eE][-+]?\d+)?/y;

/**
 * Parse one JSON value.
 *
 * @throws {SyntaxError} not JSON, or JSON that other parsers read differently.
 */
export function loads(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new SyntaxError("not UTF-8");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SyntaxError("not JSON");
  }
  check(text);
  return value;
}

/** Look for what `JSON.parse`, which has proved the grammar, lets through. */
function check(text: string): void {
  const open: (Set<string> | null)[] = []; // the member names of each open object; null for an array
  let isKey = false;
  for (let at = 0; at < text.length; ) {
    const character = text[at];
    if (character === '"') {
      const end = stringEnd(text, at);
      const names = open.at(-1);
      const found = stringAt(text, at, end);
      if (isKey && names) {
        if (names.has(found)) throw new SyntaxError("duplicate member");
        names.add(found);
        isKey = false;
      }
      at = end;
    } else if (character === "-" || (character !== undefined && character >= "0" && character <= "9")) {
      at = numberEnd(text, at);
    } else {
      if (character === "{" || character === "[") {
        if (open.length === MAX_DEPTH) throw new SyntaxError("nested too deep");
        isKey = character === "{";
        open.push(isKey ? new Set() : null);
      } else if (character === "}" || character === "]") {
        open.pop();
        isKey = false;
      } else if (character === ",") {
        isKey = open.at(-1) !== null;
      }
      at++;
    }
  }
}

function stringEnd(text: string, start: number): number {
  let at = start + 1;
  for (let code = text.charCodeAt(at); code !== QUOTE; code = text.charCodeAt(at)) at += code === BACKSLASH ? 2 : 1;
  return at + 1;
}

function stringAt(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end - 1);
  if (!raw.includes("\\")) return raw;
  const found = JSON.parse(`"${raw}"`) as string;
  if (!found.isWellFormed()) throw new SyntaxError("unpaired surrogate"); // only an escape can make one
  return found;
}

function numberEnd(text: string, start: number): number {
  NUMBER.lastIndex = start;
  const found = NUMBER.exec(text);
  if (found === null) throw new SyntaxError("not JSON");
  const number = Number(found[0]);
  if (!Number.isFinite(number)) throw new SyntaxError("number out of range");
  const isInteger = found[1] === undefined && found[2] === undefined;
  if (isInteger && !Number.isSafeInteger(number)) throw new SyntaxError("integer out of range");
  return NUMBER.lastIndex;
}

/** Return true for a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
