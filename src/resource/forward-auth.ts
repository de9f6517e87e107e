/**
 * /auth/check: a reverse proxy asks, for each request to a backend behind it, whether the caller may make it (`auth_request` of
 * nginx, `forwardAuth` of Traefik, `ext_authz` of Envoy, `forward_auth` of Caddy). The backend is a protected resource of this
 * server: its tokens, scopes, policy and metadata are here, and only the requests go another way.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { RequestHandler } from "express";
import type { Feature } from "../access/policy.ts";
import { principalFields } from "../access/principal.ts";
import { bearerToken } from "../http/bearer-token.ts";
import { decodedHeader } from "../http/encoded-header.ts";
import { isEqualInConstantTime } from "../oauth/constant-time.ts";
import { OAuthError } from "../oauth/errors.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { union } from "../oauth/scope.ts";
import { sha256 } from "../oauth/sha256.ts";
import {
  BEARER_TOKEN,
  type BearerAuthenticationOptions,
  insufficientScope,
} from "./bearer-authentication.ts";
import type { ForwardAuthSettings } from "./forward-auth-settings.ts";
import type { PlainAnswer, ProtectedResource } from "./protected-resource.ts";
import { IDENTITY_HEADER, type SignIdentity } from "./signed-identity.ts";

export const CHECK_PATH = "/auth/check";
/** Where a proxy puts its key. */
const KEY_HEADER = "x-forward-auth-key";
/** Where proxies say what was asked for. */
const URI_HEADERS = ["x-forwarded-uri", "x-original-uri"];

export interface CheckedResource extends Pick<ProtectedResource, "uri" | "path" | "scopes"> {
  readonly forwardAuth: ForwardAuthSettings;
}

/**
 * Before the token is looked at: only a proxy is answered, so that no client gets the identity that is signed for a backend, and only
 * about what it really passes on. None of these is 401: a client would sign in again for it.
 * @param basePath the path of BASE_URL
 * @param others of the resources of this server
 */
export function proxiesOnly(
  resource: CheckedResource,
  basePath: string,
  others: ReadonlyArray<Pick<ProtectedResource, "path">>,
): RequestHandler {
  const { path, forwardAuth } = resource;
  const inner = others.map((other) => other.path).filter((other) => other.startsWith(`${path}/`));
  const isHere = (asked: string, base: string) =>
    isBelow(asked, base + path) &&
    // Its caller may have no token for that.
    !inner.some((other) => `${asked}/`.toLowerCase().startsWith(`${base}${other}/`.toLowerCase()));
  const keys = forwardAuth.keys.map((key) => sha256(key));
  return (req, _res, next) => {
    const presented = sha256(req.get(KEY_HEADER) ?? "");
    if (!keys.map((key) => isEqualInConstantTime(key, presented)).includes(true))
      throw refusal(
        "forward_auth_key",
        `This is for the reverse proxy in front of ${resource.uri}: it has to send its key in ${KEY_HEADER}.`,
      );
    const asked = req.path.slice(CHECK_PATH.length);
    const said = URI_HEADERS.map((name) => req.get(name)).filter((uri) => uri !== undefined);
    if (!isHere(asked, "") || !said.every((uri) => isHere(pathIn(uri), basePath)))
      throw refusal(
        "forward_auth_path",
        `The request is not for ${resource.uri}, or its path can be read in more than one way.`,
      );
    next();
  };
}

function refusal(reason: ReasonCode, message: string): OAuthError {
  return new OAuthError("access_denied", message, { reason });
}

