/** The names of options. JavaScript ignores a member with another name, such as one of the Python settings. */

import { ConfigError } from "../errors.js";

/**
 * Check that an object has no other members than options.
 *
 * @param known the names of all options; its type makes the compiler find one that is missing.
 * @throws {ConfigError} a member with another name.
 */
export function checkNames<O extends object>(given: O, known: Readonly<Record<keyof O, true>>): void {
  const wrong = Object.keys(given).find((name) => !Object.hasOwn(known, name));
  if (wrong === undefined) return;
  throw new ConfigError(`unknown option ${JSON.stringify(wrong)}; use ${Object.keys(known).join(", ")}`);
}
