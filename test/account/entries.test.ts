/** How connected applications are shown to a person: entries, and times. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { entriesOf, inWords } from "../../src/account/entries.ts";
import type { ConnectedApplication } from "../../src/account/list.ts";
import { ago } from "../../src/account/page.ts";

let ids = 0;
const connection = (fields: Partial<ConnectedApplication> = {}): ConnectedApplication => ({
  grantId: `grant-${ids++}`,
  subject: "alice",
  clientId: `client-${ids}`,
  clientName: "Claude Code",
  vouchedBy: "nobody",
  redirectUri: "http://127.0.0.1:33418/callback",
  resource: "https://mcp.example/mcp",
  resourceName: "Weather",
  scopes: [],
  notGiven: [],
  letInByCompany: false,
  createdAt: 1_000,
  lastUsedAt: undefined,
  expiresAt: 9_000,
  ...fields,
});

describe("entries", () => {
  const alike: Array<[string, Partial<ConnectedApplication>, Partial<ConnectedApplication>]> = [
    ["registered twice", {}, {}],
    ["another port of this computer", {}, { redirectUri: "http://localhost:1/other" }],
    ["other scopes", {}, { scopes: ["weather:read"] }],
    [
      "one document, two sign-ins",
      { vouchedBy: "document", clientId: "https://a.example/c" },
      { vouchedBy: "document", clientId: "https://a.example/c" },
    ],
  ];
  for (const [name, one, other] of alike)
    test(`one: ${name}`, () => assert.equal(entriesOf([connection(one), connection(other)]).length, 1));

  const different: Array<[string, Partial<ConnectedApplication>, Partial<ConnectedApplication>]> = [
    ["other names", {}, { clientName: "Cursor" }],
    ["another host", { redirectUri: "https://a.example/" }, { redirectUri: "https://b.example/" }],
    ["an app and a program", {}, { redirectUri: "cursor://callback" }],
    ["the operator's, and one that took its name", { vouchedBy: "operator" }, {}],
    [
      "a name that another site vouches for",
      { vouchedBy: "document", clientId: "https://a.example/c" },
      { vouchedBy: "document", clientId: "https://evil.example/c" },
    ],
    ["for another resource", {}, { resource: "https://mcp.example/crm/mcp", resourceName: "CRM" }],
    ["no name, and no name", { clientName: undefined }, { clientName: undefined }],
    [
      "no name, and its words as a name",
      { clientName: undefined },
      { clientName: "An application without a name" },
    ],
  ];
  for (const [name, one, other] of different)
    test(`two: ${name}`, () => assert.equal(entriesOf([connection(one), connection(other)]).length, 2));

  test("together they were allowed when the first was, used when the last was, and may what any may", () => {
    const [entry] = entriesOf([
      connection({ createdAt: 10, lastUsedAt: 500, scopes: ["a", "b"] }),
      connection({ createdAt: 20, scopes: ["b", "c"] }),
      connection({ createdAt: 30, lastUsedAt: 40 }),
    ]);
    assert.equal(entry?.createdAt, 10);
    assert.equal(entry.lastUsedAt, 500);
    assert.deepEqual(entry.scopes, ["a", "b", "c"]);
    assert.deepEqual(
      entry.connections.map(({ createdAt }) => createdAt),
      [30, 20, 10],
    );
  });

  test("the last active comes first; what was never used counts as active when it was allowed", () => {
    const names = entriesOf([
      connection({ clientName: "old", createdAt: 1, lastUsedAt: 100 }),
      connection({ clientName: "new", createdAt: 200 }),
      connection({ clientName: "busy", createdAt: 2, lastUsedAt: 300 }),
    ]).map(({ name }) => name);
    assert.deepEqual(names, ["busy", "new", "old"]);
  });

  test("what was ended, in words", () => {
    const [whole, part, kept, nameless] = [
      connection({ clientName: "Whole" }),
      connection({ clientName: "Part" }),
      connection({ clientName: "Kept" }),
      connection({ clientName: undefined }),
    ];
    const entries = entriesOf([whole, part, connection({ clientName: "Part" }), kept, nameless]);
    const ended = new Set([whole, part, nameless]);
    assert.deepEqual(
      inWords(entries, (each) => ended.has(each)),
      ["Whole", "Part (1 of 2 sign-ins)", "An application without a name"],
    );
    const crm = connection({ resource: "https://mcp.example/crm/mcp", resourceName: "CRM" });
    const gone = connection({ resource: "https://mcp.example/old", resourceName: undefined });
    assert.deepEqual(
      inWords(entriesOf([connection(), crm, gone]), (each) => each === crm || each === gone),
      ["Claude Code (CRM)", "Claude Code (https://mcp.example/old)"],
      "for several resources, it says which",
    );
  });
});

test("how long ago", () => {
  const now = 1_766_692_000; // 25 December 2025
  const cases: Array<[number, string]> = [
    [-30, "just now"], // another replica's clock
    [0, "just now"],
    [119, "just now"],
    [120, "2 minutes ago"],
    [7_199, "119 minutes ago"],
    [7_200, "2 hours ago"],
    [172_799, "47 hours ago"],
    [172_800, "2 days ago"],
    [59 * 86_400, "59 days ago"],
    [60 * 86_400, "on 26 Oct 2025"],
  ];
  for (const [seconds, words] of cases) assert.equal(ago(now - seconds, now), words);
});
