/** Several identity providers in one server: each person is sent to their own, and everything of each is its own. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Browser, Page } from "../../dev/client/browser.ts";
import { createPolicy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { entriesOn } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  type Tokens,
} from "../support/oauth-client.ts";
import { fillInForms } from "../support/sign-in.ts";
import { ALICE, type TestServer, useTestServer } from "../support/test-server.ts";

/** Called like the one of staff. */
const OTHER_ALICE = { ...ALICE, name: "Alice Partner", email: "alice@partner.example" };

function linkTo(page: Page, name: string): string {
  const links = [...page.body.matchAll(/<a href="([^"]+)"[^>]*>(.*?)<\/a>/gs)];
  const found = links.find(([, , words = ""]) => words.includes(name));
  assert.ok(found?.[1], `no link to ${name}: ${page.body.slice(0, 3_000)}`);
  return found[1].replaceAll("&amp;", "&");
}

/** From the choice, where it is shown, to the tokens. */
async function signInWith(
  name: "Staff" | "Partners",
  testServer: TestServer,
  client: Registered,
  browser: Browser = newBrowser(),
): Promise<Tokens> {
  const page = await browser.get(authorizeUrl(testServer.baseUrl, client, { prompt: "select_account" }));
  const { redirectedTo } = await fillInForms(browser, linkTo(page, name));
  const answer = await redeem(testServer.baseUrl, client, redirectedTo?.searchParams.get("code") ?? null);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

const isChoice = (page: Page) => page.body.includes("<h1>Where do you sign in?</h1>");

describe("the choice of an identity provider", () => {
  const testServer = useTestServer({
    partners: {
      users: [OTHER_ALICE],
      keys: {
        staff: "emailDomains: [example.com]",
        partners: "emailDomains: [partner.example, xn--mller-kva.example]",
      },
    },
  });
  const url = async (parameters: Record<string, string> = {}) =>
    authorizeUrl(testServer.baseUrl, await register(testServer.baseUrl), parameters);

  test("is a page of links, one for each; what follows is of the one that was chosen", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    assert.ok(isChoice(page), page.body);
    assert.match(page.body, /<strong>Test client<\/strong> wants to use <strong>Test server<\/strong>/);
    assert.doesNotMatch(page.body, /<script/);
    const consent = await browser.get(linkTo(page, "Partners"));
    assert.match(consent.body, /You sign in at <strong>Partners \(127\.0\.0\.1:\d+\)<\/strong>/);
    const { redirectedTo } = await fillInForms(browser, linkTo(page, "Partners"));
    const { body: tokens } = await redeem(
      testServer.baseUrl,
      client,
      redirectedTo?.searchParams.get("code") ?? null,
    );
    const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result.structuredContent;
    assert.deepEqual([me.subject, me.name], ["alice", "Alice Partner"]);
    const grant = await testServer.grantOf(tokens.access_token);
    assert.equal(grant?.principal.issuer, testServer.partners.issuer);
  });

  test("is remembered by a browser that signed in, and can be changed from the consent page", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const start = authorizeUrl(testServer.baseUrl, client);
    // Looking is not signing in.
    await browser.get(linkTo(await browser.get(start), "Partners"));
    assert.ok(isChoice(await browser.get(start)));
    await signInWith("Partners", testServer, client, browser);
    const consent = await browser.get(start);
    assert.match(consent.body, /You sign in at <strong>Partners/);
    const again = await browser.get(linkTo(consent, "Sign in with another identity provider"));
    assert.ok(isChoice(again));
    assert.match(again.body, /<strong>Partners [^<]*<\/strong> <span class="soft">used last on this browser/);
    assert.match((await browser.get(linkTo(again, "Staff"))).body, /You sign in at <strong>Staff/);
  });

  test("is made by the domain of a login_hint, letter by letter", async () => {
    const seen = async (login_hint: string) => {
      const page = await newBrowser().get(await url({ login_hint }));
      return isChoice(page) ? "page" : /You sign in at <strong>(\w+)/.exec(page.body)?.[1];
    };
    const hints: Array<[hint: string, seen: string]> = [
      ["alice@example.com", "Staff"],
      ["ALICE@Example.COM", "Staff"],
      ["alice@partner.example", "Partners"],
      ["alice@xn--mller-kva.example", "Partners"],
      ["alice@müller.example", "page"],
      ["alice@evilexample.com", "page"],
      ["alice@example.com.evil.example", "page"],
      ["alice@sub.example.com", "page"],
      ["alice@example.com.", "page"],
      ["alice@exаmple.com", "page"], // a Cyrillic а
      ["alice@example.com@partner.example", "page"],
      ["alice@partner.example@example.com", "page"],
      ['"a@partner.example"@example.com', "page"],
      ["alice@example.com ", "page"],
      ["@example.com", "page"],
      ["example.com", "page"],
      ["alice", "page"],
      [`${"a".repeat(400)}@example.com`, "page"],
    ];
    for (const [hint, expected] of hints) assert.equal(await seen(hint), expected, hint);
  });

  test("can be made by an address that is typed into the page; one that nobody has is told", async () => {
    const browser = newBrowser();
    const page = await browser.get(await url());
    assert.match(
      (await browser.submit(page, { login_hint: "a@partner.example" })).body,
      /at <strong>Partners/,
    );
    const unknown = await browser.submit(page, { login_hint: "a@<b>.example" });
    assert.ok(isChoice(unknown));
    assert.match(unknown.body, /role="alert"[^>]*>No identity provider here is named for <bdi>a@&lt;b&gt;/);
    assert.match((await browser.submit(unknown, { login_hint: "a@example.com" })).body, /at <strong>Staff/);
  });

  test("an address that nobody has is told to who signed in elsewhere before, too", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    await signInWith("Partners", testServer, client, browser);
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const page = await browser.get(linkTo(consent, "Sign in with another identity provider"));
    const unknown = await browser.submit(page, { login_hint: "alice@exmaple.com" });
    assert.ok(isChoice(unknown), unknown.body);
    assert.match(unknown.body, /No identity provider here is named for <bdi>alice@exmaple\.com/);
    assert.match((await browser.submit(unknown, { login_hint: "a@example.com" })).body, /at <strong>Staff/);
    const hinted = authorizeUrl(testServer.baseUrl, client, { login_hint: "alice@exmaple.com" });
    assert.match((await browser.get(hinted)).body, /at <strong>Partners/, "a client's hint is a hint");
  });

  test("is the client's error where it may show nothing", async () => {
    const { redirectedTo } = await newBrowser().get(await url({ prompt: "none" }));
    assert.equal(redirectedTo?.searchParams.get("error"), "interaction_required");
  });

  test("a choice that names nobody is none", async () => {
    for (const identity_provider of ["nobody", "__proto__", "default", "Staff", "../staff"])
      assert.ok(isChoice(await newBrowser().get(await url({ identity_provider }))), identity_provider);
  });

  test("the page about the server names both", async () => {
    const { body } = await newBrowser().get(`${testServer.baseUrl}/`);
    assert.match(
      body,
      /you sign in at <strong>Staff \([^)]*\)<\/strong> or <strong>Partners \([^)]*\)<\/strong>/,
    );
  });
});

