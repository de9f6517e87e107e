/** The one cookie that ties consent, login and callback to the same browser, however many flows it has open. */

import type { Request, Response } from "express";
import { z } from "zod";
import { COOKIE_BYTES, hostCookie } from "../http/host-cookie.ts";
import { isEqualInConstantTime } from "../oauth/constant-time.ts";
import { sha256 } from "../oauth/sha256.ts";

/** SHA-256 of a browser's cookie: what forms and transactions carry, so that none of them reveals the cookie. */
export const BrowserHash = z.string().brand<"BrowserHash">();
export type BrowserHash = z.infer<typeof BrowserHash>;

export interface BrowserCookies {
  /** The browser's binding value; a new cookie is set where the browser has none. */
  identify(req: Request, res: Response): BrowserHash;
  /** The browser that has been here before, or undefined. */
  recognize(req: Request): BrowserHash | undefined;
  /** Removes the cookie, and with it everything that is remembered for this browser. */
  forget(res: Response): void;
  /** True if the request comes from the browser that `hash` was made for. */
  isSame(req: Request, hash: BrowserHash): boolean;
}

export function browserCookies(
  baseUrl: string,
  lifetimeSeconds: number,
  randomBytes: (size: number) => Buffer,
): BrowserCookies {
  const cookie = hostCookie(baseUrl, "mcp-browser");
  return {
    identify(req, res) {
      // Kept and prolonged, never replaced: another flow of this browser may be under way.
      const value = cookie.read(req) ?? randomBytes(COOKIE_BYTES).toString("base64url");
      cookie.set(res, value, lifetimeSeconds);
      return hashOf(value);
    },
    recognize(req) {
      const value = cookie.read(req);
      return value === undefined ? undefined : hashOf(value);
    },
    forget: (res) => cookie.clear(res),
    isSame(req, hash) {
      const value = cookie.read(req);
      return value !== undefined && isEqualInConstantTime(hashOf(value), hash);
    },
  };
}

function hashOf(value: string): BrowserHash {
  return BrowserHash.parse(sha256(value));
}
