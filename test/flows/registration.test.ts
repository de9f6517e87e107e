/** Registrations: who may make them, how they are managed, how long they live, how many there may be. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createClient } from "@keyv/redis";
import {
  authorizeUrl,
  newBrowser,
  postForm,
  postJson,
  redeem,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

const METADATA = { redirect_uris: ["https://client.example/cb"], token_endpoint_auth_method: "none" };

function manage(method: string, uri: unknown, token: unknown, body?: object) {
  return fetch(String(uri), {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
}

describe("a registration", () => {
  const testServer = useTestServer();

  test("is read, changed and removed with its own token (RFC 7592)", async () => {
    const client = await register(testServer.baseUrl, { client_name: "Before" });
    const { registration_client_uri: uri, registration_access_token: token } = client;
    assert.equal(uri, `${testServer.baseUrl}/register/${client.client_id}`);
    assert.equal(
      ((await (await manage("GET", uri, token)).json()) as { client_name: string }).client_name,
      "Before",
    );

    const changed = await manage("PUT", uri, token, { ...METADATA, client_name: "After" });
    assert.equal(changed.status, 200);
    assert.deepEqual(
      ((await changed.json()) as { redirect_uris: string[] }).redirect_uris,
      METADATA.redirect_uris,
    );
    for (const answer of [
      await manage("GET", uri, token),
      await manage("PUT", uri, token, { ...METADATA, client_name: "After" }),
    ]) {
      const said = (await answer.json()) as Record<string, unknown>;
      assert.equal(said.registration_access_token, token, "RFC 7592 §3 requires it");
      assert.equal(said.registration_client_uri, uri);
    }
    const old = await newBrowser().get(authorizeUrl(testServer.baseUrl, client));
    assert.match(old.body, /not one that this application registered/);
    assert.equal((await manage("PUT", uri, token, { redirect_uris: ["javascript:alert(1)"] })).status, 400);

    for (const wrong of ["", "x", (await register(testServer.baseUrl)).registration_access_token])
      for (const method of ["GET", "PUT", "DELETE"]) {
        const refused = await manage(method, uri, wrong, method === "PUT" ? METADATA : undefined);
        assert.equal(refused.status, 401);
        assert.match(refused.headers.get("www-authenticate") ?? "", /invalid_token/);
      }

    assert.equal((await manage("DELETE", uri, token)).status, 204);
    assert.equal((await manage("GET", uri, token)).status, 401);
    assert.equal((await redeem(testServer.baseUrl, client, "x")).status, 401);
  });

  test("gains a secret when it becomes confidential, and loses it when it becomes public", async () => {
    const client = await register(testServer.baseUrl);
    const { registration_client_uri: uri, registration_access_token: token } = client;
    const put = async (method: string) =>
      (await (
        await manage("PUT", uri, token, { ...METADATA, token_endpoint_auth_method: method })
      ).json()) as {
        client_secret?: string;
      };
    assert.equal(typeof (await put("client_secret_post")).client_secret, "string");
    assert.equal((await put("client_secret_post")).client_secret, undefined, "the secret it has stays");
    assert.equal((await put("none")).client_secret, undefined);
  });

  test("names no hash and no internal field", async () => {
    const client = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
    assert.deepEqual(
      Object.keys(client).filter((field) => /hash|provenance|usedAt/i.test(field)),
      [],
    );
  });

  test("a web application needs https, a native one does not", async () => {
    const web = await postJson(`${testServer.baseUrl}/register`, {
      redirect_uris: ["http://localhost:1/cb"],
      application_type: "web",
    });
    assert.equal(web.body.error, "invalid_redirect_uri");
    assert.equal(
      (await register(testServer.baseUrl, { application_type: "native" })).application_type,
      "native",
    );
  });

  test("the upstream's own client id, sent by mistake, gets a page that says so", async () => {
    const page = await newBrowser().get(authorizeUrl(testServer.baseUrl, { client_id: "proxy" }));
    assert.match(page.body, /Leave the client id empty/);
  });
});

describe("registration policies", () => {
  test("by initial access token", async () => {
    const testServer = await startTestServer({
      environment: { REGISTRATION: "token", REGISTRATION_TOKENS: "first-initial-token,second-initial-token" },
    });
    try {
      const attempt = (token?: string) =>
        postJson(
          `${testServer.baseUrl}/register`,
          METADATA,
          token === undefined ? {} : { authorization: `Bearer ${token}` },
        );
      assert.equal((await attempt()).status, 401);
      assert.equal((await attempt("third-initial-token")).status, 401);
      assert.equal((await attempt("second-initial-token")).status, 201);
    } finally {
      await testServer.close();
    }
  });

  test("at most so many an hour from one address, wherever they claim to come from", async () => {
    const testServer = await startTestServer({ environment: { REGISTRATIONS_PER_ADDRESS_PER_HOUR: "3" } });
    try {
      const statuses = [];
      for (let i = 0; i < 5; i++) {
        const answer = await postJson(`${testServer.baseUrl}/register`, METADATA, {
          "x-forwarded-for": `203.0.113.${i}`,
        });
        statuses.push(answer.status);
        if (answer.status === 429) assert.ok(Number(answer.headers.get("retry-after")) > 0);
      }
      assert.deepEqual(statuses, [201, 201, 201, 429, 429]);
    } finally {
      await testServer.close();
    }
  });

  test("at most so many an hour altogether, on all replicas", { skip: redis.skip }, async () => {
    const testServer = await startTestServer({
      ...(redis.url !== undefined && { redisUrl: redis.url }),
      environment: { REGISTRATIONS_PER_HOUR: "3", TRUSTED_PROXIES: "127.0.0.0/8" },
    });
    try {
      const urls = [testServer.baseUrl, await testServer.replica()];
      const statuses = [];
      for (let i = 0; i < 5; i++) {
        const from = { "x-forwarded-for": `203.0.113.${i}` };
        statuses.push((await postJson(`${urls[i % 2]}/register`, METADATA, from)).status);
      }
      assert.deepEqual(statuses, [201, 201, 201, 429, 429]);
    } finally {
      await testServer.close();
    }
  });

  test("behind a trusted proxy the address is the one it names", async () => {
    const testServer = await startTestServer({
      environment: { REGISTRATIONS_PER_ADDRESS_PER_HOUR: "1", TRUSTED_PROXIES: "127.0.0.0/8" },
    });
    try {
      const from = (address: string) =>
        postJson(`${testServer.baseUrl}/register`, METADATA, { "x-forwarded-for": address });
      assert.equal((await from("203.0.113.1")).status, 201);
      assert.equal((await from("203.0.113.2")).status, 201);
      assert.equal((await from("203.0.113.1")).status, 429);
    } finally {
      await testServer.close();
    }
  });

  test("at most so many sign-ins an hour from one address, with a page that says when to come back", async () => {
    const testServer = await startTestServer({ environment: { SIGN_INS_PER_ADDRESS_PER_HOUR: "2" } });
    try {
      const client = await register(testServer.baseUrl);
      const browser = newBrowser();
      const statuses = [];
      for (let i = 0; i < 3; i++) {
        const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
        assert.equal(consent.status, 200, "the page itself costs nothing");
        statuses.push((await browser.submit(consent, {}, { button: "approve" })).status);
      }
      assert.deepEqual(statuses, [200, 200, 429]);
      const document = await browser.get(
        authorizeUrl(testServer.baseUrl, { client_id: "https://client.example/c.json" }),
      );
      assert.equal(document.status, 429, "no fetch for who is over the limit");
      const byPost = await postForm(`${testServer.baseUrl}/authorize`, {
        client_id: "https://client.example/c.json",
      });
      assert.equal(byPost.status, 429);
      assert.match(document.body, /Try again in \d+ seconds/);
    } finally {
      await testServer.close();
    }
  });

  test("redirect URIs from the operator's list only, at registration and at authorization", async () => {
    const testServer = await startTestServer({
      environment: { ALLOWED_REDIRECT_URIS: "http://127.0.0.1/*, https://*.example.com/oauth/*" },
    });
    try {
      const refused = await postJson(`${testServer.baseUrl}/register`, METADATA);
      assert.equal(refused.body.error, "invalid_redirect_uri");
      assert.match(refused.body.error_description, /operator/);
      await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    } finally {
      await testServer.close();
    }
  });

  test("a redirect URI that was registered before the list changed is judged by today's", {
    skip: redis.skip,
  }, async () => {
    const shared = (ALLOWED_REDIRECT_URIS?: string) =>
      startTestServer({
        ...(redis.url !== undefined && { redisUrl: redis.url }),
        environment: {
          REDIS_KEY_PREFIX: `policy-${process.pid}`,
          ...(ALLOWED_REDIRECT_URIS && { ALLOWED_REDIRECT_URIS }),
        },
      });
    const redirect_uri = "https://old.example/cb";
    const before = await shared();
    const client = await register(before.baseUrl, { redirect_uris: [redirect_uri] });
    const page = await newBrowser().get(authorizeUrl(before.baseUrl, client, { redirect_uri }));
    assert.match(page.body, /Allow access/);
    await before.close();
    const after = await shared("https://*.new.example/*");
    try {
      for (const parameters of [
        { redirect_uri },
        { redirect_uri: undefined },
        { redirect_uri, response_type: "token" },
      ]) {
        const refused = await newBrowser(redirect_uri).get(authorizeUrl(after.baseUrl, client, parameters));
        assert.deepEqual([refused.status, refused.redirectedTo], [400, undefined]);
      }
    } finally {
      await after.close();
    }
  });

  test("one that nobody uses is forgotten soon, one in use is not", { skip: redis.skip }, async () => {
    const testServer = await startTestServer(redis.url === undefined ? {} : { redisUrl: redis.url });
    const client = await createClient({ url: redis.url ?? "" }).connect();
    const keyOf = (id: string) =>
      `${testServer.config.store.kind === "redis" ? testServer.config.store.keyPrefix : ""}:client:${id}`;
    const secondsLeft = (id: string) => client.ttl(keyOf(id));
    try {
      const used = await register(testServer.baseUrl);
      const { refresh_token } = await signInForTokens(testServer.baseUrl, used);
      assert.ok((await secondsLeft(used.client_id)) > 80 * 86_400);
      // Its time is nearly over when it is used again.
      await client.expire(keyOf(used.client_id), 1_000);
      testServer.clock.ahead += 90_000;
      assert.equal((await refresh(testServer.baseUrl, used, refresh_token)).status, 200);
      assert.ok((await secondsLeft(used.client_id)) > 80 * 86_400, "every use renews it");
      const unused = await secondsLeft((await register(testServer.baseUrl)).client_id);
      assert.ok(unused > 0 && unused <= 43_200);
    } finally {
      await client.close();
      await testServer.close();
    }
  });
});
