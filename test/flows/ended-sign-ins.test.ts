/** Signing out at the provider while a sign-in is under way: which sign-ins must not finish, and which still may. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { decodeJwt, type JWTPayload } from "jose";
import { Browser } from "../../dev/client/browser.ts";

import { endEntry, openConnections } from "../support/connections.ts";
import type { FaultyProxy } from "../support/faulty-proxy.ts";
import { held } from "../support/held.ts";
import {
  authorizeUrl,
  newBrowser,
  REDIRECT_URI,
  type Registered,
  redeem,
  register,
} from "../support/oauth-client.ts";
import type { Sign } from "../support/provider-key.ts";
import { type ReportingProvider, startReportingProvider } from "../support/reporting-provider.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";

describe("a sign-out while a sign-in is under way", () => {
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

  const seconds = () => Math.floor(Date.now() / 1000);

  /** Authenticated at the provider, whose ID token will say this as well; `finish` lets the browser come back. */
  async function begin(login: string, says: JWTPayload): Promise<() => Promise<string>> {
    upstream.rewrite = async (body) => {
      const { sid: _, ...claims } = decodeJwt(String(body.id_token));
      return { ...body, id_token: await sign({ ...claims, ...says }) };
    };
    const callbackUrl = `${testServer.baseUrl}/auth/callback`;
    const browser = new Browser({
      stopAt: ({ href }) => [REDIRECT_URI, callbackUrl].some((stop) => href.startsWith(stop)),
    });
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const page = await browser.submit(consent, {}, { button: "approve" });
    const { redirectedTo } = await browser.submit(page, { login });
    assert.ok(redirectedTo);
    return async () => {
      const { searchParams } = (await browser.get(redirectedTo)).redirectedTo ?? new URL("about:blank");
      assert.equal(searchParams.get("state"), "the-state");
      return searchParams.get("error") ?? (searchParams.has("code") ? "code" : "nothing");
    };
  }

  const cases: Array<[string, JWTPayload, { sub?: string; sid?: string }, string]> = [
    ["of that user", {}, { sub: "a" }, "access_denied"],
    ["of that user, who is known with a session", { sid: "b1" }, { sub: "b" }, "access_denied"],
    ["of that session", { sid: "c1" }, { sub: "c", sid: "c1" }, "access_denied"],
    ["of a session, and none is known of the sign-in", {}, { sub: "d", sid: "d1" }, "access_denied"],
    ["of a user who authenticated before it", { auth_time: seconds() - 5 }, { sub: "e" }, "access_denied"],
    ["of the session before this one", { sid: "f2" }, { sub: "f", sid: "f1" }, "code"],
    ["after which they authenticated anew", { auth_time: seconds() + 3_600 }, { sub: "g" }, "code"],
    ["of somebody else", { sid: "h1" }, { sub: "another", sid: "h2" }, "code"],
  ];
  for (const [index, [name, says, who, expected]] of cases.entries())
    test(`${name}: ${expected}`, async () => {
      const finish = await begin("abcdefgh"[index] ?? "", says);
      await report(who);
      assert.equal(await finish(), expected);
    });

  test("does not keep out who signs in again, in the same second", async () => {
    const finish = await begin("again", {});
    await report({ sub: "again" });
    assert.equal(await finish(), "access_denied");
    assert.ok(
      testServer.log.some(({ reason, path }) => reason === "ended_meanwhile" && path === "/auth/callback"),
    );
    assert.equal(await (await begin("again", {}))(), "code");
  });

  test("begun while its client is being removed: its code is worth nothing", async () => {
    const removed = await register(testServer.baseUrl);
    const browser = new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) });
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, removed));
    const { rewrite, delete: remove } = testServer.records;
    const key = `client:${removed.client_id}`;
    const [marked, deleting] = [held(), held()];
    testServer.records.rewrite = async (at, ...rest) => {
      if (at === key) await marked.wait();
      return rewrite(at, ...rest);
    };
    testServer.records.delete = async (at) => {
      if (at === key) await deleting.wait();
      return remove(at);
    };
    try {
      const removal = fetch(String(removed.registration_client_uri), {
        method: "DELETE",
        headers: { authorization: `Bearer ${removed.registration_access_token}` },
      });
      await marked.reached(); // its mark is there, and it can still be found
      const login = await browser.submit(consent, {}, { button: "approve" });
      marked.letGo();
      await deleting.reached(); // what it had has ended
      const { redirectedTo } = await browser.submit(login, { login: "between" });
      const code = redirectedTo?.searchParams.get("code") ?? "";
      assert.equal((await redeem(testServer.baseUrl, removed, code)).body.error, "invalid_client");
      deleting.letGo();
      assert.equal((await removal).status, 204);
      assert.equal((await redeem(testServer.baseUrl, removed, code)).body.error, "invalid_client");
    } finally {
      Object.assign(testServer.records, { rewrite, delete: remove });
      for (const each of [marked, deleting]) each.letGo();
    }
  });

  describe("for /connections", () => {
    /** As {@link begin}; `finish` gives what the browser is shown. */
    async function beginForConnections(login: string, sid: string | undefined) {
      upstream.rewrite = async (body) => {
        const { sid: _, ...claims } = decodeJwt(String(body.id_token));
        return { ...body, id_token: await sign({ ...claims, ...(sid !== undefined && { sid }) }) };
      };
      const callbackUrl = `${testServer.baseUrl}/auth/callback`;
      const browser = new Browser({ stopAt: ({ href }) => href.startsWith(callbackUrl) });
      const page = await browser.get(`${testServer.baseUrl}/connections`);
      const form = await browser.submit(page, {}, { button: "Sign in" });
      const { redirectedTo } = await browser.submit(form, { login });
      return { browser, finish: () => browser.get(redirectedTo ?? "") };
    }

    const ends: Array<[string, string, string | undefined, { sub?: string; sid?: string }]> = [
      ["of that user", "looks", undefined, { sub: "looks" }],
      ["of that session, by sid alone", "looks-2", "l2", { sid: "l2" }],
    ];
    for (const [name, login, sid, who] of ends)
      test(`${name}: opens no session`, async () => {
        const { browser, finish } = await beginForConnections(login, sid);
        await report(who);
        const answer = await finish();
        assert.equal(answer.status, 403);
        assert.match(answer.body, /signed out while this sign-in was under way/);
        assert.ok(!(await browser.get(`${testServer.baseUrl}/connections`)).body.includes(login));
      });

    test("of another session of that user: opens one", async () => {
      const { browser, finish } = await beginForConnections("stays", "s2");
      await report({ sub: "stays", sid: "s1" });
      await finish();
      assert.match((await browser.get(`${testServer.baseUrl}/connections`)).body, /stays/);
    });
  });
});

