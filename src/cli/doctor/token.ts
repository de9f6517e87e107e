/**
 * `doctor token`: why a bearer token is accepted or refused, and by which check. Decided by the server's own code on a
 * read-only store; nothing is logged or stored as if the token had been used.
 */

import { decodeJwt, decodeProtectedHeader } from "jose";
import { shapeProblem } from "../../access/claims.ts";
import { claimsOf, subjectOf } from "../../access/principal.ts";
import type { Grant } from "../../grants/grant.ts";
import { readToken } from "../../grants/opaque-token.ts";
import { decidingClaims } from "../../identity/bounded-claims.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { effectiveScopes } from "../../resource/access-token.ts";
import type { Caller } from "../../resource/caller.ts";
import { resourceOf } from "../../resource/protected-resource.ts";
import { authenticateToken } from "../../resource/token-authenticator.ts";
import type { McpResource } from "../../server/resources.ts";
import type { Services } from "../../server/services.ts";
import { refreshTokenStatus } from "../../token-endpoint/grant-types/refresh-token.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";
import { ago, fromNow } from "./time-in-words.ts";

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
          warning(
            "token.pasted",
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
          ok("token.shape", `It is a whole ${kind} token of this kind of server (${value.slice(0, 7)}…)`),
        ],
      };
  return { kind: undefined, value, findings: [...trimmed, ...whatElse(value, providers, nowSeconds)] };
}

const SIGN_IN =
  "Let the client sign in again: it has to present the access token that this server's /token gave it.";

function whatElse(value: string, providers: readonly Issuer[], nowSeconds: number): Finding[] {
  const check = "token.shape";
  if (value === "")
    return [failure(check, "There is no token", "Pass one: npm run doctor -- token -, and paste it.")];
  if (value.startsWith("mcp_ac_"))
    return [
      failure(
        check,
        "It is an authorization code, not a token",
        "The client has to exchange it at /token, once and within a minute, for an access token.",
      ),
    ];
  if (/^mcp_(at|rt)_/.test(value)) {
    const whole = value.startsWith("mcp_at_") ? 72 : 94;
    const what =
      value.length === whole
        ? "has characters that no token has"
        : `has ${value.length} characters, and a whole one ${whole}`;
    return [
      failure(
        check,
        `It begins like a token of this server, but ${what}`,
        "Copy it again, whole and on one line.",
      ),
    ];
  }
  const parts = value.split(".");
  if (parts.length === 5)
    return [failure(check, "It is an encrypted JWT (JWE), which is not a token of this server", SIGN_IN)];
  if (parts.length === 3) return jwt(value, providers, nowSeconds);
  if (/\s/.test(value))
    return [
      failure(
        check,
        "It has spaces or line breaks in it, which no token has",
        "Copy it again, whole and on one line.",
      ),
    ];
  return [
    failure(
      check,
      "It is no token of this server: those begin with mcp_at_ (access) or mcp_rt_ (refresh)",
      `It may be another server's, or the identity provider's own. ${SIGN_IN}`,
    ),
  ];
}

/** Decoded, not verified: enough to say where it came from. */
function jwt(value: string, providers: readonly Issuer[], nowSeconds: number): Finding[] {
  const check = "token.shape";
  try {
    const { iss, aud, exp } = decodeJwt(value);
    const { alg } = decodeProtectedHeader(value);
    const isProvider = providers.some(({ issuer }) => issuer === iss);
    const from = isProvider ? `${iss}, this server's identity provider` : (iss ?? "nobody");
    const ends = exp === undefined ? "never" : `${fromNow(exp - nowSeconds)}`;
    return [
      failure(
        check,
        `It is a JWT, not a token of this server. Decoded, not verified: issued by ${from}; for ${[aud ?? "nobody"].flat().join(", ")}; ends ${ends}; signed with ${alg ?? "nothing"}`,
        `Clients present this server's own tokens, never the provider's. ${SIGN_IN}`,
      ),
    ];
  } catch {
    return [
      failure(check, "It has three parts like a JWT, but is none, nor a token of this server", SIGN_IN),
    ];
  }
}

