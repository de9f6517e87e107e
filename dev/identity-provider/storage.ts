/**
 * What the embedded identity provider remembers, in the shape oidc-provider asks for. One storage per
 * provider, kept across its key rotations; unlike oidc-provider's own memory adapter it never evicts a
 * live record, so a load test keeps its sessions.
 */
import { readFileSync } from "node:fs";
import type { Adapter, AdapterFactory, AdapterPayload } from "oidc-provider";
import { replaceFile } from "../watch/private-files.ts";

interface Entry {
  payload: AdapterPayload;
  expiresAt: number;
}

type Entries = Map<string, Entry>;

/** Makes the adapters of one provider: one map per kind of record. */
export function createProviderStorage(): AdapterFactory {
  return adaptersOver(new Map(), () => {});
}

/** The same, written to a file at every change: what the provider knows outlives its process. */
export function createProviderStorageInFile(path: string): AdapterFactory {
  const kinds = readKinds(path);
  return adaptersOver(kinds, () => {
    const now = Date.now();
    const live = [...kinds].map(([kind, entries]) => [
      kind,
      [...entries].filter(([, { expiresAt }]) => expiresAt > now),
    ]);
    // JSON has no Infinity.
    replaceFile(
      path,
      JSON.stringify(live, (_, value) => (value === Number.POSITIVE_INFINITY ? NEVER : value)),
    );
  });
}

const NEVER = Number.MAX_SAFE_INTEGER;

function readKinds(path: string): Map<string, Entries> {
  try {
    const kinds = JSON.parse(readFileSync(path, "utf8")) as Array<[string, Array<[string, Entry]>]>;
    return new Map(kinds.map(([kind, entries]) => [kind, new Map(entries)]));
  } catch {
    return new Map(); // the first start; or a file that is none, and then people sign in again
  }
}

function adaptersOver(kinds: Map<string, Entries>, changed: () => void): AdapterFactory {
  const adapters = new Map<string, Adapter>();
  return (kind) => {
    const entries = kinds.get(kind) ?? new Map<string, Entry>();
    kinds.set(kind, entries);
    const adapter = adapters.get(kind) ?? createAdapter(entries, changed);
    adapters.set(kind, adapter);
    return adapter;
  };
}

function createAdapter(entries: Entries, changed: () => void): Adapter {
  function read(id: string): AdapterPayload | undefined {
    const entry = entries.get(id);
    if (entry && entry.expiresAt <= Date.now()) {
      entries.delete(id);
      return undefined;
    }
    return entry?.payload;
  }

  function findBy(property: "uid" | "userCode", value: string): AdapterPayload | undefined {
    for (const [id, { payload }] of entries) if (payload[property] === value) return read(id);
    return undefined;
  }

  return {
    async upsert(id, payload, expiresIn) {
      const expiresAt = expiresIn === undefined ? Number.POSITIVE_INFINITY : Date.now() + expiresIn * 1000;
      entries.set(id, { payload, expiresAt });
      changed();
    },
    async find(id) {
      return read(id);
    },
    async findByUid(uid) {
      return findBy("uid", uid);
    },
    async findByUserCode(userCode) {
      return findBy("userCode", userCode);
    },
    async consume(id) {
      const payload = read(id);
      if (payload) payload.consumed = Math.floor(Date.now() / 1000);
      changed();
    },
    async destroy(id) {
      entries.delete(id);
      changed();
    },
    async revokeByGrantId(grantId) {
      for (const [id, { payload }] of entries) if (payload.grantId === grantId) entries.delete(id);
      changed();
    },
  };
}
