/** BASE_URL may have a path (`https://example.com/tools`), and a reverse proxy may strip it or keep it. */
import type { Middleware } from "./together.ts";

/** The path of a base URL without a trailing slash: "" if it has none. */
export function pathOf(baseUrl: string): string {
  return new URL(baseUrl).pathname.replace(/\/$/, "");
}

/** Whichever the proxy does, routes see the path below BASE_URL. Metadata documents at the host's root stay there. */
export function withoutBasePath(baseUrl: string): Middleware {
  const basePath = pathOf(baseUrl);
  return (req, _res, next) => {
    const { url = "/" } = req;
    const rest = url.slice(basePath.length);
    if (basePath !== "" && url.startsWith(basePath) && /^([/?]|$)/.test(rest))
      req.url = rest.startsWith("/") ? rest : `/${rest}`;
    next();
  };
}