/** @throws UnavailableError if Redis cannot be asked */
export async function explainToken(
  { kind, value, findings }: ReadToken,
  services: LookUp,
): Promise<Finding[]> {
  if (kind === undefined) return findings;
  const presented = readToken(kind, value);
  if (presented !== undefined && (await isUnreadable(presented.grantId, services)))
    return [
      ...findings,
      failure(
        "token.grant",
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

/** Every check before the one that refuses it was passed. */
const REFUSED_AT: Readonly<Record<string, (typeof STAGES)[number]>> = {
  grant_ended: "token.grant",
  unknown_access_token: "token.known",
  expired_access_token: "token.expiry",
  access_token_for_another_resource: "token.resource",
};

async function explainAccessToken(value: string, services: LookUp): Promise<Finding[]> {
  const { grants, resources, now } = services;
  const presented = readToken("access", value);
  const grant = presented && (await grants.find(presented.grantId));
  const { uri: resource, authenticators } = resourceOf(grant?.resource ?? "", resources);
  const verification = await authenticateToken(value, authenticators);
  const issued = grant?.accessTokens.find(({ hash }) => hash === presented?.hash);
  const passed: Record<(typeof STAGES)[number], string> = {
    "token.grant": grant === undefined ? "" : grantInWords(grant, now()),
    "token.known": "It is one of the access tokens of that grant",
    "token.expiry": issued === undefined ? "" : `It ends ${fromNow(issued.expiresAt - now())}`,
    "token.resource": `It is for this server (${resource})`,
    "token.admission": `The user ${subjectIn(grant) ?? ""} may come in, with this client`,
  };
  if ("caller" in verification)
    return [
      ...STAGES.map((stage) => ok(stage, passed[stage])),
      ...whatItMayDo(verification.caller, resource, services),
      ok("token.verdict", "Accepted: it may be presented to the MCP endpoint"),
    ];
  const { refused, rule } = verification;
  const stage = REFUSED_AT[refused] ?? "token.admission";
  return [
    ...STAGES.slice(0, STAGES.indexOf(stage)).map((each) => ok(each, passed[each])),
    failure(stage, ...refusal(refused, { grant, expiresAt: issued?.expiresAt, rule, resource, now: now() })),
  ];
}

interface RefusalDetail {
  grant: Grant | undefined;
  expiresAt?: number | undefined;
  rule?: string | undefined;
  resource: string;
  now: number;
}

/** The reason codes of the server's log, in words. */
function refusal(reason: string, { grant, expiresAt, rule, resource, now }: RefusalDetail): [string, string] {
  switch (reason) {
    case "grant_ended":
    case "unknown_grant":
      return [
        `Refused (${reason}): there is no such grant in the store. It ended, was revoked or never was here`,
        "Let the client sign in again. The audit log says grant_ended with the reason; if it happens to all: is this the Redis, REDIS_KEY_PREFIX and SECRET_KEY of the server?",
      ];
    case "unknown_access_token":
      return [
        `Refused (${reason}): the grant is there, but this token is not one of its tokens. It was pushed out by newer ones, or is made up`,
        "Let the client use its newest access token, or refresh.",
      ];
    case "expired_access_token":
      return [
        `Refused (${reason}): it ended ${ago(now - (expiresAt ?? now))}`,
        "Let the client refresh with its refresh token. If it was fresh a moment ago, compare the clocks of all servers.",
      ];
    case "access_token_for_another_resource":
    case "foreign_resource":
      return [
        `Refused (${reason}): it is for ${grant?.resource ?? "another resource"}, and this server is ${resource}`,
        "If BASE_URL changed, users sign in again at the new address; otherwise run the doctor with that server's settings.",
      ];
    case "unknown_refresh_token":
      return [
        `Refused (${reason}): the grant is there, but this token was never issued for it: it is damaged or made up`,
        "Copy it again; otherwise let the client sign in again.",
      ];
    case "denied_by_policy":
      return [
        `Refused (${reason}): the policy does not let ${subjectIn(grant) ?? "them"} in with the client ${grant?.client.id ?? ""}${rule === undefined ? "" : `, by the rule "${rule}"`}`,
        "Change the rule in POLICY_FILE if that is wrong; npm run admin -- policy explain says more.",
      ];
    default:
      return [
        `Refused (${reason}): ${subjectIn(grant) ?? "this user"} may not come in`,
        "See ALLOWED_ORGANIZATIONS, AUTH0_ORGANIZATION and ALLOWED_EMAIL_DOMAINS, and what the provider says of this user.",
      ];
  }
}

function subjectIn(grant: Grant | undefined): string | undefined {
  return grant && subjectOf(grant.principal);
}

function grantInWords({ principal, client, createdAt }: Grant, now: number): string {
  return `Its grant is in the store: ${subjectOf(principal)} with the client ${client.id}, signed in ${ago(now - createdAt)}`;
}

/** Roles and groups that nobody can read look like none. */
function oddClaims(
  { principal }: Pick<Bearer, "principal">,
  { permissions }: McpResource,
  { config }: LookUp,
): Finding[] {
  return decidingClaims(permissions, config.identityProviders).flatMap((path) => {
    const problem = shapeProblem(claimsOf(principal), path);
    return problem === undefined
      ? []
      : [
          warning(
            "token.claims",
            `The claim ${path} of its user may say more than is read of it: ${problem}`,
            "If it holds several names, have the provider send a list of texts, then let the client sign in again.",
          ),
        ];
  });
}

type Bearer = Pick<Caller, "principal" | "scopes" | "permissions">;

function whatItMayDo(token: Bearer, resourceUri: string, services: LookUp): Finding[] {
  const resource = resourceOf(resourceUri, services.resources);
  const scopes = `Its scopes now: ${token.scopes.join(" ") || "none"}`;
  const tools = resource.features.tools.map((tool) => {
    const decision = token.permissions.checkFeature(tool);
    const check = `token.tool.${tool.name}`;
    if (decision.allowed) return ok(check, `It may use ${tool.name}`);
    if (decision.because === "policy")
      return warning(
        check,
        `It may not use ${tool.name}: the policy denies it, by the rule "${decision.rule.name}"`,
        "Change the rule in POLICY_FILE if that is wrong.",
      );
    return warning(
      check,
      `It may not use ${tool.name}: it lacks ${decision.missing.join(" ")}`,
      "The client can ask for it with a new sign-in; it is given if the provider says that the user has it (SCOPES_FROM).",
    );
  });
  return [ok("token.scopes", scopes), ...oddClaims(token, resource, services), ...tools];
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
    const { reason, about: who } = found.error;
    const known = grant !== undefined && reason !== "unknown_grant";
    return [
      ...(known ? [ok("token.grant", grantInWords(grant, now()))] : []),
      failure("token.status", ...refusal(reason, { ...about, rule: who.rule })),
    ];
  }
  const family = ok("token.grant", grantInWords(found.grant, now()));
  switch (found.is) {
    case "reused":
      return [
        family,
        failure(
          "token.status",
          "Refused (refresh_token_reused): it was replaced longer ago than REFRESH_GRACE_SECONDS. Whoever presents it at /token ends the whole grant, because one of two copies is stolen",
          "Do not present it. Let the client use its newest refresh token: do two copies of it share a file, or was it restored from a backup?",
        ),
      ];
    case "superseded": {
      const until = found.grant.replaced.find(({ hash }) => hash === presented.hash)?.until ?? now();
      return [
        family,
        warning(
          "token.status",
          `It was replaced a moment ago. Until ${fromNow(until - now())} it gets the same answer again; after that it counts as stolen`,
          "Let the client keep the refresh token of the newest answer.",
        ),
        ok("token.verdict", "Accepted, once more"),
      ];
    }
    case "current": {
      const { permissions, scopes: catalogue } = resource;
      const { principal } = found.grant;
      const scopes = effectiveScopes(found.grant.scopes, found.grant, { permissions, catalogue });
      const bearer = { principal, scopes, permissions: permissions.permissionSet(found.grant, scopes) };
      return [
        family,
        ok("token.status", "It is the refresh token of that grant that is good now"),
        ok(
          "token.expiry",
          `Its grant ends ${fromNow(found.grant.expiresAt - now())}, or earlier if nobody uses it`,
        ),
        ...whatItMayDo(bearer, resource.uri, services),
        ok(
          "token.verdict",
          "Accepted, if the client that it was issued to presents it, and if the identity provider still renews",
        ),
      ];
    }
  }
}
