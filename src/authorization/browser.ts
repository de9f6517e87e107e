/** The one cookie that ties consent, login and callback to the same browser, however many flows it has open. */
import { timingSafeEqual } from "node:crypto";
import { parseCookie } from "cookie";
import type { Request, Response } from "express";
import { z } from "zod";
import { sha256 } from "../oauth/sha256.ts";

/** SHA-256 of a browser's cookie: what forms and transactions carry, so that none of them reveals the cookie. */
export const BrowserHash = z.string().brand<"BrowserHash">();
export type BrowserHash = z.infer<typeof BrowserHash>;

export interface BrowserCookies {
  /** The browser's identity for this flow; a new one is set where the browser has none. */
  identify(req: Request, res: Response): BrowserHash;
  /** The browser that has been here before, or undefined. */
  recognize(req: Request): BrowserHash | undefined;
  /** Takes the browser's identity from it, and with it everything that was remembered for it. */
  forget(res: Response): void;
  /** True if the request comes from the browser that `hash` was made for. */
  isSame(req: Request, hash: BrowserHash): boolean;
}

const VALUE = /^[A-Za-z0-9_-]{43}$/;

/** `baseUrl` decides the name: the `__Host-` prefix keeps sibling domains from planting a cookie (RFC 6265bis §4.1.3). */
export function browserCookies(
  baseUrl: string,
  lifetimeSeconds: number,
  randomBytes: (size: number) => Buffer,
): BrowserCookies {
  const secure = baseUrl.startsWith("https:");
  const name = secure ? "__Host-mcp-browser" : "mcp-browser";

  function read(req: Request): string | undefined {
    const value = parseCookie(req.get("cookie") ?? "")[name];
    return value !== undefined && VALUE.test(value) ? value : undefined;
  }

  return {
    identify(req, res) {
      // Kept and prolonged, never replaced: another flow of this browser may be under way.
      const value = read(req) ?? randomBytes(32).toString("base64url");
      // Lax: it must come along when the identity provider, another site, sends the browser back.
      res.cookie(name, value, {
        httpOnly: true,
        secure,
        sameSite: "lax",
        path: "/",
        maxAge: lifetimeSeconds * 1000,
      });
      return hashOf(value);
    },
    recognize(req) {
      const value = read(req);
      return value === undefined ? undefined : hashOf(value);
    },
    forget: (res) => void res.clearCookie(name, { httpOnly: true, secure, sameSite: "lax", path: "/" }),
    isSame(req, hash) {
      const value = read(req);
      return value !== undefined && timingSafeEqual(Buffer.from(hashOf(value)), Buffer.from(hash));
    },
  };
}

function hashOf(value: string): BrowserHash {
  return BrowserHash.parse(sha256(value));
}
