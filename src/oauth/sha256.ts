/** SHA-256 in base64url: how things are named and recognized without keeping them. What it hashes here is random or only a name. */
import { hash } from "node:crypto";

export function sha256(text: string | Uint8Array): string {
  return hash("sha256", text, "base64url");
}
