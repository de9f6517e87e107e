/** What may become the value of a label. */
import type { IncomingMessage } from "node:http";

const METHODS = new Set(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);

export function methodLabel(method = ""): string {
  return METHODS.has(method) ? method : "other";
}

/**
 * The path that a route was declared with, such as `/register/:clientId`, without what is optional in it: `/auth/callback`
 * is one route for all providers. "other" if no route matched.
 * @param req with a `route` as express's router notes it
 */
export function routeLabel({ route }: IncomingMessage & { route?: unknown }, path: string): string {
  const declared = (route as { path?: unknown } | undefined)?.path;
  if (typeof declared === "string")
    return declared.includes("{") ? declared.replaceAll(/\{[^{}]*\}/g, "") : declared;
  if (!Array.isArray(declared)) return "other";
  return declared.includes(path) ? path : String(declared[0]);
}

/** A protected resource, by what the audit log and by what metrics call it. */
export interface LabelledResource {
  readonly uri: string;
  readonly path: string;
}

/**
 * What metrics call a protected resource: the path that the operator gave it, `other` for one that this server does not have (any
 * more), and nothing where none is concerned.
 */
export function resourceLabels(resources: readonly LabelledResource[]): (uri: string | undefined) => string {
  const paths = new Map(resources.map(({ uri, path }) => [uri, path]));
  return (uri) => (uri === undefined ? "" : (paths.get(uri) ?? "other"));
}
