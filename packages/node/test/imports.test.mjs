// The modules of the package: no cycles, and the core knows nothing of the guard.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const source = join(dirname(fileURLToPath(import.meta.url)), "..", "src");
const modules = readdirSync(source, { recursive: true }).filter((name) => name.endsWith(".ts"));

/** What each module imports, types included, by its path below `src`. */
const imports = new Map(
  modules.map((name) => {
    const text = readFileSync(join(source, name), "utf8");
    const found = [...text.matchAll(/\bfrom "(\.[^"]+)\.js"/g)].map(([, path]) => relative(source, join(source, dirname(name), `${path}.ts`)));
    return [name, found];
  }),
);

/** A path of imports that leads back to its start, or null. */
function findCycle() {
  const done = new Set();
  const visit = (name, path) => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return null;
    for (const imported of imports.get(name)) {
      const found = visit(imported, [...path, name]);
      if (found) return found;
    }
    done.add(name);
    return null;
  };
  for (const name of imports.keys()) {
    const found = visit(name, []);
    if (found) return found;
  }
  return null;
}

test("modules do not import each other in a circle", () => {
  assert.ok(modules.length > 30);
  assert.deepEqual(findCycle(), null);
});

test("the core imports nothing of the guard, and nothing of the network", () => {
  for (const [name, imported] of imports) {
    if (name.startsWith("core")) assert.ok(imported.every((path) => path.startsWith("core") || path === "errors.ts"), name);
  }
});

test("no file holds more than one idea", () => {
  for (const name of modules) assert.ok(readFileSync(join(source, name), "utf8").split("\n").length <= 400, name);
});
