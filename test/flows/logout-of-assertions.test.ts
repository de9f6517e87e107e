/** An issuer whose assertions name people says that one of them signed out (OpenID Connect Back-Channel Logout 1.0). */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { reasonOf } from "../attacks/support.ts";
import { callTool, postForm } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { newKey, startTokenIssuer, type TokenIssuer } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-an-application-0123456789";
const EVENT = { "http://schemas.openid.net/event/backchannel-logout": {} };
const company = await startTokenIssuer({ after });
const byAddress = await startTokenIssuer({ after });
const platform = await startTokenIssuer({ after });

describe("a logout token of an issuer of assertions", () => {
  const testServer = useTestServer({
    environment: {
      CLIENTS: JSON.stringify([
        {
          client_id: "app",
          client_secret: SECRET,
          grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        },
      ]),
    },
    adjust: (config) => {
      const common = { algorithms: ASYMMETRIC_ALGORITHMS, timeoutSeconds: 10 };
      const people = { ...common, accept: "id-jag", publicClients: false } as const;
      return {
        ...config,
        issuers: [
          { ...people, issuer: company.issuer, subject: "sub" },
          { ...people, issuer: byAddress.issuer, subject: "email", logoutAudience: "app-of-theirs" },
          { ...common, accept: "workload", issuer: platform.issuer, rules: [] },
        ],
      };
    },
  });

  async function tokenOf(sub: string, claims: Record<string, unknown> = {}, issuer = company) {
    const { body } = await postForm(`${testServer.baseUrl}/token`, {
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      assertion: await issuer.sign(
        { sub, client_id: "app", aud: testServer.baseUrl, ...claims },
        { typ: "oauth-id-jag+jwt" },
      ),
      client_id: "app",
      client_secret: SECRET,
    });
    assert.equal(typeof body.access_token, "string", JSON.stringify(body));
    return body.access_token as string;
  }
  async function logOut(
    claims: Record<string, unknown>,
    { by = company, header }: { by?: TokenIssuer; header?: Parameters<TokenIssuer["sign"]>[1] } = {},
  ) {
    const token = await by.sign(
      { aud: testServer.baseUrl, events: EVENT, ...claims },
      { typ: "logout+jwt", ...header },
    );
    return await postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token: token });
  }
  const isAlive = async (token: string) => (await callTool(testServer.url, token, "whoami")).status === 200;

  test("ends what its assertions gave the person, and nobody else", async () => {
    const [alice, bob] = [await tokenOf("alice"), await tokenOf("bob")];
    assert.equal((await logOut({ sub: "alice" })).status, 200);
    assert.deepEqual([await isAlive(alice), await isAlive(bob)], [false, true]);
  });

  test("ends one login session, where the assertion named it", async () => {
    const [laptop, phone] = [
      await tokenOf("carol", { sid: "laptop" }),
      await tokenOf("carol", { sid: "phone" }),
    ];
    assert.equal((await logOut({ sid: "laptop" })).status, 200);
    assert.deepEqual([await isAlive(laptop), await isAlive(phone)], [false, true]);
  });

  test("reaches who is known here by an e-mail address, by the issuer's own name for them", async () => {
    const address = { email: "dave@example.com", email_verified: true };
    const dave = await tokenOf("u-4", address, byAddress);
    const to = { aud: "app-of-theirs" };
    assert.equal((await logOut({ sub: "u-5", ...to }, { by: byAddress })).status, 200);
    assert.equal(await isAlive(dave), true);
    assert.equal((await logOut({ sub: "u-4", ...to }, { by: byAddress })).status, 200);
    assert.equal(await isAlive(dave), false);
  });

  test("of one issuer ends nothing of another one's, and uses up none of its ids", async () => {
    const erin = await tokenOf("erin");
    const jti = "the-same";
    const theirs = await logOut({ sub: "erin", aud: "app-of-theirs", jti }, { by: byAddress });
    assert.equal(theirs.status, 200);
    assert.equal(await isAlive(erin), true);
    assert.equal((await logOut({ sub: "erin", jti })).status, 200);
    assert.equal(await isAlive(erin), false);
    assert.equal(await reasonOf(testServer, await logOut({ sub: "erin", jti })), "logout_token_replayed");
  });

  test("that is not genuine, fresh and for this server is refused", async () => {
    const frank = await tokenOf("frank");
    const now = Math.floor(Date.now() / 1000);
    const refused = [
      await logOut({ sub: "frank", aud: "https://other.example.com" }),
      // Where an audience is configured, this server's issuer is none.
      await logOut({ sub: "frank" }, { by: byAddress }),
      await logOut({ sub: "frank", events: {} }),
      await logOut({ sub: "frank", nonce: "n" }),
      await logOut({ sub: "frank", exp: undefined }),
      await logOut({ sub: "frank", iat: now - 3_600 }),
      await logOut({ sub: "frank", exp: now - 60 }),
      await logOut({ sub: "frank", iss: byAddress.issuer, aud: "app-of-theirs" }),
      await logOut({ sub: "frank" }, { by: platform }),
      await logOut({ sub: "frank" }, { header: { key: await newKey("ES256", "made-up") } }).then((answer) =>
        answer.status === 503 ? { ...answer, status: 400 } : answer,
      ),
    ];
    assert.deepEqual(
      refused.map(({ status }) => status),
      refused.map(() => 400),
    );
    assert.equal(await isAlive(frank), true);
  });
});
