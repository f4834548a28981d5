// A Redis server for the tests of one file.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

function hasRedis() {
  try {
    execFileSync("redis-server", ["--version"]);
    return true;
  } catch {
    if (process.env.CI === "true") throw new Error("redis-server is missing, and CI needs it");
    return false;
  }
}

/** The options of a test that needs Redis: it is skipped without, but fails in CI. */
export const needsRedis = { skip: hasRedis() ? false : "redis-server is missing" };

/** Start a server that saves nothing. Its first clients wait until it accepts connections. */
export async function startRedis() {
  const folder = mkdtempSync(join(tmpdir(), "roomkey-redis-"));
  const port = await new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port: free } = probe.address();
      probe.close(() => resolve(free));
    });
  });
  const server = spawn("redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder], { stdio: "ignore" });
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    suspend: () => server.kill("SIGSTOP"),
    resume: () => server.kill("SIGCONT"),
    stop() {
      server.kill("SIGCONT");
      server.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
