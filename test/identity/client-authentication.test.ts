/** A provider that does not say how clients authenticate, and requests that are under way at the same time. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import * as oidc from "openid-client";
import { pino } from "pino";
import { createClientAuthentication } from "../../src/identity/oidc/client-authentication.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { held } from "../support/held.ts";

describe("a provider that takes the header alone, and does not say so", () => {
  const firstRefusal = held();
  const server = createServer(async (req, res) => {
    const isFirst = new URLSearchParams(await text(req)).get("refresh_token") === "first";
    if (req.headers.authorization === undefined) {
      if (isFirst) await firstRefusal.wait();
      return void res
        .writeHead(401, { "content-type": "application/json" })
        .end('{"error":"invalid_client"}');
    }
    res
      .writeHead(200, { "content-type": "application/json" })
      .end('{"access_token":"a","token_type":"bearer"}');
  });
  let url = "";
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => void server.close());

  test("what one request learns takes the second try from no other that is under way", async () => {
    const config: Parameters<typeof createClientAuthentication>[0] = {
      preset: "oidc",
      tokenEndpointAuthMethod: "auto",
      clientId: "id",
      credential: { kind: "secret", secret: "secret" },
    };
    const authentication = createClientAuthentication(
      config,
      (to, options) => fetch(to, options as RequestInit),
      { now: systemClock, randomBytes, log: pino({ level: "silent" }) },
    );
    const metadata = { issuer: url, token_endpoint: `${url}/token` };
    const configuration = new oidc.Configuration(metadata, "id", undefined, authentication.authenticate);
    configuration[oidc.customFetch] = authentication.fetch;
    oidc.allowInsecureRequests(configuration);
    const first = oidc.refreshTokenGrant(configuration, "first");
    await firstRefusal.reached();
    // Learns the way, and is followed by one that has learned it.
    for (const token of ["second", "third"])
      assert.equal((await oidc.refreshTokenGrant(configuration, token)).access_token, "a");
    firstRefusal.letGo();
    assert.equal((await first).access_token, "a");
  });
});
