/** A discovery document may not send us, or our users, to where anybody on the network can answer. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { pino } from "pino";
import { loadConfig } from "../../src/config.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { systemClock } from "../../src/surroundings.ts";
import { createOidcProvider } from "../../src/upstream/oidc.ts";
import { checkEndpoints } from "../../src/upstream/trusted-endpoints.ts";
import { sendJson, startSite } from "../clients/support.ts";

const ISSUER = new URL("https://idp.example");
const GOOD = {
  authorization_endpoint: "https://idp.example/auth",
  token_endpoint: "https://idp.example/token",
  userinfo_endpoint: "https://api.idp.example/me",
  jwks_uri: "https://keys.idp.example/jwks",
  revocation_endpoint: "https://idp.example/revoke",
  end_session_endpoint: "https://idp.example/end",
};

describe("under an https issuer", () => {
  test("endpoints on any https host are taken, and what is not used is not looked at", () =>
    checkEndpoints(ISSUER, { ...GOOD, check_session_iframe: "http://idp.example/x" }));

  for (const name of Object.keys(GOOD))
    for (const url of [
      "http://idp.example/x",
      "http://localhost/x",
      "javascript:alert(1)",
      "/x",
      "",
      7,
      null,
    ])
      test(`${name}: ${JSON.stringify(url)} is refused, by name`, () =>
        assert.throws(() => checkEndpoints(ISSUER, { ...GOOD, [name]: url }), new RegExp(`its ${name}`)));
});

describe("under an http issuer of this computer", () => {
  const local = new URL("http://localhost:3001");
  test("http is taken, and https", () => {
    checkEndpoints(local, { ...GOOD, jwks_uri: "http://localhost:3001/jwks" });
  });
  test("other schemes are not", () =>
    assert.throws(() => checkEndpoints(local, { authorization_endpoint: "javascript:alert(1)" }), /names/));
});

test("a provider whose keys are to be fetched by http signs nobody in, and the log says why", async () => {
  // The certificate is nobody's; only what the document says is looked at here.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  const site = await startSite((req, res) => {
    const issuer = `https://localhost:${site.port}`;
    if (!req.url?.startsWith("/.well-known/")) return void res.writeHead(404).end();
    sendJson(res, {
      ...{ issuer, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token` },
      jwks_uri,
    });
  });
  let jwks_uri = `http://localhost:${site.port}/jwks`;
  const { upstream } = loadConfig({
    BASE_URL: "http://localhost:9",
    STORE: "memory",
    SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
    OIDC_ISSUER: `https://localhost:${site.port}`,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
  });
  const lines: Array<Record<string, unknown>> = [];
  const log = pino({ level: "error" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const provider = () => createOidcProvider(upstream, { now: systemClock, randomBytes, log });
  try {
    await assert.rejects(provider().ready(), UnavailableError);
    assert.equal(lines[0]?.reason, "discovery_failed");
    assert.match(JSON.stringify(lines[0]?.cause), /jwks_uri: it has to be an https URL/);
    jwks_uri = `https://localhost:${site.port}/jwks`;
    await provider().ready();
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    await site.close();
  }
});
