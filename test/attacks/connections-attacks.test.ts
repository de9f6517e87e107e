/** Attacks on /connections: nobody sees or ends another person's access, and no login becomes one of the other kind. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { before, beforeEach, describe, test } from "node:test";
import express from "express";
import { Browser, type Page } from "../../dev/client/browser.ts";
import { finishSignIn } from "../../src/account/sign-in.ts";
import { finishAuthorization } from "../../src/authorization/completion.ts";
import { hostCookie } from "../../src/http/host-cookie.ts";
import type { ClientLogin, ConnectionsLogin } from "../../src/login/transaction.ts";
import { endFormOf, entriesOn, openConnections, textOf } from "../support/connections.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  REDIRECT_URI,
  type Registered,
  register,
  rpc,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";
import {
  assertPage,
  assertRefusedPage,
  PERSON,
  type Reply,
  reasonOf,
  Secrets,
  sendRequest,
} from "./support.ts";

const COOKIE = "mcp-connections";

describe("attacks on /connections", () => {
  const secrets = new Secrets();
  let client: Registered;
  let url: string;
  const testServer = useTestServer();
  before(async () => {
    url = `${testServer.baseUrl}/connections`;
    client = await register(testServer.baseUrl, { client_name: "Claude Code" });
  });

  /** Somebody who is signed in at /connections, and what a browser would send from there. */
  interface Person {
    browser: Browser;
    page: Page;
    cookie: string;
    formToken: string;
    grantIds: string[];
    tokens: Tokens;
  }

  async function person(login: string): Promise<Person> {
    const tokens = secrets.keepTokens(await signInForTokens(testServer.baseUrl, client, { login }));
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser, login });
    const cookie = browser.cookieHeader(url);
    for (const pair of cookie.split("; ")) secrets.keep(pair.split("=")[1]);
    const form = endFormOf(page, "Claude Code");
    const value = (name: string) =>
      form.inputs.filter((input) => input.name === name).map((input) => input.value);
    return {
      browser,
      page,
      cookie,
      formToken: secrets.keep(value("form_token")[0] ?? ""),
      grantIds: value("grant"),
      tokens,
    };
  }

  /** Whether nothing of theirs has ended, nor the session at /connections: they need not sign in again for the next test. */
  async function isAsBefore(someone: Person | undefined): Promise<boolean> {
    if (someone === undefined) return false;
    const { tokens, cookie, formToken, page } = someone;
    const [call, seen] = await Promise.all([
      callTool(testServer.url, tokens.access_token, "whoami"),
      sendRequest(url, { headers: { ...PERSON, cookie } }),
    ]);
    const granted = (shown: Page) => String(entriesOn(shown).map(({ grantIds }) => grantIds));
    const isSame = seen.text.includes(formToken) && granted({ ...page, body: seen.text }) === granted(page);
    return call.status === 200 && isSame;
  }

  let alice: Person;
  let bob: Person;
  beforeEach(async () => {
    if (!(await isAsBefore(alice))) alice = await person("alice");
    if (!(await isAsBefore(bob))) bob = await person("bob");
  });

  const ownForm = () => ({ origin: testServer.baseUrl, "sec-fetch-site": "same-origin" });

  function post(
    path: string,
    form: Record<string, string> | ReadonlyArray<readonly [string, string]>,
    headers: Record<string, string>,
  ): Promise<Reply> {
    return sendRequest(`${url}${path}`, { form, headers: { ...PERSON, ...headers } });
  }

  async function assertAlive(...people: Person[]): Promise<void> {
    for (const { tokens } of people)
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
  }

  async function assertEnded({ tokens }: Person): Promise<void> {
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
  }

  test("the form as it is meant to be sent ends what it names (or all of this would prove nothing)", async () => {
    const { cookie, formToken: form_token, grantIds } = alice;
    const reply = await post("/end", { form_token, grant: grantIds[0] ?? "" }, { cookie, ...ownForm() });
    assert.equal(reply.status, 303);
    assert.equal(reply.location?.href, url);
    assert.equal(reply.headers.get("cache-control"), "no-store");
    await assertEnded(alice);
    await assertAlive(bob);
  });

  test("without a form token, with an invented one, with that of another session: nothing ends", async () => {
    const earlier = await openConnections(testServer.baseUrl, { browser: newBrowser() });
    const ofOwnOtherSession = endFormOf(earlier, "Claude Code").inputs.find(
      ({ name }) => name === "form_token",
    );
    for (const all of [{ all: "yes" }, { grant: alice.grantIds[0] ?? "" }]) {
      const headers = { cookie: alice.cookie, ...ownForm() };
      const missing = await post("/end", all as Record<string, string>, headers);
      assert.equal(missing.status, 400);
      assert.equal(await reasonOf(testServer, missing), "missing_parameter");
      for (const form_token of [
        "x",
        "x".repeat(43),
        "é".repeat(43),
        bob.formToken,
        ofOwnOtherSession?.value ?? "",
        alice.formToken.toLowerCase(),
      ]) {
        const reply = await post("/end", { form_token, ...all } as Record<string, string>, headers);
        assert.equal(reply.status, 403);
        assertPage(reply);
        assert.match(textOf(reply.text), /Nothing was changed/);
        assert.equal(await reasonOf(testServer, reply), "forged_form");
        const out = await post("/sign-out", { form_token }, headers);
        assert.equal(out.status, 403);
      }
    }
    await assertAlive(alice, bob);
    assert.match((await alice.browser.get(url)).body, /Signed in as/);
  });

  test("a form of another site is refused before it is looked at, even with everything right in it", async () => {
    const right = { form_token: alice.formToken, all: "yes" };
    const foreign: Array<Record<string, string>> = [
      {},
      { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
      { origin: "https://evil.example" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { "sec-fetch-site": "none" },
      { origin: "null" },
      { origin: "null", "sec-fetch-site": "same-origin" },
      { origin: testServer.baseUrl, "sec-fetch-site": "cross-site" },
      { origin: `${testServer.baseUrl}.evil.example`, "sec-fetch-site": "same-origin" },
      { origin: testServer.baseUrl.replace("localhost", "127.0.0.1") },
    ];
    for (const headers of foreign)
      for (const path of ["/end", "/sign-out", "/sign-in"]) {
        const reply = await post(path, right, { cookie: alice.cookie, ...headers });
        await assertRefusedPage(testServer, reply, {
          status: 403,
          error: "access_denied",
          reason: "cross_site_form",
          describes: /Open that page in this browser/,
        });
        assert.deepEqual(reply.headers.getSetCookie(), [], "no cookie of the victim's is replaced");
      }
    await assertAlive(alice, bob);
    assert.match((await alice.browser.get(url)).body, /Signed in as/);
  });

  test("somebody else's grant ends nothing, and the answer is that of an id that never was", async () => {
    const headers = { cookie: alice.cookie, ...ownForm() };
    const { formToken: form_token } = alice;
    const log = testServer.log.length;
    const answers = [];
    for (const grant of [bob.grantIds[0] ?? "", "A".repeat(22), "../grant", "*", "__proto__"]) {
      const { status, text, location } = await post("/end", { form_token, grant }, headers);
      answers.push({ status, text, location: location?.href });
      assert.doesNotMatch((await alice.browser.get(url)).body, /Access ended/);
    }
    assert.equal(new Set(answers.map((answer) => JSON.stringify(answer))).size, 1);
    assert.deepEqual(
      testServer.log.slice(log).filter(({ audit }) => audit === "grant_ended"),
      [],
    );
    await assertAlive(alice, bob);
    // Mixed in with one's own it is passed over.
    const mixed = [
      ["form_token", form_token],
      ...[...bob.grantIds, ...alice.grantIds].map((id) => ["grant", id]),
    ];
    await post("/end", mixed as Array<[string, string]>, headers);
    await assertEnded(alice);
    await assertAlive(bob);
    await post("/end", { form_token, all: "yes" }, headers);
    await assertAlive(bob);
  });

  test("the page shows nobody else's access", async () => {
    assert.deepEqual(
      alice.grantIds.filter((id) => bob.grantIds.includes(id)),
      [],
    );
    assert.doesNotMatch(alice.page.body, /bob/i);
    assert.doesNotMatch((await sendRequest(url, { headers: PERSON })).text, /Signed in as|Claude Code/);
  });

  test("a session that is over ends nothing: signed out, expired, invented", async () => {
    const form = { form_token: alice.formToken, all: "yes" };
    async function assertOver(cookie: string): Promise<void> {
      const reply = await post("/end", form, { cookie, ...ownForm() });
      assert.equal(reply.status, 403);
      assertPage(reply);
      assert.match(textOf(reply.text), /You are not signed in on this page any more. Nothing was changed/);
      assert.equal(await reasonOf(testServer, reply), "no_session");
      assert.doesNotMatch((await sendRequest(url, { headers: { ...PERSON, cookie } })).text, /Signed in as/);
    }
    try {
      testServer.clock.ahead = 901;
      await assertOver(alice.cookie);
    } finally {
      testServer.clock.ahead = 0;
    }
    assert.match(
      (await sendRequest(url, { headers: { ...PERSON, cookie: alice.cookie } })).text,
      /Signed in as/,
    );
    await post("/sign-out", { form_token: alice.formToken }, { cookie: alice.cookie, ...ownForm() });
    await assertOver(alice.cookie);
    for (const value of ["", "x", "A".repeat(43), alice.tokens.access_token, alice.formToken])
      await assertOver(`${COOKIE}=${value}`);
    await assertAlive(alice);
  });

  test("the session opens nothing else: it is no bearer token, and no token is a session", async () => {
    const value = new RegExp(`${COOKIE}=([^;]+)`).exec(alice.cookie)?.[1];
    assert.ok(value);
    assert.equal((await rpc(testServer.url, value, "tools/list")).status, 401);
    assert.equal(
      (await sendRequest(testServer.url, { method: "POST", headers: { cookie: alice.cookie } })).status,
      401,
    );
  });

  /** A browser held just before our callback, on its way to /connections or to a client. */
  async function arriving(kind: "connections" | "client", login = "alice") {
    const browser = new Browser({
      stopAt: (at) => at.pathname === "/auth/callback" || at.href.startsWith(REDIRECT_URI),
    });
    let callback: URL;
    if (kind === "client")
      callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client), { login });
    else {
      const page = await openConnections(testServer.baseUrl, { browser, login });
      assert.ok(page.redirectedTo);
      callback = page.redirectedTo;
    }
    assert.equal(callback.pathname, "/auth/callback");
    secrets.keep(callback.searchParams.get("state"));
    secrets.keep(callback.searchParams.get("code"));
    return { browser, callback };
  }

  test("login CSRF: the attacker's login does not finish in the victim's browser, and is not used up there", async () => {
    const attacker = await arriving("connections", "mallory");
    for (const victim of [newBrowser(), alice.browser, (await arriving("client")).browser]) {
      const reply = await victim.get(attacker.callback);
      assert.equal(reply.status, 403);
      assert.match(reply.body, /another_browser/);
      assert.doesNotMatch((await victim.get(url)).body, /mallory/);
    }
    const page = await attacker.browser.get(attacker.callback);
    assert.match(page.body, /Signed in as <strong><bdi>mallory/, "the rightful browser finishes it");
  });

  test("a login is finished once, by however many requests at the same moment", async () => {
    const { browser, callback } = await arriving("connections");
    const pages = await Promise.all([1, 2, 3, 4].map(() => browser.get(callback)));
    assert.equal(pages.filter(({ url: { pathname } }) => pathname === "/connections").length, 1);
    const again = await browser.get(callback);
    assert.equal(again.status, 400);
    assert.match(again.body, /unknown_state/);
  });

  test("a login for this page gives no client a code, and a client's login opens no session here", async () => {
    const own = await arriving("connections");
    const page = await own.browser.get(own.callback);
    assert.equal(page.url.href, url);
    assert.doesNotMatch(JSON.stringify(own.browser.history), /mcp_ac_/);

    const clients = await arriving("client");
    const end = await clients.browser.get(clients.callback);
    assert.ok(secrets.keep(end.redirectedTo?.searchParams.get("code")));
    assert.doesNotMatch(clients.browser.cookieHeader(url), new RegExp(COOKIE));
    assert.doesNotMatch((await clients.browser.get(url)).body, /Signed in as/);
  });

  test("the provider's answer to one kind does not fit the other's state (nonce, PKCE), in both directions", async () => {
    for (const [kind, other] of [
      ["connections", "client"],
      ["client", "connections"],
    ] as const) {
      const { browser, callback } = await arriving(kind);
      const foreign = await arriving(other);
      const mixed = new URL(callback);
      mixed.searchParams.set("code", foreign.callback.searchParams.get("code") ?? "");
      const page = await browser.get(mixed);
      assert.equal(page.status, 400, page.body.slice(0, 300));
      assert.match(page.body, /Signing in failed/);
      assert.equal(page.redirectedTo, undefined);
      assert.doesNotMatch(browser.cookieHeader(url), new RegExp(COOKIE));
    }
  });

  test("the types of the two logins keep them apart: code that mixes them up does not compile", () => {
    const [clients, own] = [{} as ClientLogin, {} as ConnectionsLogin];
    const dependencies = {} as never;
    const never = () => {
      // @ts-expect-error a login that no client waits for has nobody to give a code
      void finishAuthorization(new URLSearchParams(), "", own, dependencies);
      // @ts-expect-error what a client's user approved is not a wish to see their connections
      void finishSignIn(new URLSearchParams(), "", clients, dependencies);
    };
    assert.ok(never);
  });

  test("session fixation: an id that was there before the sign-in opens nothing after it", async () => {
    const planted = `${COOKIE}=${"P".repeat(43)}`;
    const { browser, callback } = await arriving("connections");
    const cookie = `${browser.cookieHeader(callback)}; ${planted}`;
    const reply = await sendRequest(callback, { headers: { ...PERSON, cookie } });
    assert.equal(reply.location?.href, url);
    const given = reply.headers.getSetCookie().at(-1)?.split(";")[0] ?? "";
    secrets.keep(given.split("=")[1]);
    assert.match(given, new RegExp(`^${COOKIE}=`));
    assert.notEqual(given, planted);
    assert.doesNotMatch(
      (await sendRequest(url, { headers: { ...PERSON, cookie: planted } })).text,
      /Signed in as/,
    );
    assert.match((await sendRequest(url, { headers: { ...PERSON, cookie: given } })).text, /Signed in as/);
  });

  test("a new sign-in on the same browser ends the session before it", async () => {
    const { browser, page, cookie } = alice;
    const login = await browser.submit(page, {}, { button: "Not you? Sign in as somebody else" });
    assert.match(
      (await sendRequest(url, { headers: { ...PERSON, cookie } })).text,
      /Signed in as/,
      "begun only",
    );
    assert.match((await browser.submit(login, { login: "bob" })).body, /Signed in as <strong><bdi>Bob/);
    assert.doesNotMatch((await sendRequest(url, { headers: { ...PERSON, cookie } })).text, /Signed in as/);
  });

  test("looking changes nothing: GET and HEAD, also of the forms' addresses", async () => {
    const headers = { ...PERSON, cookie: alice.cookie, ...ownForm() };
    const query = new URLSearchParams({ form_token: alice.formToken, all: "yes" });
    for (const path of ["/end", "/sign-out", "/sign-in"])
      for (const method of ["GET", "HEAD", "PUT", "DELETE"]) {
        const reply = await sendRequest(`${url}${path}?${query}`, { method, headers });
        assert.equal(reply.status, 405);
        assert.equal(reply.headers.get("allow"), "POST");
        assert.deepEqual(reply.headers.getSetCookie(), []);
      }
    assert.equal((await post("", { all: "yes" }, headers)).status, 405);
    for (const method of ["GET", "HEAD"])
      assert.deepEqual((await sendRequest(url, { method, headers: PERSON })).headers.getSetCookie(), []);
    await assertAlive(alice);

    await post("/end", { form_token: alice.formToken, all: "yes" }, headers);
    await sendRequest(url, { method: "HEAD", headers });
    assert.match(
      (await sendRequest(url, { headers })).text,
      /Access ended/,
      "a HEAD did not take what was to be told",
    );

    const { browser, callback } = await arriving("connections");
    const cookie = browser.cookieHeader(callback);
    assert.equal((await sendRequest(callback, { method: "HEAD", headers: { cookie } })).status, 405);
    assert.match((await browser.get(callback)).body, /Signed in as/, "a HEAD did not use the login up");
  });

  test("no page here can be framed, kept or scripted, whoever sees it", async () => {
    const { cookie, formToken: form_token } = alice;
    for (const reply of [
      await sendRequest(url, { headers: PERSON }),
      await sendRequest(url, { headers: { ...PERSON, cookie } }),
      await post("/end", { form_token: "x" }, { cookie, ...ownForm() }),
      await post("/end", { form_token }, ownForm()),
      await post("/sign-out", { form_token }, { cookie, ...ownForm() }),
    ])
      assertPage(reply);
  });

  test("markup in a client's name is text, and a name that hides or reorders text is shown without that", async () => {
    const names = [
      '<script>alert(1)</script><img src=x onerror="alert(1)">',
      '"><form action="https://evil.example"><button>',
      "Claude\u202Eedoc",
    ];
    for (const client_name of names)
      await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl, { client_name }), {
        login: "grace",
      });
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser, login: "grace" });
    assert.equal(entriesOn(page).length, 3);
    for (const raw of ["<script", "<img", 'action="https://evil', 'onerror="', "\u202E"])
      assert.ok(!page.body.includes(raw), raw);
    assert.ok(page.body.includes("&lt;script&gt;"));
    const { body } = await browser.submit(page, {}, { button: "End all access" });
    assert.ok(body.includes("&lt;script&gt;") && !body.includes("<script"), "also where it is told");
  });

  test("a person's own name is text as well", async () => {
    const login = "<b>x</b>";
    const page = await openConnections(testServer.baseUrl, { login });
    assert.match(page.body, /&lt;b&gt;x/);
    assert.doesNotMatch(page.body, /<b>x/);
  });

  test("bad forms: repeated, unknown and oversized fields", async () => {
    const { cookie, formToken } = alice;
    const headers = { cookie, ...ownForm() };
    const cases: Array<[ReadonlyArray<readonly [string, string]>, number, string]> = [
      [
        [
          ["form_token", formToken],
          ["form_token", "x"],
          ["all", "yes"],
        ],
        400,
        "repeated_parameter",
      ],
      [
        [
          ["form_token", formToken],
          ["all", "yes"],
          ["all", "yes"],
        ],
        400,
        "repeated_parameter",
      ],
      [
        [
          ["form_token", formToken],
          ["all", "true"],
        ],
        400,
        "invalid_parameter",
      ],
      [
        [
          ["form_token", formToken],
          ["grant", "x".repeat(5_000)],
        ],
        400,
        "invalid_parameter",
      ],
      [
        [
          ["form_token", formToken],
          ["grant", "x".repeat(70_000)],
        ],
        413,
        "unreadable_body",
      ],
      [Array.from({ length: 1_100 }, () => ["grant", "x"] as const), 413, "unreadable_body"],
    ];
    for (const [form, status, reason] of cases) {
      const reply = await post("/end", form, headers);
      assert.equal(reply.status, status);
      assert.equal(await reasonOf(testServer, reply), reason);
    }
    const noForm = await sendRequest(`${url}/end`, { json: { form_token: formToken, all: "yes" }, headers });
    assert.equal(noForm.status, 400);
    await assertAlive(alice);
  });

  test("who asks too often is told to wait", async () => {
    const limited = await startTestServer({ environment: { SIGN_INS_PER_ADDRESS_PER_HOUR: "3" } });
    try {
      const own = { ...PERSON, origin: limited.baseUrl };
      const statuses = [];
      for (let i = 0; i < 5; i++)
        statuses.push(
          (await sendRequest(`${limited.baseUrl}/connections/sign-in`, { method: "POST", headers: own }))
            .status,
        );
      assert.deepEqual(statuses, [303, 303, 303, 429, 429]);
    } finally {
      await limited.close();
    }
    const headers = { ...PERSON, cookie: alice.cookie };
    const statuses = new Set<number>();
    for (let i = 0; i < 130; i++) statuses.add((await sendRequest(url, { headers })).status);
    assert.deepEqual([...statuses], [200, 429]);
    assert.equal((await sendRequest(url, { headers: { ...PERSON, cookie: bob.cookie } })).status, 200);
  });

  test("the cookie: of this host alone, no script reads it, no other site's form brings it along", async () => {
    const app = express();
    const cookie = hostCookie("https://mcp.example.com", COOKIE);
    app.get("/", (_req, res) => {
      cookie.set(res, "A".repeat(43), 900);
      res.end();
    });
    const server = createServer(app).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { headers } = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    server.close();
    const [line = ""] = headers.getSetCookie();
    const [pair, ...attributes] = line.split("; ");
    assert.equal(pair, `__Host-${COOKIE}=${"A".repeat(43)}`);
    assert.deepEqual(attributes.filter((attribute) => !attribute.startsWith("Expires")).sort(), [
      "HttpOnly",
      "Max-Age=900",
      "Path=/",
      "SameSite=Lax",
      "Secure",
    ]);
  });

  test("no secret is in the log", () => secrets.assertNotLogged(testServer));
});
