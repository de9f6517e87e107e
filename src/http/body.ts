/**
 * Reads the bodies of requests: as they are sent, never inflated, within bounds, and counted as long as they are in use.
 * In place of express's own parsers, which know a limit for each body and none for all of them.
 */

import { isUtf8 } from "node:buffer";
import type { IncomingMessage, ServerResponse } from "node:http";
import { parse as parseForm } from "node:querystring";
import type { RequestHandler } from "express";
import { OAuthError } from "../oauth/errors.ts";
import { parseJson } from "../oauth/json.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { BodyBudget, BodyShare } from "./body-budget.ts";
import { measureJson } from "./json-size.ts";

export interface BodyBounds {
  maxBytes: number;
  budget: BodyBudget;
  /** See {@link BodyBudget.open}. */
  holder?: string;
}

/** Of every body that is read, by who sends it. */
export interface Bodies {
  /** Whoever has an access token, at `/mcp`. */
  ofCallers: BodyBounds;
  ofStrangers: BodyBounds;
}

const MAX_PARAMETERS = 1_000;
const MAX_DEPTH = 100;
/** Arrays of numbers have the most values for their bytes that are of use to anybody. */
const BYTES_PER_VALUE = 20;
/** What JSON.parse makes of one value, at worst, with its garbage: measured with objects of one member, each of another name. */
const HEAP_PER_VALUE = 150;

/** What the largest JSON body of that size takes of a budget. */
export function largestShare(maxBytes: number): number {
  return maxBytes + (maxBytes / BYTES_PER_VALUE) * HEAP_PER_VALUE;
}

/** `application/json` into `req.body`; of another type it stays undefined. */
export function jsonBody(bounds: BodyBounds): RequestHandler {
  return async (req, res, next) => {
    if (req.is("application/json")) req.body = (await readJson(req, res, bounds))?.value;
    next();
  };
}

/** `application/x-www-form-urlencoded` into `req.body`: texts, and lists of what came twice. */
export function formBody(bounds: BodyBounds): RequestHandler {
  return async (req, res, next) => {
    // An application around this one may have read it before.
    if (req.is("application/x-www-form-urlencoded") && !req.readableEnded)
      req.body = await readForm(req, res, bounds);
    next();
  };
}

async function readForm(req: Request, res: ServerResponse, bounds: BodyBounds): Promise<unknown> {
  // RFC 6749 Appendix B: in UTF-8, whatever charset older HTTP clients name.
  const { bytes } = await readBody(req, res, ["utf-8", "iso-8859-1"], bounds);
  const text = bytes.toString("utf8");
  if (text.split("&", MAX_PARAMETERS + 1).length > MAX_PARAMETERS)
    throw refused(413, "unreadable_body", `The body is too large: more than ${MAX_PARAMETERS} parameters.`);
  return parseForm(text, "&", "=", { maxKeys: MAX_PARAMETERS });
}

/** An application around this one may have read the body. */
type Request = IncomingMessage & { body?: unknown };

/** A JSON body: what it says, and how it came. */
export interface ReadJson {
  value: unknown;
  bytes: Buffer;
}

/**
 * The object or array of a JSON body; undefined if the request has no body.
 * @throws OAuthError if it is none, or exceeds a bound; TooManyRequestsError, UnavailableError of the budget
 */
export async function readJson(
  req: Request,
  res: ServerResponse,
  bounds: BodyBounds,
): Promise<ReadJson | undefined> {
  if (!hasBody(req)) return undefined;
  const { bytes, share } = await readBody(req, res, ["utf-8"], bounds);
  if (bytes.length === 0) return { value: {}, bytes };
  const { values, depth } = measureJson(bytes);
  if (depth > MAX_DEPTH)
    throw refused(400, "nested_too_deeply", `The body is nested deeper than ${MAX_DEPTH} levels.`);
  const maxValues = Math.floor(bounds.maxBytes / BYTES_PER_VALUE);
  if (values > maxValues)
    throw refused(413, "too_many_values", `The body has more than ${maxValues} values: send less at once.`);
  share.add(values * HEAP_PER_VALUE);
  // RFC 8259 §8.1: UTF-8 only. A lenient decoder would produce text that the client did not send.
  if (!isUtf8(bytes)) throw unreadable();
  return { value: objectIn(bytes.toString("utf8")), bytes };
}

