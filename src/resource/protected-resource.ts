/** A protected resource (RFC 9728 §1.2): its identifier, its scopes, the tokens that it takes, and what answers there. */
import type { RequestHandler } from "express";
import type { Permissions } from "../access/permissions.ts";
import { namesResource } from "../oauth/resource.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { TokenAuthenticator } from "./token-authenticator.ts";

export interface ProtectedResource {
  /** Its identifier: what clients name (RFC 8707), and tokens are for. */
  readonly uri: string;
  /** Where it is mounted below BASE_URL: begins with "/". */
  readonly path: string;
  /** For people. */
  readonly name: string;
  readonly scopes: ScopeCatalogue;
  /** What its scopes are worth, by the policy. */
  readonly permissions: Permissions;
  /** Its metadata document (RFC 9728 §2). */
  readonly metadata: object;
  readonly authenticators: readonly TokenAuthenticator[];
  /** What answers a request whose token was accepted. */
  readonly handlers: readonly RequestHandler[];
}

/** All of a server. The first one is meant by a request that names none. */
export type ProtectedResources<Resource = ProtectedResource> = readonly [Resource, ...Resource[]];

/** The resource that a request names (RFC 8707 §2); undefined if it names one that is not here, or several. */
export function namedResource<Resource extends Pick<ProtectedResource, "uri">>(
  requested: readonly string[],
  resources: ProtectedResources<Resource>,
): Resource | undefined {
  return resources.find(({ uri }) => namesResource(requested, uri));
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
