/** As many grants of one client as if so many people had signed in, each with the provider's tokens of the one given. */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { Grant } from "../../src/grants/grant.ts";
import { clientIndex, subjectIndex } from "../../src/grants/grant-index.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { TestServer } from "./test-server.ts";

const AT_ONCE = 100;
const SECONDS = 3_600;

export async function copyGrant({ records, config }: TestServer, grant: Grant, count: number): Promise<void> {
  const sealer = createSealer(config.secretKeys);
  const log = pino({ level: "silent" });
  const store = encryptedStore({ records, sealer, log, kind: "grant", schema: Grant });
  const copy = async (subject: string) => {
    const one = { ...grant, id: randomBytes(16).toString("base64url"), subject };
    const names = [clientIndex(one.clientId), subjectIndex(one.subject)];
    await records.indexes.add(names, one.id, { due: SECONDS, latest: SECONDS });
    await store.put(one.id, one, SECONDS);
  };
  for (let i = 0; i < count; i += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - i) }, (_, j) => copy(`user ${i + j}`)));
}
