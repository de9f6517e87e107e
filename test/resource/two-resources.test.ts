/** Two protected resources of one server: each has its own metadata, scopes, challenge and tokens. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { z } from "zod";
import type { Answer } from "../../dev/client/http.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { getAccessToken, requireScopes } from "../../src/resource/access-token-context.ts";
import { reasonOf } from "../attacks/support.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  postForm,
  type Registered,
  redeem,
  refresh,
  register,
  rpc,
  signInForTokens,
  type Tokens,
  toolNames,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const findCustomer = defineTool({
  name: "find_customer",
  description: "Finds a customer",
  scopes: ["crm:read"],
  input: z.object({ write: z.boolean().default(false) }),
  run({ write }) {
    if (write) requireScopes("crm:write");
    return getAccessToken().resource;
  },
});
const whoIsCalling = defineTool({
  name: "who_is_calling",
  description: "Needs only a sign-in",
  run: () => getAccessToken().subject,
});

/** Known to both resources. */
const NOTES = { description: "Read notes", whenNeeded: true };

const CRM = {
  path: "/crm/mcp",
  name: "CRM",
  features: {
    tools: [findCustomer, whoIsCalling],
    scopes: {
      "crm:read": "Read customers",
      "crm:write": { description: "Change customers", whenNeeded: true },
      "notes:read": NOTES,
    },
  },
};

