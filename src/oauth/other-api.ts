/** Another API that a tool calls in a user's name: named by its own identifier, as the identity provider knows it. */
import { isScopeToken } from "./scope.ts";

/** Another API, as the identity provider knows it: by one of the two. */
export type OtherApi = (
  | { audience: string; resource?: undefined }
  /** An absolute URI (RFC 8707). */
  | { resource: string; audience?: undefined }
) & {
  /** The API's own. Default: what the provider gives. */
  scopes?: readonly string[];
};

/** The same, as it was checked. */
export interface ApiRequest {
  audience?: string;
  resource?: string;
  /** None: the provider decides. */
  scopes: readonly string[];
}

/** @throws Error if it is not well-formed, whatever TypeScript was told */
export function apiRequest({ audience, resource, scopes }: OtherApi, owner: string): ApiRequest {
  const problem = (what: string) => new Error(`${owner}: ${what}`);
  if ((audience === undefined) === (resource === undefined))
    throw problem("name the API by either audience or resource");
  if (audience === "") throw problem("audience is empty");
  if (resource !== undefined && (!URL.canParse(resource) || resource.includes("#")))
    throw problem("resource has to be an absolute URI without a fragment (RFC 8707 §2)");
  if (scopes?.length === 0) throw problem("scopes is empty: name some, or leave it out");
  const illegal = scopes?.find((scope) => !isScopeToken(scope));
  if (illegal !== undefined) throw problem(`the scope "${illegal}" has illegal characters (RFC 6749 §3.3)`);
  return {
    ...(audience !== undefined && { audience }),
    ...(resource !== undefined && { resource }),
    scopes: scopes ?? [],
  };
}

/** The identifier by which it is asked for. */
export function identifierOf({ audience, resource }: ApiRequest): string {
  return audience ?? resource ?? "";
}
