/** Grants of every origin: how they are stored, whom they belong to, and what can be renewed and revoked at the provider. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import { createEndings } from "../../src/grants/endings.ts";
import { addTokens, type Grant, mintTokens } from "../../src/grants/grant.ts";
import { createGrantIndex } from "../../src/grants/grant-index.ts";
import { createGrants } from "../../src/grants/grants.ts";
import { createLastUse } from "../../src/grants/last-use.ts";
import type { Lifetimes } from "../../src/grants/lifetimes.ts";
import type { TokenHash } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { createUpstreamRefresh } from "../../src/grants/upstream-renewal.ts";
import { createUpstreamRevocations } from "../../src/grants/upstream-revocations.ts";
import type { IdentityProvider } from "../../src/identity/identity-provider.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { upstreamAccessToken } from "../../src/resource/upstream-access-token.ts";
import { createShutdown } from "../../src/runtime/shutdown.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { eventually } from "../support/eventually.ts";
import { Grant as GrantOf010 } from "../support/release-0.1.0.ts";
import { SECRET_KEY } from "../support/test-server.ts";

const NOW = 1_800_000_000;
const FIRST = "https://first.example";
const OTHER = "https://other.example";
const users = storedUsers([{ issuer: FIRST }]);
const format = grantFormat(users);
const runtime = { now: () => NOW, randomBytes, log: pino({ level: "silent" }) };

const version1 = {
  version: 1,
  id: "of-version-1-000000001",
  clientId: "client",
  clientName: "Claude Code",
  subject: "alice",
  resource: "https://mcp.example/mcp",
  scopes: ["orders:read"],
  allowed: ["orders:read", "orders:write"],
  claims: { sub: "alice", sid: "laptop", groups: ["staff"] },
  renewable: ["groups"],
  createdAt: NOW - 10,
  expiresAt: NOW + 86_400,
  familyKey: "key",
  code: {
    hash: "code" as TokenHash,
    redirectUri: "http://127.0.0.1/callback",
    codeChallenge: "challenge",
    expiresAt: NOW + 50,
    redeemed: true,
  },
  accessTokens: [{ hash: "access", scopes: ["orders:read"], expiresAt: NOW + 600, issuedAt: NOW }],
  refreshToken: "refresh",
  replaced: [],
  upstream: {
    accessToken: "theirs",
    refreshToken: "spendable",
    obtainedAt: NOW - 4_000,
    expiresAt: NOW - 400,
  },
};
const signedIn = format.schema.parse(version1);
const { upstream: _, ...withoutSignIn } = signedIn;
const machine: Grant = {
  ...withoutSignIn,
  id: "of-a-machine-000000001",
  principal: { kind: "client", clientId: "nightly" },
  client: { id: "nightly" },
  origin: { kind: "client_credentials", credential: "secret:x" },
};

function userOf(issuer: string, id: string): Grant {
  const principal = { kind: "user", issuer, subject: "alice", claims: { sid: "laptop" } } as const;
  return { ...signedIn, id, principal };
}

describe("the stored form", () => {
  test("when and how the user signed in is kept; 0.1.0 reads the grant, and drops that when it writes", () => {
    const grant: Grant = { ...signedIn, authTime: NOW - 60, acr: "urn:demo:second-factor" };
    const stored = format.write?.(grant);
    assert.deepEqual(format.schema.parse(stored), grant);
    const written = GrantOf010.parse(stored);
    assert.ok(!("authTime" in written) && !("acr" in written));
    const { authTime, acr } = format.schema.parse(written);
    assert.deepEqual([authTime, acr], [undefined, undefined], "unknown, which is not enough");
  });

  test("is version 1 where version 1 can express the grant, without loss", () => {
    assert.deepEqual(format.write?.(signedIn), { ...version1, issuer: FIRST });
    assert.deepEqual(GrantOf010.parse(format.write?.(signedIn)), version1);
    const { clientName: _name, allowed: _allowed, renewable: _renewable, ...least } = version1;
    assert.deepEqual(format.write?.(format.schema.parse(least)), {
      ...least,
      renewable: [],
      issuer: FIRST,
    });
  });

  const NOT_OF_VERSION_1: Array<[what: string, grant: Grant]> = [
    ["a user of another provider", userOf(OTHER, "of-another-0000000001")],
    ["a client that acts for itself", machine],
    [
      "a workload",
      {
        ...machine,
        principal: { kind: "workload", issuer: OTHER, subject: "batch:nightly", claims: {} },
        origin: { kind: "jwt_bearer", profile: "workload", issuer: OTHER },
      },
    ],
    [
      "a user whose company vouches for them",
      { ...withoutSignIn, origin: { kind: "jwt_bearer", profile: "id-jag", issuer: FIRST } },
    ],
    ["a user without tokens of the provider", withoutSignIn],
  ];
  for (const [what, grant] of NOT_OF_VERSION_1)
    test(`of ${what} is version 2, which 0.1.0 refuses to read`, () => {
      const stored = JSON.parse(JSON.stringify(format.write?.(grant)));
      assert.equal(stored.version, 2);
      assert.deepEqual(format.schema.parse(stored), grant);
      assert.equal(GrantOf010.safeParse(stored).success, false);
    });
});

/** A replica on a store of its own, with a provider that notes what it is asked. */
function replica({
  records = memoryStore(),
  users = storedUsers([{ issuer: FIRST }]),
  timeoutSeconds = 5,
  providerMs = 0,
} = {}) {
  const asked: string[] = [];
  const storing = { records, sealer: createSealer([SECRET_KEY]), log: runtime.log };
  const store = encryptedStore({ ...storing, kind: "grant", ...grantFormat(users) });
  const identityProvider = {
    refresh: async () => {
      asked.push("refresh");
      await delay(providerMs);
      return { tokens: { accessToken: "new", obtainedAt: NOW }, scopes: undefined, claims: { groups: [] } };
    },
    revoke: async () => void asked.push("revoke"),
  } as Partial<IdentityProvider> as IdentityProvider;
  const identityProviders = { ofIssuer: () => identityProvider } as never;
  const revocations = createUpstreamRevocations({ identityProviders, log: runtime.log });
  const grants = createGrants({
    ...runtime,
    store,
    records,
    indexes: records.indexes,
    users,
    lastUse: createLastUse({ ...runtime, records, grants: store }),
    lifetimes: { grantSeconds: 86_400, grantIdleSeconds: 3_600, authorizationCodeSeconds: 60 } as never,
    limits: { perUser: 100, perUserAndClient: 100 },
    revocations,
    audit: () => {},
  });
  const index = createGrantIndex({
    store,
    indexes: records.indexes,
    users,
    codeSeconds: 60,
    now: runtime.now,
  });
  const upstreamRefresh = createUpstreamRefresh({
    ...runtime,
    grants,
    identityProviders,
    revocations,
    records,
    keepClaims: (claims) => ({ ...claims }),
    catalogueOf: () => scopeCatalogue({}, []),
    shutdown: createShutdown(),
    timeoutSeconds,
  });
  return {
    asked,
    records,
    grants,
    upstreamRefresh,
    async keep(grant: Grant) {
      await index.add(grant, 3_600);
      await store.put(grant.id, grant, 60);
    },
  };
}

