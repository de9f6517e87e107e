/**
 * How many opaque tokens may be asked about at an issuer. Anybody can make one up, and each costs a request there (RFC 7662), so
 * what turns out to be no good is bounded for an address and in all. A good token must not pay for the others:
 * - one that was good when it was last looked up is always asked about again, and costs no point;
 * - a good one gives its point back, and so does an outage; a token of which the issuer says too little does not;
 * - when the points of all are used up, addresses from which a good token came lately go on with their own points, and
 *   addresses of which nothing was refused yet have a second set of points to themselves.
 * What may not be asked about now is not judged: that is 503 with `Retry-After`, because a 401 would make a client with a good token
 * sign in again. Counted in each process: the issuer sees as many times more as there are replicas.
 */
import { UnavailableError } from "../oauth/errors.ts";
import { createBoundedMap } from "../runtime/bounded-map.ts";

export interface LookUps {
  /**
   * Runs `look` if a request may be made for this address now.
   * @param address from which the token came; absent: from here
   * @param isRefusal whether an error costs the point
   * @throws UnavailableError if not; what `look` throws
   */
  ask<T>(
    address: string | undefined,
    look: () => Promise<T>,
    isRefusal: (error: unknown) => boolean,
  ): Promise<T>;
}

/** The networks of an address, the most precise first: the larger ones are given more. */
export type NetworksOf = (address: string) => ReadonlyArray<{ readonly key: string; readonly times: number }>;

const WINDOW_SECONDS = 60;
const PER_ADDRESS = 60;
const IN_ALL = 600;
const OF_NEWCOMERS = 600;
/** For how long an address is known for a good token. */
const KNOWN_SECONDS = 3_600;
const MAX_KNOWN = 10_000;

/** @param now seconds, by a clock that nobody sets */
export function createLookUps(networksOf: NetworksOf, now: () => number): LookUps {
  let windowEnds = Number.NEGATIVE_INFINITY;
  /** Points taken in this window; those under way count. */
  let ofAddress = new Map<string, number>();
  let inAll = 0;
  let ofNewcomers = 0;
  /** Addresses, until when. */
  const known = createBoundedMap<number>({ entries: MAX_KNOWN, bytes: Number.POSITIVE_INFINITY }, () => 0);

  function startWindow(): void {
    if (now() < windowEnds) return;
    windowEnds = now() + WINDOW_SECONDS;
    ofAddress = new Map();
    inAll = 0;
    ofNewcomers = 0;
  }

  function isKnown(key: string): boolean {
    return (known.get(key) ?? Number.NEGATIVE_INFINITY) > now();
  }

  /** @returns what gives the points back; undefined: there are none left */
  function take(networks: ReturnType<NetworksOf>): (() => void) | undefined {
    startWindow();
    const taken = ({ key }: { key: string }) => ofAddress.get(key) ?? 0;
    if (networks.some((network) => taken(network) >= PER_ADDRESS * network.times)) return undefined;
    const [nearest] = networks;
    const isTrusted = nearest === undefined || isKnown(nearest.key);
    const isNew = networks.every((network) => taken(network) === 0);
    const window = windowEnds;
    let giveBack: () => void;
    if (isTrusted) giveBack = () => {};
    else if (inAll < IN_ALL) {
      inAll++;
      giveBack = () => void inAll--;
    } else if (isNew && ofNewcomers < OF_NEWCOMERS) {
      ofNewcomers++;
      giveBack = () => void ofNewcomers--;
    } else return undefined;
    for (const { key } of networks) ofAddress.set(key, (ofAddress.get(key) ?? 0) + 1);
    return () => {
      if (window !== windowEnds) return;
      giveBack();
      for (const network of networks) ofAddress.set(network.key, taken(network) - 1);
    };
  }

  return {
    async ask(address, look, isRefusal) {
      const networks = address === undefined ? [] : networksOf(address);
      const giveBack = take(networks);
      if (giveBack === undefined)
        throw new UnavailableError("issuer of the token", {
          reason: "introspection_limited",
          retryAfterSeconds: Math.max(1, Math.ceil(windowEnds - now())),
        });
      try {
        const found = await look();
        giveBack();
        const [nearest] = networks;
        if (nearest !== undefined) known.set(nearest.key, now() + KNOWN_SECONDS);
        return found;
      } catch (error) {
        if (!isRefusal(error)) giveBack();
        throw error;
      }
    },
  };
}
