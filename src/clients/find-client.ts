/** Looks up clients: configured ones, those with a metadata document, and registered ones. */
import type { Client } from "../oauth/client-metadata.ts";
import { UnavailableError } from "../oauth/errors.ts";
import type { Store } from "../storage/store.ts";
import type { ClientIdMetadata } from "./metadata-documents/client-id-metadata.ts";
import type { DocumentRequester } from "./metadata-documents/document-cache.ts";
import type { KeySets } from "./metadata-documents/jwks.ts";

export interface Clients {
  /**
   * @param requester on whose behalf a document is fetched; without it no client with a document is found
   * @throws ClientMetadataError if the client's document cannot be used
   */
  find(clientId: string, requester?: DocumentRequester): Promise<Client | undefined>;
  /** Stores a registration that nobody has used yet; it is soon forgotten if that stays so. */
  add(client: Client): Promise<void>;
  /** Stores changed metadata. A registration that nobody has used yet lives no longer for it. */
  change(client: Client): Promise<void>;
  /** The client holds a grant: its registration, or the copy of its document, must outlive that. */
  keepAlive(client: Client, requester: Pick<DocumentRequester, "countStored">): Promise<void>;
  /** A client of this id was given a grant: if it has a document, and that is at hand here, a copy is stored. */
  grantOpened(clientId: string, requester: Pick<DocumentRequester, "countStored">): Promise<void>;
  /** A registration, also one that is being removed. */
  findRegistration(clientId: string): Promise<Client | undefined>;
  /**
   * Removes a registration after its grants have ended. As soon as this begins, the client is no longer found; after a failure the
   * next call continues.
   */
  remove(client: Client, endGrants: () => Promise<unknown>): Promise<void>;
}

export interface ClientLifetimes {
  clientSeconds: number;
  unusedClientSeconds: number;
}

/** How often the use of a registration is written down. The configuration makes lifetimes longer by this. */
export const RENEWAL_SECONDS = 86_400;

export function createClients(
  store: Store<Client>,
  configured: readonly Client[],
  { documents, keySets }: { documents: ClientIdMetadata | undefined; keySets?: Pick<KeySets, "hold"> },
  { clientSeconds, unusedClientSeconds }: ClientLifetimes,
  now: () => number,
): Clients {
  const fixed = new Map(configured.map((client) => [client.client_id, client]));
  const hasBeenUsed = (client: Client) => client.usedAt > client.client_id_issued_at;

  /** Only what is still there is changed: a registration that was removed meanwhile stays removed. */
  async function change(client: Client, changed: (current: Client) => Client): Promise<void> {
    await store.update(
      client.client_id,
      (current) => {
        if (current === undefined) return { result: undefined };
        const write = changed(current);
        return { write, ttlSeconds: hasBeenUsed(write) ? clientSeconds : "kept", result: undefined };
      },
      client,
    );
  }

  return {
    async find(clientId, requester) {
      const client = fixed.get(clientId);
      if (client !== undefined) return client;
      // By its prefix alone: metadata-documents/ says what is wrong with a URL.
      if (documents !== undefined && clientId.startsWith("https://"))
        return requester && documents.find(clientId, requester);
      const registered = await store.get(clientId);
      return registered?.removing ? undefined : registered;
    },
    add: (client) => store.put(client.client_id, client, unusedClientSeconds),
    change: (client) =>
      change(client, ({ usedAt, removing }) => ({ ...client, usedAt, ...(removing && { removing }) })),
    async keepAlive(client, requester) {
      if (client.provenance === "document") {
        await documents?.hold(client.client_id, requester);
        if (client.jwks_uri !== undefined) await keySets?.hold(client.jwks_uri, requester);
      }
      const isRecent = hasBeenUsed(client) && now() < client.usedAt + RENEWAL_SECONDS;
      if (client.provenance !== "registered" || isRecent) return;
      const usedAt = Math.max(now(), client.client_id_issued_at + 1);
      await change(client, (current) => ({ ...current, usedAt }));
    },
    async grantOpened(clientId, requester) {
      if (clientId.startsWith("https://")) await documents?.hold(clientId, requester);
    },
    findRegistration: (clientId) => store.get(clientId),
    async remove(client, endGrants) {
      await change(client, (current) => ({ ...current, removing: true })).catch((error) => {
        // Only a full store may refuse the mark: ending grants needs no memory. Any other failure stops the removal here, because
        // the client could sign in again meanwhile.
        if (!(error instanceof UnavailableError && error.reason === "redis_full")) throw error;
      });
      await endGrants();
      await store.delete(client.client_id);
    },
  };
}
