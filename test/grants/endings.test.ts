/** Marks of ended access while sign-ins are under way: what concurrent endings cost, and that none overwrites another. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import { createEndings } from "../../src/grants/endings.ts";
import { type AwaitingLogin, createLogins, loginFormat } from "../../src/login/transaction.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { held } from "../support/held.ts";

const ISSUER = "https://idp.example";
const users = storedUsers([{ issuer: ISSUER }]);
const person = (subject: string) => ({ issuer: ISSUER, subject });
const log = pino({ level: "silent" });
const NOW = 1_800_000_000;
const now = () => NOW;

function endingsOn(records: ReturnType<typeof memoryStore>) {
  let commands = 0;
  const counted = {
    get(...args: Parameters<typeof records.get>) {
      commands++;
      return records.get(...args);
    },
    replace(...args: Parameters<typeof records.replace>) {
      commands++;
      return records.replace(...args);
    },
  };
  const endings = createEndings({ records: counted, users, signInSeconds: 600, now, log });
  return { ...endings, commands: () => commands };
}

test("many sign-outs at the same time cost a few store operations each, and every sign-in under way learns of its own", async () => {
  const records = memoryStore();
  const endings = endingsOn(records);
  const begun = await endings.latest();
  const people = Array.from({ length: 300 }, (_, i) => `person-${i}`);
  const signOuts = people.map((subject) =>
    endings.markSignOut({ issuer: ISSUER, jti: subject, subject, issuedAt: NOW }),
  );
  await Promise.all(signOuts);
  assert.ok(endings.commands() < 5 * people.length, `${endings.commands()} commands`);
  for (const subject of people)
    assert.equal(await endings.since(begun, person(subject)), "backchannel_logout", subject);
  assert.equal(await endings.since(await endings.latest(), person("person-0")), undefined);
  await records.close();
});

test("an ending that begins while another is being counted stops every sign-in that began before it", async () => {
  const records = memoryStore();
  const { replace } = records;
  const counted = held();
  // The store has counted it, and whoever asked does not know that yet.
  records.replace = async (key, ...rest) => {
    const made = await replace(key, ...rest);
    if (key === "ended:count") await counted.wait();
    return made;
  };
  const endings = endingsOn(records);
  const first = endings.mark(["user", person("alice")], "ended_by_operator");
  await counted.reached();
  const begun = await endings.latest();
  const second = endings.mark(["user", person("bob")], "ended_by_operator");
  counted.letGo();
  await Promise.all([first, second]);
  assert.equal(await endings.since(begun, person("bob")), "ended_by_operator");
  await records.close();
});

test("a mark is kept as long as a sign-in may take that goes to the provider twice", async () => {
  const store = memoryStore();
  const lifetimes: number[] = [];
  const replace: typeof store.replace = (key, expected, value, seconds) => {
    if (key !== "ended:count") lifetimes.push(seconds);
    return store.replace(key, expected, value, seconds);
  };
  const records = { get: store.get, replace };
  const endings = createEndings({ records, users, signInSeconds: 600, now, log });
  await endings.mark(["everybody"], "ended_by_operator");
  assert.ok(lifetimes.length === 1 && Number(lifetimes[0]) > 2 * 600, String(lifetimes));
  await store.close();
});

describe("a user who authenticated after a sign-out", () => {
  const authTime = NOW - 5;
  const cases: Array<[string, Array<number | "operator">, boolean]> = [
    ["may come in", [NOW - 10], true],
    ["may not after one that was reported before it", [NOW, NOW - 10], false],
    ["may not after one that was reported after it", [NOW - 10, NOW], false],
    ["may not if an operator ended what they have", ["operator", NOW - 10], false],
  ];
  for (const [name, ends, comesIn] of cases)
    test(name, async () => {
      const records = memoryStore();
      const endings = endingsOn(records);
      const begun = await endings.latest();
      for (const end of ends)
        if (end === "operator") await endings.mark(["user", person("alice")], "ended_by_operator");
        else await endings.markSignOut({ ...person("alice"), jti: "j", issuedAt: end });
      const reason = await endings.since(begun, { ...person("alice"), authTime });
      assert.equal(reason === undefined, comesIn, reason);
      await records.close();
    });
});

test("a login that goes on with another's consent began with that: what was ended between the two is not missed", async () => {
  const records = memoryStore();
  const endings = endingsOn(records);
  const storing = { records, sealer: createSealer(["a key for tests, not for production!"]), log };
  const store = encryptedStore({ ...storing, kind: "login", ...loginFormat(users) });
  const logins = createLogins(store, async () => {}, endings);
  const login: AwaitingLogin = {
    step: "connections",
    browser: "browser" as AwaitingLogin["browser"],
    nonce: "nonce",
    codeVerifier: "verifier",
    expiresAt: NOW + 600,
  };
  await logins.open("first", login, 600, "192.0.2.1");
  const first = await logins.take("first", {});
  await endings.mark(["user", person("alice")], "ended_by_user");
  assert.ok(first !== undefined);
  await logins.open("second", first, 600, "192.0.2.1");
  const second = await logins.take("second", {});
  assert.equal(await endings.since(second?.begun ?? Number.NaN, person("alice")), "ended_by_user");
  await records.close();
});
