// Compile to CommonJS and to ES modules, and bundle one minified file for pages without a bundler.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
const compile = (...options) => {
  const { status } = spawnSync(process.execPath, [tsc, "-p", join(root, "tsconfig.json"), ...options], { stdio: "inherit" });
  if (status !== 0) process.exit(1);
};

rmSync(join(root, "dist"), { recursive: true, force: true });
compile();
mkdirSync(join(root, "dist", "esm"), { recursive: true });
writeFileSync(join(root, "dist", "esm", "package.json"), '{ "type": "module" }\n');
compile("--module", "esnext", "--moduleResolution", "bundler", "--outDir", join(root, "dist", "esm"));
await build({
  entryPoints: [join(root, "dist", "esm", "index.js")],
  outfile: join(root, "dist", "roomkey-client.min.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2020",
  external: ["socket.io-client"],
  logLevel: "warning",
});