const ids = (found: readonly Grant[]) => found.map(({ id }) => id);

describe("a grant without a sign-in at the identity provider", () => {
  test("is not renewed upstream, and has no upstream token", async () => {
    const { asked, grants, upstreamRefresh, keep, records } = replica();
    await keep(machine);
    assert.deepEqual(await upstreamRefresh.ensureFreshUntil(machine, NOW + 3_600), machine);
    await assert.rejects(upstreamAccessToken(machine.id, { ...runtime, grants, upstreamRefresh }), {
      code: "unauthorized_client",
      message: /acts without one/,
    });
    assert.deepEqual(asked, []);
    await records.close();
  });

  test("is ended without a request to the provider; a user's is revoked at the provider", async () => {
    const { asked, grants, keep, records } = replica();
    for (const grant of [machine, signedIn]) await keep(grant);
    await (await grants.end(machine.id, "revoked_by_client"))?.atProvider;
    assert.deepEqual([await grants.find(machine.id), asked], [undefined, []]);
    await (await grants.end(signedIn.id, "revoked_by_client"))?.atProvider;
    assert.deepEqual(asked, ["revoke"]);
    await records.close();
  });

  test("lives as long as a session, not as long as a code", async () => {
    const { grants, keep, records } = replica();
    await keep(machine);
    await grants.update(machine.id, (grant) => ({ ...(grant && { write: grant }), result: undefined }));
    assert.ok(((await records.secondsLeft(`grant:${machine.id}`)) ?? 0) > 3_500);
    await records.close();
  });

  test("is in its client's index and in no user's", async () => {
    const { grants, keep, records } = replica();
    for (const grant of [machine, signedIn]) await keep(grant);
    const held: Grant[] = [];
    for await (const portion of grants.ofClient("nightly")) held.push(...portion);
    assert.deepEqual(ids(held), [machine.id]);
    assert.deepEqual(await grants.ofUser({ issuer: FIRST, subject: "nightly" }), []);
    await records.close();
  });

  test("has tokens that expire by themselves, or end with it", () => {
    const minted = mintTokens(machine, false, randomBytes);
    const expiresAt = (accessTokenSeconds: number) => {
      const lifetimes = { accessTokenSeconds } as Lifetimes;
      return addTokens(machine, minted, { scopes: [], permitted: [] }, lifetimes, NOW).issued.expiresAt;
    };
    assert.deepEqual([expiresAt(600), expiresAt(1_000_000)], [NOW + 600, machine.expiresAt]);
  });
});

