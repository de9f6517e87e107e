/** What a provider answers is read to a limit: it is kept in memory until it can be parsed. */

// Keys, metadata and tokens of real providers have some ten kilobytes, of people in very many groups some hundred.
const MAX_BYTES = 1_048_576;

/** The same answer, whose body fails with an Error where it gets too large. */
export function bounded(response: Response): Response {
  if (response.body === null) return response;
  let size = 0;
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.byteLength;
      if (size > MAX_BYTES) controller.error(new Error("The provider's answer is larger than 1 MB"));
      else controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(limit), response);
}

/** For the provider's keys. */
export async function boundedFetch(url: string, options: RequestInit): Promise<Response> {
  return bounded(await fetch(url, options));
}
