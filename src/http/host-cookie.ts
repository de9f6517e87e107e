/** A cookie that holds one value, a random one as a rule, and belongs to this origin alone. */
import { parseCookie } from "cookie";
import type { Request, Response } from "express";

export interface HostCookie {
  /** What the browser sent, if it looks like one of ours. */
  read(req: Request): string | undefined;
  set(res: Response, value: string, lifetimeSeconds: number): void;
  clear(res: Response): void;
}

/** How many random bytes make a value. */
export const COOKIE_BYTES = 32;
const RANDOM = /^[A-Za-z0-9_-]{43}$/;

/**
 * `baseUrl` decides the name: the `__Host-` prefix keeps sibling domains from planting a cookie (RFC 6265bis §4.1.3).
 * @param form what one of ours looks like
 */
export function hostCookie(baseUrl: string, shortName: string, form = RANDOM): HostCookie {
  const secure = baseUrl.startsWith("https:");
  const name = secure ? `__Host-${shortName}` : shortName;
  // Lax: it must come along when the identity provider, another site, sends the browser back.
  const attributes = { httpOnly: true, secure, sameSite: "lax", path: "/" } as const;
  return {
    read(req) {
      const value = parseCookie(req.get("cookie") ?? "")[name];
      return value !== undefined && form.test(value) ? value : undefined;
    },
    set: (res, value, lifetimeSeconds) =>
      void res.cookie(name, value, { ...attributes, maxAge: lifetimeSeconds * 1000 }),
    clear: (res) => void res.clearCookie(name, attributes),
  };
}
