/**
 * `doctor token`: why a bearer token is accepted or refused, and by which check. Decided by the server's own code on a
 * read-only store; nothing is logged or stored as if the token had been used.
 */

import { decodeJwt, decodeProtectedHeader } from "jose";
import { subjectOf } from "../../access/principal.ts";
import type { Grant } from "../../grants/grant.ts";
import { readToken } from "../../grants/opaque-token.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import type { AccessTokenRefusal } from "../../resource/caller.ts";
import { resourceOf } from "../../resource/protected-resource.ts";
import { authenticateToken } from "../../resource/token-authenticator.ts";
import { effectiveScopes } from "../../resource/token-worth.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";
import type { Services } from "../../server/services.ts";
import {
  type RefreshTokenRefusal,
  refreshTokenStatus,
} from "../../token-endpoint/grant-types/refresh-token.ts";
import { checkOf, type Finding } from "./finding.ts";
import { FOREIGN_REFUSALS, type ForeignStage } from "./foreign-refusals.ts";
import { explainForeignToken } from "./foreign-token.ts";
import { whatItMayDo } from "./what-it-may-do.ts";

const shape = checkOf("token.shape");
const inStore = checkOf("token.grant");
const status = checkOf("token.status");
const verdict = checkOf("token.verdict");

type LookUp = Pick<Services, "grants" | "records" | "resources" | "config"> &
  Pick<Services["runtime"], "now">;

/** What is known of a token before any look-up. */
export interface ReadToken {
  kind: "access" | "refresh" | undefined;
  /** Without what was pasted along with it. */
  value: string;
  findings: Finding[];
}

type Issuer = Pick<IdentityProviderSettings, "issuer">;

