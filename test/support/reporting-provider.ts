/** A test server whose provider sends the logout tokens that a test wants: one of the keys that it publishes is the test's. */
import assert from "node:assert/strict";
import { type FaultyProxy, startFaultyProxy } from "./faulty-proxy.ts";
import { postForm, type Registered, register } from "./oauth-client.ts";
import { logoutClaims, publishKey, type Sign } from "./provider-key.ts";
import { startTestServer, type TestServer } from "./test-server.ts";

export interface ReportingProvider {
  testServer: TestServer;
  upstream: FaultyProxy;
  client: Registered;
  sign: Sign;
  /** Says by back-channel logout that a user, or a session of theirs, has ended; it is accepted. */
  report(who: { sub?: string; sid?: string }): Promise<void>;
  close(): Promise<void>;
}

export async function startReportingProvider(): Promise<ReportingProvider> {
  const upstream = await startFaultyProxy();
  const sign = await publishKey(upstream);
  const testServer = await startTestServer({ throughProxy: upstream });
  return {
    testServer,
    upstream,
    client: await register(testServer.baseUrl),
    sign,
    async report(who) {
      const logout_token = await sign(logoutClaims(testServer.identityProvider.issuer, who));
      const answer = await postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
      assert.equal(answer.status, 200);
    },
    async close() {
      await testServer.close();
      await upstream.close();
    },
  };
}
