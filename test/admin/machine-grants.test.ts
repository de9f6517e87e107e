/** `npm run admin grants` for callers without a browser: which they are, and how they end. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, beforeEach, describe, test } from "node:test";
import type { Requester } from "../../src/access/principal.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { runAdmin } from "../../src/cli/admin/program.ts";
import { loadConfig } from "../../src/config/config.ts";
import type { Origin } from "../../src/grants/grant.ts";
import { createGrants } from "../../src/grants/grants.ts";
import { createLastUse } from "../../src/grants/last-use.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { silent } from "../clients/support.ts";
import { ready } from "../storage/support.ts";
import { ran } from "../support/ran.ts";
import { redisForTests } from "../support/redis.ts";
import { SECRET_KEY } from "../support/test-server.ts";
import { jsonLines } from "./support.ts";

const PROVIDER = "https://idp.example.com";
const COMPANY = "https://acme.okta.com";
const PLATFORM = "https://oidc.spire.example.com";
const redis = await redisForTests();
after(() => redis.stop());

const now = () => Math.floor(Date.now() / 1000);
const jag = { kind: "jwt_bearer", profile: "id-jag", issuer: COMPANY } as const;
const person = (issuer: string): Requester => ({
  principal: { kind: "user", issuer, subject: "alice", claims: { email: "alice@acme.example" } },
  client: { id: "agent" },
});
const nightly: Requester = { principal: { kind: "client", clientId: "nightly" }, client: { id: "nightly" } };
const batch: Requester = {
  principal: { kind: "workload", issuer: PLATFORM, subject: "spiffe://acme/batch", claims: {} },
  client: { id: `${PLATFORM}#spiffe://acme/batch` },
};

describe("grants of machines", { skip: redis.skip }, () => {
  let records: KeyValueStore;
  let grants: ReturnType<typeof createGrants>;
  let environment: Record<string, string>;
  const admin = (...args: string[]) => ran((streams) => runAdmin(args, () => environment, streams));
  const listed = async (...args: string[]) =>
    jsonLines((await admin("grants", "list", "--json", ...args)).stdout).map(({ kind, subject }) =>
      [kind, subject].join(" "),
    );

  before(async () => {
    environment = {
      BASE_URL: "https://mcp.example.com",
      OIDC_ISSUER: PROVIDER,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      REDIS_URL: redis.url ?? "",
      REDIS_KEY_PREFIX: `machines-${randomBytes(4).toString("hex")}`,
      SECRET_KEY,
    };
    const config = loadConfig(environment);
    assert.equal(config.store.kind, "redis");
    records = redisStore({
      ...(config.store as Extract<typeof config.store, { kind: "redis" }>),
      log: silent,
    });
    await ready(records);
    const users = storedUsers(config.identityProviders);
    const sealer = createSealer([SECRET_KEY]);
    const store = encryptedStore({ records, sealer, log: silent, kind: "grant", ...grantFormat(users) });
    const runtime = { now, randomBytes, log: silent };
    grants = createGrants({
      ...runtime,
      store,
      records,
      indexes: records.indexes,
      users,
      lastUse: createLastUse({ ...runtime, records, grants: store }),
      lifetimes: config.lifetimes,
      limits: config.grantLimits,
      revocations: { revoke: async () => {} },
      audit: () => {},
    });
  });
  after(() => records?.close());
  beforeEach(async () => {
    await admin("grants", "revoke", "--all", "--yes");
    await issue(nightly, { kind: "client_credentials", credential: "secret:x" });
    await issue(person(COMPANY), jag);
    await issue(person("https://other.example.com"), { ...jag, issuer: "https://other.example.com" });
    await issue(batch, { kind: "jwt_bearer", profile: "workload", issuer: PLATFORM });
  });

  async function issue(requester: Requester, origin: Exclude<Origin, { kind: "authorization_code" }>) {
    await grants.issue({
      ...requester,
      origin,
      resource: "https://mcp.example.com/mcp",
      scopes: [],
      permitted: [],
    });
  }

  test("are listed with who acts, and told apart by kind", async () => {
    assert.deepEqual((await listed()).sort(), [
      "client nightly",
      "user alice",
      "user alice",
      "workload spiffe://acme/batch",
    ]);
    assert.deepEqual(await listed("--kind", "client"), ["client nightly"]);
    assert.deepEqual(await listed("--kind", "workload"), ["workload spiffe://acme/batch"]);
    const [view] = jsonLines((await admin("grants", "list", "--json", "--kind", "workload")).stdout);
    assert.deepEqual([view.issuer, view.origin], [PLATFORM, "workload"]);
    const shown = (await admin("grants", "show", view.id)).stdout;
    assert.match(shown, /^Workload +spiffe:\/\/acme\/batch$/m);
    assert.match(shown, /^Issuer +https:\/\/oidc\.spire\.example\.com$/m);
    assert.match((await admin("grants", "list")).stdout, /KIND.*\n(?:.*\n)*.*workload/);
  });

  test("end by client", async () => {
    assert.equal((await admin("grants", "revoke", "--client", "nightly", "--yes")).code, 0);
    assert.deepEqual(await listed("--kind", "client"), []);
    assert.equal((await listed()).length, 3);
    await admin("grants", "revoke", "--client", batch.client.id, "--yes");
    assert.deepEqual(await listed("--kind", "workload"), []);
  });

  test("end by issuer and subject, and nobody else's of the same name", async () => {
    const alice = ["--user", "alice", "--issuer", COMPANY];
    assert.equal((await listed(...alice)).length, 1);
    assert.equal((await admin("grants", "revoke", ...alice, "--yes")).code, 0);
    assert.deepEqual(await listed(...alice), []);
    assert.deepEqual(await listed("--user", "alice", "--issuer", "https://other.example.com"), [
      "user alice",
    ]);
    await admin("grants", "revoke", "--user", "spiffe://acme/batch", "--issuer", PLATFORM, "--yes");
    assert.deepEqual(await listed("--kind", "workload"), []);
  });

  test("are not those of a person of the identity provider", async () => {
    assert.equal((await admin("grants", "revoke", "--user", "alice", "--yes")).code, 2);
    assert.equal((await listed()).length, 4);
  });

  test("end by issuer alone, whoever it names", async () => {
    assert.equal((await listed("--issuer", PLATFORM)).length, 1);
    assert.equal((await admin("grants", "revoke", "--issuer", PLATFORM, "--yes")).code, 0);
    assert.deepEqual(await listed("--kind", "workload"), []);
  });

  test("a kind that there is not is told, and so is an issuer that is none", async () => {
    for (const args of [
      ["--kind", "robot"],
      ["--issuer", "nobody"],
    ])
      for (const command of ["list", "revoke"])
        assert.equal((await admin("grants", command, ...args)).code, 2, args.join(" "));
  });
});
