/**
 * `doctor token`: why a bearer token is accepted or refused, and at which stage. Decided by the server's own code on a
 * read-only store; nothing is logged or stored as if the token had been used.
 */
import { decodeJwt, decodeProtectedHeader } from "jose";
import { shapeProblem } from "../../access/claims.ts";
import { claimsOf, subjectOf } from "../../access/principal.ts";
import type { Grant } from "../../grants/grant.ts";
import { type PresentedToken, readToken } from "../../grants/opaque-token.ts";
import { decidingClaims } from "../../identity/bounded-claims.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { causes, UnavailableError } from "../../oauth/errors.ts";
import type { Caller } from "../../resource/caller.ts";
import { resourceOf } from "../../resource/protected-resource.ts";
import { authenticateToken } from "../../resource/token-authenticator.ts";
import { effectiveScopes } from "../../resource/token-worth.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";
import type { McpResource } from "../../server/resources.ts";
import type { Services } from "../../server/services.ts";
import { refreshTokenStatus } from "../../token-endpoint/grant-types/refresh-token.ts";
import { checkOf, type Finding } from "./finding.ts";
import * as stage from "./token-refusals.ts";
import { form, refusal } from "./token-refusals.ts";

const verdict = checkOf("token.verdict");

type LookUp = Pick<Services, "grants" | "records" | "resources" | "config"> &
  Pick<Services["runtime"], "now">;

/** What is known of a token before any look-up. */
export interface ReadToken {
  kind: "access" | "refresh" | undefined;
  presented?: PresentedToken;
  /** Without what was pasted along with it. */
  value: string;
  findings: Finding[];
}

type Issuer = Pick<IdentityProviderSettings, "issuer">;