/** Pure: shape and kind. Whatever is refused here never reaches the store. */
export function readPresented(pasted: string, providers: readonly Issuer[], nowSeconds: number): ReadToken {
  const value = pasted
    .trim()
    .replace(/^Bearer +/i, "")
    .replace(/^(["'])(.*)\1$/, "$2");
  const trimmed =
    value === pasted.trim()
      ? []
      : [
          checkOf("token.pasted").warning(
            "“Bearer” or quotation marks around the token were left out",
            "Make sure that the client sends the bare token after “Bearer ”.",
          ),
        ];
  for (const kind of ["access", "refresh"] as const)
    if (readToken(kind, value) !== undefined)
      return {
        kind,
        value,
        findings: [
          ...trimmed,
          shape.ok(`It is a whole ${kind} token of this kind of server (${value.slice(0, 7)}…)`),
        ],
      };
  return { kind: undefined, value, findings: [...trimmed, whatElse(value, providers, nowSeconds)] };
}

const SIGN_IN =
  "Let the client sign in again: it has to present the access token that this server's /token gave it.";

function whatElse(value: string, providers: readonly Issuer[], nowSeconds: number): Finding {
  const again = "Copy it again, whole and on one line.";
  const parts = value.split(".").length;
  if (value === "")
    return shape.failure("There is no token", "Pass one: npm run doctor -- token -, and paste it.");
  if (value.startsWith("mcp_ac_"))
    return shape.failure(
      "It is an authorization code, not a token",
      "The client has to exchange it at /token, once and within a minute, for an access token.",
    );
  if (/^mcp_(at|rt)_/.test(value)) {
    const whole = value.startsWith("mcp_at_") ? 72 : 94;
    const what =
      value.length === whole
        ? "has characters that no token has"
        : `has ${value.length} characters, and a whole one ${whole}`;
    return shape.failure(`It begins like a token of this server, but ${what}`, again);
  }
  if (parts === 5)
    return shape.failure("It is an encrypted JWT (JWE), which is not a token of this server", SIGN_IN);
  if (parts === 3) return jwt(value, providers, nowSeconds);
  if (/\s/.test(value)) return shape.failure("It has spaces or line breaks in it, which no token has", again);
  return shape.failure(
    "It is no token of this server: those begin with mcp_at_ (access) or mcp_rt_ (refresh)",
    `It may be another server's, or the identity provider's own. ${SIGN_IN}`,
  );
}

/** Decoded, not verified: enough to say where it came from. */
function jwt(value: string, providers: readonly Issuer[], nowSeconds: number): Finding {
  try {
    const { iss, aud, exp } = decodeJwt(value);
    const { alg } = decodeProtectedHeader(value);
    const isProvider = providers.some(({ issuer }) => issuer === iss);
    const from = isProvider ? `${iss}, this server's identity provider` : (iss ?? "nobody");
    const ends = exp === undefined ? "never" : relativeTime(exp, nowSeconds);
    return shape.failure(
      `It is a JWT, not a token of this server. Decoded, not verified: issued by ${from}; for ${[aud ?? "nobody"].flat().join(", ")}; ends ${ends}; signed with ${alg ?? "nothing"}`,
      `Clients present this server's own tokens, never the provider's. ${SIGN_IN}`,
    );
  } catch {
    return shape.failure("It has three parts like a JWT, but is none, nor a token of this server", SIGN_IN);
  }
}

/** @throws UnavailableError if Redis cannot be asked */
export async function explainToken(
  { kind, value, findings }: ReadToken,
  services: LookUp,
): Promise<Finding[]> {
  if (kind === undefined) return (await explainForeignToken(value, services)) ?? findings;
  const presented = readToken(kind, value);
  if (presented !== undefined && (await isUnreadable(presented.grantId, services)))
    return [
      ...findings,
      inStore.failure(
        "Refused (record_not_decryptable): its grant is in the store, but no key of SECRET_KEY opens it",
        "If SECRET_KEY was replaced, put the old one behind it (NEW,OLD), and the session is back.",
      ),
    ];
  const explained =
    kind === "access" ? explainAccessToken(value, services) : explainRefreshToken(value, services);
  return [...findings, ...(await explained)];
}

/** To the server such a record counts as none; its operator can do something about it. */
async function isUnreadable(grantId: string, { grants, records }: LookUp): Promise<boolean> {
  return (await grants.find(grantId)) === undefined && (await records.get(`grant:${grantId}`)) !== undefined;
}

const STAGES = ["token.grant", "token.known", "token.expiry", "token.resource", "token.admission"] as const;

async function explainAccessToken(value: string, services: LookUp): Promise<Finding[]> {
  const { grants, resources, now } = services;
  const presented = readToken("access", value);
  const grant = presented && (await grants.find(presented.grantId));
  const at = resourceOf(grant?.resource ?? "", resources);
  const { uri: resource, authenticators } = at;
  const verification = await authenticateToken(value, authenticators);
  const issued = grant?.accessTokens.find(({ hash }) => hash === presented?.hash);
  const passed: Record<(typeof STAGES)[number], string> = {
    "token.grant": grant === undefined ? "" : grantInWords(grant, now()),
    "token.known": "It is one of the access tokens of that grant",
    "token.expiry": issued === undefined ? "" : `It ends ${relativeTime(issued.expiresAt, now())}`,
    "token.resource": `It is for this server (${resource})`,
    "token.admission": `The user ${subjectIn(grant) ?? ""} may come in, with this client`,
  };
  const ok = (stage: (typeof STAGES)[number]) => checkOf(stage).ok(passed[stage]);
  if ("caller" in verification)
    return [
      ...STAGES.map(ok),
      ...whatItMayDo(verification.caller, at, services.config),
      verdict.ok("Accepted: it may be presented to the MCP endpoint"),
    ];
  const { refused, rule } = verification;
  const {
    at: stage,
    says,
    fix,
  } = refusal(refused, {
    grant,
    expiresAt: issued?.expiresAt,
    rule,
    resource,
    now: now(),
  });
  const stages: readonly string[] = STAGES;
  return [...STAGES.slice(0, stages.indexOf(stage)).map(ok), checkOf(stage).failure(says, fix)];
}

interface RefusalDetail {
  grant: Grant | undefined;
  expiresAt?: number | undefined;
  rule?: string | undefined;
  resource: string;
  now: number;
}

interface Refused {
  /** Every check before the one that refuses a token was passed. */
  at: (typeof STAGES)[number] | ForeignStage;
  says: string | ((detail: RefusalDetail) => string);
  fix: string;
}

const NO_GRANT: Refused = {
  at: "token.grant",
  says: "there is no such grant in the store. It ended, was revoked or never was here",
  fix: "Let the client sign in again. The audit log says grant_ended with the reason; if it happens to all: is this the Redis, REDIS_KEY_PREFIX and SECRET_KEY of the server?",
};
const OTHER_RESOURCE: Refused = {
  at: "token.resource",
  says: ({ grant, resource }) =>
    `it is for ${grant?.resource ?? "another resource"}, and this server is ${resource}`,
  fix: "If BASE_URL changed, users sign in again at the new address; otherwise run the doctor with that server's settings.",
};
const NO_MEMBER: Refused = {
  at: "token.admission",
  says: ({ grant }) => `${subjectIn(grant) ?? "this user"} may not come in`,
  fix: "See ALLOWED_ORGANIZATIONS, AUTH0_ORGANIZATION and ALLOWED_EMAIL_DOMAINS, and what the provider says of this user.",
};

type Refusal = AccessTokenRefusal | RefreshTokenRefusal;

/** The reason codes of the server's log, in words: what it means, and what to do. */
const REFUSALS: Readonly<Record<Refusal, Refused>> = {
  malformed_access_token: {
    at: "token.grant",
    says: "no part of this server takes such a token",
    fix: "Let the client sign in again.",
  },
  grant_ended: NO_GRANT,
  unknown_grant: NO_GRANT,
  access_token_for_another_resource: OTHER_RESOURCE,
  foreign_resource: OTHER_RESOURCE,
  unknown_access_token: {
    at: "token.known",
    says: "the grant is there, but this token is not one of its tokens. It was pushed out by newer ones, or is made up",
    fix: "Let the client use its newest access token, or refresh.",
  },
  client_credentials_removed: {
    at: "token.known",
    says: ({ grant }) =>
      `the client ${grant?.client.id ?? ""} got it with a secret or key that CLIENTS does not have any more`,
    fix: "Let the client ask for a token with its new one.",
  },
  expired_access_token: {
    at: "token.expiry",
    says: ({ now, expiresAt = now }) => `it ended ${relativeTime(expiresAt, now)}`,
    fix: "Let the client refresh with its refresh token. If it was fresh a moment ago, compare the clocks of all servers.",
  },
  unknown_refresh_token: {
    at: "token.known",
    says: "the grant is there, but this token was never issued for it: it is damaged or made up",
    fix: "Copy it again; otherwise let the client sign in again.",
  },
  refresh_token_of_another_client: {
    at: "token.known",
    says: ({ grant }) => `it was issued to the client ${grant?.client.id ?? ""}`,
    fix: "Let that client use it; another one signs in for itself.",
  },
  scope_widened: {
    at: "token.known",
    says: "the request names a scope that the user did not approve",
    fix: "Let the client ask for it with a new sign-in.",
  },
  denied_by_policy: {
    at: "token.admission",
    says: ({ grant, rule }) =>
      `the policy does not let ${subjectIn(grant) ?? "them"} in with the client ${grant?.client.id ?? ""}${rule === undefined ? "" : `, by the rule "${rule}"`}`,
    fix: "Change the rule in POLICY_FILE if that is wrong; npm run admin -- policy explain says more.",
  },
  email_not_verified: NO_MEMBER,
  wrong_email_domain: NO_MEMBER,
  wrong_organization: NO_MEMBER,
  ...FOREIGN_REFUSALS,
};

function refusal(reason: Refusal, detail: RefusalDetail): { at: Refused["at"]; says: string; fix: string } {
  const { at, says, fix } = REFUSALS[reason];
  return { at, says: `Refused (${reason}): ${typeof says === "string" ? says : says(detail)}`, fix };
}

function subjectIn(grant: Grant | undefined): string | undefined {
  return grant && subjectOf(grant.principal);
}

function grantInWords({ principal, client, createdAt }: Grant, now: number): string {
  return `Its grant is in the store: ${subjectOf(principal)} with the client ${client.id}, signed in ${relativeTime(createdAt, now)}`;
}

/** Who would present it is not known here, so it is taken to be the rightful client, naming this server's resource. */
async function explainRefreshToken(value: string, services: LookUp): Promise<Finding[]> {
  const { grants, now } = services;
  const presented = readToken("refresh", value);
  if (presented === undefined) return [];
  const grant = await grants.find(presented.grantId);
  const resource = resourceOf(grant?.resource ?? "", services.resources);
  const about = { grant, resource: resource.uri, now: now() };
  const request = { resource: [resource.uri] };
  const found = refreshTokenStatus(
    grant,
    presented,
    { client_id: grant?.client.id ?? "" },
    request,
    services,
  );
  if (found.is === "refused") {
    const { reason, error } = found;
    const known = grant !== undefined && reason !== "unknown_grant";
    const { says, fix } = refusal(reason, { ...about, rule: error.about.rule });
    return [...(known ? [inStore.ok(grantInWords(grant, now()))] : []), status.failure(says, fix)];
  }
  const family = inStore.ok(grantInWords(found.grant, now()));
  switch (found.is) {
    case "reused":
      return [
        family,
        status.failure(
          "Refused (refresh_token_reused): it was replaced longer ago than REFRESH_GRACE_SECONDS. Whoever presents it at /token ends the whole grant, because one of two copies is stolen",
          "Do not present it. Let the client use its newest refresh token: do two copies of it share a file, or was it restored from a backup?",
        ),
      ];
    case "superseded": {
      const until = found.grant.replaced.find(({ hash }) => hash === presented.hash)?.until ?? now();
      return [
        family,
        status.warning(
          `It was replaced a moment ago: for now it gets the same answer again, and ${relativeTime(until, now())} it will count as stolen`,
          "Let the client keep the refresh token of the newest answer.",
        ),
        verdict.ok("Accepted, once more"),
      ];
    }
    case "current": {
      const { permissions, scopes: catalogue } = resource;
      const { principal } = found.grant;
      const scopes = effectiveScopes(found.grant.scopes, found.grant, { permissions, catalogue });
      const bearer = { principal, scopes, permissions: permissions.permissionSet(found.grant, scopes) };
      return [
        family,
        status.ok("It is the refresh token of that grant that is good now"),
        checkOf("token.expiry").ok(
          `Its grant ends ${relativeTime(found.grant.expiresAt, now())}, or earlier if nobody uses it`,
        ),
        ...whatItMayDo(bearer, resource, services.config),
        verdict.ok(
          "Accepted, if the client that it was issued to presents it, and if the identity provider still renews",
        ),
      ];
    }
  }
}