describe("a resource that is for the users of one identity provider", () => {
  const testServer = useTestServer({
    partners: { users: [OTHER_ALICE], keys: { staff: "emailDomains: [example.com]" } },
    furtherResources: [
      {
        path: "/orders/mcp",
        name: "Orders",
        identityProvider: "partners",
        features: {
          tools: [
            defineTool({ name: "orders", description: "Orders", scopes: ["orders:read"], run: () => "none" }),
          ],
          scopes: { "orders:read": "Read orders" },
        },
      },
    ],
    apiScopes: ["orders:read"],
  });

  test("has them sign in there, whatever the browser remembers, the client hints or a link says", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    await signInWith("Staff", testServer, client, browser);
    const resource = `${testServer.baseUrl}/orders/mcp`;
    for (const parameters of [
      {},
      { login_hint: "alice@example.com" },
      { identity_provider: "staff" },
      { prompt: "select_account" },
    ] as Array<Record<string, string>>) {
      const page = await browser.get(authorizeUrl(testServer.baseUrl, client, { ...parameters, resource }));
      assert.match(page.body, /You sign in at <strong>Partners/);
      assert.doesNotMatch(page.body, /Sign in with another identity provider/);
    }
    const { redirectedTo } = await fillInForms(
      newBrowser(),
      authorizeUrl(testServer.baseUrl, client, { resource }),
    );
    const code = redirectedTo?.searchParams.get("code") ?? null;
    const { body: tokens } = await redeem(testServer.baseUrl, client, code, { resource });
    const grant = await testServer.grantOf(tokens.access_token);
    assert.equal(grant?.principal.issuer, testServer.partners.issuer);
  });

  test("leaves the choice of the others as it was", async () => {
    const client = await register(testServer.baseUrl);
    assert.ok(isChoice(await newBrowser().get(authorizeUrl(testServer.baseUrl, client))));
  });
});

