/**
 * The session of somebody who signed in at /connections: 15 minutes, in one browser. It gives access to that page and
 * nothing else, and holds no token.
 */
import { createHmac } from "node:crypto";
import type { Request, Response } from "express";
import { z } from "zod";
import type { UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import { COOKIE_BYTES, hostCookie } from "../http/host-cookie.ts";
import type { Identity, LogoutToken } from "../identity/identity-provider.ts";
import { isEqualInConstantTime } from "../oauth/constant-time.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { RecordFormat } from "../storage/encrypted.ts";
import type { KeyValueStore, Store } from "../storage/store.ts";

const sessionFields = {
  /** As the identity provider calls them, for them to recognize themselves. */
  name: z.string().optional(),
  email: z.string().optional(),
  /** The login session there that this came from. */
  sid: z.string().optional(),
  createdAt: z.number(),
  /** Seconds since the epoch; no use moves it. */
  expiresAt: z.number(),
  /** What was ended a moment ago, in words: shown once. */
  ended: z.array(z.string()).optional(),
};
export type Session = z.infer<z.ZodObject<typeof sessionFields>> & { user: UserId };

export function sessionFormat(users: StoredUsers): RecordFormat<Session> {
  const stored = z.object({ ...sessionFields, ...users.fields });
  return {
    schema: stored.transform(({ subject, issuer, ...rest }) => ({
      user: users.read({ subject, issuer }),
      ...rest,
    })),
    write: ({ user, ...rest }) => ({ ...users.write(user), ...rest }),
  };
}

/** A session as one request found it. */
export interface OpenSession extends Session {
  /** Under which it is kept; not the cookie. */
  key: string;
  /** What its forms carry: who does not know the cookie cannot make it. */
  formToken: string;
}

export interface Sessions {
  /** Starts a new session in this browser, in place of the one it may have; `end` ends it. */
  open(identity: Identity, req: Request, res: Response): Promise<{ end(): Promise<void> }>;
  find(req: Request): Promise<OpenSession | undefined>;
  isOwnForm(session: OpenSession, formToken: string): boolean;
  /** Keeps a message for the next time the page is shown, and consumes it. */
  keepMessage(session: OpenSession, ended: readonly string[]): Promise<void>;
  takeMessage(session: OpenSession): Promise<readonly string[]>;
  close(req: Request, res: Response): Promise<void>;
  /** Ends those of a login session, or of a user, that the identity provider says is over. */
  endOf(logout: LogoutToken): Promise<void>;
}

const SESSION_SECONDS = 900;
// Longer is no name, and no address (RFC 5321 §4.5.3.1).
const MAX_TEXT = 256;

interface Dependencies extends Pick<Runtime, "now" | "randomBytes"> {
  store: Store<Session>;
  /** Remembers who signed out at the provider, for as long as a session may live. */
  records: Pick<KeyValueStore, "get" | "put">;
  users: StoredUsers;
  baseUrl: string;
}

export function createSessions({ store, records, users, baseUrl, now, randomBytes }: Dependencies): Sessions {
  const cookie = hostCookie(baseUrl, "mcp-connections");

  /** `without-session`: those of a user of which no login session is known, after a sign-out that names both. */
  function signedOut(kind: "subject" | "session" | "without-session", issuer: string, id: string): string {
    return `signed-out:${kind}:${sha256(users.unique(issuer, id))}`;
  }

  async function endedAtProvider({ user, sid, createdAt }: Session): Promise<boolean> {
    const { issuer, subject } = user;
    const keys = [
      signedOut("subject", issuer, subject),
      sid === undefined ? signedOut("without-session", issuer, subject) : signedOut("session", issuer, sid),
    ];
    const times = await Promise.all(keys.map((key) => records.get(key)));
    return times.some((time) => time !== undefined && createdAt <= Number(time));
  }

  async function change(session: OpenSession, ended: readonly string[] | undefined): Promise<void> {
    await store.update(session.key, (current) => {
      if (current === undefined) return { result: undefined };
      const { ended: _, ...rest } = current;
      const write = ended === undefined ? rest : { ...rest, ended: [...ended] };
      return { write, ttlSeconds: Math.max(1, current.expiresAt - now()), result: undefined };
    });
  }

  async function close(req: Request, res: Response): Promise<void> {
    const id = cookie.read(req);
    cookie.clear(res);
    if (id !== undefined) await store.delete(sha256(id));
  }

  return {
    async open(identity, req, res) {
      await close(req, res);
      // Always a new one: whoever knew the old one's id must not be signed in by somebody else's login.
      const id = randomBytes(COOKIE_BYTES).toString("base64url");
      const session = { ...inShort(identity), createdAt: now(), expiresAt: now() + SESSION_SECONDS };
      await store.put(sha256(id), session, SESSION_SECONDS);
      cookie.set(res, id, SESSION_SECONDS);
      return {
        async end() {
          cookie.clear(res);
          await store.delete(sha256(id));
        },
      };
    },
    async find(req) {
      const id = cookie.read(req);
      if (id === undefined) return undefined;
      const session = await store.get(sha256(id));
      if (session === undefined || session.expiresAt <= now() || (await endedAtProvider(session)))
        return undefined;
      return { ...session, key: sha256(id), formToken: formTokenOf(id) };
    },
    isOwnForm({ formToken }, sent) {
      return isEqualInConstantTime(sent, formToken);
    },
    keepMessage: change,
    async takeMessage(session) {
      if (session.ended === undefined) return [];
      await change(session, undefined);
      return session.ended;
    },
    close,
    async endOf({ issuer, sid, subject }) {
      const keys: string[] = [];
      if (sid !== undefined) keys.push(signedOut("session", issuer, sid));
      if (subject !== undefined)
        keys.push(signedOut(sid === undefined ? "subject" : "without-session", issuer, subject));
      await Promise.all(keys.map((key) => records.put(key, String(now()), SESSION_SECONDS)));
    },
  };
}

function inShort({
  issuer,
  subject,
  sid,
  claims,
}: Identity): Pick<Session, "user" | "name" | "email" | "sid"> {
  const text = (claim: unknown) =>
    typeof claim === "string" && claim !== "" && claim.length <= MAX_TEXT ? claim : undefined;
  return {
    user: { issuer, subject },
    name: text(claims.name) ?? text(claims.preferred_username),
    email: text(claims.email),
    sid,
  };
}

function formTokenOf(id: string): string {
  return createHmac("sha256", id).update("form of /connections").digest("base64url");
}
