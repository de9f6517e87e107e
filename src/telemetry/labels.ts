/** What may become the value of a label. */

const METHODS = new Set(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);

export function methodLabel(method: string): string {
  return METHODS.has(method) ? method : "other";
}

/**
 * The path that a route was declared with, such as `/register/:clientId`, without what is optional in it: `/auth/callback`
 * is one route for all providers. "other" if no route matched.
 * @param route express's `req.route`
 */
export function routeLabel(route: unknown, path: string): string {
  const declared = (route as { path?: unknown } | undefined)?.path;
  if (typeof declared === "string") return declared.replaceAll(/\{[^{}]*\}/g, "");
  if (!Array.isArray(declared)) return "other";
  return declared.includes(path) ? path : String(declared[0]);
}
