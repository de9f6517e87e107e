/**
 * The upgrade from release 0.1.0: all that it had stored still works, what is written afterwards its replicas can read, and
 * what they cannot read they leave alone.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { z } from "zod";
import { findForms } from "../../dev/client/html.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { hashToken, mintToken, readToken } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { Store } from "../../src/storage/store.ts";
import release from "../fixtures/release-0.1.0.json" with { type: "json" };
import { entriesOn, textOf } from "../support/connections.ts";
import {
  authorizeUrl,
  callTool,
  postForm,
  REDIRECT_URI,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis } from "../support/redis-admin.ts";
import * as old from "../support/release-0.1.0.ts";
import { type TestServer, useTestServer } from "../support/test-server.ts";

const KEY_PREFIX = "upgraded";
const log = pino({ level: "silent" });

type Holder = (typeof release.holders)[number];

/** What every record of a kind says, decrypted. */
async function recordsOf({ records, config }: TestServer, kind: string): Promise<unknown[]> {
  const sealer = createSealer(config.secretKeys);
  const found: unknown[] = [];
  for await (const key of records.keys(`${kind}:`)) {
    const record = await records.get(key);
    // A login that was consumed leaves a mark for a minute.
    const said = record === undefined ? null : JSON.parse(sealer.open(record, key) ?? "null");
    if (said !== null) found.push(said);
  }
  return found;
}

/** Every record as release 0.1.0 reads it. @throws what it cannot read */
async function readByRelease(testServer: TestServer): Promise<number> {
  let count = 0;
  for (const [kind, schema] of Object.entries(old.schemas))
    for (const record of await recordsOf(testServer, kind)) {
      const read = (schema as z.ZodType).safeParse(record);
      assert.ok(
        read.success,
        `${kind}: ${JSON.stringify(record)} ${z.prettifyError(read.error ?? new z.ZodError([]))}`,
      );
      count++;
    }
  return count;
}

