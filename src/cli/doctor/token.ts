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

/** What is known of a token before any look-up. */
export interface ReadToken {
  /** One of ours, if it has the form of one. */
  presented?: PresentedToken;
  kind?: "access" | "refresh";
  /** Without what was pasted along with it. */
  value: string;
  findings: Finding[];
}

type Issuer = Pick<IdentityProviderSettings, "issuer">;

/** Pure: form and kind. Whatever is refused here never reaches the store. */
export function readPresented(pasted: string, providers: readonly Issuer[], now: number): ReadToken {
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
  return { value, findings: [...trimmed, whatElse(value, providers, now)] };
}

const SIGN_IN =
  "Let the client sign in again: it has to present the access token that this server's /token gave it.";
const COPY = "Copy it again, whole and on one line.";

function whatElse(value: string, providers: readonly Issuer[], now: number): Finding {
  const parts = value.split(".").length;
  if (value === "")
    return form`✗ There is no token
      → Pass one: npm run doctor -- token -, and paste it.`;
  if (value.startsWith("mcp_ac_"))
    return form`✗ It is an authorization code, not a token
      → The client has to exchange it at /token, once and within a minute, for an access token.`;
  if (/^mcp_(at|rt)_/.test(value)) {
    const whole = value.startsWith("mcp_at_") ? 72 : 94;
    const length = `${value.length} characters, and a whole one ${whole}`;
    return form`✗ It begins like a token of this server, but has ${value.length === whole ? "characters that no token has" : length}
      → ${COPY}`;
  }
  if (parts === 5)
    return form`✗ It is an encrypted JWT (JWE), which is not a token of this server
      → ${SIGN_IN}`;
  if (parts === 3) return jwt(value, providers, now);
  if (/\s/.test(value))
    return form`✗ It has spaces or line breaks in it, which no token has
      → ${COPY}`;
  return form`✗ It is no token of this server: those begin with mcp_at_ (access) or mcp_rt_ (refresh)
    → It may be another server's, or the identity provider's own. ${SIGN_IN}`;
}

/** Decoded, not verified: enough to say what it is, and where it came from. */
function jwt(value: string, providers: readonly Issuer[], now: number): Finding {
  try {
    const { iss = "nobody", aud = "nobody", exp, nonce, at_hash: hash } = decodeJwt(value);
    const { alg = "nothing", typ } = decodeProtectedHeader(value);
    const isProvider = providers.some(({ issuer }) => issuer === iss);
    const seen = [
      `issued by ${iss}${isProvider ? ", this server's identity provider" : ""}`,
      `for ${[aud].flat().join(", ")}`,
      `ends ${exp === undefined ? "never" : relativeTime(exp, now)}`,
      `signed with ${alg}`,
    ].join("; ");
    if (typ === "oauth-id-jag+jwt")
      return form`✗ It is an assertion (ID-JAG), not a token of this server. Decoded, not verified: ${seen}
        → The client presents it at /token (grant type jwt-bearer), and here the access token that it gets for it.`;
    const kind = nonce !== undefined || hash !== undefined ? "an ID token" : "a JWT";
    return form`✗ It is ${kind}, not a token of this server. Decoded, not verified: ${seen}
      → Clients present this server's own tokens, never the provider's. ${SIGN_IN}`;
  } catch {
    return form`✗ It has three parts like a JWT, but is none, nor a token of this server
      → ${SIGN_IN}`;
  }
}

/** @throws UnavailableError if Redis cannot be asked */
export async function explainToken(read: ReadToken, services: Services): Promise<Finding[]> {
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
  if (kind === "refresh") return [...findings, ...explainRefreshToken(presented, grant, at, services)];
  return [...findings, ...(await explainAccessToken(presented, grant, at, services))];
}

async function explainAccessToken(
  { value, hash }: PresentedToken,
  grant: Grant | undefined,
  at: McpResource,
  { config, runtime }: Services,
): Promise<Finding[]> {
  const now = runtime.now();
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
  return upTo(refusal(refused, { grant, expiresAt, rule, uri: at.uri, now }), stages);
}

