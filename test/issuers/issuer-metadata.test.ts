/** What the metadata and the introspection endpoint of a trusted issuer can make this server do: nothing but what is asked for. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { introspect, introspectionClient } from "../../src/issuers/introspection.ts";
import { fetchIssuerMetadata } from "../../src/issuers/issuer-keys.ts";
import type { AccessTokenIssuer } from "../../src/issuers/trusted-issuer.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { silent } from "../clients/support.ts";
import { lookUpClient } from "../support/token-issuer.ts";

interface Answer {
  status?: number;
  headers?: Record<string, string>;
  document?: object;
}

/** An HTTP server that answers every request with what `answer` makes of its own address. */
async function startServer(t: { after(close: () => void): void }, answer: (url: string) => Answer) {
  const asked: string[] = [];
  const server = createServer((req, res) => {
    asked.push(req.url ?? "");
    const { status = 200, headers, document = {} } = answer(url);
    res.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(document));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://localhost:${(server.address() as AddressInfo).port}`;
  return { url, asked };
}

function settingsOf(issuer: string): AccessTokenIssuer {
  return {
    accept: "access-token",
    issuer,
    algorithms: ASYMMETRIC_ALGORITHMS,
    timeoutSeconds: 5,
    types: ["at+jwt"],
    scopeClaims: ["scope"],
    scopes: new Map(),
  };
}

describe("metadata of a trusted issuer", () => {
  test("are not looked for where a redirect leads", async (t) => {
    const elsewhere = await startServer(t, (url) => ({ document: { issuer: url, jwks_uri: `${url}/keys` } }));
    const issuer = await startServer(t, () => ({ status: 302, headers: { location: elsewhere.url } }));
    await assert.rejects(fetchIssuerMetadata(settingsOf(issuer.url), {}), /HTTP 302/);
    assert.deepEqual(elsewhere.asked, []);
  });

  for (const address of [
    undefined,
    "",
    "keys",
    5,
    ["https://a.example/keys"],
    "file:///etc/passwd",
    "data:,{}",
  ])
    test(`cannot name ${JSON.stringify(address)} as the address of keys`, async (t) => {
      const { url } = await startServer(t, (issuer) => ({ document: { issuer, jwks_uri: address } }));
      await assert.rejects(fetchIssuerMetadata(settingsOf(url), {}), /name no https jwks_uri/);
    });

  test("name no introspection endpoint that is not one", async (t) => {
    const { url } = await startServer(t, (issuer) => ({
      document: { issuer, jwks_uri: `${issuer}/keys`, introspection_endpoint: "file:///etc/passwd" },
    }));
    assert.deepEqual(await fetchIssuerMetadata(settingsOf(url), {}), { jwksUri: `${url}/keys` });
  });
});

test("a token that is looked up is not sent where a redirect leads", async (t) => {
  const elsewhere = await startServer(t, () => ({}));
  const { url } = await startServer(t, () => ({ status: 307, headers: { location: elsewhere.url } }));
  const introspection = { endpoint: url, client: lookUpClient() };
  const issuer = { ...settingsOf(url), introspection };
  const attempt = introspect("opaque", issuer, {
    post: introspectionClient(issuer, { now: () => 1_800_000_000, randomBytes, log: silent }),
    metadata: () => Promise.reject(new Error("not asked")),
    resource: "https://mcp.example.com/mcp",
    now: 1_800_000_000,
  });
  await assert.rejects(attempt, UnavailableError);
  assert.deepEqual(elsewhere.asked, []);
});
