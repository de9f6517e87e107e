/**
 * `--backend`: a person signs in at this server and calls the tools of another, which stands behind it and stays as it is. What each
 * caller may use says this server; who called, it tells the other in a signed identity.
 */
import { z } from "zod";
import type { Walk } from "./discovery.ts";
import { revoke } from "./end.ts";
import { describe, expectStatus } from "./http.ts";
import { createMcpClient, type McpClient, readResponse, readResult } from "./mcp.ts";
import type { Settings } from "./settings.ts";
import { findAndRegister, refusedFor, signInFor } from "./step-up.ts";
import { callStructured, listTools, shakeHands } from "./tools.ts";
import { expect, type Trace } from "./trace.ts";

const READING = ["find_customers", "count_customers", "who_is_calling"];
const WRITE = "crm:write";
const ADD = { name: "add_customer", arguments: { name: "Cara's Coats" } };
/** The server behind has it, and its operator named it for nobody. */
const UNNAMED = { name: "delete_customers", arguments: {} };

const Customers = z.object({ customers: z.array(z.string()) });
const Seen = z.object({
  headers: z.array(z.string()),
  identity: z
    .object({
      iss: z.string(),
      aud: z.string(),
      sub: z.string(),
      client_id: z.string(),
      scope: z.string(),
      iat: z.number(),
      exp: z.number(),
    })
    .optional(),
});

export async function walkToBackend(walk: Walk, settings: Settings): Promise<void> {
  const { trace, url, send } = walk;
  trace.show(`A person signs in at ${url}, and calls the tools of a server behind it.`);
  const registered = await findAndRegister(walk);
  const first = await signInFor(walk, registered, registered.scope, settings);
  const client = createMcpClient(send, url, first.access_token);
  trace.step("Initialize MCP with the server behind, and list its tools");
  await shakeHands(walk, client);
  trace.learned(
    "that is the server behind, in its own words; its session id came sealed, and is good for us alone",
  );
  expectTools(READING, await listTools(walk, client));
  trace.learned(`${ADD.name} is missing: it needs ${WRITE}. ${UNNAMED.name} is, too: nothing names it`);

  trace.step("Call one of them");
  await callStructured(client.legacy, { name: "find_customers" }, Customers, trace);
  trace.step("Ask the server behind who called it");
  const { headers, identity } = await callStructured(client.legacy, { name: "who_is_calling" }, Seen, trace);
  explainIdentity(headers, identity, registered.asked.clientId, trace);
  trace.step("Call one that reports how far it is, and read along");
  await readAlong(client, trace);

  trace.step("Call one that needs more than was granted");
  const refused = await client.legacy({ method: "tools/call", params: ADD });
  const scope = refusedFor(WRITE, refused);
  trace.learned(`refused before anything left for the server behind: ask for "${scope}" and call again`);
  const second = await signInFor(walk, registered, scope, settings, "again, for more");
  client.useToken(second.access_token);
  trace.step("Call the same tool once more, in the same session");
  const { customers } = await callStructured(client.legacy, ADD, Customers, trace);
  expect(customers.includes(ADD.arguments.name), {
    expected: `${ADD.arguments.name} among the customers`,
    came: customers.join(", "),
    hint: "The call did not reach the server behind.",
  });
  trace.step("Call one that its operator named for nobody");
  await expectUnnamed(client, trace);

  trace.step("Sign out: revoke, and call once more");
  await revoke(walk, registered.server, second.authorization, second);
  trace.learned("the server behind was not asked: it knows nothing of sign-ins");
}

function expectTools(expected: readonly string[], names: readonly string[]): void {
  expect(
    expected.every((name) => names.includes(name)),
    {
      expected: `the tools ${expected.join(", ")}`,
      came: names.join(", ") || "no tools",
      hint: "They are of the demo's own server, for whoever may read: npm run demo -- --backend, and alice signs in.",
    },
  );
  const tooMany = names.filter((name) => name === ADD.name || name === UNNAMED.name);
  expect(tooMany.length === 0, {
    expected: "only tools that we may use",
    came: tooMany.join(", "),
    hint: "A list must not show what its reader may not call.",
  });
}

function explainIdentity(
  headers: readonly string[],
  identity: z.infer<typeof Seen>["identity"],
  clientId: string,
  trace: Trace,
): void {
  expect(identity !== undefined && identity.client_id === clientId, {
    expected: `a signed identity that names our client ${clientId}`,
    came: identity === undefined ? "none" : `one of ${identity.client_id}`,
    hint: "The server behind cannot tell its callers apart.",
  });
  const leaked = headers.filter((name) => ["authorization", "cookie"].includes(name));
  expect(leaked.length === 0, {
    expected: "our token to stay at this server",
    came: leaked.join(", "),
    hint: "The server behind could use it in our name.",
  });
  const { iss, aud, sub, scope, iat, exp } = identity;
  trace.learned(`the server behind saw a JWT that ${iss} signed for "${aud}" alone, good for ${exp - iat} s`);
  trace.learned(`it names the person, ${sub}, this client, and the scope ${scope}`);
  trace.learned("our access token did not come to it: no Authorization among its headers");
}

/** The demo's tool takes three quarters of a second from its first report to its end. */
const AHEAD_MS = 200;

/** What is held back until a call is over comes all at once. */
async function readAlong(client: McpClient, trace: Trace): Promise<void> {
  const startedAt = performance.now();
  const cameAfter: number[] = [];
  const params = { name: "count_customers", arguments: {}, _meta: { progressToken: "walkthrough" } };
  const answer = await client.legacy({ method: "tools/call", params }, (message) => {
    const progress = Progress.safeParse(message);
    if (!progress.success) return;
    const ms = Math.round(performance.now() - startedAt);
    cameAfter.push(ms);
    const { progress: done, total } = progress.data.params;
    trace.learned(`after ${ms} ms: ${done} of ${total}`);
  });
  readResult(answer);
  const [earliest = 0, ...later] = cameAfter;
  const ended = performance.now() - startedAt;
  // How long the first takes to get here, from far away or on a busy machine, says nothing.
  expect(later.length > 0 && ended - earliest > AHEAD_MS, {
    expected: "reports while the tool works",
    came: cameAfter.length === 0 ? "none" : `all at the end, after ${cameAfter.join(", ")} ms`,
    hint: "Something in between collects the stream before it passes it on: a proxy that buffers?",
  });
  trace.learned("each came when it was sent: nothing of a stream is held back");
}

const Progress = z.object({
  method: z.literal("notifications/progress"),
  params: z.object({ progress: z.number(), total: z.number() }),
});

async function expectUnnamed(client: McpClient, trace: Trace): Promise<void> {
  const answer = await client.legacy({ method: "tools/call", params: UNNAMED });
  expectStatus(answer, 200, "No sign-in would help: there is nothing to be asked for.");
  const { error } = readResponse(answer);
  expect(error !== undefined, {
    expected: "an error of JSON-RPC",
    came: describe(answer),
    hint: "What its operator did not name must be for nobody.",
  });
  trace.learned(`refused as it must be: ${error.message}`);
}
