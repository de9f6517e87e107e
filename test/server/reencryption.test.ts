/** A start with two SECRET_KEYs: every record is brought under the first one, although the connection to Redis is made meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import { createApp } from "../../src/server/create-app.ts";
import { keptLog } from "../storage/support.ts";
import { eventually } from "../support/eventually.ts";
import { skipWithoutRedisServer, startRedis } from "../support/redis.ts";
import { SECRET_KEY } from "../support/test-server.ts";

test("a start waits for Redis before it brings records under the first key", {
  skip: skipWithoutRedisServer(),
}, async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const config = loadConfig({
    BASE_URL: "http://localhost:9",
    OIDC_ISSUER: "http://localhost:9",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "secret",
    CLIENT_ID_METADATA: "off",
    REDIS_URL: redis.url,
    SECRET_KEY: `another-${SECRET_KEY},${SECRET_KEY}`,
  });
  const { log, lines } = keptLog();
  const app = await createApp(config, { tools: [], scopes: {} }, { log });
  t.after(() => app.close());
  const line = await eventually("it is said how it ended", () =>
    lines.find(({ msg }) => /first SECRET_KEY/.test(msg)),
  );
  assert.match(line.msg, /^Every record is under the first SECRET_KEY/);
});
