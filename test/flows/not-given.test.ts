/** Scopes that a person consented to and the identity provider does not give are shown at /connections, by whoami, and in the log. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { pino } from "pino";
import type { ProviderBehaviour } from "../../dev/identity-provider/identity-provider.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { entriesOn, openConnections, textOf } from "../support/connections.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  redeem,
  refresh,
  register,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { SECRET_KEY, useTestServer } from "../support/test-server.ts";

const ALL = "weather:read orders:read orders:write";
const SAID =
  /You approved this, but localhost:\d+ did not give it to you: (.*?)\. Ask the administrator there/g;

/** Who says which scopes a user has, and whether a refresh token there brings what its sign-in did not. */
const PROFILES: ReadonlyArray<[name: string, ProviderBehaviour, { refreshAdds: boolean }]> = [
  ["permissions in the access token", {}, { refreshAdds: true }],
  [
    "the scope of the token response",
    { scopeClaim: "none", permissionsClaim: false },
    { refreshAdds: false },
  ],
];

for (const [name, behaviour, { refreshAdds }] of PROFILES)
  describe(`a permission that was approved and not given (${name})`, () => {
    const testServer = useTestServer({
      // Longer than ours, so that one renewal there is one refresh here.
      behaviour: { ...behaviour, accessTokenSeconds: 4_000 },
      scopes: { "orders:read": "See your orders", "orders:write": "Cancel your orders" },
      apiScopes: ["orders:read", "orders:write"],
      users: ["carol", "dave", "erin", "frank", "grace"].map((subject) => ({
        subject,
        name: subject,
        email: `${subject}@example.com`,
        permissions: ["weather:read", "orders:read"],
      })),
    });

    async function signInAs(login: string, client_name = "Claude Code"): Promise<SignedIn> {
      const client = await register(testServer.baseUrl, { client_name });
      return {
        client,
        tokens: await signInForTokens(testServer.baseUrl, client, { login, parameters: { scope: ALL } }),
      };
    }
    async function renew({ client, tokens }: SignedIn): Promise<SignedIn> {
      // More than half of the provider's token is over.
      testServer.clock.ahead += 2_100;
      const { status, body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(status, 200);
      return { client, tokens: body };
    }
    const permit = (login: string, permissions: string) =>
      testServer.identityProvider.changeUser(login, { permissions: permissions.split(" ") });
    const whoami = async ({ tokens }: SignedIn) =>
      (await callTool(testServer.url, tokens.access_token, "whoami")).body.result.structuredContent;
    const page = (login: string) => openConnections(testServer.baseUrl, { login });
    const said = (text: string) => [...text.matchAll(SAID)].map(([, scopes]) => scopes?.trim());
    const logged = (subject: string) =>
      testServer.log
        .filter((line) => line.subject === subject && /^scopes_/.test(String(line.reason)))
        .map(({ reason, scopes }) => [reason, scopes]);

    test("is said at /connections and by whoami, with whom to ask; the token's scope leaves it out", async () => {
      const session = await signInAs("carol");
      assert.equal(session.tokens.scope, "weather:read orders:read", "RFC 6749 §5.1");
      const { notGiven, advice } = await whoami(session);
      assert.deepEqual(notGiven, ["orders:write"]);
      assert.match(advice, /approved orders:write.*did not give.*administrator.*sign in again/);
      assert.deepEqual(said(textOf((await page("carol")).body)), ["Cancel your orders"]);
      assert.deepEqual(logged("carol"), [["scopes_not_given", ["orders:write"]]]);
    });

    test("is said after a renewal that took one away, and no more after one that gave it back, when it works again", async () => {
      permit("dave", ALL);
      const before = await signInAs("dave");
      assert.equal((await whoami(before)).notGiven, undefined);
      assert.deepEqual(said(textOf((await page("dave")).body)), []);

      permit("dave", "orders:read orders:write");
      const less = await renew(before);
      assert.equal(less.tokens.scope, "orders:read orders:write");
      assert.deepEqual((await whoami(less)).notGiven, ["weather:read"]);
      assert.deepEqual(said(textOf((await page("dave")).body)), ["Read the current weather"]);

      permit("dave", ALL);
      const again = await renew(less);
      assert.equal(again.tokens.scope, ALL);
      assert.equal((await whoami(again)).notGiven, undefined);
      assert.equal(
        (await callTool(testServer.url, again.tokens.access_token, "current_weather")).status,
        200,
      );
      assert.deepEqual(said(textOf((await page("dave")).body)), []);
      assert.deepEqual(logged("dave"), [
        ["scopes_not_given", ["weather:read"]],
        ["scopes_given_later", ["weather:read"]],
      ]);
    });

    const when = refreshAdds ? "the next renewal" : "a new sign-in";
    test(`comes with ${when} when the provider gives it at last; what the person refused never comes`, async () => {
      const client = await register(testServer.baseUrl);
      const untick = await signIn(newBrowser(), authorizeUrl(testServer.baseUrl, client, { scope: ALL }), {
        login: "erin",
        approve: true,
        untick: ["orders:read"],
      });
      const { body } = await redeem(testServer.baseUrl, client, untick.searchParams.get("code"));
      const session = { client, tokens: body };
      assert.deepEqual((await whoami(session)).notGiven, ["orders:write"]);
      assert.deepEqual(said(textOf((await page("erin")).body)), ["Cancel your orders"]);
      permit("erin", ALL);
      const renewed = await renew(session);
      assert.equal(renewed.tokens.scope, refreshAdds ? "weather:read orders:write" : "weather:read");
      assert.deepEqual((await whoami(renewed)).notGiven, refreshAdds ? undefined : ["orders:write"]);
      assert.equal((await whoami(await signInAs("erin"))).notGiven, undefined);
    });

    test("of one of two sign-ins, or of one of two applications, is said there and not of all", async () => {
      await signInAs("frank");
      permit("frank", ALL);
      await signInAs("frank");
      const both = entriesOn(await page("frank"));
      assert.equal(both.length, 1);
      assert.deepEqual(said(both[0]?.text ?? ""), ["Cancel your orders"], "in the list of sign-ins");
      permit("frank", "orders:read orders:write");
      await signInAs("frank", "Cursor");
      const entries = entriesOn(await page("frank"));
      const cursor = entries.find((entry) => entry.name === "Cursor");
      assert.deepEqual(said(cursor?.text ?? ""), ["Read the current weather"]);
    });

    test("is not known of a grant of an earlier version, of which nothing is said", async () => {
      const session = await signInAs("grace");
      const { allowed, ...earlier } =
        (await testServer.grantOf(session.tokens.access_token)) ?? assert.fail();
      assert.deepEqual(allowed, ALL.split(" "));
      const grants = encryptedStore({
        records: testServer.records,
        sealer: createSealer([SECRET_KEY]),
        log: pino({ level: "silent" }),
        kind: "grant",
        ...grantFormat(storedUsers(testServer.config.identityProviders)),
      });
      await grants.put(earlier.id, earlier, 3_600);
      assert.equal((await whoami(session)).notGiven, undefined);
      assert.deepEqual(said(textOf((await page("grace")).body)), []);
      permit("grace", ALL);
      assert.equal((await renew(session)).tokens.scope, "weather:read orders:read", "nor is it given more");
    });
  });

interface SignedIn {
  client: Awaited<ReturnType<typeof register>>;
  tokens: Tokens;
}
