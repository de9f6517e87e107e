/** Bad input at /consent: the form works only in the browser it was shown to, unchanged, and in time. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { createSealer } from "../../src/storage/sealer.ts";
import { authorizeUrl, REDIRECT_URI, type Registered, redeem, register } from "../support/oauth-client.ts";
import { SECRET_KEY, startTestServer, useTestServer } from "../support/test-server.ts";
import {
  assertPage,
  assertRefused,
  assertRefusedPage,
  assertRefusedRedirect,
  PERSON,
  PROGRAM,
  reasonOf,
  Secrets,
  sendRequest,
} from "./support.ts";

/** A consent page as one browser was shown it. */
interface Shown {
  /** The sealed transaction in the form. */
  request: string;
  cookie: string;
}

describe("bad input at /consent", () => {
  const secrets = new Secrets();
  let client: Registered;
  const testServer = useTestServer();
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  async function show(cookie?: string): Promise<Shown> {
    const page = await sendRequest(authorizeUrl(testServer.baseUrl, client), {
      headers: { ...PERSON, ...(cookie !== undefined && { cookie }) },
    });
    assert.equal(page.status, 200);
    const request = /name="request" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
    const set = page.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    assert.ok(request !== "" && set !== "");
    secrets.keep(request);
    secrets.keep(set.split("=")[1]);
    return { request, cookie: set };
  }

  const answer = (form: Record<string, string>, cookie?: string, headers: Record<string, string> = PERSON) =>
    sendRequest(`${testServer.baseUrl}/consent`, {
      form,
      headers: { ...headers, ...(cookie !== undefined && { cookie }) },
    });

  /** The browser was sent to the identity provider: this consent counted. */
  async function assertApproved({ request, cookie }: Shown): Promise<URL> {
    const reply = await answer({ request, decision: "approve" }, cookie);
    assert.equal(reply.status, 303, reply.text);
    assert.equal(reply.headers.get("cache-control"), "no-store");
    assert.equal(reply.location?.origin, new URL(testServer.identityProvider.issuer).origin);
    secrets.keep(reply.location.searchParams.get("state"));
    return reply.location;
  }

  const anotherBrowser = {
    status: 403,
    error: "access_denied",
    reason: "another_browser",
    describes: /another browser, or this browser refuses cookies. Start the sign-in again/,
  };
  const tooOld = {
    status: 400,
    error: "invalid_request",
    reason: "consent_form_expired",
    describes: /Start the sign-in again in your application/,
  };

  test("without the cookie nobody consents, and the rightful browser still can", async () => {
    const shown = await show();
    for (const decision of ["approve", "deny"]) {
      const form = { request: shown.request, decision };
      await assertRefusedPage(testServer, await answer(form), anotherBrowser);
      await assertRefusedPage(testServer, await answer(form, "mcp-browser="), anotherBrowser);
      await assertRefusedPage(
        testServer,
        await answer(form, `mcp-browser=${"A".repeat(43)}`),
        anotherBrowser,
      );
      await assertRefused(testServer, await answer(form, undefined, PROGRAM), anotherBrowser);
    }
    await assertApproved(shown);
  });

  test("one browser's form is worthless with another browser's cookie (invariant 1)", async () => {
    const attacker = await show();
    const victim = await show();
    assert.notEqual(attacker.cookie, victim.cookie);
    const forged = await answer({ request: attacker.request, decision: "approve" }, victim.cookie);
    await assertRefusedPage(testServer, forged, anotherBrowser);
    await assertApproved(attacker);
    await assertApproved(victim);
  });

  test("two pages in one browser: either can be answered", async () => {
    const first = await show();
    const second = await show(first.cookie);
    assert.equal(second.cookie, first.cookie);
    await assertApproved(first);
    await assertApproved(second);
  });

  test("a form that was changed anywhere is not one of ours", async () => {
    const { request, cookie } = await show();
    const [format, keyId, body = ""] = request.split(".");
    assert.equal(format, "2", "a form has a key of its own, because anybody can have one made");
    const flipped = (at: number) => body.slice(0, at) + (body[at] === "A" ? "B" : "A") + body.slice(at + 1);
    const changed = [
      ...[0, 10, 20, Math.floor(body.length / 2), body.length - 20].map(
        (at) => `${format}.${keyId}.${flipped(at)}`,
      ),
      `${format}.${keyId}.${body.slice(0, -24)}`,
      `${format}.${keyId}.`,
      `${format}.AAAAAAAA.${body}`,
      ...["0", "1", "3", ""].map((name) => `${name}.${keyId}.${body}`),
      body,
      "garbage",
      "..",
      "__proto__.__proto__.__proto__",
      JSON.stringify({ step: "consent" }),
    ];
    for (const forged of changed) {
      assert.notEqual(forged, request);
      await assertRefusedPage(
        testServer,
        await answer({ request: forged, decision: "approve" }, cookie),
        tooOld,
      );
    }
    await assertApproved({ request, cookie });
  });

  test("what our own key sealed for another purpose, or another key for this one, is refused", async () => {
    const { request, cookie } = await show();
    const ours = createSealer([SECRET_KEY]);
    const text = ours.open(request, `consent form ${testServer.baseUrl}`);
    assert.ok(text !== undefined, "this test no longer knows the context of the seal");
    const forged = [
      ours.seal(text, "client:x"),
      ours.seal(text, "login:x"),
      ours.sealForStranger(text, "client:x"),
      createSealer(["another-key-0123456789-abcdefghijklmnop"]).seal(
        text,
        `consent form ${testServer.baseUrl}`,
      ),
      ours.seal("{}", `consent form ${testServer.baseUrl}`),
      ours.seal(JSON.stringify({ ...JSON.parse(text), step: "login" }), `consent form ${testServer.baseUrl}`),
    ];
    for (const request of forged)
      await assertRefusedPage(testServer, await answer({ request, decision: "approve" }, cookie), tooOld);
  });

  test("a form that a replica of the version before made is one of ours", async () => {
    const { request, cookie } = await show();
    const ours = createSealer([SECRET_KEY]);
    const context = `consent form ${testServer.baseUrl}`;
    await assertApproved({ request: ours.seal(ours.open(request, context) ?? "", context), cookie });
  });

  test("a page older than its time says so; a second before it still works", async () => {
    const shown = await show();
    try {
      testServer.clock.ahead = 598;
      await assertApproved(shown);
      testServer.clock.ahead = 600;
      await assertRefusedPage(
        testServer,
        await answer({ request: shown.request, decision: "approve" }, shown.cookie),
        tooOld,
      );
    } finally {
      testServer.clock.ahead = 0;
    }
  });

  test("no decision, an unknown one, or both at once: nothing is decided", async () => {
    const shown = await show();
    const { request, cookie } = shown;
    const url = `${testServer.baseUrl}/consent`;
    const refusals: Array<[ReadonlyArray<readonly [string, string]>, string]> = [
      [[["request", request]], "missing_parameter"],
      [
        [
          ["request", request],
          ["decision", ""],
        ],
        "missing_parameter",
      ],
      [
        [
          ["request", request],
          ["decision", "APPROVE"],
        ],
        "invalid_parameter",
      ],
      [
        [
          ["request", request],
          ["decision", "deny"],
          ["decision", "approve"],
        ],
        "repeated_parameter",
      ],
      [
        [
          ["request", request],
          ["request", request],
          ["decision", "approve"],
        ],
        "repeated_parameter",
      ],
      [[["decision", "approve"]], "missing_parameter"],
      [[], "missing_parameter"],
    ];
    for (const [form, reason] of refusals)
      await assertRefusedPage(testServer, await sendRequest(url, { form, headers: { ...PERSON, cookie } }), {
        status: 400,
        error: "invalid_request",
        reason,
      });
    await assertApproved(shown);
  });

  test("fields beside the sealed request change nothing about it", async () => {
    const { request, cookie } = await show();
    const reply = await answer(
      { request, decision: "deny", redirect_uri: "https://evil.example/", state: "evil", client_id: "evil" },
      cookie,
    );
    await assertRefusedRedirect(testServer, reply, {
      status: 303,
      to: `${REDIRECT_URI}?`,
      error: "access_denied",
      reason: "user_denied",
      describes: /user did not approve/,
    });
  });

  test("posting twice starts two logins, each with a state of its own", async () => {
    const shown = await show();
    const [first, second] = [await assertApproved(shown), await assertApproved(shown)];
    for (const name of ["state", "nonce", "code_challenge"])
      assert.notEqual(first.searchParams.get(name), second.searchParams.get(name), name);
  });

  test("a refused consent names no place to go: the upstream state is made after approval only (A41)", async () => {
    const page = await sendRequest(authorizeUrl(testServer.baseUrl, client), { headers: PERSON });
    assert.ok(!page.text.includes(testServer.identityProvider.issuer));
    const { request } = await show();
    const reply = await answer({ request, decision: "approve" });
    assert.equal(reply.location, undefined);
    assert.ok(!reply.text.includes(testServer.identityProvider.issuer));
  });

  test("wrong method, wrong content type, too much of it", async () => {
    const { request, cookie } = await show();
    const url = `${testServer.baseUrl}/consent`;
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
      const reply = await sendRequest(`${url}?${new URLSearchParams({ request, decision: "approve" })}`, {
        method,
        headers: { ...PERSON, cookie },
      });
      assert.equal(reply.status, 405);
      assert.equal(reply.headers.get("allow"), "POST");
      assert.equal(await reasonOf(testServer, reply), "wrong_method");
      assert.match(reply.headers.get("content-type") ?? "", /^text\/html/);
    }
    const json = await sendRequest(url, {
      json: { request, decision: "approve" },
      headers: { ...PERSON, cookie },
    });
    assert.ok(json.status === 400 || json.status === 415);
    assertPage(json);
    const huge = await sendRequest(url, {
      form: { request: "x".repeat(100_000) },
      headers: { ...PERSON, cookie },
    });
    assert.equal(huge.status, 413);
    assertPage(huge);
  });

  test("approval prolongs the cookie that the callback will ask for", async () => {
    const { request, cookie } = await show();
    const reply = await answer({ request, decision: "approve" }, cookie);
    assert.equal(reply.headers.getSetCookie()[0]?.split(";")[0], cookie);
  });

  test("the cookie is HttpOnly, Lax, for the whole site, and as short-lived as the flow", async () => {
    const page = await sendRequest(authorizeUrl(testServer.baseUrl, client));
    const [cookie = ""] = page.headers.getSetCookie();
    assert.match(cookie, /; HttpOnly/);
    assert.match(cookie, /; SameSite=Lax/);
    assert.match(cookie, /; Path=\/(;|$)/);
    assert.match(cookie, /; Max-Age=600/);
    assert.doesNotMatch(cookie, /Domain=/);
  });

  test("it lasts as long as the flow where consent is remembered for less: who is slow at the provider is no other browser", async () => {
    const short = await startTestServer({
      environment: { CONSENT: "remember", CONSENT_REMEMBER_SECONDS: "60" },
    });
    try {
      const page = await sendRequest(authorizeUrl(short.baseUrl, await register(short.baseUrl)));
      assert.match(page.headers.getSetCookie()[0] ?? "", /; Max-Age=600/);
    } finally {
      await short.close();
    }
  });

  test("A39 on https it is a __Host- cookie and Secure, and its look-alike without the prefix counts for nothing", async () => {
    const https = await startTestServer({ environment: { BASE_URL: "https://mcp.example.com" } });
    try {
      const other = await register(https.baseUrl);
      const page = await sendRequest(authorizeUrl(https.baseUrl, other, { resource: undefined }), {
        headers: PERSON,
      });
      const [cookie = ""] = page.headers.getSetCookie();
      assert.match(cookie, /^__Host-mcp-browser=[A-Za-z0-9_-]{43};/);
      for (const attribute of [/; Secure/, /; HttpOnly/, /; SameSite=Lax/, /; Path=\/(;|$)/])
        assert.match(cookie, attribute);
      assert.doesNotMatch(cookie, /Domain=/);
      const request = /name="request" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
      const [pair = ""] = cookie.split(";");
      const consent = (cookie: string) =>
        sendRequest(`${https.baseUrl}/consent`, {
          form: { request, decision: "approve" },
          headers: { cookie },
        });
      assert.equal((await consent(pair.replace("__Host-", ""))).status, 403);
      assert.equal((await consent(pair)).status, 303);
    } finally {
      await https.close();
    }
  });

  test("no secret is in the log, and no code was issued by any of this", async () => {
    assert.equal((await redeem(testServer.baseUrl, client, "mcp_ac_nothing")).body.error, "invalid_grant");
    secrets.assertNotLogged(testServer);
  });
});
