/** A client's document as it is stored for all replicas, while the client holds grants. */
import { z } from "zod";
import { sha256 } from "../../oauth/sha256.ts";
import type { Store } from "../../storage/store.ts";

/** Times are seconds since the epoch; see `Copy` in document-cache.ts. */
export const StoredDocument = z.object({
  /** What the cache's `parse` reads. */
  text: z.string(),
  headers: z.record(z.string(), z.string()),
  checkedAt: z.number(),
  freshUntil: z.number(),
  staleUntil: z.number(),
  /** The record itself ends then. */
  heldUntil: z.number(),
});
export type StoredDocument = z.infer<typeof StoredDocument>;

/** A document has up to 5 KB; beside it are the few headers that say how long it may be kept. */
const MAX_STORED_BYTES = 6_144;

export interface StoredDocuments {
  get(url: string): Promise<StoredDocument | undefined>;
  /** Until `heldUntil`; one that is too large is not stored. */
  put(url: string, document: StoredDocument, now: number): Promise<void>;
  delete(url: string): Promise<void>;
}

export function storedDocuments(store: Store<StoredDocument>): StoredDocuments {
  return {
    get: (url) => store.get(sha256(url)),
    async put(url, document, now) {
      if (Buffer.byteLength(document.text + JSON.stringify(document.headers)) > MAX_STORED_BYTES) return;
      await store.put(sha256(url), document, Math.max(1, Math.ceil(document.heldUntil - now)));
    },
    delete: async (url) => void (await store.delete(sha256(url))),
  };
}
