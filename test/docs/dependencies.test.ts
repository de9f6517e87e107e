/** docs/dependencies.md: every one has its line, with the licence that it really has. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";

const page = readFileSync("docs/dependencies.md", "utf8");
const table = page.slice(page.indexOf("# Dependencies"), page.indexOf("For development:"));
const { dependencies, peerDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
  packages: Record<string, { license?: string; dev?: boolean; optional?: boolean }>;
};

/** A cell may name several of one scope: `@scope/one`, `/two`. */
const lines = table
  .split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) => {
    const [, names = "", why = "", licence = "", instead = ""] = line.split("|").map((cell) => cell.trim());
    const found = [...names.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);
    const scope = found[0]?.split("/")[0] ?? "";
    return {
      names: found.map((name) => (name.startsWith("/") ? scope + name : name)),
      why,
      licence,
      instead,
    };
  });

describe("docs/dependencies.md", () => {
  test("has a line for each, and none for what is not there", () => {
    assert.deepEqual(
      lines.flatMap(({ names }) => names).sort(),
      Object.keys({ ...dependencies, ...peerDependencies }).sort(),
    );
    for (const { names, why, instead } of lines) assert.ok(why !== "" && instead !== "", names.join());
  });

  test("says their licences", () => {
    for (const { names, licence } of lines)
      for (const name of names) assert.equal(packages[`node_modules/${name}`]?.license, licence, name);
  });

  test("says how many they are with what they bring, and that they let everybody use them", () => {
    const shipped = Object.entries(packages).filter(([path, { dev }]) => path !== "" && !dev);
    const optional = shipped.filter(([, { optional }]) => optional).length;
    assert.ok(table.includes(`it is ${shipped.length - optional} packages`), `${shipped.length - optional}`);
    assert.ok(table.includes(`${optional} more`), `they are ${optional}`);
    for (const [path, { license = "" }] of shipped)
      assert.match(license, /^(MIT|ISC|BSD-[23]-Clause|Apache-2\.0)$/, path);
  });
});
