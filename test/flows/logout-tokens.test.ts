/** Which grants and sessions a logout token ends: by `sub`, by `sid`, by both (OpenID Connect Back-Channel Logout §2.4, §2.7). */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { decodeJwt } from "jose";
import { openConnections } from "../support/connections.ts";
import type { FaultyProxy } from "../support/faulty-proxy.ts";
import { callTool, newBrowser, type Registered, signInForTokens } from "../support/oauth-client.ts";
import type { Sign } from "../support/provider-key.ts";
import { type ReportingProvider, startReportingProvider } from "../support/reporting-provider.ts";
import { claimsIn } from "../support/requester.ts";
import type { TestServer } from "../support/test-server.ts";

describe("a logout token", () => {
  let testServer: TestServer;
  let upstream: FaultyProxy;
  let client: Registered;
  let sign: Sign;
  let report: ReportingProvider["report"];
  let close: ReportingProvider["close"];
  before(async () => {
    ({ testServer, upstream, client, sign, report, close } = await startReportingProvider());
  });
  afterEach(() => {
    upstream.rewrite = undefined;
  });
  after(() => close());

  /** As a provider says it whose tokens name these sessions; undefined: none. */
  function namingSessions(inIdToken: unknown, inAccessToken?: string): void {
    const withSid = async (token: unknown, sid: unknown) => {
      if (String(token).split(".").length !== 3) return token;
      const { sid: _, ...claims } = decodeJwt(String(token));
      return sign(sid === undefined ? claims : { ...claims, sid });
    };
    upstream.rewrite = async (body) => ({
      ...body,
      id_token: await withSid(body.id_token, inIdToken),
      access_token: await withSid(body.access_token, inAccessToken),
    });
  }

  async function signIn(sid: unknown, { login = "alice", inAccessToken }: SignInOptions = {}) {
    namingSessions(sid, inAccessToken);
    return (await signInForTokens(testServer.baseUrl, client, { login })).access_token;
  }
  interface SignInOptions {
    login?: string;
    inAccessToken?: string;
  }

  const isAlive = async (token: string) => (await callTool(testServer.url, token, "whoami")).status === 200;
  async function assertAlive(expected: ReadonlyArray<readonly [string, boolean]>): Promise<void> {
    for (const [i, [token, alive]] of expected.entries()) assert.equal(await isAlive(token), alive, `#${i}`);
  }

  test("with sub and sid ends that session's grants and those without one, and no other", async () => {
    const laptop = await signIn("laptop");
    const phone = await signIn("phone");
    const unknown = await signIn(undefined);
    const odd = await signIn(["laptop"]); // no session id: a text
    const bobs = await signIn(undefined, { login: "bob" });
    await report({ sub: "alice", sid: "laptop" });
    await assertAlive([
      [laptop, false],
      [phone, true],
      [unknown, false],
      [odd, false],
      [bobs, true],
    ]);
  });

  test("means the sid of the ID token, whatever an access token says", async () => {
    const laptop = await signIn("laptop", { inAccessToken: "of something else" });
    const phone = await signIn("phone", { inAccessToken: "laptop" });
    const unknown = await signIn(undefined, { inAccessToken: "phone" });
    assert.equal(claimsIn(await testServer.grantOf(laptop)).sid, "laptop");
    assert.equal(claimsIn(await testServer.grantOf(unknown)).sid, undefined);
    await report({ sub: "alice", sid: "laptop" });
    await assertAlive([
      [laptop, false],
      [phone, true],
      [unknown, false],
    ]);
  });

  test("whose sid is known of no grant of theirs ends all of them", async () => {
    // As an earlier version kept them, which took the sid of an access token.
    const tokens = [await signIn("one"), await signIn("two")];
    const bobs = await signIn("three", { login: "bob" });
    await report({ sub: "alice", sid: "three" }); // bob's
    await assertAlive([...tokens.map((token) => [token, false] as const), [bobs, true]]);
  });

  test("with sid alone ends that session, with sub alone all of the user's", async () => {
    const laptop = await signIn("laptop");
    const phone = await signIn("phone");
    const bobs = await signIn("bob's", { login: "bob" });
    await report({ sid: "laptop" });
    await assertAlive([
      [laptop, false],
      [phone, true],
      [bobs, true],
    ]);
    await report({ sub: "alice" });
    await assertAlive([
      [phone, false],
      [bobs, true],
    ]);
  });

  describe("at /connections", () => {
    const cases: Array<[string, unknown, { sub?: string; sid?: string }, boolean]> = [
      ["of somebody else", "s1", { sub: "bob" }, true],
      ["of another session of theirs", "s2", { sub: "carol", sid: "s3" }, true],
      ["of that session", "s4", { sub: "dave", sid: "s4" }, false],
      ["of that session, by sid alone", "s5", { sid: "s5" }, false],
      ["of theirs, by sub alone", "s6", { sub: "erin" }, false],
      ["of a session, where none was named at sign-in", undefined, { sub: "frank", sid: "s7" }, false],
    ];
    for (const [name, sid, who, stays] of cases)
      test(`${name}: the page ${stays ? "stays open" : "is closed"}`, async () => {
        namingSessions(sid);
        const [browser, login] = [newBrowser(), who.sub === "bob" ? "carol" : (who.sub ?? "grace")];
        const page = await openConnections(testServer.baseUrl, { browser, login });
        assert.ok(page.body.includes(login));
        await report(who);
        const again = await browser.get(`${testServer.baseUrl}/connections`);
        assert.equal(again.body.includes(login), stays);
      });
  });
});
