/** A session of MCP 2025 is its principal's, and nobody else's of the same name. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Principal } from "../../src/access/principal.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { sessionIds } from "../../src/mcp/server/session-id.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { SECRET_KEY } from "../support/test-server.ts";

const [PROVIDER, OTHER] = ["https://idp.example", "https://other.example"];
const sealer = createSealer([SECRET_KEY]);
const ids = sessionIds(sealer, storedUsers([{ issuer: PROVIDER }]));
const asked = { elicitation: { form: {} } };
const user = (issuer: string): Principal => ({ kind: "user", issuer, subject: "alice", claims: {} });

const PRINCIPALS: readonly Principal[] = [
  user(PROVIDER),
  user(OTHER),
  { kind: "workload", issuer: PROVIDER, subject: "alice", claims: {} },
  { kind: "workload", issuer: OTHER, subject: "alice", claims: {} },
  { kind: "client", clientId: "alice" },
  { kind: "client", clientId: "alice", issuer: OTHER },
];

test("a session id opens for the principal that it was issued to, alone", () => {
  for (const [i, principal] of PRINCIPALS.entries()) {
    const id = ids.issue(asked, principal);
    for (const [j, other] of PRINCIPALS.entries())
      assert.deepEqual(ids.capabilitiesOf(id, other), i === j ? asked : {}, `${i} for ${j}`);
  }
});

test("a user of the first provider goes on with a session of 0.1.0", () => {
  const id = sealer.seal(JSON.stringify(asked), "mcp-session:alice");
  assert.deepEqual(ids.capabilitiesOf(id, user(PROVIDER)), asked);
  assert.deepEqual(ids.capabilitiesOf(id, user(OTHER)), {});
});
