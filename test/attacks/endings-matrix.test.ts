/**
 * Everything that ends a grant, while an operation of it is under way: a sign-in, a code, a refresh at a slow provider, an
 * answer of the store that gets lost. Afterwards no token of it works, it is revoked at the provider, and audited.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { decodeJwt } from "jose";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import type { Answer } from "../../dev/client/http.ts";
import { allowEverything, type Policy } from "../../src/access/policy.ts";
import { subjectOf } from "../../src/access/principal.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { adminOf } from "../admin/support.ts";
import { endEntry, openConnections } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { held } from "../support/held.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  postForm,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { logoutClaims, publishKey, type Sign } from "../support/provider-key.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { useTestServer } from "../support/test-server.ts";

/** One person with one client; each cell of the matrix has its own. */
interface Cell {
  login: string;
  client: Registered;
  /** What ends: to be told apart from what the way to end it opens. */
  tokens?: Tokens;
  /** The last code that was redeemed. */
  code?: string | null;
}

interface Ending {
  /** The reason in the audit log; undefined where no grant ends. */
  reason?: string;
  /** Whether the provider is told (MEANT_FOR_GOOD in src/grants/grants.ts). */
  forGood?: true;
  /** What may be under way when it comes. */
  during: ReadonlyArray<"sign-in" | "code" | "refresh" | "lost answer">;
  end(cell: Cell): Promise<unknown>;
}

