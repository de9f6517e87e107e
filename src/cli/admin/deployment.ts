/** The deployment that the environment describes, as its operator's command line sees it: from outside, in Redis. */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import type { UserId } from "../../access/principal.ts";
import { storedUsers } from "../../access/stored-users.ts";
import { type Audit, type AuditStream, createAudit, openAuditStream } from "../../audit/audit.ts";
import { type Clients, createClients } from "../../clients/find-client.ts";
import type { Config } from "../../config/config.ts";
import { createEndings, type Endings } from "../../grants/endings.ts";
import type { Grant } from "../../grants/grant.ts";
import { clientIndex, indexesOfUser } from "../../grants/grant-index.ts";
import { createGrants, type GrantEnd } from "../../grants/grants.ts";
import { createLastUse } from "../../grants/last-use.ts";
import { grantFormat } from "../../grants/stored-grant.ts";
import { createUpstreamRevocations } from "../../grants/upstream-revocations.ts";
import type { IdentityProvider } from "../../identity/identity-provider.ts";
import {
  createIdentityProviders,
  decorated,
  openIdentityProviders,
} from "../../identity/identity-providers.ts";
import { Client } from "../../oauth/client-metadata.ts";
import { causes, UnavailableError } from "../../oauth/errors.ts";
import { openProxiedFetch } from "../../runtime/proxied-fetch.ts";
import { systemClock } from "../../runtime/runtime.ts";
import { encryptedStore } from "../../storage/encrypted.ts";
import { redisStore } from "../../storage/redis/redis.ts";
import { createSealer } from "../../storage/sealer.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import { untilReady } from "../../storage/until-ready.ts";
import { type Stored, stored } from "./stored.ts";

export interface Deployment {
  config: Config;
  records: KeyValueStore;
  grants: Stored<Grant>;
  clients: Stored<Client>;
  /** Ids, in no order; some of these grants may have ended. */
  grantsOfUser(user: UserId): AsyncIterable<string>;
  grantsOfClient(clientId: string): AsyncIterable<string>;
  /** See {@link Clients.remove}. */
  removeClient: Clients["remove"];
  /** For sign-ins that are under way: before the grants are ended. */
  markEnded: Endings["mark"];
  /** For good: here, on every replica, at the provider. */
  endGrant(id: string, reason: GrantEnd): Promise<Grant | undefined>;
  /** What the provider was asked to revoke and did not. */
  unrevoked: Readonly<Unrevoked>;
  audit: Audit;
  /** Seconds since the epoch. */
  now: number;
}

interface Unrevoked {
  count: number;
  cause: string;
}

/**
 * Runs `work` with what is in Redis.
 * @throws UnavailableError if Redis cannot be reached; Error if the deployment keeps its records in memory, where only
 * its own process sees them, or if AUDIT_LOG cannot be written
 */
export async function withDeployment<Result>(
  config: Config,
  work: (deployment: Deployment) => Promise<Result>,
  stderr: AuditStream = process.stderr,
): Promise<Result> {
  const { store, secretKeys } = config;
  if (store.kind === "memory")
    throw new Error(
      "With STORE=memory the sessions are in the server's own process: nothing else can see them.",
    );
  // Silent: the commands themselves report what matters.
  const log = pino({ level: "silent" });
  // What has ended is revoked by the server's way to the identity provider.
  const proxied = config.outgoingProxy && (await openProxiedFetch(config.outgoingProxy));
  const runtime = { now: systemClock, randomBytes, log, fetch: proxied?.fetch };
  const sealer = createSealer(secretKeys);
  const audit = createAudit(log, auditStream(config, stderr));
  const records = redisStore({ ...store, log });
  const users = storedUsers(config.identityProviders);
  const format = grantFormat(users);
  const grantStore = encryptedStore({ records, sealer, log, kind: "grant", ...format });
  const clientStore = encryptedStore({ records, sealer, log, kind: "client", schema: Client });
  const unrevoked = { count: 0, cause: "" };
  const opened = openIdentityProviders(config.identityProviders, config.baseUrl, runtime);
  const identityProviders = createIdentityProviders(
    decorated(opened, (each) => ({ ...each, ...notForEver(each, unrevoked) })),
  );
  const grants = createGrants({
    ...runtime,
    store: grantStore,
    records,
    indexes: records.indexes,
    users,
    lastUse: createLastUse({ ...runtime, records, grants: grantStore }),
    lifetimes: config.lifetimes,
    limits: config.grantLimits,
    revocations: createUpstreamRevocations({ identityProviders, log }),
    audit,
  });
  const { transactionSeconds: signInSeconds } = config.lifetimes;
  const endings = createEndings({ records, users, signInSeconds, now: systemClock, log });
  try {
    await untilReady(records);
    return await work({
      config,
      records,
      grants: stored(records, sealer, "grant", format.schema),
      clients: stored(records, sealer, "client", Client),
      grantsOfUser: (user) => membersOf(records, ...indexesOfUser(user, users)),
      grantsOfClient: (clientId) => membersOf(records, clientIndex(clientId)),
      removeClient: createClients(
        clientStore,
        config.clients,
        { documents: undefined },
        config.lifetimes,
        systemClock,
      ).remove,
      markEnded: endings.mark,
      async endGrant(id, reason) {
        const ended = await grants.end(id, reason);
        await ended?.atProvider;
        return ended?.grant;
      },
      unrevoked,
      audit,
      now: systemClock(),
    });
  } finally {
    await Promise.all([records.close(), proxied?.close()]);
  }
}

/** Read in portions, a member may come twice. */
async function* membersOf({ indexes }: KeyValueStore, ...names: string[]): AsyncIterable<string> {
  const seen = new Set<string>();
  for (const name of names)
    for await (const portion of indexes.members(name))
      for (const id of portion) {
        if (!seen.has(id)) yield id;
        seen.add(id);
      }
}

/** The file that the server writes too. Standard output is for what was asked for. */
function auditStream({ audit }: Config, stderr: AuditStream): AuditStream {
  const isFile = audit.destination !== undefined && !["stdout", "stderr"].includes(audit.destination);
  const complaints = pino({ base: null }, { write: (line: string) => void stderr.write(line) });
  return (isFile && openAuditStream(audit, complaints)) || stderr;
}

const FAILURES_IN_A_ROW = 10;

/** Revoking all grants must not wait for a provider that is down, one grant after the other. */
function notForEver(
  provider: Pick<IdentityProvider, "revoke">,
  unrevoked: Unrevoked,
): Pick<IdentityProvider, "revoke"> {
  let inARow = 0;
  return {
    async revoke(refreshToken) {
      try {
        if (inARow >= FAILURES_IN_A_ROW)
          throw new UnavailableError("identity provider", { reason: "given_up" });
        await provider.revoke(refreshToken);
        inARow = 0;
      } catch (error) {
        inARow++;
        unrevoked.count++;
        // The first error explains the others.
        unrevoked.cause ||= causes(error);
        throw error;
      }
    },
  };
}