test("who ends a client's access while its sign-in is being finished is asked again, although they ticked not to be", async () => {
  const testServer = await startTestServer({ environment: { CONSENT: "remember" } });
  const { get } = testServer.records;
  const checked = held();
  try {
    const client = await register(testServer.baseUrl, { client_name: "Quick" });
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const login = await browser.submit(consent, { remember: "yes" }, { button: "approve" });
    let isFirst = true;
    testServer.records.get = async (key) => {
      const found = await get(key);
      if (key !== "ended:count" || !isFirst) return found;
      isFirst = false;
      await checked.wait();
      return found;
    };
    const finished = browser.submit(login, { login: "alice" });
    await checked.reached(); // the grant is there, and nothing that ends it was seen
    const elsewhere = newBrowser();
    await endEntry(elsewhere, await openConnections(testServer.baseUrl, { browser: elsewhere }), "Quick");
    testServer.clock.ahead += 1;
    checked.letGo();
    const code = (await finished).redirectedTo?.searchParams.get("code") ?? "";
    assert.equal((await redeem(testServer.baseUrl, client, code)).body.error, "invalid_grant");
    const next = await browser.get(authorizeUrl(testServer.baseUrl, client));
    assert.match(next.body, /Allow access\?/);
  } finally {
    testServer.records.get = get;
    checked.letGo();
    await testServer.close();
  }
});
