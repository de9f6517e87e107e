/**
 * The straight way: a request that is ordinary goes from Node's HTTP server to the resource that it is for. Express, with its routers
 * and what it adds to every request, would cost as much as all that this server decides about a call.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Express } from "express";
import { isByProgram } from "../http/cors.ts";
import type { Middleware } from "../http/together.ts";
import { withAuthenticatedRequest } from "../resource/access-token-context.ts";
import type { Authenticate } from "../resource/bearer-authentication.ts";
import type { PlainAnswer } from "../resource/protected-resource.ts";

/** What can be reached without express. */
export interface StraightResource {
  readonly path: string;
  readonly authenticate: Authenticate;
  readonly answer: PlainAnswer;
}

/**
 * Whether there is anything about a request that only express's routes look at: this is decided here, and nowhere else. What is not
 * ordinary goes there, and comes to the same functions in the end: a path that is spelled in another way or has a query, another
 * method, a page that calls. Everything that is decided by headers, tokens and bodies is decided behind both ways.
 */
function isOrdinary(req: IncomingMessage): boolean {
  return req.method === "POST" && isByProgram(req);
}

/** @param always what every request passes, whichever way it goes */
export function straightWay(
  always: Middleware,
  resources: readonly StraightResource[],
  throughExpress: Express,
): RequestListener {
  const straight = new Map(
    resources.map((resource) => [resource.path, { ...resource, route: { path: resource.path } }]),
  );
  return (req: IncomingMessage & { route?: unknown }, res) => {
    const fail = (error: unknown) => {
      failed.set(req, { error });
      throughExpress(req, res);
    };
    const go = (error?: unknown) => {
      if (error != null) return fail(error);
      const resource = isOrdinary(req) ? straight.get(req.url ?? "") : undefined;
      if (resource === undefined) return throughExpress(req, res);
      // As express's router notes it, for metrics and spans.
      req.route = resource.route;
      answerRequest(req, res, resource).catch(fail);
    };
    // What one of them throws would end the process: nobody catches what a listener throws.
    try {
      always(req, res, go);
    } catch (error) {
      fail(error);
    }
  };
}

/** Behind the bearer check, whichever way the request came. */
export async function answerRequest(
  req: IncomingMessage,
  res: ServerResponse,
  { authenticate, answer }: Pick<StraightResource, "authenticate" | "answer">,
): Promise<void> {
  const authenticated = await authenticate(req, res);
  if (authenticated !== undefined)
    await withAuthenticatedRequest(authenticated, () => answer(req, res, authenticated));
}

const failed = new WeakMap<IncomingMessage, { error: unknown }>();

/** First in express: what failed on the straight way is told as what fails there is. */
export const takeFailed: Middleware = (req, _res, next) => {
  const found = failed.get(req);
  if (found === undefined) next();
  else next(found.error);
};
