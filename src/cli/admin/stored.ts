/**
 * Reads stored records without changing any: index entries are not cleaned up, because with a wrong SECRET_KEY here every record
 * looks gone. Records that cannot be read are counted.
 */
import type { z } from "zod";
import type { EncryptedKind } from "../../storage/reencrypt.ts";
import type { Sealer } from "../../storage/sealer.ts";
import type { KeyValueStore } from "../../storage/store.ts";

export interface Stored<T> {
  find(id: string): Promise<T | undefined>;
  /** Those that are still there. */
  findAll(ids: AsyncIterable<string> | Iterable<string>): AsyncIterable<T>;
  all(): AsyncIterable<T>;
  /** Not read: also of those that could not be. */
  ids(): AsyncIterable<string>;
  /** As it is in the store, to remove that and nothing newer. */
  raw(id: string): Promise<string | undefined>;
  /** How many records this reader could not read up to now. */
  readonly unreadable: number;
}

const AT_ONCE = 64;

export function stored<T>(
  records: Pick<KeyValueStore, "get" | "keys">,
  sealer: Sealer,
  kind: EncryptedKind,
  schema: z.ZodType<T>,
): Stored<T> {
  const prefix = `${kind}:`;
  let unreadable = 0;

  async function find(id: string): Promise<T | undefined> {
    const key = prefix + id;
    const record = await records.get(key);
    if (record === undefined) return undefined;
    const text = sealer.open(record, key);
    const parsed = text === undefined ? undefined : schema.safeParse(JSON.parse(text));
    if (parsed?.success) return parsed.data;
    unreadable++;
    return undefined;
  }

  async function* ids(): AsyncIterable<string> {
    for await (const key of records.keys(prefix)) yield key.slice(prefix.length);
  }

  async function* findAll(wanted: AsyncIterable<string> | Iterable<string>): AsyncIterable<T> {
    for await (const batch of batches(wanted, AT_ONCE))
      yield* (await Promise.all(batch.map(find))).filter((found) => found !== undefined);
  }

  return {
    find,
    findAll,
    all: () => findAll(ids()),
    ids,
    raw: (id) => records.get(prefix + id),
    get unreadable() {
      return unreadable;
    },
  };
}

async function* batches<T>(items: AsyncIterable<T> | Iterable<T>, size: number): AsyncIterable<T[]> {
  let batch: T[] = [];
  for await (const item of items)
    if (batch.push(item) === size) {
      yield batch;
      batch = [];
    }
  if (batch.length > 0) yield batch;
}