describe("two identity providers whose users have the same sub", () => {
  const testServer = useTestServer({ partners: { users: [OTHER_ALICE] } });

  test("renew at their own", async () => {
    const client = await register(testServer.baseUrl);
    for (const name of ["Staff", "Partners"] as const) {
      const tokens = await signInWith(name, testServer, client);
      const before = await testServer.grantOf(tokens.access_token);
      testServer.clock.ahead += 3_500;
      const renewed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(renewed.status, 200, JSON.stringify(renewed.body));
      const after = await testServer.grantOf(renewed.body.access_token);
      assert.notEqual(after?.upstream?.refreshToken, before?.upstream?.refreshToken);
      testServer.clock.ahead = 0;
    }
  });

  test("see their own applications alone, and end those alone", async () => {
    const client = await register(testServer.baseUrl, { client_name: "Shared name" });
    const [staff, partners] = [
      await signInWith("Staff", testServer, client),
      await signInWith("Partners", testServer, client),
    ];
    const browser = newBrowser();
    const page = await browser.get(`${testServer.baseUrl}/connections`);
    const asked = await browser.submit(page, {}, { button: "partners" });
    const own = await browser.submit(asked, { login: "alice" });
    assert.match(own.body, /Signed in as <strong><bdi>Alice Partner/);
    const shown = entriesOn(own).flatMap(({ grantIds }) => grantIds);
    const id = async ({ access_token }: Tokens) => (await testServer.grantOf(access_token))?.id ?? "";
    assert.ok(shown.includes(await id(partners)));
    assert.ok(!shown.includes(await id(staff)));
    // Whatever the form names.
    await browser.submit(own, { grant: await id(staff) }, { button: "Yes, end access" });
    assert.equal((await callTool(testServer.url, staff.access_token, "whoami")).status, 200);
    await browser.submit(own, { all: "yes" }, { button: "Yes, end access" });
    assert.equal((await callTool(testServer.url, partners.access_token, "whoami")).status, 401);
    assert.equal((await callTool(testServer.url, staff.access_token, "whoami")).status, 200);
  });

  test("sign out at their own, and that ends their own alone", async () => {
    const client = await register(testServer.baseUrl);
    const atStaff = await signInWith("Staff", testServer, client);
    const browser = newBrowser();
    const atPartners = await signInWith("Partners", testServer, client, browser);
    const question = await browser.get(`${testServer.baseUrl}/logout`);
    // Whom it signed in with last comes first.
    assert.ok(question.body.indexOf("also at Partners") < question.body.indexOf("also at Staff"));
    const there = await browser.submit(question, {}, { button: "partners" });
    assert.equal(there.url.origin, testServer.partners.issuer);
    await browser.submit(there);
    // The provider reports it at the back channel.
    await eventually("the sign-out has arrived", async () =>
      testServer.log.some(({ reason }) => reason === "backchannel_logout"),
    );
    assert.equal((await callTool(testServer.url, atPartners.access_token, "whoami")).status, 401);
    assert.equal((await callTool(testServer.url, atStaff.access_token, "whoami")).status, 200);
    assert.ok(
      isChoice(await browser.get(authorizeUrl(testServer.baseUrl, client))),
      "the choice is forgotten",
    );
  });
});

describe("one of two identity providers is away", () => {
  const testServer = useTestServer({
    partners: { users: [OTHER_ALICE], keys: { partners: "timeoutSeconds: 1" } },
  });

  test("the choice says so, the other one works, and the page of the error leads to it", async () => {
    await testServer.partners.close();
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    assert.match(page.body, /<strong>Partners [^<]*<\/strong> <span class="soft">does not answer just now/);
    assert.match(page.body, /<strong>Staff [^<]*<\/strong><\/a>/);
    const failed = await browser.get(linkTo(page, "Partners"));
    assert.equal(failed.status, 503);
    const choice = await browser.get(linkTo(failed, "Sign in with another identity provider"));
    assert.ok(isChoice(choice));
    const { redirectedTo } = await fillInForms(browser, linkTo(choice, "Staff"));
    assert.ok(redirectedTo?.searchParams.get("code"));
    assert.equal((await fetch(`${testServer.baseUrl}/readyz`)).status, 200);
    const connections = await newBrowser().get(`${testServer.baseUrl}/connections`);
    assert.match(connections.body, /Sign in at Partners [^<]*, which does not answer just now<\/button>/);
  });
});

describe("an e-mail address in a domain of one provider", () => {
  const auditLines: string[] = [];
  const testServer = useTestServer({
    users: [ALICE],
    partners: {
      users: [
        { ...ALICE, subject: "mallory", email: "ceo@example.com" },
        { ...ALICE, subject: "carol", email: "carol@partner.example" },
      ],
      keys: { staff: "emailDomains: [example.com]" },
    },
    policy: createPolicy(
      parsePolicy(
        'default: deny\nrules:\n  - name: staff\n    for: { emails: ["*@example.com", "*@partner.example"] }\n    allow: everything\n',
        "policy.yaml",
        { scopes: [], tools: [], resources: [], prompts: [] },
      ),
    ),
    auditStream: { write: (line: string) => void auditLines.push(line) },
  });

  test("is not verified by another one, and no rule takes its word", async () => {
    const client = await register(testServer.baseUrl);
    const seen = async (identity_provider: string, login: string) => {
      const page = await fillInForms(
        newBrowser(),
        authorizeUrl(testServer.baseUrl, client, { identity_provider }),
        {
          login,
        },
      );
      return page.redirectedTo?.searchParams.has("code") ?? page.status;
    };
    assert.equal(await seen("staff", "alice"), true);
    assert.equal(await seen("partners", "mallory"), 403);
    assert.equal(await seen("partners", "carol"), true);
    const issuers = auditLines
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === "sign_in")
      .map(({ decision, subject, issuer }) => [decision, subject, issuer]);
    assert.deepEqual(issuers, [
      ["allow", "alice", testServer.identityProvider.issuer],
      ["deny", "mallory", testServer.partners.issuer],
      ["allow", "carol", testServer.partners.issuer],
    ]);
  });
});
