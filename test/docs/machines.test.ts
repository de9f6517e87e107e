/** docs/machines.md: its settings are good ones, its rules name whom they should, and its requests are answered as it says. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { parseEnv, promisify } from "node:util";
import { checkFeatures } from "../../src/cli/doctor/program.ts";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { fits } from "../../src/issuers/claim-rule.ts";
import type { TrustedIssuer } from "../../src/issuers/trusted-issuer.ts";
import { FEATURES } from "../doctor/support.ts";
import { type TestServer, useTestServer } from "../support/test-server.ts";
import { startTokenIssuer } from "../support/token-issuer.ts";

const folder = mkdtempSync(join(tmpdir(), "machines-"));
after(() => rmSync(folder, { recursive: true }));

const guide = readFileSync("docs/machines.md", "utf8");
const blocks = (kind: string) =>
  [...guide.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\``, "gms"))].map(([, block = ""]) => block);
const SECRET = "filled-in-by-the-reader-0123456789-abcdef";
const files = blocks("yaml").filter((block) => block.startsWith("issuers:"));
const clients = blocks("env").map((block) => parseEnv(block.replaceAll('"…"', `"${SECRET}"`)).CLIENTS ?? "");

function load(yaml: string, more: Record<string, string> = {}): Config {
  const CONFIG_FILE = join(folder, "server.yaml");
  writeFileSync(CONFIG_FILE, yaml);
  return loadConfig({
    BASE_URL: "https://mcp.example.com",
    STORE: "memory",
    SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
    OIDC_ISSUER: "https://login.example.com",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "a-secret-of-the-proxy",
    LOOKUP_SECRET: "a-secret-of-introspection",
    CONFIG_FILE,
    ...more,
  });
}

function issuerOf(name: string): { yaml: string; issuer: TrustedIssuer } {
  const yaml = files.find((block) => block.includes(name)) ?? assert.fail(`${name} is in an example`);
  const [issuer] = load(yaml).issuers;
  return { yaml, issuer: issuer ?? assert.fail("it has an issuer") };
}

test("every example of settings is one that the server starts with", async () => {
  assert.equal(files.length, 9);
  assert.equal(clients.length, 2);
  for (const file of files) assert.equal((await checkFeatures(load(file), FEATURES))?.status, "ok", file);
  for (const CLIENTS of clients)
    assert.equal((await checkFeatures(load(files[0] ?? "", { CLIENTS }), FEATURES))?.status, "ok", CLIENTS);
});

describe("the rules in the examples name", () => {
  const cases: Array<
    [platform: string, named: Record<string, string>, ...others: Array<Record<string, string>>]
  > = [
    [
      "kubernetes",
      { sub: "system:serviceaccount:batch:nightly" },
      { sub: "system:serviceaccount:batch:other" },
      { sub: "system:serviceaccount:other:nightly" },
    ],
    [
      "actions.githubusercontent",
      { repository: "acme/weather", ref: "refs/tags/v1.2.3" },
      { repository: "acme/weather", ref: "refs/pull/7/merge" },
      { repository: "evil/weather", ref: "refs/heads/main" },
      { ref: "refs/heads/main" },
    ],
    [
      "spire",
      { sub: "spiffe://example.com/ns/batch/nightly" },
      { sub: "spiffe://example.com/ns/web/nightly" },
      { sub: "spiffe://evil.example/ns/batch/nightly" },
    ],
  ];
  for (const [platform, named, ...others] of cases)
    test(`a workload of ${platform}, and no other`, () => {
      const { issuer } = issuerOf(platform);
      assert.ok(issuer.accept === "workload");
      const names = (claims: Record<string, string>) =>
        issuer.rules.some((rule) => rule.claims.every((claim) => fits(claim, claims)));
      assert.ok(names(named));
      for (const other of others) assert.ok(!names(other), JSON.stringify(other));
    });
});

describe("the requests in the guide", async () => {
  const issuers = {
    "acme.okta": await startTokenIssuer({ after }),
    kubernetes: await startTokenIssuer({ after }),
    auth0: await startTokenIssuer({ after }),
  };
  const here = Object.entries(issuers).map(([name, { issuer }]) => {
    const { yaml, issuer: described } = issuerOf(name);
    const { jwksUri: _, ...rest } =
      load(yaml.replace(described.issuer, issuer)).issuers[0] ?? assert.fail(yaml);
    return rest as TrustedIssuer;
  });
  const CLIENTS = `[${clients.map((list) => list.slice(1, -1)).join()}]`;
  const testServer = useTestServer({
    environment: { CLIENTS },
    adjust: (config: TestServer["config"]) => ({ ...config, issuers: here }),
  });

  /** Runs the one that contains all of these, as a reader would. */
  async function run(parts: readonly string[], variables: Record<string, string>) {
    const found = blocks("sh").filter((block) => parts.every((part) => block.includes(part)));
    assert.equal(found.length, 1, parts.join());
    const script = (found[0] ?? "").replaceAll("https://mcp.example.com", testServer.baseUrl);
    const env = { PATH: process.env.PATH, ...variables };
    const { stdout } = await promisify(execFile)("sh", ["-c", script], { env });
    return JSON.parse(stdout.replace(/^event: .*\ndata: /, ""));
  }
  async function whoami(TOKEN: string): Promise<string> {
    return JSON.stringify(await run(["/mcp -H"], { TOKEN }));
  }

  test("client credentials", async () => {
    const answer = await run(["-u", "client_credentials"], { SECRET });
    const example = JSON.parse(blocks("json")[0] ?? "");
    assert.deepEqual({ ...answer, access_token: "mcp_at_…" }, example);
    assert.match(await whoami(answer.access_token), /nightly/);
  });

  test("an identity assertion", async () => {
    const claims = { sub: "u-17", aud: testServer.baseUrl, client_id: "agent", scope: "weather:read" };
    const ASSERTION = await issuers["acme.okta"].sign(claims, { typ: "oauth-id-jag+jwt" });
    const { access_token, scope } = await run(["-u", "jwt-bearer"], { SECRET, ASSERTION });
    assert.equal(scope, "weather:read");
    assert.match(await whoami(access_token), /u-17/);
  });

  test("the assertion of a workload, once", async () => {
    const sub = "system:serviceaccount:batch:nightly";
    const ASSERTION = await issuers.kubernetes.sign({ sub, aud: testServer.baseUrl });
    const request = () => run(["/token \\\n  -d grant_type=urn"], { ASSERTION });
    const { access_token, scope } = await request();
    assert.equal(scope, "weather:read");
    assert.match(await whoami(access_token), /batch:nightly/);
    assert.equal((await request()).error, "invalid_grant");
  });

  test("an access token of another issuer", async () => {
    const token = await issuers.auth0.sign({
      sub: "m2m@clients",
      azp: "m2m",
      aud: `${testServer.baseUrl}/mcp`,
      scope: "read:weather",
    });
    const said = await whoami(token);
    assert.match(said, /m2m/);
    assert.match(said, /weather:read/);
  });
});
