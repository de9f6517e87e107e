/**
 * The official MCP clients, with their own OAuth code, against the running server: SDK v1, SDK v2 negotiating by
 * itself, and SDK v2 pinned to the 2026-07-28 protocol. Only the browser is ours.
 */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { UnauthorizedError as UnauthorizedErrorV1 } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import {
  StreamableHTTPError,
  StreamableHTTPClientTransport as TransportV1,
} from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { eventually } from "../support/eventually.ts";
import { installedPackage } from "../support/installed-package.ts";
import { newBrowser, REDIRECT_URI } from "../support/oauth-client.ts";
import { PLACE_ORDER, withOrders } from "../support/orders.ts";
import { signIn } from "../support/sign-in.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";

interface Sdk {
  name: string;
  package: string;
  UnauthorizedError: new (...args: never[]) => Error;
  // biome-ignore lint/suspicious/noExplicitAny: the two SDKs' types are alike but not the same
  connect(url: URL, authProvider: any): { client: any; transport: any };
}

const v1: Sdk = {
  name: "SDK v1",
  package: "@modelcontextprotocol/sdk",
  UnauthorizedError: UnauthorizedErrorV1,
  connect: (url, authProvider) => ({
    client: new ClientV1({ name: "v1", version: "1" }),
    transport: new TransportV1(url, { authProvider }),
  }),
};

const v2: Sdk[] = (["auto", { pin: "2026-07-28" }] as const).map((mode) => ({
  name: `SDK v2, ${typeof mode === "string" ? mode : `pinned to ${mode.pin}`}`,
  package: "@modelcontextprotocol/client",
  UnauthorizedError,
  connect: (url, authProvider) => ({
    client: new Client({ name: "v2", version: "1" }, { versionNegotiation: { mode } }),
    transport: new StreamableHTTPClientTransport(url, { authProvider }),
  }),
}));

/** What both SDKs ask of an application: somewhere to keep things, and a browser. */
function newApplication(
  sdk: Sdk,
  testServer: TestServer,
  grantTypes = ["authorization_code", "refresh_token"],
) {
  const kept: {
    client?: { client_id: string };
    tokens?: { access_token: string; scope: string };
    verifier?: string;
    discovery?: unknown;
    authorizationUrl?: URL;
  } = {};
  const keep = (name: keyof typeof kept) => (value: never) => {
    kept[name] = value;
  };
  const provider = {
    redirectUrl: REDIRECT_URI,
    clientMetadata: {
      client_name: "Official client",
      redirect_uris: [REDIRECT_URI],
      grant_types: grantTypes,
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    },
    clientInformation: () => kept.client,
    saveClientInformation: keep("client"),
    tokens: () => kept.tokens,
    saveTokens: keep("tokens"),
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: keep("verifier"),
    discoveryState: () => kept.discovery,
    saveDiscoveryState: keep("discovery"),
    state: () => "official-state",
    redirectToAuthorization: keep("authorizationUrl"),
    invalidateCredentials(what: "all" | "client" | "tokens" | "verifier" | "discovery") {
      for (const name of ["client", "tokens", "verifier", "discovery"] as const)
        if (what === "all" || what === name) delete kept[name];
    },
  };
  const connect = () => sdk.connect(new URL(testServer.url), provider);

  /** The user's part, after the SDK asked for it. v2 validates the whole response, `iss` and all; v1 takes the code. */
  async function authorize(transport: { finishAuth(response: unknown): Promise<void> }): Promise<void> {
    assert.ok(kept.authorizationUrl, "the SDK opened the browser");
    const { searchParams } = await signIn(newBrowser(), kept.authorizationUrl, { login: "alice" });
    assert.equal(searchParams.get("state"), "official-state");
    delete kept.authorizationUrl;
    await transport.finishAuth(transport instanceof TransportV1 ? searchParams.get("code") : searchParams);
  }

  return {
    kept,
    authorize,
    async signIn() {
      const first = connect();
      await assert.rejects(first.client.connect(first.transport), sdk.UnauthorizedError);
      await authorize(first.transport);
      const { client, transport } = connect();
      await client.connect(transport);
      // v1 asks for a stream without waiting for the answer. Were that still on its way when the token expires, two of
      // its sign-ins would begin at once, and it would spend the code of the one as the client of the other.
      if (sdk === v1)
        await eventually("the GET of SDK v1", () =>
          testServer.log.some(
            ({ method, path, status }) => method === "GET" && path === "/mcp" && status === 405,
          ),
        );
      return { client, transport };
    },
  };
}

async function testServerFor(t: TestContext, sdk: Sdk): Promise<TestServer> {
  const { name, version } = await installedPackage(sdk.package);
  t.diagnostic(`${name} ${version}`);
  const testServer = await startTestServer(withOrders);
  t.after(() => testServer.close());
  return testServer;
}