describe("what ends a grant", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  let upstream: FaultyProxy;
  let sign: Sign;
  /** Holds the provider's next answer back for as long as it takes. */
  let nextAnswer: ((body: Record<string, unknown>) => Promise<void>) | undefined;
  const denied = new Set<string>();
  const policy: Policy = {
    ...allowEverything,
    at: () => policy,
    admits: ({ principal }) =>
      denied.has(subjectOf(principal)) ? { allowed: false, rule: { name: "denied" } } : { allowed: true },
    ruleset: ({ principal }) => (denied.has(subjectOf(principal)) ? denied : allowEverything),
  };
  const testServer = useTestServer(async () => {
    [redis, upstream] = await Promise.all([startRedis(), startFaultyProxy()]);
    sign = await publishKey(upstream);
    return {
      redisUrl: redis.url,
      throughProxy: upstream,
      policy,
      // Shorter than our own tokens, so that every refresh has to ask the provider.
      behaviour: { accessTokenSeconds: 300 },
      environment: {
        REDIS_KEY_PREFIX: PREFIX,
        MAX_GRANTS_PER_USER_AND_CLIENT: "2",
        REFRESH_GRACE_SECONDS: "30",
        SIGN_INS_PER_ADDRESS_PER_HOUR: "10000",
        REGISTRATIONS_PER_ADDRESS_PER_HOUR: "10000",
        TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "10000",
      },
    };
  });
  before(async () => {
    upstream.rewrite = async (body) => {
      const answer = nextAnswer;
      nextAnswer = undefined;
      await answer?.(body);
      if (typeof body.id_token !== "string") return body;
      const claims = decodeJwt(body.id_token);
      return { ...body, id_token: await sign({ ...claims, sid: sessionOf(String(claims.sub)) }) };
    };
  });
  afterEach(() => {
    testServer.clock.ahead = 0;
    denied.clear();
  });
  after(async () => {
    await upstream.close();
    await redis.stop();
  });

  const PREFIX = `endings-${process.pid}`;
  const sessionOf = (login: string) => `session of ${login}`;
  const newBrowser = (...stops: string[]) =>
    new Browser({ stopAt: ({ href }) => [REDIRECT_URI, ...stops].some((stop) => href.startsWith(stop)) });

  async function report(who: { sub?: string; sid?: string }): Promise<Answer> {
    const issuedAt = Math.floor(Date.now() / 1000) + testServer.clock.ahead;
    const logout_token = await sign(logoutClaims(testServer.identityProvider.issuer, who, issuedAt));
    return postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
  }

  async function operate(...args: string[]): Promise<string> {
    const ran = await adminOf({ baseUrl: testServer.baseUrl, redis, upstream })(args, {
      REDIS_KEY_PREFIX: PREFIX,
      AUDIT_LOG: "stderr",
    });
    assert.equal(ran.code, 0, ran.stderr);
    return ran.stderr;
  }
  const operatorsLog: string[] = [];
  const operator = async (...args: string[]) => void operatorsLog.push(await operate(...args, "--yes"));

  const removeRegistration = ({ client }: Cell) =>
    fetch(String(client.registration_client_uri), {
      method: "DELETE",
      headers: { authorization: `Bearer ${client.registration_access_token}` },
    });

  async function endAtConnections({ login, client }: Cell): Promise<void> {
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { login, browser });
    await endEntry(browser, page, String(client.client_name));
  }

  const all = ["sign-in", "code", "refresh", "lost answer"] as const;
  const signedOut = { reason: "backchannel_logout", during: all } as const;
  const byOperator = {
    reason: "ended_by_operator",
    forGood: true,
    during: ["sign-in", "code", "refresh"],
  } as const;
  const endings: Record<string, Ending> = {
    "its client revokes it": {
      reason: "revoked_by_client",
      forGood: true,
      during: ["refresh", "lost answer"],
      end: ({ client, tokens }) => revoke(testServer.baseUrl, client, tokens?.access_token ?? ""),
    },
    "its user ends it at /connections": {
      reason: "ended_by_user",
      forGood: true,
      during: all,
      end: endAtConnections,
    },
    "the operator ends what its user has": {
      ...byOperator,
      end: ({ login }) => operator("grants", "revoke", "--user", login),
    },
    "the operator ends what its client has": {
      ...byOperator,
      end: ({ client }) => operator("grants", "revoke", "--client", client.client_id),
    },
    "the operator ends what its client has of its user": {
      ...byOperator,
      end: ({ login, client }) => operator("grants", "revoke", "--user", login, "--client", client.client_id),
    },
    "the operator ends all": { ...byOperator, end: () => operator("grants", "revoke", "--all") },
    "the operator removes its client": {
      ...byOperator,
      reason: "client_removed",
      end: ({ client }) => operator("clients", "remove", client.client_id),
    },
    "its client removes its registration": {
      reason: "client_removed",
      forGood: true,
      during: all,
      end: removeRegistration,
    },
    "its user signs out at the provider (sub)": { ...signedOut, end: ({ login }) => report({ sub: login }) },
    "its user signs out at the provider (sid)": {
      ...signedOut,
      end: ({ login }) => report({ sid: sessionOf(login) }),
    },
    "its user signs out at the provider (sub and sid)": {
      ...signedOut,
      end: ({ login }) => report({ sub: login, sid: sessionOf(login) }),
    },
    "its user has too many": {
      reason: "too_many_grants",
      during: ["code", "refresh"],
      async end({ login, client }) {
        testServer.clock.ahead++; // the older ones end
        for (let i = 0; i < 2; i++) await signInForTokens(testServer.baseUrl, client, { login });
      },
    },
    "its code comes twice": {
      reason: "code_replayed",
      during: ["refresh", "lost answer"],
      end: ({ client, code }) => redeem(testServer.baseUrl, client, code ?? ""),
    },
    "a refresh token that was replaced comes again": {
      reason: "refresh_token_reused",
      during: ["refresh", "lost answer"],
      async end({ client, tokens }) {
        testServer.clock.ahead += 60;
        return refresh(testServer.baseUrl, client, tokens?.refresh_token ?? "");
      },
    },
    "the policy denies its user": {
      during: ["sign-in", "code", "refresh"],
      end: async ({ login }) => denied.add(login),
    },
    "its time is over": {
      during: ["code", "refresh"],
      end: async () => {
        testServer.clock.ahead += 91 * 24 * 60 * 60;
      },
    },
  };

  let cells = 0;
  async function newCell(): Promise<Cell> {
    const name = `person${++cells}`;
    return { login: name, client: await register(testServer.baseUrl, { client_name: `Client of ${name}` }) };
  }

  /** Signed in, with a refresh token that was replaced once: what the client holds now. */
  async function signedIn(cell: Cell): Promise<Tokens> {
    const { login, client } = cell;
    cell.code = (await authorize(testServer.baseUrl, client, { login })).get("code");
    const first = (await redeem(testServer.baseUrl, client, cell.code)).body;
    const second = (await refresh(testServer.baseUrl, client, first.refresh_token)).body;
    cell.tokens = { ...first, access_token: second.access_token };
    return second;
  }

  async function assertDead({ client }: Cell, { access_token, refresh_token }: Tokens): Promise<void> {
    assert.notEqual((await callTool(testServer.url, access_token, "whoami")).status, 200);
    const refreshed = await refresh(testServer.baseUrl, client, refresh_token);
    assert.ok(["invalid_grant", "invalid_client"].includes(refreshed.body.error), refreshed.body.error);
  }

  const revocationsOf = (token: string) =>
    upstream.seen.filter(({ path, text }) => path.endsWith("/revocation") && text.includes(token));
  const inAuditLog = (event: string, { login }: Cell, reason: string | undefined) =>
    testServer.log.some((line) => line.audit === event && line.subject === login && line.reason === reason) ||
    operatorsLog.some((text) =>
      text.split("\n").some((line) => [event, login, reason].every((each) => line.includes(`"${each}"`))),
    );

  async function assertKnown(cell: Cell, { reason, forGood }: Ending, providersToken: string): Promise<void> {
    if (reason === undefined) return;
    assert.ok(inAuditLog("grant_ended", cell, reason), "the audit log has its end");
    if (forGood) await eventually("the provider was told", () => revocationsOf(providersToken).length > 0);
    else assert.equal(revocationsOf(providersToken).length, 0);
  }

  /** A refresh for which the provider is asked, and whose answer is on its way: what it brings, and what lets it come. */
  async function heldRefresh({ client }: Cell, { refresh_token }: Tokens) {
    testServer.clock.ahead += 240; // so that the provider's token is due
    const { reached, letGo, wait } = held();
    let renewed = "";
    nextAnswer = async (body) => {
      renewed = String(body.refresh_token);
      await wait();
    };
    const refreshing = refresh(testServer.baseUrl, client, refresh_token);
    await reached();
    return { renewed, letGo, refreshing };
  }

  async function grantsOf(login: string): Promise<Grant[]> {
    const { records, config } = testServer;
    const store = encryptedStore({
      records,
      sealer: createSealer(config.secretKeys),
      log: pino({ level: "silent" }),
      kind: "grant",
      ...grantFormat(storedUsers(config.identityProviders)),
    });
    const found: Grant[] = [];
    for await (const key of records.keys("grant:")) {
      const grant = await store.get(key.slice("grant:".length));
      if (grant && subjectOf(grant.principal) === login) found.push(grant);
    }
    return found;
  }

  const providersTokenOf = async (accessToken: string) =>
    (await testServer.grantOf(accessToken))?.upstream?.refreshToken ?? assert.fail("no refresh token");

  for (const [name, ending] of Object.entries(endings)) {
    const during = (what: Ending["during"][number], run: (cell: Cell) => Promise<void>) =>
      ending.during.includes(what) && test(`${name}: ${what}`, async () => run(await newCell()));

    describe(name, () => {
      during("sign-in", async (cell) => {
        const { login, client } = cell;
        await signInForTokens(testServer.baseUrl, client, { login }); // so that there is something to end
        // Signed in at the provider by now, and on the way back.
        const browser = newBrowser(`${testServer.baseUrl}/auth/callback`);
        const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
        const page = await browser.submit(consent, {}, { button: "approve" });
        const { redirectedTo: callback } = await browser.submit(page, { login });
        assert.ok(callback);
        await ending.end(cell);
        const finished = await browser.get(callback);
        assert.equal(finished.redirectedTo?.searchParams.get("code") ?? null, null);
        assert.match(
          finished.redirectedTo?.searchParams.get("error") ?? finished.body,
          /access_denied|This was ended meanwhile/,
        );
        assert.ok(
          testServer.log.some(
            ({ audit, decision, subject }) => audit === "sign_in" && decision === "deny" && subject === login,
          ),
        );
        assert.equal((await grantsOf(login)).length, ending.reason === undefined ? 1 : 0);
      });

      during("code", async (cell) => {
        const code = (await authorize(testServer.baseUrl, cell.client, { login: cell.login })).get("code");
        const [grant] = await grantsOf(cell.login);
        await ending.end(cell);
        const redeemed = await redeem(testServer.baseUrl, cell.client, code);
        assert.ok(["invalid_grant", "invalid_client"].includes(redeemed.body.error), redeemed.body.error);
        await assertKnown(cell, ending, grant?.upstream?.refreshToken ?? assert.fail("no refresh token"));
      });

      during("refresh", async (cell) => {
        const tokens = await signedIn(cell);
        const spent = await providersTokenOf(tokens.access_token);
        const { renewed, letGo, refreshing } = await heldRefresh(cell, tokens);
        assert.notEqual(renewed, spent);
        await ending.end(cell);
        letGo();
        assert.notEqual((await refreshing).status, 200);
        await assertDead(cell, tokens);
        await assertKnown(cell, ending, renewed);
      });

      during("lost answer", async (cell) => {
        const tokens = await signedIn(cell);
        const providersToken = await providersTokenOf(tokens.access_token);
        const { delete: remove, deleteIf: removeIf } = testServer.records;
        const lost = (work: Promise<boolean>) =>
          work.then(() => {
            throw new UnavailableError("storage", { reason: "redis_unavailable" });
          });
        testServer.records.delete = (key) => (key.startsWith("grant:") ? lost(remove(key)) : remove(key));
        testServer.records.deleteIf = (key, expected) =>
          key.startsWith("grant:") ? lost(removeIf(key, expected)) : removeIf(key, expected);
        try {
          await ending.end(cell).catch(() => {});
        } finally {
          Object.assign(testServer.records, { delete: remove, deleteIf: removeIf });
        }
        await ending.end(cell).catch(() => {});
        await assertDead(cell, tokens);
        await assertKnown(cell, ending, providersToken);
      });
    });
  }
});
