/**
 * An operator adds, renames, reorders, moves and removes protected resources: nobody who is signed in is signed out by it, and
 * nothing that was allowed for one is good for another.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import type { Browser } from "../../dev/client/browser.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import type { ResourceDeclaration } from "../../src/server/resources.ts";
import { whoami } from "../../src/tools/whoami.ts";
import { reasonOf } from "../attacks/support.ts";
import { endEntry, entriesOn, openConnections } from "../support/connections.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  type Registered,
  refresh,
  register,
  rpc,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { ALICE, startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";

/** Known to both: what was remembered of one must not answer for the other. */
const NOTES = { description: "Read notes", whenNeeded: true };
const findCustomer = defineTool({
  name: "find_customer",
  description: "Finds a customer",
  scopes: ["crm:read"],
  run: () => "found",
});
const CRM: ResourceDeclaration = {
  path: "/crm/mcp",
  name: "CRM",
  features: { tools: [findCustomer], scopes: { "crm:read": "Read customers", "notes:read": NOTES } },
};
const WEATHER: ResourceDeclaration = {
  path: "/mcp",
  name: "Weather",
  features: { tools: [whoami], scopes: { "weather:read": "Read the weather", "notes:read": NOTES } },
};

describe("the resources of a server change", () => {
  const options: TestServerOptions & { furtherResources: ResourceDeclaration[] } = {
    furtherResources: [],
    scopes: { "notes:read": NOTES },
    apiScopes: ["crm:read", "notes:read"],
    users: [{ ...ALICE, permissions: ["weather:read", "crm:read", "notes:read"] }],
    environment: { CONSENT: "remember" },
  };
  const folder = mkdtempSync(join(tmpdir(), "changed-resources-"));
  let testServer: TestServer;
  let client: Registered;
  before(async () => {
    testServer = await startTestServer(options);
    client = await register(testServer.baseUrl);
  });
  afterEach(() => {
    options.furtherResources = [];
  });
  after(async () => {
    await testServer.close();
    rmSync(folder, { recursive: true });
  });

  /** The same deployment after an update: on its store, under its BASE_URL, with these resources. */
  async function updated(further: ResourceDeclaration[], first?: { path: string; name: string }) {
    options.furtherResources = further;
    if (first === undefined) return await testServer.replica();
    const file = join(folder, "server.yaml");
    writeFileSync(file, `resources:\n  ${first.path}: { name: ${first.name} }\n`, { mode: 0o600 });
    return await testServer.replica({ CONFIG_FILE: file });
  }
  const uriOf = (path: string) => `${testServer.baseUrl}${path}`;
  const signIn = (at: string, path: string, browser = newBrowser()) =>
    signInForTokens(at, client, { parameters: { resource: uriOf(path) }, browser });
  const statusAt = async (at: string, path: string, { access_token }: Tokens) =>
    (await rpc(`${at}${path}`, access_token, "tools/list")).status;

  /** A person ticks "do not ask again". */
  async function remember(at: string, path: string, browser: Browser) {
    const page = await browser.get(authorizeUrl(at, client, { resource: uriOf(path), scope: "notes:read" }));
    const next = await browser.submit(page, { remember: "yes" }, { button: "approve" });
    if (!next.redirectedTo) await browser.submit(next, { login: "alice" });
  }
  async function isAsked(at: string, path: string, browser: Browser) {
    const page = await browser.get(authorizeUrl(at, client, { resource: uriOf(path), scope: "notes:read" }));
    return page.redirectedTo?.searchParams.get("code") === undefined;
  }

  test("a second one is added: sessions of the first go on, and their tokens are no good for the second", async () => {
    const tokens = await signIn(testServer.baseUrl, "/mcp");
    const at = await updated([CRM]);
    assert.equal(await statusAt(at, "/mcp", tokens), 200);
    assert.equal(await statusAt(at, CRM.path, tokens), 401);
    let { refresh_token } = tokens;
    // As clients name it that never heard of a second one.
    for (const named of [{}, { resource: uriOf("/mcp") }, { resource: testServer.baseUrl }]) {
      const refreshed = await refresh(at, client, refresh_token, named);
      assert.equal(refreshed.status, 200, JSON.stringify(refreshed.body));
      assert.equal(await statusAt(at, "/mcp", refreshed.body), 200);
      ({ refresh_token } = refreshed.body);
    }
    const foreign = await refresh(at, client, refresh_token, { resource: uriOf(CRM.path) });
    assert.equal(foreign.body.error, "invalid_target");
  });

  test("a replica that does not know the second one yet leaves its sessions whole", async () => {
    const at = await updated([CRM]);
    const tokens = await signIn(at, CRM.path);
    testServer.clock.ahead += 3_700; // beyond the provider's access token, so that its scopes are read anew
    try {
      const byOld = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.deepEqual([byOld.status, byOld.body.scope], [200, "crm:read"]);
      assert.equal(await statusAt(at, CRM.path, byOld.body), 200);
      assert.equal(
        (await callTool(`${at}${CRM.path}`, byOld.body.access_token, "find_customer")).status,
        200,
      );
    } finally {
      testServer.clock.ahead = 0;
    }
  });

  test("a name is for people: another one changes nothing else", async () => {
    const browser = newBrowser();
    const at = await updated([CRM]);
    await remember(at, CRM.path, browser);
    const tokens = await signIn(at, CRM.path);
    const renamed = await updated([{ ...CRM, name: "Customers" }]);
    assert.equal(await statusAt(renamed, CRM.path, tokens), 200);
    assert.equal((await refresh(renamed, client, tokens.refresh_token)).status, 200);
    assert.equal(await isAsked(renamed, CRM.path, browser), false);
  });

  test("another one is the first: tokens and remembered consent stay with theirs", async () => {
    const browser = newBrowser();
    await remember(testServer.baseUrl, "/mcp", browser);
    const tokens = await signIn(testServer.baseUrl, "/mcp");
    const at = await updated([WEATHER], CRM);
    assert.equal(await statusAt(at, "/mcp", tokens), 200);
    assert.equal(await statusAt(at, CRM.path, tokens), 401);
    assert.equal((await refresh(at, client, tokens.refresh_token)).status, 200);
    assert.equal(await isAsked(at, CRM.path, browser), true, "nobody consented to this one");
    assert.equal(await isAsked(at, "/mcp", browser), false);
    await remember(at, CRM.path, browser);
    const back = await updated([CRM]);
    for (const path of ["/mcp", CRM.path]) assert.equal(await isAsked(back, path, browser), false, path);
  });

  test("another path is another resource: people sign in for it, and consent", async () => {
    const browser = newBrowser();
    const at = await updated([CRM]);
    await remember(at, CRM.path, browser);
    const tokens = await signIn(at, CRM.path);
    const moved = await updated([{ ...CRM, path: "/customers/mcp" }]);
    assert.equal(await statusAt(moved, CRM.path, tokens), 404);
    const answer = await rpc(`${moved}/customers/mcp`, tokens.access_token, "tools/list");
    assert.equal(answer.status, 401, "which has clients sign in");
    assert.equal(await reasonOf(testServer, answer), "access_token_for_another_resource");
    assert.equal(await isAsked(moved, "/customers/mcp", browser), true);
    assert.equal(await statusAt(moved, "/customers/mcp", await signIn(moved, "/customers/mcp")), 200);
  });

  test("one is removed: its sessions are good for nothing, can be ended, and go on when it is back", async () => {
    const at = await updated([CRM]);
    const [kept, ended] = [await signIn(at, CRM.path), await signIn(at, CRM.path)];
    const without = await updated([]);
    assert.equal(await statusAt(without, CRM.path, kept), 404);
    assert.equal(await statusAt(without, "/mcp", kept), 401);
    const refreshed = await refresh(without, client, kept.refresh_token);
    assert.equal(refreshed.status, 200);
    assert.equal(await statusAt(without, "/mcp", refreshed.body), 401, "for the first it is no good either");

    const own = await register(testServer.baseUrl, { client_name: "Own" });
    const parameters = { resource: uriOf(CRM.path) };
    const theirs = await signInForTokens(at, own, { login: "ends", parameters });
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser, login: "ends" });
    const [entry] = entriesOn(page);
    assert.match(entry?.text ?? "", /For http\S+\/crm\/mcp , which this server does not have any more/);
    await endEntry(browser, page, "Own");

    const back = await updated([CRM]);
    for (const tokens of [kept, refreshed.body, ended])
      assert.equal(await statusAt(back, CRM.path, tokens), 200);
    assert.equal(
      (await callTool(`${back}${CRM.path}`, refreshed.body.access_token, "find_customer")).status,
      200,
    );
    assert.equal(await statusAt(back, CRM.path, theirs), 401);
  });
});
