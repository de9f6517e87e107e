/** The `Authorization` header with a bearer token (RFC 6750 §2.1). */
import type { Request } from "express";

/**
 * What follows the scheme, of any form and length: Node.js bounds the headers, and whoever takes tokens of one form checks that.
 * Undefined without the header, with another scheme, and for `Bearer` with nothing behind it.
 */
export function bearerToken(req: Pick<Request<object>, "get">): string | undefined {
  return /^Bearer +(\S.*)$/i.exec(req.get("authorization") ?? "")?.[1];
}
