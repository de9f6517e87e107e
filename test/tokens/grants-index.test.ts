/** Whose grants there are: an index must not lose what only another replica can read. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { pino } from "pino";
import { loadConfig } from "../../src/config.ts";
import type { ValidatedRedirectUri } from "../../src/oauth/redirect-uri.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisRecords } from "../../src/storage/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { untilReady } from "../../src/storage/until-ready.ts";
import { systemClock } from "../../src/surroundings.ts";
import { Grant } from "../../src/tokens/grant.ts";
import { createGrants, type Grants } from "../../src/tokens/grants.ts";
import { createLastUse } from "../../src/tokens/last-use.ts";
import { redisForTests } from "../support/redis.ts";
import { SECRET_KEY } from "../support/stage.ts";

const redis = await redisForTests();
after(() => redis.stop());

describe("the index of grants", redis, () => {
  const log = pino({ level: "silent" });
  const {
    lifetimes,
    grantLimits: limits,
    store,
  } = loadConfig({
    BASE_URL: "http://localhost:3000",
    OIDC_ISSUER: "http://localhost:3001",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "secret",
    REDIS_URL: redis.url ?? "redis://localhost",
    REDIS_KEY_PREFIX: `test-${randomBytes(4).toString("hex")}`,
    SECRET_KEY,
  });
  assert.equal(store.kind, "redis");
  const records = redisRecords({ ...(store as Extract<typeof store, { kind: "redis" }>), log });
  after(() => records.close());

  function replica(secretKey: string): Grants {
    const store = encryptedStore({
      records,
      sealer: createSealer([secretKey]),
      log,
      kind: "grant",
      schema: Grant,
    });
    const surroundings = { now: systemClock, randomBytes, log };
    const lastUse = createLastUse({ ...surroundings, records, grants: store });
    return createGrants({
      ...surroundings,
      store,
      records,
      indexes: records.indexes,
      lastUse,
      lifetimes,
      limits,
      revocations: { tell: async () => {} },
      audit: () => {},
    });
  }

  test("a replica that cannot open a grant leaves it in its user's index", async () => {
    await untilReady(records);
    const [theirs, other] = [replica(SECRET_KEY), replica("another-secret-key-of-more-than-32-bytes")];
    await theirs.open(
      {
        clientId: "client",
        redirectUri: "http://127.0.0.1/callback" as ValidatedRedirectUri,
        codeChallenge: "x",
        resource: "http://localhost:3000/mcp",
        scopes: [],
      },
      {
        subject: "alice",
        claims: {},
        renewable: [],
        scopes: [],
        tokens: {
          accessToken: "x",
          obtainedAt: systemClock(),
          expiresAt: systemClock() + 600,
          refreshToken: "y",
        },
      },
    );
    assert.equal((await other.ofSubject("alice")).length, 0);
    const [grant] = await theirs.ofSubject("alice");
    assert.ok(grant !== undefined, "it could not be ended any more");
    await records.delete(`grant:${grant.id}`);
    assert.equal((await theirs.ofSubject("alice")).length, 0);
  });
});