describe("official clients", () => {
  for (const sdk of [v1, ...v2]) {
    test(`${sdk.name} signs in, calls tools, and refreshes by itself`, async (t) => {
      const testServer = await testServerFor(t, sdk);
      const { kept, signIn } = newApplication(sdk, testServer);
      const { client } = await signIn();
      const { tools } = await client.listTools();
      assert.deepEqual(
        tools.map((tool: { name: string }) => tool.name),
        ["whoami", "say_hello", "current_weather", "place_order"],
      );
      const me = await client.callTool({ name: "whoami", arguments: {} });
      assert.equal(me.structuredContent.subject, "alice");
      const weather = await client.callTool({ name: "current_weather", arguments: { city: "Berlin" } });
      assert.equal(weather.structuredContent.city, "Berlin");

      const before = kept.tokens?.access_token;
      testServer.clock.ahead += 3_601; // our access token is over, the refresh token is not
      assert.equal(
        (await client.callTool({ name: "whoami", arguments: {} })).structuredContent.subject,
        "alice",
      );
      assert.notEqual(kept.tokens?.access_token, before);
      await client.close();
    });

    test(`${sdk.name} registers anew after its registration vanished`, async (t) => {
      const testServer = await testServerFor(t, sdk);
      const { kept, signIn, authorize } = newApplication(sdk, testServer);
      const { client, transport } = await signIn();
      const before = kept.client?.client_id;
      assert.ok(await testServer.records.delete(`client:${before}`));

      testServer.clock.ahead += 3_601; // the refresh that follows is answered invalid_client, 401
      await assert.rejects(client.callTool({ name: "whoami", arguments: {} }), sdk.UnauthorizedError);
      assert.ok(testServer.log.some(({ reason }) => reason === "unknown_client"));
      assert.ok(kept.client && kept.client.client_id !== before);
      await authorize(transport);
      const me = await client.callTool({ name: "whoami", arguments: {} });
      assert.equal(me.structuredContent.subject, "alice");
      await client.close();
    });
  }

  const steppingUp: Array<[sdk: Sdk, how: string, grantTypes?: string[]]> = [
    ...v2.map((sdk): [Sdk, string] => [sdk, "steps up by itself"]),
    [v1, "steps up by itself if it asked for no refresh token", ["authorization_code"]],
  ];
  for (const [sdk, how, grantTypes] of steppingUp) {
    test(`${sdk.name} ${how}: call, 403, one more browser visit, the call succeeds`, async (t) => {
      const testServer = await testServerFor(t, sdk);
      const { kept, signIn, authorize } = newApplication(sdk, testServer, grantTypes);
      const { client, transport } = await signIn();
      assert.equal(kept.tokens?.scope, "weather:read");

      await assert.rejects(client.callTool(PLACE_ORDER), sdk.UnauthorizedError);
      const asked = kept.authorizationUrl?.searchParams.get("scope")?.split(" ");
      for (const scope of ["weather:read", "orders:write"]) assert.ok(asked?.includes(scope), scope);
      await authorize(transport);
      assert.deepEqual((await client.callTool(PLACE_ORDER)).content, [{ type: "text", text: "placed" }]);
      await client.close();

      const elevation = testServer.log.find(({ audit }) => audit === "elevation");
      assert.deepEqual(elevation?.scopes, ["orders:write"]); // A42
      assert.equal(elevation?.subject, "alice");
    });
  }

  // Gemini CLI hands the SDK a provider that has the stored token and no redirect URI. Whether it asks for a new sign-in, or
  // shows the server as broken, it decides by the number 401 in the error (isAuthenticationError, 0.61.0).
  test("SDK v1 as Gemini CLI uses it, after the store was emptied: it reads that it has to sign in again", async (t) => {
    const testServer = await testServerFor(t, v1);
    const { kept, signIn } = newApplication(v1, testServer);
    await (await signIn()).client.close();
    const grant = await testServer.grantOf(kept.tokens?.access_token ?? "");
    await testServer.records.delete(`grant:${grant?.id}`);
    await testServer.records.delete(`client:${kept.client?.client_id}`);
    const stored = {
      redirectUrl: "",
      clientMetadata: {
        client_name: "Gemini CLI (Stored OAuth)",
        redirect_uris: [],
        grant_types: [],
        response_types: [],
        token_endpoint_auth_method: "none",
      },
      clientInformation: () => undefined,
      saveClientInformation() {},
      tokens: () => kept.tokens,
      saveTokens() {},
      redirectToAuthorization() {},
      saveCodeVerifier() {},
      codeVerifier: () => "",
    };
    const { client, transport } = v1.connect(new URL(testServer.url), stored);
    await assert.rejects(
      client.connect(transport),
      /\(HTTP 401\) has to sign in again; in Gemini CLI: \/mcp auth NAME/,
    );
    const refused = testServer.log.find(({ path, status }) => path === "/register" && status === 400);
    assert.equal(refused?.reason, "no_redirect_uris");
  });

  // It answers insufficient_scope as it answers 401: with a refresh if it can, which gives no scope that was not granted.
  test("SDK v1 does not step up while it has a refresh token: it reports the 403, and keeps its session", async (t) => {
    const testServer = await testServerFor(t, v1);
    const { kept, signIn } = newApplication(v1, testServer);
    const { client } = await signIn();
    await assert.rejects(
      client.callTool(PLACE_ORDER),
      (error) => error instanceof StreamableHTTPError && error.code === 403,
    );
    assert.equal(kept.authorizationUrl, undefined);
    const me = await client.callTool({ name: "whoami", arguments: {} });
    assert.equal(me.structuredContent.subject, "alice");
    await client.close();
  });
});
