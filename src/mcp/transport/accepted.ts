/** Which kinds of answer a client takes (RFC 9110 §12.5.1). MCP asks clients to name both; not every one does. */

/** What nearly every client sends. */
const AS_MCP_ASKS = "application/json, text/event-stream";

/** `both` also for a client that says nothing; `neither` is for the SDK's handler to refuse. */
export type Accepted = "both" | "json" | "neither";

export function acceptedAnswers(accept: string | undefined): Accepted {
  if (accept === undefined || accept === AS_MCP_ASKS || accept.trim() === "") return "both";
  const isTaken = new Map(accept.toLowerCase().split(",").map(readRange));
  // §12.5.1: the most specific range counts.
  const takes = (type: string, subtype: string) =>
    isTaken.get(`${type}/${subtype}`) ?? isTaken.get(`${type}/*`) ?? isTaken.get("*/*") ?? false;
  if (!takes("application", "json")) return "neither";
  return takes("text", "event-stream") ? "both" : "json";
}

/** A quality of zero means "not this" (§12.4.2). */
function readRange(text: string): [range: string, isTaken: boolean] {
  const [range = "", ...parameters] = text.split(";").map((part) => part.trim());
  return [range, !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))];
}

/** The header as the SDK's handler reads it, which looks for these words alone. */
export function forHandler(accepted: Accepted): string {
  return accepted === "neither" ? "none" : "application/json, text/event-stream";
}

/**
 * An answer of the SDK's handler for a client that takes no event stream: what a stream says on the way is left out, and
 * its end is the answer. Not for streams that have no end.
 */
export async function withoutStream(response: Response): Promise<Response> {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
  const answers = (await response.text())
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice("data: ".length)))
    .filter((message) => message.method === undefined);
  return Response.json(answers.length === 1 ? answers[0] : answers, { status: response.status });
}