describe("what release 0.1.0 has stored", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    await load(redis.url);
    return {
      redisUrl: redis.url,
      scopes: release.scopes,
      environment: {
        BASE_URL: release.baseUrl,
        SECRET_KEY: release.secretKey,
        REDIS_KEY_PREFIX: KEY_PREFIX,
        CONSENT: "remember",
        CLIENTS: JSON.stringify(release.clients),
      },
    };
  });
  before(() => {
    testServer.clock.stepped = release.now - Math.floor(Date.now() / 1000);
  });
  after(() => redis.stop());

  async function load(url: string): Promise<void> {
    for (const [name, { type, value, ttlMs }] of Object.entries(release.records)) {
      const key = `${KEY_PREFIX}:${name}`;
      const values = [value].flat();
      if (type === "string") await tellRedis(url, "SET", key, ...values);
      if (type === "hash") await tellRedis(url, "HSET", key, ...values);
      if (type === "zset")
        for (let i = 0; i < values.length; i += 2)
          await tellRedis(url, "ZADD", key, values[i + 1] ?? "", values[i] ?? "");
      await tellRedis(url, "PEXPIRE", key, String(ttlMs));
    }
  }

  const asClient = ({ clientId }: Holder) => ({ client_id: clientId, redirect_uris: [REDIRECT_URI] });
  const secretOf = ({ clientSecret }: Holder) =>
    clientSecret === undefined ? {} : { client_secret: clientSecret };
  const whoIs = async (token: string) => {
    const { status, body } = await callTool(testServer.url, token, "whoami");
    return { status, said: body?.result?.structuredContent };
  };
  const open = (path: string, cookie: string) =>
    fetch(`${testServer.baseUrl}${path}`, {
      redirect: "manual",
      headers: { cookie, "sec-fetch-site": "none", "sec-fetch-mode": "navigate", accept: "text/html" },
    });
  const authorizePath = (clientId: string, scope?: string) =>
    authorizeUrl(release.baseUrl, { client_id: clientId }, { scope }).slice(release.baseUrl.length);

  for (const holder of release.holders)
    describe(holder.what, () => {
      test("its access token is good, and says who and through which client", async () => {
        const { status, said } = await whoIs(holder.accessToken);
        assert.equal(status, 200);
        assert.deepEqual([said.subject, said.clientId], [holder.user, holder.clientId]);
      });

      if (holder.replacedRefreshToken !== undefined)
        test("the replaced refresh token gets the same answer again", async () => {
          const token = holder.replacedRefreshToken ?? "";
          const { body } = await refresh(testServer.baseUrl, asClient(holder), token);
          assert.deepEqual(
            [body.access_token, body.refresh_token],
            [holder.accessToken, holder.refreshToken],
          );
        });

      test("its refresh token gets new tokens for the same scopes", async () => {
        const { refreshToken, scope } = holder;
        const client = asClient(holder);
        const { status, body } = await refresh(testServer.baseUrl, client, refreshToken, secretOf(holder));
        assert.deepEqual([status, body.scope], [200, scope]);
        assert.equal((await whoIs(body.access_token)).said.subject, holder.user);
        assert.equal((await whoIs(holder.accessToken)).status, 200);
      });

      if (holder.stolenRefreshToken !== undefined)
        test("a refresh token that was replaced before the grace is still known as stolen", async () => {
          const token = holder.stolenRefreshToken ?? "";
          const { body } = await refresh(testServer.baseUrl, asClient(holder), token);
          assert.equal(body.error, "invalid_grant");
          assert.equal((await whoIs(holder.accessToken)).status, 401);
        });
    });

  test("a code that was not redeemed yet is redeemed", async () => {
    const { clientId, code, verifier, user } = release.unredeemed;
    const { status, body } = await postForm(`${testServer.baseUrl}/token`, {
      grant_type: "authorization_code",
      client_id: clientId,
      redirect_uri: REDIRECT_URI,
      code_verifier: verifier,
      code,
    });
    assert.equal(status, 200);
    assert.equal((await whoIs(body.access_token)).said.subject, user);
  });

  test("a registration is managed with its token", async () => {
    const { clientId, token, name } = release.registration;
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${testServer.baseUrl}/register/${clientId}`, { headers });
    assert.equal(answer.status, 200);
    assert.equal(((await answer.json()) as { client_name: string }).client_name, name);
  });

  test("consent that was remembered is not asked for; consent that was withdrawn is", async () => {
    const { remembered, withdrawn } = release;
    const path = authorizePath(remembered.clientId, remembered.scope);
    const unasked = await open(path, remembered.cookie);
    assert.equal(unasked.status, 303);
    assert.ok(unasked.headers.get("location")?.startsWith(testServer.identityProvider.issuer));
    assert.equal((await open(path, "")).status, 200, "another browser is asked");
    assert.equal((await open(authorizePath(withdrawn.clientId), withdrawn.cookie)).status, 200);
  });

  test("a sign-in that is under way is finished", async () => {
    const { state, cookie } = release.waiting;
    const iss = testServer.identityProvider.issuer;
    const denied = new URLSearchParams({ state, error: "access_denied", iss });
    const answer = await open(`/auth/callback?${denied}`, cookie);
    const location = new URL(answer.headers.get("location") ?? "");
    assert.ok(location.href.startsWith(REDIRECT_URI));
    assert.equal(location.searchParams.get("error"), "access_denied");
  });

  test("a session at /connections lists what its user allowed, and ends all of it", async () => {
    const { cookie, user } = release.connections;
    const page = await open("/connections", cookie);
    const body = await page.text();
    assert.match(textOf(body), /Signed in as Alice Example/);
    const theirs = release.holders.filter((holder) => holder.user === user);
    const listed = entriesOn({ body, status: 200, headers: page.headers, url: new URL(page.url) });
    const ids = listed.flatMap(({ grantIds }) => grantIds);
    for (const { grantId, what } of theirs) assert.ok(ids.includes(grantId), what);
    const form = findForms(body).find(({ inputs }) => inputs.some(({ name }) => name === "all"));
    const ending = await fetch(`${testServer.baseUrl}/connections/end`, {
      method: "POST",
      redirect: "manual",
      headers: { cookie, origin: release.baseUrl, "sec-fetch-site": "same-origin" },
      body: new URLSearchParams(
        Object.fromEntries(form?.inputs.map(({ name, value }) => [name, value]) ?? []),
      ),
    });
    assert.equal(ending.status, 303);
    for (const { accessToken, what } of theirs) assert.equal((await whoIs(accessToken)).status, 401, what);
  });

  test("what is stored after all of this, release 0.1.0 can read", async () => {
    assert.ok((await readByRelease(testServer)) >= 8);
  });
});

describe("replicas of 0.1.0 beside a new one", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  /** As a replica of 0.1.0 has them. */
  let oldGrants: Store<old.Grant>;
  let newGrants: Store<Grant>;
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    return { redisUrl: redis.url, environment: { CONSENT: "remember" } };
  });
  before(() => {
    const { records, config } = testServer;
    const storing = { records, sealer: createSealer(config.secretKeys), log, kind: "grant" } as const;
    oldGrants = encryptedStore({ ...storing, schema: old.Grant });
    newGrants = encryptedStore({
      ...storing,
      ...grantFormat(storedUsers(config.identityProviders)),
    });
  });
  after(() => redis.stop());

  const idOf = (token: string) => readToken("access", token)?.grantId ?? "";
  const statusOf = async (token: string) => (await callTool(testServer.url, token, "whoami")).status;

  async function membersOf(index: string): Promise<string[]> {
    const ids: string[] = [];
    for await (const portion of testServer.records.indexes.members(index)) ids.push(...portion);
    return ids;
  }

  test("a sign-in at the new one is a grant of theirs, with the same indexes", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const id = idOf(tokens.access_token);
    const grant = await oldGrants.get(id);
    assert.deepEqual([grant?.version, grant?.subject, grant?.clientId], [1, "alice", client.client_id]);
    assert.equal(grant?.code.redirectUri, REDIRECT_URI);
    const indexes = [
      old.keys.ofUser("alice"),
      old.keys.ofClient(client.client_id),
      old.keys.ofSession(String(grant?.claims.sid)),
    ];
    for (const index of indexes) assert.ok((await membersOf(index)).includes(id), index);
    assert.ok((await readByRelease(testServer)) >= 2);
  });

  test("tokens that either rotated are good at the other, in turns", async () => {
    const client = await register(testServer.baseUrl);
    let tokens = await signInForTokens(testServer.baseUrl, client);
    const id = idOf(tokens.access_token);
    for (let round = 0; round < 3; round++) {
      const issued = mintToken("access", id, Buffer.alloc(32, round + 1));
      await oldGrants.update(id, (grant) => {
        assert.ok(grant !== undefined);
        const { expiresAt, scopes } = grant;
        const accessTokens = [{ hash: hashToken(issued), expiresAt, scopes }, ...grant.accessTokens];
        return { write: { ...grant, accessTokens }, ttlSeconds: 600, result: undefined };
      });
      assert.equal(await statusOf(issued), 200, "issued by 0.1.0");
      const { status, body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(status, 200);
      tokens = body;
      const hashes = (await oldGrants.get(id))?.accessTokens.map(({ hash }) => hash) ?? [];
      assert.ok(hashes.includes(hashToken(issued)) && hashes.includes(hashToken(tokens.access_token)));
    }
    assert.ok(await oldGrants.take(id));
    assert.equal(await statusOf(tokens.access_token), 401, "ended by 0.1.0");
  });

  test("what is ended at the new one, they find marked by the names that they look for", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client, { login: "bob" });
    const logout = new URLSearchParams({ token: tokens.refresh_token, client_id: client.client_id });
    await fetch(`${testServer.baseUrl}/revoke`, { method: "POST", body: logout });
    assert.equal(await oldGrants.get(idOf(tokens.access_token)), undefined);
    assert.ok(!(await membersOf(old.keys.ofUser("bob"))).includes(idOf(tokens.access_token)));
  });

  test("a grant that version 1 cannot express they refuse, and neither remove nor overwrite", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const known = await newGrants.get(idOf(tokens.access_token));
    assert.ok(known?.principal.kind === "user");
    const { upstream: _, ...machine } = known;
    const inexpressible: Grant[] = [
      {
        ...known,
        id: "another-provider-00001",
        principal: { ...known.principal, issuer: "https://b.example" },
      },
      {
        ...machine,
        id: "acts-for-itself-000001",
        principal: { kind: "client", clientId: client.client_id },
        client: { id: client.client_id },
        origin: { kind: "client_credentials", credential: "secret:x" },
      },
    ];
    for (const grant of inexpressible) {
      await newGrants.put(grant.id, grant, 600);
      const index = old.keys.ofClient(grant.client.id);
      await testServer.records.indexes.add([index], grant.id, { due: 600, latest: 600 });
      assert.equal(await oldGrants.get(grant.id), undefined, "a token of it is refused");
      assert.equal(await oldGrants.take(grant.id), undefined, "ending it ends nothing");
      await oldGrants.update(grant.id, (found) => {
        assert.equal(found, undefined);
        return { result: undefined };
      });
      // By this, and not by whether they can read it, they decide whether an index forgets it.
      assert.ok(((await oldGrants.secondsLeft(grant.id)) ?? 0) > 0);
      assert.deepEqual(await newGrants.get(grant.id), grant, "it is as it was");
    }
  });
});
