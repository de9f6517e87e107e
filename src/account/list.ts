/** The connected applications of a user: grants, as people and operators see them. */
import { type Requester, subjectOf, type UserId } from "../access/principal.ts";
import type { Clients } from "../clients/find-client.ts";
import { type Grant, notGiven } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import type { LastUse } from "../grants/last-use.ts";
import type { Client } from "../oauth/client-metadata.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { KeyValueStore } from "../storage/store.ts";

/** One sign-in of one client that is good still. */
export interface ConnectedApplication {
  grantId: string;
  subject: string;
  clientId: string;
  /** What it called itself when it was allowed in; undefined if it has no name. Text of a stranger. */
  clientName: string | undefined;
  /** Who vouches for that name: the operator, the web site of its metadata document, or nobody. */
  vouchedBy: "operator" | "document" | "nobody";
  /** Where it receives its codes, if it does. */
  redirectUri: string | undefined;
  /** The URI of the protected resource that it is for … */
  resource: string;
  /** … and what people call that; undefined if this server does not have it any more. */
  resourceName: string | undefined;
  scopes: readonly string[];
  /** What the person approved and the identity provider does not give. */
  notGiven: readonly string[];
  /** The person's company let the client in, and can do so again, without asking the person (ID-JAG). */
  letInByCompany: boolean;
  /** Seconds since the epoch. */
  createdAt: number;
  /** Undefined if no use is known: it was never used, or a moment ago by way of another replica. */
  lastUsedAt: number | undefined;
  expiresAt: number;
}

export interface ConnectedApplications {
  /** Of one person, oldest first. */
  ofUser(user: UserId): Promise<ConnectedApplication[]>;
  /** Everything, in no order; what comes or goes meanwhile may be missed. */
  all(): AsyncIterable<ConnectedApplication>;
}

interface Dependencies {
  /** The clients of the configuration. */
  configured: readonly Client[];
  grants: Pick<Grants, "find" | "ofUser">;
  clients: Pick<Clients, "find">;
  lastUse: Pick<LastUse, "of">;
  records: Pick<KeyValueStore, "keys">;
  /** All protected resources of this server. */
  resources: ReadonlyArray<{ uri: string; name: string }>;
  /** The scopes of the resource that a grant is for. */
  catalogueOf(resource: string): Pick<ScopeCatalogue, "expand" | "names">;
}

const GRANT_KEYS = "grant:";
const READS_AT_ONCE = 64;

export function createConnectedApplications({
  configured,
  grants,
  clients,
  lastUse,
  records,
  resources,
  catalogueOf,
}: Dependencies): ConnectedApplications {
  const fixed = new Map(configured.map((client) => [client.client_id, client]));
  const names = new Map(resources.map(({ uri, name }) => [uri, name]));

  async function nameOf({
    principal,
    client: { id: clientId, name: clientName },
  }: Requester): Promise<Pick<ConnectedApplication, "clientName" | "vouchedBy">> {
    // The operator's rules name it.
    if (principal.kind === "workload") return { clientName, vouchedBy: "operator" };
    const operators = fixed.get(clientId);
    if (operators !== undefined)
      return { clientName: clientName ?? operators.client_name, vouchedBy: "operator" };
    // Not looked up: that could mean fetching its document.
    if (clientId.startsWith("https://")) return { clientName, vouchedBy: "document" };
    return { clientName: clientName ?? (await clients.find(clientId))?.client_name, vouchedBy: "nobody" };
  }

  async function describe(found: readonly Grant[]): Promise<ConnectedApplication[]> {
    const used = await lastUse.of(found.map(({ id }) => id));
    return await Promise.all(
      found.map(async (grant) => ({
        grantId: grant.id,
        subject: subjectOf(grant.principal),
        clientId: grant.client.id,
        ...(await nameOf(grant)),
        redirectUri: grant.client.redirectUri,
        resource: grant.resource,
        resourceName: names.get(grant.resource),
        scopes: grant.scopes,
        notGiven: notGiven(grant, catalogueOf(grant.resource)),
        letInByCompany: grant.origin.kind === "jwt_bearer" && grant.origin.profile === "id-jag",
        createdAt: grant.createdAt,
        lastUsedAt: used.get(grant.id),
        expiresAt: grant.expiresAt,
      })),
    );
  }

  return {
    async ofUser(user) {
      const found = await grants.ofUser(user);
      const described: ConnectedApplication[] = [];
      for (let i = 0; i < found.length; i += READS_AT_ONCE)
        described.push(...(await describe(found.slice(i, i + READS_AT_ONCE))));
      return described;
    },
    async *all() {
      for await (const key of records.keys(GRANT_KEYS)) {
        const grant = await grants.find(key.slice(GRANT_KEYS.length));
        if (grant !== undefined) yield* await describe([grant]);
      }
    },
  };
}
