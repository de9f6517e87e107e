/** As many grants of one client as if so many people had signed in, each with the provider's tokens of the one given. */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { claimsOf } from "../../src/access/principal.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { clientIndex, userIndex } from "../../src/grants/grant-index.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { TestServer } from "./test-server.ts";

const AT_ONCE = 100;
const SECONDS = 3_600;

export async function copyGrant(
  { records, config }: Pick<TestServer, "records" | "config">,
  grant: Grant,
  count: number,
): Promise<void> {
  const sealer = createSealer(config.secretKeys);
  const log = pino({ level: "silent" });
  const { issuer } = config.identityProviders[0];
  const users = storedUsers([{ issuer }]);
  const store = encryptedStore({ records, sealer, log, kind: "grant", ...grantFormat(users) });
  const copy = async (subject: string) => {
    const principal = {
      ...grant.principal,
      kind: "user" as const,
      issuer,
      subject,
      claims: claimsOf(grant.principal),
    };
    const one = { ...grant, id: randomBytes(16).toString("base64url"), principal };
    const names = [clientIndex(one.client.id), userIndex(principal, users)];
    await records.indexes.add(names, one.id, { due: SECONDS, latest: SECONDS });
    await store.put(one.id, one, SECONDS);
  };
  for (let i = 0; i < count; i += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - i) }, (_, j) => copy(`user ${i + j}`)));
}
