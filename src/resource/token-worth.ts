/** What a genuine token is worth to its principal now: by membership and policy. Decided alike for this server's tokens and others'. */
import type { Permissions } from "../access/permissions.ts";
import { principalFields, type Requester } from "../access/principal.ts";
import type { Grant } from "../grants/grant.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Caller, Verification } from "./caller.ts";

export interface Rules {
  permissions: Permissions;
  catalogue: ScopeCatalogue;
}

/** A token that was found genuine. */
export interface GenuineToken extends Omit<Caller, "scopes" | "permissions" | "principal" | "client"> {
  readonly requester: Requester;
  /** Of the catalogue, before the policy. */
  readonly held: readonly string[];
}

/**
 * @param key an object of this token that lives as long as what is known of the token: what was found is kept with it
 * @param genuine asked only if nothing was found yet, or the policy changed since
 */
export type JudgeToken = (key: object, requester: Requester, genuine: () => GenuineToken) => Verification;

interface Finding {
  /** See {@link Permissions.ruleset}. */
  ruleset: object;
  verification: Verification;
}

export function createTokenJudge(rules: Rules): JudgeToken {
  const findings = new WeakMap<object, Finding>();
  return (key, requester, genuine) => {
    const ruleset = rules.permissions.ruleset(requester);
    const before = findings.get(key);
    if (before?.ruleset === ruleset) return before.verification;
    const verification = judge(genuine(), rules);
    findings.set(key, { ruleset, verification });
    return verification;
  };
}

function judge(
  { requester, held, notGiven, ...token }: GenuineToken,
  { permissions, catalogue }: Rules,
): Verification {
  const { principal, client } = requester;
  const notAdmitted = permissions.checkAdmission(requester);
  if (notAdmitted !== undefined) {
    const { reason, rule } = notAdmitted;
    const { grantId } = token;
    return {
      refused: reason,
      whose: {
        ...(grantId !== undefined && { grantId }),
        ...principalFields(principal),
        clientId: client.id,
      },
      ...(rule && { rule: rule.name }),
    };
  }
  // Handed to every tool that this token calls: none may change it for the next one.
  const scopes = frozen(worthOf(held, requester, { permissions, catalogue }));
  const caller: Caller = Object.freeze({
    ...token,
    principal: frozen(principal),
    client: frozen(client),
    scopes,
    notGiven: frozen(notGiven),
    get permissions() {
      return permissions.permissionSet(requester, scopes);
    },
  });
  return { caller };
}

/**
 * What the scopes of a token of this server are worth now: without what the provider took from the grant since, or the policy
 * denies, and with everything that the rest includes.
 */
export function effectiveScopes(
  issued: readonly string[],
  grant: Pick<Grant, "principal" | "client" | "scopes">,
  rules: Rules,
): string[] {
  return worthOf(rules.catalogue.limitTo(issued, grant.scopes), grant, rules);
}

function worthOf(held: readonly string[], requester: Requester, { permissions, catalogue }: Rules): string[] {
  return catalogue.expand(permissions.permitted(requester, held));
}

export function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}
