/**
 * Live sessions by the hundred thousand, in the form in which the server stores them: each is like one that was signed in for, of
 * another user. Only what the browser would do is left out, and that every one waits for the answers of the last.
 */
import { randomBytes } from "node:crypto";
import type { RedisClientType } from "@keyv/redis";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import type { Config } from "../../src/config/config.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { clientIndex, sessionIndex, userIndex } from "../../src/grants/grant-index.ts";
import {
  hashToken,
  mintRefreshToken,
  mintToken,
  readToken,
  SECRET_BYTES,
} from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";

export interface Session {
  accessToken: string;
  refreshToken: string;
}

/** What one server and a cluster have in common. */
export type Commands = Pick<RedisClientType, "get" | "set" | "zAdd" | "pExpire">;

const AT_ONCE = 250;

/**
 * @param accessToken of the session that is copied
 * @param sampled how many of the new sessions are given back, evenly chosen
 */
export async function writeSessions(
  commands: Commands,
  config: Config,
  { accessToken, count, sampled }: { accessToken: string; count: number; sampled: number },
): Promise<Session[]> {
  if (config.store.kind !== "redis") throw new Error("The sessions are in the server's own memory");
  const { keyPrefix } = config.store;
  const keyOf = (key: string) => `${keyPrefix}:${key}`;
  const users = storedUsers(config.identityProviders);
  const life = config.lifetimes.grantIdleSeconds * 1000;
  // What is put is written at once, as it is sealed.
  const records = {
    get: async (key: string) => (await commands.get(keyOf(key))) ?? undefined,
    put: async (key: string, record: string) => void (await commands.set(keyOf(key), record, { PX: life })),
  };
  const store = encryptedStore({
    records: records as unknown as KeyValueStore,
    sealer: createSealer(config.secretKeys),
    log: pino({ level: "silent" }),
    kind: "grant",
    compact: config.storedSessions === "compact",
    ...grantFormat(users),
  });
  const model = await store.get(readToken("access", accessToken)?.grantId ?? "");
  if (model?.principal.kind !== "user") throw new Error("There is no session to copy");
  const { issuer, claims } = model.principal;

  async function write(number: number): Promise<Session> {
    const id = randomBytes(16).toString("base64url");
    const secret = () => randomBytes(SECRET_BYTES);
    const familyKey = secret().toString("base64url");
    const session = {
      accessToken: mintToken("access", id, secret()),
      refreshToken: mintRefreshToken(id, secret(), familyKey),
    };
    const [subject, sid] = [`user-${number}`, randomBytes(32).toString("base64url")];
    const grant: Grant = {
      ...(model as Grant),
      id,
      familyKey,
      principal: { kind: "user", issuer, subject, claims: { ...claims, sub: subject, sid } },
      accessTokens:
        model?.accessTokens.map((each) => ({ ...each, hash: hashToken(session.accessToken) })) ?? [],
      refreshToken: hashToken(session.refreshToken),
    };
    const indexes = [
      clientIndex(grant.client.id),
      userIndex({ issuer, subject }, users),
      sessionIndex({ issuer, sid }, users),
    ].map((index) => keyOf(`index:${index}`));
    await Promise.all([
      store.put(id, grant, life / 1000),
      commands.set(keyOf(`used:${id}`), String(grant.createdAt), { PX: life }),
      ...indexes.flatMap((index) => [
        commands.zAdd(index, { score: Date.now() + life, value: id }),
        commands.pExpire(index, config.lifetimes.grantSeconds * 1000),
      ]),
    ]);
    return session;
  }

  const sample: Session[] = [];
  const every = Math.max(1, Math.floor(count / sampled));
  for (let i = 0; i < count; i += AT_ONCE) {
    const written = await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, count - i) }, (_, j) => write(i + j)),
    );
    sample.push(...written.filter((_, j) => (i + j) % every === 0));
  }
  return sample.slice(0, sampled);
}
