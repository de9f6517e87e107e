/** The providers' guides cannot drift: their settings are read by the code, and what they name exists. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";
import { parse } from "yaml";
import { loadConfig } from "../../src/config/config.ts";
import { cases } from "../providers/cases.ts";
import { guides, guideText, settingsOf } from "../support/guide.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const source = readdirSync(`${root}src`, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => readFileSync(`${root}src/${file}`, "utf8"))
  .join("\n");

/** docker's reader takes the rest of the line as it is; the others know quotes, comments and variables. */
function expectOneMeaning(line: string): void {
  const [name = "", raw = ""] = line.split(/=(.*)/s);
  assert.doesNotMatch(raw, /^["'`]|[#$]|^\s|\s$/, line);
  assert.deepEqual(parseEnv(line), { [name]: raw });
}

test(".env.example: what is there, and what is shown, means the same to all three", () => {
  const lines = readFileSync(`${root}.env.example`, "utf8").split("\n");
  for (const line of lines) {
    const setting = /^(?:# )?([A-Z][A-Z0-9_]+=.*)$/.exec(line)?.[1];
    if (setting !== undefined) expectOneMeaning(setting);
  }
});

test("README.md: its settings for Auth0 are a good configuration, and those for a trial in .env.example as well", () => {
  const readme = readFileSync(`${root}README.md`, "utf8");
  const [, block = ""] = /^ *```sh\n( *BASE_URL=.*?)^ *```/ms.exec(readme) ?? [];
  const settings = parseEnv(
    block.replaceAll(/^ +/gm, "").replaceAll("=…", "=filled-in-by-the-reader-0123456789-abcdef"),
  );
  assert.equal(loadConfig(settings).identityProviders[0].preset, "auth0");
  const example = parseEnv(readFileSync(`${root}.env.example`, "utf8"));
  const trial = { BASE_URL: "http://localhost:3000", STORE: "memory", REDIS_URL: "" };
  for (const [name, value] of Object.entries(trial))
    assert.ok(readme.includes(value === "" ? `empty \`${name}\`` : `${name}=${value}`), name);
  assert.equal(loadConfig({ ...example, ...settings, ...trial }).store.kind, "memory");
});

describe("a provider's guide", () => {
  for (const guide of guides) {
    const text = guideText(guide);

    test(`${guide}: its settings are a good configuration`, () => {
      const blocks = settingsOf(guide);
      assert.ok(blocks.length > 0, "it has a block of settings");
      for (const block of blocks) assert.equal(loadConfig(block).baseUrl, "https://mcp.example.com");
    });

    test(`${guide}: its settings mean the same to Node, docker compose and docker run --env-file`, () => {
      for (const [, block = ""] of text.matchAll(/^```env\n(.*?)^```/gms))
        for (const line of block.split("\n").filter((each) => /^[A-Z]/.test(each))) expectOneMeaning(line);
    });

    test(`${guide}: says how far it was tried, what goes wrong, and ends with the doctor`, () => {
      assert.match(text, /^# .+\n\n\*\*How far this was tried:\*\* /);
      assert.match(text, /\n## When it does not work\n\n\| What you see \| What it is \|\n/);
      assert.match(text, /```sh\nnpm run doctor\n```\n$/);
      assert.ok(text.includes("https://mcp.example.com/auth/callback"), "it names the callback URL");
    });

    test(`${guide}: the log says what it quotes`, () => {
      for (const [, reason] of text.matchAll(/the log(?: says)? `([a-z_]+)`/g))
        assert.ok(source.includes(`"${reason}"`), `${reason} is nowhere in src/`);
    });

    test(`${guide} is in the table of docs/providers/README.md`, () => {
      assert.ok(guideText("README").includes(`](${guide}.md)`));
    });
  }
});

test("each line of the table of what was tried names a test that exists", () => {
  const names = [...guideText("README").matchAll(/\| `([^`]+)` \|$/gm)].map(([, name]) => name);
  assert.ok(names.length > 10);
  const described = [
    ...Object.keys(cases).map((name) => `a provider like this: ${name}`),
    ...["always", "never"].map((use) => `glewlwyd, refresh tokens for one use: ${use}`),
    "LemonLDAP::NG",
  ];
  assert.deepEqual(names.toSorted(), described.toSorted());
});

test("Authentik's compose file has no secret of its own, is open to this computer only, and pins its versions", () => {
  const file = readFileSync(`${root}deploy/authentik/compose.yaml`, "utf8");
  const { services } = parse(file, { merge: true });
  assert.deepEqual(Object.keys(services), ["postgresql", "server", "worker"]);
  for (const service of Object.values<{ image: string; ports?: string[]; environment: object }>(services)) {
    assert.match(service.image, /:(\$\{AUTHENTIK_TAG:-)?\d/);
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/);
    for (const [name, value] of Object.entries(service.environment))
      if (/PASS|SECRET/.test(name)) assert.match(value, /^\$\{[A-Z_]+:\?/, `${name} comes from .env`);
  }
});
