/** Roles that include others: `admin > moderator > member`. */

import { ConfigError } from "../errors.js";
import { strip } from "./characters.js";

/** Which roles a role includes. */
export class RoleHierarchy {
  readonly #includes = new Map<string, Set<string>>();

  /**
   * @param chains one or several texts such as `"admin > moderator > member"`, the greater role first.
   * @throws {ConfigError} a chain that cannot be read, or a role that includes itself.
   */
  constructor(chains: string | readonly string[] = []) {
    const direct = new Map<string, Set<string>>();
    for (const chain of typeof chains === "string" ? [chains] : chains) {
      const roles = typeof chain === "string" ? chain.split(">").map((role) => strip(role)) : [];
      if (roles.length < 2 || roles.includes("")) {
        throw new ConfigError(`roles are written as 'admin > moderator > member', not '${chain}'`);
      }
      roles.slice(1).forEach((lesser, index) => {
        const greater = roles[index] ?? "";
        direct.set(greater, (direct.get(greater) ?? new Set()).add(lesser));
      });
    }
    for (const role of direct.keys()) {
      const reached = new Set<string>();
      for (const waiting = [role]; waiting.length > 0; ) {
        for (const lesser of direct.get(waiting.pop() ?? "") ?? []) {
          if (!reached.has(lesser)) waiting.push(lesser);
          reached.add(lesser);
        }
      }
      if (reached.has(role)) throw new ConfigError(`role '${role}' would include itself: look at the order of roles`);
      this.#includes.set(role, reached);
    }
  }

  /** Roles, with all that they include. */
  expand(roles: readonly string[]): readonly string[] {
    if (!roles.some((role) => this.#includes.has(role))) return roles;
    return [...new Set(roles.flatMap((role) => [role, ...(this.#includes.get(role) ?? [])]))];
  }
}
