/** `npm run admin` as an operator uses it, beside two server processes: what it shows, and that what it ends is ended. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { codeOf, type Grant } from "../../src/grants/grant.ts";
import { readToken } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { Client } from "../../src/oauth/client-metadata.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { ready } from "../storage/support.ts";
import { type Cluster, startClusterHere } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import {
  authorizeUrl,
  callTool,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";
import type { ServerHere } from "../support/server-here.ts";
import { signIn } from "../support/sign-in.ts";
import { REDIS_TIMEOUT_MS, SECRET_KEY } from "../support/test-server.ts";
import { collectSecrets } from "../telemetry/secrets.ts";
import {
  type Admin,
  adminOf,
  adminProcess,
  DANGEROUS,
  environmentOf,
  jsonLines,
  program,
} from "./support.ts";

const silent = pino({ level: "silent" });
const CONFIGURED = "configured-client-secret-of-32-bytes";
const users = storedUsers([{ issuer: "https://idp.example" }]);
const EVIL = "\u001b[2J\u001b]0;owned\u0007\u009b31mmallory\u202e\u2028";

describe("npm run admin", { skip: skipWithoutRedisServer() }, () => {
  let cluster: Cluster<ServerHere>;
  let admin: Admin;
  let records: KeyValueStore;
  const stores = () => ({ records, sealer: createSealer([SECRET_KEY]), log: silent });
  before(async () => {
    cluster = await startClusterHere(2, { GRANT_CACHE_SECONDS: "300" });
    admin = adminOf(cluster);
    records = redisStore({
      url: cluster.redis.url,
      keyPrefix: "mcp-oidc-proxy",
      commandTimeoutMs: Number(REDIS_TIMEOUT_MS),
      log: silent,
    });
    await ready(records);
  });
  after(async () => {
    await records.close();
    await cluster.close();
  });

  const grantIdOf = ({ access_token }: Tokens) => readToken("access", access_token)?.grantId ?? "";

  /** The answers of every replica to a call with this token. */
  function statuses({ access_token }: Tokens): Promise<number[]> {
    return Promise.all(
      cluster.servers.map(async ({ url }) => (await callTool(`${url}/mcp`, access_token, "whoami")).status),
    );
  }

  async function signedIn(login = "alice", metadata: Record<string, unknown> = {}) {
    const client = await register(cluster.baseUrl, metadata);
    const tokens = await signInForTokens(cluster.baseUrl, client, { login });
    return { client, tokens, grantId: grantIdOf(tokens) };
  }

  test("a grant that is revoked is refused by every replica at once, and revoked at the provider", async () => {
    const mine = await signedIn("alice", { client_name: "Claude Code" });
    const other = await signedIn("alice");
    assert.deepEqual(await statuses(mine.tokens), [200, 200]);
    const upstreamToken = (await storedGrant(mine.grantId))?.upstream?.refreshToken ?? "";
    const auditLog = join(mkdtempSync(join(tmpdir(), "admin-")), "audit.jsonl");

    cluster.upstream.seen.length = 0;
    const revoking = ["grants", "revoke", mine.grantId, "--yes"];
    const { code, stdout, stderr } = await admin(revoking, { AUDIT_LOG: auditLog });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Claude Code/);
    assert.match(stderr, /Ended 1 grant\./);
    assert.equal(stdout, "");
    // By the published change: the copies that they keep last for GRANT_CACHE_SECONDS.
    await eventually("it is refused", async () =>
      (await statuses(mine.tokens)).every((status) => status === 401),
    );
    assert.deepEqual(await statuses(other.tokens), [200, 200], "nobody else's");
    const answer = await refresh(cluster.baseUrl, mine.client, mine.tokens.refresh_token);
    assert.equal(answer.body.error, "invalid_grant");

    const atProvider = cluster.upstream.seen.filter(({ path }) => path.includes("revocation"));
    assert.equal(atProvider.length, 1);
    const { body } = await upstreamRefresh(upstreamToken);
    assert.equal(body.error, "invalid_grant", "the provider takes its refresh token no more");

    const audited = jsonLines(readFileSync(auditLog, "utf8"));
    assert.deepEqual(
      audited.map(({ event, decision, reason, subject, grantId }) => [
        event,
        decision,
        reason,
        subject,
        grantId,
      ]),
      [["grant_ended", "revoke", "ended_by_operator", "alice", mine.grantId]],
    );
  });

  test("by user and client, by sub and by e-mail address", async () => {
    const [one, two] = [await signedIn("carol"), await signedIn("carol")];
    const others = await signedIn("dave");
    const listed = async (...args: string[]) =>
      jsonLines((await admin(["grants", "list", "--json", ...args])).stdout)
        .map(({ id }) => id)
        .sort();
    const both = [one.grantId, two.grantId].sort();
    assert.deepEqual(await listed("--user", "carol"), both);
    assert.deepEqual(await listed("--user", "Carol@Example.com"), both, "an address has no case");
    assert.deepEqual(await listed("--client", one.client.client_id), [one.grantId]);
    assert.deepEqual(await listed("--user", "carol", "--client", one.client.client_id), [one.grantId]);
    assert.deepEqual(await listed("--user", "dave", "--client", one.client.client_id), []);

    const ended = await admin(["grants", "revoke", "--user", "carol@example.com", "--yes", "--json"]);
    assert.deepEqual(
      jsonLines(ended.stdout)
        .map(({ id }) => id)
        .sort(),
      both,
    );
    assert.match(ended.stderr, /"reason":"ended_by_operator"/, "without AUDIT_LOG the audit lines are here");
    await eventually("it is refused", async () =>
      (await statuses(one.tokens)).every((status) => status === 401),
    );
    assert.deepEqual(await statuses(others.tokens), [200, 200]);
  });

  test("nothing is destroyed without a yes", async () => {
    const { tokens, grantId, client } = await signedIn("erin");
    const destroying = [
      ["grants", "revoke", grantId],
      ["grants", "revoke", "--user", "erin"],
      ["grants", "revoke", "--all"],
      ["clients", "remove", client.client_id],
    ];
    for (const args of destroying) {
      const refused = await admin(args);
      assert.equal(refused.code, 2, refused.stderr);
      assert.match(refused.stderr, /There is no terminal to ask on: say --yes/);
      const dry = await admin([...args, "--dry-run", "--yes"]);
      assert.equal(dry.code, 0);
      assert.match(dry.stderr, /Nothing was done/);
    }
    assert.deepEqual(await statuses(tokens), [200, 200]);
  });

  test("at a terminal it shows what will end, and only yes means yes", { skip: !hasScript() }, async () => {
    const { tokens, grantId } = await signedIn("frank");
    const refused = await atTerminal(["grants", "revoke", "--user", "frank"], "\u0004");
    assert.equal(refused.code, 1, refused.output);
    assert.match(refused.output, new RegExp(`${grantId} +frank@exam`));
    assert.match(refused.output, /End 1 grant\? \[y\/N\]/);
    assert.match(refused.output, /Nothing was done/);
    assert.deepEqual(await statuses(tokens), [200, 200]);
  });

  test("who signs in while the operator is asked is signed out, too", { skip: !hasScript() }, async () => {
    const anew = [(await signedIn("heidi")).tokens];
    const { code, output } = await atTerminal(["grants", "revoke", "--user", "heidi"], "y\n", async () => {
      const { tokens } = await signedIn("heidi");
      anew.push(tokens);
    });
    assert.equal(code, 0, output);
    assert.match(output, /Ended 2 grants/);
    assert.deepEqual(await Promise.all(anew.map(statuses)), [
      [401, 401],
      [401, 401],
    ]);
  });

  for (const [whose, options] of [
    ["a user", () => ["--user", "nadia"]],
    ["a client", ({ client_id }: Registered) => ["--client", client_id]],
    ["a client, of a user", ({ client_id }: Registered) => ["--client", client_id, "--user", "nadia"]],
  ] as const)
    test(`a sign-in that is under way opens nothing, although ${whose} had nothing yet`, async () => {
      const client = await register(cluster.baseUrl);
      const browser = new Browser({
        stopAt: (url) => url.pathname === "/auth/callback" || url.href.startsWith(REDIRECT_URI),
      });
      const callback = await signIn(browser, authorizeUrl(cluster.baseUrl, client), { login: "nadia" });
      const { code, stderr } = await admin(["grants", "revoke", ...options(client), "--yes"]);
      assert.equal(code, 2, "there is no grant");
      assert.match(stderr, /under way opens nothing any more/);
      const { redirectedTo } = await browser.get(callback);
      assert.equal(redirectedTo?.searchParams.get("error"), "access_denied");
      const again = await signInForTokens(cluster.baseUrl, client, { login: "nadia" });
      assert.deepEqual(await statuses(again), [200, 200], "the next one does");
    });

  test("what is shown has no secret, no hash, no token, in no form", async () => {
    const secrets = collectSecrets();
    const { client, tokens, grantId } = await signedIn("grace", {
      token_endpoint_auth_method: "none",
    });
    const confidential = await register(cluster.baseUrl, {
      client_name: "Confidential",
      token_endpoint_auth_method: "client_secret_basic",
    });
    const stored = await encryptedStore({ ...stores(), kind: "client", schema: Client }).get(
      confidential.client_id,
    );
    const grant = await storedGrant(grantId);
    const code = grant && codeOf(grant);
    assert.ok(code && stored);
    secrets.add("our token", tokens.access_token, tokens.refresh_token);
    secrets.add(
      "hash of a token",
      grant.refreshToken,
      code.hash,
      ...grant.accessTokens.map(({ hash }) => hash),
    );
    secrets.add("family key", grant.familyKey);
    secrets.add("provider's token", grant.upstream?.accessToken, grant.upstream?.refreshToken);
    secrets.add("PKCE", code.codeChallenge);
    secrets.add(
      "client secret",
      confidential.client_secret,
      String(confidential.registration_access_token),
      CONFIGURED,
    );
    secrets.add("hash of a secret", stored.secretHash, stored.registrationTokenHash);
    secrets.add("setting", SECRET_KEY, "proxy-secret");
    const CLIENTS = JSON.stringify([
      { client_id: "ci", client_secret: CONFIGURED, redirect_uris: ["https://ci.example/cb"] },
    ]);
    const ids = [client.client_id, confidential.client_id, "ci"];
    for (const args of [
      ["grants", "list"],
      ["grants", "show", grantId],
      ["clients", "list"],
      ...ids.map((id) => ["clients", "show", id]),
      ["clients", "remove", ...ids.slice(0, 2), "--yes"],
    ])
      for (const format of args.includes("--yes") ? [["--json"]] : [[], ["--json"]]) {
        const { code, stdout, stderr } = await admin([...args, ...format], { CLIENTS });
        assert.equal(code, 0, stderr);
        assert.ok(stdout.includes(args.at(-1) ?? "") || stdout.includes(grantId) || stdout !== "");
        assert.deepEqual(secrets.foundIn(args.join(" "), stdout + stderr), []);
      }
  });

  test("names of strangers do nothing to the terminal, as text or as JSON", async () => {
    const { grantId } = await signedIn("mallory");
    // An earlier version took any subject.
    const grants = encryptedStore({ ...stores(), kind: "grant", ...grantFormat(users) });
    const grant = await grants.get(grantId);
    assert.ok(grant?.principal.kind === "user");
    const claims = { ...grant.principal.claims, name: EVIL };
    const principal = { ...grant.principal, subject: EVIL, claims };
    await grants.put(grantId, { ...grant, principal }, 600);
    const clients = encryptedStore({ ...stores(), kind: "client", schema: Client });
    const { client_id } = await register(cluster.baseUrl);
    const client = await clients.get(client_id);
    assert.ok(client);
    await clients.put(client_id, { ...client, client_name: EVIL }, 600);
    for (const args of [
      ["grants", "list"],
      ["grants", "show", grantId],
      ["grants", "revoke", grantId, "--dry-run"],
      ["clients", "list"],
      ["clients", "show", client_id],
      ["grants", "revoke", EVIL],
      ["grants", "show", EVIL],
    ])
      for (const format of [[], ["--json"]]) {
        const { stdout, stderr } = await admin([...args, ...format]);
        assert.doesNotMatch(stdout + stderr, DANGEROUS, args.join(" "));
        assert.match(stdout + stderr, /mallory|no such grant/);
      }
    const [shown] = jsonLines((await admin(["grants", "show", grantId, "--json"])).stdout);
    assert.equal(shown.name, EVIL, "for programs nothing is changed");
    await admin(["grants", "revoke", grantId, "--yes"]);
  });

  test("removing a registration ends its grants, and the client has to register again", async () => {
    const { client, tokens } = await signedIn("heidi");
    const { code, stdout, stderr } = await admin(["clients", "remove", client.client_id, "--yes", "--json"]);
    assert.equal(code, 0, stderr);
    const [removed] = jsonLines(stdout);
    assert.deepEqual([removed.client_id, removed.grants], [client.client_id, 1]);
    const reasons = jsonLines(
      stderr
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .join("\n"),
    );
    assert.deepEqual(
      reasons.map(({ event, reason }) => [event, reason]),
      [
        ["grant_ended", "client_removed"],
        ["client_removed", "removed_by_operator"],
      ],
    );
    assert.deepEqual(await statuses(tokens), [401, 401]);
    const answer = await refresh(cluster.baseUrl, client, tokens.refresh_token);
    assert.deepEqual([answer.status, answer.body.error], [401, "invalid_client"]);
    assert.equal((await admin(["clients", "remove", client.client_id, "--yes"])).code, 2);
  });

  test("a configured client cannot be removed here, and it says what to do", async () => {
    const CLIENTS = JSON.stringify([{ client_id: "ci", redirect_uris: ["https://ci.example/cb"] }]);
    const { code, stderr } = await admin(["clients", "remove", "ci", "--yes"], { CLIENTS });
    assert.equal(code, 1);
    assert.match(stderr, /ci is configured: take it out of CLIENTS/);
  });

  test("pruning forgets registrations that nobody uses, and none that holds a grant", async () => {
    const clients = encryptedStore({ ...stores(), kind: "client", schema: Client });
    const age = async (clientId: string, days: number) => {
      const client = await clients.get(clientId);
      assert.ok(client);
      const then = client.client_id_issued_at - days * 86_400;
      await clients.put(clientId, { ...client, client_id_issued_at: then, usedAt: 0 }, 600);
    };
    const [unused, recent, inUse] = [
      await register(cluster.baseUrl),
      await register(cluster.baseUrl),
      await signedIn(),
    ];
    await age(unused.client_id, 40);
    await age(recent.client_id, 20);
    await age(inUse.client.client_id, 40);
    // Of a later version.
    const key = `grant:${inUse.grantId}`;
    const grant = (await records.get(key)) ?? assert.fail();
    const later = createSealer([SECRET_KEY]).seal(JSON.stringify({ version: 9 }), key);
    assert.ok(await records.rewrite(key, grant, later));
    const dry = await admin(["clients", "prune", "--unused-since", "30d", "--dry-run", "--json"]);
    assert.deepEqual(
      jsonLines(dry.stdout).map(({ client_id }) => client_id),
      [unused.client_id],
    );
    const { code, stderr } = await admin(["clients", "prune", "--unused-since", "30d", "--yes"]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Kept: 1 registration .* hold grants/);
    assert.match(stderr, /Forgot 1 registration\./);
    assert.match(stderr, /pruned_by_operator/);
    assert.equal(await clients.get(unused.client_id), undefined);
    assert.ok(await clients.get(recent.client_id));
    assert.ok(await clients.get(inUse.client.client_id));
    assert.equal(await records.get(key), later, "left alone");
    await records.put(key, grant, 600);
    assert.deepEqual(await statuses(inUse.tokens), [200, 200]);
    assert.equal(
      (await admin(["clients", "prune", "--unused-since", "30d", "--yes"])).code,
      2,
      "nothing matched",
    );
    assert.equal((await admin(["clients", "prune", "--unused-since", "soon", "--yes"])).code, 2);
  });

  test("the list of clients counts grants, and knows those that never registered", async () => {
    const { client, grantId } = await signedIn("ivan", { client_name: "Counted" });
    const document = "https://client.example/metadata.json";
    await copyGrant(grantId, { client: { id: document, redirectUri: "https://client.example/cb" } });
    const { stdout } = await admin(["clients", "list", "--json"], {
      CLIENTS: JSON.stringify([{ client_id: "ci", redirect_uris: ["https://ci.example/cb"] }]),
    });
    const byId = new Map(jsonLines(stdout).map((line) => [line.client_id, line]));
    assert.deepEqual(
      [byId.get(client.client_id).grants, byId.get(client.client_id).client_name],
      [1, "Counted"],
    );
    assert.deepEqual([byId.get(document).grants, byId.get(document).provenance], [1, "document"]);
    assert.deepEqual([byId.get("ci").grants, byId.get("ci").provenance], [0, "configured"]);
  });

  test("listing with a wrong SECRET_KEY says so, and changes nothing", async () => {
    const { tokens, grantId } = await signedIn("judy");
    const wrong = { SECRET_KEY: "another-test-secret-key-with-more-than-32-bytes" };
    for (const args of [["--user", "judy"], []]) {
      const { code, stderr } = await admin(["grants", "list", ...args], wrong);
      assert.equal(code, 1);
      assert.match(stderr, /\d+ records? cannot be read: written under another SECRET_KEY/);
    }
    assert.deepEqual(await statuses(tokens), [200, 200]);
    const { stdout } = await admin(["grants", "list", "--user", "judy", "--json"]);
    assert.deepEqual(
      jsonLines(stdout).map(({ id }) => id),
      [grantId],
      "the index still names it",
    );
  });

  test("a broken record is counted, and the others are shown", async () => {
    await signedIn("kim");
    await records.put("grant:broken", "1.nonsense.AAAA", 600);
    const { code, stdout, stderr } = await admin(["grants", "list"]);
    assert.equal(code, 0);
    assert.match(stdout, /kim@example\.com/);
    assert.match(stderr, /^1 record cannot be read/m);
    await records.delete("grant:broken");
  });

  test("mistakes and outages are told in a line, each with its exit code", async () => {
    const told = async (args: string[], environment = {}) => {
      const { code, stderr } = await admin(args, environment);
      assert.doesNotMatch(stderr, /^\s+at /m);
      return [code, stderr] as const;
    };
    for (const [args, environment, code, words] of [
      [["grants", "show", "nope"], {}, 2, /no such grant/],
      [["grants", "revoke"], {}, 2, /Say what to end/],
      [["grants", "revoke", "--all", "--user", "x", "--yes"], {}, 2, /Say what to end/],
      [["grants", "frobnicate"], {}, 2, /unknown command/],
      [["frobnicate"], {}, 2, /unknown command/],
      [["grants", "list"], { SECRET_KEY: "" }, 1, /SECRET_KEY is missing/],
      [["grants", "list"], { REDIS_URL: "redis://127.0.0.1:1" }, 1, /storage cannot be reached/],
      [["grants", "list"], { STORE: "memory", REDIS_URL: "" }, 1, /server's own process/],
      [["grants", "revoke", "x", "--yes"], { AUDIT_LOG: "/nowhere/audit" }, 1, /AUDIT_LOG cannot be written/],
    ] as const) {
      const [exit, said] = await told([...args], environment);
      assert.equal(exit, code, said);
      assert.match(said, words);
    }
    const help = await admin(["grants", "revoke", "--help"]);
    assert.deepEqual([help.code, /--dry-run/.test(help.stdout)], [0, true]);
  });

  test("a reader who goes away keeps no grant from being ended, and a list that nobody reads ends", async () => {
    const { grantId } = await signedIn("ned");
    for (let i = 0; i < 200; i++) await copyGrant(grantId, {});
    for (const args of [["list"], ["revoke", "--all", "--yes"]]) {
      const child = spawn(process.execPath, [program(), "grants", ...args, "--json"], {
        env: { ...environmentOf(cluster), AUDIT_LOG: "/dev/null" },
        stdio: ["ignore", "pipe", "pipe"],
      });
      await once(child.stdout, "data");
      child.stdout.destroy();
      child.stderr.destroy();
      const [code] = await once(child, "exit");
      assert.equal(code, 0, args.join(" "));
    }
    assert.equal((await admin(["grants", "list"])).code, 2, "nothing is left");
  });

  test("while the provider is away grants end here, and what it still holds is said", async () => {
    const { tokens, grantId } = await signedIn("leo");
    const target = cluster.upstream.target;
    cluster.upstream.target = 1;
    const { code, stderr } = await admin(["grants", "revoke", grantId, "nope", "--yes"]);
    cluster.upstream.target = target;
    assert.equal(code, 1);
    assert.match(stderr, /There is no grant nope/);
    assert.match(stderr, /Ended 1 grant\./);
    assert.match(stderr, /provider still holds the refresh token of 1 grant: .*cannot be reached/);
    assert.deepEqual(await statuses(tokens), [401, 401]);
  });

  test("revoke --all: a thousand grants end while the provider is away, without waiting for it at each", async () => {
    const { tokens, grantId } = await signedIn("mia");
    const copies = 1_000;
    for (let i = 0; i < copies; i += 50)
      await Promise.all(Array.from({ length: 50 }, () => copyGrant(grantId, {})));
    const listed = await adminProcess(cluster)(["grants", "list"]);
    assert.ok(listed.stdout.split("\n").length > copies, "the whole list comes through a pipe");
    await records.put("grant:broken", "1.nonsense.AAAA", 600);
    const target = cluster.upstream.target;
    cluster.upstream.target = 1;
    const { code, stderr } = await admin(["grants", "revoke", "--all", "--yes"], {
      AUDIT_LOG: "/dev/null",
    });
    cluster.upstream.target = target;
    assert.equal(code, 1, stderr);
    const ended = Number(/Ended ([\d,]+) grants\./.exec(stderr)?.[1]?.replace(",", ""));
    assert.ok(ended > copies, stderr);
    assert.match(stderr, /still holds the refresh tokens of 1,\d\d\d grants/);
    assert.match(stderr, /^1 record cannot be read/m);
    assert.deepEqual(await statuses(tokens), [401, 401]);
    await records.delete("grant:broken");
    assert.equal((await admin(["grants", "revoke", "--all", "--yes"])).code, 2, "nothing is left");
  });

  function storedGrant(id: string): Promise<Grant | undefined> {
    return encryptedStore({ ...stores(), kind: "grant", ...grantFormat(users) }).get(id);
  }

  async function copyGrant(id: string, change: Partial<Grant>): Promise<void> {
    const grant = await storedGrant(id);
    assert.ok(grant);
    const copy = { ...grant, ...change, id: randomBytes(16).toString("base64url") };
    await encryptedStore({ ...stores(), kind: "grant", ...grantFormat(users) }).put(copy.id, copy, 600);
  }

  async function upstreamRefresh(refreshToken: string) {
    const response = await fetch(`http://localhost:${cluster.upstream.target}/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "refresh_token",
        refresh_token: refreshToken,
        client_id: "proxy",
        client_secret: "proxy-secret",
      }),
    });
    return { status: response.status, body: (await response.json()) as { error?: string } };
  }

  /** Through a real terminal, as `script` makes one. */
  async function atTerminal(
    args: string[],
    typed: string,
    beforeTyping: () => Promise<unknown> = async () => {},
  ): Promise<{ code: number | null; output: string }> {
    const command = [process.execPath, program(), ...args].join(" ");
    const child = spawn("script", ["-qec", command, "/dev/null"], {
      env: { ...environmentOf(cluster), AUDIT_LOG: "/dev/null" },
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      const before = output;
      output += chunk.toString();
      if (output.includes("[y/N]") && !before.includes("[y/N]"))
        void beforeTyping().finally(() => child.stdin.write(typed));
    });
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, output };
  }
});

/** BSD's, of macOS, takes other arguments. */
function hasScript(): boolean {
  return process.platform === "linux";
}
