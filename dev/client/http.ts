/** One request of a client and its answer, no redirect followed. */

export interface HttpRequest {
  method: "GET" | "POST";
  url: string;
  headers?: Readonly<Record<string, string>>;
  form?: Readonly<Record<string, string>>;
  json?: unknown;
  /** Sent as the bearer token. */
  accessToken?: string;
}

export interface Answer {
  url: string;
  status: number;
  headers: Headers;
  text: string;
  /** JSON, the last message of an event stream, or the text itself. */
  // biome-ignore lint/suspicious/noExplicitAny: whoever asked knows the shape, or checks it
  body: any;
}

/** @param timeoutSeconds without it, as long as it takes */
export async function sendRequest(request: HttpRequest, timeoutSeconds?: number): Promise<Answer> {
  const { url } = request;
  const signal = timeoutSeconds === undefined ? undefined : AbortSignal.timeout(timeoutSeconds * 1000);
  const response = await openRequest(request, signal);
  const text = await response.text();
  return { url, status: response.status, headers: response.headers, text, body: parse(response, text) };
}

/** For whoever reads the answer while it comes. */
export function openRequest(request: HttpRequest, signal?: AbortSignal): Promise<Response> {
  const { method, url, headers, form, json, accessToken } = request;
  return fetch(url, {
    method,
    headers: {
      ...(json !== undefined && { "content-type": "application/json" }),
      ...(accessToken !== undefined && { authorization: `Bearer ${accessToken}` }),
      ...headers,
    },
    redirect: "manual",
    ...(form !== undefined && { body: new URLSearchParams(form) }),
    ...(json !== undefined && { body: JSON.stringify(json) }),
    ...(signal && { signal }),
  });
}

function parse({ headers }: Response, text: string): unknown {
  const isStream = /^text\/event-stream\b/i.test(headers.get("content-type") ?? "");
  const message = isStream ? lastMessage(text) : text;
  try {
    return JSON.parse(message);
  } catch {
    return text;
  }
}

/** Events end with an empty line, and the data of one may take several lines. */
function lastMessage(stream: string): string {
  const messages = stream.split(/\r?\n\r?\n/).map((event) =>
    event
      .split(/\r?\n/)
      .flatMap((line) => (line.startsWith("data:") ? [line.slice(5).trimStart()] : []))
      .join("\n"),
  );
  return messages.findLast((data) => data !== "") ?? "";
}
