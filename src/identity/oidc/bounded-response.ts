/** What a provider answers is read to a limit: it is kept in memory until it can be parsed. */

import type { Runtime } from "../../runtime/runtime.ts";

// Keys, metadata and tokens of real providers have some ten kilobytes, of people in very many groups some hundred.
const MAX_BYTES = 1_048_576;

/**
 * The body of an answer; null where there is none. Read here, and not through a stream that counts: that would cost as much
 * as all the rest of the request.
 * @throws Error where it gets too large
 */
export async function boundedText({ body }: Response): Promise<string | null> {
  if (body === null) return null;
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    size += next.value.byteLength;
    if (size > MAX_BYTES) {
      await reader.cancel();
      throw new Error("The provider's answer is larger than 1 MB");
    }
    chunks.push(next.value);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

/** For a provider's or an issuer's documents and keys. */
export async function boundedFetch(
  url: string,
  options: RequestInit,
  { fetch = globalThis.fetch }: Pick<Runtime, "fetch">,
): Promise<Response> {
  const response = await fetch(url, options);
  return new Response(await boundedText(response), response);
}
