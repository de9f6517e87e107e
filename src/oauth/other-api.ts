/** Another API that a tool calls in a user's name: named by its own identifier, as the identity provider knows it. */
import { isScopeToken } from "./scope.ts";

/** Another API, by the name that the identity provider has for it, or by the authorization server whose tokens it takes. */
export type OtherApi = (
  | { audience: string; resource?: undefined; authorizationServer?: undefined }
  /** An absolute URI (RFC 8707). */
  | { resource: string; audience?: undefined; authorizationServer?: undefined }
  /** The issuer of another authorization server, as CONFIG_FILE has it, and its resource, where it has several. */
  | { authorizationServer: string; resource?: string; audience?: undefined }
) & {
  /** The API's own. Default: what the provider gives. */
  scopes?: readonly string[];
};

type Unchecked = { readonly [Name in keyof OtherApi]?: OtherApi[Name] | undefined };

/** The same, as it was checked. */
export interface ApiRequest {
  audience?: string;
  resource?: string;
  authorizationServer?: string;
  /** None: the provider decides. */
  scopes: readonly string[];
}

/** @throws Error if it is not well-formed, whatever TypeScript was told */
export function apiRequest(api: Unchecked, owner: string): ApiRequest {
  const problem = apiProblem(api);
  if (problem !== undefined) throw new Error(`${owner}: ${problem}`);
  const { audience, resource, authorizationServer, scopes = [] } = api;
  return {
    ...(audience !== undefined && { audience }),
    ...(resource !== undefined && { resource }),
    ...(authorizationServer !== undefined && { authorizationServer }),
    scopes,
  };
}

/** What is wrong with how an API is named, in words that say what to do. */
export function apiProblem({
  audience,
  resource,
  authorizationServer,
  scopes,
}: Unchecked): string | undefined {
  if (authorizationServer === undefined && (audience === undefined) === (resource === undefined))
    return "name the API by either audience or resource";
  if (authorizationServer !== undefined && audience !== undefined)
    return "at another authorizationServer the API is named by resource";
  if (authorizationServer !== undefined && !URL.canParse(authorizationServer))
    return "authorizationServer has to be its issuer, a URL";
  if (audience === "") return "audience is empty";
  if (resource !== undefined && (!URL.canParse(resource) || resource.includes("#")))
    return "resource has to be an absolute URI without a fragment (RFC 8707 §2)";
  if (scopes?.length === 0) return "scopes is empty: name some, or leave it out";
  const illegal = scopes?.find((scope) => !isScopeToken(scope));
  return illegal && `the scope "${illegal}" has illegal characters (RFC 6749 §3.3)`;
}

/** The identifier by which it is asked for. */
export function identifierOf({ audience, resource, authorizationServer }: ApiRequest): string {
  return audience ?? resource ?? authorizationServer ?? "";
}
