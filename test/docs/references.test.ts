/** What the documentation names exists: files, headings, commands, settings. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { documents } from "../support/documents.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const example = readFileSync(join(root, ".env.example"), "utf8");
const settings = new Set([...example.matchAll(/^(?:# )?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name));

/** Names in capitals that look like settings of ours and are others'. */
const OTHERS = new Set([
  "CHROMIUM_PATH",
  "FUZZ_SEED",
  "RACE_ROUNDS",
  "TEST_REDIS_URL",
  "AUTHENTIK_SECRET_KEY",
  "PG_PASS",
  "KC_HTTP_RELATIVE_PATH",
  "HTTPS_PROXY",
  "NO_PROXY",
  "NODE_EXTRA_CA_CERTS",
  "NODE_OPTIONS",
]);
const OTHERS_FAMILIES = /^(OTEL|SOAK)_/;

for (const { path, text, prose } of documents)
  describe(path, () => {
    test("its links lead somewhere", () => {
      for (const [, target = ""] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const [file = "", heading] = target.split("#");
        const linked = file === "" ? join(root, path) : join(root, dirname(path), file);
        assert.ok(existsSync(linked), `${target} does not exist`);
        if (heading !== undefined)
          assert.ok(
            headingsOf(readFileSync(linked, "utf8")).includes(heading),
            `${target} has no such heading`,
          );
      }
    });

    test("its commands are in package.json", () => {
      for (const [, name = ""] of text.matchAll(/\bnpm run (?:--silent |-s )?([a-z][a-z:-]*)/g))
        assert.ok(name in scripts, `npm run ${name}`);
    });

    test("its settings are in .env.example", () => {
      for (const name of settingsNamedIn(text))
        assert.ok(
          settings.has(name) || OTHERS.has(name) || OTHERS_FAMILIES.test(name),
          `${name} is not in .env.example`,
        );
    });

    test("files that it names are there", () => {
      for (const [, file = ""] of prose.matchAll(/`((?:src|test|docs|deploy|bench)\/[\w./-]+)`/g))
        assert.ok(existsSync(join(root, file)), file);
    });
  });

/** `NAME`, `NAME=…` and lines of settings in blocks. */
function settingsNamedIn(text: string): string[] {
  const inline = [...text.matchAll(/`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`/g)];
  const lines = [...text.matchAll(/^ *([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)=/gm)];
  return [...inline, ...lines].map(([, name = ""]) => name);
}

/** As GitHub makes anchors of them. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