/** Every stage before the one that refuses a token was passed. */
function upTo(refused: Finding, stages: readonly Finding[] = []): Finding[] {
  const at = stages.findIndex(({ check }) => check === refused.check);
  return [...(at < 0 ? stages : stages.slice(0, at)), refused];
}

function grantInWords({ principal, client, createdAt }: Grant, now: number): Finding {
  return stage.inStore`✓ Its grant is in the store: ${subjectOf(principal)} with the client ${client.id}, signed in ${relativeTime(createdAt, now)}`;
}

/** By the first resource that takes tokens of its issuer. Undefined: no resource here does. */
async function explainForeignToken(value: string, services: Services): Promise<Finding[] | undefined> {
  const { resources, config, runtime } = services;
  const now = runtime.now();
  const trusted = form`✓ It is a token of another issuer, which is trusted here`;
  let refused: Finding | undefined;
  for (const at of resources)
    try {
      const verification = await at.authenticators.find(({ claims }) => claims(value))?.verify(value);
      if (verification === undefined) continue;
      if ("refused" in verification) {
        refused ??= refusal(verification.refused, { rule: verification.rule, uri: at.uri, now });
        continue;
      }
      const { principal, client, expiresAt } = verification.caller;
      return [
        trusted,
        stage.resource`✓ It is for this server (${at.uri})`,
        stage.expiry`✓ It ends ${relativeTime(expiresAt, now)}`,
        stage.principal`✓ It is of the ${principal.kind} ${subjectOf(principal)}, of ${principal.issuer ?? "this server"}, with the client ${client.id}`,
        ...accepted(verification.caller, at, config),
      ];
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const unknown = stage.signature`? Could not tell whether it is good: its issuer cannot be asked (${causes(error.cause)})
        → A server that cannot ask it answers 503, never 401. Is its name right, and can this computer reach it?`;
      return [trusted, unknown];
    }
  return refused && upTo(refused, [trusted]);
}

/** Who would present it is not known here, so it is taken to be the rightful client, naming this server's resource. */
function explainRefreshToken(
  presented: PresentedToken,
  grant: Grant | undefined,
  at: McpResource,
  { resources, config, runtime }: Services,
): Finding[] {
  const now = runtime.now();
  const client = { client_id: grant?.client.id ?? "" };
  const asked = { resource: [at.uri] };
  const found = refreshTokenStatus(grant, presented, client, asked, { resources, now: runtime.now });
  if (found.is === "refused") {
    const { reason, error } = found;
    const about = { grant, uri: at.uri, now, rule: error.about.rule };
    return upTo(refusal(reason, about), grant && [grantInWords(grant, now)]);
  }
  const family = grantInWords(found.grant, now);
  if (found.is === "reused") {
    const stolen = stage.known`✗ Refused (refresh_token_reused): it was replaced longer ago than REFRESH_GRACE_SECONDS. Whoever presents it at /token ends the whole grant, because one of two copies is stolen
      → Do not present it. Let the client use its newest refresh token: do two copies of it share a file, or was it restored from a backup?`;
    return [family, stolen];
  }
  if (found.is === "superseded") {
    const until = found.grant.replaced.find(({ hash }) => hash === presented.hash)?.until ?? now;
    const replaced = stage.known`! It was replaced a moment ago: for now it gets the same answer again, and ${relativeTime(until, now)} it will count as stolen
      → Let the client keep the refresh token of the newest answer.`;
    return [family, replaced, verdict`✓ Accepted, once more`];
  }
  const { permissions, scopes: catalogue } = at;
  const { principal } = found.grant;
  const scopes = effectiveScopes(found.grant.scopes, found.grant, { permissions, catalogue });
  const bearer = { principal, scopes, permissions: permissions.permissionSet(found.grant, scopes) };
  return [
    family,
    stage.known`✓ It is the refresh token of that grant that is good now`,
    stage.expiry`✓ Its grant ends ${relativeTime(found.grant.expiresAt, now)}, or earlier if nobody uses it`,
    ...whatItMayDo(bearer, at, config),
    verdict`✓ Accepted, if the client that it was issued to presents it, and if the identity provider still renews`,
  ];
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
