/**
 * Whose assertion is this, and what does it say? An assertion goes to the issuer that it names, by the rules of its own kind:
 * its `typ` tells an identity assertion from one of a workload, and no issuer is tried with the rules of the other.
 */
import type { LogoutToken } from "../identity/identity-provider.ts";
import { verifyLogoutToken } from "../identity/oidc/logout-token.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { type Use, useOnce } from "../storage/use-once.ts";
import { type AssertionId, ID_JAG_TYPE, type IdentityAssertion, verifyIdJag } from "./id-jag.ts";
import { createIssuerAccess, type TrustedIssuerAccess } from "./issuer-keys.ts";
import { JwtRefused, readJwt } from "./jwt.ts";
import type { IdJagIssuer, WorkloadIssuer } from "./trusted-issuer.ts";
import { verifyWorkloadAssertion, type WorkloadAssertion } from "./workload.ts";

export type Assertion =
  | ({ kind: "id-jag"; by: IdJagIssuer } & IdentityAssertion)
  | ({ kind: "workload" } & WorkloadAssertion);

export interface TrustedAssertions {
  /** @throws JwtRefused; UnavailableError while the issuer's keys are out of reach */
  verify(assertion: string): Promise<Assertion>;
  /** Before anything is issued for it. @throws JwtRefused if it was used before, on whatever replica; UnavailableError */
  useOnce(id: AssertionId): Promise<Use>;
  /**
   * Verifies a logout token of an issuer whose assertions name people; undefined: it names none of these.
   * @throws UpstreamRefusal if it is not a genuine, fresh one; UnavailableError
   */
  verifyLogoutToken(token: string): Promise<LogoutToken> | undefined;
}

interface Options extends Pick<Runtime, "now" | "monotonicNow" | "randomBytes" | "log" | "fetch"> {
  issuers: ReadonlyArray<IdJagIssuer | WorkloadIssuer>;
  /** This server's issuer, and so the audience of assertions. */
  baseUrl: string;
  records: Pick<KeyValueStore, "replace" | "deleteIf">;
  /** See {@link ../runtime/shutdown.ts Shutdown.waitUntil}. */
  waitUntil?(work: Promise<unknown>): void;
}

export function trustedAssertions({
  issuers,
  baseUrl,
  records,
  waitUntil,
  ...runtime
}: Options): TrustedAssertions {
  const { now, randomBytes } = runtime;
  const access = new Map(issuers.map((issuer) => [issuer, createIssuerAccess(issuer, runtime)]));
  const keysOf = (issuer: IdJagIssuer | WorkloadIssuer) => (access.get(issuer) as TrustedIssuerAccess).keys;

  const name = [baseUrl, `${baseUrl}/`];

  async function logoutTokenOf(by: IdJagIssuer, token: string): Promise<LogoutToken> {
    const { keysOfLogoutTokens } = access.get(by) as TrustedIssuerAccess;
    const { issuer, algorithms, logoutAudience } = by;
    const audiences = logoutAudience === undefined ? name : [logoutAudience];
    const rules = { issuer, keys: keysOfLogoutTokens, audiences, algorithms, exp: "required" } as const;
    return { issuer, ...(await verifyLogoutToken(token, rules, now())) };
  }

  function issuerOf<Kind extends "id-jag" | "workload">(kind: Kind, name: string | undefined) {
    const found = issuers.find(
      (each): each is Extract<IdJagIssuer | WorkloadIssuer, { accept: Kind }> =>
        each.accept === kind && each.issuer === name,
    );
    if (found === undefined)
      throw new JwtRefused(
        "jwt_wrong_issuer",
        `its issuer is none whose ${kind} assertions are believed here`,
      );
    return found;
  }

  return {
    async verify(assertion) {
      const jwt = readJwt(assertion);
      if (jwt === undefined) throw new JwtRefused("jwt_malformed", "it is no signed JWT");
      if (jwt.type === ID_JAG_TYPE) {
        const by = issuerOf("id-jag", jwt.issuer);
        const verified = await verifyIdJag(assertion, by, {
          keys: keysOf(by),
          audience: baseUrl,
          now: now(),
        });
        return { kind: "id-jag", by, ...verified };
      }
      const by = issuerOf("workload", jwt.issuer);
      const audiences = [baseUrl, `${baseUrl}/token`];
      const verified = await verifyWorkloadAssertion(assertion, by, {
        keys: keysOf(by),
        audiences,
        now: now(),
      });
      return { kind: "workload", ...verified };
    },
    verifyLogoutToken(token) {
      const from = readJwt(token)?.issuer;
      const by = issuers.find(
        (each): each is IdJagIssuer => each.accept === "id-jag" && each.issuer === from,
      );
      return by && logoutTokenOf(by, token);
    },
    async useOnce({ issuer, ...id }) {
      const storing = { records, now, randomBytes, ...(waitUntil && { waitUntil }) };
      const use = await useOnce({ kind: "assertion", by: issuer, ...id }, storing);
      if (use === undefined) throw new JwtRefused("assertion_replayed", "it was used before");
      return use;
    },
  };
}
