/**
 * The official MCP clients, with their own OAuth code, against the running server: SDK v1, SDK v2 negotiating by
 * itself, and SDK v2 pinned to the 2026-07-28 protocol. Only the browser is ours.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { UnauthorizedError as UnauthorizedErrorV1 } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { signIn } from "../support/browser.ts";
import { newBrowser, REDIRECT_URI } from "../support/oauth-client.ts";
import { type Stage, startStage } from "../support/stage.ts";

/** What both SDKs ask of an application: somewhere to keep things, and a browser. */
function memoryOAuthProvider() {
  const kept: Record<string, unknown> = {};
  const keep = (name: string) => (value: unknown) => {
    kept[name] = value;
  };
  const recall = (name: string) => () => kept[name] as never;
  return {
    kept,
    provider: {
      redirectUrl: REDIRECT_URI,
      clientMetadata: {
        client_name: "Official client",
        redirect_uris: [REDIRECT_URI],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "none",
      },
      clientInformation: recall("client"),
      saveClientInformation: keep("client"),
      tokens: recall("tokens"),
      saveTokens: keep("tokens"),
      codeVerifier: recall("verifier"),
      saveCodeVerifier: keep("verifier"),
      state: () => "official-state",
      redirectToAuthorization: keep("authorizationUrl"),
    },
  };
}

interface ClientUnderTest {
  name: string;
  UnauthorizedError: new (...args: never[]) => Error;
  // biome-ignore lint/suspicious/noExplicitAny: the two SDKs' types are alike but not the same
  connect(url: URL, authProvider: any): { client: any; transport: any };
}

const clients: ClientUnderTest[] = [
  {
    name: "SDK v1",
    UnauthorizedError: UnauthorizedErrorV1,
    connect: (url, authProvider) => ({
      client: new ClientV1({ name: "v1", version: "1" }),
      transport: new TransportV1(url, { authProvider }),
    }),
  },
  ...(["auto", { pin: "2026-07-28" }] as const).map((mode) => ({
    name: `SDK v2, ${typeof mode === "string" ? mode : `pinned to ${mode.pin}`}`,
    UnauthorizedError,
    connect: (url: URL, authProvider: never) => ({
      client: new Client({ name: "v2", version: "1" }, { versionNegotiation: { mode } }),
      transport: new StreamableHTTPClientTransport(url, { authProvider }),
    }),
  })),
];

describe("official clients", () => {
  let stage: Stage;
  before(async () => {
    stage = await startStage();
  });
  after(() => stage.close());

  for (const { name, UnauthorizedError, connect } of clients) {
    test(`${name} signs in, calls tools, and refreshes by itself`, async () => {
      const url = new URL(stage.url);
      const { kept, provider } = memoryOAuthProvider();
      const first = connect(url, provider);
      await assert.rejects(first.client.connect(first.transport), UnauthorizedError);

      const callback = await signIn(newBrowser(), String(kept.authorizationUrl), { login: "alice" });
      assert.equal(callback.searchParams.get("state"), "official-state");
      await finish(first.transport, callback.searchParams);

      const { client, transport } = connect(url, provider);
      await client.connect(transport);
      const { tools } = await client.listTools();
      assert.deepEqual(
        tools.map((tool: { name: string }) => tool.name),
        ["whoami", "say_hello", "current_weather"],
      );
      const me = await client.callTool({ name: "whoami", arguments: {} });
      assert.equal(me.structuredContent.subject, "alice");
      const weather = await client.callTool({ name: "current_weather", arguments: { city: "Berlin" } });
      assert.equal(weather.structuredContent.city, "Berlin");

      const before = (kept.tokens as { access_token: string }).access_token;
      stage.clock.ahead += 3_601; // our access token is over, the refresh token is not
      assert.equal(
        (await client.callTool({ name: "whoami", arguments: {} })).structuredContent.subject,
        "alice",
      );
      assert.notEqual((kept.tokens as { access_token: string }).access_token, before);
      await client.close();
    });
  }
});

/** v2 validates the whole response, `iss` and all; v1 takes the code alone. */
async function finish(
  transport: { finishAuth(response: never): Promise<void> },
  response: URLSearchParams,
): Promise<void> {
  await transport.finishAuth((transport instanceof TransportV1 ? response.get("code") : response) as never);
}
