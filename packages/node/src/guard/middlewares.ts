/** A namespace's own middlewares, as the last step of an admission. */

import { isThenable } from "../core/calls.js";
import { Declined } from "../errors.js";
import { DECLINED } from "./contract.js";
import type { HostSocket, Middleware } from "./host.js";

/**
 * Run the middlewares one after the other. socket.io's own `run` lets what a middleware throws end the process, and calls
 * the `connection` listeners twice if `next` is called twice; here the first outcome counts.
 *
 * @throws {Declined} a middleware called `next(error)`.
 */
export async function runMiddlewares(socket: HostSocket): Promise<void> {
  for (const middleware of [...socket.nsp._fns]) await runOne(middleware, socket);
}

function runOne(middleware: Middleware, socket: HostSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = (error?: unknown): void => (error ? reject(declined(error)) : resolve());
    const result = middleware(socket, next);
    if (isThenable(result)) result.then(undefined, reject);
  });
}

function declined(error: unknown): Declined {
  const { message, data } = error as { message?: unknown; data?: unknown };
  return new Declined(typeof message === "string" && message !== "" ? message : DECLINED, isJson(data) ? data : undefined);
}

/** False for what socket.io would fail to send, which ends the process. */
function isJson(data: unknown): boolean {
  try {
    JSON.stringify(data);
    return true;
  } catch {
    return false;
  }
}
