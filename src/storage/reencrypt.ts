/** Brings every record under the first SECRET_KEY, so that the older ones can be taken out of the list. */
import type { Sealer } from "./sealer.ts";
import type { KeyValueStore } from "./store.ts";

/** The kinds of record that are encrypted. */
const ENCRYPTED_KINDS = [
  ...["client", "document", "key-set", "login", "grant", "approval", "session", "question", "log-level"],
  "exchanged",
] as const;
export type EncryptedKind = (typeof ENCRYPTED_KINDS)[number];

/**
 * Safe while the server runs: a record that changes meanwhile was written under the first key anyway.
 * @returns how many records were re-encrypted, and how many none of the keys opens
 */
export async function reencrypt(
  records: KeyValueStore,
  sealer: Sealer,
): Promise<{ reencrypted: number; unreadable: number }> {
  const count = { reencrypted: 0, unreadable: 0 };
  for (const kind of ENCRYPTED_KINDS)
    for await (const key of records.keys(`${kind}:`)) {
      const record = await records.get(key);
      if (record === undefined || sealer.isCurrent(record)) continue;
      const resealed = sealer.reseal(record, key);
      if (resealed === undefined) count.unreadable++;
      else if (await records.rewrite(key, record, resealed)) count.reencrypted++;
    }
  return count;
}
