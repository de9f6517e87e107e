/** What the doctor finds about trusted issuers, and about clients that publish their keys. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { startTokenIssuer } from "../support/token-issuer.ts";
import { listen, look, NOTHING_WORKS } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "doctor-issuers-"));
after(() => rmSync(folder, { recursive: true }));
const CONFIG_FILE = join(folder, "server.yaml");

const theIssuer = await startTokenIssuer({ after });
const { issuer } = theIssuer;
beforeEach(() => {
  theIssuer.trouble = undefined;
});

const ENVIRONMENT = {
  ...NOTHING_WORKS,
  BASE_URL: "http://localhost:2",
  STORE: "memory",
  REDIS_URL: undefined,
};
const examined = (yaml: string, more: Record<string, string> = {}) => {
  writeFileSync(CONFIG_FILE, yaml, { mode: 0o600 });
  return look({ ...ENVIRONMENT, CONFIG_FILE, ...more });
};

const ACCEPTED: Record<string, string> = {
  "access-token": 'scopes: { "read:all": [weather:read] }',
  "id-jag": "subject: sub",
  workload: "subjects: { a: { scopes: [weather:read] } }",
};
const entry = (accept: string, more = "") =>
  `issuers:\n  - { issuer: "${issuer}", accept: ${accept}, ${ACCEPTED[accept]}${more} }\n`;

describe("doctor: trusted issuers", () => {
  test("an issuer of each kind is checked for keys, and the audience to enter there is named", async () => {
    for (const [accept, says] of [
      ["access-token", `In access tokens of ${issuer} (access-token) aud has to be http://localhost:2/mcp`],
      [
        "id-jag",
        `At ${issuer} (id-jag) this server's issuer (aud) is http://localhost:2 and its resource http://localhost:2/mcp`,
      ],
      [
        "workload",
        `In assertions of ${issuer} (workload) aud has to be http://localhost:2 or http://localhost:2/token`,
      ],
    ] as const) {
      const { line } = await examined(entry(accept));
      assert.equal(
        line("issuers.keys"),
        `✓ The keys of ${issuer} (${accept}) can be read: they verify ES256`,
      );
      assert.equal(line("issuers.audience"), `✓ ${says}`);
    }
    const { line } = await examined(entry("workload", ", audience: sts.example.com"));
    assert.match(line("issuers.audience"), /aud has to be sts\.example\.com$/);
  });

  test("of other resources than /mcp, theirs are the audiences", async () => {
    const resources = "resources:\n  /wiki/mcp: { name: Wiki }\n  /crm/mcp: { name: CRM, tools: ./crm.js }\n";
    const [wiki, crm] = ["http://localhost:2/wiki/mcp", "http://localhost:2/crm/mcp"];
    for (const [described, says] of [
      [entry("access-token"), `aud has to be ${wiki} or ${crm}`],
      [entry("access-token", ", resources: [/crm/mcp]"), `aud has to be ${crm}`],
      [entry("id-jag"), `its resource ${wiki} or ${crm}`],
    ] as const) {
      const { line } = await examined(described + resources);
      assert.ok(line("issuers.audience").endsWith(says), line("issuers.audience"));
    }
  });

  test("keys that fit none of the accepted algorithms are a failure", async () => {
    const { line } = await examined(entry("id-jag", ", algorithms: [RS256]"));
    assert.match(
      line("issuers.keys"),
      /^✗ The keys of .* cannot be used: none of 1 can verify a signature by RS256 → Add the algorithm/,
    );
  });

  test("an issuer that is out of reach, or whose metadata name another, is a failure", async () => {
    theIssuer.trouble = 503;
    const { line } = await examined(entry("id-jag"));
    assert.match(
      line("issuers.keys"),
      /^✗ Tokens of .* cannot be verified: .*HTTP 503.* → Correct issuer in CONFIG_FILE/,
    );
    const keys = await examined(entry("id-jag", `, jwksUri: "${issuer}/keys"`));
    assert.match(
      keys.line("issuers.keys"),
      /^✗ The keys of .* cannot be read: there is no key set at .*HTTP 503/,
    );
    theIssuer.trouble = undefined;
    const named = await examined(entry("id-jag").replace(`"${issuer}"`, `"${issuer}/"`));
    assert.match(named.line("issuers.keys"), /^✗ .* are those of .*, and not of /);
  });

  test("introspection is tried with a made-up token", async () => {
    const lookup = ", introspection: { clientId: mcp, clientSecret: a-secret-of-introspection }";
    const { line } = await examined(entry("access-token", lookup));
    assert.match(line("issuers.introspection"), /^✓ Opaque tokens can be looked up at /);
    assert.equal(theIssuer.introspections.at(-1)?.token, "made-up-by-the-doctor");
    theIssuer.trouble = 401;
    const refused = await examined(entry("access-token", lookup));
    assert.match(
      refused.line("issuers.introspection"),
      /^✗ Opaque tokens cannot be looked up at .*HTTP 401.* → Correct introspection/,
    );
  });

  test("an issuer with a mistake in CONFIG_FILE is not asked", async () => {
    const before =
      theIssuer.asked.size === 0 ? 0 : [...theIssuer.asked.values()].reduce((sum, each) => sum + each);
    const { line } = await examined(entry("id-jag", ", algorithms: [HS256]"));
    assert.match(line("issuers"), /^! Not checked: the issuers in CONFIG_FILE/);
    assert.equal(
      [...theIssuer.asked.values()].reduce((sum, each) => sum + each, 0),
      before,
    );
  });

  test("no finding is made where no issuer is trusted", async () => {
    const { findings } = await look(ENVIRONMENT);
    assert.deepEqual(
      findings.filter(({ check }) => check.startsWith("issuers")),
      [],
    );
  });
});

describe("doctor: clients in CLIENTS with a jwks_uri", () => {
  const nightly = (jwks_uri: string) =>
    JSON.stringify([
      { client_id: "nightly", grant_types: ["client_credentials"], scope: "weather:read", jwks_uri },
    ]);

  test("keys that cannot be read, and an empty key set, are failures", async () => {
    const good = await look({ ...ENVIRONMENT, CLIENTS: nightly(`${issuer}/keys`) });
    assert.equal(
      good.line("clients.keys"),
      "✓ The keys of the client nightly (CLIENTS) can be read: they verify ES256",
    );
    const bad = await look({ ...ENVIRONMENT, CLIENTS: nightly(`${issuer}/other`) });
    assert.match(
      bad.line("clients.keys"),
      /^✗ The keys of the client nightly \(CLIENTS\) cannot be read: there is no key set/,
    );
    const empty = await listen((_, res) => void res.end('{"keys":[]}'));
    const none = await look({ ...ENVIRONMENT, CLIENTS: nightly(`http://localhost:${empty.port}/`) });
    await empty.close();
    assert.match(
      none.line("clients.keys"),
      /^✗ The keys of the client nightly .* cannot be used: none of 0 .* → Let the client publish/,
    );
  });
});