function objectIn(text: string): unknown {
  // RFC 8259 §8.1: a byte order mark may be ignored.
  const value = parseJson(text.startsWith("\ufeff") ? text.slice(1) : text);
  if (typeof value !== "object" || value === null) throw unreadable();
  return value;
}

async function readBody(
  req: Request,
  res: ServerResponse,
  charsets: readonly string[],
  { budget, holder, maxBytes }: BodyBounds,
): Promise<{ bytes: Buffer; share: BodyShare }> {
  refuseCoding(req, res);
  const charset = /;\s*charset\s*=\s*"?([^\s";]*)/i.exec(req.headers["content-type"] ?? "")?.[1];
  if (charset !== undefined && !charsets.includes(charset.toLowerCase()))
    throw refused(415, "unreadable_body", "Send the body in UTF-8.");
  const tooLarge = () =>
    refused(413, "unreadable_body", `The body is too large: more than ${maxBytes} bytes.`);
  if (Number(req.headers["content-length"] ?? 0) > maxBytes) throw tooLarge();
  // The client is gone, and no event would release the budget.
  if (res.destroyed || (req.destroyed && !req.readableEnded)) throw unreadable();

  let cut: (error: OAuthError) => void = () => {};
  const share = budget.open(holder, (error) => cut(error));
  res.once("close", share.release);
  if (req.readableEnded) {
    const bytes = readBefore(req);
    if (bytes.length > maxBytes) throw tooLarge();
    share.add(bytes.length);
    share.arrived();
    return { bytes, share };
  }

  const collected = collector();
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    const onData = (chunk: Buffer) => {
      try {
        share.add(chunk.length);
        collected.add(chunk);
        if (collected.length() > maxBytes) throw tooLarge();
      } catch (error) {
        fail(error);
      }
    };
    const onEnd = () => {
      stop();
      share.arrived();
      resolve(collected.take());
    };
    const onLost = () => fail(unreadable());
    const stop = () => req.off("data", onData).off("end", onEnd).off("close", onLost);
    /** The rest is read and dropped: who is still sending sees the answer. */
    const fail = (error: unknown) => {
      stop();
      share.release();
      req.resume();
      reject(error);
    };
    cut = fail;
    req.on("data", onData).on("end", onEnd).on("close", onLost);
  });
  return { bytes, share };
}

/** One growing buffer. A list of what came keeps an object for each piece, of which a client can make one for each byte. */
function collector() {
  let bytes: Buffer = Buffer.alloc(0);
  let length = 0;
  return {
    length: () => length,
    add(chunk: Buffer): void {
      if (length === 0) bytes = chunk;
      else {
        if (length + chunk.length > bytes.length) {
          const larger = Buffer.allocUnsafeSlow(2 * (length + chunk.length));
          bytes.copy(larger, 0, 0, length);
          bytes = larger;
        }
        chunk.copy(bytes, length);
      }
      length += chunk.length;
    },
    /** Keeps nothing of it: what the budget calls back lives as long as the request. */
    take(): Buffer {
      const all = bytes.subarray(0, length);
      bytes = Buffer.alloc(0);
      return all;
    },
  };
}

/** A few compressed bytes can inflate beyond all memory, and clients do not compress requests. */
function refuseCoding(req: Request, res: ServerResponse): void {
  const coding = req.headers["content-encoding"] ?? "identity";
  if (coding.trim().toLowerCase() === "identity") return;
  // RFC 9110 §15.5.16 and §12.5.3: which content codings would have been accepted.
  res.setHeader("Accept-Encoding", "identity");
  throw refused(415, "content_coding", "Send the body as it is, without Content-Encoding.");
}

/** An application around this one has read the body: its bounds are checked as if it arrived now. */
function readBefore({ body }: Request): Buffer {
  try {
    return Buffer.from(JSON.stringify(body ?? null));
  } catch {
    throw unreadable(); // JSON.stringify overflows the stack on what JSON.parse still reads.
  }
}

/** RFC 9112 §6.3. */
function hasBody({ headers }: Request): boolean {
  return headers["transfer-encoding"] !== undefined || headers["content-length"] !== undefined;
}

function unreadable(): OAuthError {
  return refused(400, "unreadable_body", "The body is not what its content type says.");
}

function refused(status: number, reason: ReasonCode, description: string): OAuthError {
  return new OAuthError("invalid_request", description, { reason, status });
}
