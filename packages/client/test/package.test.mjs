// The packed package: its size, a consumer's project in both module systems, and the oldest socket.io-client.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { REVOKED, world } from "./support/world.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const run = promisify(execFile);
const SOURCE = `
const url: string = process.argv[2]!;
const refresh = async (tokens?: Tokens): Promise<Tokens | null> => (tokens?.refresh_token ? { access_token: "a" } : null);
const onSignedOut = ({ message, data }: Refusal) => console.log("signed out:", message, data?.reason, socket.active);
const options: ConnectOptions = { refresh, tokens: { access_token: "old", refresh_token: "r" }, onSignedOut };
const socket: Socket = connect(url, { ...options, transports: ["websocket"], reconnectionDelay: 10 });
// @ts-expect-error the client has no such option
export const wrong = () => connect(url, { token: "a", tokn: "a" });
`;
const HEAD = `import { type ConnectOptions, type Refusal, type Tokens, connect } from "roomkey-client";
import type { Socket } from "socket.io-client";`;

/** A project with the packed package and a version of the peer. */
function project(t, peer) {
  const folder = mkdtempSync(join(tmpdir(), "roomkey-client-consumer-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const packed = execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder], { cwd: root, encoding: "utf8" });
  mkdirSync(join(folder, "node_modules", "roomkey-client"), { recursive: true });
  execFileSync("tar", ["xzf", packed.trim(), "--strip-components=1", "-C", "node_modules/roomkey-client"], { cwd: folder });
  for (const [name, target] of [["socket.io-client", peer], ["@types", "@types"], ["undici-types", "undici-types"]]) {
    symlinkSync(join(root, "node_modules", target), join(folder, "node_modules", name));
  }
  return folder;
}

test("the bundle is under 4 KB, minified and compressed", () => {
  const size = gzipSync(readFileSync(join(root, "dist", "roomkey-client.min.js")), { level: 9 }).length;
  console.log(`# ${size} bytes`);
  assert.ok(size < 4096, `${size} bytes`);
});

test("a consumer's project compiles and runs in both module systems", async (t) => {
  const folder = project(t, "socket.io-client");
  const manifest = JSON.parse(readFileSync(join(folder, "node_modules", "roomkey-client", "package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  const names = ["esm.mts", "cjs.cts"];
  for (const name of names) writeFileSync(join(folder, name), HEAD + SOURCE);
  const compilerOptions = { module: "node16", target: "es2022", lib: ["es2022", "dom"], strict: true, skipLibCheck: false, types: ["node"], outDir: "out" };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: names }));
  execFileSync(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", folder], { stdio: "pipe", encoding: "utf8" });
  const server = await world(t, { verdicts: { old: REVOKED } });
  for (const name of ["esm.mjs", "cjs.cjs"]) {
    const { stdout } = await run(process.execPath, [join(folder, "out", name), server.url]);
    assert.equal(stdout, "signed out: token_revoked token_revoked false\n");
  }
});

test("the oldest socket.io-client stops after a refusal, too", async (t) => {
  const folder = project(t, "socket.io-client-first");
  const server = await world(t, { verdicts: { old: REVOKED } });
  const program = `import { connect } from "roomkey-client";
    const onSignedOut = ({ data }) => console.log(data.reason, socket.active);
    const socket = connect(process.argv[2], { token: "old", transports: ["websocket"], reconnectionDelay: 10, onSignedOut });`;
  writeFileSync(join(folder, "first.mjs"), program);
  const { stdout } = await run(process.execPath, [join(folder, "first.mjs"), server.url]); // a socket that retries never ends
  assert.equal(stdout, "token_revoked false\n");
  assert.deepEqual(server.presented.all, ["old"]);
});
