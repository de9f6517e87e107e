/** Leads requests on by their path, at a cost that does not grow with the number of paths as that of a list of routes does. */
import type { RequestHandler } from "express";

/** Whoever lists the routes of an application finds them here, where a router of express has its own. */
interface Listed {
  readonly stack: ReadonlyArray<{ handle: RequestHandler }>;
}

/** Which router has the routes of a path; a path is compared as express does: without regard to case, and to a slash at its end. */
export type ByPath = Iterable<readonly [path: string, router: RequestHandler]>;

/** Each request to the router of its path, if there is one. */
export function byPath(declared: ByPath): RequestHandler & Listed {
  const routers = routersOf(declared);
  return listed(routers, (req, res, next) => {
    const router = routers.get(keyOf(req.path));
    if (router === undefined) next();
    else router(req, res, next);
  });
}

/** The same, also for what is below a path: the longest is meant. */
export function byLongestPath(declared: ByPath): RequestHandler & Listed {
  const routers = routersOf(declared);
  const longest = Math.max(0, ...[...routers.keys()].map(({ length }) => length));
  return listed(routers, (req, res, next) => {
    const path = keyOf(req.path);
    // Strangers choose how long it is: what is longer than any of ours is not looked at segment by segment.
    let end = path.length <= longest ? path.length : path.lastIndexOf("/", longest);
    for (; end > 0; end = path.lastIndexOf("/", end - 1)) {
      const router = routers.get(path.slice(0, end));
      if (router !== undefined) return void router(req, res, next);
    }
    next();
  });
}

type Routers = ReadonlyMap<string, RequestHandler>;

function listed(routers: Routers, handler: RequestHandler): RequestHandler & Listed {
  return Object.assign(handler, { stack: [...routers.values()].map((handle) => ({ handle })) });
}

function routersOf(declared: ByPath): Routers {
  // Of two for one path the first counts, as in a list of routes.
  return new Map([...declared].reverse().map(([path, router]) => [keyOf(path), router]));
}

function keyOf(path: string): string {
  return (path.endsWith("/") ? path.slice(0, -1) : path).toLowerCase();
}
