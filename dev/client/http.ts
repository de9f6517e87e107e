/** One request of a client and its answer, no redirect followed. */

export interface HttpRequest {
  method: "GET" | "POST";
  url: string;
  headers?: Readonly<Record<string, string>>;
  form?: Readonly<Record<string, string>>;
  json?: unknown;
  /** Sent as the bearer token. */
  accessToken?: string;
  /** Gets each message of an event stream when it has come. */
  onMessage?: (message: unknown) => void;
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
  const text = await readBody(response, request.onMessage);
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

async function readBody(response: Response, onMessage: HttpRequest["onMessage"]): Promise<string> {
  if (onMessage === undefined || response.body === null || !isStream(response)) return response.text();
  let text = "";
  let told = 0;
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    // Of the last event the end may not have come.
    const complete = dataOf(text).slice(0, -1);
    for (const data of complete.slice(told)) if (data !== "") onMessage(jsonOr(data, data));
    told = complete.length;
  }
  return text;
}

function parse(response: Response, text: string): unknown {
  const message = isStream(response) ? (dataOf(text).findLast((data) => data !== "") ?? "") : text;
  return jsonOr(message, text);
}

function isStream({ headers }: Response): boolean {
  return /^text\/event-stream\b/i.test(headers.get("content-type") ?? "");
}

/** Of each event: they end with an empty line, and the data of one may take several lines. */
function dataOf(stream: string): string[] {
  return stream.split(/\r?\n\r?\n/).map((event) =>
    event
      .split(/\r?\n/)
      .flatMap((line) => (line.startsWith("data:") ? [line.slice(5).trimStart()] : []))
      .join("\n"),
  );
}

function jsonOr(text: string, otherwise: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return otherwise;
  }
}
