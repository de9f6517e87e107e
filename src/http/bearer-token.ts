/** The `Authorization` header with a bearer token (RFC 6750 §2.1). */
import type { IncomingMessage } from "node:http";

/**
 * What follows the scheme, of any form and length: Node.js bounds the headers, and whoever takes tokens of one form checks that.
 * Undefined without the header, with another scheme, and for `Bearer` with nothing behind it.
 */
export function bearerToken({ headers }: Pick<IncomingMessage, "headers">): string | undefined {
  return /^Bearer +(\S.*)$/i.exec(headers.authorization ?? "")?.[1];
}
