/**
 * The rights that a token grants in its `rooms` claim: a list of room patterns, or an object that names actions.
 *
 *     "rooms": ["lobby", "team-*"]
 *     "rooms": {"lobby": ["join"], "team-*": ["join", "emit:message"]}
 *
 * A list grants to join and to emit every event. In an object the actions are `join`, `emit` (every event) and
 * `emit:EVENT`; others grant nothing. In a pattern, `*` matches one or more characters other than `:` and `/`; `*` alone
 * is every room; with two in one part a pattern matches its own text alone. A claim of any other form grants nothing.
 */

import { MAX_NAMES, isName, names } from "./names.js";
import { isObject } from "./strict_json.js";

export type Actions = ReadonlyMap<string, ReadonlySet<string>>;

const ALL: ReadonlySet<string> = new Set(["join", "emit"]);
const NOTHING: Actions = new Map();
const MAX_MATCHERS = 1024;
const matchers = new Map<string, RegExp | null>();

/** The actions of a `rooms` claim by pattern; nothing if it is malformed anywhere. */
export function grantedActions(claim: unknown): Actions {
  if (!isObject(claim)) return new Map(names(claim).map((name) => [name, ALL]));
  const found = new Map<string, ReadonlySet<string>>();
  for (const [pattern, actions] of Object.entries(claim)) {
    const listed = names(actions);
    const isEmptyList = Array.isArray(actions) && actions.length === 0;
    if (!isName(pattern) || (listed.length === 0 && !isEmptyList) || found.size === MAX_NAMES) return NOTHING;
    found.set(pattern, new Set(listed));
  }
  return found;
}

/** The patterns that grant to join. */
export function joinable(actions: Actions): string[] {
  return [...actions].filter(([, given]) => given.has("join")).map(([pattern]) => pattern);
}

/**
 * True if some pattern that matches the room grants to join it, or to emit an event to it.
 *
 * @param event the event to emit; to join if omitted.
 */
export function isGranted(actions: Actions, room: string, event?: string): boolean {
  const wanted = event === undefined ? ["join"] : ["emit", `emit:${event}`];
  const grants = (given: ReadonlySet<string> | undefined): boolean => wanted.some((action) => given?.has(action));
  if (grants(actions.get(room))) return true;
  for (const [pattern, given] of actions) {
    if (pattern.includes("*") && grants(given) && matcher(pattern)?.test(room)) return true;
  }
  return false;
}

function matcher(pattern: string): RegExp | null {
  const known = matchers.get(pattern);
  if (known !== undefined) return known;
  const made = compile(pattern);
  if (matchers.size >= MAX_MATCHERS) matchers.clear();
  matchers.set(pattern, made);
  return made;
}

function compile(pattern: string): RegExp | null {
  if (pattern === "*") return /^[^]+$/;
  const isAmbiguous = pattern.split(/[:/]/).some((part) => part.split("*").length > 2);
  if (isAmbiguous) return null; // it could be read in many ways, slowly
  return new RegExp(`^${pattern.split("*").map(escape).join("[^:/]+")}$`, "u");
}

/** A text as a regular expression matches it. */
export function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