describe("two protected resources", () => {
  let client: Registered;
  let crmUrl: string;
  /** For `/mcp`, and for the CRM. */
  let weather: Tokens;
  let crm: Tokens;
  const testServer = useTestServer({
    furtherResources: [CRM],
    scopes: { "notes:read": NOTES },
    apiScopes: ["crm:read", "crm:write", "notes:read"],
    users: [
      {
        subject: "alice",
        name: "Alice",
        email: "alice@example.com",
        permissions: ["weather:read", "crm:read", "crm:write", "notes:read"],
      },
    ],
    environment: { CONSENT: "remember" },
  });
  before(async () => {
    crmUrl = `${testServer.baseUrl}${CRM.path}`;
    client = await register(testServer.baseUrl);
    weather = await signInForTokens(testServer.baseUrl, client);
    crm = await signInForTokens(testServer.baseUrl, client, { parameters: { resource: crmUrl } });
  });

  const challengeOf = ({ headers }: Answer) => headers.get("www-authenticate") ?? "";
  const metadataUrl = (path: string) => `${testServer.baseUrl}/.well-known/oauth-protected-resource${path}`;

  test("each takes its own tokens, and refuses those of the other", async () => {
    assert.equal((await callTool(testServer.url, weather.access_token, "whoami")).status, 200);
    const called = await callTool(crmUrl, crm.access_token, "find_customer");
    assert.equal(
      called.body.result.content[0].text,
      crmUrl,
      "the tool is told which resource the token is for",
    );
    for (const [url, token] of [
      [crmUrl, weather.access_token],
      [testServer.url, crm.access_token],
    ] as const) {
      const answer = await rpc(url, token, "tools/list");
      assert.equal(answer.status, 401);
      assert.match(challengeOf(answer), /error="invalid_token"/);
      assert.equal(await reasonOf(testServer, answer), "access_token_for_another_resource");
    }
  });

  test("each has its own tools", async () => {
    assert.deepEqual(await toolNames(crmUrl, crm.access_token), ["find_customer", "who_is_calling"]);
    const names = await toolNames(testServer.url, weather.access_token);
    assert.ok(names.includes("whoami") && !names.includes("find_customer"), names.join(" "));
  });

  test("each has its own metadata document, at every place where clients look; without a path it is the first one's", async () => {
    const places: Array<[string, string]> = [
      ["/.well-known/oauth-protected-resource", testServer.url],
      ["/.well-known/oauth-protected-resource/mcp", testServer.url],
      ["/mcp/.well-known/oauth-protected-resource", testServer.url],
      ["/.well-known/oauth-protected-resource/crm/mcp", crmUrl],
      ["/crm/mcp/.well-known/oauth-protected-resource", crmUrl],
    ];
    for (const [place, resource] of places)
      assert.equal((await getJson(`${testServer.baseUrl}${place}`)).resource, resource, place);
    const [ofMcp, ofCrm] = [await getJson(metadataUrl("/mcp")), await getJson(metadataUrl("/crm/mcp"))];
    assert.deepEqual([ofMcp.resource_name, ofMcp.scopes_supported], ["Test server", ["weather:read"]]);
    assert.deepEqual([ofCrm.resource_name, ofCrm.scopes_supported], ["CRM", ["crm:read"]]);
    assert.deepEqual(ofCrm.authorization_servers, [testServer.baseUrl]);
  });

  test("the authorization server knows both, and the scopes of both", async () => {
    for (const path of ["", "/mcp", "/crm/mcp"]) {
      const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server${path}`);
      assert.deepEqual(metadata.protected_resources, [testServer.url, crmUrl]);
      assert.deepEqual(
        new Set(metadata.scopes_supported),
        new Set(["weather:read", "notes:read", "crm:read", "crm:write", "offline_access"]),
      );
    }
  });

  test("each challenge names its own metadata and scopes", async () => {
    for (const [url, path, scope] of [
      [testServer.url, "/mcp", "weather:read"],
      [crmUrl, "/crm/mcp", "crm:read"],
    ] as const)
      for (const token of [undefined, "garbage"]) {
        const answer = await rpc(url, token, "tools/list");
        assert.equal(answer.status, 401);
        assert.ok(
          challengeOf(answer).includes(`resource_metadata="${metadataUrl(path)}"`),
          challengeOf(answer),
        );
        assert.match(challengeOf(answer), new RegExp(`scope="${scope}"`));
      }
  });

  test("a missing scope is 403 with the challenge of the resource, found before the tool runs and while it runs", async () => {
    const { access_token: token } = await signInForTokens(testServer.baseUrl, client, {
      parameters: { resource: crmUrl, scope: "crm:read" },
    });
    const within = await callTool(crmUrl, token, "find_customer", { write: true });
    assert.equal(within.status, 403);
    assert.match(challengeOf(within), /error="insufficient_scope".*scope="crm:read crm:write"/);
    assert.ok(challengeOf(within).includes(metadataUrl("/crm/mcp")), challengeOf(within));
    const { access_token: none } = await signInForTokens(testServer.baseUrl, client, {
      parameters: { resource: crmUrl, scope: "crm:write" },
    });
    const before = await callTool(crmUrl, none, "find_customer");
    assert.equal(before.status, 403);
    assert.match(challengeOf(before), /scope="crm:write crm:read"/);
    assert.ok(challengeOf(before).includes(metadataUrl("/crm/mcp")), challengeOf(before));
  });

  for (const [what, parameters, path] of [
    ["no resource, and a scope that only one has", { resource: undefined, scope: "crm:read" }, CRM.path],
    [
      "no resource, and a scope that only the other has",
      { resource: undefined, scope: "weather:read" },
      "/mcp",
    ],
    [
      "the whole server, and a scope that only one has",
      { resource: "", scope: "crm:read crm:write" },
      CRM.path,
    ],
    ["the whole server with a slash", { resource: "/", scope: "crm:read" }, CRM.path],
  ] as const)
    test(`a sign-in that names ${what} is for that`, async () => {
      const { resource } = parameters;
      const named = {
        ...parameters,
        resource: resource === undefined ? undefined : testServer.baseUrl + resource,
      };
      const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: named });
      assert.equal((await testServer.grantOf(tokens.access_token))?.resource, testServer.baseUrl + path);
    });

  for (const [what, parameters] of [
    ["nothing", { resource: undefined, scope: undefined }],
    ["a scope that both have", { resource: undefined, scope: "notes:read" }],
    ["scopes of both", { resource: undefined, scope: "weather:read crm:read" }],
    ["the whole server alone", { resource: "whole", scope: undefined }],
  ] as const)
    test(`a sign-in that names ${what} has to say which resource is meant`, async () => {
      const { resource, scope } = parameters;
      const named = { scope, resource: resource === undefined ? undefined : testServer.baseUrl };
      const answer = await fetch(authorizeUrl(testServer.baseUrl, client, named), { redirect: "manual" });
      const returned = new URL(answer.headers.get("location") ?? "").searchParams;
      assert.equal(returned.get("error"), "invalid_target");
      assert.equal(await reasonOf(testServer, answer), "ambiguous_resource");
      for (const uri of [testServer.url, crmUrl])
        assert.ok(returned.get("error_description")?.includes(uri), uri);
    });

  test("a sign-in is for the scopes of its resource: those of the other are unknown there", async () => {
    assert.equal(crm.scope, "crm:read", "what its default scopes are");
    const both = { scope: "weather:read crm:read crm:write" };
    const tokens = await signInForTokens(testServer.baseUrl, client, {
      parameters: { ...both, resource: crmUrl },
    });
    assert.equal(tokens.scope, "crm:read crm:write");
    const ofFirst = await signInForTokens(testServer.baseUrl, client, { parameters: both });
    assert.equal(ofFirst.scope, "weather:read");
  });

  test("a sign-in for both, or for one that is not here, is refused", async () => {
    const both = new URL(authorizeUrl(testServer.baseUrl, client));
    both.searchParams.append("resource", crmUrl);
    const other = authorizeUrl(testServer.baseUrl, client, { resource: `${testServer.baseUrl}/crm` });
    for (const url of [both.href, other]) {
      const answer = await fetch(url, { redirect: "manual" });
      const returned = new URL(answer.headers.get("location") ?? "").searchParams;
      assert.equal(returned.get("error"), "invalid_target");
      assert.match(
        returned.get("error_description") ?? "",
        /the resource .*\/mcp and the resource .*\/crm\/mcp/,
      );
    }
  });

  test("a code and a refresh token are for the resource that they were issued for (RFC 8707 §2.2)", async () => {
    const parameters = { resource: crmUrl };
    const code = (await authorize(testServer.baseUrl, client, { parameters })).get("code");
    const foreign = await redeem(testServer.baseUrl, client, code, { resource: testServer.url });
    assert.deepEqual([foreign.status, foreign.body.error], [400, "invalid_target"]);
    const tokens = (await redeem(testServer.baseUrl, client, code, { resource: crmUrl })).body as Tokens;
    const refused = await refresh(testServer.baseUrl, client, tokens.refresh_token, {
      resource: testServer.url,
    });
    assert.deepEqual([refused.status, refused.body.error], [400, "invalid_target"]);
    const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.deepEqual([refreshed.status, refreshed.body.scope], [200, "crm:read"]);
    assert.equal((await rpc(crmUrl, refreshed.body.access_token, "tools/list")).status, 200);
    assert.equal((await rpc(testServer.url, refreshed.body.access_token, "tools/list")).status, 401);
  });

  test("a client that names the whole server all the way gets its tokens, for the resource that its scopes left", async () => {
    for (const resource of [testServer.baseUrl, `${testServer.baseUrl}/`]) {
      const parameters = { resource, scope: "crm:read" };
      const code = (await authorize(testServer.baseUrl, client, { parameters })).get("code");
      const redeemed = await redeem(testServer.baseUrl, client, code, { resource });
      assert.equal(redeemed.status, 200, JSON.stringify(redeemed.body));
      const tokens = redeemed.body as Tokens;
      const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token, { resource });
      assert.equal(refreshed.status, 200);
      assert.equal((await rpc(crmUrl, refreshed.body.access_token, "tools/list")).status, 200);
      assert.equal((await rpc(testServer.url, refreshed.body.access_token, "tools/list")).status, 401);
    }
  });

  test("introspection says which resource a token is for, with that resource's scopes", async () => {
    const asking = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
    const secret = { client_secret: asking.client_secret ?? "" };
    const code = (await authorize(testServer.baseUrl, asking, { parameters: { resource: crmUrl } })).get(
      "code",
    );
    const tokens = (await redeem(testServer.baseUrl, asking, code, secret)).body as Tokens;
    const { body } = await postForm(`${testServer.baseUrl}/introspect`, {
      token: tokens.access_token,
      client_id: asking.client_id,
      ...secret,
    });
    assert.deepEqual([body.active, body.aud, body.scope], [true, crmUrl, "crm:read"]);
  });

  test("the consent page names the resource and its scopes", async () => {
    const { body } = await newBrowser().get(authorizeUrl(testServer.baseUrl, client, { resource: crmUrl }));
    assert.match(body, /wants to use <strong>CRM<\/strong>/);
    assert.match(body, /Read customers/);
    assert.doesNotMatch(body, /weather/);
  });

  test('"do not ask again" for one resource is no consent for the other', async () => {
    const browser = newBrowser();
    const open = (resource: string) =>
      browser.get(authorizeUrl(testServer.baseUrl, client, { resource, scope: "notes:read" }));
    const remember = async (resource: string) => {
      const page = await browser.submit(await open(resource), { remember: "yes" }, { button: "approve" });
      return page.redirectedTo ? page : await browser.submit(page, { login: "alice" });
    };
    await remember(testServer.url);
    const unasked = await open(testServer.url);
    assert.ok(unasked.redirectedTo?.searchParams.get("code"), "not asked again");
    assert.match((await open(crmUrl)).body, /wants to use <strong>CRM<\/strong>/);
    await remember(crmUrl);
    for (const resource of [testServer.url, crmUrl])
      assert.ok((await open(resource)).redirectedTo?.searchParams.get("code"), resource);
  });
});
