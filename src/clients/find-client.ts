/** Finds the client that a request names. Registrations are the one source today. */
import { type Client, Client as ClientSchema } from "../oauth/client-metadata.ts";
import type { Store } from "../storage/store.ts";

export interface Clients {
  find(clientId: string): Promise<Client | undefined>;
  /** Stores a new registration, or renews an existing one for another full lifetime. */
  keep(client: Client): Promise<void>;
}

export const ClientRecord = ClientSchema;

export function createClients(store: Store<Client>, clientSeconds: number): Clients {
  return {
    find: (clientId) => store.get(clientId),
    keep: (client) => store.put(client.client_id, client, clientSeconds),
  };
}
