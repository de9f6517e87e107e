/**
 * A cache of the grants in use, in this process: a request of a session that was seen a moment ago needs no store. Other
 * replicas publish when a grant changes or ends, which takes effect within milliseconds. Only the look-up is saved:
 * expiry, resource, kind and policy are checked at every request.
 */
import { UnavailableError } from "../oauth/errors.ts";
import { createBoundedMap } from "../runtime/bounded-map.ts";
import type { KeyValueStore } from "../storage/store.ts";
import type { Grant } from "./grant.ts";
import type { Grants } from "./grants.ts";

/** What each replica keeps of grants that are in use. */
export interface GrantCacheConfig {
  /** At most so many; 0 keeps none. */
  entries: number;
  /** Looked up anew after this long, in case a published change was lost. */
  seconds: number;
  /** While the store is out of reach, a grant that was seen this long ago still counts. */
  outageSeconds: number;
}

/** What a request needs of a grant; the provider's tokens stay in the store. */
export type CachedGrant = Omit<Grant, "upstream" | "replaced" | "familyKey">;

export interface GrantCache {
  /**
   * What is kept counts only if it `suffices`: a token that another replica issued a moment ago must not be refused
   * because the change is still on its way.
   * @throws UnavailableError if the store is out of reach and the grant was not seen lately
   */
  find(id: string, suffices: (grant: CachedGrant) => boolean): Promise<CachedGrant | undefined>;
}

/** How a look-up went: `stale` is an answer during an outage of the store. */
export type Lookup = "hit" | "miss" | "stale";

interface Options extends GrantCacheConfig {
  /** Seconds since some moment, by a clock that nobody sets. */
  now(): number;
  grants: Pick<Grants, "find">;
  records: Pick<KeyValueStore, "watch">;
  onLookup?: (lookup: Lookup) => void;
}

interface Entry {
  grant: CachedGrant;
  /** Of its text: counted once, when it comes from the store. */
  size: number;
  fetchedAt: number;
  /** Of the watch; see there. */
  epoch: number | undefined;
}

const KIND = "grant";
/** On average. Usual grants have 1 to 2 KB; what a provider says of its users can be many times that. */
const SIZE_PER_ENTRY = 4_096;

export function createGrantCache({
  entries: limit,
  seconds,
  outageSeconds,
  grants,
  records,
  now,
  onLookup = () => {},
}: Options): GrantCache {
  if (limit === 0) return grants;
  const entries = createBoundedMap<Entry>(
    { entries: limit, bytes: limit * SIZE_PER_ENTRY },
    ({ size }) => size,
  );
  const fetching = new Map<string, Promise<CachedGrant | undefined>>();

  const watch = records.watch(KIND, (key) => {
    const id = key.slice(KIND.length + 1);
    entries.delete(id);
    // A look-up under way may have read before the change: its callers may have the result, nobody after them.
    fetching.delete(id);
  });

  function fetch(id: string): Promise<CachedGrant | undefined> {
    const found = load(id).finally(() => {
      if (fetching.get(id) === found) fetching.delete(id);
    });
    fetching.set(id, found);
    return found;

    async function load(id: string): Promise<CachedGrant | undefined> {
      const [fetchedAt, { epoch }] = [now(), watch];
      const stored = await grants.find(id);
      // Whoever asked first keeps it for as long as the cache does: the rest of it, and how it was stored, would stay with it.
      const grant = stored && inUse(stored);
      const isCurrent = fetching.get(id) === found;
      if (grant === undefined) entries.delete(id);
      else if (isCurrent) entries.set(id, { ...measured(grant), fetchedAt, epoch });
      return grant;
    }
  }

  return {
    async find(id, suffices) {
      const entry = entries.get(id);
      const isPublished = watch.epoch !== undefined && entry?.epoch === watch.epoch;
      if (entry !== undefined && isPublished && now() < entry.fetchedAt + seconds && suffices(entry.grant)) {
        onLookup("hit");
        entries.set(id, entry);
        return entry.grant;
      }
      try {
        onLookup("miss");
        const onItsWay = fetching.get(id);
        const found = onItsWay && (await onItsWay);
        return found !== undefined && suffices(found) ? found : await fetch(id);
      } catch (error) {
        const kept = entries.get(id);
        const isLate = kept === undefined || now() >= kept.fetchedAt + outageSeconds;
        if (!(error instanceof UnavailableError) || isLate || !suffices(kept.grant)) throw error;
        onLookup("stale");
        return kept.grant;
      }
    },
  };
}

function measured(grant: CachedGrant): Pick<Entry, "grant" | "size"> {
  return { grant, size: JSON.stringify(grant).length };
}

function inUse({ upstream, replaced, familyKey, ...rest }: Grant): CachedGrant {
  return rest;
}
