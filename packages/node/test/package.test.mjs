// A consumer's project, made from the packed package: both module systems, with types.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const SECRET = "tests-1f0e2d3c4b5a69788796a5b4c3d2e1f0-only";
const SOURCE = `
const server: Server = new Server();
const policy = new Policy({ roles: "admin > member" });
policy.room("team:{team}", (who, { team }) => hasRole(who, team ?? ""));
const options: GuardOptions = { policy, via: ["handshake", "authenticate"], timeout: 15_000 };
const roomkey: Guard = guard(server, Verifier.hs256("${SECRET}", { audience: "chat" }), options);
roomkey.serveRooms().relay("say").onRefused((error: AuthError, address: string) => [error.code, address]);
server.on("connection", async (socket) => {
  const who: Identity = socket.data.identity;
  await roomkey.enterRoom(socket, \`team:\${who.roles[0]}\`);
});
const ended: Promise<number> = roomkey.revoke({ subject: "ada" });
// @ts-expect-error a verifier has no such setting
export const typo = () => Verifier.hs256("${SECRET}", { audiences: "chat" });
void ended.then((count) => console.log("ended", count));
`;
const PROGRAMS = {
  "esm.mts": `import { type AuthError, type Guard, type GuardOptions, type Identity, Policy, Verifier, guard, hasRole } from "roomkey";
import { Server } from "socket.io";${SOURCE}`,
  "cjs.cts": `import { type AuthError, type Guard, type GuardOptions, type Identity, Policy, Verifier, guard, hasRole } from "roomkey";
import { Server } from "socket.io";${SOURCE}`,
};

test("a consumer's project compiles and runs in both module systems", (t) => {
  const project = mkdtempSync(join(tmpdir(), "roomkey-consumer-"));
  t.after(() => rmSync(project, { recursive: true, force: true }));
  const packed = execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", project], { cwd: root, encoding: "utf8" });
  mkdirSync(join(project, "node_modules", "roomkey"), { recursive: true });
  execFileSync("tar", ["xzf", packed.trim(), "--strip-components=1", "-C", "node_modules/roomkey"], { cwd: project });
  for (const name of ["socket.io", "@types", "undici-types"]) {
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name));
  }
  const manifest = JSON.parse(readFileSync(join(project, "node_modules", "roomkey", "package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  for (const [name, text] of Object.entries(PROGRAMS)) writeFileSync(join(project, name), text);
  const compilerOptions = { module: "node16", target: "es2022", strict: true, skipLibCheck: false, types: ["node"], outDir: "out" };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: Object.keys(PROGRAMS) }));
  execFileSync(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", project], { stdio: "pipe", encoding: "utf8" });
  for (const name of ["esm.mjs", "cjs.cjs"]) {
    assert.equal(execFileSync(process.execPath, [join(project, "out", name)], { encoding: "utf8" }), "ended 0\n");
  }
  writeFileSync(join(project, "both.mjs"), `
    import { createRequire } from "node:module";
    import * as esm from "roomkey";
    const cjs = createRequire(import.meta.url)("roomkey");
    for (const name of Object.keys(cjs)) if (cjs[name] !== esm[name]) throw new Error(name);
    console.log(Object.keys(cjs).length);
  `);
  assert.ok(Number(execFileSync(process.execPath, [join(project, "both.mjs")], { encoding: "utf8" })) > 20);
});