test("a renewed grant keeps its principal and takes the provider's new claims", async () => {
  const { asked, upstreamRefresh, keep, records } = replica();
  await keep(signedIn);
  const renewed = await upstreamRefresh.ensureFreshUntil(signedIn, NOW + 3_600);
  assert.deepEqual(asked, ["refresh"]);
  assert.equal(renewed.upstream?.accessToken, "new");
  assert.ok(renewed.principal.kind === "user");
  assert.deepEqual([renewed.principal.issuer, renewed.principal.subject], [FIRST, "alice"]);
  assert.deepEqual(renewed.principal.claims.groups, []);
  await records.close();
});

describe("a change that is stored with a renewal", () => {
  const rotate = (grant: Grant | undefined) => ({
    ...(grant && { write: { ...grant, refreshToken: "rotated" as TokenHash } }),
    result: "rotated" as const,
  });

  test("is told to whoever asked, also if it was decided just in time and the store is slow", async () => {
    const records = memoryStore();
    const { replace } = records;
    let isSlow = false;
    records.replace = async (...change) => {
      const made = await replace(...change);
      if (isSlow && change[0].startsWith("grant:")) await delay(1_300);
      return made;
    };
    const { grants, upstreamRefresh, keep } = replica({ records, timeoutSeconds: 1 });
    await keep(signedIn);
    isSlow = true;
    assert.equal(await upstreamRefresh.updateFresh(signedIn, NOW + 3_600, rotate), "rotated");
    const stored = await grants.find(signedIn.id);
    assert.deepEqual([stored?.refreshToken, stored?.upstream?.accessToken], ["rotated", "new"]);
    await records.close();
  });

  test("is not made once whoever asked has been told to come back; the provider's tokens are stored", async () => {
    const { grants, upstreamRefresh, keep, records } = replica({ timeoutSeconds: 0.1, providerMs: 300 });
    await keep(signedIn);
    await assert.rejects(upstreamRefresh.updateFresh(signedIn, NOW + 3_600, rotate), {
      reason: "upstream_refresh_slow",
    });
    const stored = await eventually("they are stored", async () => {
      const found = await grants.find(signedIn.id);
      return found?.upstream?.accessToken === "new" && found;
    });
    assert.equal(stored.refreshToken, "refresh");
    await records.close();
  });
});

describe("when the order of the identity providers is changed", () => {
  const turned = storedUsers([{ issuer: OTHER }, { issuer: FIRST }]);
  const writtenBefore = JSON.parse(JSON.stringify(format.write?.(userOf(FIRST, "of-the-first-000000001"))));

  test("users keep their provider, and none becomes a user of another one", () => {
    const { principal } = grantFormat(turned).schema.parse(writtenBefore);
    assert.ok(principal.kind === "user");
    assert.equal(principal.issuer, FIRST);
    assert.equal(users.read({ subject: "alice", issuer: "https://former-name.example" }).issuer, FIRST);
  });

  test("a list does not show grants of another provider's user with the same index name", async () => {
    const { grants, keep, records } = replica();
    await keep(userOf(FIRST, "of-the-first-000000001"));
    const after = replica({ records, users: turned });
    assert.deepEqual(await after.grants.ofUser({ issuer: OTHER, subject: "alice" }), []);
    assert.deepEqual(await after.grants.ofSession({ issuer: OTHER, sid: "laptop" }), []);
    assert.ok(await grants.find("of-the-first-000000001"), "and it is left alone");
    await records.close();
  });
});

describe("two users with one sub, of two identity providers", () => {
  const [ours, theirs] = [userOf(FIRST, "of-the-first-000000001"), userOf(OTHER, "of-another-0000000001")];

  test("have separate lists and login sessions", async () => {
    const { grants, keep, records } = replica();
    for (const grant of [ours, theirs]) await keep(grant);
    assert.deepEqual(ids(await grants.ofUser({ issuer: FIRST, subject: "alice" })), [ours.id]);
    assert.deepEqual(ids(await grants.ofUser({ issuer: OTHER, subject: "alice" })), [theirs.id]);
    assert.deepEqual(ids(await grants.ofSession({ issuer: FIRST, sid: "laptop" })), [ours.id]);
    assert.deepEqual(ids(await grants.ofSession({ issuer: OTHER, sid: "laptop" })), [theirs.id]);
    await records.close();
  });

  test("a sign-out of one does not stop a sign-in of the other", async () => {
    const records = memoryStore();
    const endings = createEndings({ ...runtime, records, users, signInSeconds: 600 });
    const begun = await endings.latest();
    await endings.markSignOut({ issuer: OTHER, jti: "j", subject: "alice", sid: "laptop" });
    for (const sid of [{}, { sid: "laptop" }]) {
      assert.equal(await endings.since(begun, { issuer: FIRST, subject: "alice", ...sid }), undefined);
      const reason = await endings.since(begun, { issuer: OTHER, subject: "alice", ...sid });
      assert.equal(reason, "backchannel_logout");
    }
    await records.close();
  });
});
