/** Which workloads a trusted platform vouches for, and what each may do. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { wildcard } from "../../src/access/pattern.ts";
import { createIssuerAccess } from "../../src/issuers/issuer-keys.ts";
import { JwtRefused } from "../../src/issuers/jwt.ts";
import type { WorkloadIssuer, WorkloadRule } from "../../src/issuers/trusted-issuer.ts";
import { verifyWorkloadAssertion } from "../../src/issuers/workload.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { useOnce } from "../../src/storage/use-once.ts";
import { silent } from "../clients/support.ts";
import { eventually } from "../support/eventually.ts";
import { redisForTests } from "../support/redis.ts";
import { startTokenIssuer } from "../support/token-issuer.ts";

const SERVER = "https://mcp.example.com";
const AUDIENCES = [SERVER, `${SERVER}/token`];
// In whole seconds, and really now: Redis expires records by its own clock.
const NOW = Math.floor(Date.now() / 1000);

const platform = await startTokenIssuer({ after }, () => NOW);
const redis = await redisForTests();
after(() => redis.stop());

const nightly: WorkloadRule = {
  claims: [{ claim: "sub", oneOf: [wildcard("system:serviceaccount:batch:nightly")] }],
  scopes: ["weather:read"],
};
const releases: WorkloadRule = {
  claims: [
    { claim: "repository", oneOf: [wildcard("acme/weather")] },
    { claim: "ref", oneOf: [wildcard("refs/heads/main"), wildcard("refs/tags/v*")] },
  ],
  scopes: ["weather:write"],
};

const settings: WorkloadIssuer = {
  accept: "workload",
  issuer: platform.issuer,
  algorithms: ASYMMETRIC_ALGORITHMS,
  timeoutSeconds: 10,
  rules: [nightly, releases],
};

function verify(assertion: string, changes: Partial<WorkloadIssuer> = {}) {
  const issuer = { ...settings, ...changes };
  const { keys } = createIssuerAccess(issuer, { now: () => NOW, monotonicNow: () => NOW, log: silent });
  return verifyWorkloadAssertion(assertion, issuer, { keys, audiences: AUDIENCES, now: NOW });
}

const because = (reason: string) => (error: unknown) => {
  assert.ok(error instanceof JwtRefused, String(error));
  assert.equal(error.reason, reason, error.message);
  return true;
};

const KUBERNETES = { sub: "system:serviceaccount:batch:nightly", aud: AUDIENCES[1] };
const GITHUB = {
  sub: "repo:acme/weather:ref:refs/tags/v1.2",
  aud: SERVER,
  repository: "acme/weather",
  ref: "refs/tags/v1.2",
};

describe("the assertion of a workload", () => {
  test("is worth what the rule allows that names its subject", async () => {
    const { subject, rule } = await verify(await platform.sign(KUBERNETES));
    assert.deepEqual({ subject, scopes: rule.scopes }, { subject: KUBERNETES.sub, scopes: ["weather:read"] });
  });

  test("is worth what the rule allows all of whose claims fit", async () => {
    assert.deepEqual((await verify(await platform.sign(GITHUB))).rule.scopes, ["weather:write"]);
    for (const changed of [
      { ref: "refs/heads/feature" },
      { repository: "evil/acme/weather" },
      { repository: ["acme/weather"] },
      { repository: undefined },
      { ref: { toString: "refs/heads/main" } },
    ])
      await assert.rejects(
        verify(await platform.sign({ ...GITHUB, ...changed })),
        because("workload_not_named"),
      );
  });

  test("is refused where there is no rule at all", async () => {
    await assert.rejects(
      verify(await platform.sign(KUBERNETES), { rules: [] }),
      because("workload_not_named"),
    );
  });

  test("may have no type", async () => {
    await verify(await platform.sign(KUBERNETES, { typ: "" }));
  });

  for (const typ of ["oauth-id-jag+jwt", "at+jwt", "application/at+jwt", "logout+jwt"])
    test(`is refused as a ${typ}`, async () => {
      await assert.rejects(verify(await platform.sign(KUBERNETES, { typ })), because("jwt_wrong_type"));
    });

  test("has to be for this server alone, or for the audience that is configured", async () => {
    const elsewhere = { ...KUBERNETES, aud: "https://kubernetes.default.svc" };
    for (const aud of [elsewhere.aud, [SERVER, elsewhere.aud], `${SERVER}/mcp`])
      await assert.rejects(
        verify(await platform.sign({ ...KUBERNETES, aud })),
        because("jwt_wrong_audience"),
      );
    const audience = "mcp";
    await verify(await platform.sign({ ...KUBERNETES, aud: audience }), { audience });
    await assert.rejects(
      verify(await platform.sign(KUBERNETES), { audience }),
      because("jwt_wrong_audience"),
    );
  });

  test("is refused if it is good for a day", async () => {
    await assert.rejects(
      verify(await platform.sign({ ...KUBERNETES, exp: NOW + 86_400 })),
      because("jwt_lifetime_too_long"),
    );
  });

  for (const [claim, reason, value] of [
    ["authorization_details", "assertion_claims", [{ type: "x" }]],
    ["authorization_details", "assertion_claims", null],
    ["cnf", "jwt_sender_constrained", { jkt: "x" }],
    ["cnf", "jwt_sender_constrained", null],
  ] as const)
    test(`is refused with ${claim}, which would drop a restriction (${JSON.stringify(value)})`, async () => {
      await assert.rejects(verify(await platform.sign({ ...KUBERNETES, [claim]: value })), because(reason));
    });

  test("is refused without sub, exp or iat", async () => {
    for (const [changes, reason] of [
      [{ sub: undefined, repository: GITHUB.repository, ref: GITHUB.ref }, "assertion_claims"],
      [{ sub: "" }, "assertion_claims"],
      [{ sub: [KUBERNETES.sub] }, "assertion_claims"],
      [{ sub: "a\nb" }, "assertion_claims"],
      [{ sub: "a".repeat(2_049) }, "assertion_claims"],
      [{ exp: undefined }, "jwt_without_expiry"],
      [{ iat: undefined }, "jwt_lifetime_too_long"],
      [{ jti: "" }, "assertion_claims"],
      [{ jti: 5 }, "assertion_claims"],
    ] as const)
      await assert.rejects(verify(await platform.sign({ ...KUBERNETES, ...changes })), because(reason));
  });

  test("is verified by the algorithms that are configured", async () => {
    const assertion = await platform.sign(KUBERNETES);
    await verify(assertion, { algorithms: ["RS256", "ES256"] });
    await assert.rejects(verify(assertion, { algorithms: ["RS256"] }), because("jwt_algorithm"));
  });

  test("without an id is known by what is signed", async () => {
    const unnamed = { ...KUBERNETES, jti: undefined };
    const [one, same, other] = [
      await verify(await platform.sign(unnamed)),
      // ECDSA signatures of the same claims differ.
      await verify(await platform.sign(unnamed)),
      await verify(await platform.sign({ ...unnamed, more: 1 })),
    ];
    assert.equal(one.id.jti, same.id.jti);
    assert.notEqual(one.id.jti, other.id.jti);
  });
});

describe("an assertion", { skip: redis.skip }, () => {
  test("is used once, over all replicas", async (t) => {
    const replica = () => {
      const { url = "" } = redis;
      const options = { kind: "redis", url, keyPrefix: "", commandTimeoutMs: 5_000, log: silent };
      const records = redisStore(options as never);
      t.after(() => records.close());
      return records;
    };
    const [one, other] = [replica(), replica()];
    for (const each of [one, other])
      await eventually("it is connected", () =>
        each.ping().then(
          () => true,
          () => false,
        ),
      );
    const statement = { kind: "assertion", by: platform.issuer, jti: "1", expiresAt: NOW + 60 } as const;
    const attempts = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        useOnce(statement, { records: index % 2 === 0 ? one : other, now: () => NOW, randomBytes }),
      ),
    );
    assert.equal(attempts.filter((use) => use !== undefined).length, 1);
    const anothers = { ...statement, by: "https://other.example.com" };
    const use = await useOnce(anothers, { records: one, now: () => NOW, randomBytes });
    use?.undo();
    await eventually("it can be used again", () =>
      useOnce(anothers, { records: other, now: () => NOW, randomBytes }),
    );
    assert.equal(await useOnce(anothers, { records: one, now: () => NOW, randomBytes }), undefined);
  });
});
