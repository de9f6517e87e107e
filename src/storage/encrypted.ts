/** A typed store over a key-value store of text: values are validated by a schema, encrypted at rest, bound to their key. */

import type { z } from "zod";
import type { Log } from "../runtime/log.ts";
import type { EncryptedKind } from "./reencrypt.ts";
import type { Sealer } from "./sealer.ts";
import type { KeyValueStore, Store } from "./store.ts";
import { inTime } from "./until-answered.ts";

/** What a claimed record becomes, sealed anew each time, so that each claimer knows their own. */
const CLAIMED = "null";
/** Longer than anybody asks for the answer to a claim. */
const CLAIMED_SECONDS = 60;

/** How values of one kind are stored, where that changed in the course of time. */
export interface RecordFormat<T> {
  /** Reads every form that may be in the store. */
  schema: z.ZodType<T>;
  /** The form that is written. Default: the value itself. */
  write?(value: T): unknown;
}

export interface EncryptedStoreOptions<T> extends RecordFormat<T> {
  records: KeyValueStore;
  sealer: Sealer;
  log: Log;
  /** Names the kind of record; part of every key and of what the encryption is bound to. */
  kind: EncryptedKind;
  /** Written as few bytes, which replicas of 0.1.0 cannot read. Both are read. */
  compact?: boolean;
  /** Gets the work that goes on after its caller got an UnavailableError. */
  waitUntil?(work: Promise<unknown>): void;
}

/** A record that cannot be opened or parsed (another SECRET_KEY, an older version) counts as absent, and is logged. */
export function encryptedStore<T extends object>({
  records,
  sealer,
  log,
  kind,
  schema,
  write: asStored = (value) => value,
  compact = false,
  waitUntil = () => {},
}: EncryptedStoreOptions<T>): Store<T> {
  const keyOf = (key: string) => `${kind}:${key}`;
  /** How a value was written, as long as somebody has it. */
  const written = new WeakMap<T, string>();
  const sealed = compact ? sealer.sealCompact : sealer.seal;
  const seal = (key: string, value: T) => sealed(JSON.stringify(asStored(value)), keyOf(key));

  function open(key: string, record: string): T | undefined {
    const text = sealer.open(record, keyOf(key));
    if (text === CLAIMED) return undefined;
    const parsed = text === undefined ? undefined : schema.safeParse(JSON.parse(text));
    if (parsed?.success) {
      written.set(parsed.data, record);
      return parsed.data;
    }
    log.warn(
      { reason: text === undefined ? "record_not_decryptable" : "record_of_unknown_shape", kind },
      "A stored record is unreadable and is treated as absent",
    );
    return undefined;
  }

  interface Found {
    record?: string | undefined;
    value?: T | undefined;
  }

  async function latest(key: string): Promise<Found> {
    const record = await records.get(keyOf(key));
    return record === undefined ? {} : { record, value: open(key, record) };
  }

  /** Undefined for a value that did not come from here as it is. */
  function asRead(value: T | undefined): Found | undefined {
    const record = value && written.get(value);
    return record === undefined ? undefined : { record, value };
  }

  async function get(key: string): Promise<T | undefined> {
    return (await latest(key)).value;
  }

  /** If the answer to a write is lost, the record shows whether it was made: no two ciphertexts are alike. */
  async function replaced(
    key: string,
    expected: string | undefined,
    sealed: string,
    ttl: number | "kept",
  ): Promise<boolean> {
    try {
      if (ttl === "kept") return await records.rewrite(key, expected ?? "", sealed);
      return await records.replace(key, expected, sealed, ttl);
    } catch (error) {
      if ((await inTime(() => records.get(key), { waitUntil })) === sealed) return true;
      throw error;
    }
  }

  /**
   * If the answer to a removal is lost, a record that is gone counts as removed by this call. Another caller may have removed
   * it at the same moment; an end that is reported twice is better than one that is never reported.
   * @param late is called if that is known only after the caller got an UnavailableError
   */
  async function removed(
    key: string,
    remove: () => Promise<boolean>,
    late: () => Promise<unknown> = async () => {},
  ): Promise<boolean> {
    try {
      return await remove();
    } catch (error) {
      const isGone = async () => (await records.get(key)) === undefined;
      if (await inTime(isGone, { late: async (gone) => gone && late(), waitUntil })) return true;
      throw error;
    }
  }

  return {
    get,
    secondsLeft: (key) => records.secondsLeft(keyOf(key)),
    put: (key, value, ttlSeconds) => records.put(keyOf(key), seal(key, value), ttlSeconds),
    async take(key, { accept = () => {}, late = async () => {} } = {}) {
      for (;;) {
        const { record, value } = await latest(key);
        if (record === undefined || value === undefined) return undefined;
        accept(value);
        // As it was read, or not at all: what somebody wrote in between would be gone, and nobody would know of it.
        const remove = () => records.deleteIf(keyOf(key), record);
        if (await removed(keyOf(key), remove, () => late(value))) return value;
      }
    },
    async claim(key, { accept = () => {}, late = async () => {} } = {}) {
      for (;;) {
        const { record, value } = await latest(key);
        if (record === undefined || value === undefined) return undefined;
        accept(value);
        const mark = sealer.seal(CLAIMED, keyOf(key));
        try {
          if (await records.replace(keyOf(key), record, mark, CLAIMED_SECONDS)) return value;
        } catch (error) {
          const isMine = async () => (await records.get(keyOf(key))) === mark;
          if (await inTime(isMine, { late: async (mine) => mine && late(value), waitUntil })) return value;
          throw error;
        }
      }
    },
    async update(key, decide, read) {
      for (let found = asRead(read) ?? (await latest(key)); ; found = await latest(key)) {
        const { write, result, ...rest } = decide(found.value);
        if (write === undefined || !("ttlSeconds" in rest)) return result;
        const sealed = seal(key, write);
        if (await replaced(keyOf(key), found.record, sealed, rest.ttlSeconds)) {
          written.set(write, sealed);
          return result;
        }
      }
    },
    delete: (key) => removed(keyOf(key), () => records.delete(keyOf(key))),
    deleteAll: (keys) => records.deleteAll(keys.map(keyOf)),
  };
}