/** Pure: form and kind. Whatever is refused here never reaches the store. */
export function readPresented(pasted: string, providers: readonly Issuer[], nowSeconds: number): ReadToken {
  const value = pasted
    .trim()
    .replace(/^Bearer +/i, "")
    .replace(/^(["'])(.*)\1$/, "$2");
  const around = checkOf("token.pasted")`! “Bearer” or quotation marks around the token were left out
    → Make sure that the client sends the bare token after “Bearer ”.`;
  const trimmed = value === pasted.trim() ? [] : [around];
  for (const kind of ["access", "refresh"] as const) {
    const presented = readToken(kind, value);
    const whole = form`✓ It is a whole ${kind} token of this kind of server (${value.slice(0, 7)}…)`;
    if (presented !== undefined) return { kind, presented, value, findings: [...trimmed, whole] };
  }
  return { kind: undefined, value, findings: [...trimmed, whatElse(value, providers, nowSeconds)] };
}

const SIGN_IN =
  "Let the client sign in again: it has to present the access token that this server's /token gave it.";

function whatElse(value: string, providers: readonly Issuer[], nowSeconds: number): Finding {
  const parts = value.split(".").length;
  if (value === "")
    return form`✗ There is no token
      → Pass one: npm run doctor -- token -, and paste it.`;
  if (value.startsWith("mcp_ac_"))
    return form`✗ It is an authorization code, not a token
      → The client has to exchange it at /token, once and within a minute, for an access token.`;
  if (/^mcp_(at|rt)_/.test(value)) {
    const whole = value.startsWith("mcp_at_") ? 72 : 94;
    const isWhole = value.length === whole;
    return form`✗ It begins like a token of this server, but has ${isWhole ? "characters that no token has" : `${value.length} characters, and a whole one ${whole}`}
      → Copy it again, whole and on one line.`;
  }
  if (parts === 5)
    return form`✗ It is an encrypted JWT (JWE), which is not a token of this server
      → ${SIGN_IN}`;
  if (parts === 3) return jwt(value, providers, nowSeconds);
  if (/\s/.test(value))
    return form`✗ It has spaces or line breaks in it, which no token has
      → Copy it again, whole and on one line.`;
  return form`✗ It is no token of this server: those begin with mcp_at_ (access) or mcp_rt_ (refresh)
    → It may be another server's, or the identity provider's own. ${SIGN_IN}`;
}

/** Decoded, not verified: enough to say what it is, and where it came from. */
function jwt(value: string, providers: readonly Issuer[], nowSeconds: number): Finding {
  try {
    const { iss, aud, exp, nonce, at_hash: hash } = decodeJwt(value);
    const { alg = "nothing", typ } = decodeProtectedHeader(value);
    const isAssertion = typ === "oauth-id-jag+jwt";
    const isIdToken = nonce !== undefined || hash !== undefined;
    const kind = isAssertion ? "an assertion (ID-JAG)" : isIdToken ? "an ID token" : "a JWT";
    const isProvider = providers.some(({ issuer }) => issuer === iss);
    const from = isProvider ? `${iss}, this server's identity provider` : (iss ?? "nobody");
    const ends = exp === undefined ? "never" : relativeTime(exp, nowSeconds);
    const fix = isAssertion
      ? "The client presents it at /token (grant type jwt-bearer), and here the access token that it gets for it."
      : `Clients present this server's own tokens, never the provider's. ${SIGN_IN}`;
    return form`✗ It is ${kind}, not a token of this server. Decoded, not verified: issued by ${from}; for ${[aud ?? "nobody"].flat().join(", ")}; ends ${ends}; signed with ${alg}
      → ${fix}`;
  } catch {
    return form`✗ It has three parts like a JWT, but is none, nor a token of this server
      → ${SIGN_IN}`;
  }
}

/** @throws UnavailableError if Redis cannot be asked */
export async function explainToken(read: ReadToken, services: LookUp): Promise<Finding[]> {
  const { kind, presented, value, findings } = read;
  if (presented === undefined) return (await explainForeignToken(value, services)) ?? findings;
  const grant = await services.grants.find(presented.grantId);
  // To the server such a record counts as none; its operator can do something about it.
  if (grant === undefined && (await services.records.get(`grant:${presented.grantId}`)) !== undefined) {
    const sealed = stage.inStore`✗ Refused (record_not_decryptable): its grant is in the store, but no key of SECRET_KEY opens it
      → If SECRET_KEY was replaced, put the old one behind it (NEW,OLD), and the session is back.`;
    return [...findings, sealed];
  }
  const at = resourceOf(grant?.resource ?? "", services.resources);
  const explained =
    kind === "refresh"
      ? explainRefreshToken(presented, grant, at, services)
      : await explainAccessToken(value, presented, grant, at, services);
  return [...findings, ...explained];
}

async function explainAccessToken(
  value: string,
  { hash }: PresentedToken,
  grant: Grant | undefined,
  at: McpResource,
  { config, now: clock }: LookUp,
): Promise<Finding[]> {
  const now = clock();
  const verification = await authenticateToken(value, at.authenticators);
  const { expiresAt } = grant?.accessTokens.find((issued) => issued.hash === hash) ?? {};
  const stages = grant && [
    grantInWords(grant, now),
    stage.known`✓ It is one of the access tokens of that grant`,
    stage.expiry`✓ It ends ${relativeTime(expiresAt ?? now, now)}`,
    stage.resource`✓ It is for this server (${at.uri})`,
    stage.admission`✓ The user ${subjectOf(grant.principal)} may come in, with this client`,
  ];
  if ("caller" in verification) return [...(stages ?? []), ...accepted(verification.caller, at, config)];
  const { refused, rule } = verification;
  const finding = refusal(refused, { grant, expiresAt, rule, uri: at.uri, now });
  // Every stage before the one that refuses a token was passed.
  return [
    ...(stages ?? []).slice(
      0,
      stages?.findIndex(({ check }) => check === finding.check),
    ),
    finding,
  ];
}

function grantInWords({ principal, client, createdAt }: Grant, now: number): Finding {
  return stage.inStore`✓ Its grant is in the store: ${subjectOf(principal)} with the client ${client.id}, signed in ${relativeTime(createdAt, now)}`;
}

/** By the first resource that takes tokens of its issuer. Undefined: no resource here does. */
async function explainForeignToken(value: string, services: LookUp): Promise<Finding[] | undefined> {
  const { resources, config, now } = services;
  const trusted = form`✓ It is a token of another issuer, which is trusted here`;
  let refused: Finding | undefined;
  for (const at of resources) {
    const authenticator = at.authenticators.find(({ claims }) => claims(value));
    if (authenticator === undefined) continue;
    try {
      const verification = await authenticator.verify(value);
      if ("refused" in verification) {
        refused ??= refusal(verification.refused, { rule: verification.rule, uri: at.uri, now: now() });
        continue;
      }
      const { principal, client, expiresAt } = verification.caller;
      return [
        trusted,
        stage.resource`✓ It is for this server (${at.uri})`,
        stage.expiry`✓ It ends ${relativeTime(expiresAt, now())}`,
        stage.principal`✓ It is of the ${principal.kind} ${subjectOf(principal)}, of ${principal.issuer ?? "this server"}, with the client ${client.id}`,
        ...accepted(verification.caller, at, config),
      ];
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const unknown = stage.signature`? Could not tell whether it is good: its issuer cannot be asked (${causes(error.cause)})
        → A server that cannot ask it answers 503, never 401. Is its name right, and can this computer reach it?`;
      return [trusted, unknown];
    }
  }
  return refused && (refused.check === trusted.check ? [refused] : [trusted, refused]);
}

/** Who would present it is not known here, so it is taken to be the rightful client, naming this server's resource. */
function explainRefreshToken(
  presented: PresentedToken,
  grant: Grant | undefined,
  at: McpResource,
  services: LookUp,
): Finding[] {
  const now = services.now();
  const client = { client_id: grant?.client.id ?? "" };
  const found = refreshTokenStatus(grant, presented, client, { resource: [at.uri] }, services);
  if (found.is === "refused") {
    const { reason, error } = found;
    const isThere = grant !== undefined && reason !== "unknown_grant";
    const refused = refusal(reason, { grant, uri: at.uri, now, rule: error.about.rule });
    return [...(isThere ? [grantInWords(grant, now)] : []), refused];
  }
  const family = grantInWords(found.grant, now);
  switch (found.is) {
    case "reused":
      return [
        family,
        stage.known`✗ Refused (refresh_token_reused): it was replaced longer ago than REFRESH_GRACE_SECONDS. Whoever presents it at /token ends the whole grant, because one of two copies is stolen
          → Do not present it. Let the client use its newest refresh token: do two copies of it share a file, or was it restored from a backup?`,
      ];
    case "superseded": {
      const until = found.grant.replaced.find(({ hash }) => hash === presented.hash)?.until ?? now;
      return [
        family,
        stage.known`! It was replaced a moment ago: for now it gets the same answer again, and ${relativeTime(until, now)} it will count as stolen
          → Let the client keep the refresh token of the newest answer.`,
        verdict`✓ Accepted, once more`,
      ];
    }
    case "current": {
      const { permissions, scopes: catalogue } = at;
      const { principal } = found.grant;
      const scopes = effectiveScopes(found.grant.scopes, found.grant, { permissions, catalogue });
      const bearer = { principal, scopes, permissions: permissions.permissionSet(found.grant, scopes) };
      return [
        family,
        stage.known`✓ It is the refresh token of that grant that is good now`,
        stage.expiry`✓ Its grant ends ${relativeTime(found.grant.expiresAt, now)}, or earlier if nobody uses it`,
        ...whatItMayDo(bearer, at, services.config),
        verdict`✓ Accepted, if the client that it was issued to presents it, and if the identity provider still renews`,
      ];
    }
  }
}

const accepted = (caller: Caller, at: McpResource, config: Services["config"]): Finding[] => [
  ...whatItMayDo(caller, at, config),
  verdict`✓ Accepted: it may be presented to the MCP endpoint`,
];

type Bearer = Pick<Caller, "principal" | "scopes" | "permissions">;

/** Its scopes and tools now, and claims that may say more than is read: roles and groups that nobody can read look like none. */
function whatItMayDo(token: Bearer, { permissions, features }: McpResource, config: Services["config"]) {
  const claims = decidingClaims(permissions, config.identityProviders).flatMap((path) => {
    const problem = shapeProblem(claimsOf(token.principal), path);
    if (problem === undefined) return [];
    return checkOf("token.claims")`! The claim ${path} of its user may say more than is read of it: ${problem}
      → If it holds several names, have the provider send a list of texts, then let the client sign in again.`;
  });
  const tools = features.tools.map((tool) => {
    const decision = token.permissions.checkFeature(tool);
    const found = checkOf(`token.tool.${tool.name}`);
    if (decision.allowed) return found`✓ It may use ${tool.name}`;
    if (decision.because === "policy")
      return found`! It may not use ${tool.name}: the policy denies it, by the rule "${decision.rule.name}"
        → Change the rule in POLICY_FILE if that is wrong.`;
    return found`! It may not use ${tool.name}: it lacks ${decision.missing.join(" ")}
      → The client can ask for it with a new sign-in; it is given if the provider says that the user has it (SCOPES_FROM).`;
  });
  return [
    checkOf("token.scopes")`✓ Its scopes now: ${token.scopes.join(" ") || "none"}`,
    ...claims,
    ...tools,
  ];
}
