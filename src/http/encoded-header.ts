/** Values that a header cannot have as they are (MCP 2026-07-28, Streamable HTTP): a client writes them as Base64 of their UTF-8. */
const ENCODED = /^=\?base64\?(.*)\?=$/;

/** Undefined for what claims to be Base64 and is not, to the last character. */
export function decodedHeader(header: string): string | undefined {
  const base64 = ENCODED.exec(header)?.[1];
  if (base64 === undefined) return header;
  const bytes = Buffer.from(base64, "base64");
  return bytes.toString("base64") === base64 ? bytes.toString("utf8") : undefined;
}