/** Traefik and Caddy send the path alone, some send a whole URL. */
function pathIn(uri: string): string {
  const withoutOrigin = uri.replace(/^https?:\/\/[^/?#]*/i, "");
  return withoutOrigin.split(/[?#]/, 1)[0] ?? "";
}

/** What a backend could decode or normalize is another path there than it is for the proxy and here. */
function isBelow(path: string, resourcePath: string): boolean {
  const rest = path.slice(resourcePath.length);
  return path.startsWith(resourcePath) && /^(\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\/?$/.test(rest);
}

/**
 * nginx takes 401, 403 and success for answers, and everything else for a failure of its own: a header that is no bearer token
 * counts as none.
 */
export const malformedIsMissing: RequestHandler = (req, _res, next) => {
  const presented = bearerToken(req);
  if (presented !== undefined && !BEARER_TOKEN.test(presented)) delete req.headers.authorization;
  if (req.url.includes("?")) req.url = req.path;
  next();
};

/** At the resource itself, where the proxy should have passed the request on (RFC 9110 §15.5.20). */
export const reachedPastProxy: PlainAnswer = async () => {
  throw new OAuthError(
    "invalid_request",
    "This is answered by a server behind a reverse proxy, which did not pass the request on to it. Tell its operator.",
    { reason: "forward_auth_bypassed", status: 421 },
  );
};

/** Behind bearer authentication: what the caller lacks, or who they are, for the backend. */
export function answerCheck(
  resource: CheckedResource,
  { signIdentity, audit }: { signIdentity: SignIdentity } & Pick<BearerAuthenticationOptions, "audit">,
): PlainAnswer {
  const { forwardAuth } = resource;
  const usedBy = featuresUsed(forwardAuth.needs);
  return async ({ headers }, res, authenticated) => {
    const { caller } = authenticated;
    const { principal, client, grantId } = caller;
    const features = usedBy(headers);
    const decisions = features && [
      authenticated.checkScopes(forwardAuth.scopes),
      ...features.map((feature) => caller.permissions.checkFeature(feature)),
    ];
    const denials = decisions?.filter((decision) => !decision.allowed);
    if (denials?.length === 0) {
      res.setHeader("Cache-Control", "no-store");
      res.setHeader(IDENTITY_HEADER, await signIdentity(caller, forwardAuth.audience));
      return void res.end();
    }
    const refused = (reason: ReasonCode, more: { rule?: string; missing?: readonly string[] } = {}) => {
      const about = {
        ...principalFields(principal),
        clientId: client.id,
        grantId,
        protectedResource: resource.uri,
      };
      audit({ event: "access_refused", decision: "deny", reason, ...about, ...more });
    };
    const byPolicy = denials?.find((denial) => denial.because === "policy");
    if (denials === undefined) {
      refused("forward_auth_feature");
      throw refusal("forward_auth_feature", "This server gives nobody what Mcp-Name says.");
    }
    if (byPolicy !== undefined) {
      refused("denied_by_policy", { rule: byPolicy.rule.name });
      throw refusal("denied_by_policy", "The policy of this server does not let you do that.");
    }
    const missing = union(...denials.map((denial) => ("missing" in denial ? denial.missing : [])));
    refused("insufficient_scope", { missing });
    insufficientScope(res, resource, union(caller.scopes, missing), missing);
  };
}

/** What uses a feature, which `Mcp-Name` names (MCP 2026-07-28, Streamable HTTP, request headers) … */
const FEATURE_METHODS: Readonly<Record<string, Feature["kind"]>> = {
  "tools/call": "tool",
  "resources/read": "resource",
  "prompts/get": "prompt",
};
/** … and what uses none. */
const OTHER_METHODS = new Set([
  ...["initialize", "ping", "server/discover", "logging/setLevel", "notifications/initialized"],
  ...["notifications/cancelled", "tools/list", "resources/list", "resources/templates/list", "prompts/list"],
]);

/** The revision of which a backend holds these headers against the body. It believes the body of an older one, whatever they say. */
const CHECKED_REVISION = "2026-07-28";
const JUDGED_BY = ["mcp-protocol-version", "mcp-method", "mcp-name"];

/** Undefined: what it uses is not named by the operator, so nobody may. */
function featuresUsed(
  needs: ForwardAuthSettings["needs"],
): (headers: IncomingHttpHeaders) => readonly Feature[] | undefined {
  if (needs === undefined) return () => [];
  const named = (kind: Feature["kind"]) =>
    new Map([...needs[kind]].map(([name, scopes]): [string, Feature] => [name, { kind, name, scopes }]));
  const features = { tool: named("tool"), resource: named("resource"), prompt: named("prompt") };
  const all = Object.values(features).flatMap((each) => [...each.values()]);
  return (headers) => {
    // A client of 2025 sends no such header, and calls what it likes in the body: that takes everything that anything needs.
    if (!areChecked(headers)) return all;
    const method = String(headers["mcp-method"] ?? "");
    const kind = Object.hasOwn(FEATURE_METHODS, method) ? FEATURE_METHODS[method] : undefined;
    if (kind !== undefined) {
      const feature = features[kind].get(decodedHeader(String(headers["mcp-name"] ?? "")) ?? "");
      return feature && [feature];
    }
    return OTHER_METHODS.has(method) ? [] : all;
  };
}

function areChecked(headers: IncomingHttpHeaders): boolean {
  // Where headers are named as CGI does, `Mcp_Name` is another `Mcp-Name`, and nobody knows which of the two is found.
  const isTwofold = Object.keys(headers).some(
    (name) => name.includes("_") && JUDGED_BY.includes(name.replaceAll("_", "-")),
  );
  return headers["mcp-protocol-version"] === CHECKED_REVISION && !isTwofold;
}
