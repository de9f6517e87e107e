/** How a client sends its secret (RFC 6749 §2.3.1): as it chose, and either way where nobody chose. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  authorize,
  postForm,
  REDIRECT_URI,
  type Registered,
  register,
  VERIFIER,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const SECRET = "the-secret-of-a-client-in-the-configuration-0123456789";
const WAYS = ["client_secret_basic", "client_secret_post"] as const;
type Way = (typeof WAYS)[number];

function configured(clientId: string, method?: Way) {
  return {
    client_id: clientId,
    client_secret: SECRET,
    redirect_uris: [REDIRECT_URI],
    ...(method !== undefined && { token_endpoint_auth_method: method }),
  };
}

describe("a client secret", () => {
  const testServer = useTestServer(() => {
    const clients = [configured("free"), ...WAYS.map((way) => configured(way, way))];
    return { environment: { CLIENTS: JSON.stringify(clients) } };
  });

  /** Everything from /authorize to a refreshed token, with the secret sent in this way. */
  async function session(client: Registered, secret: string, way: Way): Promise<number[]> {
    const send = (fields: Record<string, string>) =>
      way === "client_secret_post"
        ? postForm(`${testServer.baseUrl}/token`, {
            ...fields,
            client_id: client.client_id,
            client_secret: secret,
          })
        : postForm(`${testServer.baseUrl}/token`, fields, {
            authorization: `Basic ${Buffer.from(`${client.client_id}:${secret}`).toString("base64")}`,
          });
    const code = (await authorize(testServer.baseUrl, client)).get("code") ?? "";
    const issued = await send({
      grant_type: "authorization_code",
      code,
      code_verifier: VERIFIER,
      redirect_uri: REDIRECT_URI,
    });
    const refreshed = await send({
      grant_type: "refresh_token",
      refresh_token: issued.body.refresh_token ?? "x",
    });
    return [issued.status, refreshed.status];
  }

  const inConfiguration = (clientId: string): Registered => ({
    client_id: clientId,
    redirect_uris: [REDIRECT_URI],
  });

  for (const way of WAYS) {
    test(`of a client in CLIENTS is taken by ${way} where the operator chose nothing`, async () => {
      assert.deepEqual(await session(inConfiguration("free"), SECRET, way), [200, 200]);
      assert.deepEqual(await session(inConfiguration("free"), `${SECRET}x`, way), [401, 401]);
    });

    test(`of a registration that chose nothing is taken by ${way}; it is told of the default (RFC 7591 §3.2.1)`, async () => {
      const client = await register(testServer.baseUrl, { token_endpoint_auth_method: undefined });
      assert.equal(client.token_endpoint_auth_method, "client_secret_basic");
      assert.equal("basicChosen" in client, false);
      assert.deepEqual(await session(client, client.client_secret ?? "", way), [200, 200]);
      assert.deepEqual(await session(client, "wrong", way), [401, 401]);
    });

    test(`is held to ${way} where that was chosen`, async () => {
      const other = way === "client_secret_post" ? "client_secret_basic" : "client_secret_post";
      const registered = await register(testServer.baseUrl, { token_endpoint_auth_method: way });
      const chosen: Array<[Registered, string]> = [
        [registered, registered.client_secret ?? ""],
        [inConfiguration(way), SECRET],
      ];
      for (const [client, secret] of chosen) {
        assert.deepEqual(await session(client, secret, way), [200, 200]);
        assert.deepEqual(await session(client, secret, other), [401, 401]);
      }
    });
  }

  test("is held to what a changed registration chooses, and no longer to what it chose before (RFC 7592 §2.2)", async () => {
    const client = await register(testServer.baseUrl, { token_endpoint_auth_method: undefined });
    const change = async (token_endpoint_auth_method?: Way) => {
      const answer = await fetch(String(client.registration_client_uri), {
        method: "PUT",
        headers: {
          authorization: `Bearer ${client.registration_access_token}`,
          "content-type": "application/json",
        },
        body: JSON.stringify({ redirect_uris: [REDIRECT_URI], token_endpoint_auth_method }),
      });
      assert.equal(answer.status, 200);
    };
    const posted = () => session(client, client.client_secret ?? "", "client_secret_post");
    assert.deepEqual(await posted(), [200, 200]);
    await change("client_secret_basic");
    assert.deepEqual(await posted(), [401, 401]);
    await change();
    assert.deepEqual(await posted(), [200, 200]);
  });
});
