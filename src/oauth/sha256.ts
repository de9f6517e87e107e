/** SHA-256 in base64url: how things are named and recognized without keeping them. What it hashes here is random or only a name. */
import { createHash } from "node:crypto";

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
