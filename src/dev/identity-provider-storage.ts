/**
 * What the embedded identity provider remembers, in the shape oidc-provider asks for. One storage per
 * provider, kept across its key rotations; unlike oidc-provider's own memory adapter it never evicts a
 * live record, so a load test keeps its sessions.
 */
import type { Adapter, AdapterFactory, AdapterPayload } from "oidc-provider";

interface Entry {
  payload: AdapterPayload;
  expiresAt: number;
}

/** Makes the adapters of one provider: one map per kind of record. */
export function createProviderStorage(): AdapterFactory {
  const kinds = new Map<string, Adapter>();
  return (kind) => {
    const known = kinds.get(kind) ?? createAdapter();
    kinds.set(kind, known);
    return known;
  };
}

function createAdapter(): Adapter {
  const entries = new Map<string, Entry>();

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
    },
    async destroy(id) {
      entries.delete(id);
    },
    async revokeByGrantId(grantId) {
      for (const [id, { payload }] of entries) if (payload.grantId === grantId) entries.delete(id);
    },
  };
}
