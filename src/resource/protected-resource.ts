/** A protected resource (RFC 9728 §1.2): its identifier, its scopes, the tokens that it takes, and what answers there. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Permissions } from "../access/permissions.ts";
import { namesResource } from "../oauth/resource.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { AuthenticatedRequest } from "./caller.ts";
import type { TokenAuthenticator } from "./token-authenticator.ts";

export interface ProtectedResource {
  /** Its identifier: what clients name (RFC 8707), and tokens are for. */
  readonly uri: string;
  /** Where it is mounted below BASE_URL: begins with "/". */
  readonly path: string;
  /** For people. */
  readonly name: string;
  /** The name of the identity provider where its users sign in. Absent: the one that they choose. */
  readonly identityProvider?: string;
  readonly scopes: ScopeCatalogue;
  /** What its scopes are worth, by the policy. */
  readonly permissions: Permissions;
  /** Its metadata document (RFC 9728 §2). */
  readonly metadata: object;
  readonly authenticators: readonly TokenAuthenticator[];
  /** What answers a request whose token was accepted. */
  readonly answer: PlainAnswer;
}

/** Answers in terms of Node.js alone. */
export type PlainAnswer = (
  req: IncomingMessage,
  res: ServerResponse,
  authenticated: AuthenticatedRequest,
) => Promise<void>;

/** All of a server. The first one is meant by a request that names none. */
export type ProtectedResources<Resource = ProtectedResource> = readonly [Resource, ...Resource[]];

/** The resource that a request names (RFC 8707 §2); undefined if it names one that is not here, or several. */
export function namedResource<Resource extends Pick<ProtectedResource, "uri">>(
  requested: readonly string[],
  resources: ProtectedResources<Resource>,
): Resource | undefined {
  const [only] = requested;
  // As nearly every client spells it, so that no URL of all the others is parsed.
  const exact = requested.length === 1 ? resources.find(({ uri }) => uri === only) : undefined;
  return exact ?? resources.find(({ uri }) => namesResource(requested, uri));
}

/**
 * The resource that a request is for, where there may be several: the one that it names; without a name, or with that of the whole
 * server, the only one that knows every scope that is asked for. "ambiguous": it has to say which.
 * @param asked scopes; none: what the client is registered for
 */
export function requestedResource<Resource extends Pick<ProtectedResource, "uri" | "path" | "scopes">>(
  requested: readonly string[],
  asked: readonly string[],
  resources: ProtectedResources<Resource>,
): Resource | "ambiguous" | undefined {
  const [first, ...others] = resources;
  if (others.length === 0) return namedResource(requested, resources);
  if (!namesResource(requested, wholeServer(first))) return namedResource(requested, resources);
  const ours = asked.filter((scope) => resources.some(({ scopes }) => scopes.names.includes(scope)));
  const left = resources.filter(({ scopes }) => ours.every((scope) => scopes.names.includes(scope)));
  const [only, ...more] = left;
  return only !== undefined && more.length === 0 ? only : "ambiguous";
}

/**
 * Whether a token request is for the resource of its code or refresh token: it names that, or none, or what its sign-in may have
 * named ({@link requestedResource}): the whole server, where there are several.
 */
export function namesGrantedResource(
  requested: readonly string[],
  granted: string,
  [first, ...others]: ProtectedResources<Pick<ProtectedResource, "uri" | "path">>,
): boolean {
  return (
    namesResource(requested, granted) || (others.length > 0 && namesResource(requested, wholeServer(first)))
  );
}

/** BASE_URL. */
function wholeServer({ uri, path }: Pick<ProtectedResource, "uri" | "path">): string {
  return uri.slice(0, -path.length);
}

/**
 * The resource that a grant is for. The scopes of a grant for one that is not served any more are those of the first, where
 * its access tokens are refused.
 */
export function resourceOf<Resource extends Pick<ProtectedResource, "uri">>(
  uri: string,
  resources: ProtectedResources<Resource>,
): Resource {
  return resources.find((resource) => resource.uri === uri) ?? resources[0];
}
